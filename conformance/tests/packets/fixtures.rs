//! Captures of `fixtures/` as packets: Wireshark, with the dissector, tells of each message what the sniffer tells.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeo_codec::session::Direction;
use zeo_conformance::capture::{Event, Metadata, Record};
use zeo_conformance::packets::PacketWriter;
use zeo_conformance::sniff::MissingNote;
use zeo_conformance::sniff::input::{self, Reading};

use crate::dissected::{difference, dissected, sniffed};
use crate::root;

/// All captures are compared, in place of a sample.
const ALL_VARIABLE: &str = "ZEO_PACKETS_ALL";

/// Of every pair and framing: long lists of msgpack, errors, keep-alives, and a client port of another protocol.
const ALWAYS: [&str; 4] = ["blobs", "commit", "heartbeat", "fallback"];
/// So many others of each pair, other ones of each.
const OTHER_COUNT: usize = 3;

/// A dissector of Wireshark that knows a client's port would be asked first otherwise.
pub(crate) const HEURISTICS_FIRST: [&str; 2] = ["-o", "tcp.try_heuristic_first:TRUE"];

/// Captures that are compared, by the pair of peers that they are of.
pub(crate) fn by_pair() -> BTreeMap<String, Vec<PathBuf>> {
    let mut directories: Vec<_> =
        fs::read_dir(root().join("fixtures")).unwrap().map(|entry| entry.unwrap().path()).collect();
    directories.sort();
    let mut pairs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut count = 0;
    for directory in directories {
        let name = directory.file_name().unwrap().to_str().unwrap();
        let Some(pair) = name.strip_suffix("-pickle").or_else(|| name.strip_suffix("-msgpack")) else {
            continue;
        };
        let mut captures: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        captures.sort();
        pairs.entry(pair.to_owned()).or_default().extend(sample(count, &captures));
        count += 1;
    }
    assert!(count >= 37, "{count}");
    pairs
}

/// Those that are compared, of the pair and framing with this number.
fn sample(number: usize, captures: &[PathBuf]) -> Vec<PathBuf> {
    if std::env::var_os(ALL_VARIABLE).is_some() {
        return captures.to_vec();
    }
    let is_named = |path: &PathBuf, name: &str| path.ends_with(format!("{name}.zeocap.gz"));
    let is_always = |path: &&PathBuf| ALWAYS.iter().any(|name| is_named(path, name));
    let others: Vec<_> = captures.iter().filter(|path| !is_always(path)).collect();
    let turned = others.iter().cycle().skip(number * OTHER_COUNT).take(OTHER_COUNT.min(others.len()));
    captures.iter().filter(is_always).chain(turned.copied()).cloned().collect()
}

/// Packets of several captures in one file, one after the other: starting tshark takes longer than most of them.
pub(crate) fn convert(captures: &[PathBuf], target: &Path) {
    let out = BufWriter::new(File::create(target).unwrap());
    let mut writer = PacketWriter::new(out, &Metadata::default()).unwrap();
    let (mut time, mut connection) = (Duration::ZERO, 0);
    for capture in captures {
        let (start, first) = (time, connection);
        let source = input::open(capture, None).unwrap();
        input::read(source, &Reading::default(), &mut |_| Ok(()), &mut |record| {
            let mut record = record.clone();
            record.time += start;
            if record.connection > 0 {
                record.connection += first;
            }
            (time, connection) = (time.max(record.time), connection.max(record.connection));
            writer.write(&record)
        })
        .unwrap();
        time += Duration::from_secs(1);
    }
    writer.finish().unwrap();
}

/// Packets of a capture that begins when so many bytes of each direction of each connection have passed.
pub(crate) fn convert_joined(capture: &Path, target: &Path, passed_len: usize) {
    let out = BufWriter::new(File::create(target).unwrap());
    let mut writer = PacketWriter::new(out, &Metadata::default()).unwrap();
    let mut passed = BTreeMap::new();
    let source = input::open(capture, None).unwrap();
    input::read(source, &Reading::default(), &mut |_| Ok(()), &mut |record| {
        let Record { time, connection, event } = record;
        match event {
            Event::Bytes { direction, bytes } => {
                let is_client = *direction == Direction::FromClient;
                let left: &mut usize = passed.entry((*connection, is_client)).or_insert(passed_len);
                let skipped_len = bytes.len().min(*left);
                *left -= skipped_len;
                let rest = bytes.get(skipped_len..).unwrap().into();
                let event = Event::Bytes { direction: *direction, bytes: rest };
                writer.write(&Record { time: *time, connection: *connection, event })
            }
            Event::Opened(_) => {
                writer.write(record)?;
                for direction in [Direction::FromClient, Direction::FromServer] {
                    let note = MissingNote { direction, len: None }.to_string();
                    let event = Event::Note(note.into());
                    writer.write(&Record { time: *time, connection: *connection, event })?;
                }
                Ok(())
            }
            _ => writer.write(record),
        }
    })
    .unwrap();
    writer.finish().unwrap();
}

/// Compares captures of a pair.
pub(crate) fn wireshark_tells_what_sniff_tells(captures: &[PathBuf]) {
    let directory = tempfile::tempdir().unwrap();
    let packets = directory.path().join("all.pcapng");
    convert(captures, &packets);
    let told = sniffed(&packets).0;
    let Some(first) = difference(&dissected(&packets, &HEURISTICS_FIRST), &told) else {
        assert!(!told.is_empty(), "{captures:?}");
        return;
    };
    // Which capture is it, and do others differ?
    let mut differences = Vec::new();
    for capture in captures {
        convert(std::slice::from_ref(capture), &packets);
        let found = difference(&dissected(&packets, &HEURISTICS_FIRST), &sniffed(&packets).0);
        differences.extend(found.map(|found| format!("{}: {found}", capture.display())));
    }
    panic!("{} of {} captures: {}\n{first}", differences.len(), captures.len(), differences.join("\n"));
}
