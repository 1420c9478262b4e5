//! Sequential reading of a large file through one buffer.

use std::io;

use super::disk::Disk;
use super::format::{span, transaction_field};

/// Bytes read at once by a scan: large enough for the speed of a disk, small beside everything else.
pub(crate) const SCAN_WINDOW_LEN: usize = 1 << 20;

/// A window onto a disk that moves where it is asked to.
#[derive(Debug)]
pub(crate) struct Window<'d> {
    disk: &'d dyn Disk,
    end_pos: u64,
    buffer: Vec<u8>,
    start_pos: u64,
    filled_len: usize,
}

impl<'d> Window<'d> {
    /// A window of `window_len` bytes onto the first `end_pos` bytes of `disk`.
    pub(crate) fn new(disk: &'d dyn Disk, end_pos: u64, window_len: usize) -> Self {
        Self { disk, end_pos, buffer: vec![0; window_len], start_pos: 0, filled_len: 0 }
    }

    /// Where the bytes end that this window shows.
    pub(crate) const fn end_pos(&self) -> u64 {
        self.end_pos
    }

    /// Shows the bytes up to `end_pos`, which have been written since.
    pub(crate) const fn extend(&mut self, end_pos: u64) {
        self.end_pos = end_pos;
    }

    /// Where the bytes begin that are held.
    pub(crate) const fn start_pos(&self) -> u64 {
        self.start_pos
    }

    /// The `len` bytes at `pos`; `len` at most the window's. `UnexpectedEof` where they reach beyond the end.
    pub(crate) fn bytes(&mut self, pos: u64, len: usize) -> io::Result<&[u8]> {
        if !self.holds(pos, len) {
            self.fill(pos)?;
        }
        let from = usize::try_from(pos - self.start_pos).map_err(io::Error::other)?;
        let filled = self.buffer.get(..self.filled_len).unwrap_or_default();
        let to = from.saturating_add(len);
        filled.get(from..to).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The `len` bytes before `end_pos`, for who goes backwards: where they have to be read, what is before them is
    /// read with them. Otherwise as [`bytes`](Self::bytes).
    pub(crate) fn bytes_before(&mut self, end_pos: u64, len: usize) -> io::Result<&[u8]> {
        let pos = end_pos.checked_sub(span(len)).ok_or(io::ErrorKind::UnexpectedEof)?;
        if !self.holds(pos, len) {
            self.fill(end_pos.saturating_sub(span(self.buffer.len())))?;
        }
        self.bytes(pos, len)
    }

    fn holds(&self, pos: u64, len: usize) -> bool {
        pos >= self.start_pos
            && pos.saturating_add(span(len)) <= self.start_pos.saturating_add(span(self.filled_len))
    }

    /// The eight-byte number at `pos`.
    pub(crate) fn number(&mut self, pos: u64) -> io::Result<u64> {
        let bytes = self.bytes(pos, transaction_field::TID.len())?;
        bytes.try_into().map(u64::from_be_bytes).map_err(io::Error::other)
    }

    /// The eight-byte number that ends at `end_pos`, for who goes backwards.
    pub(crate) fn number_before(&mut self, end_pos: u64) -> io::Result<u64> {
        let bytes = self.bytes_before(end_pos, transaction_field::TID.len())?;
        bytes.try_into().map(u64::from_be_bytes).map_err(io::Error::other)
    }

    fn fill(&mut self, pos: u64) -> io::Result<()> {
        let left_len = self.end_pos.saturating_sub(pos);
        let len = usize::try_from(left_len).unwrap_or(usize::MAX).min(self.buffer.len());
        self.start_pos = pos;
        self.filled_len = 0;
        let place = self.buffer.get_mut(..len).unwrap_or_default();
        self.disk.read_exact_at(place, pos)?;
        self.filled_len = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::disk::MemoryDisk;

    #[test]
    fn shows_every_range_and_nothing_beyond_the_end() {
        let bytes: Vec<u8> = (0..=255).collect();
        let disk = MemoryDisk::new(bytes.clone());
        let mut window = Window::new(&disk, 200, 16);
        let mut backwards = Window::new(&disk, 200, 16);
        for pos in [0_u64, 1, 15, 16, 17, 190, 3, 184, 100] {
            for len in 0..=16 {
                let from = usize::try_from(pos).unwrap();
                if from + len <= 200 {
                    assert_eq!(window.bytes(pos, len).unwrap(), &bytes[from..from + len]);
                    let before = backwards.bytes_before(pos + span(len), len).unwrap();
                    assert_eq!(before, &bytes[from..from + len]);
                } else {
                    assert_eq!(window.bytes(pos, len).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
                    let error = backwards.bytes_before(pos + span(len), len).unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                }
            }
        }
        assert_eq!(window.number(1).unwrap(), 0x0102_0304_0506_0708);
        assert!(window.bytes(u64::MAX, 3).is_err());
        assert!(window.bytes_before(2, 3).is_err());
    }
}
