//! One generic value for both framings.
//!
//! Leaves borrow from the frame wherever the wire holds them verbatim. Classes, calls and persistent
//! references stay symbols: building a [`Value`] never runs anything.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Anything a message can hold.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of at most 128 bits.
    Int(i128),
    /// A wider integer: little-endian two's complement, as `LONG1` and `LONG4` have it.
    Long(Cow<'a, [u8]>),
    /// A float.
    Float(f64),
    /// Bytes (Python 3 `bytes`, `zodbpickle.binary`, msgpack `bin`).
    Bytes(Cow<'a, [u8]>),
    /// A `bytearray`.
    ByteArray(Cow<'a, [u8]>),
    /// Text (Python 3 `str`, Python 2 `unicode`, msgpack `str`).
    Text(Cow<'a, str>),
    /// Python 2 `str`: text or bytes, nobody can tell (protocol reference 4.1).
    Native(Cow<'a, [u8]>),
    /// A tuple, or a msgpack array.
    Tuple(Vec<Self>),
    /// A list. msgpack does not tell lists from tuples, and has only tuples here.
    List(Vec<Self>),
    /// A dict in its order of insertion, repeated keys included.
    Dict(Vec<(Self, Self)>),
    /// A set (pickle protocol 4).
    Set(Vec<Self>),
    /// A frozenset (pickle protocol 4).
    FrozenSet(Vec<Self>),
    /// A class or function, by name.
    Global(Global<'a>),
    /// An object that some callable would build.
    Object(Box<Object<'a>>),
    /// A persistent reference (database records only).
    Persistent(Box<Self>),
    /// An entry of Python's extension registry.
    Extension(i32),
}

/// A class or function, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global<'a> {
    /// Dotted name of the module.
    pub module: Cow<'a, str>,
    /// Name in the module; dotted for nested ones (pickle protocol 4).
    pub name: Cow<'a, str>,
}

impl Global<'_> {
    /// Whether this is `module.name`.
    #[must_use]
    pub fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }
}

/// How a pickle builds an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Construction {
    /// `REDUCE`: `callable(*args)`.
    Reduce,
    /// `NEWOBJ` and `NEWOBJ_EX`: `cls.__new__(cls, *args, **kwargs)`.
    New,
    /// `INST` and `OBJ`: old-style instances.
    Instance,
}

/// The recipe of an object. It is never followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Object<'a> {
    /// How it would be built.
    pub construction: Construction,
    /// The class or function.
    pub callable: Value<'a>,
    /// Its arguments, normally a tuple.
    pub args: Value<'a>,
    /// Keyword arguments of `NEWOBJ_EX`.
    pub kwargs: Option<Value<'a>>,
    /// The operand of `BUILD`, if there is one.
    pub state: Option<Value<'a>>,
    /// Items appended to the object (subclasses of list).
    pub list_items: Vec<Value<'a>>,
    /// Items set on the object (subclasses of dict).
    pub dict_items: Vec<(Value<'a>, Value<'a>)>,
}

impl<'a> Value<'a> {
    /// The content of bytes or of a Python 2 string.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        let (Self::Bytes(bytes) | Self::Native(bytes) | Self::ByteArray(bytes)) = self else { return None };
        Some(bytes)
    }

    /// The content of text, or of a Python 2 string that is UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Native(bytes) => core::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number, if this is an integer or boolean (Python's `bool` is an `int`).
    #[must_use]
    pub const fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(bit) => Some(if *bit { 1 } else { 0 }),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    #[must_use]
    pub fn as_sequence(&self) -> Option<&[Self]> {
        let (Self::Tuple(items) | Self::List(items)) = self else { return None };
        Some(items)
    }

    /// Whether this is the name `name`: text, or a string of Python 2, which comes as bytes under msgpack.
    #[must_use]
    pub fn is_name(&self, name: &str) -> bool {
        match self {
            Self::Text(text) => text == name,
            Self::Native(bytes) | Self::Bytes(bytes) => **bytes == *name.as_bytes(),
            _ => false,
        }
    }

    /// The value under a name in a dict; the last one if the key is repeated, as in Python.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Dict(items) = self else { return None };
        items.iter().rev().find(|(key, _)| key.is_name(name)).map(|(_, value)| value)
    }

    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::None => Value::None,
            Self::Bool(bit) => Value::Bool(bit),
            Self::Int(number) => Value::Int(number),
            Self::Float(number) => Value::Float(number),
            Self::Extension(code) => Value::Extension(code),
            Self::Long(bytes) => Value::Long(owned(bytes)),
            Self::Bytes(bytes) => Value::Bytes(owned(bytes)),
            Self::ByteArray(bytes) => Value::ByteArray(owned(bytes)),
            Self::Native(bytes) => Value::Native(owned(bytes)),
            Self::Text(text) => Value::Text(owned_text(text)),
            Self::Tuple(items) => Value::Tuple(owned_items(items)),
            Self::List(items) => Value::List(owned_items(items)),
            Self::Set(items) => Value::Set(owned_items(items)),
            Self::FrozenSet(items) => Value::FrozenSet(owned_items(items)),
            Self::Dict(pairs) => Value::Dict(owned_pairs(pairs)),
            Self::Global(global) => Value::Global(global.into_owned()),
            Self::Object(object) => Value::Object(Box::new(object.into_owned())),
            Self::Persistent(reference) => Value::Persistent(Box::new(reference.into_owned())),
        }
    }
}

impl Global<'_> {
    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Global<'static> {
        Global { module: owned_text(self.module), name: owned_text(self.name) }
    }
}

impl Object<'_> {
    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Object<'static> {
        Object {
            construction: self.construction,
            callable: self.callable.into_owned(),
            args: self.args.into_owned(),
            kwargs: self.kwargs.map(Value::into_owned),
            state: self.state.map(Value::into_owned),
            list_items: owned_items(self.list_items),
            dict_items: owned_pairs(self.dict_items),
        }
    }
}

fn owned(bytes: Cow<'_, [u8]>) -> Cow<'static, [u8]> {
    Cow::Owned(bytes.into_owned())
}

fn owned_text(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

fn owned_items(items: Vec<Value<'_>>) -> Vec<Value<'static>> {
    items.into_iter().map(Value::into_owned).collect()
}

fn owned_pairs(pairs: Vec<(Value<'_>, Value<'_>)>) -> Vec<(Value<'static>, Value<'static>)> {
    pairs.into_iter().map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(bit: bool) -> Self {
        Self::Bool(bit)
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Int(number.into())
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number.into())
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<crate::Oid> for Value<'_> {
    fn from(oid: crate::Oid) -> Self {
        Self::Bytes(Cow::Owned(oid.as_bytes().to_vec()))
    }
}

impl From<crate::Tid> for Value<'_> {
    fn from(tid: crate::Tid) -> Self {
        Self::Bytes(Cow::Owned(tid.as_bytes().to_vec()))
    }
}
