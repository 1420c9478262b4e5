//! The messages that both benches measure.
#![allow(dead_code, reason = "each bench uses a part")]
#![allow(unreachable_pub, reason = "included by several binaries")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "benches fail by panicking")]

#[path = "../../tests/common/fixture.rs"]
pub mod fixture;
#[path = "../../tests/common/messages.rs"]
pub mod messages;
#[path = "../../tests/common/notation.rs"]
pub mod notation;
pub mod turns;

use std::time::Duration;

use criterion::Criterion;
use zeo_codec::handshake::Framing;
use zeo_codec::pickle::{PickleFlavor, PickleWriter};
use zeo_codec::{
    Call, Dialect, Emit as _, Envelope, Flag, Limits, Method, MsgId, Reply, Value, msgpack, pickle,
};

pub const LIMITS: Limits = Limits::DEFAULT;
pub const DIALECTS: [(&str, Dialect); 2] = [("pickle", Dialect::Z5), ("msgpack", Dialect::M5)];
pub const SIZES: [(&str, usize); 4] = [("25 B", 25), ("256 B", 256), ("4 KiB", 4096), ("1 MB", 1 << 20)];

/// A message with what is needed to type it.
pub struct Message {
    pub name: String,
    pub payload: Vec<u8>,
    /// The method that a reply answers.
    pub answers: Option<Method>,
}

/// Everything that is measured, in the dialect's framing.
pub fn all(dialect: &Dialect) -> Vec<Message> {
    let call = |name: &str, payload| Message { name: name.to_owned(), payload, answers: None };
    let mut messages = vec![
        call("loadBefore", messages::captured(dialect, "C loadBefore")),
        call("tpc_begin", messages::captured(dialect, "C tpc_begin")),
        call("invalidateTransaction 1", messages::invalidate(dialect, 1)),
        call("invalidateTransaction 100", messages::invalidate(dialect, 100)),
        Message {
            name: "get_info reply".to_owned(),
            payload: get_info_reply(dialect),
            answers: Some(Method::GetInfo),
        },
    ];
    for (size, data_len) in SIZES {
        messages.push(Message {
            name: format!("loadBefore reply {size}"),
            payload: messages::loaded(dialect, data_len),
            answers: Some(Method::LoadBefore),
        });
        messages.push(call(&format!("storea {size}"), messages::storea(dialect, data_len)));
    }
    messages
}

/// The capture is cut, but its stated meaning is whole; `worked_examples.rs` shows that they belong together.
fn get_info_reply(dialect: &Dialect) -> Vec<u8> {
    let text = if dialect.framing == Framing::Pickle { fixture::Z5 } else { fixture::M5 };
    let value = notation::read(&fixture::find(text, "S reply of get_info").meaning).unwrap();
    let mut out = Vec::new();
    match dialect.framing {
        Framing::Pickle => {
            let mut writer = PickleWriter::new(&mut out, PickleFlavor::Python3);
            writer.start();
            writer.value(&value).unwrap();
            writer.stop();
        }
        Framing::Msgpack => msgpack::MsgpackWriter::new(&mut out).value(&value).unwrap(),
    }
    out
}

/// The whole message as a generic value.
pub fn generic<'a>(dialect: &Dialect, payload: &'a [u8]) -> Value<'a> {
    match dialect.framing {
        Framing::Pickle => pickle::decode(payload, &LIMITS).unwrap(),
        Framing::Msgpack => msgpack::decode(payload, &LIMITS).unwrap(),
    }
}

/// What a message says.
pub enum Typed<'r, 'a> {
    Call(&'r Call<'a>),
    Reply(&'r Reply<'a>),
}

/// What is measured as decoding: route, type, and look at it.
#[inline]
pub fn decode_with<'a>(
    message: &'a Message,
    dialect: &Dialect,
    see: impl FnOnce(MsgId<'a>, Flag, Typed<'_, 'a>),
) {
    decode_in(&message.payload, message, dialect, see);
}

/// The same, where the message's payload lies in other memory.
#[inline]
pub fn decode_in<'a>(
    payload: &'a [u8],
    message: &Message,
    dialect: &Dialect,
    see: impl FnOnce(MsgId<'a>, Flag, Typed<'_, 'a>),
) {
    let Envelope { id, flag, name, args, .. } = Envelope::parse(payload, dialect.framing, &LIMITS).unwrap();
    match message.answers {
        Some(method) => match Reply::parse(Some(method), args, &LIMITS) {
            Ok(reply) => see(id, flag, Typed::Reply(&reply)),
            Err(error) => panic!("{error}"),
        },
        None => match Call::parse(Method::from_name(&name).unwrap(), args, &LIMITS) {
            Ok(call) => see(id, flag, Typed::Call(&call)),
            Err(error) => panic!("{error}"),
        },
    }
}

/// Short runs: the figures are nanoseconds, and repeat within a few percent.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700))
        .sample_size(30)
}
