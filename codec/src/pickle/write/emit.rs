//! What every writer can do, in opcodes.

use super::PickleWriter;
use super::composite::{BATCH_LEN, Of};
use crate::emit::{Emit, EncodeError};
use crate::pickle::op::code;
use crate::value::Value;

impl Emit for PickleWriter<'_> {
    fn none(&mut self) {
        self.out.push(code::NONE);
    }

    #[inline]
    fn bool(&mut self, bit: bool) {
        match (self.is_protocol1(), bit) {
            (true, true) => self.out.extend_from_slice(b"I01\n"),
            (true, false) => self.out.extend_from_slice(b"I00\n"),
            (false, true) => self.out.push(code::NEWTRUE),
            (false, false) => self.out.push(code::NEWFALSE),
        }
    }

    fn int(&mut self, number: i64) {
        match u8::try_from(number) {
            Ok(small) => self.out.extend_from_slice(&[code::BININT1, small]),
            Err(_) => self.wide_int(number.into()),
        }
    }

    #[inline]
    fn uint(&mut self, number: u64) {
        self.wide_int(number.into());
    }

    fn float(&mut self, number: f64) {
        self.out.push(code::BINFLOAT);
        self.out.extend_from_slice(&number.to_be_bytes());
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        if self.is_python2() { self.native(bytes) } else { self.python3_bytes(bytes) }
    }

    #[inline]
    fn eight(&mut self, bytes: &[u8; 8]) {
        let opcode = if self.is_python2() { code::SHORT_BINSTRING } else { code::SHORT_BINBYTES };
        let [a, b, c, d, e, f, g, h] = *bytes;
        self.out.extend_from_slice(&[opcode, 8, a, b, c, d, e, f, g, h]);
        self.memoize();
    }

    fn bytes_hole(&mut self, len: usize) {
        if self.is_python2() {
            self.counted(code::SHORT_BINSTRING, code::BINSTRING, len);
        } else {
            self.bytes_header(len);
        }
        self.holes.add(self.out.len(), len);
        self.memoize();
    }

    #[inline]
    fn text(&mut self, text: &str) {
        if self.is_python2() { self.native(text.as_bytes()) } else { self.unicode(text) }
    }

    #[inline]
    fn tuple(&mut self, len: usize, items: impl FnOnce(&mut Self)) {
        match (len, self.is_protocol1()) {
            (0, _) => self.out.push(code::EMPTY_TUPLE),
            (1..=3, false) => {
                items(self);
                self.out.push(match len {
                    1 => code::TUPLE1,
                    2 => code::TUPLE2,
                    _ => code::TUPLE3,
                });
            }
            _ => {
                self.out.push(code::MARK);
                items(self);
                self.out.push(code::TUPLE);
            }
        }
    }

    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, item: impl FnMut(&mut Self, T)) {
        self.out.push(code::EMPTY_LIST);
        self.memoize();
        self.batches(items, Of::Builtin, code::APPEND, code::APPENDS, item);
    }

    fn dict(&mut self, len: usize, pairs: impl FnOnce(&mut Self)) {
        debug_assert!(len <= BATCH_LEN, "longer dicts need batches");
        self.out.push(code::EMPTY_DICT);
        self.memoize();
        match len {
            0 => {}
            1 => {
                pairs(self);
                self.out.push(code::SETITEM);
            }
            _ => {
                self.out.push(code::MARK);
                pairs(self);
                self.out.push(code::SETITEMS);
                self.end_dict(len);
            }
        }
    }

    fn value(&mut self, value: &Value<'_>) -> Result<(), EncodeError> {
        match value {
            Value::None => self.none(),
            Value::Bool(bit) => self.bool(*bit),
            Value::Int(number) => self.wide_int(*number),
            Value::Long(bytes) => self.long(bytes),
            Value::Float(number) => self.float(*number),
            Value::Bytes(bytes) if self.is_protocol1() => self.native(bytes),
            Value::Bytes(bytes) => self.python3_bytes(bytes),
            Value::ByteArray(bytes) => {
                self.out.push(code::BYTEARRAY8);
                self.out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                self.out.extend_from_slice(bytes);
                self.memoize();
            }
            Value::Text(text) => self.unicode(text),
            Value::Native(bytes) => self.native(bytes),
            Value::Tuple(items) => return self.tuple_values(items),
            Value::List(items) => {
                self.out.push(code::EMPTY_LIST);
                self.memoize();
                return self.append_all(items, Of::Builtin);
            }
            Value::Dict(pairs) => {
                self.out.push(code::EMPTY_DICT);
                self.memoize();
                return self.set_all(pairs, Of::Builtin);
            }
            Value::Set(items) => {
                self.out.push(code::EMPTY_SET);
                self.memoize();
                if !items.is_empty() {
                    return self.marked(items, code::ADDITEMS);
                }
            }
            Value::FrozenSet(items) => {
                self.marked(items, code::FROZENSET)?;
                self.memoize();
            }
            Value::Global(global) => return self.global(global),
            Value::Object(object) => return self.object(object),
            Value::Persistent(reference) => {
                self.value(reference)?;
                self.out.push(code::BINPERSID);
            }
            Value::Extension(number) => match (u8::try_from(*number), u16::try_from(*number)) {
                (Ok(small), _) => self.out.extend_from_slice(&[code::EXT1, small]),
                (_, Ok(small)) => {
                    self.out.push(code::EXT2);
                    self.out.extend_from_slice(&small.to_le_bytes());
                }
                _ => {
                    self.out.push(code::EXT4);
                    self.out.extend_from_slice(&number.to_le_bytes());
                }
            },
        }
        Ok(())
    }
}
