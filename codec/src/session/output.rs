//! Bytes that wait to be written.

use alloc::vec::Vec;

/// Capacity beyond which an empty buffer is given back.
const KEPT_CAPACITY_LEN: usize = 256 * 1024;

/// One growing buffer, written from its front.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    written_len: usize,
}

impl Output {
    /// What has not been written yet.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        self.bytes.get(self.written_len..).unwrap_or_default()
    }

    /// Number of bytes that have not been written yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.written_len)
    }

    /// Whether everything has been written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that the first `len` unwritten bytes have been written.
    pub fn consume(&mut self, len: usize) {
        self.written_len = self.written_len.saturating_add(len).min(self.bytes.len());
        if self.written_len == self.bytes.len() {
            self.written_len = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_CAPACITY_LEN);
        } else if self.written_len > self.bytes.len() / 2 && self.written_len > KEPT_CAPACITY_LEN {
            self.bytes.drain(..self.written_len);
            self.written_len = 0;
        }
    }

    /// The buffer, for appending. Offsets into it hold until the next [`consume`](Self::consume).
    pub const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}
