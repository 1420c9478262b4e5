//! The fourth element of a message before it is interpreted.

use crate::args::direct::leaf;
use crate::args::{Args, Source};
use crate::error::{DecodeError, DecodeErrorKind, Expected, MessageError, ShapeError};
use crate::limits::Limits;
use crate::msgpack::MsgpackReader;
use crate::pickle::op::code;
use crate::pickle::{self, Lexer};
use crate::value::Value;

/// The fourth element of a message, not yet interpreted.
#[derive(Debug, Clone, PartialEq)]
pub enum RawArgs<'a> {
    /// The rest of a pickle whose first three elements are read: `frame` from `offset` on, with the opcodes
    /// that close the message.
    Pickle {
        /// The whole payload.
        frame: &'a [u8],
        /// Where the fourth element begins.
        offset: usize,
    },
    /// The rest of a msgpack message.
    Msgpack {
        /// The whole payload.
        frame: &'a [u8],
        /// Where the fourth element begins.
        offset: usize,
    },
    /// Already a value.
    Value(Value<'a>),
}

/// What ends a message behind its fourth element: `TUPLE STOP`.
pub(super) const CLOSE: [u8; 2] = [code::TUPLE, code::STOP];

impl<'a> RawArgs<'a> {
    #[inline]
    fn rest(&self) -> &'a [u8] {
        match self {
            Self::Pickle { frame, offset } | Self::Msgpack { frame, offset } => {
                frame.get(*offset..).unwrap_or_default()
            }
            Self::Value(_) => &[],
        }
    }

    /// Whether it is `None`.
    #[must_use]
    #[inline]
    pub fn is_none(&self) -> bool {
        match self {
            Self::Pickle { .. } => self.rest() == [code::NONE, CLOSE[0], CLOSE[1]],
            Self::Msgpack { .. } => self.rest() == [0xc0],
            Self::Value(value) => *value == Value::None,
        }
    }

    /// The whole element as a value.
    ///
    /// # Errors
    /// If the message turns out to be undecodable.
    pub fn into_value(self, limits: &Limits) -> Result<Value<'a>, DecodeError> {
        match self {
            Self::Pickle { frame, offset } => {
                let mut lexer = Lexer::at(frame, offset);
                match leaf(&mut lexer) {
                    Some(value) if lexer.rest() == CLOSE => Ok(value),
                    _ => fourth_of_pickle(frame, offset, limits),
                }
            }
            Self::Msgpack { frame, offset } => {
                let mut reader = MsgpackReader::at(frame, offset);
                let value = reader.value(limits)?;
                reader.end()?;
                Ok(value)
            }
            Self::Value(value) => Ok(value),
        }
    }

    /// A cursor over the element's items.
    ///
    /// # Errors
    /// If the element is no tuple or list, or undecodable.
    #[inline]
    pub fn into_args(self, limits: &Limits) -> Result<Args<'a>, MessageError> {
        let source = match self {
            Self::Pickle { frame, offset } => return Ok(Args::of_pickle(frame, offset, limits)),
            Self::Msgpack { frame, offset } => {
                let (reader, left) = msgpack_items(frame, offset)?;
                return Ok(Args::of_msgpack(reader, left, limits));
            }
            Self::Value(Value::Tuple(items) | Value::List(items)) => Source::Values(items.into_iter()),
            Self::Value(_) => return Err(ShapeError { index: 0, expected: Expected::Sequence }.into()),
        };
        Ok(Args { source, taken_count: 0, limits: *limits })
    }
}

/// The items of the tuple at `offset`, and how many they are.
#[inline]
pub(crate) fn msgpack_items(frame: &[u8], offset: usize) -> Result<(MsgpackReader<'_>, usize), MessageError> {
    let mut reader = MsgpackReader::at(frame, offset);
    match reader.array_len()? {
        Some(left) => Ok((reader, left)),
        None => Err(ShapeError { index: 0, expected: Expected::Sequence }.into()),
    }
}

/// Runs the whole message and takes its fourth element. `offset` is where the first three, which were read
/// directly, seemed to end.
///
/// Later opcodes could take them back (`POP`), so that Python sees another method than we did. No peer does
/// that; it is refused.
pub(super) fn fourth_of_pickle<'a>(
    frame: &'a [u8],
    offset: usize,
    limits: &Limits,
) -> Result<Value<'a>, DecodeError> {
    let not_an_envelope = DecodeError::new(0, DecodeErrorKind::NotAnEnvelope);
    let Value::Tuple(items) = pickle::decode(frame, limits)? else { return Err(not_an_envelope) };
    let [id, flag, name, args] = <[Value<'a>; 4]>::try_from(items).map_err(|_| not_an_envelope)?;
    let header_len = if let [code::PROTO, ..] = frame { 2 } else { 0 };
    let mut header = Lexer::at(frame, header_len);
    let is_as_read = header.eat(code::MARK)
        && message_id(&mut header) == Some(id)
        && leaf(&mut header) == Some(flag)
        && leaf(&mut header) == Some(name)
        && header.offset() == offset;
    if is_as_read { Ok(args) } else { Err(not_an_envelope) }
}

/// A number, or the two byte strings of a `loadBefore`.
fn message_id<'a>(lexer: &mut Lexer<'a>) -> Option<Value<'a>> {
    let first = leaf(lexer)?;
    if !matches!(first, Value::Bytes(_)) {
        return Some(first);
    }
    let second = leaf(lexer)?;
    lexer.eat(code::TUPLE2).then(|| Value::Tuple(alloc::vec![first, second]))
}
