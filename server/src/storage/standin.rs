//! Stands where the file storage will be: opening one fails.

use std::path::Path;
use std::sync::Arc;

use super::{MemoryStorage, StorageError};

/// Options of a file storage.
#[derive(Debug)]
pub struct FileStorageOptions {
    /// Create the file if it is absent.
    pub create: bool,
    /// Refuse every write.
    pub read_only: bool,
}

/// A storage in a `Data.fs`.
#[derive(Debug)]
pub struct FileStorage;

impl FileStorage {
    /// Opens the file.
    ///
    /// # Errors
    /// Always, for now.
    pub fn open(path: &Path, _: &FileStorageOptions) -> Result<Arc<MemoryStorage>, StorageError> {
        Err(StorageError::Failed(format!("{}: file storages are not implemented", path.display()).into()))
    }
}
