//! Bytes that wait to be written.

use alloc::vec::Vec;
use core::mem;
use core::ops::Range;

use bytes::{Buf as _, Bytes};

use crate::dialect::Dialect;
use crate::digest::Macs;
use crate::emit::{EncodeError, Holes};
use crate::envelope::{Body, Flag, MsgId, write_message, write_message_around, write_message_sharing};
use crate::frame::{LENGTH_LEN, MAC_BIT, write_frame};
use crate::share::{Shared, Sharing};

/// Capacity beyond which an empty buffer is given back.
const KEPT_CAPACITY_LEN: usize = 256 * 1024;
/// More bytes than mostly stand around the data of a message.
const AROUND_LEN: usize = 1024;

/// One growing buffer, written from its front, and between its bytes large records that stay where they are.
///
/// ```text
///  bytes   | written | header of a frame |  rest of it, more frames  | room |
///                                        ^                           ^
///  shared                                `- at: a record of 1 MB     `- filled_len
/// ```
///
/// The room is memory that holds old bytes, or zeros. It is kept from one batch of messages to the next, so that what
/// is read straight into it need not be cleared first.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    filled_len: usize,
    written_len: usize,
    shared: Shared,
    read_ahead: ReadAhead,
    /// Puts a MAC into every frame from here on.
    macs: Option<Macs>,
}

/// Data that may have been read before its message is written.
#[derive(Debug, Default)]
struct ReadAhead {
    /// Where it is in the buffer; empty if there is none.
    data: Range<usize>,
    /// Number of bytes that stood before the data in the last such message; the next one is mostly alike.
    before_len: usize,
    /// What stands before and behind the data of a message; here only while that is put together.
    around: Vec<u8>,
}

/// A place in an output, until something of it is written.
#[derive(Debug, Clone, Copy)]
pub struct Mark(usize);

impl Output {
    /// The first contiguous part of what has not been written yet; empty only if nothing is left.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        match self.shared.parts.front() {
            None => self.bytes.get(self.written_len..self.filled_len).unwrap_or_default(),
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
        mixed
            .chain([self.bytes.get(last..self.filled_len).unwrap_or_default()])
            .filter(|slice| !slice.is_empty())
    }

    /// Number of bytes that have not been written yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.filled_len.saturating_sub(self.written_len).saturating_add(self.shared.len)
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
        self.written_len = self.written_len.saturating_add(len).min(self.filled_len);
        self.forget_written();
    }

    fn forget_written(&mut self) {
        self.read_ahead.data = 0..0;
        if self.is_empty() {
            (self.written_len, self.filled_len) = (0, 0);
            self.bytes.truncate(KEPT_CAPACITY_LEN);
            self.bytes.shrink_to(KEPT_CAPACITY_LEN);
        } else if self.written_len > self.filled_len / 2 && self.written_len > KEPT_CAPACITY_LEN {
            self.bytes.drain(..self.written_len);
            self.filled_len -= self.written_len;
            for part in &mut self.shared.parts {
                part.at -= self.written_len;
            }
            self.written_len = 0;
        }
    }

    /// Lets `write` append to the buffer.
    fn append<T>(&mut self, write: impl FnOnce(&mut Vec<u8>, &mut Shared) -> T) -> T {
        self.read_ahead.data = 0..0;
        self.bytes.truncate(self.filled_len);
        let result = write(&mut self.bytes, &mut self.shared);
        if let Some(macs) = &mut self.macs {
            let plain = self.bytes.split_off(self.filled_len);
            write_with_macs(&mut self.bytes, &plain, macs);
        }
        self.filled_len = self.bytes.len();
        result
    }

    /// Gives every frame from here on a MAC (ZEO 4, [`digest`](crate::digest)). Records are copied then, wherever they
    /// lie.
    pub fn set_macs(&mut self, macs: Macs) {
        self.macs = Some(macs);
    }

    /// Whether frames get MACs: [`message_around`](Self::message_around) cannot be used then.
    #[must_use]
    pub const fn has_macs(&self) -> bool {
        self.macs.is_some()
    }

    /// Appends a frame; one beyond 4 GiB is left out.
    pub fn frame(&mut self, payload: &[u8]) {
        self.append(|bytes, _| write_frame(bytes, payload));
    }

    /// Appends frames that were encoded before.
    pub fn frames(&mut self, frames: &[u8]) {
        self.append(|bytes, _| bytes.extend_from_slice(frames));
    }

    /// Appends a message as a whole frame; see [`write_message`].
    ///
    /// # Errors
    /// [`EncodeError`] if the framing has no form for a value, or the message exceeds 4 GiB (before
    /// ZEO 5, 2 GiB); nothing was written.
    pub fn message(
        &mut self,
        dialect: &Dialect,
        id: &MsgId<'_>,
        flag: Flag,
        name: &str,
        body: &impl Body,
    ) -> Result<(), EncodeError> {
        self.append(|bytes, _| write_message(bytes, dialect, id, flag, name, body))
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
        if self.has_macs() {
            return self.message(dialect, id, flag, name, body);
        }
        self.append(|bytes, shared| {
            let sharing = Sharing { memory, shared };
            write_message_sharing(bytes, sharing, dialect, id, flag, name, body)
        })
    }

    /// `len` bytes to read data into before its message can be written, with anything in them. They lie where the
    /// data of a message like the last such one goes. They are part of the output only when
    /// [`message_around`](Self::message_around) makes them so; all other writing forgets them.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let at = self.filled_len.saturating_add(self.read_ahead.before_len);
        self.read_ahead.data = at..at.saturating_add(len);
        self.reach(self.read_ahead.data.end);
        self.data_mut()
    }

    /// Makes the buffer at least `len` bytes long.
    fn reach(&mut self, len: usize) {
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
    }

    /// Appends a message in which one byte string is left out, by [`Emit::bytes_hole`](crate::Emit::bytes_hole). As far
    /// as its bytes have been read into the [`room`](Self::room) they are there; the rest is to be put into
    /// [`data_mut`](Self::data_mut).
    ///
    /// # Errors
    /// As [`message`](Self::message), and if `body` leaves out none or several byte strings, or frames get MACs, which
    /// need all bytes at once; the room is as it was.
    pub fn message_around(
        &mut self,
        dialect: &Dialect,
        id: &MsgId<'_>,
        flag: Flag,
        name: &str,
        body: &impl Body,
    ) -> Result<(), EncodeError> {
        if self.has_macs() {
            return Err(EncodeError);
        }
        let mut around = mem::take(&mut self.read_ahead.around);
        around.clear();
        let written = write_message_around(&mut around, dialect, id, flag, name, body);
        let placed = written.map(|hole| self.place(&around, &hole));
        around.shrink_to(AROUND_LEN);
        self.read_ahead.around = around;
        placed
    }

    /// The data of the message that [`message_around`](Self::message_around) has just appended.
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.read_ahead.data.clone()).unwrap_or_default()
    }

    /// Puts a message around the data that has been read.
    fn place(&mut self, around: &[u8], hole: &Holes) {
        let (before, behind) = around.split_at_checked(hole.at).unwrap_or_default();
        let data_at = self.filled_len + before.len();
        let data_end = data_at + hole.len;
        let end = data_end + behind.len();
        self.reach(end);
        let room = mem::replace(&mut self.read_ahead.data, data_at..data_end);
        if room.start != data_at {
            let read_end = room.end.min(room.start.saturating_add(hole.len));
            self.bytes.copy_within(room.start..read_end, data_at);
        }
        let mut put = |range, bytes: &[u8]| {
            if let Some(place) = self.bytes.get_mut::<Range<usize>>(range) {
                place.copy_from_slice(bytes);
            }
        };
        put(self.filled_len..data_at, before);
        put(data_end..end, behind);
        self.read_ahead.before_len = before.len().min(AROUND_LEN);
        self.filled_len = end;
    }

    /// Where the output ends now.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark(self.filled_len)
    }

    /// Takes back the messages that were appended behind `mark`, of which nothing has been written yet and no record
    /// is shared: those of [`message_around`](Self::message_around) whose data could not be had.
    pub fn take_back(&mut self, mark: Mark) {
        self.read_ahead.data = 0..0;
        self.filled_len = self.filled_len.min(mark.0.max(self.written_len));
    }
}

/// Copies frames, each with its MAC. A payload beyond 2 GiB, which no length has room for beside the bit that announces
/// the MAC, is left out; ZEO 4 has none.
fn write_with_macs(out: &mut Vec<u8>, mut frames: &[u8], macs: &mut Macs) {
    while let Some((length, rest)) = frames.split_first_chunk::<LENGTH_LEN>() {
        let length = u32::from_be_bytes(*length);
        let payload_len = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        let (payload, rest) = rest.split_at(payload_len);
        frames = rest;
        if length & MAC_BIT == 0 {
            out.extend_from_slice(&(length | MAC_BIT).to_be_bytes());
            out.extend_from_slice(&macs.next(payload));
            out.extend_from_slice(payload);
        }
    }
}
