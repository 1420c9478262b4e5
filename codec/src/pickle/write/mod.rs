//! Writes pickles in the bytes of the picklers that ZEO peers use (protocol reference 4.1, appendix B).

mod composite;
mod emit;
mod memo;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::op::code;
use crate::emit::Holes;
use crate::share::{Sharing, put};
use memo::Memo;

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

/// Writes values to the end of a buffer.
#[derive(Debug)]
pub struct PickleWriter<'o> {
    out: &'o mut Vec<u8>,
    flavor: PickleFlavor,
    memo: Option<Memo>,
    sharing: Option<Sharing<'o>>,
    pub(crate) holes: Holes,
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
        Self { out, flavor, memo: None, sharing, holes: Holes::NONE }
    }

    /// A pickler with a memo, as `pickle.dumps` writes: transaction extensions in a `Data.fs`.
    #[must_use]
    pub fn with_memo(out: &'o mut Vec<u8>, flavor: PickleFlavor) -> Self {
        Self { memo: Some(Memo::default()), ..Self::new(out, flavor) }
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
