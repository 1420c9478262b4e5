//! The blocks of the file, and the newest records, which are not in it yet.
//!
//! Records that are stored one after the other are written together. Until then they are read from memory. All of them
//! lie in one free block until the first bytes of the first one are written: a write that is cut off leaves no untruth.
//!
//! What had to make room for them is in the file until then, too. So whatever makes it untrue, an invalidation or a
//! later transaction, must [`flush`](Ring::flush) first.

use std::io;

use bytes::Bytes;

use super::disk::Disk;
use super::format::{Block, HEAD_LEN, HEADER_LEN, Head, damage, free, status};
use super::index::{Index, Position};

/// How much is read at once at most; longer records are read in two parts, their beginning first.
const READ_LEN: usize = 4096;
/// Records beyond that many bytes are written.
const UNWRITTEN_LEN_MAX: usize = 64 * 1024;
/// What the status of a block and its length take.
const STATUS_LEN: usize = 5;

/// A file of blocks.
#[derive(Debug)]
pub(super) struct Ring<D: Disk> {
    pub(super) disk: D,
    pub(super) size: u64,
    /// Where the next record goes: the offset of a block, behind what is unwritten.
    pub(super) at: u64,
    /// So many bytes from there on are free; that there may be more is not known.
    free_len: u64,
    /// Where what is unwritten begins.
    start: u64,
    unwritten: Vec<u8>,
    scratch: Vec<u8>,
}

impl<D: Disk> Ring<D> {
    /// Blocks up to `size`; `at` is where the next record goes.
    pub(super) fn new(disk: D, size: u64, at: u64) -> Self {
        Self { disk, size, at, free_len: 0, start: at, unwritten: Vec::new(), scratch: vec![0; READ_LEN] }
    }

    /// Nothing is unwritten any more, and the next record is the first one.
    pub(super) fn rewind(&mut self) {
        self.unwritten.clear();
        self.at = HEADER_LEN;
        self.free_len = 0;
    }

    /// The record there, which was put into the index.
    pub(super) fn head(&mut self, at: u64) -> io::Result<Head> {
        match self.block(at, HEAD_LEN)? {
            Block::Record(head) => Ok(head),
            Block::Free(_) => Err(damage(at, "a record is gone")),
        }
    }

    /// The record there, with its data.
    pub(super) fn read(&mut self, position: Position, oid: u64) -> io::Result<(Head, Bytes)> {
        let at = position.at;
        let read_len = position.len.unwrap_or(READ_LEN).min(READ_LEN);
        let Block::Record(head) = self.block(at, read_len)? else {
            return Err(damage(at, "a record is gone"));
        };
        let tail = oid.to_be_bytes();
        let body_len = head.data_len.saturating_add(tail.len());
        let data = match self.scratch.get(HEAD_LEN..read_len).and_then(|read| read.get(..body_len)) {
            Some(body) => body.strip_suffix(&tail).map(Bytes::copy_from_slice),
            None => {
                let mut body = vec![0; body_len];
                self.read_at(at.saturating_add(35), &mut body)?;
                body.ends_with(&tail).then(|| Bytes::from(body).slice(..head.data_len))
            }
        };
        match data {
            Some(data) if head.oid == oid => Ok((head, data)),
            _ => Err(damage(at, format_args!("not a record of object {oid:#x}"))),
        }
    }

    /// The block there; at most that many bytes of it are in the scratch then.
    pub(super) fn block(&mut self, at: u64, len: usize) -> io::Result<Block> {
        let rest = self.size.saturating_sub(at);
        let mut len = usize::try_from(rest).unwrap_or(len).min(len);
        if let Some(offset) = self.offset(at) {
            len = len.min(self.unwritten.len() - offset);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.read_at(at, scratch.get_mut(..len).unwrap_or_default());
        self.scratch = scratch;
        read?;
        let block = Block::parse(self.scratch.get(..len).unwrap_or_default(), at)?;
        if block.len() > rest {
            return Err(damage(at, "a block that goes beyond the end"));
        }
        Ok(block)
    }

    /// Where in what is unwritten this is.
    fn offset(&self, at: u64) -> Option<usize> {
        let offset = usize::try_from(at.checked_sub(self.start)?).ok()?;
        (offset < self.unwritten.len()).then_some(offset)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let Some(offset) = self.offset(at) else { return self.disk.read_at(at, into) };
        let found = self.unwritten.get(offset..offset.saturating_add(into.len()));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// Changes a part of a record, or turns one into a free block.
    pub(super) fn overwrite(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(offset) = self.offset(at) else { return self.disk.write_at(at, bytes) };
        let place = self.unwritten.get_mut(offset..offset.saturating_add(bytes.len()));
        place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(bytes);
        Ok(())
    }

    /// A new record; where it is. What is in the way goes, and is taken out of the index.
    pub(super) fn append(&mut self, head: &Head, data: &[u8], index: &mut Index) -> io::Result<u64> {
        let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let (block_len, data_len) = (u32::try_from(head.len), u32::try_from(data.len()));
        let (block_len, data_len) = (block_len.map_err(too_long)?, data_len.map_err(too_long)?);
        // One byte more: a free block always follows the newest record.
        self.make_room(head.len + 1, index)?;
        let at = self.at;
        if self.unwritten.is_empty() {
            self.start = at;
        }
        self.unwritten.extend_from_slice(&status(b'a', block_len));
        for number in [head.oid, head.start, head.end] {
            self.unwritten.extend_from_slice(&number.to_be_bytes());
        }
        self.unwritten.extend_from_slice(&0_u16.to_be_bytes());
        self.unwritten.extend_from_slice(&data_len.to_be_bytes());
        self.unwritten.extend_from_slice(data);
        self.unwritten.extend_from_slice(&head.oid.to_be_bytes());
        self.at += head.len;
        self.free_len -= head.len;
        if self.unwritten.len() > UNWRITTEN_LEN_MAX {
            self.flush()?;
        }
        Ok(at)
    }

    /// Forgets what lies within so many bytes from the current position on, which goes back to the beginning if it is
    /// too near to the end.
    fn make_room(&mut self, len: u64, index: &mut Index) -> io::Result<()> {
        if self.at + len > self.size {
            self.flush()?;
            self.rewind();
        }
        while self.free_len < len {
            let end = self.at + self.free_len;
            let block = self.block(end, HEAD_LEN)?;
            if let Block::Record(head) = block {
                index.remove(&head, end);
            }
            self.free_len += block.len();
        }
        Ok(())
    }

    /// Writes what is unwritten.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(first) = self.unwritten.first_chunk::<STATUS_LEN>().copied() else { return Ok(()) };
        let mut bytes = std::mem::take(&mut self.unwritten);
        let len = u64::try_from(bytes.len()).map_err(io::Error::other)?;
        // A record is longer than four bytes, so this has as many as the status of the first one.
        for (byte, free) in bytes.iter_mut().zip(free(len + self.free_len)) {
            *byte = free;
        }
        bytes.extend_from_slice(&free(self.free_len));
        self.disk.write_at(self.start, &bytes)?;
        self.disk.write_at(self.start, &first)?;
        bytes.clear();
        bytes.shrink_to(2 * UNWRITTEN_LEN_MAX);
        self.unwritten = bytes;
        Ok(())
    }
}

impl<D: Disk> Drop for Ring<D> {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!("the newest records of the cache are lost: {error}");
        }
    }
}
