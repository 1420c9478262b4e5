//! The bytes of a call and of its answer, in both framings.
//!
//! ```sh
//! cargo run -p zeo-codec --example encode_call [OID]
//! ```

use std::error::Error;
use std::io::{Write as _, stdout};

use zeo_codec::call::{LoadBefore, Loaded};
use zeo_codec::{
    Call, Dialect, Envelope, Flag, Limits, Method, MsgId, Oid, REPLY, Reply, Tid, write_message,
};

fn main() -> Result<(), Box<dyn Error>> {
    let oid = match std::env::args().nth(1) {
        Some(digits) => Oid::from_u64(u64::from_str_radix(&digits, 16)?),
        None => Oid::ZERO,
    };
    // A client asks for the current revision, and names its request by what it asks for.
    let call = Call::LoadBefore(LoadBefore { oid, before: Tid::MAX });
    let id = MsgId::Load(oid, Tid::MAX);
    let loaded = Loaded { data: b"a record".into(), serial: Tid::from_u64(0x040d_241b_905d_6933), end: None };
    for (name, dialect) in [("pickle", Dialect::Z5), ("msgpack", Dialect::M5)] {
        let mut frames = Vec::new();
        write_message(&mut frames, &dialect, &id, Flag::Bool(false), Method::LoadBefore.name(), &call)?;
        print(name, "call", &frames, &dialect)?;

        frames.clear();
        write_message(&mut frames, &dialect, &id, Flag::RESULT, REPLY, &Reply::Loaded(loaded.clone()))?;
        print(name, "reply", &frames, &dialect)?;
    }
    Ok(())
}

/// Shows a frame, and what it says.
fn print(framing: &str, what: &str, frame: &[u8], dialect: &Dialect) -> Result<(), Box<dyn Error>> {
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let payload = frame.get(4..).unwrap_or_default();
    let message = Envelope::parse(payload, dialect.framing, &Limits::DEFAULT)?;
    Ok(writeln!(stdout(), "{framing} {what}, {} bytes\n  {hex}\n  {message}", frame.len())?)
}
