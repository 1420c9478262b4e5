//! Every worked example of the protocol reference: decoded to its stated meaning, and written again to the
//! same bytes. PROTOCOL.md cites these tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::fmt::Write as _;

use common::fixture::{self, Example};
use common::notation;
use zeo_codec::frame::{Deframer, MacBit};
use zeo_codec::handshake::{Framing, Hello, Protocol, Version};
use zeo_codec::pickle::{self, Lexer, PickleFlavor, PickleWriter};
use zeo_codec::session::{Direction, find_beginning};
use zeo_codec::{
    Body as _, Call, Dialect, Emit as _, Envelope, Limits, Method, RemoteError, Reply, Value, msgpack,
    write_message, write_message_behind,
};

fn check(name: &str, text: &'static str, dialect: Dialect) {
    let mut shown = String::new();
    let examples = fixture::parse(text);
    assert!(!examples.is_empty());
    for example in &examples {
        let title = example.title();
        writeln!(shown, "{title}").unwrap();
        if example.cut_of.is_some() {
            check_cut(example, dialect);
            writeln!(shown, "  (cut)").unwrap();
            continue;
        }
        let envelope = Envelope::parse(&example.payload, dialect.framing, &Limits::DEFAULT).expect(&title);
        let rendered = envelope.to_string();
        // A.7 states its meaning in prose: it is in the snapshot, and in a test of its own.
        if text != fixture::UNDO_INFO_PREFIX {
            assert_eq!(rendered, example.meaning, "{title}");
        }
        assert_eq!(envelope.is_reply(), !is_call(example), "{title}");
        let (typed, bytes) = through_types(example, &envelope, dialect.with_pickle(envelope.flavor));
        writeln!(shown, "  {rendered}\n  {typed}").unwrap();
        assert_eq!(hex(&bytes[4..]), hex(&example.payload), "{title}, through types");
        // A pickle as such has no part in what its pickler had left before.
        let mut bytes = envelope.abandoned.as_bytes().to_vec();
        bytes.extend(through_values(example, envelope.flavor, dialect.framing));
        assert_eq!(hex(&bytes), hex(&example.payload), "{title}, through values");
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, shown);
    });
}

/// The frame that shows an example: with its MAC, if it has one.
fn frame_of(example: &Example) -> Vec<u8> {
    if !example.header.is_empty() {
        return [&example.header[..], &example.payload].concat();
    }
    let mut frame = Vec::new();
    zeo_codec::frame::write_frame(&mut frame, &example.payload);
    frame
}

/// A message of any peer is found between bytes that are none, and it tells who sent it.
#[test]
fn messages_are_found_among_other_bytes() {
    for text in [
        fixture::Z5,
        fixture::M5,
        fixture::Z4,
        fixture::Z4_PYTHON2,
        fixture::Z5_PYTHON2_PROTOCOL1,
        fixture::Z5_PYTHON2_PROTOCOL3,
        fixture::AUTHENTICATION,
        fixture::UNDO_INFO_PREFIX,
        fixture::M5_PYTHON2,
    ] {
        let examples = fixture::parse(text);
        for example in examples.iter().filter(|example| example.cut_of.is_none()) {
            // 3.1: a keep-alive of either side looks the same.
            let is_keep_alive = example.label.contains("keep-alive") || example.meaning.starts_with("(-1,");
            let mut bytes = b"the end of another message.".to_vec();
            let before_len = bytes.len();
            bytes.extend(frame_of(example));
            let (at, beginning) = find_beginning(&bytes, None, Limits::DEFAULT.frame_bytes).unwrap();
            assert_eq!(at, before_len, "{}", example.title());
            let sender = if example.is_from_client { Direction::FromClient } else { Direction::FromServer };
            assert_eq!(beginning.sender, (!is_keep_alive).then_some(sender), "{}", example.title());
        }
    }
}

fn is_call(example: &Example) -> bool {
    !example.label.starts_with("reply of ")
        && !example.is_error()
        && example.label != "(keep-alive)"
        && example.label != ".reply"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

/// Parses the arguments or result as what the label says, and writes the message again.
fn through_types(example: &Example, envelope: &Envelope<'_>, dialect: Dialect) -> (String, Vec<u8>) {
    let title = example.title();
    let name = core::str::from_utf8(&envelope.name).unwrap();
    let args = envelope.args.clone();
    let mut out = Vec::new();
    let mut write = |body: &dyn Fn(&mut Vec<u8>)| body(&mut out);
    let shown = if is_call(example) {
        let method = Method::from_name(&envelope.name).expect(&title);
        assert_eq!(method.name(), example.method_name());
        // The other way round it need not hold: one capture calls `tpc_begin` and waits for a reply.
        assert!(method.is_one_way() || !envelope.is_one_way(), "{title}");
        let call = Call::parse(method, args, &Limits::DEFAULT).expect(&title);
        assert_eq!(call.method(), Some(method));
        let generic = notation::generic(&envelope.args).expect(&title);
        assert_eq!(Call::parse(method, generic, &Limits::DEFAULT).expect(&title), call, "{title}");
        write(&|out| {
            write_message_behind(out, &dialect, envelope.abandoned, &envelope.id, envelope.flag, name, &call)
                .expect(&title)
        });
        format!("{call:?}")
    } else if example.is_error() {
        let error = if envelope.flag.is_set() {
            RemoteError::parse(args, &Limits::DEFAULT).expect(&title)
        } else {
            let result = args.into_value(&Limits::DEFAULT).expect(&title);
            RemoteError::from_zeo4(&result).expect(&title)
        };
        assert_eq!(error.class.rsplit('.').next(), example.label.strip_prefix("error "), "{title}");
        if envelope.flag.is_set() {
            write(&|out| {
                write_message_behind(
                    out,
                    &dialect,
                    envelope.abandoned,
                    &envelope.id,
                    envelope.flag,
                    name,
                    &error,
                )
                .expect(&title)
            });
        } else {
            let body = error.by_value().expect(&title);
            write(&|out| {
                write_message_behind(
                    out,
                    &dialect,
                    envelope.abandoned,
                    &envelope.id,
                    envelope.flag,
                    name,
                    &body,
                )
                .expect(&title)
            });
        }
        format!("{error:?}")
    } else {
        let method = Method::from_name(example.method_name().as_bytes());
        let reply = Reply::parse(method, args, &Limits::DEFAULT).expect(&title);
        let generic = notation::generic(&envelope.args).expect(&title);
        assert_eq!(Reply::parse(method, generic, &Limits::DEFAULT).expect(&title), reply, "{title}");
        write(&|out| {
            write_message_behind(out, &dialect, envelope.abandoned, &envelope.id, envelope.flag, name, &reply)
                .expect(&title)
        });
        format!("{reply:?}")
    };
    (shown, out)
}

/// Decodes the whole message as one value, and writes that.
fn through_values(example: &Example, flavor: PickleFlavor, framing: Framing) -> Vec<u8> {
    let title = example.title();
    match framing {
        Framing::Pickle => {
            let value = pickle::decode(&example.payload, &Limits::DEFAULT).expect(&title);
            encode_value(&value, flavor, framing)
        }
        Framing::Msgpack => {
            let value = msgpack::decode(&example.payload, &Limits::DEFAULT).expect(&title);
            encode_value(&value, flavor, framing)
        }
    }
}

fn encode_value(value: &Value<'_>, flavor: PickleFlavor, framing: Framing) -> Vec<u8> {
    let mut out = Vec::new();
    match framing {
        Framing::Pickle => {
            let mut writer = PickleWriter::new(&mut out, flavor);
            writer.start();
            writer.value(value).unwrap();
            writer.stop();
        }
        Framing::Msgpack => msgpack::MsgpackWriter::new(&mut out).value(value).unwrap(),
    }
    out
}

/// The reference cuts the hex of long examples, but mostly not their meaning: then the meaning must encode to
/// that beginning and that length. What is there must in any case lex as far as it goes.
fn check_cut(example: &Example, dialect: Dialect) {
    let title = example.title();
    let flavor = match example.payload.first() {
        Some(0x80) if example.payload.contains(&b'U') && example.meaning.contains("s2\"") => {
            PickleFlavor::Python2Protocol3
        }
        Some(b'(') => PickleFlavor::Python2Protocol1,
        _ => PickleFlavor::Python3,
    };
    let meaning = if example.is_meaning_cut { None } else { notation::read(&example.meaning) };
    assert_eq!(meaning.is_none(), example.is_meaning_cut, "{title}");
    if let Some(meaning) = meaning {
        let bytes = encode_value(&meaning, flavor, dialect.framing);
        assert!(hex(&bytes).starts_with(&hex(&example.payload)), "{title}");
        assert_eq!(Some(bytes.len()), example.cut_of, "{title}");
        assert_eq!(meaning.to_string(), example.meaning, "{title}");
    }
    match dialect.framing {
        Framing::Pickle => {
            let mut lexer = Lexer::new(&example.payload);
            let error = loop {
                if let Err(error) = lexer.next_op() {
                    break error;
                }
            };
            assert_eq!(error.kind, zeo_codec::DecodeErrorKind::Truncated, "{title}");
            assert!(example.payload.len() - lexer.offset() < 60, "{title}: stopped early");
        }
        Framing::Msgpack => {
            let envelope =
                Envelope::parse(&example.payload, dialect.framing, &Limits::DEFAULT).expect(&title);
            let error = envelope.args.into_value(&Limits::DEFAULT).unwrap_err();
            assert_eq!(error.kind, zeo_codec::DecodeErrorKind::Truncated, "{title}");
        }
    }
}

#[test]
fn z5_python3() {
    check("z5-py3-6.2", fixture::Z5, Dialect::Z5);
}

#[test]
fn m5_python3() {
    check("m5-py3-6.2", fixture::M5, Dialect::M5);
}

#[test]
fn z4_python3() {
    check("z4-py3-4.3.1", fixture::Z4, Dialect::Z4);
}

#[test]
fn z4_python2() {
    check("z4-py2.7-4.3.1", fixture::Z4_PYTHON2, Dialect::Z4);
}

#[test]
fn z5_python2_protocol1() {
    check("z5-py2.7-5.1.0", fixture::Z5_PYTHON2_PROTOCOL1, Dialect::Z5);
}

#[test]
fn z5_python2_protocol3() {
    check("z5-py2.7-5.4.1", fixture::Z5_PYTHON2_PROTOCOL3, Dialect::Z5);
}

#[test]
fn m5_python2() {
    check("m5-py2.7", fixture::M5_PYTHON2, Dialect::M5);
}

#[test]
fn undo_info_with_a_prefix() {
    check("undo-info-prefix", fixture::UNDO_INFO_PREFIX, Dialect::Z5);
    // msgpack cannot express it (A.7).
    let example = fixture::find(fixture::UNDO_INFO_PREFIX, "C undoInfo");
    let envelope = Envelope::parse(&example.payload, Framing::Pickle, &Limits::DEFAULT).unwrap();
    let call = Call::parse(Method::UndoInfo, envelope.args, &Limits::DEFAULT).unwrap();
    let mut out = b"before".to_vec();
    assert!(write_message(&mut out, &Dialect::M5, &envelope.id, envelope.flag, "undoInfo", &call).is_err());
    assert_eq!(out, b"before");
    assert!(call.emit(&mut msgpack::MsgpackWriter::new(&mut out)).is_err());
}

#[test]
fn zeo4_authentication() {
    check("zeo4-authentication", fixture::AUTHENTICATION, Dialect::Z4);
}

#[test]
fn frames_with_and_without_a_mac() {
    let examples = fixture::parse(fixture::AUTHENTICATION);
    let mut stream = Vec::new();
    let whole: Vec<&Example> = examples.iter().filter(|example| example.cut_of.is_none()).collect();
    for example in &whole {
        stream.extend_from_slice(&example.header);
        stream.extend_from_slice(&example.payload);
    }
    let mut deframer = Deframer::new(1000, MacBit::Announces);
    deframer.push(&stream);
    for example in whole {
        let frame = deframer.next_frame().unwrap().unwrap();
        assert_eq!(frame.payload, example.payload);
        assert_eq!(
            frame.mac.as_ref().map(|mac| &mac[..]),
            example.header.get(4..).filter(|mac| !mac.is_empty())
        );
    }
    assert_eq!(deframer.next_frame(), Ok(None));
    assert_eq!(deframer.buffered_len(), 0);
}

#[test]
fn handshakes() {
    let z3101 = Protocol { framing: Framing::Pickle, version: Version::V3101 };
    let expected = [
        Hello::Zeo(Protocol::Z5),
        Hello::Zeo(Protocol::Z5),
        Hello::Zeo(Protocol::M5),
        Hello::Zeo(Protocol::M5),
        Hello::Zeo(Protocol::Z4),
        Hello::Zeo(z3101),
        Hello::Ruok,
    ];
    let examples = fixture::parse(fixture::HANDSHAKES);
    assert_eq!(examples.len(), expected.len());
    for (example, expected) in examples.iter().zip(expected) {
        let mut deframer = Deframer::new(64, MacBit::Announces);
        deframer.push(&example.header);
        deframer.push(&example.payload);
        let frame = deframer.next_frame().unwrap().unwrap();
        assert_eq!(Hello::parse(&frame.payload), expected, "{}", example.title());
        if let Hello::Zeo(protocol) = expected {
            let mut out = Vec::new();
            protocol.write(&mut out);
            assert_eq!(out, example.payload);
            assert_eq!(protocol.to_string(), example.label);
        }
    }
}
