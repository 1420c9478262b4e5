//! The database records of a run: instances of `persistent_classes.Plain`, which hold a number, and a text that follows
//! from it.

use zeo_codec::{Global, Limits, Value, record};

/// The texts are shorter than this, so that records differ in length.
const FILLER_LEN_MAX: u64 = 300;

/// The record that holds `value`.
#[must_use]
pub fn record_of(value: u64) -> Vec<u8> {
    let class = Value::Global(Global { module: "persistent_classes".into(), name: "Plain".into() });
    let state = Value::Dict(vec![("value".into(), value.into()), ("filler".into(), filler_of(value).into())]);
    // The name of the class has no line end.
    record::encode(&class, &state).unwrap_or_default()
}

/// The value in a record; `None` if it is none of a run, or damaged.
#[must_use]
pub fn value_of(record: &[u8]) -> Option<u64> {
    let [_, state] = record::decode(record, &Limits::DEFAULT).ok()?;
    let value = u64::try_from(state.get("value")?.as_int()?).ok()?;
    (state.get("filler")?.as_text()? == filler_of(value)).then_some(value)
}

fn filler_of(value: u64) -> String {
    let len = usize::try_from(value % FILLER_LEN_MAX).unwrap_or_default();
    value.to_string().chars().cycle().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_whole_or_not_at_all() {
        let record = record_of(1 << 40 | 299);
        assert_eq!(value_of(&record), Some(1 << 40 | 299));
        let mut damaged = record.clone();
        let last = damaged.len() - 5;
        damaged[last] ^= 1;
        assert_eq!(value_of(&damaged), None);
        assert_eq!(value_of(&record[..record.len() - 1]), None);
    }

    /// What `record_of(5)` of `serial_client.py` gives.
    #[test]
    fn a_record_of_python_is_read() {
        let record =
            b"\x80\x03cpersistent_classes\nPlain\nq\x00.\x80\x03}q\x00(X\x05\x00\x00\x00valueq\x01K\x05\
            X\x06\x00\x00\x00fillerq\x02X\x05\x00\x00\x0055555q\x03u.";
        assert_eq!(value_of(record), Some(5));
    }
}
