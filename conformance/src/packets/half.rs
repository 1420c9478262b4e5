//! One direction of a TCP connection: segments in, the stream out.

use std::collections::BTreeMap;

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes of the stream.
    Bytes(&'a [u8]),
    /// So many bytes were not captured.
    Missing(u64),
    /// The stream has ended.
    End,
}

/// Bytes that wait behind a hole; with more, the hole is given up.
const WAITING_LEN_MAX: usize = 1 << 20;
/// The same for segments.
const WAITING_COUNT_MAX: usize = 4096;
/// Segments that may come, after the other side has confirmed what is missing, before it is given up: captures of
/// several queues or interfaces are a little out of order.
const PATIENCE: u32 = 32;

/// Puts the segments of one direction in order.
///
/// Positions count the bytes of the stream as far as it is known, so that a number of 32 bits may come around.
#[derive(Debug, Default)]
pub struct Half {
    /// Sequence number of the next byte, once one is known.
    next: Option<u32>,
    /// Position of the next byte.
    position: u64,
    /// Segments behind a hole, by position.
    waiting: BTreeMap<u64, Waiting>,
    waiting_len: usize,
    /// Where the stream ends, if that is known.
    end: Option<u64>,
    has_ended: bool,
    /// Segments since the other side confirmed something that is missing.
    patience: u32,
}

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    cut_len: usize,
}

type Take<'t, E> = dyn FnMut(Piece<'_>) -> Result<(), E> + 't;

impl Half {
    /// The stream begins behind this sequence number.
    pub const fn begin(&mut self, sequence: u32) {
        if self.next.is_none() {
            self.next = Some(sequence);
        }
    }

    /// Whether it is known where the stream goes on.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.next.is_some()
    }

    /// Whether the end was given out.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Bytes that wait behind a hole.
    #[must_use]
    pub const fn waiting_len(&self) -> usize {
        self.waiting_len
    }

    /// Takes a segment, of which `cut_len` bytes were not captured, and gives out what is in order now.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn segment<E>(
        &mut self,
        sequence: u32,
        bytes: &[u8],
        cut_len: usize,
        is_fin: bool,
        take: &mut Take<'_, E>,
    ) -> Result<(), E> {
        if self.has_ended {
            return Ok(());
        }
        let next = *self.next.get_or_insert(sequence);
        let ahead = i64::from(sequence.wrapping_sub(next).cast_signed());
        // Old bytes come again: of these, what is new.
        let (position, skipped_len) = match u64::try_from(ahead) {
            Ok(ahead) => (self.position.saturating_add(ahead), 0),
            Err(_) => (self.position, usize::try_from(ahead.unsigned_abs()).unwrap_or(usize::MAX)),
        };
        let whole_len = bytes.len().saturating_add(cut_len);
        let new_len = whole_len.saturating_sub(skipped_len);
        if is_fin && whole_len >= skipped_len {
            self.end.get_or_insert_with(|| position.saturating_add(new_len as u64));
        }
        if new_len > 0 {
            let bytes = bytes.get(skipped_len..).unwrap_or_default();
            let cut_len = new_len - bytes.len();
            if position == self.position {
                self.give(bytes, cut_len, take)?;
            } else {
                self.wait(position, bytes, cut_len);
            }
        }
        self.settle(take)?;
        if self.waiting_len > WAITING_LEN_MAX || self.waiting.len() > WAITING_COUNT_MAX {
            self.give_up(take)?;
        }
        Ok(())
    }

    /// The other side has confirmed everything before this sequence number.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn acknowledged<E>(&mut self, sequence: u32, take: &mut Take<'_, E>) -> Result<(), E> {
        let Some(next) = self.next else { return Ok(()) };
        let is_behind_hole = sequence.wrapping_sub(next).cast_signed() > 0;
        if !is_behind_hole || self.has_ended || (self.waiting.is_empty() && self.end.is_none()) {
            self.patience = 0;
            return Ok(());
        }
        self.patience += 1;
        if self.patience > PATIENCE { self.give_up(take) } else { Ok(()) }
    }

    /// Ends without a word: the connection is broken.
    pub fn close(&mut self) {
        self.has_ended = true;
        self.waiting.clear();
        self.waiting_len = 0;
    }

    /// Nothing more comes: gives out what is there, with its holes.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn finish<E>(&mut self, take: &mut Take<'_, E>) -> Result<(), E> {
        while !self.waiting.is_empty() || (self.end.is_some() && !self.has_ended) {
            self.give_up(take)?;
        }
        Ok(())
    }

    /// Gives up the first hole.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn give_up<E>(&mut self, take: &mut Take<'_, E>) -> Result<(), E> {
        self.patience = 0;
        let first = self.waiting.keys().next().copied();
        if let Some(to) = first.into_iter().chain(self.end).min() {
            self.skip(to.saturating_sub(self.position), take)?;
        }
        self.settle(take)
    }

    fn wait(&mut self, position: u64, bytes: &[u8], cut_len: usize) {
        // Of two that begin at the same place the longer one is kept.
        if let Some(other) = self.waiting.get(&position) {
            if other.bytes.len() >= bytes.len() {
                return;
            }
            self.waiting_len -= other.bytes.len();
        }
        self.waiting_len += bytes.len();
        self.waiting.insert(position, Waiting { bytes: bytes.to_vec(), cut_len });
    }

    fn give<E>(&mut self, bytes: &[u8], cut_len: usize, take: &mut Take<'_, E>) -> Result<(), E> {
        if !bytes.is_empty() {
            self.advance(bytes.len() as u64);
            take(Piece::Bytes(bytes))?;
        }
        self.skip(cut_len as u64, take)
    }

    fn skip<E>(&mut self, len: u64, take: &mut Take<'_, E>) -> Result<(), E> {
        if len == 0 {
            return Ok(());
        }
        self.advance(len);
        take(Piece::Missing(len))
    }

    fn advance(&mut self, len: u64) {
        self.position = self.position.saturating_add(len);
        // The lower half is what a sequence number has.
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers come around")]
        let len = len as u32;
        self.next = self.next.map(|next| next.wrapping_add(len));
    }

    /// Gives out what waits at the place that was reached.
    fn settle<E>(&mut self, take: &mut Take<'_, E>) -> Result<(), E> {
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= self.position
        {
            let (position, waiting) = entry.remove_entry();
            self.waiting_len -= waiting.bytes.len();
            let old_len = usize::try_from(self.position - position).unwrap_or(usize::MAX);
            let whole_len = waiting.bytes.len().saturating_add(waiting.cut_len);
            let new_len = whole_len.saturating_sub(old_len);
            let bytes = waiting.bytes.get(old_len..).unwrap_or_default();
            self.give(bytes, new_len - bytes.len().min(new_len), take)?;
        }
        if !self.has_ended && self.end.is_some_and(|end| end <= self.position) {
            self.has_ended = true;
            self.waiting.clear();
            self.waiting_len = 0;
            take(Piece::End)?;
        }
        Ok(())
    }
}
