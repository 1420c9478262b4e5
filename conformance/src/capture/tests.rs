use std::borrow::Cow;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use zeo_codec::session::Direction::{FromClient, FromServer};

use super::format::{DATA_LEN_MAX, HEADER_LEN};
use super::*;

fn metadata() -> Metadata {
    let zeo = PeerInfo { name: "ZEO".to_owned(), version: "6.2".to_owned(), ..PeerInfo::default() };
    Metadata { scenario: "greetings".to_owned(), client: Some(zeo), ..Metadata::default() }
}

fn bytes(time_ns: u64, direction: zeo_codec::session::Direction, bytes: &[u8]) -> Record<'_> {
    let event = Event::Bytes { direction, bytes: Cow::Borrowed(bytes) };
    Record { time: Duration::from_nanos(time_ns), connection: 1, event }
}

fn records() -> Vec<Record<'static>> {
    let record = |time_ns, event| Record { time: Duration::from_nanos(time_ns), connection: 1, event };
    let endpoints = Endpoints { client: "127.0.0.1:4711".to_owned(), ..Endpoints::default() };
    vec![
        record(1, Event::Opened(Box::new(endpoints))),
        bytes(2, FromServer, b"\0\0\0\x02M5"),
        bytes(0x0102_0304_0506_0708, FromClient, b"\0\0\0\x04ruok"),
        record(4, Event::Note(Cow::Borrowed("cut after 8 bytes of the client"))),
        record(5, Event::Ended { direction: FromServer, end: End::Closed }),
        record(6, Event::Ended { direction: FromClient, end: End::Other(Cow::Borrowed("no route")) }),
    ]
}

fn written() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &metadata()).unwrap();
    records().iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap()
}

/// Everything that can be read, and the error at its end.
fn read<R: Read>(reader: Result<Reader<R>, CaptureError>) -> (Vec<Record<'static>>, Option<CaptureError>) {
    let mut records = Vec::new();
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => return (records, Some(error)),
    };
    loop {
        match reader.next_record() {
            Ok(Some(record)) => records.push(record.into_owned()),
            Ok(None) => return (records, None),
            Err(error) => {
                assert!(matches!(reader.next_record(), Ok(None)), "an error is the last that is said");
                return (records, Some(error));
            }
        }
    }
}

#[test]
fn what_was_written_is_read() {
    let written = written();
    let reader = Reader::new(written.as_slice()).unwrap();
    assert_eq!(*reader.metadata(), metadata());
    let (read, error) = read(Ok(reader));
    assert_eq!(read, records());
    assert!(error.is_none(), "{error:?}");
}

#[test]
fn a_file_that_was_cut_anywhere_gives_what_it_has_and_says_where_it_ends() {
    let written = written();
    let (all, _) = read(Reader::new(written.as_slice()));
    for len in 1..written.len() {
        let (some, error) = read(Reader::new(&written[..len]));
        assert_eq!(some, all[..some.len()]);
        let Some(CaptureError::Cut { offset }) = error else { panic!("{len}: {error:?}") };
        let offset = usize::try_from(offset).unwrap();
        assert!(offset <= len && written[offset..].len() >= HEADER_LEN, "{len}: {offset}");
    }
    let last_is_missing = &written[..written.len() - HEADER_LEN];
    assert_eq!(read(Reader::new(last_is_missing)).0, all, "only the last record is missing");
}

#[test]
fn each_kind_of_damage_is_named_with_its_offset() {
    let written = written();
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = written.clone();
        change(&mut bytes);
        read(Reader::new(bytes.as_slice())).1.map_or_else(String::new, |error| error.to_string())
    };
    let second = 8 + HEADER_LEN + serde_json::to_vec(&metadata()).unwrap().len();
    let end = written.len() - HEADER_LEN;
    assert_eq!(
        error(&|bytes| bytes[0] = b'z'),
        "offset 0: not a capture: it begins with [7a, 45, 4f, 43, 41, 50, 31, 0a]"
    );
    assert_eq!(
        error(&|bytes| bytes[6] = b'2'),
        "offset 6: a capture of version '2'; this program reads version '1'"
    );
    assert!(error(&|bytes| bytes[8] = b'N').contains("has to be the metadata"));
    assert!(error(&|bytes| bytes[8 + HEADER_LEN] = b'?').starts_with("offset 8: record 'M': "));
    assert_eq!(
        error(&|bytes| bytes[second + 13] = 0xff),
        format!(
            "offset {second}: a record of {} bytes, when 1048576 is the limit",
            0xff00_0000_u32 + u32::from_be_bytes(written[second + 13..second + 17].try_into().unwrap())
        )
    );
    assert!(error(&|bytes| bytes[second] = b'M').contains("only the first record can be"));
    let not_text = error(&|bytes| bytes[end - 1] = 0xff);
    assert!(not_text.contains("record 'c': invalid utf-8"), "{not_text}");
    assert_eq!(
        error(&|bytes| bytes.push(0)),
        format!("offset {}: more data after the end of the capture", end + 17)
    );
    assert_eq!(error(&|bytes| bytes.clear()), "offset 0: not a capture: it begins with []");
}

#[test]
fn records_of_unknown_kinds_are_left_out() {
    let mut bytes = written();
    let second = 8 + HEADER_LEN + serde_json::to_vec(&metadata()).unwrap().len();
    bytes[second] = b'?';
    let (read, error) = read(Reader::new(bytes.as_slice()));
    assert_eq!(read, records()[1..]);
    assert!(error.is_none(), "{error:?}");
}

#[test]
fn long_chunks_are_written_as_several_and_long_texts_are_refused() {
    let chunk: Vec<u8> = (0..=u8::MAX).cycle().take(DATA_LEN_MAX * 2 + 1).collect();
    let mut writer = Writer::new(Vec::new(), &Metadata::default()).unwrap();
    writer.write(&bytes(1, FromClient, &chunk)).unwrap();
    let (records, error) = read(Reader::new(writer.finish().unwrap().as_slice()));
    assert!(error.is_none(), "{error:?}");
    let mut lens = Vec::new();
    let mut read = Vec::new();
    for record in records {
        let Event::Bytes { bytes, .. } = record.event else { panic!("{record:?}") };
        lens.push(bytes.len());
        read.extend_from_slice(&bytes);
    }
    assert_eq!((lens, read == chunk), (vec![DATA_LEN_MAX, DATA_LEN_MAX, 1], true));

    let mut writer = Writer::new(Vec::new(), &Metadata::default()).unwrap();
    let note = Event::Note(Cow::Owned("x".repeat(DATA_LEN_MAX + 1)));
    let error = writer.write(&Record { time: Duration::ZERO, connection: 0, event: note }).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn metadata_that_this_program_does_not_know_are_kept() {
    let json = r#"{"scenario":"x","faults":["--cut-after 8"],"weather":{"rain":true}}"#;
    let metadata: Metadata = serde_json::from_str(json).unwrap();
    assert_eq!(metadata.other["weather"]["rain"], true);
    assert_eq!(serde_json::to_string(&metadata).unwrap(), json);
}

fn write_file(path: &Path) {
    let mut writer = file::create(path, &metadata()).unwrap();
    records().iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap().close().unwrap();
}

#[test]
fn files_are_compressed_if_their_name_says_so_and_damaged_ones_give_what_they_have() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, gzip) = (dir.path().join("a.zeocap"), dir.path().join("a.zeocap.gz"));
    for path in [&plain, &gzip] {
        write_file(path);
        let (read, error) = read(file::open(path));
        assert_eq!(read, records());
        assert!(error.is_none(), "{error:?}");
    }
    assert_eq!(std::fs::read(&plain).unwrap(), written());
    let mut compressed = std::fs::read(&gzip).unwrap();
    assert_eq!(&compressed[..2], b"\x1f\x8b");

    for len in 2..compressed.len() {
        let (some, error) = read(file::read(io::Cursor::new(compressed[..len].to_vec())));
        assert_eq!(some, records()[..some.len()]);
        assert!(error.is_some() || some.len() == records().len(), "{len}");
    }
    let middle = compressed.len() / 2;
    compressed[middle] ^= 0xff;
    let (_, error) = read(file::read(io::Cursor::new(compressed)));
    assert!(error.is_some(), "the damage is noticed");
}

/// The program in `CAPTURE.md` says the same as this library.
#[test]
fn ten_lines_of_python_read_a_capture() {
    let document = include_str!("../../CAPTURE.md");
    let (_, rest) = document.split_once("```python\n").unwrap();
    let (program, _) = rest.split_once("```").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (script, capture) = (dir.path().join("read.py"), dir.path().join("a.zeocap.gz"));
    std::fs::write(&script, program).unwrap();
    write_file(&capture);
    let output = match Command::new("python3").arg(&script).arg(&capture).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("not tested: there is no python3");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let lines: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    let expected = [
        r#"M 0 0.000000000 b'{"scenario":"greetings","client":{"name":"ZEO","version":"6.2"}}'"#,
        r#"O 1 0.000000001 b'{"client":"127.0.0.1:4711"}'"#,
        r"S 1 0.000000002 b'\x00\x00\x00\x02M5'",
        r"C 1 72623859.790382856 b'\x00\x00\x00\x04ruok'",
        "N 1 0.000000004 b'cut after 8 bytes of the client'",
        "s 1 0.000000005 b''",
        "c 1 0.000000006 b'no route'",
        "Z 0 0.000000000 b''",
    ];
    assert_eq!(lines, expected, "{}", String::from_utf8_lossy(&output.stderr));
}
