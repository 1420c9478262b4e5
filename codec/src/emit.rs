//! One way to write a message, whatever the framing.
//!
//! A call or reply is written once, against [`Emit`]; the framings implement it over one output buffer.
//! Nothing is built only to be written out again.

use crate::value::Value;
use crate::{Oid, Tid};

/// The places where a writer left out bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holes {
    pub(crate) count: usize,
    /// Sum of their lengths.
    pub(crate) len: usize,
    /// Where in the buffer the last one is.
    pub(crate) at: usize,
}

impl Holes {
    pub(crate) const NONE: Self = Self { count: 0, len: 0, at: 0 };

    pub(crate) const fn add(&mut self, at: usize, len: usize) {
        *self = Self { count: self.count.saturating_add(1), len: self.len.saturating_add(len), at };
    }
}

/// A value that a framing cannot express, for example an integer beyond 64 bits in msgpack. Python's
/// server answers `ValueError("Couldn't pickle response")` in its place (protocol reference 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be expressed in this framing")]
pub struct EncodeError;

/// Writes values in the order in which they are called, straight into the output buffer.
pub trait Emit: Sized {
    /// `None`.
    fn none(&mut self);
    /// `True` or `False`.
    fn bool(&mut self, bit: bool);
    /// A signed integer.
    fn int(&mut self, number: i64);
    /// An unsigned integer.
    fn uint(&mut self, number: u64);
    /// A float.
    fn float(&mut self, number: f64);
    /// A byte string: oids, tids, records, metadata.
    fn bytes(&mut self, bytes: &[u8]);
    /// A byte string of `len` bytes that are not at hand yet: the message is written around them
    /// ([`Output::message_around`](crate::session::Output::message_around)), and no other way.
    fn bytes_hole(&mut self, len: usize);
    /// Text: method names, keys, messages.
    fn text(&mut self, text: &str);
    /// A tuple of `len` values, which `items` writes.
    fn tuple(&mut self, len: usize, items: impl FnOnce(&mut Self));
    /// A list; `item` writes one value for each.
    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, item: impl FnMut(&mut Self, T));
    /// A dict of `len` pairs (at most 1,000), which `pairs` writes as text and value in turn.
    fn dict(&mut self, len: usize, pairs: impl FnOnce(&mut Self));
    /// Any value.
    ///
    /// # Errors
    /// [`EncodeError`] if the framing has no form for it; what has been written so far is to be discarded.
    fn value(&mut self, value: &Value<'_>) -> Result<(), EncodeError>;

    /// A byte string of eight bytes.
    fn eight(&mut self, bytes: &[u8; 8]);

    /// An oid.
    #[inline]
    fn oid(&mut self, oid: Oid) {
        self.eight(oid.as_bytes());
    }

    /// A tid or serial.
    #[inline]
    fn tid(&mut self, tid: Tid) {
        self.eight(tid.as_bytes());
    }

    /// A tid, or `None`.
    fn optional_tid(&mut self, tid: Option<Tid>) {
        match tid {
            Some(tid) => self.tid(tid),
            None => self.none(),
        }
    }
}
