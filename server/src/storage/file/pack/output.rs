//! The new data file while it is written.

use std::io;
use std::sync::Arc;

use super::super::disk::Disk;
use super::super::format::{DATA_HEADER_LEN, DataHeader, POS_MAX, span};

/// Bytes written at once.
const BUFFER_LEN: usize = 1 << 20;
/// Bytes after which is synced, so that the last sync has little to do, and the commits of others, which sync as
/// well, never wait for more than this to reach the disk.
const SYNC_LEN: u64 = 32 << 20;

/// Appends to a disk through a buffer.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) disk: Arc<dyn Disk>,
    buffer: Vec<u8>,
    /// Where the buffer begins.
    flushed_pos: u64,
    unsynced_len: u64,
}

impl Output {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, buffer: Vec::with_capacity(2 * BUFFER_LEN), flushed_pos: 0, unsynced_len: 0 }
    }

    /// Where the next byte goes.
    pub(super) fn pos(&self) -> u64 {
        self.flushed_pos.saturating_add(span(self.buffer.len()))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.flush_if_full()
    }

    pub(super) fn header(&mut self, header: &DataHeader) -> io::Result<()> {
        header.emit(&mut self.buffer);
        self.flush_if_full()
    }

    /// Copies `len` bytes of `source` from `pos` on.
    pub(super) fn copy(&mut self, source: &dyn Disk, mut pos: u64, len: u64) -> io::Result<()> {
        let mut left_len = len;
        while left_len > 0 {
            let piece_len = usize::try_from(left_len).unwrap_or(usize::MAX).min(BUFFER_LEN);
            let start = self.buffer.len();
            self.buffer.resize(start + piece_len, 0);
            source.read_exact_at(self.buffer.get_mut(start..).unwrap_or_default(), pos)?;
            self.flush_if_full()?;
            pos = pos.saturating_add(span(piece_len));
            left_len -= span(piece_len);
        }
        Ok(())
    }

    /// Overwrites the number at `pos`, which has been written.
    pub(super) fn patch(&mut self, pos: u64, number: u64) -> io::Result<()> {
        let bytes = number.to_be_bytes();
        let in_buffer = pos.checked_sub(self.flushed_pos).and_then(|at| usize::try_from(at).ok());
        match in_buffer.and_then(|at| self.buffer.get_mut(at..at.checked_add(bytes.len())?)) {
            Some(place) => {
                place.copy_from_slice(&bytes);
                Ok(())
            }
            None => {
                // A number that lies across the border of the buffer is all on the disk then.
                self.flush()?;
                self.disk.write_all_at(&bytes, pos)
            }
        }
    }

    /// The header of the record at `pos`, which has been written.
    pub(super) fn header_at(&self, pos: u64) -> io::Result<DataHeader> {
        let mut bytes = [0; DATA_HEADER_LEN];
        let on_disk_len = usize::try_from(self.flushed_pos.saturating_sub(pos)).unwrap_or(usize::MAX);
        let (on_disk, in_buffer) = bytes.split_at_mut(on_disk_len.min(DATA_HEADER_LEN));
        self.disk.read_exact_at(on_disk, pos)?;
        let at = usize::try_from(pos.saturating_sub(self.flushed_pos)).map_err(io::Error::other)?;
        let rest = self.buffer.get(at..).and_then(|rest| rest.get(..in_buffer.len()));
        in_buffer.copy_from_slice(rest.ok_or(io::ErrorKind::UnexpectedEof)?);
        DataHeader::parse(&bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Hands everything to the operating system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.pos() > POS_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.disk.write_all_at(&self.buffer, self.flushed_pos)?;
        self.flushed_pos = self.pos();
        self.unsynced_len += span(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.disk.sync_data()?;
        self.unsynced_len = 0;
        Ok(())
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() < BUFFER_LEN {
            return Ok(());
        }
        if self.unsynced_len >= SYNC_LEN { self.sync() } else { self.flush() }
    }
}
