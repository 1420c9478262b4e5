//! Bytes that wait to be written.

use alloc::vec::Vec;

use bytes::{Buf as _, Bytes};

use crate::dialect::Dialect;
use crate::emit::EncodeError;
use crate::envelope::{Body, Flag, MsgId, write_message, write_message_sharing};
use crate::share::{Shared, Sharing};

/// Capacity beyond which an empty buffer is given back.
const KEPT_CAPACITY_LEN: usize = 256 * 1024;

/// One growing buffer, written from its front, and between its bytes large records that stay where they are.
///
/// ```text
///  bytes   | written | header of a frame |  rest of it, more frames  |
///                                        ^
///  shared                                `- at: a record of 1 MB
/// ```
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    written_len: usize,
    shared: Shared,
}

impl Output {
    /// The first contiguous part of what has not been written yet; empty only if nothing is left.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        match self.shared.parts.front() {
            None => self.bytes.get(self.written_len..).unwrap_or_default(),
            Some(part) if part.at <= self.written_len => &part.data,
            Some(part) => self.bytes.get(self.written_len..part.at).unwrap_or_default(),
        }
    }

    /// All that has not been written yet, in contiguous parts, for vectored writes. No part is empty.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = self.written_len;
        let mixed = self.shared.parts.iter().flat_map(move |part| {
            let before = self.bytes.get(from..part.at).unwrap_or_default();
            from = part.at.max(from);
            [before, &*part.data]
        });
        let last = self.shared.parts.back().map_or(0, |part| part.at).max(self.written_len);
        mixed.chain([self.bytes.get(last..).unwrap_or_default()]).filter(|slice| !slice.is_empty())
    }

    /// Number of bytes that have not been written yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.written_len).saturating_add(self.shared.len)
    }

    /// Whether everything has been written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that the first `len` unwritten bytes have been written.
    pub fn consume(&mut self, mut len: usize) {
        while let Some(part) = self.shared.parts.front_mut() {
            // First the buffer's bytes before the record, then the record.
            let before_len = part.at.saturating_sub(self.written_len).min(len);
            self.written_len += before_len;
            let data_len = part.data.len().min(len - before_len);
            part.data.advance(data_len);
            self.shared.len -= data_len;
            len -= before_len + data_len;
            if !part.data.is_empty() {
                break;
            }
            self.shared.parts.pop_front();
        }
        self.written_len = self.written_len.saturating_add(len).min(self.bytes.len());
        self.forget_written();
    }

    fn forget_written(&mut self) {
        if self.is_empty() {
            self.written_len = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_CAPACITY_LEN);
        } else if self.written_len > self.bytes.len() / 2 && self.written_len > KEPT_CAPACITY_LEN {
            self.bytes.drain(..self.written_len);
            for part in &mut self.shared.parts {
                part.at -= self.written_len;
            }
            self.written_len = 0;
        }
    }

    /// The buffer, for appending. Offsets into it hold until the next [`consume`](Self::consume). What was in
    /// it when this was called must stay.
    pub const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a message as a whole frame; see [`write_message`].
    ///
    /// # Errors
    /// [`EncodeError`] if the framing has no form for a value, or the message exceeds 4 GiB; nothing was
    /// written.
    pub fn message(
        &mut self,
        dialect: &Dialect,
        id: &MsgId<'_>,
        flag: Flag,
        name: &str,
        body: &impl Body,
    ) -> Result<(), EncodeError> {
        write_message(&mut self.bytes, dialect, id, flag, name, body)
    }

    /// Appends a message as a whole frame. Records of 2 KiB and more that lie inside `memory` are not copied:
    /// they are sent from there, and keep it alive as long as that takes.
    ///
    /// # Errors
    /// As [`message`](Self::message).
    pub fn message_sharing(
        &mut self,
        dialect: &Dialect,
        id: &MsgId<'_>,
        flag: Flag,
        name: &str,
        body: &impl Body,
        memory: &Bytes,
    ) -> Result<(), EncodeError> {
        let sharing = Sharing { memory, shared: &mut self.shared };
        write_message_sharing(&mut self.bytes, sharing, dialect, id, flag, name, body)
    }
}
