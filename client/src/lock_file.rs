//! The lock files by which Python's processes and ours keep out of each other's way, in the way of `zc.lockfile` 4.0.
//!
//! The lock is the kernel's (`flock`, exclusive, not waiting), so that of a dead process is free at once. The
//! content, a blank, the process id and a newline, is only for people; the file stays when the lock is
//! released, as with Python. A Python process and ours exclude each other. Source:
//! `zc/lockfile/__init__.py:LockFile`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A held lock. Released when dropped, or when the process dies.
#[derive(Debug)]
pub struct LockFile {
    _file: File,
}

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("locked by process {holder}")]
    Held {
        /// The process id, or whatever stands in the file.
        holder: String,
    },
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl LockFile {
    /// Takes the lock `path`, creating the file if need be.
    ///
    /// # Errors
    /// [`LockError`]
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = Vec::new();
                // Whoever holds it is only named; not knowing is no second error.
                let _unknown = (&mut file).take(64).read_to_end(&mut holder);
                let holder = String::from_utf8_lossy(&holder).trim().to_owned();
                return Err(LockError::Held { holder });
            }
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let content = format!(" {}\n", std::process::id());
        // Written before it is cut to length, so that a reader never finds it empty.
        file.write_all_at(content.as_bytes(), 0)?;
        file.set_len(u64::try_from(content.len()).unwrap_or(u64::MAX))?;
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
            Err(LockError::Held { holder }) => assert_eq!(holder, pid.to_string()),
            other => panic!("{other:?}"),
        }
        drop(held);
        assert!(path.exists());
        LockFile::acquire(&path).unwrap();
    }
}
