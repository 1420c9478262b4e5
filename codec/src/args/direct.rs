//! What is read straight from the frame, without building a value: the forms in which peers write plain
//! arguments. Where an item comes in another form nothing moves, and it is taken as a value.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::Oid;
use crate::args::{Args, Source, Taken};
use crate::pickle::op::code;
use crate::pickle::{Lexer, Op};
use crate::value::Value;

impl<'a> Args<'a> {
    /// A byte string that stands in the frame; `None` if the next item must be taken as a value.
    #[inline]
    pub(super) fn direct_bytes(&mut self) -> Taken<Option<&'a [u8]>> {
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

    /// Eight bytes in the form in which every peer writes them.
    #[inline]
    pub(super) fn direct_eight(&mut self) -> Option<[u8; 8]> {
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
    pub(super) fn direct_none(&mut self) -> bool {
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
    pub(super) fn direct_int(&mut self) -> Option<i64> {
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

    pub(super) fn direct_oids(&mut self) -> Taken<Option<Vec<Oid>>> {
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
pub(super) fn leaf<'a>(lexer: &mut Lexer<'a>) -> Option<Value<'a>> {
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
pub(super) fn direct_value<'a>(lexer: &mut Lexer<'a>) -> Option<Value<'a>> {
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
