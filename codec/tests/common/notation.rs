//! Reading the notation in which the protocol reference states what a message says; `zeo_codec::show` writes it.

use zeo_codec::{Construction, Flag, Global, Limits, MessageError, MsgId, Object, RawArgs, Value};

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
