//! Captured messages with payloads of other sizes.

use zeo_codec::handshake::Framing;
use zeo_codec::{Call, Dialect, Envelope, Limits, Method, Oid, Reply, Tid, write_message};

use super::fixture;

/// The payload of the first example with this title.
pub fn captured(dialect: &Dialect, title: &str) -> Vec<u8> {
    let text = match dialect.framing {
        Framing::Pickle => fixture::Z5,
        Framing::Msgpack => fixture::M5,
    };
    fixture::find(text, title).payload
}

/// Replaces `old` by `new` in a captured payload, together with the length in front of it.
pub fn replace_data(dialect: &Dialect, payload: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let header = |bytes: &[u8]| {
        let mut out = Vec::new();
        match (dialect.framing, u8::try_from(bytes.len()), u16::try_from(bytes.len())) {
            (Framing::Pickle, Ok(len), _) => out.extend_from_slice(&[b'C', len]),
            (Framing::Pickle, ..) => {
                out.push(b'B');
                out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
            }
            (Framing::Msgpack, Ok(len), _) => out.extend_from_slice(&[0xc4, len]),
            (Framing::Msgpack, _, Ok(len)) => {
                out.push(0xc5);
                out.extend_from_slice(&len.to_be_bytes());
            }
            (Framing::Msgpack, ..) => {
                out.push(0xc6);
                out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
            }
        }
        out.extend_from_slice(bytes);
        out
    };
    let (old, new) = (header(old), header(new));
    let at = payload.windows(old.len()).position(|window| window == old).unwrap();
    [&payload[..at], &new, &payload[at + old.len()..]].concat()
}

/// A `storea` with a record of `data_len` bytes.
pub fn storea(dialect: &Dialect, data_len: usize) -> Vec<u8> {
    let payload = captured(dialect, "C storea");
    let envelope = Envelope::parse(&payload, dialect.framing, &Limits::DEFAULT).unwrap();
    let Ok(Call::Storea(args)) = Call::parse(Method::Storea, envelope.args, &Limits::DEFAULT) else {
        panic!()
    };
    replace_data(dialect, &payload, &args.data, &vec![0x5a; data_len])
}

/// A reply of `loadBefore` with a record of `data_len` bytes.
pub fn loaded(dialect: &Dialect, data_len: usize) -> Vec<u8> {
    let payload = captured(dialect, "S reply of loadBefore");
    let envelope = Envelope::parse(&payload, dialect.framing, &Limits::DEFAULT).unwrap();
    let reply = Reply::parse(Some(Method::LoadBefore), envelope.args, &Limits::DEFAULT);
    let Ok(Reply::Loaded(loaded)) = reply else { panic!() };
    replace_data(dialect, &payload, &loaded.data, &vec![0x5a; data_len])
}

/// An `invalidateTransaction` of `count` oids. The captured one has a single oid, so this is written by us.
pub fn invalidate(dialect: &Dialect, count: u64) -> Vec<u8> {
    let call = zeo_codec::call::InvalidateTransaction {
        tid: Tid::from_u64(0x040d_241b_83bf_e099),
        oids: (1..=count).map(Oid::from_u64).collect(),
    };
    let mut out = Vec::new();
    let flag = zeo_codec::Flag::Bool(true);
    write_message(&mut out, dialect, &zeo_codec::MsgId::ONE_WAY, flag, "invalidateTransaction", &call)
        .unwrap();
    let payload = out.split_off(4);
    assert!(count != 1 || payload.len() == captured(dialect, "S invalidateTransaction").len());
    payload
}
