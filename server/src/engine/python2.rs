//! What clients on Python 2 are told in other types: their strings are bytes and text in one (protocol reference 4.1).
//!
//! Text of ASCII becomes such a string, which their Python takes for both. Other text stays text (`unicode` there).

use std::borrow::Cow;

use zeo_codec::call::TransactionInfo;
use zeo_codec::pickle::PickleFlavor;
use zeo_codec::{Dialect, Reply, Value};

/// Whether the client runs Python 2.
pub(super) fn is_python2(dialect: &Dialect) -> bool {
    match dialect.pickle {
        PickleFlavor::Python3 => false,
        PickleFlavor::Python2Protocol1 | PickleFlavor::Python2Protocol3 => true,
    }
}

/// The reply in the types of the client's Python.
pub(super) fn reply<'a>(reply: Reply<'a>, dialect: &Dialect) -> Reply<'a> {
    if !is_python2(dialect) {
        return reply;
    }
    match reply {
        Reply::Value(value) => Reply::Value(native(value)),
        Reply::Transaction(info) => {
            Reply::Transaction(TransactionInfo { extension: native(info.extension), ..info })
        }
        // Bytes, numbers, and text that the writer knows.
        other => other,
    }
}

/// The value in the types of the client's Python.
pub(super) fn value<'a>(value: Value<'a>, dialect: &Dialect) -> Value<'a> {
    if is_python2(dialect) { native(value) } else { value }
}

/// The value in these types.
pub(super) fn native(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Text(Cow::Borrowed(text)) if text.is_ascii() => Value::Native(Cow::Borrowed(text.as_bytes())),
        Value::Text(Cow::Owned(text)) if text.is_ascii() => Value::Native(Cow::Owned(text.into_bytes())),
        Value::Bytes(bytes) => Value::Native(bytes),
        Value::Tuple(items) => Value::Tuple(items.into_iter().map(native).collect()),
        Value::List(items) => Value::List(items.into_iter().map(native).collect()),
        Value::Dict(pairs) => {
            Value::Dict(pairs.into_iter().map(|(key, value)| (native(key), native(value))).collect())
        }
        Value::Object(mut object) => {
            object.args = native(object.args);
            object.state = object.state.map(native);
            Value::Object(object)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_is_both_and_other_text_stays_text() {
        let value =
            Value::Dict(vec![("a".into(), Value::Tuple(vec!["b".into(), "\u{e9}".into(), 1_i64.into()]))]);
        assert_eq!(native(value.clone()).to_string(), "{s2\"a\": (s2\"b\", \"\\u00e9\", 1)}");
        let python3 = reply(Reply::Value(value.clone()), &Dialect::M5);
        assert_eq!(python3, Reply::Value(value));
    }
}
