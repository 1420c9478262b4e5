//! Packing: the files of blobs go with the records that name them.
//!
//! The storage beneath tells which revisions of blobs it removes. Their files must stay until it has succeeded, since
//! until then readers may ask for them, and a crash keeps the records:
//!
//! ```text
//!   storage packs           revisions are noted in memory
//!   before it switches      the notes go to a file tmp/zeo-removed.*, durably
//!   storage has switched    each noted file is removed, or moved to BLOBDIR.old, unless a record names it after all
//!   then                    the notes go
//! ```
//!
//! What a crash, or a file that could not be removed, leaves undone the next pack or start finds in the notes; a file
//! that a record names is never touched. With
//! `pack-keep-old` the directory `BLOBDIR.old` holds all files as they were before, like Python's
//! (`FileStorage.py:_remove_blob_files_tagged_for_removal_during_pack`, ZODB 6.4); those that stay are hard links.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tempfile::TempPath;
use zeo_codec::{Oid, Tid};

use super::super::file::io_error;
use super::super::pack::pace::{Pace, Ticker, clock_in};
use super::super::{CommitsStopped, PackHost, PackOutcome, PackRequest, Storage, StorageError, View};
use super::directory::BlobDirectory;
use super::durable::sync;
use super::layout::MARKER;
use super::staged::is_committed;
use crate::background::in_background;

/// How the names of notes begin, in `tmp/`. A line for each revision, 16 hex digits for the oid and 16 for the serial;
/// before them a line if the files are to be kept in the old directory.
const NOTES_PREFIX: &str = "zeo-removed.";
const KEEPS_OLD: &str = "keep old";

/// Packs `inner` and removes the files of the revisions that went. With `keeps_old` they are kept where Python keeps
/// them, if the storage keeps what it was, too.
pub(super) fn pack(
    inner: &dyn Storage,
    directory: &BlobDirectory,
    keeps_old: bool,
    request: PackRequest,
    host: &dyn PackHost,
) -> Result<PackOutcome, StorageError> {
    let noting = Noting { host, directory, keeps_old, removed: Mutex::default(), notes: Mutex::default() };
    let packed = inner.pack(request, &noting);
    let mut notes = noting.notes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Ok(PackOutcome::Packed(report)) = &packed else {
        // The file before the last pack is gone (`super::super::file::pack`), and what belonged to it goes, too.
        if keeps_old && matches!(packed, Ok(PackOutcome::NothingFreed | PackOutcome::Redundant)) {
            Old::remove(directory)?;
        }
        // The notes are dropped, and with that removed: nothing went.
        return packed;
    };
    // From here on only who has done what they say removes them.
    if let Some(notes) = &mut notes {
        notes.disable_cleanup(true);
    }
    let removed = noting.removed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let view = inner.view();
    let old = (keeps_old && report.is_old_kept).then(|| Old::begin(directory)).transpose();
    let sweep = || sweep(directory, &*view, &removed, old?.as_ref(), &Instant::now);
    let swept = in_background("blobs of a pack", sweep);
    let swept = swept.map_err(io_error("start to remove packed blobs of", directory.root())).flatten();
    if let (Ok(()), Some(notes)) = (&swept, &notes) {
        remove_notes(notes);
    }
    if let Err(error) = swept.and_then(|()| recover(directory, &*view)) {
        // The storage has been packed; what is left over takes room, no more.
        tracing::error!(target: "ZODB.blob", "cannot remove the files of packed blobs, to be tried again: {error}");
    }
    packed
}

/// Removes what earlier packs have not come to.
pub(super) fn recover(directory: &BlobDirectory, view: &dyn View) -> Result<(), StorageError> {
    let tmp = directory.tmp();
    for entry in fs::read_dir(&tmp).map_err(io_error("list", &tmp))? {
        let entry = entry.map_err(io_error("list", &tmp))?;
        if entry.file_name().to_str().is_none_or(|name| !name.starts_with(NOTES_PREFIX)) {
            continue;
        }
        let path = entry.path();
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        // A line that was cut short names nothing.
        let removed: Vec<_> = text.lines().filter_map(parse_note).collect();
        // If that pack did not switch everything is still there, and what is kept as old is kept.
        let has_switched = match removed.first() {
            Some((oid, serial)) => !is_committed(view, *oid, *serial)?,
            None => false,
        };
        let keeps_old = has_switched && text.lines().next() == Some(KEEPS_OLD);
        let old = keeps_old.then(|| Old::resume(directory)).transpose()?;
        sweep(directory, view, &removed, old.as_ref(), &Instant::now)?;
        remove_notes(&path);
    }
    Ok(())
}

fn parse_note(line: &str) -> Option<(Oid, Tid)> {
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let (oid, serial) = line.split_at_checked(16).filter(|(_, serial)| serial.len() == 16)?;
    Some((Oid::from_u64(number(oid)?), Tid::from_u64(number(serial)?)))
}

/// Passes on what the storage asks, and notes what it removes.
struct Noting<'h> {
    host: &'h dyn PackHost,
    directory: &'h BlobDirectory,
    keeps_old: bool,
    removed: Mutex<Vec<(Oid, Tid)>>,
    notes: Mutex<Option<TempPath>>,
}

impl Noting<'_> {
    fn write_notes(&self) -> Result<(), StorageError> {
        let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        if removed.is_empty() {
            return Ok(());
        }
        let tmp = self.directory.tmp();
        let write = || {
            let file = tempfile::Builder::new().prefix(NOTES_PREFIX).tempfile_in(&tmp)?;
            let mut notes = BufWriter::new(file.as_file());
            if self.keeps_old {
                writeln!(notes, "{KEEPS_OLD}")?;
            }
            removed.iter().try_for_each(|(oid, serial)| writeln!(notes, "{oid}{serial}"))?;
            notes.flush()?;
            drop(notes);
            sync(file.path())?;
            Ok(file.into_temp_path())
        };
        let path = write().map_err(io_error("write notes in", &tmp))?;
        *self.notes.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
        self.directory.sync_notes()
    }
}

impl PackHost for Noting<'_> {
    fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>> {
        // Before commits are stopped, as it takes its time. What the last moments add is removed all the same,
        // unless the process dies just then.
        if let Err(error) = self.write_notes() {
            tracing::error!(target: "ZODB.blob", "the pack is given up: {error}");
            return None;
        }
        self.host.stop_commits()
    }

    fn packed(&self, view: Arc<dyn View>) {
        self.host.packed(view);
    }

    fn wants_removed_blobs(&self) -> bool {
        true
    }

    fn removed_blob(&self, oid: Oid, serial: Tid) -> Result<(), StorageError> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).push((oid, serial));
        self.host.removed_blob(oid, serial)
    }
}

/// Removes the files of `removed`, or moves them to `old`, where all others are linked, too. Goes on after a file that
/// cannot be removed, and says so at the end. The log tells how far it has come, by `clock`.
fn sweep(
    directory: &BlobDirectory,
    view: &dyn View,
    removed: &[(Oid, Tid)],
    old: Option<&Old>,
    clock: &dyn Fn() -> Instant,
) -> Result<(), StorageError> {
    let mut result = Ok(());
    let (started, total) = (clock(), removed.len() as u64);
    let mut ticker = Ticker::new(started);
    for (done, (oid, serial)) in (0..).zip(removed) {
        let now = clock();
        if ticker.is_due(now) {
            tell(directory, Pace { done, total, spent: now.saturating_duration_since(started) });
        }
        if is_committed(view, *oid, *serial)? {
            continue;
        }
        let path = directory.revision_path(*oid, *serial);
        let gone = match old {
            Some(old) => old.take(directory, &path),
            None => fs::remove_file(&path),
        };
        match gone {
            Ok(()) => {}
            // Odd, but as it should be.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                if result.is_ok() {
                    result = Err(io_error("remove", &path)(error));
                }
                continue;
            }
        }
        // A commit that finds its directory gone makes it again.
        let empty = path.ancestors().skip(1).take_while(|dir| *dir != directory.root());
        for dir in empty {
            if fs::remove_dir(dir).is_err() {
                break;
            }
        }
    }
    if total > 0 {
        tell(directory, Pace { done: total, total, spent: clock().saturating_duration_since(started) });
    }
    if let Some(old) = old {
        result = result.and_then(|()| old.link_rest(directory, directory.root()));
        if result.is_ok() {
            old.end()?;
        }
    }
    result
}

fn tell(directory: &BlobDirectory, pace: Pace) {
    let (directory, total, percent) = (directory.root().display(), pace.total, pace.percent());
    let end = match pace.left() {
        Some(left) if pace.done < total => {
            format!("; ends about {}, in {} s", clock_in(left), left.as_secs())
        }
        Some(_) | None => String::new(),
    };
    let rate = pace.per_second();
    tracing::info!(target: "ZODB.blob", %directory, "pack: removing {total} files of blobs: {percent} %, {rate} files/s{end}");
}

/// Notes that stay are looked at again, and then say nothing new.
fn remove_notes(path: &Path) {
    let _ = fs::remove_file(path);
}

/// In the old directory: what was to be moved or linked there is not there yet.
const UNFINISHED: &str = ".zeo-unfinished";

/// The directory as it was before the pack.
struct Old {
    root: PathBuf,
}

impl Old {
    fn of(directory: &BlobDirectory) -> Self {
        let mut root = directory.root().as_os_str().to_owned();
        root.push(".old");
        Self { root: root.into() }
    }

    /// Removes what an earlier pack has kept.
    fn remove(directory: &BlobDirectory) -> Result<(), StorageError> {
        let old = Self::of(directory);
        match fs::remove_dir_all(&old.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &old.root)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Begins with nothing but the marker, and a sign that there is more to come.
    fn begin(directory: &BlobDirectory) -> Result<Self, StorageError> {
        Self::remove(directory)?;
        let old = Self::of(directory);
        let begin = || {
            fs::create_dir_all(&old.root)?;
            File::create(old.root.join(UNFINISHED))?;
            link_or_copy(&directory.root().join(MARKER), &old.root.join(MARKER))
        };
        begin().map_err(io_error("begin", &old.root))?;
        Ok(old)
    }

    /// Goes on with one that was begun, or begins.
    fn resume(directory: &BlobDirectory) -> Result<Self, StorageError> {
        let old = Self::of(directory);
        if old.root.join(UNFINISHED).exists() { Ok(old) } else { Self::begin(directory) }
    }

    fn end(&self) -> Result<(), StorageError> {
        let path = self.root.join(UNFINISHED);
        fs::remove_file(&path).map_err(io_error("remove", &path))
    }

    /// The place here of a file of the directory.
    fn place_of(&self, directory: &BlobDirectory, path: &Path) -> io::Result<PathBuf> {
        let relative = path.strip_prefix(directory.root()).map_err(io::Error::other)?;
        let place = self.root.join(relative);
        place.parent().map_or(Ok(()), fs::create_dir_all)?;
        Ok(place)
    }

    fn take(&self, directory: &BlobDirectory, path: &Path) -> io::Result<()> {
        fs::rename(path, self.place_of(directory, path)?)
    }

    /// Links all committed files below `dir`.
    fn link_rest(&self, directory: &BlobDirectory, dir: &Path) -> Result<(), StorageError> {
        for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
            let path = entry.map_err(io_error("list", dir))?.path();
            if path.is_dir() {
                if path != directory.tmp() {
                    self.link_rest(directory, &path)?;
                }
            } else if path.extension().is_some_and(|extension| extension == "blob") {
                let link = || link_or_copy(&path, &self.place_of(directory, &path)?);
                link().map_err(io_error("link", &path))?;
            }
        }
        Ok(())
    }
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        // Of an attempt before.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => fs::copy(from, to).map(drop),
    }
}

#[cfg(test)]
mod tests;
