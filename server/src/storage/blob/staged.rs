//! Files on their way into a blob directory. Each is removed when its owner is dropped, on whatever path.
//!
//! ```text
//!   Upload --finish--> StagedBlob --prepare--> PlacedBlob --place--> (in place) --committed--> a revision
//!   chunks arrive      waits for the vote      voted                 both names    one name
//! ```
//!
//! A prepared file is called `zeo-commit.TID.OID` in `tmp/`, and keeps this name beside the one of a committed
//! file until the transaction is in the storage. So a crash in between leaves a note of what may belong to nobody,
//! and the next start looks whether it does ([`recover`]).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempPath;
use zeo_codec::{Oid, Tid};

use super::super::file::{create_folders, io_error};
use super::super::{LoadedRevision, StorageError, View};
use super::directory::BlobDirectory;
use super::durable::sync;
use super::layout::revision_name;

/// What the names of files begin with that no vote has prepared.
pub(super) const PREFIX: &str = "zeo-upload.";
/// The same for those that are prepared: `zeo-commit.TID.OID`, in hex.
const PREPARED_PREFIX: &str = "zeo-commit.";

/// A blob that is arriving.
#[derive(Debug)]
pub struct Upload {
    file: File,
    path: TempPath,
}

impl Upload {
    pub(super) const fn new(file: File, path: TempPath) -> Self {
        Self { file, path }
    }

    /// Appends a piece. It is handed to the operating system at once, which may block.
    ///
    /// # Errors
    /// [`StorageError::Io`], for example if the disk is full.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), StorageError> {
        self.file.write_all(chunk).map_err(io_error("write to", &self.path))
    }

    /// The blob is complete.
    #[must_use]
    pub fn finish(self) -> StagedBlob {
        StagedBlob::new(self.path)
    }
}

/// The complete content of a blob, not yet part of a transaction.
#[derive(Debug)]
pub struct StagedBlob {
    path: TempPath,
    is_synced: AtomicBool,
}

impl StagedBlob {
    pub(super) const fn new(path: TempPath) -> Self {
        Self { path, is_synced: AtomicBool::new(false) }
    }

    /// Makes the content durable, if it is not yet. Takes as long as the disk needs; what has been synced early
    /// keeps nobody waiting for it during the commit.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn sync(&self) -> Result<(), StorageError> {
        if !self.is_synced.load(Ordering::Acquire) {
            sync(&self.path).map_err(io_error("sync", &self.path))?;
            self.is_synced.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// The file, for who takes it by renaming it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes everything ready for being put in place as the revision `serial` of `oid`.
    pub(super) fn prepare(
        self,
        directory: &BlobDirectory,
        oid: Oid,
        serial: Tid,
    ) -> Result<PlacedBlob, StorageError> {
        let dir = directory.prepare(oid, &self.path)?;
        let prepared =
            directory.tmp().join(format!("{PREPARED_PREFIX}{:016x}.{:016x}", serial.to_u64(), oid.to_u64()));
        self.path.persist(&prepared).map_err(|error| io_error("rename", &prepared)(error.error))?;
        let path = TempPath::try_from_path(&prepared).map_err(io_error("find", &prepared))?;
        let staged = Self { path, is_synced: self.is_synced };
        Ok(PlacedBlob { staged: Some(staged), target: dir.join(revision_name(serial)), is_in_place: false })
    }
}

/// A voted blob. Dropping it removes it from its place, too.
#[derive(Debug)]
pub(super) struct PlacedBlob {
    /// `None` only while it is being left behind.
    staged: Option<StagedBlob>,
    target: PathBuf,
    is_in_place: bool,
}

impl PlacedBlob {
    /// Makes the content durable and puts it where readers look for it. No record names it yet.
    pub(super) fn place(&mut self) -> Result<(), StorageError> {
        let Some(staged) = &self.staged else { return Ok(()) };
        staged.sync()?;
        let dir = self.target.parent().unwrap_or(&self.target);
        let mut result = fs::hard_link(&staged.path, &self.target);
        if let Err(error) = &result {
            result = match error.kind() {
                // A pack has removed the directory while it was empty.
                io::ErrorKind::NotFound => {
                    create_folders(dir, sync).and_then(|()| fs::hard_link(&staged.path, &self.target))
                }
                // Of a crashed commit under the same tid: copied transactions bring their own.
                io::ErrorKind::AlreadyExists => {
                    fs::remove_file(&self.target).and_then(|()| fs::hard_link(&staged.path, &self.target))
                }
                // A file system without hard links.
                _ => fs::rename(&staged.path, &self.target),
            };
        }
        result.map_err(io_error("put in place", &self.target))?;
        self.is_in_place = true;
        sync(dir).map_err(io_error("sync the directory of", &self.target))
    }

    /// The transaction is in the storage.
    pub(super) fn committed(mut self) {
        self.is_in_place = false;
    }

    /// Whether the transaction is in the storage will be known at the next start.
    pub(super) fn leave(mut self) {
        self.is_in_place = false;
        if let Some(staged) = self.staged.take() {
            // Keeping a file is nothing that fails on Unix.
            let _ = staged.path.keep();
        }
    }
}

impl Drop for PlacedBlob {
    fn drop(&mut self) {
        // First this name, then that of the note, which goes with its field.
        if self.is_in_place
            && let Err(error) = fs::remove_file(&self.target)
        {
            tracing::warn!(target: "ZODB.blob", "cannot remove {}: {error}", self.target.display());
        }
    }
}

/// Removes what a process left behind that died during uploads or commits. `view` is the storage as it was
/// opened: a file in place stays if its transaction is there.
pub(super) fn recover(directory: &BlobDirectory, view: &dyn View) -> Result<(), StorageError> {
    let tmp = directory.tmp();
    for entry in fs::read_dir(&tmp).map_err(io_error("list", &tmp))? {
        let entry = entry.map_err(io_error("list", &tmp))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some((oid, serial)) = prepared_revision(name) {
            let target = directory.revision_path(oid, serial);
            if !is_committed(view, oid, serial)? && is_same_file(&entry.path(), &target) {
                tracing::warn!(target: "ZODB.blob", "removing {}, whose transaction was not committed", target.display());
                fs::remove_file(&target).map_err(io_error("remove", &target))?;
            }
        } else if !name.starts_with(PREFIX) {
            continue;
        }
        fs::remove_file(entry.path()).map_err(io_error("remove", &entry.path()))?;
    }
    Ok(())
}

fn prepared_revision(name: &str) -> Option<(Oid, Tid)> {
    let (serial, oid) = name.strip_prefix(PREPARED_PREFIX)?.split_once('.')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    Some((Oid::from_u64(number(oid)?), Tid::from_u64(number(serial)?)))
}

/// Whether a record names the revision `serial` of `oid`.
pub(super) fn is_committed(view: &dyn View, oid: Oid, serial: Tid) -> Result<bool, StorageError> {
    match view.load_serial(oid, serial, &mut LoadedRevision::default()) {
        Ok(()) => Ok(true),
        Err(StorageError::NoSuchObject(_) | StorageError::NoSuchRevision(..)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::symlink_metadata(one), fs::symlink_metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
