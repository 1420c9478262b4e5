//! The files of a pack and what is done to their names. A trait, so that a test can stop at every step.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::disk::{Disk, FileDisk};
use super::super::{sync_folder, with_suffix};

/// The names beside a data file that a pack deals with. Every method fails with what the operating system says.
pub(crate) trait Files: Send + Sync + fmt::Debug {
    /// Creates `.pack`, empty, whatever was there before.
    fn create_pack(&self) -> io::Result<Arc<dyn Disk>>;

    /// Removes `.pack`; that there is none is fine.
    fn remove_pack(&self) -> io::Result<()>;

    /// Removes `.old`; that there is none is fine.
    fn remove_old(&self) -> io::Result<()>;

    /// Removes `.index`; that there is none is fine.
    fn remove_index(&self) -> io::Result<()>;

    /// Makes `.old` another name of the data file.
    fn link_old(&self) -> io::Result<()>;

    /// Puts `.pack` in the place of the data file, in one step.
    fn replace(&self) -> io::Result<()>;

    /// Makes what was done to names durable.
    fn sync(&self) -> io::Result<()>;
}

/// The files beside a real data file.
#[derive(Debug)]
pub(crate) struct RealFiles {
    data: PathBuf,
}

impl RealFiles {
    pub(crate) fn new(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        with_suffix(&self.data, suffix)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

impl Files for RealFiles {
    fn create_pack(&self) -> io::Result<Arc<dyn Disk>> {
        let path = self.beside(".pack");
        remove(&path)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        // Whoever may read the data file may read the new one. Python's gets what the process gives by default.
        file.set_permissions(File::open(&self.data)?.metadata()?.permissions())?;
        Ok(Arc::new(FileDisk::new(file)))
    }

    fn remove_pack(&self) -> io::Result<()> {
        remove(&self.beside(".pack"))
    }

    fn remove_old(&self) -> io::Result<()> {
        remove(&self.beside(".old"))
    }

    fn remove_index(&self) -> io::Result<()> {
        remove(&self.beside(".index"))
    }

    fn link_old(&self) -> io::Result<()> {
        fs::hard_link(&self.data, self.beside(".old"))
    }

    fn replace(&self) -> io::Result<()> {
        fs::rename(self.beside(".pack"), &self.data)
    }

    fn sync(&self) -> io::Result<()> {
        sync_folder(&self.data)
    }
}

/// Sets right, before the data file at `path` is opened for writing, what a pack left that was broken off: ours
/// leaves `.pack` at most; Python's may also have moved the data file to `.old` already, and then that is the
/// database.
pub(crate) fn clean_up(path: &Path) -> io::Result<()> {
    let (pack, old) = (with_suffix(path, ".pack"), with_suffix(path, ".old"));
    if !pack.try_exists()? {
        return Ok(());
    }
    let file = super::super::shown(path);
    if !path.try_exists()? && old.try_exists()? {
        fs::rename(&old, path)?;
        tracing::warn!(target: "ZODB.FileStorage", file, "a pack was broken off between its renames: the file before it is back in place");
    }
    if path.try_exists()? {
        fs::remove_file(&pack)?;
        sync_folder(path)?;
        tracing::warn!(target: "ZODB.FileStorage", file, "removed what a broken-off pack left: {}", pack.display());
    }
    Ok(())
}
