//! The notation in which the protocol reference states what a message says: writing it from a [`Value`], and
//! reading it back.

use std::borrow::Cow;
use std::fmt::Write as _;

use zeo_codec::{Construction, Envelope, Flag, Global, Limits, MessageError, MsgId, Object, RawArgs, Value};

/// Renders a value.
pub fn render(value: &Value<'_>) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

/// Renders a message, its arguments read generically.
pub fn render_envelope(
    envelope: &Envelope<'_>,
    framing: zeo_codec::handshake::Framing,
) -> Result<String, MessageError> {
    use zeo_codec::pickle::PickleFlavor;
    let mut out = String::from("(");
    match &envelope.id {
        MsgId::Int(number) => write!(out, "{number}").unwrap(),
        MsgId::Load(oid, tid) => write!(out, "(h'{oid}', h'{tid}')").unwrap(),
        MsgId::Other(value) => write(&mut out, value),
    }
    match envelope.flag {
        Flag::Bool(bit) => out.push_str(if bit { ", True, " } else { ", False, " }),
        Flag::Int(number) => write!(out, ", {number}, ").unwrap(),
    }
    let name = Cow::Borrowed(&*envelope.name);
    let name = match (envelope.flavor, framing) {
        (PickleFlavor::Python3, _) => Value::Text(String::from_utf8_lossy(&envelope.name)),
        (_, zeo_codec::handshake::Framing::Pickle) => Value::Native(name),
        (_, zeo_codec::handshake::Framing::Msgpack) => Value::Bytes(name),
    };
    write(&mut out, &name);
    out.push_str(", ");
    write(&mut out, &envelope.args.clone().into_value(&Limits::DEFAULT)?);
    out.push(')');
    Ok(out)
}

fn write(out: &mut String, value: &Value<'_>) {
    match value {
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(number) => write!(out, "{number}").unwrap(),
        Value::Long(bytes) => {
            out.push_str("long");
            write_hex(out, bytes);
        }
        Value::Float(number) if number.is_finite() && number.abs() < 1e16 => {
            write!(out, "{number:?}").unwrap()
        }
        Value::Float(number) => write!(out, "{number:e}").unwrap(),
        Value::Bytes(bytes) => {
            out.push('h');
            write_hex(out, bytes);
        }
        Value::ByteArray(bytes) => {
            out.push_str("bytearray h");
            write_hex(out, bytes);
        }
        Value::Text(text) => write_text(out, text),
        Value::Native(bytes) => {
            out.push_str("s2");
            match std::str::from_utf8(bytes) {
                Ok(text) if !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                    write_text(out, text);
                }
                _ => write_hex(out, bytes),
            }
        }
        Value::Tuple(items) => {
            write_items(out, '(', items, "");
            if items.len() == 1 {
                out.push(',');
            }
            out.push(')');
        }
        Value::List(items) => write_items(out, '[', items, "]"),
        Value::Set(items) => write_items(out, '{', items, "}"),
        Value::FrozenSet(items) => {
            out.push_str("frozenset");
            write_items(out, '{', items, "}");
        }
        Value::Dict(pairs) => write_pairs(out, pairs),
        Value::Global(global) => write!(out, "<{}.{}>", global.module, global.name).unwrap(),
        Value::Object(object) => write_object(out, object),
        Value::Persistent(reference) => {
            out.push_str("persistent ");
            write(out, reference);
        }
        Value::Extension(code) => write!(out, "extension {code}").unwrap(),
        other => panic!("no notation for {other:?}"),
    }
}

fn write_object(out: &mut String, object: &Object<'_>) {
    write(out, &object.callable);
    match object.construction {
        Construction::Reduce => {}
        Construction::New => out.push_str(".__new__"),
        Construction::Instance => out.push_str(".instance"),
    }
    write(out, &object.args);
    if let Some(kwargs) = &object.kwargs {
        out.push_str("**");
        write(out, kwargs);
    }
    if !object.list_items.is_empty() {
        write_items(out, '[', &object.list_items, "]");
    }
    if !object.dict_items.is_empty() {
        write_pairs(out, &object.dict_items);
    }
    if let Some(state) = &object.state {
        out.push_str(" state ");
        write(out, state);
    }
}

fn write_items(out: &mut String, open: char, items: &[Value<'_>], close: &str) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
    out.push_str(close);
}

fn write_pairs(out: &mut String, pairs: &[(Value<'_>, Value<'_>)]) {
    out.push('{');
    for (index, (key, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(out, key);
        out.push_str(": ");
        write(out, value);
    }
    out.push('}');
}

fn write_hex(out: &mut String, bytes: &[u8]) {
    out.push('\'');
    for byte in bytes {
        write!(out, "{byte:02x}").unwrap();
    }
    out.push('\'');
}

/// As Python's `json.dumps` writes it.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for unit in text.encode_utf16() {
        match unit {
            0x22 => out.push_str("\\\""),
            0x5c => out.push_str("\\\\"),
            0x0a => out.push_str("\\n"),
            0x0d => out.push_str("\\r"),
            0x09 => out.push_str("\\t"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            0x20..=0x7e => out.push(char::from(u8::try_from(unit).unwrap())),
            _ => write!(out, "\\u{unit:04x}").unwrap(),
        }
    }
    out.push('"');
}

/// Reads the notation; `None` if `text` is not a whole value in it. Knows what the worked examples use.
pub fn read(text: &str) -> Option<Value<'static>> {
    let mut reader = Reader { rest: text };
    let value = reader.value()?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<Value<'static>> {
        for (token, value) in
            [("None", Value::None), ("True", Value::Bool(true)), ("False", Value::Bool(false))]
        {
            if self.eat(token) {
                return Some(value);
            }
        }
        if self.eat("h'") {
            return self.hex().map(|bytes| Value::Bytes(bytes.into()));
        }
        if self.eat("s2'") {
            return self.hex().map(|bytes| Value::Native(bytes.into()));
        }
        if self.eat("s2\"") {
            return self.text().map(|text| Value::Native(text.into_bytes().into()));
        }
        if self.eat("\"") {
            return self.text().map(Value::from);
        }
        if self.eat("(") {
            return self.items(")").map(Value::Tuple);
        }
        if self.eat("[") {
            return self.items("]").map(Value::List);
        }
        if self.eat("{") {
            return self.pairs().map(Value::Dict);
        }
        if self.eat("<") {
            return self.global();
        }
        let len = self.rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '.')).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(len);
        self.rest = rest;
        if number.contains('.') {
            number.parse().ok().map(Value::Float)
        } else {
            number.parse().ok().map(Value::Int)
        }
    }

    fn hex(&mut self) -> Option<Vec<u8>> {
        let (digits, rest) = self.rest.split_once('\'')?;
        self.rest = rest;
        Some(super::fixture::unhex(digits))
    }

    fn text(&mut self) -> Option<String> {
        let mut units = Vec::new();
        loop {
            let mut chars = self.rest.chars();
            let unit = match chars.next()? {
                '"' => {
                    self.rest = chars.as_str();
                    return String::from_utf16(&units).ok();
                }
                '\\' => match chars.next()? {
                    'n' => 0x0a,
                    'u' => {
                        let digits: String = chars.by_ref().take(4).collect();
                        u16::from_str_radix(&digits, 16).ok()?
                    }
                    other => u16::try_from(u32::from(other)).ok()?,
                },
                other => u16::try_from(u32::from(other)).ok()?,
            };
            units.push(unit);
            self.rest = chars.as_str();
        }
    }

    fn items(&mut self, close: &str) -> Option<Vec<Value<'static>>> {
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.value()?);
            let _ = self.eat(", ") || self.eat(",");
        }
        Some(items)
    }

    fn pairs(&mut self) -> Option<Vec<(Value<'static>, Value<'static>)>> {
        let mut pairs = Vec::new();
        while !self.eat("}") {
            let key = self.value()?;
            if !self.eat(": ") {
                return None;
            }
            pairs.push((key, self.value()?));
            let _ = self.eat(", ");
        }
        Some(pairs)
    }

    fn global(&mut self) -> Option<Value<'static>> {
        let (name, rest) = self.rest.split_once('>')?;
        self.rest = rest;
        let (module, name) = name.rsplit_once('.')?;
        let callable =
            Value::Global(Global { module: module.to_owned().into(), name: name.to_owned().into() });
        if !self.rest.starts_with('(') {
            return Some(callable);
        }
        let args = self.value()?;
        Some(Value::Object(Box::new(Object {
            construction: Construction::Reduce,
            callable,
            args,
            kwargs: None,
            state: None,
            list_items: vec![],
            dict_items: vec![],
        })))
    }
}

/// The message that a meaning states.
pub fn read_envelope(meaning: &str) -> Option<(MsgId<'static>, Flag, Value<'static>, Value<'static>)> {
    let Value::Tuple(items) = read(meaning)? else { return None };
    let [id, flag, name, args] = <[Value<'static>; 4]>::try_from(items).ok()?;
    let flag = match flag {
        Value::Bool(bit) => Flag::Bool(bit),
        Value::Int(number) => Flag::Int(i64::try_from(number).ok()?),
        _ => return None,
    };
    Some((id.into(), flag, name, args))
}

/// The arguments as a tree, whatever they were read from.
pub fn generic<'a>(args: &RawArgs<'a>) -> Result<RawArgs<'a>, MessageError> {
    Ok(RawArgs::Value(args.clone().into_value(&Limits::DEFAULT)?))
}
