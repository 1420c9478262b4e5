//! Values of a server as JSON.

use serde_json::Value as Json;
use zeo_codec::Value;

/// The same as JSON where that has it: numbers, texts, lists, and dicts with texts for keys. Bytes are taken for text, and
/// anything else is as the codec shows it.
pub(super) fn json(value: &Value<'_>) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => i64::try_from(*number).map_or_else(|_| number.to_string().into(), Json::from),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_ref().into(),
        Value::Bytes(bytes) | Value::Native(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::List(items) | Value::Tuple(items) => items.iter().map(json).collect(),
        Value::Dict(pairs) => {
            let pair = |(key, value): &(Value<'_>, Value<'_>)| {
                let name = match (key.as_text(), key.as_bytes()) {
                    (Some(text), _) => text.to_owned(),
                    (None, Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
                    (None, None) => key.to_string(),
                };
                (name, json(value))
            };
            Json::Object(pairs.iter().map(pair).collect())
        }
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_has_not_is_text() {
        let value = Value::Dict(vec![
            ("list".into(), Value::List(vec![Value::Int(1), Value::Int(1 << 80), Value::Float(f64::NAN)])),
            (Value::Int(7), Value::Bytes(b"\xffz".into())),
            // As Python 2 has names in msgpack.
            (Value::Bytes(b"name".into()), Value::None),
        ]);
        assert_eq!(
            json(&value),
            serde_json::json!({"list": [1, "1208925819614629174706176", null], "7": "\u{fffd}z", "name": null})
        );
    }
}
