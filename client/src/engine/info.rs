//! What a server says about itself: `get_info`, and `info` after each commit (protocol reference 7.1 and 8).

use zeo_codec::{Reply, Value};

/// What a server says about the storage. Whatever it leaves out is empty, 0 or false.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The storage's own name: of a file storage, its path on the server.
    pub name: String,
    /// Number of objects.
    pub object_count: u64,
    /// Its size in bytes.
    pub size_len: u64,
    /// Whether transactions can be undone.
    pub supports_undo: bool,
    /// Whether it can walk over its current records.
    pub supports_record_iternext: bool,
    /// The interfaces that it provides: module and name, for example `ZODB.interfaces` and `IBlobStorage`.
    pub interfaces: Vec<(String, String)>,
}

impl ServerInfo {
    /// `None` if it is no dict.
    pub(super) fn from_reply(reply: &Reply<'_>) -> Option<Self> {
        let Reply::Value(info @ Value::Dict(_)) = reply else { return None };
        let name = |name| info.get(name).and_then(text).unwrap_or_default().to_owned();
        let truth = |name| info.get(name).and_then(Value::as_int).is_some_and(|number| number != 0);
        let interfaces = info.get("interfaces").and_then(Value::as_sequence).unwrap_or_default();
        let mut found = Self {
            name: name("name"),
            supports_undo: truth("supportsUndo"),
            supports_record_iternext: truth("supports_record_iternext"),
            interfaces: interfaces.iter().filter_map(interface).collect(),
            ..Self::default()
        };
        found.change(info);
        Some(found)
    }

    /// Takes over the numbers that a commit has changed.
    pub(super) fn change(&mut self, changes: &Value<'_>) {
        let number =
            |name| changes.get(name).and_then(Value::as_int).and_then(|number| number.try_into().ok());
        self.object_count = number("length").unwrap_or(self.object_count);
        self.size_len = number("size").unwrap_or(self.size_len);
    }

    /// Whether the storage provides this interface of `ZODB.interfaces`.
    #[must_use]
    pub fn provides(&self, name: &str) -> bool {
        self.interfaces.iter().any(|(module, found)| module == "ZODB.interfaces" && found == name)
    }
}

fn interface(pair: &Value<'_>) -> Option<(String, String)> {
    let [module, name] = pair.as_sequence()? else { return None };
    Some((text(module)?.to_owned(), text(name)?.to_owned()))
}

/// Text, or the bytes that a server on Python 2 makes of it in msgpack.
fn text<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    value.as_text().or_else(|| std::str::from_utf8(value.as_bytes()?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 5.4.1 on Python 2 answers in msgpack: `str` is bytes there.
    #[test]
    fn names_may_be_bytes() {
        let bytes = |text: &'static str| Value::Bytes(text.as_bytes().into());
        let info = Reply::Value(Value::Dict(vec![
            (bytes("name"), bytes("Data.fs")),
            (bytes("length"), 7_u64.into()),
            (bytes("supportsUndo"), true.into()),
            (
                bytes("interfaces"),
                Value::List(vec![Value::List(vec![bytes("ZODB.interfaces"), bytes("IBlobStorage")])]),
            ),
        ]));
        let info = ServerInfo::from_reply(&info).unwrap();
        assert_eq!((&*info.name, info.object_count, info.supports_undo), ("Data.fs", 7, true));
        assert!(info.provides("IBlobStorage"));
    }
}
