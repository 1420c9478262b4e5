//! A message in words, as it is compared.

use zeo_codec::pickle::PickleFlavor;
use zeo_codec::session::Observed;
use zeo_codec::{Dialect, Envelope, Limits, Value};

/// The message in the notation of the protocol reference. To Python 2 text of ASCII and bytes are the same, and so they
/// are here; and its dicts have no order: theirs are sorted.
pub(super) fn text(observed: &Observed, dialect: Option<&Dialect>) -> String {
    let shown = observed.show(dialect).to_string();
    let (Observed::Call { payload, .. } | Observed::Reply { payload, .. }) = observed else { return shown };
    as_python2(&shown, payload, dialect).unwrap_or(shown)
}

/// A call of any client as one of Python 2.
pub(super) fn in_python2(payload: &[u8], dialect: &Dialect) -> Option<String> {
    let limits = Limits::DEFAULT;
    let envelope = Envelope::parse(payload, dialect.framing, &limits).ok()?;
    let head = head(&envelope);
    Some(format!("{head}{}", in_one_form(envelope.args.into_value(&limits).ok()?)))
}

/// Whether the message comes from Python 2.
pub(super) fn is_of_python2(payload: &[u8], dialect: Option<&Dialect>) -> bool {
    let envelope =
        dialect.and_then(|dialect| Envelope::parse(payload, dialect.framing, &Limits::DEFAULT).ok());
    envelope.is_some_and(|envelope| envelope.flavor != PickleFlavor::Python3)
}

/// What stands before the arguments of a call.
fn head(envelope: &Envelope<'_>) -> String {
    let name = String::from_utf8_lossy(&envelope.name);
    if envelope.is_one_way() { name.into_owned() } else { format!("{}: {name}", envelope.id) }
}

fn as_python2(shown: &str, payload: &[u8], dialect: Option<&Dialect>) -> Option<String> {
    let limits = Limits::DEFAULT;
    let envelope = Envelope::parse(payload, dialect?.framing, &limits).ok()?;
    if envelope.flavor == PickleFlavor::Python3 {
        return None;
    }
    let is_reply = envelope.is_reply();
    let head = if is_reply { String::new() } else { head(&envelope) };
    let body = in_one_form(envelope.args.into_value(&limits).ok()?);
    Some(if is_reply {
        let (head, _) = shown.split_once(" -> ")?;
        let error = if shown.contains(" -> error ") { "error " } else { "" };
        format!("{head} -> {error}{body}")
    } else {
        format!("{head}{body}")
    })
}

fn in_one_form(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Text(text) if text.is_ascii() => Value::Native(text.as_bytes().to_vec().into()),
        Value::Bytes(bytes) => Value::Native(bytes),
        Value::Tuple(items) => Value::Tuple(items.into_iter().map(in_one_form).collect()),
        Value::List(items) => Value::List(items.into_iter().map(in_one_form).collect()),
        Value::Dict(pairs) => {
            let mut pairs: Vec<_> =
                pairs.into_iter().map(|(key, value)| (in_one_form(key), in_one_form(value))).collect();
            pairs.sort_by_cached_key(|(key, _)| key.to_string());
            Value::Dict(pairs)
        }
        Value::Object(mut object) => {
            object.args = in_one_form(object.args);
            object.state = object.state.map(in_one_form);
            Value::Object(object)
        }
        other => other,
    }
}
