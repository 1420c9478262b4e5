//! From bytes to opcodes. A nom parser for one opcode, and a cursor that applies it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use nom::Parser as _;
use nom::bytes::complete::{take, take_until};
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::{be_f64, le_i32, le_u8, le_u16, le_u32, le_u64};

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
        match op(self.rest) {
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

/// Parses one opcode with its operand.
fn op(input: &[u8]) -> Lexed<'_, Op<'_>> {
    let (rest, opcode) = le_u8(input)?;
    let plain = |op| Ok((rest, op));
    match opcode {
        code::MARK => plain(Op::Mark),
        code::STOP => plain(Op::Stop),
        code::POP => plain(Op::Pop),
        code::POP_MARK => plain(Op::PopMark),
        code::DUP => plain(Op::Dup),
        code::NONE => plain(Op::None),
        code::NEWTRUE => plain(Op::Bool(true)),
        code::NEWFALSE => plain(Op::Bool(false)),
        code::BINPERSID => plain(Op::BinPersId),
        code::REDUCE => plain(Op::Reduce),
        code::BUILD => plain(Op::Build),
        code::APPEND => plain(Op::Append),
        code::APPENDS => plain(Op::Appends),
        code::EMPTY_LIST => plain(Op::EmptyList),
        code::LIST => plain(Op::List),
        code::EMPTY_DICT => plain(Op::EmptyDict),
        code::DICT => plain(Op::Dict),
        code::SETITEM => plain(Op::SetItem),
        code::SETITEMS => plain(Op::SetItems),
        code::EMPTY_TUPLE => plain(Op::EmptyTuple),
        code::TUPLE => plain(Op::Tuple),
        code::TUPLE1 => plain(Op::TupleOf(1)),
        code::TUPLE2 => plain(Op::TupleOf(2)),
        code::TUPLE3 => plain(Op::TupleOf(3)),
        code::OBJ => plain(Op::Obj),
        code::NEWOBJ => plain(Op::NewObj),
        code::NEWOBJ_EX => plain(Op::NewObjEx),
        code::STACK_GLOBAL => plain(Op::StackGlobal),
        code::MEMOIZE => plain(Op::Memoize),
        code::EMPTY_SET => plain(Op::EmptySet),
        code::ADDITEMS => plain(Op::AddItems),
        code::FROZENSET => plain(Op::FrozenSet),
        code::NEXT_BUFFER | code::READONLY_BUFFER => plain(Op::Buffer),
        _ => op_with_operand(opcode, input, rest),
    }
}

/// Parses the operand of an opcode that has one.
fn op_with_operand<'a>(opcode: u8, at: &'a [u8], rest: &'a [u8]) -> Lexed<'a, Op<'a>> {
    match opcode {
        code::PROTO => match le_u8(rest)? {
            (rest, protocol @ 0..=5) => Ok((rest, Op::Proto(protocol))),
            (_, protocol) => fail(rest, DecodeErrorKind::UnknownProtocol(protocol)),
        },
        code::FRAME => le_u64.map(Op::Frame).parse(rest),

        code::BININT => le_i32.map(|n| Op::Int(n.into())).parse(rest),
        code::BININT1 => le_u8.map(|n| Op::Int(n.into())).parse(rest),
        code::BININT2 => le_u16.map(|n| Op::Int(n.into())).parse(rest),
        code::INT => int_line(rest),
        code::LONG => long_line(rest),
        code::LONG1 => {
            let (rest, len) = le_u8(rest)?;
            take(len).map(long).parse(rest)
        }
        code::LONG4 => {
            let (rest, len) = length_i32(rest)?;
            take(len).map(long).parse(rest)
        }
        code::FLOAT => float_line(rest),
        code::BINFLOAT => be_f64.map(Op::Float).parse(rest),

        code::SHORT_BINBYTES => short(rest).map(|(rest, bytes)| (rest, Op::Bytes(bytes))),
        code::BINBYTES => medium(rest).map(|(rest, bytes)| (rest, Op::Bytes(bytes))),
        code::BINBYTES8 => large(rest).map(|(rest, bytes)| (rest, Op::Bytes(bytes))),
        code::BYTEARRAY8 => large(rest).map(|(rest, bytes)| (rest, Op::ByteArray(bytes))),

        code::SHORT_BINUNICODE => text(short(rest)?, rest),
        code::BINUNICODE => text(medium(rest)?, rest),
        code::BINUNICODE8 => text(large(rest)?, rest),
        code::UNICODE => unicode_line(rest),

        code::SHORT_BINSTRING => short(rest).map(|(rest, bytes)| (rest, Op::Native(Cow::Borrowed(bytes)))),
        code::BINSTRING => {
            let (rest, len) = length_i32(rest)?;
            take(len).map(|bytes| Op::Native(Cow::Borrowed(bytes))).parse(rest)
        }
        code::STRING => string_line(rest),

        code::GLOBAL => two_lines(rest).map(|(rest, (module, name))| (rest, Op::Global { module, name })),
        code::INST => two_lines(rest).map(|(rest, (module, name))| (rest, Op::Inst { module, name })),
        code::PERSID => text_line(rest).map(|(rest, id)| (rest, Op::PersId(id))),

        code::EXT1 => le_u8.map(|n| Op::Extension(n.into())).parse(rest),
        code::EXT2 => le_u16.map(|n| Op::Extension(n.into())).parse(rest),
        code::EXT4 => le_i32.map(Op::Extension).parse(rest),

        code::BINGET => le_u8.map(|n| Op::Get(n.into())).parse(rest),
        code::LONG_BINGET => le_u32.map(Op::Get).parse(rest),
        code::GET => memo_line(rest).map(|(rest, index)| (rest, Op::Get(index))),
        code::BINPUT => le_u8.map(|n| Op::Put(n.into())).parse(rest),
        code::LONG_BINPUT => le_u32.map(Op::Put).parse(rest),
        code::PUT => memo_line(rest).map(|(rest, index)| (rest, Op::Put(index))),

        unknown => fail(at, DecodeErrorKind::UnknownOpcode(unknown)),
    }
}

fn short(input: &[u8]) -> Lexed<'_, &[u8]> {
    let (rest, len) = le_u8(input)?;
    take(len)(rest)
}

fn medium(input: &[u8]) -> Lexed<'_, &[u8]> {
    let (rest, len) = le_u32(input)?;
    take(len)(rest)
}

fn large(input: &[u8]) -> Lexed<'_, &[u8]> {
    let (rest, len) = le_u64(input)?;
    match usize::try_from(len) {
        Ok(len) => take(len)(rest),
        Err(_) => fail(input, DecodeErrorKind::Truncated),
    }
}

/// The length of `BINSTRING` and `LONG4` is signed.
fn length_i32(input: &[u8]) -> Lexed<'_, u32> {
    let (rest, len) = le_i32(input)?;
    match u32::try_from(len) {
        Ok(len) => Ok((rest, len)),
        Err(_) => fail(input, DecodeErrorKind::NegativeLength),
    }
}

fn text<'a>((rest, bytes): (&'a [u8], &'a [u8]), at: &'a [u8]) -> Lexed<'a, Op<'a>> {
    match core::str::from_utf8(bytes) {
        Ok(text) => Ok((rest, Op::Text(Cow::Borrowed(text)))),
        Err(_) => fail(at, DecodeErrorKind::BadText),
    }
}

/// Up to the next newline, which is consumed.
fn line(input: &[u8]) -> Lexed<'_, &[u8]> {
    let (rest, line) = take_until("\n")(input)?;
    let (rest, _) = take(1_usize)(rest)?;
    Ok((rest, line))
}

fn text_line(input: &[u8]) -> Lexed<'_, &str> {
    let (rest, line) = line(input)?;
    match core::str::from_utf8(line) {
        Ok(line) => Ok((rest, line)),
        Err(_) => fail(input, DecodeErrorKind::BadText),
    }
}

fn two_lines(input: &[u8]) -> Lexed<'_, (&str, &str)> {
    let (rest, first) = text_line(input)?;
    let (rest, second) = text_line(rest)?;
    Ok((rest, (first, second)))
}

fn parsed_line<T: core::str::FromStr>(input: &[u8]) -> Lexed<'_, T> {
    let (rest, line) = text_line(input)?;
    match line.trim_ascii().parse() {
        Ok(number) => Ok((rest, number)),
        Err(_) => fail(input, DecodeErrorKind::BadNumber),
    }
}

fn memo_line(input: &[u8]) -> Lexed<'_, u32> {
    parsed_line(input)
}

fn float_line(input: &[u8]) -> Lexed<'_, Op<'_>> {
    parsed_line(input).map(|(rest, number)| (rest, Op::Float(number)))
}

/// `INT`: decimal; `00` and `01` are the booleans of protocols 0 and 1.
fn int_line(input: &[u8]) -> Lexed<'_, Op<'_>> {
    let (rest, digits) = line(input)?;
    match digits {
        b"00" => Ok((rest, Op::Bool(false))),
        b"01" => Ok((rest, Op::Bool(true))),
        _ => parsed_line(input).map(|(rest, number)| (rest, Op::Int(number))),
    }
}

/// `LONG`: decimal, with an `L` behind it that Python 2 always writes.
fn long_line(input: &[u8]) -> Lexed<'_, Op<'_>> {
    let (rest, digits) = text_line(input)?;
    match digits.strip_suffix('L').unwrap_or(digits).parse() {
        Ok(number) => Ok((rest, Op::Int(number))),
        // Decimal integers beyond 128 bits: no peer sends any.
        Err(_) => fail(input, DecodeErrorKind::BadNumber),
    }
}

/// Little-endian two's complement of any length; no bytes are zero.
fn long(bytes: &[u8]) -> Op<'_> {
    let sign = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 16];
    match wide.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Op::Int(i128::from_le_bytes(wide))
        }
        None => Op::Long(Cow::Borrowed(bytes)),
    }
}

/// `STRING`: a quoted literal of Python 2 with its escapes.
fn string_line(input: &[u8]) -> Lexed<'_, Op<'_>> {
    let (rest, line) = line(input)?;
    let ([b'"', quoted @ .., b'"'] | [b'\'', quoted @ .., b'\'']) = line.trim_ascii_end() else {
        return fail(input, DecodeErrorKind::BadText);
    };
    if !quoted.contains(&b'\\') {
        return Ok((rest, Op::Native(Cow::Borrowed(quoted))));
    }
    match unescape_string(quoted) {
        Some(bytes) => Ok((rest, Op::Native(Cow::Owned(bytes)))),
        None => fail(input, DecodeErrorKind::BadText),
    }
}

/// Python 2 string escapes (`codecs.escape_decode`).
fn unescape_string(mut quoted: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(quoted.len());
    while let Some((first, rest)) = quoted.split_first() {
        quoted = rest;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (escape, rest) = quoted.split_first()?;
        quoted = rest;
        match escape {
            b'\n' => {}
            b'\\' | b'\'' | b'"' => bytes.push(*escape),
            b'a' => bytes.push(7),
            b'b' => bytes.push(8),
            b'f' => bytes.push(12),
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'v' => bytes.push(11),
            b'x' => {
                let (digits, rest) = quoted.split_at_checked(2)?;
                quoted = rest;
                bytes.push(u8::try_from(number(digits, 16)?).ok()?);
            }
            b'0'..=b'7' => {
                let more = quoted.iter().take(2).take_while(|digit| matches!(digit, b'0'..=b'7')).count();
                let (digits, rest) = quoted.split_at_checked(more)?;
                quoted = rest;
                let value = digits.iter().fold(u32::from(escape - b'0'), |n, d| n * 8 + u32::from(d - b'0'));
                bytes.push(u8::try_from(value & 0xff).ok()?);
            }
            // An unknown escape stands for itself, backslash included.
            other => bytes.extend_from_slice(&[b'\\', *other]),
        }
    }
    Some(bytes)
}

/// `UNICODE`: Latin-1 with `\uXXXX` and `\UXXXXXXXX` (Python's raw-unicode-escape).
fn unicode_line(input: &[u8]) -> Lexed<'_, Op<'_>> {
    let (rest, line) = line(input)?;
    if line.is_ascii() && !line.contains(&b'\\') {
        return text((rest, line), input);
    }
    match unescape_unicode(line) {
        Some(text) => Ok((rest, Op::Text(Cow::Owned(text)))),
        None => fail(input, DecodeErrorKind::BadText),
    }
}

fn unescape_unicode(mut line: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    while let Some((first, rest)) = line.split_first() {
        line = rest;
        let digit_count = match (first, rest.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            (b'\\', Some(other)) => {
                // Any other pair stands for itself; its second character begins no escape.
                text.extend(['\\', char::from(*other)]);
                line = rest.get(1..)?;
                continue;
            }
            _ => {
                text.push(char::from(*first));
                continue;
            }
        };
        let (digits, rest) = rest.get(1..)?.split_at_checked(digit_count)?;
        line = rest;
        text.push(char::from_u32(number(digits, 16)?)?);
    }
    Some(text)
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    digits
        .iter()
        .try_fold(0_u32, |n, digit| n.checked_mul(radix)?.checked_add(char::from(*digit).to_digit(radix)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn ops(pickle: &[u8]) -> Vec<Op<'_>> {
        let mut lexer = Lexer::new(pickle);
        let mut ops = vec![];
        while lexer.peek().is_some() {
            ops.push(lexer.next_op().unwrap());
        }
        ops
    }

    #[test]
    fn reads_numbers_of_every_protocol() {
        // pickletools.dis of pickle.dumps(..., 0..=4), CPython 3.11
        assert_eq!(
            ops(b"I01\nI-7\nL140712079153552L\nF1.5\n.").as_slice(),
            [Op::Bool(true), Op::Int(-7), Op::Int(140_712_079_153_552), Op::Float(1.5), Op::Stop]
        );
        assert_eq!(
            ops(b"\x8a\x00\x8a\x01\xff\x8a\x02\xff\x00J\xec\xff\xff\xffK\xffM\xe8\x03").as_slice(),
            [Op::Int(0), Op::Int(-1), Op::Int(255), Op::Int(-20), Op::Int(255), Op::Int(1000)]
        );
        assert_eq!(ops(b"\x8a\x06\xd0\x7b\x0d\xd9\x7b\x7f").as_slice(), [Op::Int(140_169_899_244_496)]);
    }

    #[test]
    fn reads_escapes() {
        assert_eq!(ops(b"S'a\\x00\\n\\\\\\'\\101'\n").as_slice(), [Op::Native(Cow::Borrowed(b"a\0\n\\'A"))]);
        assert_eq!(ops(b"V\\u4e2d\xfc\\\n").as_slice(), [Op::Text(Cow::Borrowed("\u{4e2d}\u{fc}\\"))]);
        // pickle.loads(b"V\\\\u0041\n."), CPython 3.11
        assert_eq!(ops(b"V\\\\u0041\n").as_slice(), [Op::Text(Cow::Borrowed("\\\\u0041"))]);
    }

    #[test]
    fn names_the_place_of_an_error() {
        let mut lexer = Lexer::new(b"NN\xff");
        lexer.next_op().unwrap();
        lexer.next_op().unwrap();
        assert_eq!(lexer.next_op(), Err(DecodeError::new(2, DecodeErrorKind::UnknownOpcode(0xff))));
        assert_eq!(
            Lexer::new(b"T\xff\xff\xff\xff").next_op(),
            Err(DecodeError::new(1, DecodeErrorKind::NegativeLength))
        );
        assert_eq!(Lexer::new(b"C\x05abc").next_op().unwrap_err().kind, DecodeErrorKind::Truncated);
    }
}
