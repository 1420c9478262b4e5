//! What records refer to, against ZODB's own reading (`fixtures/records`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use common::fixture::unhex;
use proptest::prelude::*;
use zeo_codec::record::{decode, encode, is_blob, possible_references, references};
use zeo_codec::{DecodeErrorKind, Limits, Oid};

const REFERENCES: &str = include_str!("../../fixtures/records/references.txt");
const BLOBS: &str = include_str!("../../fixtures/records/blobs.txt");

/// Records and the oids that Python finds in them.
fn fixtures() -> impl Iterator<Item = (Vec<u8>, Vec<Oid>)> {
    REFERENCES.lines().map(|line| {
        let (record, oids) = line.split_once(' ').unwrap();
        let oids = oids.split(',').filter(|oid| *oid != "-");
        (unhex(record), oids.map(|oid| Oid::from_slice(&unhex(oid)).unwrap()).collect())
    })
}

#[test]
fn references_are_those_that_python_finds() {
    let mut count = 0;
    for (number, (record, oids)) in fixtures().enumerate() {
        let mut found = Vec::new();
        assert_eq!(references(&record, &mut found), Ok(()), "line {number}");
        assert_eq!(found, oids, "line {number}");
        count += oids.len();
    }
    assert!(count > 1000, "{count}");
}

#[test]
fn whatever_a_record_refers_to_is_possible() {
    for (number, (record, oids)) in fixtures().enumerate() {
        let mut possible = Vec::new();
        possible_references(&record, |oid| possible.push(oid));
        possible.sort_unstable();
        let is_possible = |oid: &Oid| possible.binary_search(oid).is_ok();
        assert!(oids.iter().all(is_possible), "line {number}");
    }
}

#[test]
fn blobs_are_those_of_python() {
    for line in BLOBS.lines() {
        let (record, is_python_blob) = line.split_once(' ').unwrap();
        assert_eq!(is_blob(&unhex(record)), is_python_blob == "True", "{line}");
    }
    assert!(!is_blob(b""));
}

/// The root as ZODB 6.4 writes it, with one more PersistentMapping: the second pickle takes the class of that from the
/// memo of the first.
#[test]
fn a_state_may_name_the_class_of_the_object() {
    let record =
        b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\0.\x80\x03}q\x01X\x04\0\0\0dataq\x02}q\x03\
        X\x01\0\0\0xq\x04C\x08\0\0\0\0\0\0\0\x01q\x05h\0\x86q\x06Qss.";
    let [class, state] = decode(record, &Limits::DEFAULT).unwrap();
    assert_eq!(class.to_string(), "<persistent.mapping.PersistentMapping>");
    let expected = "{\"data\": {\"x\": \
        persistent (h'0000000000000001', <persistent.mapping.PersistentMapping>)}}";
    assert_eq!(state.to_string(), expected);
    let again = encode(&class, &state).unwrap();
    assert_eq!(decode(&again, &Limits::DEFAULT), Ok([class, state]));
    assert!(decode(&record[..record.len() - 1], &Limits::DEFAULT).is_err());
}

#[test]
fn what_is_no_reference_is_an_error_with_its_place() {
    let number = references(b"N.K\x05Q.", &mut Vec::new()).unwrap_err();
    assert_eq!((number.offset, number.kind), (4, DecodeErrorKind::BadOperand(b'Q')));
    for record in ["N.)Q.", "N.C\u{3}abcQ.", "N.N\u{85}Q.", "N.X\u{8}\0\0\0seven \u{e9}Q."] {
        let error = references(record.as_bytes(), &mut Vec::new()).unwrap_err();
        assert!(!matches!(error.kind, DecodeErrorKind::StackUnderflow), "{record:?}: {error}");
    }
    // The second pickle is missing, or cut short; a reference before that has been found.
    let mut found = Vec::new();
    assert_eq!(references(b"C\x0812345678Q.", &mut found).unwrap_err().kind, DecodeErrorKind::Truncated);
    assert_eq!(found, [Oid::from_bytes(*b"12345678")]);
}

#[test]
fn a_memo_takes_no_more_room_than_its_opcodes() {
    // A single entry at the end of the numbers.
    let record = b"Nr\xff\xff\xff\xff.j\xff\xff\xff\xff.";
    assert_eq!(references(record, &mut Vec::new()), Ok(()));
    assert_eq!(references(b"N.h\x07.", &mut Vec::new()).unwrap_err().kind, DecodeErrorKind::NoMemo(7));
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(record: Vec<u8>) {
        let _whatever = references(&record, &mut Vec::new());
        possible_references(&record, |_| {});
        let _whatever = is_blob(&record);
    }

    /// Damage: every answer is allowed, a panic is not.
    #[test]
    fn damaged_records_end_in_an_answer(line in 0..480_usize, at: prop::sample::Index, byte: u8) {
        let (mut record, _) = fixtures().nth(line).unwrap();
        let at = at.index(record.len());
        record[at] = byte;
        let _whatever = references(&record, &mut Vec::new());
        possible_references(&record, |_| {});
    }
}
