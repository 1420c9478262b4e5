//! Messages as lines of JSON, for programs. What does not apply is left out.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use zeo_codec::MsgId;
use zeo_codec::session::Direction;

use super::message::Message;

#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since the start of the capture.
    time: f64,
    connection: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    /// Place in the stream of that direction.
    offset: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    oids: Vec<String>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    tids: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'a str>,
    /// The message in the notation of the protocol reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// So many nanoseconds of these. One division gives the number that is written with the fewest digits.
#[expect(clippy::cast_precision_loss, reason = "a hundred days are below 2^53")]
fn quotient(time: Duration, unit: f64) -> f64 {
    time.as_nanos() as f64 / unit
}

/// Writes one line. With `shown_len` contents are shown, cut after so many bytes and items.
///
/// # Errors
/// Those of `out`.
pub fn write(message: &Message<'_>, shown_len: Option<usize>, out: &mut impl Write) -> io::Result<()> {
    let facts = message.facts;
    let line = Line {
        time: quotient(message.time, 1e9),
        connection: message.connection,
        from: message.direction.map(|direction| match direction {
            Direction::FromClient => "client",
            Direction::FromServer => "server",
        }),
        kind: message.kind.name(),
        id: message.id.as_ref().map(|id| match id {
            MsgId::Int(number) => (*number).into(),
            MsgId::Load(oid, tid) => vec![oid.to_string(), tid.to_string()].into(),
            MsgId::Other(value) => format!("{value:.64}").into(),
        }),
        method: message.name(),
        offset: message.offset,
        bytes: message.len,
        latency_us: message.latency.map(|latency| quotient(latency, 1e3)),
        oids: facts.oids.iter().map(ToString::to_string).collect(),
        tids: facts.tids.iter().map(|(role, tid)| (role.name().to_owned(), tid.to_string().into())).collect(),
        data_bytes: facts.data_len,
        transaction: facts.txn,
        storage: facts.storage.as_deref(),
        error: facts.error.as_deref(),
        malformed: facts.malformed.as_deref(),
        remark: message.remark,
        text: message
            .seen
            .zip(shown_len)
            .map(|(seen, len)| format!("{:.len$}", seen.show(message.dialect.as_ref()))),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}
