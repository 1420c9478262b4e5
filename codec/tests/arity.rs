//! A wrong number of arguments is named before the type of any of them, as Python does: it has not looked at the
//! arguments when a call fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use zeo_codec::{
    Call, Dialect, Envelope, Expected, Flag, Limits, MessageError, Method, MsgId, RawArgs, ShapeError, Value,
    write_message,
};

/// Fewest and most arguments: `inspect.signature` of the methods in `StorageServer.py:registered_methods`,
/// ZEO 6.2, and of the storage's methods that it passes on (FileStorage, ZODB 6.4). Clients of ZEO 5.0 to 5.3 may
/// send a third argument of `register`.
const METHODS: [(&str, usize, usize); 41] = [
    ("checkCurrentSerialInTransaction", 3, 3),
    ("deleteObject", 3, 3),
    ("getInvalidations", 1, 1),
    ("getTid", 1, 1),
    ("get_info", 0, 0),
    ("history", 1, 2),
    ("iterator_gc", 1, 1),
    ("iterator_next", 1, 1),
    ("iterator_record_next", 1, 1),
    ("iterator_record_start", 2, 2),
    ("iterator_start", 2, 2),
    ("lastTransaction", 0, 0),
    ("loadBefore", 2, 2),
    ("loadSerial", 2, 2),
    ("new_oid", 0, 0),
    ("new_oids", 0, 1),
    ("pack", 1, 2),
    ("ping", 0, 0),
    ("record_iternext", 0, 1),
    ("register", 2, 3),
    ("restorea", 5, 5),
    ("sendBlob", 2, 2),
    ("server_status", 0, 0),
    ("set_client_label", 1, 1),
    ("storeBlobChunk", 1, 1),
    ("storeBlobEnd", 4, 4),
    ("storeBlobShared", 5, 5),
    ("storeBlobStart", 0, 0),
    ("storea", 4, 4),
    ("tpc_abort", 1, 1),
    ("tpc_begin", 4, 6),
    ("tpc_finish", 1, 1),
    ("undoInfo", 3, 3),
    ("undoLog", 2, 2),
    ("undoa", 2, 2),
    ("vote", 1, 1),
    // Server to client: `ClientStorage.py` and `asyncio/client.py`, ZEO 6.2.
    ("invalidateTransaction", 2, 2),
    ("info", 1, 1),
    ("receiveBlobStart", 2, 2),
    ("receiveBlobChunk", 3, 3),
    ("receiveBlobStop", 2, 2),
];

#[test]
fn the_number_of_arguments_comes_before_their_types() {
    for (name, min, max) in METHODS {
        let method = Method::from_name(name.as_bytes()).unwrap();
        for count in 0..8 {
            let expected = if count < min {
                ShapeError { index: count, expected: Expected::More }
            } else if count > max {
                ShapeError { index: max, expected: Expected::End }
            } else {
                continue;
            };
            // No method takes this first, so every one of them is of the wrong type.
            let args = Value::Tuple(vec![Value::Dict(vec![(Value::None, Value::None)]); count]);
            for dialect in [Dialect::Z5, Dialect::M5] {
                let mut out = Vec::new();
                write_message(&mut out, &dialect, &MsgId::Int(1), Flag::Bool(false), name, &args).unwrap();
                let envelope = Envelope::parse(&out[4..], dialect.framing, &Limits::DEFAULT).unwrap();
                let call = Call::parse(method, envelope.args, &Limits::DEFAULT);
                assert_eq!(call, Err(MessageError::Shape(expected)), "{name} with {count}, {dialect:?}");
            }
            let call = Call::parse(method, RawArgs::Value(args), &Limits::DEFAULT);
            assert_eq!(call, Err(MessageError::Shape(expected)), "{name} with {count}");
        }
    }
}

/// A pickle read directly meets a wrong type first; the number still is what is told.
#[test]
fn also_behind_arguments_of_the_right_type() {
    let args = Value::Tuple(vec![Value::Bytes((&[0; 8]).into()), Value::from("seven"), Value::None]);
    for dialect in [Dialect::Z5, Dialect::M5] {
        let mut out = Vec::new();
        write_message(&mut out, &dialect, &MsgId::Int(1), Flag::Bool(false), "loadBefore", &args).unwrap();
        let envelope = Envelope::parse(&out[4..], dialect.framing, &Limits::DEFAULT).unwrap();
        let error = Call::parse(Method::LoadBefore, envelope.args, &Limits::DEFAULT).unwrap_err();
        assert_eq!(error.to_string(), "takes 2 values but more were given");
    }
}
