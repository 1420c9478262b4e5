//! From bytes to opcodes: a nom parser for one opcode, and a cursor that applies it. What peers write most is also
//! read directly, without the detour over an [`Op`].

mod lines;
mod ops;
#[cfg(test)]
mod tests;

use nom::error::{ErrorKind, ParseError};

use super::op::{Op, code};
use crate::error::{DecodeError, DecodeErrorKind};

/// nom's view of an error: what was wrong, and how much input was left.
#[derive(Debug)]
struct LexError {
    remaining_len: usize,
    kind: DecodeErrorKind,
}

impl ParseError<&[u8]> for LexError {
    fn from_error_kind(input: &[u8], _: ErrorKind) -> Self {
        // The combinators used here fail for one reason only.
        Self { remaining_len: input.len(), kind: DecodeErrorKind::Truncated }
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Lexed<'a, T> = nom::IResult<&'a [u8], T, LexError>;

/// A cursor over the opcodes of a pickle.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    rest: &'a [u8],
    total_len: usize,
}

impl<'a> Lexer<'a> {
    /// Starts at the first byte of `pickle`.
    #[must_use]
    pub const fn new(pickle: &'a [u8]) -> Self {
        Self { rest: pickle, total_len: pickle.len() }
    }

    /// Starts inside `pickle`, at an opcode.
    #[must_use]
    #[inline]
    pub fn at(pickle: &'a [u8], offset: usize) -> Self {
        Self { rest: pickle.get(offset..).unwrap_or_default(), total_len: pickle.len() }
    }

    /// Offset of the next opcode.
    #[must_use]
    #[inline]
    pub const fn offset(&self) -> usize {
        self.total_len - self.rest.len()
    }

    /// What has not been read yet.
    #[must_use]
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next opcode's byte, without moving on.
    #[must_use]
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Moves over the next opcode if its byte is `code` and it has no operand.
    #[inline]
    pub(crate) fn eat(&mut self, code: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == code => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The operand of the next opcode if it is a string of bytes in binary form, as every peer writes it;
    /// otherwise nothing moves.
    #[inline]
    pub(crate) fn eat_bytes(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = match self.rest {
            [code::SHORT_BINBYTES | code::SHORT_BINSTRING, len, rest @ ..] => (usize::from(*len), rest),
            [code::BINBYTES | code::BINSTRING, rest @ ..] => {
                let (len, rest) = rest.split_first_chunk()?;
                let len = i32::try_from(u32::from_le_bytes(*len));
                // BINSTRING's length is signed; leave the doubtful range to the full parser.
                (usize::try_from(len.ok()?).ok()?, rest)
            }
            _ => return None,
        };
        let (bytes, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    /// A string of exactly eight bytes with a one-byte length: an oid or tid as every peer writes it;
    /// otherwise nothing moves.
    #[inline]
    pub(crate) fn eat_eight(&mut self) -> Option<[u8; 8]> {
        let [code::SHORT_BINBYTES | code::SHORT_BINSTRING, 8, rest @ ..] = self.rest else { return None };
        let (eight, rest) = rest.split_first_chunk()?;
        self.rest = rest;
        Some(*eight)
    }

    /// An integer in one of the binary forms, of at most eight bytes; otherwise nothing moves.
    #[inline]
    pub(crate) fn eat_int(&mut self) -> Option<i64> {
        let (number, rest) = match self.rest {
            [code::BININT1, low, rest @ ..] => (i64::from(*low), rest),
            [code::BININT2, low, high, rest @ ..] => (i64::from(u16::from_le_bytes([*low, *high])), rest),
            [code::BININT, rest @ ..] => {
                let (bytes, rest) = rest.split_first_chunk()?;
                (i64::from(i32::from_le_bytes(*bytes)), rest)
            }
            [code::LONG1, len @ 1..=8, rest @ ..] => {
                let (bytes, rest) = rest.split_at_checked(usize::from(*len))?;
                let sign = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
                let mut wide = [sign; 8];
                wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
                (i64::from_le_bytes(wide), rest)
            }
            _ => return None,
        };
        self.rest = rest;
        Some(number)
    }

    /// A boolean in its form of protocol 2; otherwise nothing moves.
    #[inline]
    pub(crate) fn eat_bool(&mut self) -> Option<bool> {
        let (bit, rest) = match self.rest {
            [code::NEWTRUE, rest @ ..] => (true, rest),
            [code::NEWFALSE, rest @ ..] => (false, rest),
            _ => return None,
        };
        self.rest = rest;
        Some(bit)
    }

    /// Text with a four-byte length, as every Python 3 peer writes names, as bytes that were checked; otherwise
    /// nothing moves. Names are ASCII, which takes less time to find out.
    #[inline]
    pub(crate) fn eat_name(&mut self) -> Option<&'a [u8]> {
        let [code::BINUNICODE, rest @ ..] = self.rest else { return None };
        let (len, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        if !bytes.is_ascii() && core::str::from_utf8(bytes).is_err() {
            return None;
        }
        self.rest = rest;
        Some(bytes)
    }

    /// The next opcode.
    ///
    /// # Errors
    /// `Truncated`, `UnknownOpcode`, `UnknownProtocol`, `BadText`, `BadNumber` or `NegativeLength`, at the
    /// offset of the opcode or of its bad operand.
    pub fn next_op(&mut self) -> Result<Op<'a>, DecodeError> {
        match ops::op(self.rest) {
            Ok((rest, op)) => {
                self.rest = rest;
                Ok(op)
            }
            Err(nom::Err::Error(error) | nom::Err::Failure(error)) => {
                Err(DecodeError::new(self.total_len.saturating_sub(error.remaining_len), error.kind))
            }
            Err(nom::Err::Incomplete(_)) => Err(DecodeError::new(self.total_len, DecodeErrorKind::Truncated)),
        }
    }
}

fn fail<'a, T>(input: &'a [u8], kind: DecodeErrorKind) -> Lexed<'a, T> {
    Err(nom::Err::Failure(LexError { remaining_len: input.len(), kind }))
}
