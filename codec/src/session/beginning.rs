//! Where a message begins in bytes whose beginning is missing: a conversation that was joined in the middle, or
//! that has lost bytes. Frames have no mark, so this looks for a length and behind it what only a message begins
//! with: an id, a flag and the name of a method (protocol reference 3).

use crate::call::Method;
use crate::envelope::REPLY;
use crate::frame::{LENGTH_LEN, MAC_BIT, MAC_LEN};
use crate::handshake::{Framing, Hello, Protocol};
use crate::limits::Limits;
use crate::msgpack::MsgpackReader;
use crate::pickle::op::code;
use crate::pickle::{Lexer, Op};
use crate::session::Direction;
use crate::value::Value;

/// What the first bytes of a frame tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// Who sent it, if that can be told: both sides send greetings.
    pub sender: Option<Direction>,
    /// The protocol, as far as it can be told: `Z4` only by a MAC, otherwise the newest.
    pub protocol: Protocol,
    /// Whether it is a greeting or a probe, and no message.
    pub is_greeting: bool,
}

/// The answer to "does a frame begin here?".
enum Look {
    Begins(Beginning),
    No,
    /// It may; more bytes are needed.
    Perhaps,
}

/// More than id, flag and name take in any form.
const HEAD_LEN: usize = 256;
/// `Z3101`.
const GREETING_LEN_MAX: usize = 5;
/// The longest message with a MAC that is recognised.
const KEYED_LEN_MAX: usize = 64 * 1024;

/// An id is a number, or a tuple of two strings.
const HEAD_LIMITS: Limits = Limits { depth: 2, value_count: 4, ..Limits::DEFAULT };

/// The first frame in `bytes` that looks like one, with its place. `Err` is how many bytes at the front begin none,
/// whatever follows.
///
/// `framing` is that of the session, if it is known; frames longer than `limit_len` are none.
///
/// # Errors
/// No frame begins in the given number of bytes.
pub fn find_beginning(
    bytes: &[u8],
    framing: Option<Framing>,
    limit_len: usize,
) -> Result<(usize, Beginning), usize> {
    let mut none_len = None;
    for at in 0..bytes.len() {
        match look(bytes.get(at..).unwrap_or_default(), framing, limit_len) {
            Look::Begins(beginning) => return Ok((at, beginning)),
            Look::No => {}
            // If so, no other one begins within its first bytes: one that does makes this a chance likeness.
            Look::Perhaps => none_len = none_len.or(Some(at)),
        }
    }
    Err(none_len.unwrap_or(bytes.len()))
}

fn look(bytes: &[u8], framing: Option<Framing>, limit_len: usize) -> Look {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else { return Look::Perhaps };
    let has_mac = u32::from_be_bytes(*length) & MAC_BIT != 0;
    let Ok(payload_len) = usize::try_from(u32::from_be_bytes(*length) & !MAC_BIT) else { return Look::No };
    // Any 20 bytes may be a MAC, so that one has to be followed by what can be seen whole.
    let limit_len = if has_mac { KEYED_LEN_MAX.min(limit_len) } else { limit_len };
    if payload_len > limit_len || payload_len < 2 {
        return Look::No;
    }
    let Some(rest) = rest.get(if has_mac { MAC_LEN } else { 0 }..) else { return Look::Perhaps };
    let head = rest.get(..payload_len.min(HEAD_LEN)).unwrap_or(rest);
    let is_head_whole = head.len() == payload_len.min(HEAD_LEN);
    let found = match (head, framing) {
        ([], _) => return Look::Perhaps,
        ([0x94, ..], Some(Framing::Msgpack) | None) if !has_mac => msgpack_sender(head),
        // The two bytes of a protocol belong to the pickle, not to the length.
        ([code::MARK, ..], _) if matches!(length, [_, _, code::PROTO, 2..=5]) => return Look::No,
        ([code::PROTO | code::MARK, ..], Some(Framing::Pickle) | None) => pickle_sender(head),
        ([b'Z' | b'M' | b'r', ..], _) if payload_len <= GREETING_LEN_MAX => {
            return match greeting(head) {
                Some(beginning) if is_head_whole => Look::Begins(beginning),
                _ if is_head_whole => Look::No,
                _ => Look::Perhaps,
            };
        }
        _ => return Look::No,
    };
    let Some(sender) = found else { return if is_head_whole { Look::No } else { Look::Perhaps } };
    let protocol = match (head.first(), has_mac) {
        (Some(0x94), _) => {
            return Look::Begins(Beginning { sender, protocol: Protocol::M5, is_greeting: false });
        }
        (_, true) => Protocol::Z4,
        (_, false) => Protocol::Z5,
    };
    match rest.get(..payload_len).map(<[u8]>::last) {
        Some(Some(&code::STOP)) => {}
        None if !has_mac => {}
        None => return Look::Perhaps,
        Some(_) => return Look::No,
    }
    Look::Begins(Beginning { sender, protocol, is_greeting: false })
}

fn greeting(payload: &[u8]) -> Option<Beginning> {
    let (sender, protocol) = match Hello::parse(payload) {
        Hello::Zeo(protocol) => (None, protocol),
        Hello::Ruok => (Some(Direction::FromClient), Protocol::Z5),
        Hello::Unknown(_) => return None,
    };
    Some(Beginning { sender, protocol, is_greeting: true })
}

/// A sender, if a message of a known name begins here; the sender may still be unknown.
type Found = Option<Option<Direction>>;

fn msgpack_sender(payload: &[u8]) -> Found {
    let mut reader = MsgpackReader::at(payload, 1);
    let id = reader.value(&HEAD_LIMITS).ok()?;
    if !matches!(id, Value::Int(_) | Value::Tuple(_) | Value::List(_)) {
        return None;
    }
    if reader.bool().is_none() && reader.small_int().is_none() {
        return None;
    }
    let name = match reader.name().ok()? {
        Some(name) => name,
        // A Python 2 peer.
        None => reader.bin().ok()??,
    };
    sender(name, id == Value::Int(-1))
}

fn pickle_sender(payload: &[u8]) -> Found {
    let header_len = if let [code::PROTO, 1..=5, ..] = payload { 2 } else { 0 };
    let mut lexer = Lexer::at(payload, header_len);
    if !lexer.eat(code::MARK) {
        return None;
    }
    let mut next = || next_op(&mut lexer);
    let mut op = next()?;
    let is_keep_alive = op == Op::Int(-1);
    if !matches!(op, Op::Int(_)) {
        // A tuple of two strings, as Python 2 and Python 3 write it.
        if op == Op::Mark {
            op = next()?;
        }
        if !is_eight_bytes(&op) || !is_eight_bytes(&next()?) || !matches!(next()?, Op::Tuple | Op::TupleOf(2))
        {
            return None;
        }
    }
    if !matches!(next()?, Op::Int(_) | Op::Bool(_)) {
        return None;
    }
    match next()? {
        Op::Text(name) => sender(name.as_bytes(), is_keep_alive),
        Op::Bytes(name) => sender(name, is_keep_alive),
        Op::Native(name) => sender(&name, is_keep_alive),
        _ => None,
    }
}

/// The next opcode that is not about the memo.
fn next_op<'a>(lexer: &mut Lexer<'a>) -> Option<Op<'a>> {
    loop {
        match lexer.next_op().ok()? {
            Op::Put(_) | Op::Memoize => {}
            op => return Some(op),
        }
    }
}

fn is_eight_bytes(op: &Op<'_>) -> bool {
    match op {
        Op::Bytes(bytes) => bytes.len() == 8,
        Op::Native(bytes) => bytes.len() == 8,
        _ => false,
    }
}

/// Keep-alives come from clients, in the form of a reply (protocol reference 3.1).
fn sender(name: &[u8], is_keep_alive: bool) -> Found {
    if is_keep_alive {
        return (name == REPLY.as_bytes()).then_some(None);
    }
    if name == REPLY.as_bytes() {
        return Some(Some(Direction::FromServer));
    }
    let method = Method::from_name(name)?;
    Some(Some(if method.is_from_server() { Direction::FromServer } else { Direction::FromClient }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn a_length_alone_is_no_beginning_and_waits_for_what_follows() {
        // 3.1: `ping` of a client under msgpack.
        let call = b"\0\0\0\x09\x94\x01\xc2\xa4ping\x90";
        for end in 0..call.len() {
            let cut = call.get(..end).unwrap();
            let found = find_beginning(cut, None, LIMIT);
            let sender = Some(Direction::FromClient);
            let expected = Beginning { sender, protocol: Protocol::M5, is_greeting: false };
            // The last byte is behind the name.
            assert_eq!(found, if end < 12 { Err(0) } else { Ok((0, expected)) }, "{end}");
        }
        assert_eq!(find_beginning(call, Some(Framing::Pickle), LIMIT).unwrap_err(), 10);
        assert_eq!(find_beginning(call, None, 8).unwrap_err(), 10, "longer than the limit");
    }

    #[test]
    fn keep_alives_do_not_tell_who_sent_them() {
        let keep_alive = b"\0\0\0\x0b\x94\xff\0\xa6.reply\xc0";
        let (at, beginning) = find_beginning(keep_alive, None, LIMIT).unwrap();
        assert_eq!((at, beginning.sender), (0, None));
    }

    #[test]
    fn numbers_that_look_like_lengths_are_passed_over() {
        let mut bytes: Vec<u8> = (0..3000_u32).flat_map(|number| (number % 300).to_be_bytes()).collect();
        bytes.extend_from_slice(b"\0\0\0\x0b\x94\x01\x02\xa6.reply\xc0");
        let (at, beginning) = find_beginning(&bytes, None, LIMIT).unwrap();
        assert_eq!((at, beginning.sender), (12_000, Some(Direction::FromServer)));
    }
}
