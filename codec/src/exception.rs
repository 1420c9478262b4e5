//! Exceptions that travel by value, as ZEO 4 sends them (protocol reference 6.2), and `serialnos`, which carries some.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Expected, ShapeError};
use crate::reply::RemoteError;
use crate::value::{Construction, Global, Object, Value};
use crate::{Oid, Tid};

/// The serial of an object that the server resolved or undid, in `serialnos`.
const RESOLVED: &[u8] = b"rs";

/// What became of one operation of a transaction: an element of ZEO 4's `serialnos`, which precedes the reply of the vote
/// (protocol reference 8).
#[derive(Debug, Clone, PartialEq)]
pub enum Serialno<'a> {
    /// The object was stored and will have this serial.
    Stored(Oid, Tid),
    /// The server resolved a conflict, or undid something: the client must not keep what it has of this object.
    Resolved(Oid),
    /// The operation failed, and the transaction cannot be committed. An undo is told under the oid 0.
    Failed(Oid, RemoteError<'a>),
}

impl<'a> Serialno<'a> {
    /// Reads the arguments of `serialnos`.
    ///
    /// # Errors
    /// [`ShapeError`] if they are no list of pairs of an oid and one of the above.
    pub fn parse_args(args: &Value<'a>) -> Result<Vec<Self>, ShapeError> {
        let malformed = ShapeError { index: 0, expected: Expected::Sequence };
        let Some([items]) = args.as_sequence() else { return Err(malformed) };
        let items = items.as_sequence().ok_or(malformed)?;
        items.iter().map(|item| Self::parse(item).ok_or(malformed)).collect()
    }

    fn parse(item: &Value<'a>) -> Option<Self> {
        let [oid, result] = item.as_sequence()? else { return None };
        let oid = Oid::from_slice(oid.as_bytes()?)?;
        Some(match result.as_bytes() {
            Some(RESOLVED) => Self::Resolved(oid),
            Some(serial) => Self::Stored(oid, Tid::from_slice(serial)?),
            None => Self::Failed(oid, RemoteError::from_instance(result)?),
        })
    }
}

impl<'a> RemoteError<'a> {
    /// The error that this instance of an exception is, in the form of ZEO 5: attributes if it has any, else arguments.
    /// `None` if the value is no instance of a class.
    #[must_use]
    pub fn from_instance(instance: &Value<'a>) -> Option<Self> {
        let Value::Object(object) = instance else { return None };
        let Object { construction: Construction::Reduce | Construction::New, callable, args, state, .. } =
            object.as_ref()
        else {
            return None;
        };
        let Value::Global(callable) = callable else { return None };
        let (class, detail) = if callable.is("ZODB.POSException", "_recon") {
            let [Value::Global(class), state] = args.as_sequence()? else { return None };
            (class, reconstructed(state)?)
        } else {
            let attributes =
                state.as_ref().filter(|state| matches!(state, Value::Dict(items) if !items.is_empty()));
            (callable, attributes.unwrap_or(args).clone())
        };
        Some(Self { class: Cow::Owned(full_name(class)), detail })
    }

    /// The error in the form of ZEO 5, if it is the pickled instance of ZEO 4; any other as it is.
    #[must_use]
    pub fn by_name(self) -> Self {
        Self::from_instance(&self.detail).unwrap_or(self)
    }
}

/// What `_recon` makes an exception from: its attributes, and its arguments under the name `args`.
fn reconstructed<'a>(state: &Value<'a>) -> Option<Value<'a>> {
    let Value::Dict(items) = state else { return None };
    let attributes: Vec<_> = items.iter().filter(|(name, _)| !name.is_name("args")).cloned().collect();
    if attributes.is_empty() {
        return Some(state.get("args").cloned().unwrap_or_else(|| Value::Tuple(Vec::new())));
    }
    Some(Value::Dict(attributes))
}

/// The name that Python 3 has for the class.
fn full_name(class: &Global<'_>) -> String {
    let module = if class.module == "exceptions" { "builtins" } else { &class.module };
    alloc::format!("{module}.{}", class.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::pickle;

    /// `pickle.dumps(..., 3)` of the exceptions by ZODB 4.4.5, as protocol reference 6.2 describes them.
    #[test]
    fn instances_tell_attributes_or_arguments() {
        let key_error =
            b"\x80\x03cZODB.POSException\n_recon\ncZODB.POSException\nPOSKeyError\n}X\x04\0\0\0args\
                          C\x08\0\0\0\0\0\0\0\x07\x85s\x86R.";
        let value_error = b"\x80\x03cbuiltins\nValueError\nX\x02\0\0\0no\x85R.";
        let python2 = b"cexceptions\nValueError\n(U\x02notR.";
        for (bytes, class, detail) in [
            (&key_error[..], "ZODB.POSException.POSKeyError", "(h'0000000000000007',)"),
            (value_error, "builtins.ValueError", "(\"no\",)"),
            (python2, "builtins.ValueError", "(s2\"no\",)"),
        ] {
            let instance = pickle::decode(bytes, &Limits::DEFAULT).unwrap();
            let error = RemoteError::from_instance(&instance).unwrap();
            assert_eq!((&*error.class, alloc::format!("{}", error.detail).as_str()), (class, detail));
            assert_eq!(RemoteError { class: "x".into(), detail: instance }.by_name(), error);
        }
        let plain = RemoteError::new("builtins.KeyError", alloc::vec![7_u64.into()]);
        assert_eq!(plain.clone().by_name(), plain);
    }

    #[test]
    fn serialnos_are_told_apart() {
        let oid = |number| Value::from(Oid::from_u64(number));
        let pair = |oid, result| Value::Tuple(alloc::vec![oid, result]);
        let list = |items| Value::Tuple(alloc::vec![Value::List(items)]);
        let resolved = Value::Bytes(b"rs".as_slice().into());
        let args = list(alloc::vec![pair(oid(1), Tid::from_u64(9).into()), pair(oid(2), resolved)]);
        let expected =
            [Serialno::Stored(Oid::from_u64(1), Tid::from_u64(9)), Serialno::Resolved(Oid::from_u64(2))];
        assert_eq!(Serialno::parse_args(&args).unwrap(), expected);
        for wrong in [
            Value::None,
            list(alloc::vec![oid(1)]),
            list(alloc::vec![pair(oid(1), Value::Bytes(b"r".as_slice().into()))]),
            list(alloc::vec![pair(oid(1), Value::None)]),
        ] {
            assert!(Serialno::parse_args(&wrong).is_err(), "{wrong}");
        }
    }
}
