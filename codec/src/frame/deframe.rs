//! From any chunks of a byte stream to whole frames.

use bytes::{Buf, Bytes, BytesMut};

use super::{Frame, FrameError, LENGTH_LEN, MAC_BIT, MAC_LEN};

/// What the top bit of a length prefix means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacBit {
    /// A MAC follows: ZEO 4, and the handshakes of every version.
    Announces,
    /// It is part of the length: ZEO 5.
    IsLength,
}

/// Collects bytes and cuts them into frames. Whole frames are handed out as slices of the buffer.
///
/// Memory is taken for bytes that have arrived, not for lengths that were announced.
#[derive(Debug)]
pub struct Deframer {
    buffer: BytesMut,
    /// Bytes of the stream before the buffer's first.
    consumed_len: u64,
    limit_len: usize,
    mac_bit: MacBit,
    /// The most that was pushed into this buffer: what it takes of memory.
    pushed_len_max: usize,
}

/// Memory that a buffer keeps for what is pushed next.
const KEPT_LEN: usize = 64 * 1024;

impl Deframer {
    /// Accepts payloads of at most `limit_len` bytes.
    #[must_use]
    pub fn new(limit_len: usize, mac_bit: MacBit) -> Self {
        Self { buffer: BytesMut::new(), consumed_len: 0, limit_len, mac_bit, pushed_len_max: 0 }
    }

    /// Changes the limit for the frames that have not been handed out yet.
    pub const fn set_limit(&mut self, limit_len: usize) {
        self.limit_len = limit_len;
    }

    /// Changes the meaning of the length's top bit for the frames that have not been handed out yet.
    pub const fn set_mac_bit(&mut self, mac_bit: MacBit) {
        self.mac_bit = mac_bit;
    }

    /// Adds bytes of the stream. What this takes of memory is given back when little of it is left; a driver that uses the
    /// [`buffer`](Self::buffer) sees to that itself.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.pushed_len_max = self.pushed_len_max.max(self.buffer.len());
    }

    /// Gives back what a large message needed, which may have been the last one.
    fn shrink(&mut self) {
        if self.pushed_len_max > KEPT_LEN && self.buffer.len() <= KEPT_LEN / 16 {
            self.buffer = BytesMut::from(&*self.buffer);
            self.pushed_len_max = self.buffer.len();
        }
    }

    /// The buffer, for a driver that reads from its socket straight into it. Only append.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes that have arrived, but not yet been handed out.
    #[must_use]
    pub fn buffered_len(&self) -> usize {
        self.buffer.len()
    }

    /// The bytes that have arrived, but not yet been handed out.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Drops up to `len` of them, to go on behind.
    pub fn discard(&mut self, len: usize) {
        let len = len.min(self.buffer.len());
        self.buffer.advance(len);
        self.consumed_len = self.consumed_len.saturating_add(len as u64);
        self.shrink();
    }

    /// How many bytes are missing until the frame at the front is complete, if that can be told and it is
    /// not complete yet.
    #[must_use]
    pub fn missing_len(&self) -> Option<usize> {
        let (header_len, payload_len) = self.header()?;
        (header_len + payload_len).checked_sub(self.buffer.len()).filter(|missing| *missing > 0)
    }

    /// Position in the stream of the next frame.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.consumed_len
    }

    fn header(&self) -> Option<(usize, usize)> {
        let length = u32::from_be_bytes(*self.buffer.first_chunk()?);
        let (mac_len, length) = match self.mac_bit {
            MacBit::Announces if length & MAC_BIT != 0 => (MAC_LEN, length & !MAC_BIT),
            MacBit::Announces | MacBit::IsLength => (0, length),
        };
        Some((LENGTH_LEN + mac_len, usize::try_from(length).unwrap_or(usize::MAX)))
    }

    /// The next whole frame; `None` until more bytes have come.
    ///
    /// # Errors
    /// [`FrameError::TooLong`], as soon as the length prefix is there. The stream cannot be continued.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((header_len, payload_len)) = self.header() else { return Ok(None) };
        if payload_len > self.limit_len {
            return Err(FrameError::TooLong {
                payload_len: u32::try_from(payload_len).unwrap_or(u32::MAX),
                limit_len: self.limit_len,
                offset: self.consumed_len,
            });
        }
        let frame_len = header_len + payload_len;
        if self.buffer.len() < frame_len {
            return Ok(None);
        }
        let mac = self.buffer.get(LENGTH_LEN..header_len).and_then(|mac| mac.try_into().ok());
        self.buffer.advance(header_len);
        let payload: Bytes = self.buffer.split_to(payload_len).freeze();
        self.consumed_len = self.consumed_len.saturating_add(frame_len as u64);
        self.shrink();
        Ok(Some(Frame { mac, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_length_beyond_the_limit_is_refused_at_once() {
        let mut deframer = Deframer::new(1000, MacBit::IsLength);
        deframer.push(b"\0\0\0\x02Z5\0\0\x03");
        assert_eq!(deframer.next_frame().unwrap().unwrap().payload, &b"Z5"[..]);
        assert_eq!(deframer.next_frame(), Ok(None));
        deframer.push(b"\xe9");
        let error = FrameError::TooLong { payload_len: 1001, limit_len: 1000, offset: 6 };
        assert_eq!(deframer.next_frame(), Err(error));
    }

    #[test]
    fn the_top_bit_is_a_mac_or_a_length() {
        let mut stream = b"\x80\0\0\x01".to_vec();
        stream.extend_from_slice(&[7; MAC_LEN]);
        stream.push(b'x');
        let mut deframer = Deframer::new(1000, MacBit::Announces);
        deframer.push(&stream);
        let frame = deframer.next_frame().unwrap().unwrap();
        assert_eq!((frame.mac, &frame.payload[..]), (Some([7; MAC_LEN]), &b"x"[..]));
        let mut deframer = Deframer::new(1000, MacBit::IsLength);
        deframer.push(&stream);
        assert!(deframer.next_frame().is_err());
    }

    #[test]
    fn memory_is_given_back_when_little_is_left() {
        const LEN: usize = 1 << 20;
        let mut deframer = Deframer::new(2 * LEN, MacBit::IsLength);
        let keeps = |deframer: &mut Deframer| deframer.buffer().try_reclaim(LEN / 2);
        deframer.push(&[7; LEN]);
        deframer.discard(LEN - 3);
        assert!(!keeps(&mut deframer), "what was passed over");
        assert_eq!(deframer.buffered(), [7; 3]);
        deframer.discard(3);
        deframer.push(&u32::try_from(LEN).unwrap().to_be_bytes());
        deframer.push(&[0; LEN + 2]);
        drop(deframer.next_frame().unwrap().unwrap());
        assert!(!keeps(&mut deframer), "a message that is gone");
        assert_eq!(deframer.buffered(), [0; 2]);
    }

    #[test]
    fn tells_how_much_is_missing() {
        let mut deframer = Deframer::new(1000, MacBit::IsLength);
        assert_eq!(deframer.missing_len(), None);
        deframer.push(b"\0\0\0\x05ab");
        assert_eq!(deframer.missing_len(), Some(3));
        deframer.push(b"cde");
        assert_eq!(deframer.missing_len(), None);
        let frames: Vec<Frame> = core::iter::from_fn(|| deframer.next_frame().unwrap()).collect();
        assert_eq!(frames.len(), 1);
    }
}
