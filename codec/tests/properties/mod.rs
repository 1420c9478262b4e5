//! What holds for any bytes. `corpus.rs` runs this over the committed corpus on stable; `fuzz/` includes the
//! same file.
#![allow(dead_code, unreachable_pub, reason = "each fuzz target uses one of them")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a property fails by panicking")]

mod session;

pub use session::session;

use zeo_codec::frame::{Deframer, Frame, FrameError, MacBit, write_frame};
use zeo_codec::handshake::{Framing, Hello, Version, client_choice, server_accepts};
use zeo_codec::pickle::{self, Lexer, Op, PickleFlavor, PickleWriter};
use zeo_codec::{
    Call, Dialect, Emit as _, Envelope, Limits, Method, MsgId, RawArgs, RemoteError, Reply, Value, msgpack,
    write_message, write_message_behind,
};

const LIMITS: Limits = Limits::DEFAULT;

/// Panics if the input shows that the property does not hold.
pub type Property = fn(&[u8]);

/// The properties by the names of their fuzz targets.
pub const ALL: [(&str, Property); 8] = [
    ("deframe", deframe),
    ("hello", hello),
    ("pickle_lex", pickle_lex),
    ("pickle_value", pickle_value),
    ("msgpack_value", msgpack_value),
    ("call_roundtrip", call_roundtrip),
    ("reply_roundtrip", reply_roundtrip),
    ("session", session),
];

fn drain(deframer: &mut Deframer, frames: &mut Vec<Frame>) -> Result<(), FrameError> {
    while let Some(frame) = deframer.next_frame()? {
        frames.push(frame);
    }
    Ok(())
}

/// The first byte picks the meaning of the top bit, the second the chunks; the rest is the stream. All
/// chunkings give the same frames and the same error, and the frames are what the stream holds.
pub fn deframe(input: &[u8]) {
    let [mode, seed, stream @ ..] = input else { return };
    let mac_bit = if mode & 1 == 0 { MacBit::IsLength } else { MacBit::Announces };
    let run = |chunk_len: usize| {
        let mut deframer = Deframer::new(1 << 16, mac_bit);
        let mut frames = Vec::new();
        for chunk in stream.chunks(chunk_len) {
            deframer.push(chunk);
            if let Err(error) = drain(&mut deframer, &mut frames) {
                return (frames, Err(error));
            }
        }
        (frames, Ok(deframer.buffered_len()))
    };
    let whole = run(stream.len().max(1));
    let cut = run(usize::from(*seed) + 1);
    assert_eq!(whole, cut);
    let mut again = Vec::new();
    for frame in &whole.0 {
        if let Some(mac) = frame.mac {
            let length = u32::try_from(frame.payload.len()).unwrap() | zeo_codec::frame::MAC_BIT;
            again.extend_from_slice(&length.to_be_bytes());
            again.extend_from_slice(&mac);
            again.extend_from_slice(&frame.payload);
        } else {
            write_frame(&mut again, &frame.payload);
        }
    }
    assert!(stream.starts_with(&again));
    if let Ok(rest_len) = whole.1 {
        assert_eq!(again.len() + rest_len, stream.len());
    }
}

/// A greeting that we know is written again as it came; what we choose as a client, a server accepts.
pub fn hello(payload: &[u8]) {
    match Hello::parse(payload) {
        Hello::Zeo(protocol) => {
            let mut out = Vec::new();
            protocol.write(&mut out);
            assert_eq!(out, payload);
            assert_eq!(protocol.to_string().as_bytes(), payload);
        }
        Hello::Ruok => assert_eq!(payload, b"ruok"),
        Hello::Unknown(kept) => assert_eq!(kept, payload),
    }
    if let Some(protocol) = client_choice(payload, &Version::ALL)
        && (protocol.framing == Framing::Pickle || protocol.version == Version::V5)
    {
        assert_eq!(server_accepts(Hello::Zeo(protocol), &Version::ALL), Some(protocol));
    }
}

/// The lexer moves forward, stays inside, and names places inside.
pub fn pickle_lex(input: &[u8]) {
    let mut lexer = Lexer::new(input);
    loop {
        let before = lexer.offset();
        match lexer.next_op() {
            Ok(op) => {
                assert!(lexer.offset() > before && lexer.offset() <= input.len());
                assert_eq!(
                    Lexer::at(input, before).next_op().map(|op| format!("{op:?}")),
                    Ok(format!("{op:?}"))
                );
                if op == Op::Stop {
                    break;
                }
            }
            Err(error) => {
                assert_eq!(lexer.offset(), before);
                assert!(error.offset >= before && error.offset <= input.len());
                break;
            }
        }
    }
}

fn dumps(value: &Value<'_>, memo: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = if memo {
        PickleWriter::with_memo(&mut out, PickleFlavor::Python3)
    } else {
        PickleWriter::new(&mut out, PickleFlavor::Python3)
    };
    writer.start();
    writer.value(value).ok()?;
    writer.stop();
    Some(out)
}

/// Values that decode are written and read again, with and without a memo. Compared as text, for NaN.
pub fn pickle_value(input: &[u8]) {
    let Ok((value, end)) = pickle::decode_prefix(input, &LIMITS) else { return };
    assert!(end <= input.len() && input[end - 1] == b'.');
    let shown = format!("{value:?}");
    for memo in [false, true] {
        if let Some(pickle) = dumps(&value, memo) {
            let again = pickle::decode(&pickle, &LIMITS);
            assert_eq!(again.map(|value| format!("{value:?}")), Ok(shown.clone()), "memo: {memo}");
        }
    }
}

/// Values that decode are written and read again.
pub fn msgpack_value(input: &[u8]) {
    let Ok(value) = msgpack::decode(input, &LIMITS) else { return };
    let mut out = Vec::new();
    msgpack::MsgpackWriter::new(&mut out).value(&value).unwrap();
    assert!(out.len() <= input.len() * 2, "ours is the shortest form, but for single precision");
    let again = msgpack::decode(&out, &LIMITS).unwrap();
    assert_eq!(format!("{again:?}"), format!("{value:?}"));
}

fn dialects() -> [Dialect; 2] {
    [Dialect::Z5, Dialect::M5]
}

fn generic<'a>(args: &RawArgs<'a>) -> Option<RawArgs<'a>> {
    args.clone().into_value(&LIMITS).ok().map(RawArgs::Value)
}

/// A call reads the same directly and through values, and is written and read again.
pub fn call_roundtrip(input: &[u8]) {
    for dialect in dialects() {
        let Ok(envelope) = Envelope::parse(input, dialect.framing, &LIMITS) else { continue };
        let Some(method) = Method::from_name(&envelope.name) else { continue };
        let direct = Call::parse(method, envelope.args.clone(), &LIMITS);
        let whole = generic(&envelope.args).map(|args| Call::parse(method, args, &LIMITS));
        let Ok(call) = direct else {
            assert!(!matches!(whole, Some(Ok(_))), "{direct:?} but {whole:?}");
            continue;
        };
        assert_eq!(format!("{:?}", whole.unwrap().unwrap()), format!("{call:?}"));
        let dialect = dialect.with_pickle(envelope.flavor);
        let mut out = Vec::new();
        if write_message(&mut out, &dialect, &envelope.id, envelope.flag, method.name(), &call).is_err() {
            continue;
        }
        let again = Envelope::parse(&out[4..], dialect.framing, &LIMITS).unwrap();
        if (again.flag, &*again.name) != (envelope.flag, method.name().as_bytes()) {
            // The id is an object that begins like a message. That is seen when the arguments are read.
            assert!(matches!(envelope.id, MsgId::Other(_)));
            assert!(again.args.into_value(&LIMITS).is_err());
            continue;
        }
        let call_again = Call::parse(method, again.args, &LIMITS);
        assert!(call_again.is_ok(), "{call:?}: {call_again:?}");
        if envelope.flavor == PickleFlavor::Python3 {
            assert_eq!(format!("{:?}", call_again.unwrap()), format!("{call:?}"));
        }
    }
}

/// The same for replies. The first byte picks the method that is answered.
pub fn reply_roundtrip(input: &[u8]) {
    let [choice, payload @ ..] = input else { return };
    let method = Method::ALL.get(usize::from(*choice)).copied();
    for dialect in dialects() {
        let Ok(envelope) = Envelope::parse(payload, dialect.framing, &LIMITS) else { continue };
        if envelope.flag.is_set() {
            let direct = RemoteError::parse(envelope.args.clone(), &LIMITS);
            let whole = generic(&envelope.args).map(|args| RemoteError::parse(args, &LIMITS));
            match direct {
                Ok(error) => assert_eq!(format!("{:?}", whole.unwrap().unwrap()), format!("{error:?}")),
                Err(_) => assert!(!matches!(whole, Some(Ok(_)))),
            }
        }
        let direct = Reply::parse(method, envelope.args.clone(), &LIMITS);
        let whole = generic(&envelope.args).map(|args| Reply::parse(method, args, &LIMITS));
        let Ok(reply) = direct else {
            assert!(!matches!(whole, Some(Ok(_))), "{direct:?} but {whole:?}");
            continue;
        };
        assert_eq!(format!("{:?}", whole.unwrap().unwrap()), format!("{reply:?}"));
        let dialect = dialect.with_pickle(envelope.flavor);
        let mut out = Vec::new();
        let (abandoned, id, flag) = (envelope.abandoned, &envelope.id, envelope.flag);
        let written = write_message_behind(&mut out, &dialect, abandoned, id, flag, zeo_codec::REPLY, &reply);
        if written.is_err() {
            continue;
        }
        let again = Envelope::parse(&out[4..], dialect.framing, &LIMITS).unwrap();
        if !again.is_reply() || again.flag != envelope.flag {
            assert!(matches!(envelope.id, MsgId::Other(_)));
            assert!(again.args.into_value(&LIMITS).is_err());
            continue;
        }
        assert_eq!(again.abandoned, abandoned);
        let reply_again = Reply::parse(method, again.args, &LIMITS).unwrap();
        if envelope.flavor == PickleFlavor::Python3 {
            assert_eq!(format!("{reply_again:?}"), format!("{reply:?}"));
        }
    }
}
