//! `zeo load`: a revision of an object, without the application's classes.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::Args;
use zeo_codec::{DecodeError, Limits, Oid, Tid, record};

use super::Failure;
use super::server::ServerOptions;
use crate::blocking::Client;
use crate::tools::text::Shown;
use crate::tools::time::{parse_tid, show_time};
use crate::{Access, Revision};

/// What is shown of each text and each list, unless all is asked for.
const SHORT: usize = 100;
/// How many references are shown then.
const REFERENCE_COUNT: usize = 20;

/// Show a revision of an object.
///
/// Its class and state are read from its pickles, which are never executed: classes and calls stay names.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The object: its id in hexadecimal, with or without 0x
    #[arg(value_name = "OID", value_parser = parse_oid)]
    oid: Oid,

    #[command(flatten)]
    server: ServerOptions,

    /// The revision that was current just before this transaction, or time in UTC
    #[arg(short, long, value_name = "TID", value_parser = parse_tid, conflicts_with = "serial")]
    before: Option<Tid>,

    /// The revision that this transaction wrote
    #[arg(short, long, value_name = "TID", value_parser = parse_tid)]
    serial: Option<Tid>,

    /// Write the bytes of the record to standard output, and nothing else
    #[arg(short, long, conflicts_with = "full")]
    raw: bool,

    /// Show long texts and lists in full
    #[arg(short, long)]
    full: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = arguments.server.connect(Access::ReadOnly)?;
    let loaded = load(arguments, &client);
    client.close();
    let revision = loaded?;
    let mut out = std::io::stdout().lock();
    if arguments.raw {
        out.write_all(&revision.data)?;
    } else {
        out.write_all(describe(arguments.oid, &revision, arguments.full).as_bytes())?;
    }
    Ok(out.flush()?)
}

fn load(arguments: &Arguments, client: &Client) -> Result<Revision, Failure> {
    let oid = arguments.oid;
    let timeout = arguments.server.timeout();
    let load_before = |before: Tid| match client.within(timeout, |client| client.load_before(oid, before)) {
        None => Err(Failure::from(format!("the server has not answered within {timeout:?}"))),
        Some(Err(error)) if error.is_no_such_object() => {
            Err(Failure::from(format!("there is no object {oid}, or no more: {error}")))
        }
        Some(found) => Ok(found?),
    };
    if let Some(serial) = arguments.serial {
        let before = serial.next().ok_or("there is no such transaction")?;
        let found = load_before(before)?.filter(|revision| revision.serial == serial);
        return found.ok_or_else(|| format!("transaction {serial} did not write object {oid}").into());
    }
    let before = arguments.before.unwrap_or(Tid::MAX);
    let found = load_before(before)?;
    found.ok_or_else(|| format!("object {oid} did not exist before transaction {before}").into())
}

/// Up to sixteen hexadecimal digits, as Python shows oids, or as this project does.
fn parse_oid(text: &str) -> Result<Oid, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let is_hex = (1..=16).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = if is_hex { u64::from_str_radix(digits, 16).ok() } else { None };
    number.map(Oid::from_u64).ok_or_else(|| "expected up to sixteen hexadecimal digits".to_owned())
}

/// Some lines about a revision.
fn describe(oid: Oid, revision: &Revision, is_full: bool) -> String {
    let mut text = String::new();
    // A String takes everything.
    let _ = writeln!(text, "object      {oid}");
    let _ = writeln!(text, "serial      {} ({})", revision.serial, show_time(revision.serial));
    let _ = match revision.end {
        Some(end) => writeln!(text, "superseded  {end} ({})", show_time(end)),
        None => writeln!(text, "superseded  never"),
    };
    let _ = writeln!(text, "length      {} bytes", revision.data.len());
    match pickles(&revision.data, is_full) {
        Ok([class, state]) => {
            let _ = writeln!(text, "class       {}\nstate       {}", Shown(class), Shown(state));
        }
        Err(error) => {
            let _ = writeln!(text, "unreadable  {} (--raw has the bytes)", Shown(error));
        }
    }
    let mut found = Vec::new();
    // What cannot be read has been said.
    if record::references(&revision.data, &mut found).is_ok() && !found.is_empty() {
        let shown = if is_full { found.len() } else { REFERENCE_COUNT };
        let names: Vec<String> = found.iter().take(shown).map(ToString::to_string).collect();
        let more = found.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = writeln!(text, "refers to   {}{more}", names.join(" "));
    }
    text
}

/// The two pickles of a record as text: what the object is of, and its state.
fn pickles(record: &[u8], is_full: bool) -> Result<[String; 2], DecodeError> {
    let show = |value: zeo_codec::Value<'_>| {
        if is_full { value.to_string() } else { format!("{value:.SHORT$}") }
    };
    let [class, state] = record::decode(record, &Limits::DEFAULT)?;
    Ok([show(class), show(state)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_are_hexadecimal() {
        for text in ["1b", "0x1b", "000000000000001B"] {
            assert_eq!(parse_oid(text), Ok(Oid::from_u64(0x1b)));
        }
        for text in ["", "0x", "+1", "00000000000000001", "root"] {
            assert!(parse_oid(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shows_what_can_be_read() {
        let revision = |data: &'static [u8]| Revision {
            data: data.into(),
            serial: Tid::from_u64(0x040d_2412_8222_2222),
            end: None,
        };
        let record =
            b"\x80\x03cshop\nCart\n.\x80\x03}X\x05\0\0\0ownerC\x08\0\0\0\0\0\0\0\x02cshop\nUser\n\x86Qs.";
        let expected = "object      0000000000000001\n\
            serial      040d241282222222 (2026-11-20 10:26:30.500000Z)\n\
            superseded  never\n\
            length      52 bytes\n\
            class       <shop.Cart>\n\
            state       {\"owner\": persistent (h'0000000000000002', <shop.User>)}\n\
            refers to   0000000000000002\n";
        assert_eq!(describe(Oid::from_u64(1), &revision(record), false), expected);
        let broken = describe(Oid::from_u64(1), &revision(b"no pickle"), false);
        assert!(broken.contains("unreadable  ") && broken.ends_with("(--raw has the bytes)\n"), "{broken}");
    }
}
