//! From bytes to values, one at a time.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use rmp::Marker;

use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::limits::Limits;
use crate::value::Value;

/// Decodes a message that is exactly one value.
///
/// # Errors
/// Anything a [`DecodeError`] can say.
pub fn decode<'a>(message: &'a [u8], limits: &Limits) -> Result<Value<'a>, DecodeError> {
    let mut reader = MsgpackReader::new(message);
    let value = reader.value(limits)?;
    reader.end()?;
    Ok(value)
}

/// A cursor over the values of a message.
#[derive(Debug, Clone)]
pub struct MsgpackReader<'a> {
    rest: &'a [u8],
    total_len: usize,
}

impl<'a> MsgpackReader<'a> {
    /// Starts at the first byte of `message`.
    #[must_use]
    pub const fn new(message: &'a [u8]) -> Self {
        Self { rest: message, total_len: message.len() }
    }

    /// Starts inside `message`, at a value.
    #[must_use]
    pub fn at(message: &'a [u8], offset: usize) -> Self {
        Self { rest: message.get(offset..).unwrap_or_default(), total_len: message.len() }
    }

    /// Offset of the next value.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.total_len - self.rest.len()
    }

    /// The next value's first byte, without moving on.
    #[must_use]
    pub fn peek(&self) -> Option<Marker> {
        self.rest.first().map(|byte| Marker::from_u8(*byte))
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// `TrailingBytes`.
    #[inline]
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(Kind::TrailingBytes)) }
    }

    const fn error(&self, kind: Kind) -> DecodeError {
        DecodeError::new(self.offset(), kind)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.error(Kind::Truncated))?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.error(Kind::Truncated))?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    fn marker(&mut self) -> Result<Marker, DecodeError> {
        self.array().map(|[byte]| Marker::from_u8(byte))
    }

    #[inline]
    fn len8(&mut self) -> Result<usize, DecodeError> {
        self.array().map(|[byte]| usize::from(byte))
    }

    #[inline]
    fn len16(&mut self) -> Result<usize, DecodeError> {
        self.array().map(|bytes| usize::from(u16::from_be_bytes(bytes)))
    }

    #[inline]
    fn len32(&mut self) -> Result<usize, DecodeError> {
        let len = self.array()?;
        self.usize(len)
    }

    /// A count of values that take at least one byte each.
    #[inline]
    fn plausible(&self, count: usize) -> Result<usize, DecodeError> {
        if count <= self.rest.len() { Ok(count) } else { Err(self.error(Kind::Truncated)) }
    }

    /// The header of an array, if the next value is one; otherwise nothing moves.
    ///
    /// # Errors
    /// `Truncated`, also if the array cannot fit in what is left.
    #[inline]
    pub fn array_len(&mut self) -> Result<Option<usize>, DecodeError> {
        let (len, rest) = match self.rest {
            [first @ 0x90..=0x9f, rest @ ..] => (usize::from(first & 0x0f), rest),
            [0xdc, a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            [0xdd, a, b, c, d, rest @ ..] => (self.usize([*a, *b, *c, *d])?, rest),
            [] | [0xdc | 0xdd, ..] => return Err(self.error(Kind::Truncated)),
            [_, ..] => return Ok(None),
        };
        self.rest = rest;
        self.plausible(len).map(Some)
    }

    /// `True` or `False`, if the next value is one of them; otherwise nothing moves.
    #[inline]
    pub fn bool(&mut self) -> Option<bool> {
        let (bit, rest) = match self.rest {
            [0xc2, rest @ ..] => (false, rest),
            [0xc3, rest @ ..] => (true, rest),
            _ => return None,
        };
        self.rest = rest;
        Some(bit)
    }

    /// Moves over `None`, if the next value is that.
    #[inline]
    pub fn none(&mut self) -> bool {
        let [0xc0, rest @ ..] = self.rest else { return false };
        self.rest = rest;
        true
    }

    /// An integer from -32 to 65,535 or an unsigned one of eight bytes below 2^63 (ids of transactions), if
    /// the next value is one; otherwise nothing moves.
    #[inline]
    pub fn small_int(&mut self) -> Option<i64> {
        let (number, rest) = match self.rest {
            [small @ 0..=0x7f, rest @ ..] => (i64::from(*small), rest),
            [small @ 0xe0..=0xff, rest @ ..] => (i64::from(i8::from_be_bytes([*small])), rest),
            [0xcc, small, rest @ ..] => (i64::from(*small), rest),
            [0xcd, high, low, rest @ ..] => (i64::from(u16::from_be_bytes([*high, *low])), rest),
            [0xcf, rest @ ..] => {
                let (bytes, rest) = rest.split_first_chunk()?;
                (i64::try_from(u64::from_be_bytes(*bytes)).ok()?, rest)
            }
            _ => return None,
        };
        self.rest = rest;
        Some(number)
    }

    /// Eight bytes as `bin`, if the next value is that; otherwise nothing moves.
    #[inline]
    pub fn eight(&mut self) -> Option<[u8; 8]> {
        let [0xc4, 8, rest @ ..] = self.rest else { return None };
        let (eight, rest) = rest.split_first_chunk()?;
        self.rest = rest;
        Some(*eight)
    }

    /// Text, if the next value is that; otherwise nothing moves.
    ///
    /// # Errors
    /// `Truncated`, `BadText`.
    #[inline]
    pub fn text(&mut self) -> Result<Option<&'a str>, DecodeError> {
        let at = self.offset();
        let Some(bytes) = self.text_bytes()? else { return Ok(None) };
        core::str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::new(at, Kind::BadText))
    }

    /// Text, as bytes that were checked. Names are ASCII, which takes less time to find out.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let at = self.offset();
        let Some(bytes) = self.text_bytes()? else { return Ok(None) };
        if bytes.is_ascii() || core::str::from_utf8(bytes).is_ok() {
            Ok(Some(bytes))
        } else {
            Err(DecodeError::new(at, Kind::BadText))
        }
    }

    #[inline]
    fn text_bytes(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let (len, rest) = match self.rest {
            [first @ 0xa0..=0xbf, rest @ ..] => (usize::from(first & 0x1f), rest),
            [0xd9, len, rest @ ..] => (usize::from(*len), rest),
            [0xda, a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            [0xdb, a, b, c, d, rest @ ..] => (self.usize([*a, *b, *c, *d])?, rest),
            [] | [0xd9..=0xdb, ..] => return Err(self.error(Kind::Truncated)),
            [_, ..] => return Ok(None),
        };
        self.split(rest, len).map(Some)
    }

    /// The bytes of a `bin` value, if the next value is one; otherwise nothing moves.
    ///
    /// # Errors
    /// `Truncated`.
    #[inline]
    pub fn bin(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let (len, rest) = match self.rest {
            [0xc4, len, rest @ ..] => (usize::from(*len), rest),
            [0xc5, a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            [0xc6, a, b, c, d, rest @ ..] => (self.usize([*a, *b, *c, *d])?, rest),
            [] | [0xc4..=0xc6, ..] => return Err(self.error(Kind::Truncated)),
            [_, ..] => return Ok(None),
        };
        self.split(rest, len).map(Some)
    }

    /// Takes `len` bytes of `rest`, which follows the header of the value at hand.
    #[inline]
    fn split(&mut self, rest: &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = rest.split_at_checked(len).ok_or_else(|| self.error(Kind::Truncated))?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn usize(&self, len: [u8; 4]) -> Result<usize, DecodeError> {
        usize::try_from(u32::from_be_bytes(len)).map_err(|_| self.error(Kind::Truncated))
    }

    /// Two byte strings of eight bytes in an array, if the next value is that; otherwise nothing moves.
    #[inline]
    pub fn load_id(&mut self) -> Option<[[u8; 8]; 2]> {
        let mut ahead = self.clone();
        let [0x92, rest @ ..] = ahead.rest else { return None };
        ahead.rest = rest;
        let pair = [ahead.eight()?, ahead.eight()?];
        *self = ahead;
        Some(pair)
    }

    /// The next value, whatever it is.
    ///
    /// # Errors
    /// Anything a [`DecodeError`] can say.
    pub fn value(&mut self, limits: &Limits) -> Result<Value<'a>, DecodeError> {
        let mut budget = limits.value_count.saturating_sub(1);
        self.nested(limits.depth, &mut budget)
    }

    /// `budget` is how many values may stand within this one.
    fn nested(&mut self, depth: usize, budget: &mut usize) -> Result<Value<'a>, DecodeError> {
        let at = self.offset();
        let inner = || depth.checked_sub(1).ok_or_else(|| DecodeError::new(at, Kind::TooDeep));
        Ok(match self.marker()? {
            Marker::Null => Value::None,
            Marker::True => Value::Bool(true),
            Marker::False => Value::Bool(false),
            Marker::FixPos(number) => Value::Int(number.into()),
            Marker::FixNeg(number) => Value::Int(number.into()),
            Marker::U8 => Value::Int(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => Value::Int(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Value::Int(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => Value::Int(u64::from_be_bytes(self.array()?).into()),
            Marker::I8 => Value::Int(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => Value::Int(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => Value::Int(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => Value::Int(i64::from_be_bytes(self.array()?).into()),
            Marker::F32 => Value::Float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => Value::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(len) => self.str(usize::from(len))?.into(),
            Marker::Str8 => self.len8().and_then(|len| self.str(len))?.into(),
            Marker::Str16 => self.len16().and_then(|len| self.str(len))?.into(),
            Marker::Str32 => self.len32().and_then(|len| self.str(len))?.into(),
            Marker::Bin8 => self.len8().and_then(|len| self.bytes(len))?,
            Marker::Bin16 => self.len16().and_then(|len| self.bytes(len))?,
            Marker::Bin32 => self.len32().and_then(|len| self.bytes(len))?,
            Marker::FixArray(len) => self.items(usize::from(len), inner()?, budget)?,
            Marker::Array16 => self.len16().and_then(|len| self.items(len, inner()?, budget))?,
            Marker::Array32 => self.len32().and_then(|len| self.items(len, inner()?, budget))?,
            Marker::FixMap(len) => self.pairs(usize::from(len), inner()?, budget)?,
            Marker::Map16 => self.len16().and_then(|len| self.pairs(len, inner()?, budget))?,
            Marker::Map32 => self.len32().and_then(|len| self.pairs(len, inner()?, budget))?,
            other @ (Marker::Reserved
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32
            | Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16) => return Err(DecodeError::new(at, Kind::UnknownType(other.to_u8()))),
        })
    }

    #[inline]
    fn str(&mut self, len: usize) -> Result<&'a str, DecodeError> {
        let at = self.offset();
        core::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::new(at, Kind::BadText))
    }

    fn bytes(&mut self, len: usize) -> Result<Value<'a>, DecodeError> {
        Ok(Value::Bytes(Cow::Borrowed(self.take(len)?)))
    }

    fn items(&mut self, len: usize, depth: usize, budget: &mut usize) -> Result<Value<'a>, DecodeError> {
        let len = self.plausible(len)?;
        self.charge(len, budget)?;
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(self.nested(depth, budget)?);
        }
        Ok(Value::Tuple(items))
    }

    fn pairs(&mut self, len: usize, depth: usize, budget: &mut usize) -> Result<Value<'a>, DecodeError> {
        let len = self.plausible(len)?;
        self.charge(len.saturating_mul(2), budget)?;
        let mut pairs = Vec::with_capacity(len);
        for _ in 0..len {
            let key = self.nested(depth, budget)?;
            pairs.push((key, self.nested(depth, budget)?));
        }
        Ok(Value::Dict(pairs))
    }

    /// All at once, before memory is taken: were each counted when it comes, arrays that begin with long arrays would
    /// each take memory for as many as the whole message may have.
    fn charge(&self, count: usize, budget: &mut usize) -> Result<(), DecodeError> {
        *budget = budget.checked_sub(count).ok_or_else(|| self.error(Kind::TooManyValues))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_count_beyond_the_message_takes_no_memory() {
        for header in [&b"\xdd\xff\xff\xff\xff"[..], b"\xdf\xff\xff\xff\xff", b"\xdc\xff\xff\xc0"] {
            let error = decode(header, &Limits::DEFAULT).unwrap_err();
            assert!(matches!(error.kind, Kind::Truncated | Kind::TooManyValues), "{error}");
        }
    }

    #[test]
    fn refuses_depth_ext_and_bad_text() {
        let deep = vec![0x91; 10_000];
        assert_eq!(decode(&deep, &Limits::DEFAULT).unwrap_err().kind, Kind::TooDeep);
        assert_eq!(decode(b"\xd4\x01\x00", &Limits::DEFAULT).unwrap_err().kind, Kind::UnknownType(0xd4));
        assert_eq!(decode(b"\xc1", &Limits::DEFAULT).unwrap_err().kind, Kind::UnknownType(0xc1));
        assert_eq!(
            decode(b"\xa2\xff\xff", &Limits::DEFAULT).unwrap_err(),
            DecodeError::new(1, Kind::BadText)
        );
        assert_eq!(
            decode(b"\xc0\xc0", &Limits::DEFAULT).unwrap_err(),
            DecodeError::new(1, Kind::TrailingBytes)
        );
    }
}
