//! The arguments of a call, or the items of a reply that is a tuple, taken one by one.
//!
//! Under both framings plain arguments are read straight from the frame. Only where a pickle holds more
//! than byte strings, text, numbers and lists of oids, the whole message is run through the pickle machine
//! and the cursor goes on over the values; the result is the same either way (a property test holds them
//! together).

use alloc::borrow::Cow;
use alloc::vec::{self, Vec};

use crate::error::{DecodeError, DecodeErrorKind, Expected, MessageError, ShapeError};
use crate::limits::Limits;
use crate::msgpack::MsgpackReader;
use crate::pickle::op::code;
use crate::pickle::{self, Lexer, Op};
use crate::value::Value;
use crate::{Oid, Tid};

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
const CLOSE: [u8; 2] = [code::TUPLE, code::STOP];

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
fn fourth_of_pickle<'a>(frame: &'a [u8], offset: usize, limits: &Limits) -> Result<Value<'a>, DecodeError> {
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

/// A cursor over the items of a tuple. Each method takes the next item.
///
/// All methods fail with [`MessageError::Shape`] if the item is missing or of another type, and with
/// [`MessageError::Undecodable`] if the message is damaged there.
#[derive(Debug, Clone)]
pub struct Args<'a> {
    source: Source<'a>,
    taken_count: usize,
    limits: Limits,
}

#[derive(Debug, Clone)]
enum Source<'a> {
    /// The arguments begin at `offset` of `frame`.
    Pickle {
        frame: &'a [u8],
        offset: usize,
        lexer: Lexer<'a>,
        is_marked: bool,
    },
    Msgpack {
        reader: MsgpackReader<'a>,
        left: usize,
    },
    Values(vec::IntoIter<Value<'a>>),
}

type Taken<T> = Result<T, MessageError>;

impl<'a> Args<'a> {
    /// The arguments of a pickle, which begin at `offset`.
    #[inline]
    pub(crate) fn of_pickle(frame: &'a [u8], offset: usize, limits: &Limits) -> Self {
        let mut lexer = Lexer::at(frame, offset);
        let is_marked = lexer.eat(code::MARK);
        Self { source: Source::Pickle { frame, offset, lexer, is_marked }, taken_count: 0, limits: *limits }
    }

    /// The next `left` items of a msgpack message.
    #[inline]
    pub(crate) const fn of_msgpack(reader: MsgpackReader<'a>, left: usize, limits: &Limits) -> Self {
        Self { source: Source::Msgpack { reader, left }, taken_count: 0, limits: *limits }
    }

    const fn shape(&self, expected: Expected) -> MessageError {
        MessageError::Shape(ShapeError { index: self.taken_count, expected })
    }

    /// Leaves the direct reading of a pickle: everything not yet taken becomes values.
    ///
    /// Opcodes behind a string can still take it back or wrap it (`POP`, `TUPLE2`), which no peer does. So
    /// what was taken is compared with what the machine says.
    #[cold]
    fn generalise(&mut self) -> Taken<()> {
        let Source::Pickle { frame, offset, is_marked, .. } = self.source else { return Ok(()) };
        let args = fourth_of_pickle(frame, offset, &self.limits)?;
        let (Value::Tuple(items) | Value::List(items)) = args else {
            return Err(MessageError::Shape(ShapeError { index: 0, expected: Expected::Sequence }));
        };
        let mut items = items.into_iter();
        let mut taken = Lexer::at(frame, offset + usize::from(is_marked));
        for index in 0..self.taken_count {
            let item = items.next();
            if item.is_none() || direct_value(&mut taken) != item {
                return Err(MessageError::Shape(ShapeError { index, expected: Expected::More }));
            }
        }
        self.source = Source::Values(items);
        Ok(())
    }

    /// Whether a pickle ends here as it must if exactly the taken items are the arguments.
    #[inline]
    fn is_closed(lexer: &Lexer<'_>, is_marked: bool, taken_count: usize) -> bool {
        let close = match (is_marked, taken_count) {
            (true, _) => code::TUPLE,
            (false, 0) => code::EMPTY_TUPLE,
            (false, 1) => code::TUPLE1,
            (false, 2) => code::TUPLE2,
            (false, 3) => code::TUPLE3,
            (false, _) => return false,
        };
        lexer.rest() == [close, CLOSE[0], CLOSE[1]]
    }

    /// Whether another item follows.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn has_more(&mut self) -> Taken<bool> {
        if let Source::Pickle { lexer, is_marked, .. } = &self.source {
            if Self::is_closed(lexer, *is_marked, self.taken_count) {
                return Ok(false);
            }
            if leaf(&mut lexer.clone()).is_some() {
                return Ok(true);
            }
            self.generalise()?;
        }
        Ok(match &self.source {
            Source::Msgpack { left, .. } => *left > 0,
            Source::Values(items) => items.len() > 0,
            Source::Pickle { .. } => true,
        })
    }

    /// Checks that everything has been taken.
    ///
    /// # Errors
    /// See [`Args`]; [`Expected::End`] if there is more.
    #[inline]
    pub fn finish(mut self) -> Taken<()> {
        self.end()
    }

    /// [`Self::finish`] in place.
    #[inline]
    pub(crate) fn end(&mut self) -> Taken<()> {
        match &self.source {
            Source::Pickle { lexer, is_marked, .. }
                if Self::is_closed(lexer, *is_marked, self.taken_count) =>
            {
                Ok(())
            }
            Source::Msgpack { reader, left: 0 } => Ok(reader.end()?),
            _ => self.other_end(),
        }
    }

    #[cold]
    fn other_end(&mut self) -> Taken<()> {
        self.generalise()?;
        match &self.source {
            Source::Values(items) if items.len() == 0 => Ok(()),
            _ => Err(self.shape(Expected::End)),
        }
    }

    /// The next item, whatever it is.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn value(&mut self) -> Taken<Value<'a>> {
        self.generalise()?;
        let value = match &mut self.source {
            Source::Msgpack { left: 0, .. } => return Err(self.shape(Expected::More)),
            Source::Msgpack { reader, left } => {
                *left -= 1;
                // The tuple of the arguments is a level of its own.
                let depth = self.limits.depth.saturating_sub(1);
                reader.value(&Limits { depth, ..self.limits })?
            }
            Source::Values(items) => match items.next() {
                Some(value) => value,
                None => return Err(self.shape(Expected::More)),
            },
            Source::Pickle { .. } => return Err(self.shape(Expected::More)),
        };
        self.taken_count += 1;
        Ok(value)
    }

    /// A byte string that stands in the frame; `None` if the next item must be taken as a value.
    #[inline]
    fn direct_bytes(&mut self) -> Taken<Option<&'a [u8]>> {
        let bytes = match &mut self.source {
            Source::Pickle { lexer, .. } => lexer.eat_bytes(),
            Source::Msgpack { reader, left } if *left > 0 => {
                let bytes = reader.bin()?;
                *left -= usize::from(bytes.is_some());
                bytes
            }
            Source::Msgpack { .. } | Source::Values(_) => None,
        };
        self.taken_count += usize::from(bytes.is_some());
        Ok(bytes)
    }

    /// Puts the place of the value just taken into an error.
    pub(crate) const fn bad(&self, expected: Expected) -> MessageError {
        MessageError::Shape(ShapeError { index: self.taken_count.saturating_sub(1), expected })
    }

    /// A byte string.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn bytes(&mut self) -> Taken<Cow<'a, [u8]>> {
        if let Some(bytes) = self.direct_bytes()? {
            return Ok(Cow::Borrowed(bytes));
        }
        match self.value()? {
            Value::Bytes(bytes) | Value::Native(bytes) => Ok(bytes),
            _ => Err(self.bad(Expected::Bytes)),
        }
    }

    /// A byte string, or `None`.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn optional_bytes(&mut self) -> Taken<Option<Cow<'a, [u8]>>> {
        if self.direct_none() {
            return Ok(None);
        }
        if let Some(bytes) = self.direct_bytes()? {
            return Ok(Some(Cow::Borrowed(bytes)));
        }
        match self.leaf_or_value()? {
            Value::None => Ok(None),
            Value::Bytes(bytes) | Value::Native(bytes) => Ok(Some(bytes)),
            _ => Err(self.bad(Expected::Bytes)),
        }
    }

    /// Bytes or text, as user names and descriptions come (protocol reference 7.5): text as its UTF-8.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn bytes_or_text(&mut self) -> Taken<Cow<'a, [u8]>> {
        if let Some(bytes) = self.direct_bytes()? {
            return Ok(Cow::Borrowed(bytes));
        }
        match self.leaf_or_value()? {
            Value::Bytes(bytes) | Value::Native(bytes) => Ok(bytes),
            Value::Text(Cow::Borrowed(text)) => Ok(Cow::Borrowed(text.as_bytes())),
            Value::Text(Cow::Owned(text)) => Ok(Cow::Owned(text.into_bytes())),
            _ => Err(self.bad(Expected::Bytes)),
        }
    }

    /// Eight bytes in the form in which every peer writes them.
    #[inline]
    fn direct_eight(&mut self) -> Option<[u8; 8]> {
        let eight = match &mut self.source {
            Source::Pickle { lexer, .. } => lexer.eat_eight()?,
            Source::Msgpack { reader, left } => {
                let less = left.checked_sub(1)?;
                let eight = reader.eight()?;
                *left = less;
                eight
            }
            Source::Values(_) => return None,
        };
        self.taken_count += 1;
        Some(eight)
    }

    /// `None`, if that comes next.
    #[inline]
    fn direct_none(&mut self) -> bool {
        let is_none = match &mut self.source {
            Source::Pickle { lexer, .. } => lexer.eat(code::NONE),
            Source::Msgpack { reader, left } => {
                let is_none = *left > 0 && reader.none();
                *left -= usize::from(is_none);
                is_none
            }
            Source::Values(_) => false,
        };
        self.taken_count += usize::from(is_none);
        is_none
    }

    /// An integer in the forms in which peers write ids and counts.
    #[inline]
    fn direct_int(&mut self) -> Option<i64> {
        let number = match &mut self.source {
            Source::Pickle { lexer, .. } => lexer.eat_int()?,
            Source::Msgpack { reader, left } => {
                let less = left.checked_sub(1)?;
                let number = reader.small_int()?;
                *left = less;
                number
            }
            Source::Values(_) => return None,
        };
        self.taken_count += 1;
        Some(number)
    }

    #[inline]
    fn eight_bytes(&mut self) -> Taken<[u8; 8]> {
        match self.direct_eight() {
            Some(eight) => Ok(eight),
            None => self.other_eight_bytes(),
        }
    }

    #[cold]
    fn other_eight_bytes(&mut self) -> Taken<[u8; 8]> {
        if let Some(bytes) = self.direct_bytes()? {
            return bytes.try_into().map_err(|_| self.bad(Expected::EightBytes));
        }
        let value = self.value()?;
        value.as_bytes().and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| self.bad(Expected::EightBytes))
    }

    /// An oid.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn oid(&mut self) -> Taken<Oid> {
        self.eight_bytes().map(Oid::from_bytes)
    }

    /// A tid or serial.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn tid(&mut self) -> Taken<Tid> {
        self.eight_bytes().map(Tid::from_bytes)
    }

    /// A tid, or `None`.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn optional_tid(&mut self) -> Taken<Option<Tid>> {
        self.optional_eight().map(|bytes| bytes.map(Tid::from_bytes))
    }

    /// The serial that a store is based on: a tid; `None`, which ZEO 4 clients may send for the root of a new
    /// database; or text of eight ASCII characters, which Python's servers take for any new object and which
    /// ZEO's own tests send (`ConnectionTests.py:ZERO`, ZEO 6.2).
    ///
    /// # Errors
    /// See [`Args`].
    pub fn serial(&mut self) -> Taken<Tid> {
        if let Some(bytes) = self.direct_bytes()? {
            return Tid::from_slice(bytes).ok_or_else(|| self.bad(Expected::EightBytes));
        }
        let value = self.leaf_or_value()?;
        let bytes = match &value {
            Value::None => return Ok(Tid::ZERO),
            Value::Text(text) => Some(text.as_bytes()),
            other => other.as_bytes(),
        };
        bytes.and_then(Tid::from_slice).ok_or_else(|| self.bad(Expected::EightBytes))
    }

    /// An oid, or `None`.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn optional_oid(&mut self) -> Taken<Option<Oid>> {
        self.optional_eight().map(|bytes| bytes.map(Oid::from_bytes))
    }

    #[inline]
    fn optional_eight(&mut self) -> Taken<Option<[u8; 8]>> {
        if self.direct_none() {
            return Ok(None);
        }
        if let Some(eight) = self.direct_eight() {
            return Ok(Some(eight));
        }
        self.other_optional_eight()
    }

    #[cold]
    fn other_optional_eight(&mut self) -> Taken<Option<[u8; 8]>> {
        match self.optional_bytes()? {
            None => Ok(None),
            Some(bytes) => bytes.as_ref().try_into().map(Some).map_err(|_| self.bad(Expected::EightBytes)),
        }
    }

    /// The next item, whatever it is; a single number, text or byte string is read straight from the frame.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn leaf_or_value(&mut self) -> Taken<Value<'a>> {
        if let Source::Pickle { lexer, .. } = &mut self.source
            && let Some(leaf) = leaf(lexer)
        {
            self.taken_count += 1;
            return Ok(leaf);
        }
        self.value()
    }

    /// Text.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn text(&mut self) -> Taken<Cow<'a, str>> {
        let text = match self.leaf_or_value()? {
            Value::Text(text) => Some(text),
            Value::Native(Cow::Borrowed(bytes)) | Value::Bytes(Cow::Borrowed(bytes)) => {
                core::str::from_utf8(bytes).ok().map(Cow::Borrowed)
            }
            Value::Native(Cow::Owned(bytes)) => alloc::string::String::from_utf8(bytes).ok().map(Cow::Owned),
            _ => None,
        };
        text.ok_or_else(|| self.bad(Expected::Text))
    }

    /// An integer or boolean.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn int(&mut self) -> Taken<i64> {
        if let Some(number) = self.direct_int() {
            return Ok(number);
        }
        let number = self.leaf_or_value()?.as_int();
        number.and_then(|number| number.try_into().ok()).ok_or_else(|| self.bad(Expected::Int))
    }

    /// A non-negative integer.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn uint(&mut self) -> Taken<u64> {
        if let Some(number) = self.direct_int() {
            return number.try_into().map_err(|_| self.bad(Expected::Int));
        }
        let number = self.leaf_or_value()?.as_int();
        number.and_then(|number| number.try_into().ok()).ok_or_else(|| self.bad(Expected::Int))
    }

    /// A float, or an integer that stands for one.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn float(&mut self) -> Taken<f64> {
        match self.leaf_or_value()? {
            Value::Float(number) => Ok(number),
            Value::Int(number) => match i32::try_from(number) {
                Ok(small) => Ok(small.into()),
                // Seconds since 1970 that large have no fraction to lose.
                #[expect(clippy::cast_precision_loss, reason = "what Python's float() does")]
                Err(_) => Ok(number as f64),
            },
            _ => Err(self.bad(Expected::Number)),
        }
    }

    /// Whether the next item is true in Python's sense; numbers, booleans and `None`.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn truth(&mut self) -> Taken<bool> {
        match self.leaf_or_value()? {
            Value::None => Ok(false),
            Value::Bool(bit) => Ok(bit),
            Value::Int(number) => Ok(number != 0),
            _ => Err(self.bad(Expected::Bool)),
        }
    }

    /// A list or tuple of oids.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn oids(&mut self) -> Taken<Vec<Oid>> {
        if let Some(oids) = self.direct_oids()? {
            self.taken_count += 1;
            return Ok(oids);
        }
        let value = self.value()?;
        let items = value.as_sequence().ok_or_else(|| self.bad(Expected::Sequence))?;
        items
            .iter()
            .map(|item| {
                item.as_bytes().and_then(Oid::from_slice).ok_or_else(|| self.bad(Expected::EightBytes))
            })
            .collect()
    }

    fn direct_oids(&mut self) -> Taken<Option<Vec<Oid>>> {
        match &mut self.source {
            Source::Values(_) | Source::Msgpack { left: 0, .. } => Ok(None),
            Source::Pickle { lexer, .. } => {
                let mut ahead = lexer.clone();
                let oids = pickled_oids(&mut ahead);
                if oids.is_some() {
                    *lexer = ahead;
                }
                Ok(oids)
            }
            Source::Msgpack { reader, left } => {
                let mut ahead = reader.clone();
                let Some(len) = ahead.array_len()? else { return Ok(None) };
                let mut oids = Vec::with_capacity(len);
                for _ in 0..len {
                    match ahead.bin()?.and_then(Oid::from_slice) {
                        Some(oid) => oids.push(oid),
                        None => return Ok(None),
                    }
                }
                *reader = ahead;
                *left -= 1;
                Ok(Some(oids))
            }
        }
    }
}

/// A value that is a single opcode; otherwise nothing moves.
fn leaf<'a>(lexer: &mut Lexer<'a>) -> Option<Value<'a>> {
    let mut ahead = lexer.clone();
    let value = match ahead.next_op().ok()? {
        Op::None => Value::None,
        Op::Bool(bit) => Value::Bool(bit),
        Op::Int(number) => Value::Int(number),
        Op::Float(number) => Value::Float(number),
        Op::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        Op::Text(text) => Value::Text(text),
        Op::Native(bytes) => Value::Native(bytes),
        // Empty unless `SETITEM` or `SETITEMS` follow, which the cursor does not take: like a string that is
        // taken back, that shows later.
        Op::EmptyDict if !matches!(ahead.peek(), Some(code::MARK)) => Value::Dict(Vec::new()),
        _ => return None,
    };
    *lexer = ahead;
    Some(value)
}

/// Whatever the cursor takes directly, as a value.
fn direct_value<'a>(lexer: &mut Lexer<'a>) -> Option<Value<'a>> {
    leaf(lexer).or_else(|| {
        let oids = pickled_oids(lexer)?;
        Some(Value::List(oids.into_iter().map(Value::from).collect()))
    })
}

/// A list of oids as picklers without a memo write it, in batches of up to 1,000.
fn pickled_oids(lexer: &mut Lexer<'_>) -> Option<Vec<Oid>> {
    if !lexer.eat(code::EMPTY_LIST) {
        return None;
    }
    if lexer.peek() != Some(code::MARK) {
        let mut ahead = lexer.clone();
        if let Some(bytes) = ahead.eat_bytes()
            && ahead.eat(code::APPEND)
        {
            *lexer = ahead;
            return Some(alloc::vec![Oid::from_slice(bytes)?]);
        }
        // The list is empty; what follows is the next argument.
        return Some(Vec::new());
    }
    // An oid takes ten bytes in a pickle: an upper bound, without trusting the peer.
    let mut oids = Vec::with_capacity(lexer.rest().len() / 10);
    while lexer.eat(code::MARK) {
        while !lexer.eat(code::APPENDS) {
            oids.push(Oid::from_slice(lexer.eat_bytes()?)?);
        }
    }
    Some(oids)
}
