//! Operands that are lines of text: protocol 0, and `INT`, `LONG` and `GLOBAL` of all protocols.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use nom::bytes::complete::{take, take_until};

use super::ops::text;
use super::{Lexed, fail};
use crate::error::DecodeErrorKind;
use crate::pickle::op::Op;

/// Up to the next newline, which is consumed.
fn line(input: &[u8]) -> Lexed<'_, &[u8]> {
    let (rest, line) = take_until("\n")(input)?;
    let (rest, _) = take(1_usize)(rest)?;
    Ok((rest, line))
}

pub(super) fn text_line(input: &[u8]) -> Lexed<'_, &str> {
    let (rest, line) = line(input)?;
    match core::str::from_utf8(line) {
        Ok(line) => Ok((rest, line)),
        Err(_) => fail(input, DecodeErrorKind::BadText),
    }
}

pub(super) fn two_lines(input: &[u8]) -> Lexed<'_, (&str, &str)> {
    let (rest, first) = text_line(input)?;
    let (rest, second) = text_line(rest)?;
    Ok((rest, (first, second)))
}

pub(super) fn parsed_line<T: core::str::FromStr>(input: &[u8]) -> Lexed<'_, T> {
    let (rest, line) = text_line(input)?;
    match line.trim_ascii().parse() {
        Ok(number) => Ok((rest, number)),
        Err(_) => fail(input, DecodeErrorKind::BadNumber),
    }
}

pub(super) fn float_line(input: &[u8]) -> Lexed<'_, Op<'_>> {
    parsed_line(input).map(|(rest, number)| (rest, Op::Float(number)))
}

/// `INT`: decimal; `00` and `01` are the booleans of protocols 0 and 1.
pub(super) fn int_line(input: &[u8]) -> Lexed<'_, Op<'_>> {
    let (rest, digits) = line(input)?;
    match digits {
        b"00" => Ok((rest, Op::Bool(false))),
        b"01" => Ok((rest, Op::Bool(true))),
        _ => parsed_line(input).map(|(rest, number)| (rest, Op::Int(number))),
    }
}

/// `LONG`: decimal, with an `L` behind it that Python 2 always writes.
pub(super) fn long_line(input: &[u8]) -> Lexed<'_, Op<'_>> {
    let (rest, digits) = text_line(input)?;
    match digits.strip_suffix('L').unwrap_or(digits).parse() {
        Ok(number) => Ok((rest, Op::Int(number))),
        // Decimal integers beyond 128 bits: no peer sends any.
        Err(_) => fail(input, DecodeErrorKind::BadNumber),
    }
}

/// `STRING`: a quoted literal of Python 2 with its escapes.
pub(super) fn string_line(input: &[u8]) -> Lexed<'_, Op<'_>> {
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
pub(super) fn unicode_line(input: &[u8]) -> Lexed<'_, Op<'_>> {
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
