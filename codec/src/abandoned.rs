//! What servers of ZEO 5.0 and 5.1 on Python 2 leave in front of a message.
//!
//! Such a server pickles the answer to a call before it looks whether there is one yet. If there is not, the
//! attempt fails behind the name, and its pickler, unlike every other one, keeps what was written. So the next
//! message of that connection, reply or call, begins with it (`ZEO/asyncio/server.py:send_reply`,
//! `marshal.py:encoder`, ZEO 5.1.0; PROTOCOL.md F30):
//!
//! ```text
//!  ( 5 0 .reply      ( 6 0 .reply      ( 5 0 .reply <tid> t .
//!  |                 |                 |
//!  attempts, of two calls              the message
//! ```
//!
//! It stays on the stack below the message, where no reader looks.

use alloc::borrow::Cow;

use crate::envelope::{Flag, MsgId, REPLY};
use crate::pickle::op::code;
use crate::pickle::{Lexer, Op};
use crate::value::Value;

/// Attempts to write a reply, in front of a message in pickle protocol 1. Takes no memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abandoned<'a> {
    /// Any number of `MARK id flag ".reply"`, and nothing else.
    bytes: &'a [u8],
}

impl<'a> Abandoned<'a> {
    /// What nearly every message has.
    pub const NONE: Self = Self { bytes: &[] };

    /// Reads attempts that take up all of `bytes`; `None` if there is anything else.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut lexer = Lexer::new(bytes);
        while !lexer.rest().is_empty() {
            attempt(&mut lexer)?;
        }
        Some(Self { bytes })
    }

    /// The attempts in front of a message, as far as its beginning tells: the last ones may be the message itself.
    pub(crate) fn in_front_of(payload: &'a [u8]) -> Self {
        let mut lexer = Lexer::new(payload);
        let mut len = 0;
        while attempt(&mut lexer).is_some() && Head::parse(&mut lexer.clone()).is_some() {
            len = lexer.offset();
        }
        Self { bytes: payload.get(..len).unwrap_or_default() }
    }

    /// So many attempts in front of a message; `None` if it does not begin with them.
    pub(crate) fn first(payload: &'a [u8], count: usize) -> Option<Self> {
        let mut lexer = Lexer::new(payload);
        for _ in 0..count {
            attempt(&mut lexer)?;
        }
        Some(Self { bytes: payload.get(..lexer.offset())? })
    }

    /// Whether the message begins as it should.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// As they stand in the message.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The id and flag of each attempt. The calls with these ids are answered later, or by this very message.
    pub fn attempts(self) -> impl Iterator<Item = (MsgId<'a>, Flag)> {
        let mut lexer = Lexer::new(self.bytes);
        core::iter::from_fn(move || attempt(&mut lexer).map(|head| (head.id, head.flag)))
    }
}

/// The first three elements of a message in protocol 1.
struct Head<'a> {
    id: MsgId<'a>,
    flag: Flag,
    name: Cow<'a, [u8]>,
}

impl<'a> Head<'a> {
    fn parse(lexer: &mut Lexer<'a>) -> Option<Self> {
        if !lexer.eat(code::MARK) {
            return None;
        }
        let id = if lexer.eat(code::MARK) {
            let (Op::Native(oid), Op::Native(tid)) = (lexer.next_op().ok()?, lexer.next_op().ok()?) else {
                return None;
            };
            let pair = alloc::vec![Value::Native(oid), Value::Native(tid)];
            lexer.eat(code::TUPLE).then(|| MsgId::from(Value::Tuple(pair)))?
        } else {
            let Op::Int(number) = lexer.next_op().ok()? else { return None };
            MsgId::Int(number.try_into().ok()?)
        };
        let flag = match lexer.next_op().ok()? {
            Op::Bool(bit) => Flag::Bool(bit),
            Op::Int(number) => Flag::Int(number.try_into().ok()?),
            _ => return None,
        };
        let Op::Native(name) = lexer.next_op().ok()? else { return None };
        Some(Self { id, flag, name })
    }
}

/// Only replies are ever abandoned.
fn attempt<'a>(lexer: &mut Lexer<'a>) -> Option<Head<'a>> {
    Head::parse(lexer).filter(|head| *head.name == *REPLY.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::Framing;
    use crate::{Call, Envelope, Limits, Method, Oid, Tid};
    use alloc::vec::Vec;

    /// Written by `cPickle.Pickler(1)` in fast mode, of Python 2.7, as ZEO 5.1.0 uses it: `dump((5, 0, ".reply",
    /// delay), 2)`, the same with 6, both of which raise, and then this call.
    const BEFORE_A_CALL: &[u8] = b"(K\x05K\x00U\x06.reply(K\x06K\x00U\x06.reply(K\x00I01\n\
        U\x15invalidateTransaction(U\x08\x00\x00\x00\x00\x00\x00\x00\x00]U\x08\x01\x01\x01\x01\x01\x01\x01\x01att.";

    #[test]
    fn the_next_message_is_any() {
        let envelope = Envelope::parse(BEFORE_A_CALL, Framing::Pickle, &Limits::DEFAULT).unwrap();
        assert_eq!((envelope.id, envelope.flag), (MsgId::Int(0), Flag::Bool(true)));
        let attempts: Vec<_> = envelope.abandoned.attempts().collect();
        assert_eq!(attempts, [(MsgId::Int(5), Flag::RESULT), (MsgId::Int(6), Flag::RESULT)]);
        let call = Call::parse(Method::InvalidateTransaction, envelope.args, &Limits::DEFAULT).unwrap();
        let Call::InvalidateTransaction(call) = call else { panic!() };
        assert_eq!((call.tid, &call.oids[..]), (Tid::ZERO, &[Oid::from_bytes([1; 8])][..]));
    }

    /// A result can look like a message: then the opcodes at the end tell.
    #[test]
    fn a_result_that_looks_like_a_message_is_a_result() {
        let payload = b"(K\x05K\x00U\x06.reply(K\x06K\x00U\x06.replyNtt.";
        let envelope = Envelope::parse(payload, Framing::Pickle, &Limits::DEFAULT).unwrap();
        assert_eq!((envelope.id.clone(), envelope.abandoned), (MsgId::Int(5), Abandoned::NONE));
        let result = envelope.args.into_value(&Limits::DEFAULT).unwrap();
        assert_eq!(alloc::string::ToString::to_string(&result), "(6, 0, s2\".reply\", None)");
    }

    /// Found by the fuzz target `reply_roundtrip`: a name in the form of Python 3 cannot be written behind attempts.
    #[test]
    fn a_message_of_python_3_has_nothing_in_front() {
        let payload = b"(K\x1dK\x00U\x06.reply(K\x1dK\x00U\x06.other(K\x04K\x00X\x06\x00\x00\x00.replyNt.";
        let envelope = Envelope::parse(payload, Framing::Pickle, &Limits::DEFAULT).unwrap();
        assert_eq!((envelope.id, envelope.abandoned), (MsgId::Int(4), Abandoned::NONE));
    }

    /// Found by the fuzz target `reply_roundtrip`: a result in the form `( .. o` can look like a message behind an attempt.
    #[test]
    fn a_result_that_looks_like_a_message_is_a_result_behind_attempts() {
        let payload = b"(K\x05K\x00U\x06.reply(K\x06K\x00U\x06.reply(K\x07K\x00U\x04nameot.";
        let envelope = Envelope::parse(payload, Framing::Pickle, &Limits::DEFAULT).unwrap();
        assert_eq!(envelope.id, MsgId::Int(6));
        assert_eq!(envelope.abandoned.as_bytes(), b"(K\x05K\x00U\x06.reply");
    }

    #[test]
    fn nothing_else_is_taken_for_an_attempt() {
        assert_eq!(Abandoned::parse(b""), Some(Abandoned::NONE));
        assert!(Abandoned::parse(b"(K\x05K\x00U\x06.reply").is_some());
        for bytes in
            [&b"(K\x05K\x00U\x06.replyN"[..], b"(K\x05K\x00U\x04ping", b"(K\x05", b"K\x05K\x00U\x06.reply"]
        {
            assert_eq!(Abandoned::parse(bytes), None);
        }
    }
}
