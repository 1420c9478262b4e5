//! How Python's server calls things in the texts of its errors, and what it holds to be equal.

use std::collections::BTreeMap;

use zeo_codec::Value;

/// The name of the type of a value.
pub(crate) fn type_name(value: &Value<'_>) -> String {
    let name = match value {
        Value::None => "NoneType",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Long(_) => "int",
        Value::Float(_) => "float",
        Value::Bytes(_) => "bytes",
        Value::ByteArray(_) => "bytearray",
        Value::Text(_) | Value::Native(_) => "str",
        Value::Tuple(_) => "tuple",
        Value::List(_) => "list",
        Value::Dict(_) => "dict",
        Value::Set(_) => "set",
        Value::FrozenSet(_) => "frozenset",
        Value::Global(_) => "type",
        Value::Object(object) => match &object.callable {
            Value::Global(class) => return class.name.clone().into_owned(),
            _ => "object",
        },
        _ => "object",
    };
    name.to_owned()
}

/// `repr` of bytes.
pub(crate) fn bytes_repr(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut repr = String::from("b");
    repr.push(quote);
    for byte in bytes {
        match char::from(*byte) {
            '\t' => repr.push_str("\\t"),
            '\n' => repr.push_str("\\n"),
            '\r' => repr.push_str("\\r"),
            character if character == quote || character == '\\' => {
                repr.push('\\');
                repr.push(character);
            }
            character @ ' '..='~' => repr.push(character),
            _ => repr.push_str(&format!("\\x{byte:02x}")),
        }
    }
    repr.push(quote);
    repr
}

/// Whether a value is false in a condition.
pub(crate) fn is_false(value: &Value<'_>) -> bool {
    match value {
        Value::None | Value::Bool(false) | Value::Int(0) => true,
        Value::Float(number) => *number == 0.0,
        Value::Bytes(bytes) | Value::Native(bytes) | Value::ByteArray(bytes) => bytes.is_empty(),
        Value::Text(text) => text.is_empty(),
        Value::Tuple(items) | Value::List(items) | Value::Set(items) | Value::FrozenSet(items) => {
            items.is_empty()
        }
        Value::Dict(items) => items.is_empty(),
        _ => false,
    }
}

/// Bytes that are the same for two values if and only if Python's `==` holds them to be equal: numbers across their
/// types, dicts and sets in any order. `None` for what equals nothing, like NaN and objects of unknown classes.
pub(crate) fn equality_key(value: &Value<'_>) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    append_key(value, &mut key)?;
    Some(key)
}

fn append_key(value: &Value<'_>, key: &mut Vec<u8>) -> Option<()> {
    match value {
        Value::None => key.push(b'n'),
        Value::Bool(bit) => append_int(i128::from(*bit), key),
        Value::Int(number) => append_int(*number, key),
        Value::Float(number) => return append_float(*number, key),
        Value::Long(bytes) => append(b'l', bytes, key),
        Value::Bytes(bytes) | Value::ByteArray(bytes) => append(b'b', bytes, key),
        Value::Text(text) => append(b't', text.as_bytes(), key),
        // Python 3 reads strings of Python 2 as text.
        Value::Native(bytes) => append(b't', bytes, key),
        Value::Tuple(items) => return append_items(b'(', items, key),
        Value::List(items) => return append_items(b'[', items, key),
        Value::Dict(items) => {
            let mut entries = BTreeMap::new();
            for (name, value) in items {
                entries.insert(equality_key(name)?, equality_key(value)?);
            }
            append_count(b'{', entries.len(), key);
            for (name, value) in entries {
                key.extend_from_slice(&name);
                key.extend_from_slice(&value);
            }
        }
        Value::Set(items) | Value::FrozenSet(items) => {
            let mut keys = items.iter().map(equality_key).collect::<Option<Vec<_>>>()?;
            keys.sort_unstable();
            keys.dedup();
            append_count(b's', keys.len(), key);
            key.extend(keys.into_iter().flatten());
        }
        Value::Global(class) => {
            append(b'g', class.module.as_bytes(), key);
            append(b'.', class.name.as_bytes(), key);
        }
        _ => return None,
    }
    Some(())
}

fn append_count(kind: u8, count: usize, key: &mut Vec<u8>) {
    key.push(kind);
    key.extend_from_slice(&(count as u64).to_be_bytes());
}

fn append(kind: u8, bytes: &[u8], key: &mut Vec<u8>) {
    append_count(kind, bytes.len(), key);
    key.extend_from_slice(bytes);
}

fn append_items(kind: u8, items: &[Value<'_>], key: &mut Vec<u8>) -> Option<()> {
    append_count(kind, items.len(), key);
    items.iter().try_for_each(|item| append_key(item, key))
}

fn append_int(number: i128, key: &mut Vec<u8>) {
    key.push(b'i');
    key.extend_from_slice(&number.to_be_bytes());
}

fn append_float(number: f64, key: &mut Vec<u8>) -> Option<()> {
    if number.is_nan() {
        return None;
    }
    // Powers of two, so that the comparisons are exact.
    const INT_BOUND: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
    if number.fract() == 0.0 && number.abs() < INT_BOUND {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and within the bounds of i128")]
        append_int(number as i128, key);
    } else {
        key.push(b'f');
        key.extend_from_slice(&number.to_be_bytes());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Python 3.11.
    #[test]
    fn bytes_look_as_in_python() {
        for (bytes, repr) in [
            (&b"\x04\r$\x00\x00\x00\x00\x02"[..], r"b'\x04\r$\x00\x00\x00\x00\x02'"),
            (b"it's", r#"b"it's""#),
            (b"\"'\\", r#"b'"\'\\'"#),
            (b"\t\n\x7f\xff~ ", r"b'\t\n\x7f\xff~ '"),
        ] {
            assert_eq!(bytes_repr(bytes), repr);
        }
    }

    #[test]
    fn equality_is_pythons() {
        let text = |text: &'static str| Value::from(text);
        let dict = |items: &[(&'static str, i64)]| {
            Value::Dict(items.iter().map(|(key, value)| (Value::from(*key), (*value).into())).collect())
        };
        let equal = [
            (Value::Int(1), Value::Bool(true)),
            (Value::Int(1), Value::Float(1.0)),
            (Value::Float(0.0), Value::Float(-0.0)),
            (dict(&[("a", 1), ("b", 2)]), dict(&[("b", 2), ("a", 1)])),
            (dict(&[("a", 1)]), dict(&[("a", 3), ("a", 1)])),
            (Value::Bytes(b"x"[..].into()), Value::ByteArray(b"x"[..].into())),
            (Value::Native(b"x"[..].into()), text("x")),
        ];
        for (one, other) in equal {
            assert!(equality_key(&one).is_some());
            assert_eq!(equality_key(&one), equality_key(&other), "{one:?} {other:?}");
        }
        let unequal = [
            (Value::Int(1), text("1")),
            (Value::Int(1), Value::Float(1.5)),
            (Value::Bytes(b"x"[..].into()), text("x")),
            (Value::List(vec![Value::Int(1)]), Value::Tuple(vec![Value::Int(1)])),
            (Value::None, Value::Bool(false)),
            (Value::List(vec![text("ab"), text("c")]), Value::List(vec![text("a"), text("bc")])),
            (dict(&[("a", 1)]), dict(&[("a", 1), ("b", 2)])),
        ];
        for (one, other) in unequal {
            assert_ne!(equality_key(&one), equality_key(&other), "{one:?} {other:?}");
        }
        assert_eq!(equality_key(&Value::Float(f64::NAN)), None);
    }
}
