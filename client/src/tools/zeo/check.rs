//! `zeo check`: does what a client does, and looks whether it was done; what Python's `zeoup` was for
//! (`ZEO/scripts/zeoup.py`, ZEO 4.3.1 and 6.2).
//!
//! `zeoup` counts in an object that it hangs into the application's root object. This one leaves the application's
//! objects alone: it writes one of its own, which nothing refers to, and deletes it again where the storage can do that.

use std::io::Write as _;
use std::time::Instant;

use clap::Args;

use super::Failure;
use super::server::ServerOptions;
use crate::{Access, Metadata, Oid, Tid};

/// The record of a mapping from `check` to a text of sixteen characters, as ZODB writes one (protocol reference 14.4), up to
/// that text and behind it.
const RECORD_START: &[u8] =
    b"\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}X\x04\0\0\0data}X\x05\0\0\0checkX\x10\0\0\0";
const RECORD_END: &[u8] = b"ss.";
/// What transactions say that they are of.
const USER: &str = "zeo check";

/// Write an object, read it back, and verify it.
///
/// The object is a new one, of this command's own. Another connection reads it, too; then it is deleted, where the
/// storage can do that. Otherwise the next pack removes it. In the log these are transactions of the user "zeo check".
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: ServerOptions,

    /// Write nothing: only read the root object
    #[arg(long)]
    nowrite: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let start = Instant::now();
    let done = if arguments.nowrite { read(&arguments.server)? } else { write(&arguments.server)? };
    writeln!(std::io::stdout(), "{done}\nElapsed time: {:.2}", start.elapsed().as_secs_f64())?;
    Ok(())
}

/// Reads the root object.
fn read(server: &ServerOptions) -> Result<String, Failure> {
    let client = server.connect(Access::ReadOnly)?;
    let loaded = client.load_current(Oid::ZERO);
    client.close();
    let revision = loaded.map_err(|error| format!("cannot read the root object: {error}"))?;
    Ok(format!("read the root object: {} bytes of transaction {}", revision.data.len(), revision.serial))
}

/// Writes an object, reads it in two connections, and deletes it.
fn write(server: &ServerOptions) -> Result<String, Failure> {
    let client = server.connect(Access::ReadWrite)?;
    let oid = client.new_oid().map_err(|error| format!("cannot get an object id: {error}"))?;
    let text = format!("{:016x}", fastrand::u64(..));
    let record = [RECORD_START, text.as_bytes(), RECORD_END].concat();
    let commit = || {
        let mut transaction = client.begin(Metadata::new(USER, "writes an object"))?;
        transaction.store(oid, Tid::ZERO, record.clone())?;
        transaction.vote()?.finish()
    };
    let tid = commit().map_err(|error| format!("cannot write object {oid}: {error}"))?;
    let other = server.connect(Access::ReadOnly)?;
    for (reader, whose) in [(&client, "its own connection"), (&other, "another connection")] {
        let loaded = reader.load_current(oid);
        let revision =
            loaded.map_err(|error| format!("cannot read object {oid} back in {whose}: {error}"))?;
        if revision.serial != tid || *revision.data != *record {
            return Err(format!(
                "object {oid} in {whose} is not what was written: {} bytes of transaction {} in place of {} of {tid}",
                revision.data.len(),
                revision.serial,
                record.len(),
            )
            .into());
        }
    }
    other.close();
    let mut done = format!("wrote object {oid} in transaction {tid} and read it back");
    if client.server_info().provides("IExternalGC") {
        let delete = || {
            let mut transaction = client.begin(Metadata::new(USER, "deletes it again"))?;
            transaction.delete(oid, tid)?;
            transaction.vote()?.finish()
        };
        delete().map_err(|error| format!("cannot delete object {oid}: {error}"))?;
        done += ", and deleted it";
    }
    client.close();
    Ok(done)
}

#[cfg(test)]
mod tests {
    use zeo_codec::{Limits, pickle};

    use super::*;

    #[test]
    fn the_record_is_a_mapping() {
        let record = [RECORD_START, &[b'7'; 16], RECORD_END].concat();
        let (class, len) = pickle::decode_prefix(&record, &Limits::DEFAULT).unwrap();
        assert_eq!(class.to_string(), "<persistent.mapping.PersistentMapping>");
        let (state, state_len) = pickle::decode_prefix(&record[len..], &Limits::DEFAULT).unwrap();
        assert_eq!(state.to_string(), r#"{"data": {"check": "7777777777777777"}}"#);
        assert_eq!(len + state_len, record.len());
    }
}
