//! A transaction's extension dictionary: pickled in the storage, a value on the wire.
//!
//! It is Python's to interpret, but `history`, `undoLog` and `iterator_next` show it. Only plain data is decoded, and
//! only plain data is stored: an object in a message would become a pickle that runs code in whatever Python
//! opens the file.

use zeo_codec::handshake::Framing;
use zeo_codec::pickle::{self, PickleFlavor, PickleWriter};
use zeo_codec::{Construction, Emit, Global, Limits, Object, Value};

/// The items of an extension dictionary.
pub(crate) type Items = Vec<(Value<'static>, Value<'static>)>;

/// Bounds on a pickled extension, of which a file storage holds up to 65,535 bytes.
const LIMITS: Limits = Limits { value_count: 100_000, ..Limits::DEFAULT };

/// Why an extension cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadExtension {
    #[error("the extension must be a dict")]
    NoDict,
    #[error("the extension holds more than plain data")]
    NotPlain,
    #[error("the extension cannot be pickled")]
    NotPickled,
    #[error("the extension cannot be decoded")]
    Undecodable,
}

/// The items of a pickled extension.
pub(crate) fn decode(pickled: &[u8]) -> Result<Items, BadExtension> {
    if pickled.is_empty() {
        return Ok(Vec::new());
    }
    let value = pickle::decode(pickled, &LIMITS).map_err(|_what| BadExtension::Undecodable)?;
    match as_python3(value.into_owned())? {
        Value::Dict(items) => Ok(without_repetitions(items)),
        _ => Err(BadExtension::NoDict),
    }
}

/// The extension as a storage keeps it: pickled, or nothing if it is empty. The bytes are those of a Python server
/// that got the message in the same framing.
pub(crate) fn encode(value: &Value<'_>, framing: Framing) -> Result<Vec<u8>, BadExtension> {
    let value = match value {
        Value::None => return Ok(Vec::new()),
        Value::Dict(items) if items.is_empty() => return Ok(Vec::new()),
        value => plain(value.clone().into_owned())?,
    };
    if !matches!(value, Value::Dict(_)) {
        return Err(BadExtension::NoDict);
    }
    let mut pickle = Vec::new();
    let mut writer = PickleWriter::with_memo(&mut pickle, PickleFlavor::Python3);
    if framing == Framing::Msgpack {
        writer = writer.sharing_keys();
    }
    writer.start();
    writer.value(&value).map_err(|_what| BadExtension::NotPickled)?;
    writer.stop();
    Ok(pickle)
}

/// The value, if it is data and nothing but data. Values are nested no deeper than [`Limits::depth`].
fn plain(value: Value<'static>) -> Result<Value<'static>, BadExtension> {
    map(value, &|value| match value {
        Value::Global(_) | Value::Persistent(_) | Value::Extension(_) => Err(BadExtension::NotPlain),
        Value::Object(object) => built_in(*object),
        other => Ok(other),
    })
}

/// What Python 3 makes of a value: strings of Python 2 become text, if they are ASCII.
fn as_python3(value: Value<'static>) -> Result<Value<'static>, BadExtension> {
    map(plain(value)?, &|value| match value {
        Value::Native(bytes) => match String::from_utf8(bytes.into_owned()) {
            Ok(text) if text.is_ascii() => Ok(text.into()),
            Ok(_) | Err(_) => Err(BadExtension::Undecodable),
        },
        other => Ok(other),
    })
}

/// The built-in types that come as calls, which are as harmless as if they did not: a dict becomes one, a set, for which
/// protocol 3 has no other form, stays a call.
fn built_in(mut object: Object<'static>) -> Result<Value<'static>, BadExtension> {
    let name = match &object.callable {
        Value::Global(Global { module, name }) if matches!(&**module, "builtins" | "__builtin__") => &**name,
        _ => return Err(BadExtension::NotPlain),
    };
    let is_bare = object.construction == Construction::Reduce
        && object.kwargs.is_none()
        && object.state.is_none()
        && object.list_items.is_empty()
        && object.dict_items.is_empty();
    let Value::Tuple(args) = plain(object.args)? else { return Err(BadExtension::NotPlain) };
    match (name, args.as_slice()) {
        ("dict", []) if is_bare => Ok(Value::Dict(Vec::new())),
        ("dict", [Value::Tuple(pairs) | Value::List(pairs)]) if is_bare => {
            let pair = |pair: &Value<'static>| match pair.as_sequence() {
                Some([key, value]) => Ok((key.clone(), value.clone())),
                _ => Err(BadExtension::NotPlain),
            };
            Ok(Value::Dict(without_repetitions(pairs.iter().map(pair).collect::<Result<_, _>>()?)))
        }
        ("set" | "frozenset", [] | [Value::Tuple(_) | Value::List(_)]) if is_bare => {
            object.args = Value::Tuple(args);
            Ok(Value::Object(Box::new(object)))
        }
        _ => Err(BadExtension::NotPlain),
    }
}

/// Applies `change` to a value and to all that it contains. What `change` is given contains changed values.
fn map(
    value: Value<'static>,
    change: &impl Fn(Value<'static>) -> Result<Value<'static>, BadExtension>,
) -> Result<Value<'static>, BadExtension> {
    let all = |items: Vec<Value<'static>>| {
        items.into_iter().map(|item| map(item, change)).collect::<Result<Vec<_>, BadExtension>>()
    };
    change(match value {
        Value::Tuple(items) => Value::Tuple(all(items)?),
        Value::List(items) => Value::List(all(items)?),
        Value::Set(items) => Value::Set(all(items)?),
        Value::FrozenSet(items) => Value::FrozenSet(all(items)?),
        Value::Dict(items) => {
            let pairs = items.into_iter().map(|(key, value)| Ok((map(key, change)?, map(value, change)?)));
            Value::Dict(pairs.collect::<Result<_, BadExtension>>()?)
        }
        other => other,
    })
}

/// A dict has each key once: in the place of its first occurrence, with the value of its last.
fn without_repetitions(items: Items) -> Items {
    let mut kept = Items::with_capacity(items.len());
    let mut places = std::collections::HashMap::new();
    for (key, value) in items {
        let place = super::python::equality_key(&key).and_then(|name| match places.entry(name) {
            std::collections::hash_map::Entry::Occupied(entry) => Some(*entry.get()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(kept.len());
                None
            }
        });
        match place.and_then(|place: usize| kept.get_mut(place)) {
            Some((_, old)) => *old = value,
            None => kept.push((key, value)),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Python 3.11: `pickle.dumps({"a": 1, "b": [b"x", None]}, 3)`.
    #[test]
    fn plain_data_is_decoded() {
        let pickled =
            b"\x80\x03}q\x00(X\x01\x00\x00\x00aq\x01K\x01X\x01\x00\x00\x00bq\x02]q\x03(C\x01xq\x04Neu.";
        let items = decode(pickled).unwrap();
        assert_eq!(
            items,
            [("a".into(), Value::Int(1)), ("b".into(), Value::List(vec![b"x"[..].into(), Value::None]))]
        );
        assert_eq!(encode(&Value::Dict(items), Framing::Pickle).unwrap(), pickled);
        assert_eq!(decode(b""), Ok(vec![]));
    }

    /// From Python 2.7: `pickle.dumps({"a": "b"}, 1)`, and the same with `"\xe4"`, which Python 3 does not read.
    #[test]
    fn strings_of_python_2_become_text_if_they_are_ascii() {
        assert_eq!(decode(b"}q\x00U\x01aq\x01U\x01bq\x02s."), Ok(vec![("a".into(), "b".into())]));
        assert_eq!(decode(b"}q\x00U\x01aq\x01U\x01\xe4q\x02s."), Err(BadExtension::Undecodable));
    }

    #[test]
    fn a_repeated_key_counts_once() {
        assert_eq!(
            decode(b"}(U\x01aK\x01U\x01bK\x02U\x01aK\x03u."),
            Ok(vec![("a".into(), Value::Int(3)), ("b".into(), Value::Int(2))])
        );
    }

    /// From Python 3.11: what ZODB's `testTransactionExtensionFromIterator` stores, and `pickle.dumps({"s": {1}}, 3)`.
    #[test]
    fn built_in_types_may_come_as_calls() {
        let called = b"\x80\x03cbuiltins\ndict\nX\x03\x00\x00\x00fooK\x01\x86\x85\x85R.";
        let value = pickle::decode(called, &Limits::DEFAULT).unwrap();
        let pickled = encode(&value, Framing::Pickle).unwrap();
        assert_eq!(decode(&pickled), Ok(vec![("foo".into(), Value::Int(1))]));
        let set = b"\x80\x03}q\x00X\x01\x00\x00\x00sq\x01cbuiltins\nset\nq\x02]q\x03K\x01a\x85q\x04Rq\x05s.";
        let value = pickle::decode(set, &Limits::DEFAULT).unwrap();
        assert_eq!(encode(&value, Framing::Pickle).unwrap(), set);
        assert!(matches!(decode(set).unwrap().as_slice(), [(_, Value::Object(_))]));
    }

    #[test]
    fn nothing_but_plain_data_goes_in_or_out() {
        let global = Value::Global(Global { module: "os".into(), name: "system".into() });
        let call = Value::Object(Box::new(Object {
            construction: Construction::Reduce,
            callable: global.clone(),
            args: Value::Tuple(vec!["true".into()]),
            kwargs: None,
            state: None,
            list_items: vec![],
            dict_items: vec![],
        }));
        for bad in [global, call] {
            for value in [bad.clone(), Value::List(vec![bad])] {
                let dict = Value::Dict(vec![("k".into(), value)]);
                assert_eq!(encode(&dict, Framing::Pickle), Err(BadExtension::NotPlain));
            }
        }
        assert_eq!(
            decode(b"\x80\x03}X\x01\x00\x00\x00kcos\nsystem\nX\x04\x00\x00\x00true\x85Rs."),
            Err(BadExtension::NotPlain)
        );
        assert_eq!(decode(b"\x80\x03]."), Err(BadExtension::NoDict));
        assert_eq!(decode(b"\x80\x03}"), Err(BadExtension::Undecodable));
    }
}
