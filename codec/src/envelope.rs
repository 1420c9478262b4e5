//! What every message after the handshakes is: `(id, flag, name, args)` (protocol reference 3).

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::abandoned::Abandoned;
use crate::args::RawArgs;
use crate::dialect::{Dialect, Generation};
use crate::emit::{Emit, EncodeError, Holes};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::frame;
use crate::handshake::Framing;
use crate::limits::Limits;
use crate::msgpack::{MsgpackReader, MsgpackWriter};
use crate::pickle::op::code;
use crate::pickle::{self, Lexer, Op, PickleFlavor, PickleWriter};
use crate::share::Sharing;
use crate::value::Value;
use crate::{Oid, Tid};

/// The name of every reply.
pub const REPLY: &str = ".reply";

/// A message id, echoed by the reply whatever it is.
#[derive(Debug, Clone, PartialEq)]
pub enum MsgId<'a> {
    /// A number: 0 on one-way calls (and on a ZEO 4 client's first call), -1 on keep-alives.
    Int(i64),
    /// The `(oid, tid)` of a `loadBefore` of a ZEO 5 client.
    Load(Oid, Tid),
    /// Anything else.
    Other(Value<'a>),
}

impl MsgId<'_> {
    /// The id of one-way calls.
    pub const ONE_WAY: Self = Self::Int(0);
    /// The id of keep-alives.
    pub const KEEP_ALIVE: Self = Self::Int(-1);

    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> MsgId<'static> {
        match self {
            Self::Int(number) => MsgId::Int(number),
            Self::Load(oid, tid) => MsgId::Load(oid, tid),
            Self::Other(value) => MsgId::Other(value.into_owned()),
        }
    }

    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        match self {
            Self::Int(number) => out.int(*number),
            Self::Load(oid, tid) => out.tuple(2, |out| {
                out.oid(*oid);
                out.tid(*tid);
            }),
            Self::Other(value) => return out.value(value),
        }
        Ok(())
    }
}

impl<'a> From<Value<'a>> for MsgId<'a> {
    fn from(value: Value<'a>) -> Self {
        if let Value::Int(number) = value
            && let Ok(number) = i64::try_from(number)
        {
            return Self::Int(number);
        }
        if let Value::Tuple(items) = &value
            && let [Value::Bytes(oid), Value::Bytes(tid)] = items.as_slice()
            && let (Some(oid), Some(tid)) = (Oid::from_slice(oid), Tid::from_slice(tid))
        {
            return Self::Load(oid, tid);
        }
        Self::Other(value)
    }
}

/// The second element. ZEO 5 sends booleans on calls, integers on replies; ZEO 4 integers for true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// `True` or `False`.
    Bool(bool),
    /// An integer: 0, 1 or 2.
    Int(i64),
}

impl Flag {
    /// Flag of a reply that is a result.
    pub const RESULT: Self = Self::Int(0);
    /// Flag of a ZEO 5 reply that is an error.
    pub const ERROR: Self = Self::Int(2);

    /// Whether it is true: a call without reply, or a reply that is an error (ZEO 5).
    #[must_use]
    pub const fn is_set(self) -> bool {
        match self {
            Self::Bool(bit) => bit,
            Self::Int(number) => number != 0,
        }
    }
}

/// A message whose arguments have not been interpreted.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<'a> {
    /// The message id.
    pub id: MsgId<'a>,
    /// The flag.
    pub flag: Flag,
    /// Name of the method, or [`REPLY`].
    pub name: Cow<'a, [u8]>,
    /// The arguments, or the bare result of a reply.
    pub args: RawArgs<'a>,
    /// Which pickler it came from, as far as its first bytes and the type of the name tell; under msgpack,
    /// [`PickleFlavor::Python2Protocol3`] stands for any Python 2 peer.
    pub flavor: PickleFlavor,
    /// What stands in front of the message.
    pub abandoned: Abandoned<'a>,
}

impl<'a> Envelope<'a> {
    /// Reads as much of a message as is needed to route it.
    ///
    /// # Errors
    /// If the payload is no message. The arguments may still turn out to be undecodable.
    #[inline]
    pub fn parse(payload: &'a [u8], framing: Framing, limits: &Limits) -> Result<Self, DecodeError> {
        match framing {
            Framing::Msgpack => Self::parse_msgpack(payload, limits),
            Framing::Pickle => match PlainHeader::parse(payload) {
                // Built here, in its place: an envelope is large enough for moves to show in the benches.
                Some(PlainHeader { id, flag, name, flavor, offset }) => Ok(Self {
                    id: match id {
                        PlainId::Int(number) => MsgId::Int(number),
                        PlainId::Load(oid, tid) => MsgId::Load(oid, tid),
                    },
                    flag,
                    name: Cow::Borrowed(name),
                    args: RawArgs::Pickle { frame: payload, offset },
                    flavor,
                    abandoned: Abandoned::NONE,
                }),
                None => Self::parse_any_pickle(payload, limits),
            },
        }
    }

    /// Whether this is a reply.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        *self.name == *REPLY.as_bytes()
    }

    /// Whether the sender of a call waits for no reply.
    #[must_use]
    pub const fn is_one_way(&self) -> bool {
        self.flag.is_set()
    }

    /// Whether this is a keep-alive, which is dropped silently (protocol reference 3.1).
    #[must_use]
    pub fn is_keep_alive(&self) -> bool {
        self.id == MsgId::KEEP_ALIVE
    }

    fn parse_any_pickle(payload: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let is_protocol1 = payload.first() != Some(&code::PROTO);
        if is_protocol1 && let Some(envelope) = Self::parse_behind_attempts(payload, limits) {
            return Ok(envelope);
        }
        let value = pickle::decode(payload, limits)?;
        Self::from_value(value, is_protocol1).ok_or(DecodeError::new(0, DecodeErrorKind::NotAnEnvelope))
    }

    /// A message in protocol 1 with something in front of it: each attempt leaves its mark and its three values on the stack. The
    /// beginning alone does not tell, since a result can look like a message.
    fn parse_behind_attempts(payload: &'a [u8], limits: &Limits) -> Option<Self> {
        if Abandoned::in_front_of(payload).is_empty() {
            return None;
        }
        let (value, [mark_count, value_count]) = pickle::decode_above(payload, limits).ok()?;
        let abandoned = Abandoned::first(payload, mark_count)?;
        if abandoned.is_empty() || value_count != mark_count.checked_mul(3)? {
            return None;
        }
        let envelope = Self::from_value(value, true)?;
        // Only a pickler of protocol 1 leaves attempts; a name of any other is from the middle of something strange.
        (envelope.flavor == PickleFlavor::Python2Protocol1).then_some(Self { abandoned, ..envelope })
    }

    fn from_value(value: Value<'a>, is_protocol1: bool) -> Option<Self> {
        let Value::Tuple(items) = value else { return None };
        let [id, flag, name, args] = <[Value<'a>; 4]>::try_from(items).ok()?;
        let flag = match flag {
            Value::Bool(bit) => Flag::Bool(bit),
            Value::Int(number) => Flag::Int(number.try_into().ok()?),
            _ => return None,
        };
        let (name, flavor) = match name {
            Value::Text(Cow::Borrowed(name)) => (Cow::Borrowed(name.as_bytes()), PickleFlavor::Python3),
            Value::Text(Cow::Owned(name)) => (Cow::Owned(name.into_bytes()), PickleFlavor::Python3),
            Value::Native(name) | Value::Bytes(name) if is_protocol1 => {
                (name, PickleFlavor::Python2Protocol1)
            }
            Value::Native(name) | Value::Bytes(name) => (name, PickleFlavor::Python2Protocol3),
            _ => return None,
        };
        let (id, args) = (id.into(), RawArgs::Value(args));
        Some(Self { id, flag, name, args, flavor, abandoned: Abandoned::NONE })
    }

    fn parse_msgpack(payload: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = MsgpackReader::new(payload);
        let not_an_envelope = DecodeError::new(0, DecodeErrorKind::NotAnEnvelope);
        if reader.array_len()? != Some(4) {
            return Err(not_an_envelope);
        }
        let id = if let Some(number) = reader.small_int() {
            MsgId::Int(number)
        } else if let Some([oid, tid]) = reader.load_id() {
            MsgId::Load(Oid::from_bytes(oid), Tid::from_bytes(tid))
        } else {
            MsgId::from(reader.value(limits)?)
        };
        let flag = if let Some(bit) = reader.bool() {
            Flag::Bool(bit)
        } else if let Some(number) = reader.small_int() {
            Flag::Int(number)
        } else {
            let Value::Int(number) = reader.value(limits)? else { return Err(not_an_envelope) };
            Flag::Int(number.try_into().map_err(|_| not_an_envelope)?)
        };
        let (name, flavor) = if let Some(name) = reader.name()? {
            (name, PickleFlavor::Python3)
        } else if let Some(name) = reader.bin()? {
            (name, PickleFlavor::Python2Protocol3)
        } else {
            return Err(not_an_envelope);
        };
        let args = RawArgs::Msgpack { frame: payload, offset: reader.offset() };
        Ok(Self { id, flag, name: Cow::Borrowed(name), args, flavor, abandoned: Abandoned::NONE })
    }
}

enum PlainId {
    Int(i64),
    Load(Oid, Tid),
}

/// The first three elements of a pickle, where each is what some peer writes.
struct PlainHeader<'a> {
    id: PlainId,
    flag: Flag,
    name: &'a [u8],
    flavor: PickleFlavor,
    /// Where the fourth element begins.
    offset: usize,
}

impl<'a> PlainHeader<'a> {
    #[inline]
    fn parse(payload: &'a [u8]) -> Option<Self> {
        if !payload.ends_with(&[code::TUPLE, code::STOP]) {
            return None;
        }
        let header_len = if let [code::PROTO, 2..=5, ..] = payload { 2 } else { 0 };
        let mut lexer = Lexer::at(payload, header_len);
        if !lexer.eat(code::MARK) {
            return None;
        }
        let id = if lexer.peek()? == code::SHORT_BINBYTES {
            let oid = Oid::from_bytes(lexer.eat_eight()?);
            if lexer.peek()? != code::SHORT_BINBYTES {
                return None;
            }
            let tid = Tid::from_bytes(lexer.eat_eight()?);
            if !lexer.eat(code::TUPLE2) {
                return None;
            }
            PlainId::Load(oid, tid)
        } else if let Some(number) = lexer.eat_int() {
            PlainId::Int(number)
        } else {
            PlainId::Int(number(lexer.next_op().ok()?)?)
        };
        let flag = if let Some(bit) = lexer.eat_bool() {
            Flag::Bool(bit)
        } else if let Some(number) = lexer.eat_int() {
            Flag::Int(number)
        } else {
            match lexer.next_op().ok()? {
                Op::Bool(bit) => Flag::Bool(bit),
                op => Flag::Int(number(op)?),
            }
        };
        let (name, flavor) = if let Some(name) = lexer.eat_name() {
            (name, PickleFlavor::Python3)
        } else {
            match lexer.next_op().ok()? {
                Op::Native(Cow::Borrowed(name)) if header_len == 0 => {
                    if lexer.peek()? == code::MARK && !Abandoned::in_front_of(payload).is_empty() {
                        return None;
                    }
                    (name, PickleFlavor::Python2Protocol1)
                }
                Op::Native(Cow::Borrowed(name)) => (name, PickleFlavor::Python2Protocol3),
                Op::Text(Cow::Borrowed(name)) => (name.as_bytes(), PickleFlavor::Python3),
                _ => return None,
            }
        };
        // Behind the name, a pickler with a memo has a PUT. A tuple that ends here was an id of three values.
        begins_a_value(lexer.peek()?).then(|| Self { id, flag, name, flavor, offset: lexer.offset() })
    }
}

/// Whether an opcode pushes something without regard to what is on the stack, as far as peers use it at the
/// beginning of arguments and results.
const fn begins_a_value(opcode: u8) -> bool {
    matches!(
        opcode,
        code::MARK
            | code::NONE
            | code::NEWTRUE
            | code::NEWFALSE
            | code::EMPTY_TUPLE
            | code::EMPTY_LIST
            | code::EMPTY_DICT
            | code::SHORT_BINBYTES
            | code::BINBYTES
            | code::SHORT_BINSTRING
            | code::BINSTRING
            | code::BINUNICODE
            | code::BININT
            | code::BININT1
            | code::BININT2
            | code::INT
            | code::LONG
            | code::LONG1
            | code::BINFLOAT
            | code::GLOBAL
    )
}

fn number(op: Op<'_>) -> Option<i64> {
    let Op::Int(number) = op else { return None };
    number.try_into().ok()
}

/// What stands in the fourth place of a message: the arguments of a call, or a result.
pub trait Body {
    /// Writes it.
    ///
    /// # Errors
    /// [`EncodeError`] if the framing has no form for a value in it.
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError>;
}

impl Body for Value<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.value(self)
    }
}

/// Appends a message as a whole frame; on an error `out` is as it was.
///
/// # Errors
/// [`EncodeError`] if the framing has no form for a value, or the message exceeds 4 GiB; before ZEO 5, 2 GiB.
pub fn write_message(
    out: &mut Vec<u8>,
    dialect: &Dialect,
    id: &MsgId<'_>,
    flag: Flag,
    name: &str,
    body: &impl Body,
) -> Result<(), EncodeError> {
    write_message_behind(out, dialect, Abandoned::NONE, id, flag, name, body)
}

/// [`write_message`], with abandoned attempts in front of the message where the dialect is the one that has such;
/// elsewhere they are left out.
///
/// # Errors
/// As [`write_message`].
pub fn write_message_behind(
    out: &mut Vec<u8>,
    dialect: &Dialect,
    abandoned: Abandoned<'_>,
    id: &MsgId<'_>,
    flag: Flag,
    name: &str,
    body: &impl Body,
) -> Result<(), EncodeError> {
    write_frame(out, None, dialect, abandoned, &Elements { id, flag, name, body }, 0).map(|_| ())
}

/// [`write_message`] with exactly one [`Emit::bytes_hole`]; tells where.
pub(crate) fn write_message_around(
    out: &mut Vec<u8>,
    dialect: &Dialect,
    id: &MsgId<'_>,
    flag: Flag,
    name: &str,
    body: &impl Body,
) -> Result<Holes, EncodeError> {
    write_frame(out, None, dialect, Abandoned::NONE, &Elements { id, flag, name, body }, 1)
}

/// [`write_message`], with records that stay where they are; on an error neither `out` nor they have changed.
pub(crate) fn write_message_sharing(
    out: &mut Vec<u8>,
    sharing: Sharing<'_>,
    dialect: &Dialect,
    id: &MsgId<'_>,
    flag: Flag,
    name: &str,
    body: &impl Body,
) -> Result<(), EncodeError> {
    write_frame(out, Some(sharing), dialect, Abandoned::NONE, &Elements { id, flag, name, body }, 0)
        .map(|_| ())
}

fn write_frame(
    out: &mut Vec<u8>,
    mut sharing: Option<Sharing<'_>>,
    dialect: &Dialect,
    abandoned: Abandoned<'_>,
    message: &impl Body,
    hole_count: usize,
) -> Result<Holes, EncodeError> {
    let start = frame::begin(out);
    let shared_before_len = sharing.as_ref().map_or(0, |sharing| sharing.shared.len);
    let writer_sharing = sharing.as_mut().map(Sharing::reborrow);
    let (result, holes) = match dialect.framing {
        Framing::Pickle => {
            if dialect.pickle == PickleFlavor::Python2Protocol1 {
                out.extend_from_slice(abandoned.as_bytes());
            }
            let mut writer = PickleWriter::with_sharing(out, dialect.pickle, writer_sharing);
            writer.start();
            let result = message.emit(&mut writer);
            writer.stop();
            (result, writer.holes)
        }
        Framing::Msgpack => {
            let text_is_bin = match dialect.pickle {
                PickleFlavor::Python3 => false,
                // Either stands for any Python 2 peer here, as in `Envelope::flavor`.
                PickleFlavor::Python2Protocol1 | PickleFlavor::Python2Protocol3 => true,
            };
            let mut writer = MsgpackWriter::with_sharing(out, text_is_bin, writer_sharing);
            (message.emit(&mut writer), writer.holes)
        }
    };
    let shared_len = sharing.as_ref().map_or(0, |sharing| sharing.shared.len - shared_before_len);
    let absent_len = shared_len.saturating_add(holes.len);
    // Whether or not there is a key: ZEO 4 takes the top bit of a length for that of a MAC.
    let len_max = if dialect.generation < Generation::Zeo5 { frame::LEN_MAX_BESIDE_MAC } else { u32::MAX };
    if result.is_ok() && holes.count == hole_count && frame::finish_without(start, out, absent_len, len_max) {
        return Ok(holes);
    }
    start.cancel(out);
    if let Some(sharing) = sharing {
        sharing.shared.cancel_to(shared_before_len);
    }
    Err(EncodeError)
}

/// A whole message.
struct Elements<'m, B> {
    id: &'m MsgId<'m>,
    flag: Flag,
    name: &'m str,
    body: &'m B,
}

impl<B: Body> Body for Elements<'_, B> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(4, |out| {
            result = self.id.emit(out);
            match self.flag {
                Flag::Bool(bit) => out.bool(bit),
                Flag::Int(number) => out.int(number),
            }
            out.text(self.name);
            result = result.and_then(|()| self.body.emit(out));
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are not there yet.
    struct Hole(usize);

    impl Body for Hole {
        fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
            out.bytes_hole(self.0);
            Ok(())
        }
    }

    /// Protocol reference 1: the top bit of a length announces a MAC.
    #[test]
    fn before_zeo_5_a_message_is_shorter_than_2_gib() {
        let is_written = |dialect: &Dialect, len| {
            let mut out = Vec::new();
            let written =
                write_message_around(&mut out, dialect, &MsgId::Int(1), Flag::RESULT, REPLY, &Hole(len));
            assert_eq!(written.is_ok(), !out.is_empty());
            written.is_ok()
        };
        let longest = (1 << 31) - 1;
        for (dialect, len, fits) in [
            (&Dialect::Z4, longest - 100, true),
            (&Dialect::Z4, longest, false),
            (&Dialect::Z5, longest, true),
            (&Dialect::Z5, (1 << 32) - 1, false),
        ] {
            assert_eq!(is_written(dialect, len), fits, "{len} bytes in {:?}", dialect.version);
        }
    }
}
