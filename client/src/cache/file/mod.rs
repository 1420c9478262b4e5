//! A cache in a file, in the format of Python's `ClientCache`: either opens what the other has left.
//!
//! The file is a [`ring`] of blocks without gaps. A record is written at the current position, over whatever blocks are
//! in the way, and a free block follows it, by which the position is found again. A current revision that is read and
//! has fallen far behind is written once more, so that what is used stays.
//!
//! # When the process is killed
//!
//! After each write, and each part of one, the file holds nothing that was not true: a record's block is free until all
//! of it is there; a revision is ended or freed in the file before the last transaction moves. The newest records may be
//! missing. A file whose blocks do
//! not follow each other is set aside. When the machine itself fails, the system may have kept later writes and lost
//! earlier ones; see [`boot`].

mod boot;
mod disk;
mod format;
mod index;
#[cfg(test)]
mod python_tests;
mod ring;
mod scan;
#[cfg(test)]
mod tests;
mod trace;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use zeo_codec::{Oid, Tid};

use super::{Cache, Revision};
pub use disk::Disk;
use format::{BLOCK_LEN_MAX, END_AT, HEADER_LEN, Head, LAST_TID_AT, OVERHEAD, damage, free};
use index::{Index, POSITION_BITS, Position};
use ring::Ring;
use trace::{Code, Trace};

use crate::lock_file::{LockError, LockFile};

/// The smallest cache: Python's fails with less than one block.
const SIZE_MIN: u64 = 64;
/// The largest one: what the index can name.
const SIZE_MAX: u64 = 1 << POSITION_BITS;
/// If set and not empty, what is done with a cache is traced.
const TRACE_VARIABLE: &str = "ZEO_CACHE_TRACE";

/// A cache in a file of the format of Python's `ClientCache` (protocol reference 16). A write that is cut off, because the
/// process is killed, leaves no untruth in it.
#[derive(Debug)]
pub struct FileCache<D: Disk = File> {
    ring: Ring<D>,
    index: Index,
    last_tid: u64,
    trace: Option<Trace>,
    /// Goes last, when everything has been written.
    place: Option<Place>,
}

/// Where a file is.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    mark: boot::Mark,
    _lock: LockFile,
}

impl FileCache {
    /// How large Python's clients make it if nobody says anything else: 20 MB.
    pub const SIZE_DEFAULT: u64 = 20 * 1024 * 1024;

    /// Opens a file, or makes one; it will be `size` bytes long, 64 at least. A file that is damaged, or was in use when
    /// the machine failed, is renamed to `PATH.bad` (removed if there is one already) with a message in the log.
    ///
    /// With the variable `ZEO_CACHE_TRACE`, what is done is appended to `PATH.trace`.
    ///
    /// # Errors
    /// `WouldBlock` if another process has locked `PATH.lock`; whatever the system says.
    pub fn open(path: impl Into<PathBuf>, size: u64) -> io::Result<Self> {
        let path = path.into();
        let lock = LockFile::acquire(&beside(&path, ".lock")).map_err(|error| match error {
            LockError::Held { .. } => {
                let what = format!("{}: the cache file is in use: {error}", path.display());
                io::Error::new(io::ErrorKind::WouldBlock, what)
            }
            LockError::Io(error) => error,
        })?;
        let mark = boot::Mark::of(&path);
        if mark.is_broken()? {
            tracing::warn!("{}: the machine failed while it was in use", path.display());
            set_aside(&path)?;
        }
        let mut cache = match Self::reuse(&path, size) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!("{}: {error}", path.display());
                set_aside(&path)?;
                Self::reuse(&path, size)?
            }
            opened => opened?,
        };
        mark.make()?;
        if std::env::var_os(TRACE_VARIABLE).is_some_and(|value| !value.is_empty()) {
            let path = beside(&path, ".trace");
            cache.trace = Trace::open(&path)
                .inspect_err(|error| tracing::warn!("{}: no trace: {error}", path.display()))
                .ok();
        }
        cache.place = Some(Place { path, mark, _lock: lock });
        Ok(cache)
    }

    /// Makes one that goes with its owner, in the system's directory for temporary files.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn temporary(size: u64) -> io::Result<Self> {
        Self::on(tempfile::tempfile()?, size)
    }

    fn reuse(path: &Path, size: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        Self::on(file, size)
    }
}

impl<D: Disk> FileCache<D> {
    /// The same on anything that is like a file.
    ///
    /// # Errors
    /// `InvalidData` with the place if it is damaged; whatever the disk says.
    pub fn on(mut disk: D, size: u64) -> io::Result<Self> {
        let size = size.clamp(SIZE_MIN, SIZE_MAX);
        if disk.is_empty()? {
            scan::create(&mut disk, 0, size)?;
        }
        let scan::Scanned { index, last_tid, at } = scan::scan(&mut disk, size)?;
        Ok(Self { ring: Ring::new(disk, size, at), index, last_tid, trace: None, place: None })
    }

    /// How many revisions are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no revision in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The current revision, if it is older than `before`.
    fn load_current(&mut self, oid: u64, before: u64) -> io::Result<Option<Revision>> {
        let Some(position) = self.index.current(oid) else {
            self.note(Code::LoadMiss, oid, 0, 0, 0);
            return Ok(None);
        };
        let at = position.at;
        let (head, data) = self.ring.read(position, oid)?;
        if head.end != 0 {
            return Err(damage(at, "a revision that is not current"));
        }
        if head.start >= before {
            return Ok(None);
        }
        self.note(Code::LoadHit, oid, head.start, 0, head.data_len);
        let Ring { at: newest, size, .. } = self.ring;
        let behind = if newest >= at { newest - at } else { newest + size - at };
        let is_small = size > (head.len - OVERHEAD).saturating_mul(10);
        if behind.saturating_mul(5) > size.saturating_mul(4) && is_small {
            self.forget(&head, at)?;
            self.write(&head, &data)?;
        }
        Ok(Some(Revision { data, serial: Tid::from_u64(head.start), end: None }))
    }

    /// Turns the record there into a free block.
    fn forget(&mut self, head: &Head, at: u64) -> io::Result<()> {
        self.index.remove(head, at);
        self.ring.overwrite(at, &free(head.len))
    }

    /// Writes a record at the current position.
    fn write(&mut self, head: &Head, data: &[u8]) -> io::Result<()> {
        let at = self.ring.append(head, data, &mut self.index)?;
        // Whoever comes here has seen to it that there is no other.
        self.index.insert(head, at);
        Ok(())
    }

    fn note(&mut self, code: Code, oid: u64, start: u64, end: u64, data_len: usize) {
        if let Some(trace) = &mut self.trace
            && let Err(error) = trace.write(code, Some(oid), start, end, data_len)
        {
            tracing::warn!("no more trace of the cache: {error}");
            self.trace = None;
        }
    }

    /// What is damaged is not used again, not by the next process either.
    fn checked<R>(&self, result: io::Result<R>) -> io::Result<R> {
        if let (Err(error), Some(place)) = (&result, &self.place)
            && error.kind() == io::ErrorKind::InvalidData
        {
            set_aside(&place.path)?;
        }
        result
    }

    fn load_any(&mut self, oid: u64, before: u64) -> io::Result<Option<Revision>> {
        if let Some(position) = self.index.past_before(oid, before) {
            let (head, data) = self.ring.read(position, oid)?;
            if head.end == 0 {
                return Err(damage(position.at, "a revision that is still current"));
            }
            if head.end >= before {
                self.note(Code::LoadBeforeHit, oid, 0, head.start, 0);
                let end = Some(Tid::from_u64(head.end));
                return Ok(Some(Revision { data, serial: Tid::from_u64(head.start), end }));
            }
        }
        let found = self.load_current(oid, before)?;
        if found.is_none() {
            self.note(Code::LoadBeforeMiss, oid, 0, before, 0);
        }
        Ok(found)
    }

    fn put(&mut self, oid: u64, revision: &Revision) -> io::Result<()> {
        let (start, end) = (revision.serial.to_u64(), revision.end.map_or(0, Tid::to_u64));
        if revision.end.is_some_and(|end| end <= revision.serial) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a revision that ends before it begins"));
        }
        if end == 0
            && let Some(Position { at, .. }) = self.index.current(oid)
        {
            let head = self.ring.head(at)?;
            if head.start >= start {
                return Ok(());
            }
            self.forget(&head, at)?;
        }
        // Also one that is said to be current, but is known to have ended.
        if self.index.past(oid, start).is_some() {
            return Ok(());
        }
        let data_len = revision.data.len();
        let len = u64::try_from(data_len).unwrap_or(u64::MAX).saturating_add(OVERHEAD);
        if len >= BLOCK_LEN_MAX.min(self.ring.size - HEADER_LEN) {
            return Ok(());
        }
        self.write(&Head { len, oid, start, end, data_len }, &revision.data)?;
        let code = if end == 0 { Code::StoreCurrent } else { Code::StorePast };
        self.note(code, oid, start, end, data_len);
        Ok(())
    }

    fn end(&mut self, oid: u64, tid: Option<u64>) -> io::Result<()> {
        // Also of an object that is not in the index, but may be in the file.
        self.ring.flush()?;
        let traced = tid.unwrap_or_default();
        let Some(Position { at, .. }) = self.index.current(oid) else {
            self.note(Code::InvalidateMiss, oid, traced, 0, 0);
            return Ok(());
        };
        let head = self.ring.head(at)?;
        if head.oid != oid || head.end != 0 {
            return Err(damage(at, format_args!("not the current record of object {oid:#x}")));
        }
        let Some(tid) = tid else {
            self.forget(&head, at)?;
            self.note(Code::InvalidateForgotten, oid, 0, 0, 0);
            return Ok(());
        };
        if head.start >= tid {
            return Ok(());
        }
        self.ring.overwrite(at + END_AT, &tid.to_be_bytes())?;
        self.index.remove(&head, at);
        if let Some(other) = self.index.insert(&Head { end: tid, ..head }, at) {
            let other_head = self.ring.head(other)?;
            self.ring.overwrite(other, &free(other_head.len))?;
        }
        self.note(Code::InvalidateKept, oid, tid, 0, 0);
        Ok(())
    }
}

impl<D: Disk> Cache for FileCache<D> {
    fn last_tid(&self) -> Option<Tid> {
        (self.last_tid != 0).then(|| Tid::from_u64(self.last_tid))
    }

    fn set_last_tid(&mut self, tid: Tid) -> io::Result<()> {
        let tid = tid.to_u64();
        if tid == 0 || tid == self.last_tid {
            return Ok(());
        }
        if tid < self.last_tid && !self.is_empty() {
            let what = format!(
                "the last transaction of a cache goes back from {:016x} to {tid:016x}",
                self.last_tid
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        self.ring.flush()?;
        self.ring.overwrite(LAST_TID_AT, &tid.to_be_bytes())?;
        self.last_tid = tid;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    fn load_before(&mut self, oid: Oid, before: Tid) -> io::Result<Option<Revision>> {
        let found = self.load_any(oid.to_u64(), before.to_u64());
        self.checked(found)
    }

    fn store(&mut self, oid: Oid, revision: &Revision) -> io::Result<()> {
        let stored = self.put(oid.to_u64(), revision);
        self.checked(stored)
    }

    fn invalidate(&mut self, oid: Oid, tid: Option<Tid>) -> io::Result<()> {
        let ended = self.end(oid.to_u64(), tid.map(Tid::to_u64));
        self.checked(ended)
    }

    fn current(&mut self) -> io::Result<Vec<(Oid, Tid)>> {
        let mut found = Vec::new();
        for (oid, at) in self.index.all_current() {
            let head = self.ring.head(at);
            found.push((Oid::from_u64(oid), Tid::from_u64(self.checked(head)?.start)));
        }
        Ok(found)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.index = Index::default();
        self.ring.rewind();
        scan::create(&mut self.ring.disk, self.last_tid, self.ring.size)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.ring.flush()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.mark.end(&self.path) {
            tracing::warn!("{}: {error}", self.path.display());
        }
    }
}

/// The path of another file that belongs to the cache.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Renames a file that is of no use, or removes it if there is such a one already, as Python does.
fn set_aside(path: &Path) -> io::Result<()> {
    let bad = beside(path, ".bad");
    let done = if bad.exists() {
        tracing::error!("{}: removed, as {} exists", path.display(), bad.display());
        std::fs::remove_file(path)
    } else {
        tracing::error!("{}: renamed to {}", path.display(), bad.display());
        std::fs::rename(path, &bad)
    };
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
