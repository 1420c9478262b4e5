//! The `.lock` file that keeps a second writer away, in the way of `zc.lockfile` 4.0.
//!
//! The lock is the kernel's (`flock`, exclusive, not waiting), so that of a dead process is free at once. The
//! content, a blank, the process id and a newline, is only for people; the file stays when the lock is
//! released, as with Python. A Python process and ours exclude each other. Source:
//! `zc/lockfile/__init__.py:LockFile`; used by `FileStorage.py:FileStorage.__init__`, ZODB 6.4.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::super::StorageError;
use super::{io_error, shown};

/// A held lock. Released when dropped, or when the process dies.
#[derive(Debug)]
pub(crate) struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock `path`, creating the file if need be.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another opener holds it; [`StorageError::Io`].
    pub(crate) fn acquire(path: &Path) -> Result<Self, StorageError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io_error("open lock file", path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Whoever holds it is only named; not knowing is no second error.
                let _unknown = (&mut file).take(64).read_to_string(&mut holder);
                return Err(StorageError::Locked { file: shown(path), holder: holder.trim().to_owned() });
            }
            Err(errno) => return Err(io_error("lock", path)(errno.into())),
        }
        let content = format!(" {}\n", std::process::id());
        // Written before it is cut to length, so that a reader never finds it empty.
        file.write_all_at(content.as_bytes(), 0)
            .and_then(|()| file.set_len(super::format::span(content.len())))
            .map_err(io_error("write lock file", path))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_and_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Data.fs.lock");
        std::fs::write(&path, " 999999999\nsome older and longer content\n").unwrap();
        let held = LockFile::acquire(&path).unwrap();
        let pid = std::process::id();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!(" {pid}\n"));
        match LockFile::acquire(&path) {
            Err(StorageError::Locked { holder, .. }) => assert_eq!(holder, pid.to_string()),
            other => panic!("{other:?}"),
        }
        drop(held);
        assert!(path.exists());
        LockFile::acquire(&path).unwrap();
    }
}
