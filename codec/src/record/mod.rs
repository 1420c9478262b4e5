//! Database records: what ZODB keeps of an object, two pickles back to back (protocol reference 14.4).
//!
//! A storage keeps records as opaque bytes, with one exception: to collect garbage it has to know which objects
//! a record refers to. [`references`] reads just that. It runs the pickle machine of `ZODB/serialize.py:referencesf`
//! (ZODB 6.4; there it is `noload` of zodbpickle 4), which knows no classes and builds no values: of each value
//! on the stack it remembers only whether it could be (or begin) a reference. So its memory is bounded by the
//! record's length, and its time is one pass over it.
//!
//! Of the forms that a persistent reference can have, an oid and a tuple that starts with an oid keep the object
//! alive. Lists are weak references, or go to another database; they do not count.
//!
//! Beyond Python's, protocols 4 and 5 are read, and oids of Python 2 records with bytes above 127.

mod machine;

use alloc::string::String;
use alloc::vec::Vec;

use crate::emit::{Emit as _, EncodeError};
use crate::error::DecodeError;
use crate::id::Oid;
use crate::limits::Limits;
use crate::pickle::{self, Lexer, Op, PickleFlavor, PickleWriter};
use crate::value::{Global, Value};

/// The two pickles of `record`: what the object is of, and its state. The second may refer to what the first has set
/// aside, for example to name the class once more (`ZODB/serialize.py:ObjectWriter._dump`, ZODB 6.4).
///
/// # Errors
/// Anything a [`DecodeError`] can say.
pub fn decode<'a>(record: &'a [u8], limits: &Limits) -> Result<[Value<'a>; 2], DecodeError> {
    pickle::decode_pair(record, limits)
}

/// A record of these two, which ZODB on Python 3 reads. Not in the bytes that it would write: nothing is set aside.
///
/// ```
/// use zeo_codec::{Global, Limits, Value, record};
///
/// let class = Value::Global(Global { module: "persistent.list".into(), name: "PersistentList".into() });
/// let state = Value::Dict(vec![("data".into(), Value::List(vec!["hello".into()]))]);
/// let bytes = record::encode(&class, &state).unwrap();
/// assert_eq!(record::decode(&bytes, &Limits::DEFAULT), Ok([class, state]));
/// ```
///
/// # Errors
/// [`EncodeError`] for a class whose name no pickle can hold.
pub fn encode(class: &Value<'_>, state: &Value<'_>) -> Result<Vec<u8>, EncodeError> {
    let mut record = Vec::new();
    let mut writer = PickleWriter::new(&mut record, PickleFlavor::Python3);
    for value in [class, state] {
        writer.start();
        writer.value(value)?;
        writer.stop();
    }
    Ok(record)
}

/// Appends the oids of all objects that `record` refers to, in the order of the references; an object may come
/// several times.
///
/// # Errors
/// What is no pickle, or a reference that is none of the known forms. The oids before it have been appended; for
/// the others see [`possible_references`].
pub fn references(record: &[u8], found: &mut Vec<Oid>) -> Result<(), DecodeError> {
    let mut machine = machine::Machine::new(record);
    // The memo of the first pickle goes on in the second.
    machine.run(found)?;
    machine.run(found)
}

/// Calls `see` with everything in `record` that could be an oid: every eight bytes in sequence, and what stands
/// for eight bytes as an escaped string of protocol 0. For a record that [`references`] cannot read: most of
/// these are no references, but nothing that the record refers to is missing unless the damage has hit just
/// there.
pub fn possible_references(record: &[u8], mut see: impl FnMut(Oid)) {
    for window in record.windows(8) {
        Oid::from_slice(window).into_iter().for_each(&mut see);
    }
    for (offset, two) in record.windows(2).enumerate() {
        if !matches!(two, [b'S', b'\'' | b'"'] | [b'V', _]) {
            continue;
        }
        let oid = match Lexer::at(record, offset).next_op() {
            Ok(Op::Native(bytes)) => Oid::from_slice(&bytes),
            Ok(Op::Text(text)) => Oid::from_slice(text.as_bytes()),
            Ok(_) | Err(_) => None,
        };
        oid.into_iter().for_each(&mut see);
    }
}

/// The class that `record` names, as `module.Class`, without importing anything; `None` if it names none in a known form
/// (`ZODB/utils.py:get_pickle_metadata`, ZODB 4.4.5 and 6.4).
///
/// ```
/// let record = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x00.\x80\x03}q\x01.";
/// assert_eq!(zeo_codec::record::class_name(record).unwrap(), "persistent.mapping.PersistentMapping");
/// ```
#[must_use]
pub fn class_name(record: &[u8]) -> Option<String> {
    let class = pickle::decode(record, &Limits::DEFAULT).ok()?;
    // A class, or a class and its arguments; a class may be a pair of names, too.
    let class = match &class {
        Value::Tuple(items) => items.first()?,
        class => class,
    };
    let (module, name) = match class {
        Value::Global(Global { module, name }) => (&**module, &**name),
        Value::Tuple(names) => match names.as_slice() {
            [module, name] => (name_text(module)?, name_text(name)?),
            _ => return None,
        },
        _ => return None,
    };
    Some(alloc::format!("{module}.{name}"))
}

fn name_text<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    match value {
        Value::Text(text) => Some(text),
        Value::Native(bytes) => core::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// Whether `record` is that of a blob: its class is `ZODB.blob.Blob` and nothing but that
/// (`ZODB/blob.py:is_blob_record`, ZODB 6.4).
#[must_use]
pub fn is_blob(record: &[u8]) -> bool {
    const MODULE: &str = "ZODB.blob";
    // Nearly all records are decided here.
    let mentions_module = record.windows(MODULE.len()).any(|window| window == MODULE.as_bytes());
    mentions_module
        && matches!(
            pickle::decode(record, &Limits::DEFAULT),
            Ok(Value::Global(Global { module, name })) if module == MODULE && name == "Blob"
        )
}
