//! The database records of a run: real ones, so that packing finds the references in them.

use zeo_codec::Oid;

use super::record::Value;

/// `class __main__.Item`, as the first pickle of a record names it (protocol reference 14.4).
const CLASS: &[u8] = b"\x80\x03c__main__\nItem\nq\x00.";
/// What stands before and after the eight bytes of the value in the second pickle: `{"value": bytes}`.
const STATE_HEAD: &[u8] = b"\x80\x03}q\x01X\x05\x00\x00\x00valueq\x02C\x08";
const STATE_TAIL: &[u8] = b"q\x03s.";

/// A record that holds `value`.
#[must_use]
pub fn record_of(value: Value) -> Vec<u8> {
    [CLASS, STATE_HEAD, &value.0.to_be_bytes(), STATE_TAIL].concat()
}

/// The value in a record; `None` if it is no such record.
#[must_use]
pub fn value_of(record: &[u8]) -> Option<Value> {
    let rest = record.strip_prefix(CLASS)?.strip_prefix(STATE_HEAD)?;
    let value = rest.strip_suffix(STATE_TAIL)?;
    Some(Value(u64::from_be_bytes(value.try_into().ok()?)))
}

/// A record that refers to all of `oids`: `{"items": [...]}` with persistent ids `(oid, None)`.
#[must_use]
pub fn root_of(oids: impl Iterator<Item = Oid>) -> Vec<u8> {
    let mut record = CLASS.to_vec();
    record.extend_from_slice(b"\x80\x03}q\x01X\x05\x00\x00\x00itemsq\x02](");
    for oid in oids {
        record.extend_from_slice(b"C\x08");
        record.extend_from_slice(oid.as_bytes());
        record.extend_from_slice(b"N\x86Q");
    }
    record.extend_from_slice(b"es.");
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back() {
        let value = Value(0x0102_0304_0506_0708);
        assert_eq!(value_of(&record_of(value)), Some(value));
        assert_eq!(value_of(b"something else"), None);
        assert_eq!(value_of(&root_of([Oid::ZERO].into_iter())), None);
    }
}
