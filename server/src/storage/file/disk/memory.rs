//! A disk in memory that remembers every change, for tests, fuzzing and power-cut replay.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Disk;

/// One change of a [`MemoryDisk`], in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `bytes` were written at `pos`.
    Write {
        /// Position in bytes.
        pos: u64,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// The length was set.
    SetLen(u64),
    /// Everything before became durable.
    Sync,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    changes: Vec<Change>,
}

/// Bytes in memory, and the record of how they came there.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    content: Mutex<Content>,
}

impl MemoryDisk {
    /// A disk that holds `bytes`, all of them durable.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self { content: Mutex::new(Content { bytes, changes: Vec::new() }) }
    }

    /// A copy of all bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// A copy of all changes so far.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.lock().changes.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        // Nothing below panics half-way through a change.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts `written` into `bytes` at `pos`, with zeros between if need be, as a file would.
pub(crate) fn put(bytes: &mut Vec<u8>, pos: u64, written: &[u8]) -> io::Result<()> {
    let start = usize::try_from(pos).map_err(io::Error::other)?;
    let end = start.checked_add(written.len()).ok_or_else(|| io::Error::other("position overflow"))?;
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(start..end) {
        place.copy_from_slice(written);
    }
    Ok(())
}

impl Disk for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        u64::try_from(self.lock().bytes.len()).map_err(io::Error::other)
    }

    fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()> {
        let content = self.lock();
        let start = usize::try_from(pos).map_err(io::Error::other)?;
        let end = start.checked_add(buffer.len()).ok_or_else(|| io::Error::other("position overflow"))?;
        let bytes = content.bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        let mut content = self.lock();
        put(&mut content.bytes, pos, bytes)?;
        content.changes.push(Change::Write { pos, bytes: bytes.to_vec() });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.lock().changes.push(Change::Sync);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.lock();
        content.bytes.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        content.changes.push(Change::SetLen(len));
        Ok(())
    }

    fn reserve(&self, _pos: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}
