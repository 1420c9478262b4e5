//! Writes pickles in the bytes of the picklers that ZEO peers use (protocol reference 4.1, appendix B).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::op::code;
use crate::emit::{Emit, EncodeError};
use crate::share::{Sharing, put};
use crate::value::{Construction, Global, Object, Value};

/// Which pickler's bytes to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PickleFlavor {
    /// Protocol 3: ZEO 4 to 6 on Python 3.
    #[default]
    Python3,
    /// Protocol 1: ZEO 4, 5.0 and 5.1 on Python 2. Text and bytes are Python 2 strings.
    Python2Protocol1,
    /// zodbpickle's protocol 3: ZEO 5.2 to 5.4 on Python 2. Text and bytes are Python 2 strings.
    Python2Protocol3,
}

/// Items in one `APPENDS` or `SETITEMS` (CPython `_pickle.c`, `BATCHSIZE`).
const BATCH_LEN: usize = 1000;

/// Whose items are written: CPython has a loop of its own for plain lists and dicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Builtin,
    Subclass,
}

/// Writes values to the end of a buffer.
#[derive(Debug)]
pub struct PickleWriter<'o> {
    out: &'o mut Vec<u8>,
    flavor: PickleFlavor,
    memo: Option<Memo>,
    sharing: Option<Sharing<'o>>,
}

/// The memo of a pickler that is not in fast mode.
#[derive(Debug, Default)]
struct Memo {
    count: u32,
    /// CPython keeps one object for each of these, so a second occurrence is the same object.
    shared: BTreeMap<(bool, Option<u8>), u32>,
    /// Keys written so far, if equal keys are one object.
    keys: Option<BTreeMap<Vec<u8>, u32>>,
}

impl<'o> PickleWriter<'o> {
    /// A pickler in fast mode, without a memo: this is how messages are written.
    #[must_use]
    pub const fn new(out: &'o mut Vec<u8>, flavor: PickleFlavor) -> Self {
        Self::with_sharing(out, flavor, None)
    }

    pub(crate) const fn with_sharing(
        out: &'o mut Vec<u8>,
        flavor: PickleFlavor,
        sharing: Option<Sharing<'o>>,
    ) -> Self {
        Self { out, flavor, memo: None, sharing }
    }

    /// A pickler with a memo, as `pickle.dumps` writes: transaction extensions in a `Data.fs`.
    #[must_use]
    pub fn with_memo(out: &'o mut Vec<u8>, flavor: PickleFlavor) -> Self {
        Self { out, flavor, memo: Some(Memo::default()), sharing: None }
    }

    /// Writes equal text keys of dicts as one object. That is what they are in a value that Python read from
    /// msgpack, whose reader interns them, but not in one from a pickle. (Whether a key of one character is also
    /// the same object as an equal value depends on what that Python process has interned before: names of
    /// one letter, we take it, as any process with ZODB in it has.)
    #[must_use]
    pub fn sharing_keys(mut self) -> Self {
        if let Some(memo) = &mut self.memo {
            memo.keys = Some(BTreeMap::new());
        }
        self
    }

    fn key(&mut self, key: &Value<'_>) -> Result<(), EncodeError> {
        if let (Value::Text(text), Some(Memo { count, keys: Some(keys), .. })) = (key, &mut self.memo)
            && is_interned_apart(text)
        {
            if let Some(index) = keys.get(text.as_bytes()).copied() {
                self.reference(index);
                return Ok(());
            }
            keys.insert(text.as_bytes().to_vec(), *count);
            self.new_unicode(text);
            return Ok(());
        }
        self.value(key)
    }

    fn reference(&mut self, index: u32) {
        match u8::try_from(index) {
            Ok(index) => self.out.extend_from_slice(&[code::BINGET, index]),
            Err(_) => {
                self.out.push(code::LONG_BINGET);
                self.out.extend_from_slice(&index.to_le_bytes());
            }
        }
    }

    /// The bytes before the value of a whole pickle.
    pub fn start(&mut self) {
        match self.flavor {
            PickleFlavor::Python2Protocol1 => {}
            PickleFlavor::Python3 | PickleFlavor::Python2Protocol3 => {
                self.out.extend_from_slice(&[code::PROTO, 3]);
            }
        }
    }

    /// The byte behind the value of a whole pickle.
    pub fn stop(&mut self) {
        self.out.push(code::STOP);
    }

    const fn is_python2(&self) -> bool {
        !matches!(self.flavor, PickleFlavor::Python3)
    }

    const fn is_protocol1(&self) -> bool {
        matches!(self.flavor, PickleFlavor::Python2Protocol1)
    }

    #[inline]
    fn memoize(&mut self) {
        if self.memo.is_some() {
            self.put();
        }
    }

    #[cold]
    fn put(&mut self) {
        let Some(memo) = &mut self.memo else { return };
        match u8::try_from(memo.count) {
            Ok(index) => self.out.extend_from_slice(&[code::BINPUT, index]),
            Err(_) => {
                self.out.push(code::LONG_BINPUT);
                self.out.extend_from_slice(&memo.count.to_le_bytes());
            }
        }
        memo.count += 1;
    }

    /// Writes a reference if CPython would hold the string as one shared object that was written before:
    /// strings of at most one character below 256.
    #[inline]
    fn reuse(&mut self, is_text: bool, content: &[u8]) -> bool {
        self.memo.is_some() && self.get(is_text, content)
    }

    #[cold]
    fn get(&mut self, is_text: bool, content: &[u8]) -> bool {
        let Some(memo) = &mut self.memo else { return false };
        let key = match (is_text, content) {
            (_, []) => (is_text, None),
            (false, [byte]) => (is_text, Some(*byte)),
            (true, utf8) => match core::str::from_utf8(utf8).ok().and_then(single_latin1) {
                Some(byte) => (is_text, Some(byte)),
                None => return false,
            },
            (false, _) => return false,
        };
        match memo.shared.get(&key).copied() {
            Some(index) => {
                self.reference(index);
                true
            }
            None => {
                memo.shared.insert(key, memo.count);
                false
            }
        }
    }

    /// A string with a one-byte length, or one with four bytes.
    #[inline]
    fn counted(&mut self, short: u8, long: u8, len: usize) {
        match (u8::try_from(len), u32::try_from(len)) {
            (Ok(len), _) => self.out.extend_from_slice(&[short, len]),
            (_, Ok(len)) => {
                self.out.push(long);
                self.out.extend_from_slice(&len.to_le_bytes());
            }
            (_, Err(_)) => {
                // Beyond 4 GiB, which no frame can hold: written so that the pickle stays well formed.
                self.out.push(code::BINBYTES8);
                self.out.extend_from_slice(&(len as u64).to_le_bytes());
            }
        }
    }

    #[inline]
    fn bytes_header(&mut self, len: usize) {
        self.counted(code::SHORT_BINBYTES, code::BINBYTES, len);
    }

    #[inline]
    fn native(&mut self, bytes: &[u8]) {
        self.counted(code::SHORT_BINSTRING, code::BINSTRING, bytes.len());
        put(self.out, &mut self.sharing, bytes);
        self.memoize();
    }

    #[inline]
    fn python3_bytes(&mut self, bytes: &[u8]) {
        if !self.reuse(false, bytes) {
            self.bytes_header(bytes.len());
            put(self.out, &mut self.sharing, bytes);
            self.memoize();
        }
    }

    #[inline]
    fn unicode(&mut self, text: &str) {
        if !self.reuse(true, text.as_bytes()) {
            self.new_unicode(text);
        }
    }

    #[inline]
    fn new_unicode(&mut self, text: &str) {
        match u32::try_from(text.len()) {
            Ok(len) => {
                self.out.push(code::BINUNICODE);
                self.out.extend_from_slice(&len.to_le_bytes());
            }
            Err(_) => {
                self.out.push(code::BINUNICODE8);
                self.out.extend_from_slice(&(text.len() as u64).to_le_bytes());
            }
        }
        self.out.extend_from_slice(text.as_bytes());
        self.memoize();
    }

    #[inline]
    fn wide_int(&mut self, number: i128) {
        if let Ok(small) = u8::try_from(number) {
            self.out.extend_from_slice(&[code::BININT1, small]);
        } else if let Ok(small) = u16::try_from(number) {
            self.out.push(code::BININT2);
            self.out.extend_from_slice(&small.to_le_bytes());
        } else if let Ok(small) = i32::try_from(number) {
            self.out.push(code::BININT);
            self.out.extend_from_slice(&small.to_le_bytes());
        } else if self.is_python2() && i64::try_from(number).is_ok() {
            self.decimal(code::INT, number, b"\n");
        } else if self.is_protocol1() {
            self.decimal(code::LONG, number, b"L\n");
        } else {
            self.long(shortest(&number.to_le_bytes()));
        }
    }

    fn decimal(&mut self, opcode: u8, number: i128, end: &[u8]) {
        self.out.push(opcode);
        self.out.extend_from_slice(alloc::format!("{number}").as_bytes());
        self.out.extend_from_slice(end);
    }

    /// Little-endian two's complement of any length.
    fn long(&mut self, bytes: &[u8]) {
        match (u8::try_from(bytes.len()), u32::try_from(bytes.len())) {
            (Ok(len), _) => self.out.extend_from_slice(&[code::LONG1, len]),
            (_, len) => {
                self.out.push(code::LONG4);
                self.out.extend_from_slice(&len.unwrap_or(u32::MAX).to_le_bytes());
            }
        }
        self.out.extend_from_slice(bytes);
    }

    fn global(&mut self, global: &Global<'_>) -> Result<(), EncodeError> {
        if global.module.contains('\n') || global.name.contains('\n') {
            return Err(EncodeError);
        }
        self.out.push(code::GLOBAL);
        for name in [&global.module, &global.name] {
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b'\n');
        }
        self.memoize();
        Ok(())
    }

    fn object(&mut self, object: &Object<'_>) -> Result<(), EncodeError> {
        match object.construction {
            Construction::Instance => {
                self.out.push(code::MARK);
                self.value(&object.callable)?;
                for arg in object.args.as_sequence().ok_or(EncodeError)? {
                    self.value(arg)?;
                }
                self.out.push(code::OBJ);
            }
            Construction::Reduce | Construction::New => {
                self.value(&object.callable)?;
                self.value(&object.args)?;
                if let Some(kwargs) = &object.kwargs {
                    self.value(kwargs)?;
                    self.out.push(code::NEWOBJ_EX);
                } else if object.construction == Construction::New {
                    self.out.push(code::NEWOBJ);
                } else {
                    self.out.push(code::REDUCE);
                }
            }
        }
        self.memoize();
        self.append_all(&object.list_items, Of::Subclass)?;
        self.set_all(&object.dict_items, Of::Subclass)?;
        if let Some(state) = &object.state {
            self.value(state)?;
            self.out.push(code::BUILD);
        }
        Ok(())
    }

    fn append_all(&mut self, items: &[Value<'_>], of: Of) -> Result<(), EncodeError> {
        let mut result = Ok(());
        self.batches(items.iter(), of, code::APPEND, code::APPENDS, |writer, item| {
            result = result.and_then(|()| writer.value(item));
        });
        result
    }

    fn set_all(&mut self, pairs: &[(Value<'_>, Value<'_>)], of: Of) -> Result<(), EncodeError> {
        let mut result = Ok(());
        self.batches(pairs.iter(), of, code::SETITEM, code::SETITEMS, |writer, (key, value)| {
            result = result.and_then(|()| writer.key(key)).and_then(|()| writer.value(value));
        });
        if of == Of::Builtin {
            self.end_dict(pairs.len());
        }
        result
    }

    /// CPython's `batch_dict_exact` looks for more whenever a batch was full: a dict of a multiple of 1,000
    /// items ends in an empty batch. `batch_list_exact` does not.
    fn end_dict(&mut self, len: usize) {
        if len > 0 && len.is_multiple_of(BATCH_LEN) {
            self.out.extend_from_slice(&[code::MARK, code::SETITEMS]);
        }
    }

    /// Nothing for no item, `single` behind one item, else batches between `MARK` and `many`. Only the items
    /// of subclasses may have `single` behind the last of several batches.
    fn batches<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        of: Of,
        single: u8,
        many: u8,
        mut item: impl FnMut(&mut Self, T),
    ) {
        let len = items.len();
        let is_alone = |index: usize| {
            index + 1 == len && (index == 0 || of == Of::Subclass && index.is_multiple_of(BATCH_LEN))
        };
        for (index, next) in items.enumerate() {
            if index.is_multiple_of(BATCH_LEN) && !is_alone(index) {
                self.out.push(code::MARK);
            }
            item(self, next);
            if is_alone(index) {
                self.out.push(single);
            } else if index + 1 == len || (index + 1).is_multiple_of(BATCH_LEN) {
                self.out.push(many);
            }
        }
    }

    fn tuple_values(&mut self, items: &[Value<'_>]) -> Result<(), EncodeError> {
        let mut result = Ok(());
        self.tuple(items.len(), |writer| {
            result = items.iter().try_for_each(|item| writer.value(item));
        });
        if !items.is_empty() {
            self.memoize();
        }
        result
    }

    fn marked(&mut self, items: &[Value<'_>], end: u8) -> Result<(), EncodeError> {
        self.out.push(code::MARK);
        items.iter().try_for_each(|item| self.value(item))?;
        self.out.push(end);
        Ok(())
    }
}

/// Whether an interned key is another object than the string that CPython keeps for a single character.
fn is_interned_apart(text: &str) -> bool {
    !text.is_empty() && single_latin1(text).is_none_or(|only| only.is_ascii_alphanumeric() || only == b'_')
}

/// The only character of `text`, if it is one of the first 256.
fn single_latin1(text: &str) -> Option<u8> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if chars.next().is_some() { None } else { u8::try_from(u32::from(first)).ok() }
}

/// Cuts bytes that only repeat the sign.
fn shortest(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., before, last] = bytes {
        let repeats_sign = matches!((last, before & 0x80), (0, 0) | (0xff, 0x80));
        if !repeats_sign {
            break;
        }
        bytes = bytes.get(..rest.len() + 1).unwrap_or(bytes);
    }
    bytes
}

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

    fn bytes_hole(&mut self, len: usize) -> usize {
        if self.is_python2() {
            self.counted(code::SHORT_BINSTRING, code::BINSTRING, len);
        } else {
            self.bytes_header(len);
        }
        let start = self.out.len();
        self.out.resize(start + len, 0);
        self.memoize();
        start
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
