//! Values and messages as text, for logs, sniffers and tests: one notation, that of the protocol reference
//! (appendix A).
//!
//! [`Value`], [`MsgId`], [`Flag`] and [`Envelope`] are shown through [`Display`]; what an observer saw through
//! [`Observed::show`].
//!
//! | | |
//! |---|---|
//! | bytes, an oid, a record | `h'0000000000000001'` |
//! | text | `"label \u00e9"`, as JSON |
//! | a string of Python 2 | `s2"name"`, or `s2'00ff'` if it is not printable |
//! | tuple, list, dict | `(1,)`, `[1, 2]`, `{"length": 2}` |
//! | a class, what it is called with, the state it gets | `<module.Name>(1) state {}` |
//!
//! A precision cuts strings after so many bytes and sequences after so many items, and says how much is
//! missing: `{value:.2}` shows eight zero bytes as `h'0000'+6`.

use core::fmt::{self, Display, Formatter, Write as _};

use crate::args::RawArgs;
use crate::dialect::Dialect;
use crate::envelope::{Envelope, Flag, MsgId};
use crate::handshake::Framing;
use crate::limits::Limits;
use crate::pickle::PickleFlavor;
use crate::session::Observed;
use crate::value::{Construction, Object, Value};

impl Display for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Long(bytes) => hex(f, "long", bytes),
            Self::Float(number) if number.is_finite() && number.abs() < 1e16 => write!(f, "{number:?}"),
            Self::Float(number) => write!(f, "{number:e}"),
            Self::Bytes(bytes) => hex(f, "h", bytes),
            Self::ByteArray(bytes) => hex(f, "bytearray h", bytes),
            Self::Text(text) => json(f, text),
            Self::Native(bytes) => native(f, bytes),
            Self::Tuple(items) if items.len() == 1 => sequence(f, "(", items, ",)"),
            Self::Tuple(items) => sequence(f, "(", items, ")"),
            Self::List(items) => sequence(f, "[", items, "]"),
            Self::Set(items) => sequence(f, "{", items, "}"),
            Self::FrozenSet(items) => sequence(f, "frozenset{", items, "}"),
            Self::Dict(pairs) => dict(f, pairs),
            Self::Global(global) => write!(f, "<{}.{}>", global.module, global.name),
            Self::Object(object) => show_object(f, object),
            Self::Persistent(reference) => {
                f.write_str("persistent ")?;
                reference.fmt(f)
            }
            Self::Extension(code) => write!(f, "extension {code}"),
        }
    }
}

fn show_object(f: &mut Formatter<'_>, object: &Object<'_>) -> fmt::Result {
    object.callable.fmt(f)?;
    f.write_str(match object.construction {
        Construction::Reduce => "",
        Construction::New => ".__new__",
        Construction::Instance => ".instance",
    })?;
    object.args.fmt(f)?;
    if let Some(kwargs) = &object.kwargs {
        f.write_str("**")?;
        kwargs.fmt(f)?;
    }
    if !object.list_items.is_empty() {
        sequence(f, "[", &object.list_items, "]")?;
    }
    if !object.dict_items.is_empty() {
        dict(f, &object.dict_items)?;
    }
    if let Some(state) = &object.state {
        f.write_str(" state ")?;
        state.fmt(f)?;
    }
    Ok(())
}

/// How many of `len` are to be shown, and how many are left out.
fn cut(f: &Formatter<'_>, len: usize) -> (usize, usize) {
    let shown = f.precision().unwrap_or(len).min(len);
    (shown, len - shown)
}

fn left_out(f: &mut Formatter<'_>, len: usize) -> fmt::Result {
    if len > 0 { write!(f, "+{len}") } else { Ok(()) }
}

fn hex(f: &mut Formatter<'_>, prefix: &str, bytes: &[u8]) -> fmt::Result {
    let (shown_len, rest_len) = cut(f, bytes.len());
    write!(f, "{prefix}'")?;
    for byte in bytes.iter().take(shown_len) {
        write!(f, "{byte:02x}")?;
    }
    f.write_char('\'')?;
    left_out(f, rest_len)
}

fn native(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    match core::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) => {
            f.write_str("s2")?;
            json(f, text)
        }
        _ => hex(f, "s2", bytes),
    }
}

/// As Python's `json.dumps` writes it. A precision counts UTF-16 units.
fn json(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    let (shown_len, rest_len) = match f.precision() {
        None => (usize::MAX, 0),
        Some(_) => cut(f, text.encode_utf16().count()),
    };
    f.write_char('"')?;
    for unit in text.encode_utf16().take(shown_len) {
        match unit {
            0x22 => f.write_str("\\\"")?,
            0x5c => f.write_str("\\\\")?,
            0x0a => f.write_str("\\n")?,
            0x0d => f.write_str("\\r")?,
            0x09 => f.write_str("\\t")?,
            0x08 => f.write_str("\\b")?,
            0x0c => f.write_str("\\f")?,
            _ => match u8::try_from(unit) {
                Ok(ascii @ 0x20..=0x7e) => f.write_char(char::from(ascii))?,
                Ok(_) | Err(_) => write!(f, "\\u{unit:04x}")?,
            },
        }
    }
    f.write_char('"')?;
    left_out(f, rest_len)
}

fn sequence(f: &mut Formatter<'_>, open: &str, items: &[Value<'_>], close: &str) -> fmt::Result {
    let (shown_count, rest_count) = cut(f, items.len());
    f.write_str(open)?;
    for (index, item) in items.iter().take(shown_count).enumerate() {
        f.write_str(if index > 0 { ", " } else { "" })?;
        item.fmt(f)?;
    }
    f.write_str(close)?;
    left_out(f, rest_count)
}

fn dict(f: &mut Formatter<'_>, pairs: &[(Value<'_>, Value<'_>)]) -> fmt::Result {
    let (shown_count, rest_count) = cut(f, pairs.len());
    f.write_char('{')?;
    for (index, (key, value)) in pairs.iter().take(shown_count).enumerate() {
        f.write_str(if index > 0 { ", " } else { "" })?;
        key.fmt(f)?;
        f.write_str(": ")?;
        value.fmt(f)?;
    }
    f.write_char('}')?;
    left_out(f, rest_count)
}

impl Display for MsgId<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Load(oid, tid) => write!(f, "(h'{oid}', h'{tid}')"),
            Self::Other(value) => value.fmt(f),
        }
    }
}

impl Display for Flag {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(number) => write!(f, "{number}"),
        }
    }
}

/// The arguments or result; where they are damaged, why.
impl Display for RawArgs<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.clone().into_value(&Limits::DEFAULT) {
            Ok(value) => value.fmt(f),
            Err(error) => write!(f, "<{error}>"),
        }
    }
}

/// The whole message: `(7, False, "loadBefore", (h'..', h'..'))`.
impl Display for Envelope<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('(')?;
        self.id.fmt(f)?;
        write!(f, ", {}, ", self.flag)?;
        match (self.flavor, &self.args) {
            (PickleFlavor::Python3, _) => json(f, &alloc::string::String::from_utf8_lossy(&self.name))?,
            (_, RawArgs::Msgpack { .. }) => hex(f, "h", &self.name)?,
            (_, RawArgs::Pickle { .. } | RawArgs::Value(_)) => native(f, &self.name)?,
        }
        f.write_str(", ")?;
        self.args.fmt(f)?;
        f.write_char(')')
    }
}

impl Observed {
    /// What was seen, on one line: `7: loadBefore(h'..', h'..')` and `7: loadBefore -> None`; calls without a
    /// reply have no number in front. `dialect` is the [observer's](crate::session::Observer::dialect).
    ///
    /// ```
    /// use zeo_codec::Limits;
    /// use zeo_codec::session::{Direction, Observer};
    ///
    /// let mut observer = Observer::new(Limits::DEFAULT);
    /// observer.receive(Direction::FromClient, b"\0\0\0\x02M5\0\0\0\x09\x94\x01\xc2\xa4ping\x90");
    /// let mut lines = Vec::new();
    /// while let Some(seen) = observer.poll_event(Direction::FromClient) {
    ///     lines.push(seen.show(observer.dialect()).to_string());
    /// }
    /// assert_eq!(lines, ["\"M5\"", "1: ping()"]);
    /// ```
    #[must_use]
    pub fn show<'o>(&'o self, dialect: Option<&Dialect>) -> impl Display + use<'o> {
        ShownEvent { event: self, framing: dialect.map_or(Framing::Pickle, |dialect| dialect.framing) }
    }
}

struct ShownEvent<'o> {
    event: &'o Observed,
    framing: Framing,
}

impl Display for ShownEvent<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let envelope = |payload| Envelope::parse(payload, self.framing, &Limits::DEFAULT);
        match self.event {
            Observed::Hello(greeting) => match core::str::from_utf8(greeting) {
                Ok(text) => json(f, text),
                Err(_) => hex(f, "h", greeting),
            },
            Observed::KeepAlive => f.write_str("keep-alive"),
            Observed::Undecodable { payload, error } => {
                write!(f, "<{error}> ")?;
                hex(f, "h", payload)
            }
            Observed::Lost(error) => write!(f, "<{error}>"),
            Observed::BadMac => f.write_str("<missing or wrong MAC>"),
            Observed::Skipped(len) => write!(f, "<{len} bytes before the next message>"),
            Observed::Call { payload, .. } => match envelope(payload) {
                Ok(envelope) => show_call(f, &envelope),
                Err(error) => write!(f, "<{error}>"),
            },
            Observed::Reply { payload, method, is_error } => match envelope(payload) {
                Ok(envelope) => {
                    envelope.id.fmt(f)?;
                    let name = method.map_or("?", |method| method.name());
                    write!(f, ": {name} -> {}", if *is_error { "error " } else { "" })?;
                    envelope.args.fmt(f)
                }
                Err(error) => write!(f, "<{error}>"),
            },
        }
    }
}

fn show_call(f: &mut Formatter<'_>, envelope: &Envelope<'_>) -> fmt::Result {
    if !envelope.is_one_way() {
        envelope.id.fmt(f)?;
        f.write_str(": ")?;
    }
    for c in envelope.name.utf8_chunks().flat_map(|chunk| chunk.valid().chars()) {
        // A name from a stranger must not steer a terminal.
        f.write_char(if c.is_control() { '?' } else { c })?;
    }
    match envelope.args.clone().into_value(&Limits::DEFAULT) {
        // As Python writes a call, without the comma of a tuple.
        Ok(Value::Tuple(items)) => sequence(f, "(", &items, ")"),
        Ok(other) => {
            f.write_char(' ')?;
            other.fmt(f)
        }
        Err(error) => write!(f, "<{error}>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString as _;
    use alloc::vec;

    #[test]
    fn a_precision_cuts_strings_and_sequences_and_says_how_much_is_missing() {
        let bytes = Value::from(&[0_u8; 8][..]);
        assert_eq!(format!("{bytes:.2}"), "h'0000'+6");
        assert_eq!(format!("{bytes:.8}"), "h'0000000000000000'");
        let text = Value::from("na\u{ef}ve \u{1d11e}");
        assert_eq!(text.to_string(), r#""na\u00efve \ud834\udd1e""#);
        assert_eq!(format!("{text:.3}"), r#""na\u00ef"+5"#);
        let items = Value::List(vec![Value::Int(1), text, Value::None]);
        assert_eq!(format!("{items:.2}"), r#"[1, "na"+6]+1"#);
        let pairs = Value::Dict(vec![(Value::Int(1), Value::Bool(true)), (Value::Int(2), Value::None)]);
        assert_eq!(format!("{pairs:.1}"), "{1: True}+1");
    }

    #[test]
    fn names_from_strangers_cannot_steer_a_terminal() {
        let payload = b"\x94\x01\xc3\xa7\x1b[2Jab\n\x90";
        let seen = Observed::Call { payload: payload.as_slice().into(), method: None };
        assert_eq!(seen.show(Some(&Dialect::M5)).to_string(), "?[2Jab?()");
    }
}
