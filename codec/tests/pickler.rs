//! Our pickler against the bytes of CPython's and zodbpickle's (`fixtures/pickles`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use common::fixture::unhex;
use zeo_codec::pickle::{self, PickleFlavor, PickleWriter};
use zeo_codec::{Emit as _, Limits, Value};

const BATCHES: &str = include_str!("../../fixtures/pickles/fast-batches.txt");
const MEMO_MSGPACK: &str = include_str!("../../fixtures/pickles/memo-msgpack.txt");
const MEMO: &str = include_str!("../../fixtures/pickles/memo.txt");

fn dumps(out: &mut Vec<u8>, write: impl FnOnce(&mut PickleWriter<'_>)) {
    let mut writer = PickleWriter::new(out, PickleFlavor::Python3);
    writer.start();
    write(&mut writer);
    writer.stop();
}

#[test]
fn batches_are_those_of_cpython() {
    for line in BATCHES.lines() {
        let [kind, count, expected] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let count: usize = count.parse().unwrap();
        let expected = unhex(expected);
        let value = match kind {
            "list" => Value::List(vec![Value::None; count]),
            _ => Value::Dict((0..count).map(|index| (Value::from(index as u64), Value::None)).collect()),
        };
        assert!(pickle::decode(&expected, &Limits::DEFAULT) == Ok(value.clone()), "{kind} of {count}");
        let mut out = Vec::new();
        dumps(&mut out, |writer| writer.value(&value).unwrap());
        assert!(out == expected, "{kind} of {count}");
        // The typed way.
        let mut out = Vec::new();
        dumps(&mut out, |writer| match kind {
            "list" => writer.list(0..count, |writer, _| writer.none()),
            _ if count <= 1000 => writer.dict(count, |writer| {
                for index in 0..count {
                    writer.uint(index as u64);
                    writer.none();
                }
            }),
            _ => writer.value(&value).unwrap(),
        });
        assert!(out == expected, "{kind} of {count}, emitted");
    }
}

#[test]
fn the_memo_is_used_as_zodbpickle_does() {
    for (number, line) in MEMO.lines().enumerate() {
        let (fast, expected) = line.split_once(' ').unwrap();
        let (fast, expected) = (unhex(fast), unhex(expected));
        let value = pickle::decode(&fast, &Limits::DEFAULT).unwrap();
        assert_eq!(pickle::decode(&expected, &Limits::DEFAULT).as_ref(), Ok(&value), "line {number}");
        let mut out = Vec::new();
        dumps(&mut out, |writer| writer.value(&value).unwrap());
        assert!(out == fast, "line {number}: {value:?}");
        let mut out = Vec::new();
        let mut writer = PickleWriter::with_memo(&mut out, PickleFlavor::Python3);
        writer.start();
        writer.value(&value).unwrap();
        writer.stop();
        let same_len = out.iter().zip(&expected).take_while(|(ours, theirs)| ours == theirs).count();
        assert!(out == expected, "line {number}, from byte {same_len}: {value:?}");
    }
}

#[test]
fn keys_read_from_msgpack_are_shared() {
    for (number, line) in MEMO_MSGPACK.lines().enumerate() {
        let (packed, expected) = line.split_once(' ').unwrap();
        let (packed, expected) = (unhex(packed), unhex(expected));
        let value = zeo_codec::msgpack::decode(&packed, &Limits::DEFAULT).unwrap();
        let mut out = Vec::new();
        let mut writer = PickleWriter::with_memo(&mut out, PickleFlavor::Python3).sharing_keys();
        writer.start();
        writer.value(&value).unwrap();
        writer.stop();
        let same_len = out.iter().zip(&expected).take_while(|(ours, theirs)| ours == theirs).count();
        assert!(out == expected, "line {number}, from byte {same_len}: {value:?}");
    }
}
