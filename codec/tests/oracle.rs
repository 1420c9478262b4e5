//! Independent readers and writers as the truth: CPython's pickles, serde-pickle, rmpv.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use common::arbitrary;
use common::fixture::unhex;
use proptest::prelude::*;
use serde_pickle::{DeOptions, SerOptions};
use zeo_codec::pickle::{self, PickleFlavor, PickleWriter};
use zeo_codec::{Dialect, Emit as _, Global, Limits, Value, msgpack};

const LIMITS: Limits = Limits::DEFAULT;
const PROTOCOLS: &str = include_str!("../../fixtures/pickles/cpython-protocols.txt");

/// Does what the few globals mean with which CPython's picklers write bytes below protocol 3 and bytearrays
/// below protocol 5. (The codec itself never does: protocol reference 4.1 and 4.3.)
fn evaluated(value: Value<'static>) -> Value<'static> {
    let all = |items: Vec<Value<'static>>| items.into_iter().map(evaluated).collect();
    match value {
        Value::Tuple(items) => Value::Tuple(all(items)),
        Value::List(items) => Value::List(all(items)),
        Value::Dict(pairs) => {
            Value::Dict(pairs.into_iter().map(|(key, value)| (evaluated(key), evaluated(value))).collect())
        }
        Value::Object(object) => {
            let Value::Global(Global { module, name }) = object.callable else {
                panic!("{:?}", object.callable)
            };
            let args = evaluated(object.args);
            let content = match args.as_sequence().unwrap() {
                [] => vec![],
                [Value::Bytes(bytes)] => bytes.to_vec(),
                [Value::Text(text), Value::Text(codec)] if matches!(&**codec, "latin1" | "latin-1") => {
                    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
                }
                other => panic!("{other:?}"),
            };
            match (&*module, &*name) {
                ("_codecs", "encode") | ("__builtin__", "bytes") => Value::Bytes(content.into()),
                ("__builtin__" | "builtins", "bytearray") => Value::ByteArray(content.into()),
                other => panic!("{other:?}"),
            }
        }
        other => other,
    }
}

#[test]
fn cpython_pickles_of_every_protocol() {
    for line in PROTOCOLS.lines() {
        let mut parts = line.splitn(3, ' ');
        let protocol = parts.next().unwrap();
        let bytes = unhex(parts.next().unwrap());
        let expected = parts.next().unwrap();
        let value = pickle::decode(&bytes, &LIMITS)
            .unwrap_or_else(|error| panic!("protocol {protocol}: {error}: {expected}"));
        assert_eq!(evaluated(value.into_owned()).to_string(), expected, "protocol {protocol}");
    }
}

fn serde_value(value: &Value<'_>) -> Option<serde_pickle::Value> {
    use serde_pickle::Value as V;
    let all = |items: &[Value<'_>]| items.iter().map(serde_value).collect::<Option<Vec<_>>>();
    Some(match value {
        Value::None => V::None,
        Value::Bool(bit) => V::Bool(*bit),
        Value::Int(number) => match i64::try_from(*number) {
            Ok(number) => V::I64(number),
            Err(_) => V::Int(number.to_string().parse().ok()?),
        },
        Value::Float(number) => V::F64(*number),
        Value::Bytes(bytes) => V::Bytes(bytes.to_vec()),
        Value::Text(text) => V::String(text.to_string()),
        Value::Tuple(items) => V::Tuple(all(items)?),
        Value::List(items) => V::List(all(items)?),
        Value::Dict(pairs) => {
            let mut dict = std::collections::BTreeMap::new();
            for (key, value) in pairs {
                dict.insert(serde_value(key)?.into_hashable().ok()?, serde_value(value)?);
            }
            V::Dict(dict)
        }
        _ => return None,
    })
}

fn rmpv_value(value: &Value<'_>) -> rmpv::Value {
    match value {
        Value::None => rmpv::Value::Nil,
        Value::Bool(bit) => (*bit).into(),
        Value::Int(number) => match u64::try_from(*number) {
            Ok(number) => number.into(),
            Err(_) => i64::try_from(*number).unwrap().into(),
        },
        Value::Float(number) => (*number).into(),
        Value::Bytes(bytes) => rmpv::Value::Binary(bytes.to_vec()),
        Value::Text(text) => (&**text).into(),
        Value::Tuple(items) => rmpv::Value::Array(items.iter().map(rmpv_value).collect()),
        Value::Dict(pairs) => {
            rmpv::Value::Map(pairs.iter().map(|(key, value)| (rmpv_value(key), rmpv_value(value))).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn dumps(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PickleWriter::new(&mut out, PickleFlavor::Python3);
    writer.start();
    writer.value(value).unwrap();
    writer.stop();
    out
}

/// Without what serde-pickle has no value for, and without dicts whose repeated keys it would join.
fn common_to_serde_pickle() -> impl Strategy<Value = (Value<'static>, serde_pickle::Value)> {
    arbitrary::value(Dialect::Z5).prop_filter_map("known to serde-pickle", |value| {
        let theirs = serde_value(&value)?;
        Some((value, theirs))
    })
}

proptest! {
    #[test]
    fn serde_pickle_reads_what_we_write((ours, theirs) in common_to_serde_pickle()) {
        let read: serde_pickle::Value = serde_pickle::value_from_slice(&dumps(&ours), DeOptions::new()).unwrap();
        prop_assert_eq!(read, theirs);
    }

    #[test]
    fn we_read_what_serde_pickle_writes((_, theirs) in common_to_serde_pickle(), protocol2 in any::<bool>()) {
        let options = if protocol2 { SerOptions::new().proto_v2() } else { SerOptions::new() };
        let bytes = serde_pickle::value_to_vec(&theirs, options).unwrap();
        let ours = pickle::decode(&bytes, &LIMITS).unwrap();
        // At protocol 2 it writes bytes as CPython does.
        prop_assert_eq!(serde_value(&evaluated(ours.into_owned())), Some(theirs));
    }

    #[test]
    fn rmpv_reads_what_we_write(value in arbitrary::value(Dialect::M5)) {
        let mut out = Vec::new();
        msgpack::MsgpackWriter::new(&mut out).value(&value).unwrap();
        let mut rest = &out[..];
        prop_assert_eq!(rmpv::decode::read_value(&mut rest).unwrap(), rmpv_value(&value));
        prop_assert!(rest.is_empty());
        // Both write the shortest form.
        let mut theirs = Vec::new();
        rmpv::encode::write_value(&mut theirs, &rmpv_value(&value)).unwrap();
        prop_assert_eq!(&theirs, &out);
        prop_assert_eq!(msgpack::decode(&theirs, &LIMITS), Ok(value));
    }

    /// On arbitrary bytes: what we take for msgpack, rmpv takes for the same.
    #[test]
    fn rmpv_agrees_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        // Single precision, which we widen, shows other digits.
        prop_assume!(!bytes.contains(&0xca));
        if let Ok(value) = msgpack::decode(&bytes, &LIMITS) {
            let mut rest = &bytes[..];
            let theirs = rmpv::decode::read_value(&mut rest).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(format!("{:?}", rmpv_value(&value)), format!("{theirs:?}"));
        }
    }
}
