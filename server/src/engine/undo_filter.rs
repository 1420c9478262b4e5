//! What `undoInfo` asks for: required values of the entries of `undoLog`.
//!
//! Python 3 compares with `!=`, so a user name, which is bytes, never equals a text; and a `ZopeUndo.Prefix`, which was
//! made for Python 2, fails when it meets one (`UndoLogCompatible.py`, ZODB 6.4; `ZopeUndo/Prefix.py`, ZopeUndo 6.1).

use std::collections::BTreeMap;

use zeo_codec::{Global, Object, Value};

use super::error::CallError;
use super::extension::Items;
use super::python::{equality_key, is_false, type_name};
use super::python2::native;

/// How many keys a filter may have: each is compared with every transaction.
const KEYS_MAX: usize = 1000;

/// Required values; all must hold. Without any, everything passes.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    required: Vec<(Option<Vec<u8>>, Required)>,
    /// To the client, which runs Python 2, bytes and text of ASCII are the same.
    is_python2: bool,
}

#[derive(Debug)]
enum Required {
    /// A value with this equality key; `None` equals nothing.
    Equal(Option<Vec<u8>>),
    /// A text whose path begins like this.
    Prefix(Prefix),
}

/// A `ZopeUndo.Prefix`.
#[derive(Debug)]
struct Prefix {
    /// Number of path components that are compared.
    component_count: i128,
    path: Vec<String>,
}

impl Filter {
    /// Reads the specification of `undoInfo`.
    pub(crate) fn new(specification: &Value<'_>, is_python2: bool) -> Result<Self, CallError> {
        let specification = if is_python2 { native(specification.clone()) } else { specification.clone() };
        let items = match &specification {
            specification if is_false(specification) => return Ok(Self::default()),
            Value::Dict(items) => items,
            other => return Err(CallError::NoAttribute { type_name: type_name(other), attribute: "items" }),
        };
        if items.len() > KEYS_MAX {
            return Err(CallError::WrongType(format!("more than {KEYS_MAX} keys")));
        }
        let required = items.iter().map(|(key, value)| {
            let required = match value {
                Value::Object(object) if is_prefix(object) => Required::Prefix(Prefix::new(object)?),
                value => Required::Equal(equality_key(value)),
            };
            Ok((equality_key(key), required))
        });
        Ok(Self { required: required.collect::<Result<_, CallError>>()?, is_python2 })
    }

    /// Whether an entry has all that is required.
    pub(crate) fn passes(&self, entry: &Items) -> Result<bool, CallError> {
        if self.required.is_empty() {
            return Ok(true);
        }
        let in_python2 = self.is_python2.then(|| {
            entry.iter().map(|(key, value)| (native(key.clone()), native(value.clone()))).collect::<Items>()
        });
        let entry = in_python2.as_ref().unwrap_or(entry);
        let values: BTreeMap<_, _> =
            entry.iter().filter_map(|(key, value)| Some((equality_key(key)?, value))).collect();
        for (key, required) in &self.required {
            let value = key.as_ref().and_then(|key| values.get(key)).copied().unwrap_or(&Value::None);
            if !required.holds(value)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Required {
    fn holds(&self, value: &Value<'_>) -> Result<bool, CallError> {
        match self {
            Self::Equal(None) => Ok(false),
            Self::Equal(expected) => Ok(equality_key(value) == *expected),
            Self::Prefix(prefix) => match value {
                Value::Text(text) => Ok(prefix.begins(text)),
                Value::Native(bytes) => Ok(std::str::from_utf8(bytes).is_ok_and(|text| prefix.begins(text))),
                Value::Bytes(_) | Value::ByteArray(_) => {
                    Err(CallError::WrongType("a bytes-like object is required, not 'str'".to_owned()))
                }
                other => Err(CallError::NoAttribute { type_name: type_name(other), attribute: "split" }),
            },
        }
    }
}

/// Whether this is the recipe of a `Prefix`, by either of the picklers that clients use (protocol reference 4.3).
fn is_prefix(object: &Object<'_>) -> bool {
    let is_class = |value: &Value<'_>| matches!(value, Value::Global(Global { module, name }) if module == "ZopeUndo.Prefix" && name == "Prefix");
    let first = object.args.as_sequence().and_then(<[_]>::first);
    is_class(&object.callable)
        || (matches!(&object.callable, Value::Global(Global { module, name })
            if matches!(&**module, "copy_reg" | "copyreg") && name == "_reconstructor")
            && first.is_some_and(is_class))
}

impl Prefix {
    fn new(object: &Object<'_>) -> Result<Self, CallError> {
        let missing = |attribute| CallError::NoAttribute { type_name: "Prefix".to_owned(), attribute };
        let state = object.state.as_ref().ok_or_else(|| missing("length"))?;
        let component_count = state.get("length").and_then(Value::as_int).ok_or_else(|| missing("length"))?;
        let path = state.get("path").and_then(Value::as_sequence).ok_or_else(|| missing("path"))?;
        let path = path.iter().map(|component| match component {
            Value::Native(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
            component => component.as_text().map(str::to_owned),
        });
        let path = path.collect::<Option<_>>().ok_or_else(|| missing("path"))?;
        Ok(Self { component_count, path })
    }

    /// Whether the path in `text` begins with this one. What follows the last blank of its last component is the name
    /// of a user and does not count.
    fn begins(&self, text: &str) -> bool {
        let mut components: Vec<&str> = text.split('/').collect();
        if let Some(last) = components.last_mut()
            && let Some((path, _user)) = last.rsplit_once(' ')
        {
            *last = path;
        }
        // A slice [:component_count], which may be negative.
        let count = i128::try_from(components.len()).unwrap_or(i128::MAX);
        let end = if self.component_count < 0 { count + self.component_count } else { self.component_count };
        let end = usize::try_from(end.clamp(0, count)).unwrap_or(0);
        components.get(..end).is_some_and(|components| components.iter().eq(self.path.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(path: &str) -> Prefix {
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        Prefix { component_count: path.len().try_into().unwrap(), path }
    }

    /// From ZopeUndo 6.1: `Prefix(path) == name`.
    #[test]
    fn prefixes_compare_as_pythons() {
        for (path, name, expected) in [
            ("/a/b", "/a/b/c/d", true),
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/b user", true),
            ("/a/b", "/a/b x/c", false),
            ("/a/b", "/a/bc", false),
            ("/a/b", "/a", false),
            ("", "/a", true),
            ("", "a", false),
            ("a", "a b c", false),
            ("a b", "a b c", true),
        ] {
            assert_eq!(prefix(path).begins(name), expected, "{path:?} {name:?}");
        }
    }

    /// `undoInfo` of 5.4.1 on Python 2, as the capture `undo` has it, and A.7 in the form of protocol 1.
    #[test]
    fn on_python2_a_string_is_bytes_and_text() {
        let string = |text: &'static str| Value::Native(text.as_bytes().into());
        let entry: Items = vec![("user_name".into(), Value::Bytes(b"/ab somebody".as_slice().into()))];
        let passes = |required: Value<'static>, is_python2| {
            let specification = Value::Dict(vec![(string("user_name"), required)]);
            Filter::new(&specification, is_python2).unwrap().passes(&entry)
        };
        assert!(passes(string("/ab somebody"), true).unwrap());
        assert!(!passes(string("/ab"), true).unwrap());
        let class = |module: &'static str, name: &'static str| {
            Value::Global(Global { module: module.into(), name: name.into() })
        };
        let state = Value::Dict(vec![
            (string("length"), 2_i64.into()),
            (string("path"), Value::List(vec![string(""), string("ab")])),
        ]);
        let prefix = || {
            Value::Object(Box::new(Object {
                construction: zeo_codec::Construction::Reduce,
                callable: class("copy_reg", "_reconstructor"),
                args: Value::Tuple(vec![
                    class("ZopeUndo.Prefix", "Prefix"),
                    class("__builtin__", "object"),
                    Value::None,
                ]),
                kwargs: None,
                state: Some(state.clone()),
                list_items: Vec::new(),
                dict_items: Vec::new(),
            }))
        };
        assert!(passes(prefix(), true).unwrap());
        assert!(!passes(Value::Text("/ab somebody".into()), false).unwrap());
    }
}
