//! The `.lock` file that keeps a second writer away (`FileStorage.py:FileStorage.__init__`, ZODB 6.4).

use std::path::Path;

use zeo_client::lock_file::{LockError, LockFile};

use super::super::StorageError;
use super::{io_error, shown};

/// Takes the lock `path`, creating the file if need be.
///
/// # Errors
/// [`StorageError::Locked`] if another opener holds it; [`StorageError::Io`].
pub(super) fn acquire(path: &Path) -> Result<LockFile, StorageError> {
    LockFile::acquire(path).map_err(|error| match error {
        LockError::Held { holder } => StorageError::Locked { file: shown(path), holder },
        LockError::Io(error) => io_error("lock", path)(error),
    })
}
