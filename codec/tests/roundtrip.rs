//! What we write we read back, in every dialect, and however it is read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use common::arbitrary;
use common::notation::generic;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use zeo_codec::handshake::{Framing, Hello, Protocol, Version};
use zeo_codec::pickle::{self, Lexer, Op, PickleFlavor, PickleWriter};
use zeo_codec::{
    Abandoned, Body, Call, Dialect, Emit as _, Envelope, Flag, Limits, MessageError, Method, MsgId, REPLY,
    RawArgs, RemoteError, Reply, Value, msgpack, write_message, write_message_behind,
};

const LIMITS: Limits = Limits::DEFAULT;
const PROTOCOL1: Dialect = Dialect::Z5.with_pickle(PickleFlavor::Python2Protocol1);

fn encode(dialect: &Dialect, id: &MsgId<'_>, flag: Flag, name: &str, body: &impl Body) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(&mut out, dialect, id, flag, name, body).unwrap();
    let len = u32::try_from(out.len() - 4).unwrap();
    assert_eq!(out[..4], len.to_be_bytes());
    out.split_off(4)
}

fn envelope<'a>(payload: &'a [u8], dialect: &Dialect) -> Envelope<'a> {
    Envelope::parse(payload, dialect.framing, &LIMITS).unwrap()
}

/// What can be told of the flavor from a message.
fn visible_flavor(dialect: &Dialect) -> PickleFlavor {
    dialect.pickle
}

fn parse_any<'a>(method: Option<Method>, args: RawArgs<'a>) -> Result<Call<'a>, MessageError> {
    Call::parse(method.unwrap(), args, &LIMITS)
}

fn in_dialect<T: std::fmt::Debug>(
    strategy: impl Fn(Dialect) -> BoxedStrategy<T>,
) -> impl Strategy<Value = (Dialect, T)> {
    arbitrary::dialect().prop_flat_map(move |dialect| (Just(dialect), strategy(dialect)))
}

/// The pickle with `PUT`s behind opcodes that leave a value on the stack.
fn with_puts(pickle: &[u8], puts: &[(u8, u32)]) -> Vec<u8> {
    let mut lexer = Lexer::new(pickle);
    let mut out = Vec::new();
    let mut choices = puts.iter().cycle();
    loop {
        let start = lexer.offset();
        let op = lexer.next_op().unwrap();
        out.extend_from_slice(&pickle[start..lexer.offset()]);
        if op == Op::Stop {
            return out;
        }
        let leaves_value = !matches!(op, Op::Proto(_) | Op::Mark);
        match choices.next() {
            Some((0, index)) if leaves_value => {
                out.push(b'r');
                out.extend_from_slice(&index.to_le_bytes());
            }
            Some((1, index)) if leaves_value => out.extend_from_slice(&[b'q', index.to_le_bytes()[0]]),
            Some((2, index)) if leaves_value => out.extend_from_slice(format!("p{index}\n").as_bytes()),
            // A value that comes and goes.
            Some((3, _)) if leaves_value => out.extend_from_slice(b"20"),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn calls((dialect, (id, call)) in in_dialect(|dialect| {
        (arbitrary::msg_id(dialect), arbitrary::call(dialect)).boxed()
    }), one_way in any::<bool>()) {
        let method = call.method().unwrap();
        let payload = encode(&dialect, &id, Flag::Bool(one_way), method.name(), &call);
        let message = envelope(&payload, &dialect);
        prop_assert_eq!(&message.id, &id);
        prop_assert_eq!(message.flag, Flag::Bool(one_way));
        prop_assert_eq!(Method::from_name(&message.name), Some(method));
        prop_assert_eq!(message.flavor, visible_flavor(&dialect));
        let parsed = Call::parse(method, message.args.clone(), &LIMITS);
        prop_assert_eq!(parsed.as_ref(), Ok(&call));
        let parsed = Call::parse(method, generic(&message.args).unwrap(), &LIMITS);
        prop_assert_eq!(parsed.as_ref(), Ok(&call));
        if dialect.framing == Framing::Pickle {
            let value = pickle::decode(&payload, &LIMITS).unwrap();
            prop_assert!(matches!(value, Value::Tuple(items) if items.len() == 4));
        }
    }

    #[test]
    fn calls_with_a_memo(call in arbitrary::call(Dialect::Z5), puts in prop::collection::vec((0_u8..8, any::<u32>()), 1..40)) {
        let method = call.method().unwrap();
        let payload = encode(&Dialect::Z5, &MsgId::Int(7), Flag::Bool(false), method.name(), &call);
        let with_puts = with_puts(&payload, &puts);
        let message = envelope(&with_puts, &Dialect::Z5);
        prop_assert_eq!((&message.id, message.flag), (&MsgId::Int(7), Flag::Bool(false)));
        prop_assert_eq!(&*message.name, method.name().as_bytes());
        prop_assert_eq!(parse_any(call.method(), message.args), Ok(call.clone()));
        // And as a pickler with a memo writes the same message.
        let value = pickle::decode(&payload, &LIMITS).unwrap();
        let mut memoized = Vec::new();
        let mut writer = PickleWriter::with_memo(&mut memoized, PickleFlavor::Python3);
        writer.start();
        writer.value(&value).unwrap();
        writer.stop();
        let message = envelope(&memoized, &Dialect::Z5);
        prop_assert_eq!(parse_any(call.method(), message.args), Ok(call));
    }

    #[test]
    fn replies((dialect, (id, (method, reply))) in in_dialect(|dialect| {
        (arbitrary::msg_id(dialect), arbitrary::reply(dialect)).boxed()
    })) {
        let payload = encode(&dialect, &id, Flag::RESULT, REPLY, &reply);
        let message = envelope(&payload, &dialect);
        prop_assert!(message.is_reply() && !message.flag.is_set());
        prop_assert_eq!(&message.id, &id);
        let parsed = Reply::parse(method, message.args.clone(), &LIMITS);
        prop_assert_eq!(parsed.clone().map(Reply::into_owned), parsed.clone());
        prop_assert_eq!(parsed.as_ref(), Ok(&reply));
        let parsed = Reply::parse(method, generic(&message.args).unwrap(), &LIMITS);
        prop_assert_eq!(parsed.as_ref(), Ok(&reply));
    }

    /// F30: the message is read as if nothing stood in front of it, and written again with that.
    #[test]
    fn replies_behind_abandoned_attempts(
        (id, (method, reply)) in (arbitrary::msg_id(PROTOCOL1), arbitrary::reply(PROTOCOL1)),
        attempts in prop::collection::vec(arbitrary::attempt(), 1..4),
    ) {
        let abandoned = attempts.concat();
        let message = encode(&PROTOCOL1, &id, Flag::RESULT, REPLY, &reply);
        let payload = [&abandoned[..], &message].concat();
        let abandoned = Abandoned::parse(&abandoned).unwrap();
        let seen = envelope(&payload, &PROTOCOL1);
        prop_assert_eq!((&seen.id, seen.abandoned), (&id, abandoned));
        prop_assert_eq!(seen.abandoned.attempts().count(), attempts.len());
        let parsed = Reply::parse(method, seen.args, &LIMITS);
        prop_assert_eq!(parsed.as_ref(), Ok(&reply));
        let mut out = Vec::new();
        write_message_behind(&mut out, &PROTOCOL1, seen.abandoned, &id, seen.flag, REPLY, &reply).unwrap();
        prop_assert_eq!(&out[4..], payload);
    }

    #[test]
    fn errors((dialect, error) in in_dialect(arbitrary::error)) {
        let payload = encode(&dialect, &MsgId::Int(3), Flag::ERROR, REPLY, &error);
        let message = envelope(&payload, &dialect);
        prop_assert!(message.flag.is_set());
        let parsed = RemoteError::parse(message.args.clone(), &LIMITS);
        prop_assert_eq!(parsed.as_ref(), Ok(&error));
        let parsed = RemoteError::parse(generic(&message.args).unwrap(), &LIMITS);
        prop_assert_eq!(parsed.as_ref(), Ok(&error));
    }

    /// ZEO 4's shape: a class and an instance, by value.
    #[test]
    fn errors_by_value(
        (dialect, detail) in (0_usize..2).prop_flat_map(|choice| {
            let pickle = [PickleFlavor::Python3, PickleFlavor::Python2Protocol1][choice];
            let dialect = Dialect::Z4.with_pickle(pickle);
            (Just(dialect), arbitrary::value(dialect))
        }),
        class in "[A-Za-z]{1,8}\\.[A-Za-z.]{0,8}[A-Z][a-z]{1,8}",
    ) {
        let error = RemoteError { class: class.into(), detail };
        let payload = encode(&dialect, &MsgId::Int(3), Flag::RESULT, REPLY, &error.by_value().unwrap());
        let result = envelope(&payload, &dialect).args.into_value(&LIMITS).unwrap();
        prop_assert_eq!(RemoteError::from_zeo4(&result), Some(error));
    }

    #[test]
    fn values((dialect, value) in in_dialect(arbitrary::value)) {
        let mut out = Vec::new();
        let decoded = match dialect.framing {
            Framing::Pickle => {
                let mut writer = PickleWriter::new(&mut out, dialect.pickle);
                writer.start();
                writer.value(&value).unwrap();
                writer.stop();
                pickle::decode(&out, &LIMITS)
            }
            Framing::Msgpack => {
                msgpack::MsgpackWriter::new(&mut out).value(&value).unwrap();
                msgpack::decode(&out, &LIMITS)
            }
        };
        prop_assert_eq!(decoded.as_ref(), Ok(&value));
        prop_assert_eq!(decoded.unwrap().into_owned(), value);
    }

    /// Damaged messages never panic, and all readers agree on whether a message is one.
    #[test]
    fn damaged((dialect, (call, position, byte)) in in_dialect(|dialect| {
        (arbitrary::call(dialect), any::<prop::sample::Index>(), any::<u8>()).boxed()
    })) {
        let method = call.method().unwrap();
        let mut payload = encode(&dialect, &MsgId::Int(1), Flag::Bool(true), method.name(), &call);
        let at = position.index(payload.len());
        payload[at] = byte;
        if let Ok(message) = Envelope::parse(&payload, dialect.framing, &LIMITS)
            && let Some(method) = Method::from_name(&message.name)
        {
            // What was read directly is what the generic reader sees.
            let direct = Call::parse(method, message.args.clone(), &LIMITS);
            let whole = generic(&message.args).and_then(|args| Call::parse(method, args, &LIMITS));
            prop_assert_eq!(direct.is_ok(), whole.is_ok(), "{:?} {:?}", direct, whole);
            if let (Ok(direct), Ok(whole)) = (direct, whole) {
                // Not `==`: a damaged float can be NaN.
                prop_assert_eq!(format!("{direct:?}"), format!("{whole:?}"));
            }
        }
    }

    #[test]
    fn handshakes(version in prop::sample::select(Version::ALL.to_vec()), is_msgpack in any::<bool>()) {
        let framing = if is_msgpack { Framing::Msgpack } else { Framing::Pickle };
        let protocol = Protocol { framing, version };
        let mut out = Vec::new();
        protocol.write(&mut out);
        prop_assert_eq!(Hello::parse(&out), Hello::Zeo(protocol));
    }

    #[test]
    fn any_greeting(payload in prop::collection::vec(any::<u8>(), 0..8)) {
        match Hello::parse(&payload) {
            Hello::Zeo(protocol) => prop_assert_eq!(protocol.to_string().into_bytes(), payload),
            Hello::Ruok => prop_assert_eq!(&payload[..], b"ruok"),
            Hello::Unknown(kept) => prop_assert_eq!(kept, &payload[..]),
        }
    }
}

/// The properties speak of every method: those that nobody generates would not be shown.
#[test]
fn every_method_is_generated() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = arbitrary::call(Dialect::M5);
    let mut missing: Vec<Method> = Method::ALL.to_vec();
    for _ in 0..3000 {
        let call = strategy.new_tree(&mut runner).unwrap().current();
        missing.retain(|method| call.method() != Some(*method));
    }
    assert_eq!(missing, []);
}

/// Python sees `tpc_finish` here: what was read first is taken back by `POP`.
#[test]
fn a_header_that_is_taken_back_is_refused() {
    for (pops, is_read) in [(&b"0"[..], true), (b"N00", false)] {
        let header = b"\x80\x03(K\x01\x89X\x04\0\0\0ping";
        let payload = [header, pops, b"X\x0a\0\0\0tpc_finishK\x05\x85t."].concat();
        let seen = pickle::decode(&payload, &LIMITS).unwrap();
        assert_eq!(seen.to_string(), "(1, False, \"tpc_finish\", (5,))");
        let message = Envelope::parse(&payload, Framing::Pickle, &LIMITS).unwrap();
        if is_read {
            assert_eq!(&*message.name, b"tpc_finish");
        } else {
            // Seen too late to tell who is meant, but seen.
            let call = Call::parse(Method::Ping, message.args, &LIMITS);
            assert!(matches!(call, Err(MessageError::Undecodable(_))), "{call:?}");
        }
    }
}

/// Python echoes an id of any type; this one begins like a message of its own.
#[test]
fn an_id_that_looks_like_a_message() {
    let mut payload = b"\x80\x03(K\x00\x88X\x04\0\0\0vote\x87".to_vec();
    payload.extend_from_slice(b"\x89X\x04\0\0\0ping)t.");
    let message = Envelope::parse(&payload, Framing::Pickle, &LIMITS).unwrap();
    assert_eq!(&*message.name, b"ping");
    let id = Value::Tuple(vec![Value::Int(0), Value::Bool(true), "vote".into()]);
    assert_eq!(message.id, MsgId::Other(id));
    assert_eq!(Call::parse(Method::Ping, message.args, &LIMITS), Ok(Call::Plain(Method::Ping)));
}

/// A pickler with a memo has a `PUT` between name and result.
#[test]
fn none_behind_a_put_is_none() {
    for result in [&b"q\x00N"[..], b"N20", b"q\x00Nq\x01"] {
        let payload = [b"\x80\x03(K\x07K\x00X\x06\0\0\0.reply", result, b"t."].concat();
        let message = Envelope::parse(&payload, Framing::Pickle, &LIMITS).unwrap();
        for method in [Method::LoadBefore, Method::TpcFinish, Method::IteratorNext] {
            assert_eq!(Reply::parse(Some(method), message.args.clone(), &LIMITS), Ok(Reply::None));
        }
    }
}
