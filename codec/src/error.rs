//! What can be wrong with bytes. All errors are small values that name the cause and its place.

use core::fmt;

/// Bytes that are not a pickle or msgpack message, with the place where this showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset} of the message")]
pub struct DecodeError {
    /// Offset in the frame's payload.
    pub offset: usize,
    /// What is wrong there.
    pub kind: DecodeErrorKind,
}

impl DecodeError {
    pub(crate) const fn new(offset: usize, kind: DecodeErrorKind) -> Self {
        Self { offset, kind }
    }
}

/// The cause of a [`DecodeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The message ends inside a value.
    #[error("the message ends too early")]
    Truncated,
    /// A byte that is no pickle opcode.
    #[error("unknown pickle opcode {0:#04x}")]
    UnknownOpcode(u8),
    /// `PROTO` with a number above 5.
    #[error("unknown pickle protocol {0}")]
    UnknownProtocol(u8),
    /// A buffer that is not part of the pickle (protocol 5).
    #[error("out-of-band pickle buffer")]
    OutOfBandBuffer,
    /// An opcode needs more operands than the stack holds.
    #[error("pickle stack underflow")]
    StackUnderflow,
    /// An opcode needs a mark and there is none.
    #[error("pickle mark missing")]
    NoMark,
    /// A memo entry that was never written.
    #[error("pickle memo entry {0} is not set")]
    NoMemo(u32),
    /// An opcode whose operand is of a kind that it cannot work on.
    #[error("pickle opcode {0:#04x} does not fit its operand")]
    BadOperand(u8),
    /// Text that is not UTF-8, or an unknown escape.
    #[error("malformed text")]
    BadText,
    /// A number that cannot be read.
    #[error("malformed number")]
    BadNumber,
    /// A negative length.
    #[error("negative length")]
    NegativeLength,
    /// Nested beyond [`Limits::depth`](crate::Limits::depth).
    #[error("nested too deeply")]
    TooDeep,
    /// More values than [`Limits::value_count`](crate::Limits::value_count), or more than a message of
    /// this length can mean (values shared exponentially).
    #[error("too many values")]
    TooManyValues,
    /// A msgpack type that ZEO does not use (ext, or the reserved byte `c1`).
    #[error("unknown msgpack type {0:#04x}")]
    UnknownType(u8),
    /// Bytes behind the end of a msgpack message.
    #[error("bytes behind the end of the message")]
    TrailingBytes,
    /// The message is not a tuple of id, flag, name and arguments.
    #[error("not a 4-tuple of id, flag, name and arguments")]
    NotAnEnvelope,
}

/// Arguments or a reply that decode, but are not what the method takes or returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapeError {
    /// Position of the value, counting from 0.
    pub index: usize,
    /// What is expected there.
    pub expected: Expected,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expected {
            Expected::End => write!(f, "takes {} values but more were given", self.index),
            Expected::More => write!(f, "value {} is missing", self.index),
            other => write!(f, "value {} must be {other}", self.index),
        }
    }
}

impl core::error::Error for ShapeError {}

/// What a [`ShapeError`] expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Expected {
    /// No further value.
    #[error("absent")]
    End,
    /// A further value.
    #[error("present")]
    More,
    /// A byte string of eight bytes.
    #[error("8 bytes")]
    EightBytes,
    /// A byte string.
    #[error("bytes")]
    Bytes,
    /// Text.
    #[error("text")]
    Text,
    /// An integer within the range of the parameter.
    #[error("an integer in range")]
    Int,
    /// A number.
    #[error("a number")]
    Number,
    /// A boolean or number.
    #[error("a truth value")]
    Bool,
    /// A tuple or list.
    #[error("a sequence")]
    Sequence,
    /// A dict.
    #[error("a dict")]
    Dict,
    /// `None`.
    #[error("None")]
    None,
}

/// Why a payload could not be read as a call or reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is no message at all: peers close the connection (protocol reference 11).
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// It is a message with wrong arguments: peers answer `TypeError` (protocol reference 11).
    #[error(transparent)]
    Shape(#[from] ShapeError),
}
