//! Where the fields of a message lie in its bytes.

use std::ops::Range;

use zeo_codec::{Limits, Value, msgpack, pickle};

/// The parts of a message, by the places of their names in it.
const PARTS: [&str; 4] = ["id", "flag", "method", "argument"];

/// The byte strings and texts of a message that stand in it as they are, with what they are, in their order. (Numbers and
/// the like are a byte or a few between them.)
pub(super) fn fields(payload: &[u8]) -> Vec<(Range<usize>, String)> {
    let limits = Limits::DEFAULT;
    let value = pickle::decode(payload, &limits).or_else(|_| msgpack::decode(payload, &limits));
    let mut found = Vec::new();
    if let Ok(Value::Tuple(parts) | Value::List(parts)) = value {
        let is_reply = parts.get(2).is_some_and(|name| name.as_text() == Some(".reply"));
        for (index, part) in parts.iter().enumerate() {
            let name = PARTS.get(index).copied().unwrap_or("more");
            walk(payload, part, if is_reply && name == "argument" { "result" } else { name }, &mut found);
        }
    }
    found.sort_by_key(|(place, _)| place.start);
    found
}

fn walk(payload: &[u8], value: &Value<'_>, path: &str, found: &mut Vec<(Range<usize>, String)>) {
    let mut leaf = |bytes: &[u8]| {
        // A part of the payload lies in its memory.
        let start = (bytes.as_ptr() as usize).checked_sub(payload.as_ptr() as usize);
        if let Some(place) = start.map(|start| start..start + bytes.len())
            && place.end <= payload.len()
            && !place.is_empty()
        {
            found.push((place, path.to_owned()));
        }
    };
    match value {
        Value::Bytes(bytes) | Value::ByteArray(bytes) | Value::Native(bytes) | Value::Long(bytes) => {
            leaf(bytes)
        }
        Value::Text(text) => leaf(text.as_bytes()),
        Value::Tuple(items) | Value::List(items) | Value::Set(items) | Value::FrozenSet(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(payload, item, &format!("{path}[{index}]"), found);
            }
        }
        Value::Dict(items) => {
            for (index, (key, item)) in items.iter().enumerate() {
                walk(payload, key, &format!("{path}[{index}], its key"), found);
                let name = key.as_text().map_or_else(|| index.to_string(), |key| format!("{key:?}"));
                walk(payload, item, &format!("{path}[{name}]"), found);
            }
        }
        Value::Object(object) => {
            walk(payload, &object.callable, &format!("{path}, its class"), found);
            walk(payload, &object.args, &format!("{path}, what it is made of"), found);
        }
        Value::Global(global) => {
            leaf(global.module.as_bytes());
            leaf(global.name.as_bytes());
        }
        Value::Persistent(reference) => walk(payload, reference, path, found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(payload: &[u8]) -> Vec<String> {
        let fields = fields(payload);
        fields
            .iter()
            .map(|(place, name)| format!("{name}: {:?}", payload[place.clone()].escape_ascii().to_string()))
            .collect()
    }

    #[test]
    fn strings_are_found_where_they_are() {
        // pickle.dumps((1, False, ".reply", (b"data", {"a": "b"})), 3)
        let pickle = b"\x80\x03(K\x01\x89X\x06\x00\x00\x00.replyq\x00C\x04dataq\x01}q\x02X\x01\x00\x00\x00aq\x03X\x01\x00\x00\x00bq\x04s\x86q\x05tq\x06.";
        let expected = [
            "method: \".reply\"",
            "result[0]: \"data\"",
            "result[1][0], its key: \"a\"",
            "result[1][\"a\"]: \"b\"",
        ];
        assert_eq!(shown(pickle), expected);
        // msgpack.packb((1, False, "tpc_finish", (b"data",)))
        assert_eq!(
            shown(b"\x94\x01\xc2\xaatpc_finish\x91\xc4\x04data"),
            ["method: \"tpc_finish\"", "argument[0]: \"data\""]
        );
        assert_eq!(shown(b"no message"), [""; 0]);
    }
}
