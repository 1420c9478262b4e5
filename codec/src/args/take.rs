//! Items by type.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::args::direct::leaf;
use crate::args::{Args, Source, Taken};
use crate::error::Expected;
use crate::value::Value;
use crate::{Oid, Tid};

impl<'a> Args<'a> {
    /// A byte string.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn bytes(&mut self) -> Taken<Cow<'a, [u8]>> {
        if let Some(bytes) = self.direct_bytes()? {
            return Ok(Cow::Borrowed(bytes));
        }
        let (Value::Bytes(bytes) | Value::Native(bytes)) = self.value()? else {
            return Err(self.bad(Expected::Bytes));
        };
        Ok(bytes)
    }

    /// A byte string, or `None`.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn optional_bytes(&mut self) -> Taken<Option<Cow<'a, [u8]>>> {
        if self.direct_none() {
            return Ok(None);
        }
        if let Some(bytes) = self.direct_bytes()? {
            return Ok(Some(Cow::Borrowed(bytes)));
        }
        match self.leaf_or_value()? {
            Value::None => Ok(None),
            Value::Bytes(bytes) | Value::Native(bytes) => Ok(Some(bytes)),
            _ => Err(self.bad(Expected::Bytes)),
        }
    }

    /// Bytes or text, as user names and descriptions come (protocol reference 7.5): text as its UTF-8.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn bytes_or_text(&mut self) -> Taken<Cow<'a, [u8]>> {
        if let Some(bytes) = self.direct_bytes()? {
            return Ok(Cow::Borrowed(bytes));
        }
        match self.leaf_or_value()? {
            Value::Bytes(bytes) | Value::Native(bytes) => Ok(bytes),
            Value::Text(Cow::Borrowed(text)) => Ok(Cow::Borrowed(text.as_bytes())),
            Value::Text(Cow::Owned(text)) => Ok(Cow::Owned(text.into_bytes())),
            _ => Err(self.bad(Expected::Bytes)),
        }
    }

    #[inline]
    fn eight_bytes(&mut self) -> Taken<[u8; 8]> {
        match self.direct_eight() {
            Some(eight) => Ok(eight),
            None => self.other_eight_bytes(),
        }
    }

    #[cold]
    fn other_eight_bytes(&mut self) -> Taken<[u8; 8]> {
        if let Some(bytes) = self.direct_bytes()? {
            return bytes.try_into().map_err(|_| self.bad(Expected::EightBytes));
        }
        let value = self.value()?;
        value.as_bytes().and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| self.bad(Expected::EightBytes))
    }

    /// An oid.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn oid(&mut self) -> Taken<Oid> {
        self.eight_bytes().map(Oid::from_bytes)
    }

    /// A tid or serial.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn tid(&mut self) -> Taken<Tid> {
        self.eight_bytes().map(Tid::from_bytes)
    }

    /// A tid, or `None`.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn optional_tid(&mut self) -> Taken<Option<Tid>> {
        self.optional_eight().map(|bytes| bytes.map(Tid::from_bytes))
    }

    /// The serial that a store is based on: a tid; `None`, which ZEO 4 clients may send for the root of a new
    /// database; or text of eight ASCII characters, which Python's servers take for any new object and which
    /// ZEO's own tests send (`ConnectionTests.py:ZERO`, ZEO 6.2).
    ///
    /// # Errors
    /// See [`Args`].
    pub fn serial(&mut self) -> Taken<Tid> {
        if let Some(bytes) = self.direct_bytes()? {
            return Tid::from_slice(bytes).ok_or_else(|| self.bad(Expected::EightBytes));
        }
        let value = self.leaf_or_value()?;
        let bytes = match &value {
            Value::None => return Ok(Tid::ZERO),
            Value::Text(text) => Some(text.as_bytes()),
            other => other.as_bytes(),
        };
        bytes.and_then(Tid::from_slice).ok_or_else(|| self.bad(Expected::EightBytes))
    }

    /// An oid, or `None`.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn optional_oid(&mut self) -> Taken<Option<Oid>> {
        self.optional_eight().map(|bytes| bytes.map(Oid::from_bytes))
    }

    #[inline]
    fn optional_eight(&mut self) -> Taken<Option<[u8; 8]>> {
        if self.direct_none() {
            return Ok(None);
        }
        if let Some(eight) = self.direct_eight() {
            return Ok(Some(eight));
        }
        self.other_optional_eight()
    }

    #[cold]
    fn other_optional_eight(&mut self) -> Taken<Option<[u8; 8]>> {
        match self.optional_bytes()? {
            None => Ok(None),
            Some(bytes) => bytes.as_ref().try_into().map(Some).map_err(|_| self.bad(Expected::EightBytes)),
        }
    }

    /// The next item, whatever it is; a single number, text or byte string is read straight from the frame.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn leaf_or_value(&mut self) -> Taken<Value<'a>> {
        if let Source::Pickle { lexer, .. } = &mut self.source
            && let Some(leaf) = leaf(lexer)
        {
            self.taken_count += 1;
            return Ok(leaf);
        }
        self.value()
    }

    /// Text.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn text(&mut self) -> Taken<Cow<'a, str>> {
        let text = match self.leaf_or_value()? {
            Value::Text(text) => Some(text),
            Value::Native(Cow::Borrowed(bytes)) | Value::Bytes(Cow::Borrowed(bytes)) => {
                core::str::from_utf8(bytes).ok().map(Cow::Borrowed)
            }
            Value::Native(Cow::Owned(bytes)) => alloc::string::String::from_utf8(bytes).ok().map(Cow::Owned),
            _ => None,
        };
        text.ok_or_else(|| self.bad(Expected::Text))
    }

    /// An integer or boolean.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn int(&mut self) -> Taken<i64> {
        if let Some(number) = self.direct_int() {
            return Ok(number);
        }
        let number = self.leaf_or_value()?.as_int();
        number.and_then(|number| number.try_into().ok()).ok_or_else(|| self.bad(Expected::Int))
    }

    /// A non-negative integer.
    ///
    /// # Errors
    /// See [`Args`].
    #[inline]
    pub fn uint(&mut self) -> Taken<u64> {
        if let Some(number) = self.direct_int() {
            return number.try_into().map_err(|_| self.bad(Expected::Int));
        }
        let number = self.leaf_or_value()?.as_int();
        number.and_then(|number| number.try_into().ok()).ok_or_else(|| self.bad(Expected::Int))
    }

    /// A float, or an integer that stands for one.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn float(&mut self) -> Taken<f64> {
        match self.leaf_or_value()? {
            Value::Float(number) => Ok(number),
            Value::Int(number) => match i32::try_from(number) {
                Ok(small) => Ok(small.into()),
                // Seconds since 1970 that large have no fraction to lose.
                #[expect(clippy::cast_precision_loss, reason = "what Python's float() does")]
                Err(_) => Ok(number as f64),
            },
            _ => Err(self.bad(Expected::Number)),
        }
    }

    /// Whether the next item is true in Python's sense; numbers, booleans and `None`.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn truth(&mut self) -> Taken<bool> {
        match self.leaf_or_value()? {
            Value::None => Ok(false),
            Value::Bool(bit) => Ok(bit),
            Value::Int(number) => Ok(number != 0),
            _ => Err(self.bad(Expected::Bool)),
        }
    }

    /// A list or tuple of oids.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn oids(&mut self) -> Taken<Vec<Oid>> {
        if let Some(oids) = self.direct_oids()? {
            self.taken_count += 1;
            return Ok(oids);
        }
        let value = self.value()?;
        let items = value.as_sequence().ok_or_else(|| self.bad(Expected::Sequence))?;
        items
            .iter()
            .map(|item| {
                item.as_bytes().and_then(Oid::from_slice).ok_or_else(|| self.bad(Expected::EightBytes))
            })
            .collect()
    }
}
