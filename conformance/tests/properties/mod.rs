//! What holds for any bytes that are to be a capture, or packets. `tests/fuzzed.rs` runs this over seeds on stable;
//! `fuzz/` includes the same file.

#![allow(dead_code, unreachable_pub, reason = "each fuzz target uses one of them")]
#![allow(clippy::unwrap_used, reason = "a property fails by panicking")]

use std::io::Cursor;

use zeo_conformance::capture::{Event, Reader, Record, Writer};
use zeo_conformance::sniff::input::{self, InputError, Reading};
use zeo_conformance::sniff::{Bounds, Filter, Message, Sniffer, Stats, json};

/// Small, so that they are met.
const BOUNDS: Bounds = Bounds { message_bytes: 1 << 16, buffered_bytes: 1 << 17, connection_count: 4 };

/// Panics if the input shows that the property does not hold.
pub type Property = fn(&[u8]);

/// The properties by the names of their fuzz targets.
pub const ALL: [(&str, Property); 2] = [("capture_file", capture_file), ("packets", packets)];

fn records(bytes: &[u8]) -> (Vec<Record<'static>>, bool) {
    let mut found = Vec::new();
    let Ok(mut reader) = Reader::new(Cursor::new(bytes)) else { return (found, false) };
    loop {
        match reader.next_record() {
            Ok(Some(record)) => found.push(record.into_owned()),
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        }
    }
}

/// What can be read of a capture is read the same when it is written again; then it is sniffed.
pub fn capture_file(input: &[u8]) {
    let (mut found, _) = records(input);
    // What says nothing is not written.
    found.retain(|record| !matches!(&record.event, Event::Bytes { bytes, .. } if bytes.is_empty()));
    if let Ok(reader) = Reader::new(Cursor::new(input)) {
        let mut writer = Writer::new(Vec::new(), reader.metadata()).unwrap();
        let is_written = found.iter().all(|record| writer.write(record).is_ok());
        let again = writer.finish().unwrap();
        if is_written {
            assert_eq!(records(&again), (found, true));
        }
    }
    packets(input);
}

/// Whatever it is, it is read to an end with bounded memory, and all that is shown of it can be shown.
pub fn packets(input: &[u8]) {
    let mut sniffer = Sniffer::new(BOUNDS);
    let (mut stats, mut shown) = (Stats::default(), Vec::new());
    let filter = Filter::default();
    let source = Box::new(Cursor::new(input.to_vec()));
    let mut show = |message: &Message<'_>| {
        assert!(filter.accepts(message));
        stats.hear(message, &filter);
        shown.clear();
        json::write(message, Some(16), &mut shown)?;
        let value: serde_json::Value = serde_json::from_slice(&shown).unwrap();
        assert!(value.is_object());
        Ok(())
    };
    let read = input::read(source, &Reading::default(), &mut |_| Ok(()), &mut |record| {
        sniffer.hear(record, &mut show)?;
        assert!(sniffer.buffered_len() <= BOUNDS.buffered_bytes, "{}", sniffer.buffered_len());
        Ok(())
    });
    sniffer.finish(&mut show).unwrap();
    assert_eq!(sniffer.buffered_len(), 0);
    assert!(!matches!(read, Err(InputError::Take(_))), "showing does not fail");
    let _ = (format!("{stats}"), stats.json());
}
