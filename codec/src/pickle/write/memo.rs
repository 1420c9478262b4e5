//! The memo of a pickler that is not in fast mode, as CPython's uses it: which strings are one object.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::PickleWriter;
use crate::emit::{Emit as _, EncodeError};
use crate::pickle::op::code;
use crate::value::Value;

/// The memo of a pickler that is not in fast mode.
#[derive(Debug, Default)]
pub(super) struct Memo {
    count: u32,
    /// CPython keeps one object for each of these, so a second occurrence is the same object.
    shared: BTreeMap<(bool, Option<u8>), u32>,
    /// Keys written so far, if equal keys are one object.
    pub(super) keys: Option<BTreeMap<Vec<u8>, u32>>,
}

impl PickleWriter<'_> {
    pub(super) fn key(&mut self, key: &Value<'_>) -> Result<(), EncodeError> {
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

    pub(super) fn reference(&mut self, index: u32) {
        match u8::try_from(index) {
            Ok(index) => self.out.extend_from_slice(&[code::BINGET, index]),
            Err(_) => {
                self.out.push(code::LONG_BINGET);
                self.out.extend_from_slice(&index.to_le_bytes());
            }
        }
    }

    #[inline]
    pub(super) fn memoize(&mut self) {
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
    pub(super) fn reuse(&mut self, is_text: bool, content: &[u8]) -> bool {
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
