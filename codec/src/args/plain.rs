//! Items in the form in which most peers write them, read without a cursor.

use crate::args::Args;
use crate::call::Arguments;
use crate::msgpack::MsgpackReader;
use crate::pickle::Lexer;
use crate::pickle::op::code;

/// Where [`Arguments::plain`] takes its items from. Each method gives `None` if the next item is of another type,
/// or of the right one in a form that is seldom seen.
pub trait PlainItems<'a> {
    /// A byte string.
    fn bytes(&mut self) -> Option<&'a [u8]>;
    /// A byte string of eight bytes.
    fn eight(&mut self) -> Option<[u8; 8]>;
    /// A byte string of eight bytes, or `None`.
    fn optional_eight(&mut self) -> Option<Option<[u8; 8]>>;
    /// A non-negative integer.
    fn uint(&mut self) -> Option<u64>;
}

impl<'a> PlainItems<'a> for Lexer<'a> {
    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        self.eat_bytes()
    }

    #[inline]
    fn eight(&mut self) -> Option<[u8; 8]> {
        self.eat_eight()
    }

    #[inline]
    fn optional_eight(&mut self) -> Option<Option<[u8; 8]>> {
        if self.eat(code::NONE) { Some(None) } else { self.eat_eight().map(Some) }
    }

    #[inline]
    fn uint(&mut self) -> Option<u64> {
        self.eat_int()?.try_into().ok()
    }
}

impl<'a> PlainItems<'a> for MsgpackReader<'a> {
    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        self.bin().ok().flatten()
    }

    #[inline]
    fn eight(&mut self) -> Option<[u8; 8]> {
        self.eight()
    }

    #[inline]
    fn optional_eight(&mut self) -> Option<Option<[u8; 8]>> {
        if self.none() { Some(None) } else { self.eight().map(Some) }
    }

    #[inline]
    fn uint(&mut self) -> Option<u64> {
        self.small_int()?.try_into().ok()
    }
}

/// A tuple that takes up the rest of a pickle from `offset` on.
#[inline]
pub(crate) fn plain_pickle<'a, T: Arguments<'a>>(frame: &'a [u8], offset: usize) -> Option<T> {
    let mut items = Lexer::at(frame, offset);
    let is_marked = items.eat(code::MARK);
    let plain = T::plain(&mut items)?;
    Args::is_closed(&items, is_marked, T::COUNT.max).then_some(plain)
}

/// An array that takes up the rest of a msgpack message from `offset` on.
#[inline]
pub(crate) fn plain_msgpack<'a, T: Arguments<'a>>(frame: &'a [u8], offset: usize) -> Option<T> {
    let mut items = MsgpackReader::at(frame, offset);
    let len = items.array_len().ok()??;
    let plain = T::plain(&mut items)?;
    (len == T::COUNT.max && items.end().is_ok()).then_some(plain)
}
