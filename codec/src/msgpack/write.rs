//! Writes what `msgpack.packb(..., use_bin_type=True)` writes.

use alloc::vec::Vec;

use rmp::encode;

use crate::emit::{Emit, EncodeError, Holes};
use crate::share::{Sharing, put};
use crate::value::Value;

/// Writes values to the end of a buffer.
#[derive(Debug)]
pub struct MsgpackWriter<'o> {
    out: &'o mut Vec<u8>,
    text_is_bin: bool,
    sharing: Option<Sharing<'o>>,
    pub(crate) holes: Holes,
}

/// Writing to a `Vec` cannot fail, and `rmp` says so in its types only without `std`.
fn written<T, E>(_: Result<T, E>) {}

/// Lengths beyond 4 GiB cannot occur: no frame could hold them.
fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl<'o> MsgpackWriter<'o> {
    /// Appends to `out`.
    #[must_use]
    pub const fn new(out: &'o mut Vec<u8>) -> Self {
        Self::with_sharing(out, false, None)
    }

    /// Writes names and keys as `bin`, as Python 2 peers pack their strings and expect them (protocol
    /// reference 5). Values stay what they are.
    #[must_use]
    pub const fn for_python2(out: &'o mut Vec<u8>) -> Self {
        Self::with_sharing(out, true, None)
    }

    pub(crate) const fn with_sharing(
        out: &'o mut Vec<u8>,
        text_is_bin: bool,
        sharing: Option<Sharing<'o>>,
    ) -> Self {
        Self { out, text_is_bin, sharing, holes: Holes::NONE }
    }

    fn str(&mut self, text: &str) {
        written(encode::write_str_len(self.out, len32(text.len())));
        self.out.extend_from_slice(text.as_bytes());
    }
}

impl Emit for MsgpackWriter<'_> {
    fn none(&mut self) {
        written(encode::write_nil(self.out));
    }

    fn bool(&mut self, bit: bool) {
        written(encode::write_bool(self.out, bit));
    }

    fn int(&mut self, number: i64) {
        written(encode::write_sint(self.out, number));
    }

    fn uint(&mut self, number: u64) {
        written(encode::write_uint(self.out, number));
    }

    fn float(&mut self, number: f64) {
        written(encode::write_f64(self.out, number));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        written(encode::write_bin_len(self.out, len32(bytes.len())));
        put(self.out, &mut self.sharing, bytes);
    }

    #[inline]
    fn eight(&mut self, bytes: &[u8; 8]) {
        let [a, b, c, d, e, f, g, h] = *bytes;
        self.out.extend_from_slice(&[0xc4, 8, a, b, c, d, e, f, g, h]);
    }

    fn bytes_hole(&mut self, len: usize) {
        written(encode::write_bin_len(self.out, len32(len)));
        self.holes.add(self.out.len(), len);
    }

    fn text(&mut self, text: &str) {
        if self.text_is_bin { self.bytes(text.as_bytes()) } else { self.str(text) }
    }

    fn tuple(&mut self, len: usize, items: impl FnOnce(&mut Self)) {
        written(encode::write_array_len(self.out, len32(len)));
        items(self);
    }

    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut item: impl FnMut(&mut Self, T)) {
        written(encode::write_array_len(self.out, len32(items.len())));
        for next in items {
            item(self, next);
        }
    }

    fn dict(&mut self, len: usize, pairs: impl FnOnce(&mut Self)) {
        written(encode::write_map_len(self.out, len32(len)));
        pairs(self);
    }

    fn value(&mut self, value: &Value<'_>) -> Result<(), EncodeError> {
        match value {
            Value::None => self.none(),
            Value::Bool(bit) => self.bool(*bit),
            Value::Int(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => self.uint(number),
                (_, Ok(number)) => self.int(number),
                _ => return Err(EncodeError),
            },
            Value::Float(number) => self.float(*number),
            // A Python 2 peer packs its strings as `bin` (protocol reference A.8).
            Value::Bytes(bytes) | Value::Native(bytes) | Value::ByteArray(bytes) => self.bytes(bytes),
            Value::Text(text) => self.str(text),
            Value::Tuple(items) | Value::List(items) => {
                written(encode::write_array_len(self.out, len32(items.len())));
                return items.iter().try_for_each(|item| self.value(item));
            }
            Value::Dict(pairs) => {
                written(encode::write_map_len(self.out, len32(pairs.len())));
                return pairs.iter().try_for_each(|(key, value)| {
                    self.value(key)?;
                    self.value(value)
                });
            }
            Value::Long(_)
            | Value::Set(_)
            | Value::FrozenSet(_)
            | Value::Global(_)
            | Value::Object(_)
            | Value::Persistent(_)
            | Value::Extension(_) => return Err(EncodeError),
        }
        Ok(())
    }
}
