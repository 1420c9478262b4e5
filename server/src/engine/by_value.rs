//! Errors for older peers: exceptions by value for ZEO 4, and the names of Python 2 (protocol reference 6).
//!
//! A client of ZEO 4 gets the class and the pickled instance. What its unpickler calls are classes of exceptions, and
//! `ZODB.POSException._recon`, which makes one from its attributes and arguments; it refuses anything else
//! (`ZEO/zrpc/marshal.py:find_global`, 4.3.1).

use super::python2::{is_python2, native};
use zeo_codec::{Construction, Dialect, ErrorShape, Global, Object, RemoteError, Value};

/// The error in the form that clients of `dialect` read.
pub(super) fn in_dialect(error: RemoteError<'static>, dialect: &Dialect) -> RemoteError<'static> {
    let error = if is_python2(dialect) {
        let class = python2_name(&error.class).map_or(error.class, Into::into);
        RemoteError { class, detail: native(error.detail) }
    } else {
        error
    };
    match dialect.errors {
        ErrorShape::ByName => error,
        ErrorShape::ByValue => {
            let is_python2 = is_python2(dialect);
            let detail = instance(&error, is_python2);
            RemoteError { class: error.class, detail: if is_python2 { native(detail) } else { detail } }
        }
    }
}

/// Where Python 2 has a class elsewhere.
fn python2_name(class: &str) -> Option<String> {
    match class {
        "_pickle.UnpicklingError" => Some("cPickle.UnpicklingError".to_owned()),
        class => class.strip_prefix("builtins.").map(|name| format!("exceptions.{name}")),
    }
}

/// The instance of an exception, as it is pickled.
///
/// On Python 2 an exception has arguments only if its class has no constructor of its own: `BaseException.__new__` keeps
/// them in Python 3 only. Those with attributes here are those with constructors.
pub(super) fn instance(error: &RemoteError<'static>, is_python2: bool) -> Value<'static> {
    let (module, name) = error.class.rsplit_once('.').unwrap_or(("builtins", &error.class));
    let class = global(module.to_owned(), name.to_owned());
    let (mut attributes, args) = match &error.detail {
        Value::Dict(items) => {
            let args = if is_python2 { Value::Tuple(Vec::new()) } else { arguments(name, items) };
            (items.clone(), args)
        }
        Value::Tuple(args) => (Vec::new(), Value::Tuple(args.clone())),
        other => (Vec::new(), Value::Tuple(vec![other.clone()])),
    };
    if is_pos_error(module) {
        attributes.push(("args".into(), args));
        let recon = global("ZODB.POSException".to_owned(), "_recon".to_owned());
        return called(recon, Value::Tuple(vec![class, Value::Dict(attributes)]));
    }
    called(class, args)
}

/// The arguments that the constructor got of an exception that has attributes (`ZODB/POSException.py`, 4.4.5).
fn arguments(name: &str, attributes: &[(Value<'static>, Value<'static>)]) -> Value<'static> {
    let attribute = |key: &str| {
        let found = attributes.iter().find(|(name, _)| *name == Value::from(key.to_owned()));
        found.map(|(_, value)| value.clone())
    };
    Value::Tuple(match name {
        "MultipleUndoErrors" => attribute("_errs").into_iter().collect(),
        "UndoError" => {
            let oid = attribute("_oid").filter(|oid| *oid != Value::None);
            attribute("_reason").into_iter().chain(oid).collect()
        }
        // By name.
        _ => Vec::new(),
    })
}

/// Whether the exceptions of a module are subclasses of `POSError`.
fn is_pos_error(module: &str) -> bool {
    matches!(
        module,
        "ZODB.POSException"
            | "ZODB.FileStorage.FileStorage"
            | "ZODB.FileStorage.format"
            | "ZEO.Exceptions"
            | "ZEO.StorageServer"
            | "ZEO.zrpc.error"
    )
}

fn global(module: String, name: String) -> Value<'static> {
    Value::Global(Global { module: module.into(), name: name.into() })
}

fn called(callable: Value<'static>, args: Value<'static>) -> Value<'static> {
    Value::Object(Box::new(Object {
        construction: Construction::Reduce,
        callable,
        args,
        kwargs: None,
        state: None,
        list_items: Vec::new(),
        dict_items: Vec::new(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeo_codec::pickle::PickleFlavor;

    fn shown(error: RemoteError<'static>, dialect: Dialect) -> String {
        let error = in_dialect(error, &dialect);
        match dialect.errors {
            ErrorShape::ByName => format!("{} {}", error.class, error.detail),
            ErrorShape::ByValue => error.by_value().unwrap().to_string(),
        }
    }

    /// Protocol reference A.4 and A.5.
    #[test]
    fn exceptions_are_those_of_pythons_server() {
        let key_error =
            || RemoteError::new("ZODB.POSException.POSKeyError", vec![zeo_codec::Oid::ZERO.into()]);
        assert_eq!(
            shown(key_error(), Dialect::Z4),
            "(<ZODB.POSException.POSKeyError>, <ZODB.POSException._recon>(<ZODB.POSException.POSKeyError>, \
             {\"args\": (h'0000000000000000',)}))"
        );
        let value_error = || RemoteError::new("builtins.ValueError", vec!["no".into()]);
        assert_eq!(
            shown(value_error(), Dialect::Z4),
            "(<builtins.ValueError>, <builtins.ValueError>(\"no\",))"
        );
        let python2 = Dialect::Z4.with_pickle(PickleFlavor::Python2Protocol1);
        assert_eq!(
            shown(value_error(), python2),
            "(<exceptions.ValueError>, <exceptions.ValueError>(s2\"no\",))"
        );
        let python2 = Dialect::Z5.with_pickle(PickleFlavor::Python2Protocol3);
        assert_eq!(shown(value_error(), python2), "exceptions.ValueError (s2\"no\",)");
        assert_eq!(shown(value_error(), Dialect::Z5), "builtins.ValueError (\"no\",)");
    }
}
