//! Opening a data file: lock, magic, index, scan of what the index does not cover, cut of a torn tail.
//!
//! ```text
//!  .lock taken (not if read-only)
//!  empty file? -> write the magic
//!  .index loaded and sane? -- no --> start with an empty index at the first transaction
//!      | yes: start at its end
//!      v
//!  scan to the end -- damage --> refuse: StorageError::Corrupt
//!      | torn tail? -> save as .trN, cut (read-only: just stop before it)
//!      v
//!  index was rebuilt? -> save it
//! ```
//!
//! Source: `FileStorage.py:FileStorage.__init__`, `read_index`, ZODB 6.4.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeo_client::lock_file::LockFile;
use zeo_codec::Tid;

use super::super::StorageError;
use super::disk::{Disk, FileDisk};
use super::format::{FIRST_TRANSACTION_POS, MAGIC_PYTHON2, MAGIC_PYTHON3};
use super::index::IndexBuilder;
use super::index_file::{self, Unusable};
use super::lock;
use super::pack::files::clean_up;
use super::scan::{Scanned, Start, Tail, scan};
use super::view::{FileState, FileView};
use super::{io_error, sanity, shown, sync_folder, tail, with_suffix};

/// How to open a data file. The default opens it for writing and creates it if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileStorageOptions {
    /// Start with a new file even if there is one, which is then **deleted**; Python's `create`.
    pub create: bool,
    /// Refuse every write, take no lock, change no file; a torn tail is ignored. Python's `read_only`.
    pub read_only: bool,
    /// Whether a pack leaves objects alone that cannot be reached; Python's `pack_gc=False`.
    pub keep_garbage: bool,
    /// Whether a pack leaves no `.old` behind; Python's `pack_keep_old=False`.
    pub discard_old: bool,
    /// Refuse transactions with a record beyond this position in bytes; Python's `quota`.
    pub quota_bytes: Option<u64>,
}

/// What was found and done at open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the index file could be used.
    pub index: IndexUse,
    /// What was cut off, or would have been if the file were not opened for reading only.
    pub cut_tail: Option<CutTail>,
    /// Number of records whose pointer to their object's previous record is not what the scan saw. It is
    /// logged and otherwise ignored, as by Python. Some are usual in a packed file.
    pub wrong_previous_count: u64,
}

/// Whether the index file could be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexUse {
    /// It was loaded; only the transactions behind it were scanned.
    Loaded,
    /// It was not, for this reason; the whole file was scanned.
    Rebuilt(String),
}

/// An interrupted commit at the end of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    /// Position of its first byte: the length of the file from now on.
    pub pos: u64,
    /// How it was recognised.
    pub why: &'static str,
    /// Where the bytes were saved; `None` if there were fewer than a transaction header, or nothing was cut.
    pub saved_as: Option<PathBuf>,
}

/// A disk whose content is known.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) view: FileView,
    pub(crate) report: OpenReport,
    /// Up to where the saved index holds; 0 if there is none that can be used.
    pub(crate) index_saved_pos: u64,
}

/// Takes the lock and opens or creates the file at `path`.
pub(crate) fn open_files(
    path: &Path,
    options: FileStorageOptions,
) -> Result<(FileDisk, Option<LockFile>), StorageError> {
    let lock = match options.read_only {
        true => None,
        false => Some(lock::acquire(&with_suffix(path, ".lock"))?),
    };
    let file = if options.read_only {
        File::open(path).map_err(io_error("open", path))?
    } else {
        if options.create {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("delete", path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        if !options.create {
            clean_up(path).map_err(io_error("clean up after a pack of", path))?;
        }
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io_error("open", path))?
    };
    Ok((FileDisk::new(file), lock))
}

/// Reads what is on `disk`, after repairing its tail if it may be written. `path` is where the files beside it
/// are; without one there are none.
pub(crate) fn open_disk(
    disk: Arc<dyn Disk>,
    file_name: &str,
    path: Option<&Path>,
    is_read_only: bool,
) -> Result<Opened, StorageError> {
    let io_failed = |doing: &str| {
        let doing = format!("{doing} {file_name}");
        move |source| StorageError::Io { doing: doing.clone(), source }
    };
    if disk.len().map_err(io_failed("determine the length of"))? == 0 {
        if !is_read_only {
            let create = || {
                disk.write_all_at(&MAGIC_PYTHON3, 0)?;
                disk.sync_data()?;
                path.map_or(Ok(()), sync_folder)
            };
            create().map_err(io_failed("create"))?;
        }
    } else {
        check_magic(&*disk, file_name)?;
    }
    let (mut index, start, index_use) = match load_index(&*disk, path) {
        Ok((index, start)) => (index, start, IndexUse::Loaded),
        Err(unusable) => {
            let start = Start { pos: FIRST_TRANSACTION_POS, last_tid: Tid::ZERO };
            (IndexBuilder::default(), start, IndexUse::Rebuilt(unusable.to_string()))
        }
    };
    let is_new = disk.len().map_err(io_failed("measure"))? <= FIRST_TRANSACTION_POS;
    if let IndexUse::Rebuilt(why) = &index_use
        && !is_new
    {
        tracing::info!(target: "ZODB.FileStorage", file = file_name, why, "building the index from the data file");
    }
    let scanned = scan(&*disk, file_name, start, &mut index)?;
    let cut_tail = match scanned.tail {
        Some(found) => Some(handle_tail(&*disk, file_name, path, &scanned, found, is_read_only)?),
        None => None,
    };
    let object_count = index.len();
    let state = FileState::new(disk, file_name.to_owned(), index.finish());
    let view = FileView {
        state: Arc::new(state),
        end_pos: scanned.end_pos,
        last_tid: scanned.last_tid,
        object_count,
    };
    let report =
        OpenReport { index: index_use, cut_tail, wrong_previous_count: scanned.wrong_previous_count };
    let index_saved_pos = if report.index == IndexUse::Loaded { start.pos } else { 0 };
    Ok(Opened { view, report, index_saved_pos })
}

fn check_magic(disk: &dyn Disk, file_name: &str) -> Result<(), StorageError> {
    let mut magic = [0; MAGIC_PYTHON3.len()];
    match disk.read_exact_at(&mut magic, 0) {
        Ok(()) if magic == MAGIC_PYTHON3 || magic == MAGIC_PYTHON2 => Ok(()),
        Err(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
            Err(StorageError::Io { doing: format!("read {file_name}"), source })
        }
        Ok(()) | Err(_) => Err(StorageError::Corrupt {
            file: file_name.to_owned(),
            what: "no FileStorage".to_owned(),
            pos: 0,
        }),
    }
}

fn load_index(disk: &dyn Disk, path: Option<&Path>) -> Result<(IndexBuilder, Start), Unusable> {
    let path = path.ok_or(Unusable::Malformed("no files beside this disk"))?;
    let loaded = index_file::load(&with_suffix(path, ".index"))?;
    let last_tid = sanity::check(disk, &loaded)?;
    Ok((loaded.index, Start { pos: loaded.end_pos, last_tid }))
}

fn handle_tail(
    disk: &dyn Disk,
    file_name: &str,
    path: Option<&Path>,
    scanned: &Scanned,
    found: Tail,
    is_read_only: bool,
) -> Result<CutTail, StorageError> {
    let mut cut_tail = CutTail { pos: scanned.end_pos, why: found.why, saved_as: None };
    if is_read_only {
        tracing::warn!(target: "ZODB.FileStorage", file = file_name, pos = cut_tail.pos, why = found.why, "ignoring the end of the file");
        return Ok(cut_tail);
    }
    if let (Some(path), true) = (path, found.is_saved) {
        cut_tail.saved_as = Some(tail::save_aside(disk, path, cut_tail.pos)?);
    }
    let saved_as = cut_tail.saved_as.as_deref().map(shown);
    tracing::warn!(
        target: "ZODB.FileStorage", file = file_name,
        pos = cut_tail.pos,
        why = found.why,
        saved_as,
        "cutting off the end of the file"
    );
    tail::cut(disk, file_name, cut_tail.pos)?;
    Ok(cut_tail)
}
