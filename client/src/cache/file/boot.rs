//! Whether the machine has failed while a cache file was in use.
//!
//! Writes are not forced to the disk one by one, as that would cost more than the cache gives. While the machine lives,
//! all of them are there, whatever becomes of the process. When it fails, the last transaction may be on the disk and an
//! invalidation before it may not: such a cache would lie. So a file in use has another beside it, `PATH.open`, which
//! names the boot of the machine; after another boot the cache is not used. Python's client does not know of it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Linux: another text after each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The file that says that another one is in use.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    /// Empty where the system does not tell.
    boot: String,
}

impl Mark {
    pub(super) fn of(path: &Path) -> Self {
        let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
        Self { path: super::beside(path, ".open"), boot }
    }

    /// Whether it was made before the machine has failed, or may have been.
    pub(super) fn is_broken(&self) -> io::Result<bool> {
        match std::fs::read(&self.path) {
            Ok(found) => Ok(self.boot.is_empty() || found != self.boot.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says that the file is in use, before it is.
    pub(super) fn make(&self) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        file.write_all(self.boot.as_bytes())?;
        file.sync_all()?;
        sync_dir(&self.path)
    }

    /// The file is on the disk, and not in use any more.
    pub(super) fn end(&self, path: &Path) -> io::Result<()> {
        match File::open(path) {
            Ok(file) => file.sync_all()?,
            // Set aside.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        std::fs::remove_file(&self.path)
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
