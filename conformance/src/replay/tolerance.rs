//! What a newer server may say otherwise to a client of ZEO 4 than the captured one did, since its clients get along with
//! both.
//!
//! A server of ZEO 4 announces `Z4`; tells nobody of transactions that only make new objects, and leaves new objects out of
//! invalidations, as newer ones do not (rule S7 of the ordering; protocol reference 8); and tells in `info` how large the
//! storage was before the commit. A probe's answer counts clients that verify caches.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// How a message of the live server is to be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is compared with the captured one, as these texts.
    Compared(String, String),
    /// A captured server of ZEO 4 would not have said it.
    Extra,
}

/// Takes a message where `captured` is the one in its place, of a server of ZEO 4.
pub(super) fn take(captured: Option<&str>, live: &str) -> Taken {
    const INFO: &str = "info(";
    let compared = |captured: &str, live: &str| Taken::Compared(captured.to_owned(), live.to_owned());
    let Some(captured) = captured else {
        let is_extra = live.starts_with(INFO) || invalidation(live).is_some();
        return if is_extra { Taken::Extra } else { compared("nothing", live) };
    };
    if captured == "\"Z4\"" && live == "\"Z5\"" {
        return compared(live, live);
    }
    if live.starts_with(INFO) {
        // Numbers aside.
        return if captured.starts_with(INFO) { compared(live, live) } else { Taken::Extra };
    }
    if let Some((tid, oids)) = invalidation(live) {
        return match invalidation(captured) {
            Some((captured_tid, known)) if known.is_subset(&oids) => {
                let text = |tid: &str| format!("invalidateTransaction({tid}, [])");
                Taken::Compared(text(captured_tid), text(tid))
            }
            _ => Taken::Extra,
        };
    }
    Taken::Compared(without_verifying(captured).into_owned(), without_verifying(live).into_owned())
}

/// Tid and oids of an invalidation.
fn invalidation(text: &str) -> Option<(&str, BTreeSet<&str>)> {
    let (tid, oids) = text.strip_prefix("invalidateTransaction(")?.split_once(", ")?;
    let oids = oids.trim_end_matches(')').trim_start_matches(['[', '(']).trim_end_matches([']', ')', ',']);
    Some((tid, oids.split(", ").filter(|oid| !oid.is_empty()).collect()))
}

/// The answer to a probe without what only ZEO 4 counts.
fn without_verifying(text: &str) -> Cow<'_, str> {
    const COUNT: &str = r#"\"verifying_clients\": 0, "#;
    if text.starts_with('"') { Cow::Owned(text.replace(COUNT, "")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_newer_servers_say_is_extra() {
        let is_extra = |captured, live| take(captured, live) == Taken::Extra;
        assert!(is_extra(None, "info({\"length\": 1})"));
        assert!(is_extra(Some("serialnos([])"), "info({\"length\": 1})"));
        assert!(is_extra(None, "invalidateTransaction(h'01', [h'02'])"));
        assert!(is_extra(
            Some("invalidateTransaction(h'05', [h'02'])"),
            "invalidateTransaction(h'01', [h'03'])"
        ));
        assert!(!is_extra(
            Some("invalidateTransaction(h'05', [h'02'])"),
            "invalidateTransaction(h'01', [h'03', h'02'])"
        ));
        assert!(!is_extra(None, "serialnos([])"));
    }

    #[test]
    fn what_counts_is_compared() {
        let compared = |captured, live| match take(Some(captured), live) {
            Taken::Compared(captured, live) => captured == live,
            Taken::Extra => false,
        };
        assert!(compared("info({\"length\": 1, \"size\": 2})", "info({\"length\": 1, \"size\": 3})"));
        assert!(!compared("serialnos([])", "serialnos([1])"));
        assert!(compared("\"Z4\"", "\"Z5\"") && !compared("\"Z4\"", "\"M5\""));
        assert!(!compared(
            "invalidateTransaction(h'05', [h'02'])",
            "invalidateTransaction(h'01', [h'03', h'02'])"
        ));
        let captured = r#""{\"1\": {\"active_txns\": 0, \"verifying_clients\": 0, \"lock_time\": null}}""#;
        assert!(compared(captured, r#""{\"1\": {\"active_txns\": 0, \"lock_time\": null}}""#));
        assert!(compared(captured, captured), "a server of ZEO 4");
    }
}
