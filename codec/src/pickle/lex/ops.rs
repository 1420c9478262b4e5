//! One opcode with its operand, in the binary forms.

use alloc::borrow::Cow;

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::number::complete::{be_f64, le_i32, le_u8, le_u16, le_u32, le_u64};

use super::lines::{
    float_line, int_line, long_line, parsed_line, string_line, text_line, two_lines, unicode_line,
};
use super::{Lexed, fail};
use crate::error::DecodeErrorKind;
use crate::pickle::op::{Op, code};

/// Parses one opcode with its operand.
pub(super) fn op(input: &[u8]) -> Lexed<'_, Op<'_>> {
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
        code::GET => parsed_line(rest).map(|(rest, index)| (rest, Op::Get(index))),
        code::BINPUT => le_u8.map(|n| Op::Put(n.into())).parse(rest),
        code::LONG_BINPUT => le_u32.map(Op::Put).parse(rest),
        code::PUT => parsed_line(rest).map(|(rest, index)| (rest, Op::Put(index))),

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

pub(super) fn text<'a>((rest, bytes): (&'a [u8], &'a [u8]), at: &'a [u8]) -> Lexed<'a, Op<'a>> {
    match core::str::from_utf8(bytes) {
        Ok(text) => Ok((rest, Op::Text(Cow::Borrowed(text)))),
        Err(_) => fail(at, DecodeErrorKind::BadText),
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
