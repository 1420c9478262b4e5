//! Whether two messages are the same, and where they differ.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::decode::Names;

use super::translate::{Translation, new_oids};

/// What stands for what.
#[derive(Debug)]
pub(super) struct Comparison {
    captured: Names,
    live: Names,
    pub(super) translation: Translation,
}

/// Two texts that differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unequal {
    pub(super) field: String,
    pub(super) expected: String,
    pub(super) got: String,
}

impl Default for Comparison {
    fn default() -> Self {
        Self { captured: Names::whole(), live: Names::whole(), translation: Translation::default() }
    }
}

impl Comparison {
    /// The captured message with the oids of the live server, after learning those that both hand out here.
    pub(super) fn with_live_oids<'c>(&mut self, captured: &'c str, live: &str) -> Cow<'c, str> {
        self.translation.learn_oids(&new_oids(captured), &new_oids(live));
        self.translation.apply_oids_to_text(captured)
    }

    /// Compares a message with the live one in its place, and learns the tids in both.
    pub(super) fn compare(&mut self, connection: u32, captured: &str, live: &str) -> Result<(), Unequal> {
        let (captured, live) = (json(captured), json(live));
        let expected = plain(self.captured.replace(connection, &captured));
        let got = plain(self.live.replace(connection, &live));
        let mut is_same = expected == got;
        if !is_same && [&expected, &got].iter().any(|text| text.contains("+1") || text.contains("-1")) {
            // A tid may be one more than the one before it, here or there, and not for the sake of a question.
            let strictly = plain(self.captured.replace_strictly(connection, &captured));
            is_same = strictly == plain(self.live.replace_strictly(connection, &live));
        }
        for (captured, live) in self.captured.new_tids().into_iter().zip(self.live.new_tids()) {
            self.translation.learn(captured, live);
        }
        // What differs here is not to make everything behind it differ.
        let next = self.captured.next_number().max(self.live.next_number());
        self.captured.go_on_from(next);
        self.live.go_on_from(next);
        if is_same { Ok(()) } else { Err(unequal(&expected, &got)) }
    }
}

/// A text that holds JSON, as JSON in one way to write it: the answer to a probe.
fn json(text: &str) -> Cow<'_, str> {
    let parsed = || {
        let inside: String = serde_json::from_str(text).ok()?;
        let value: serde_json::Value = serde_json::from_str(&inside).ok()?;
        value.is_object().then(|| value.to_string())
    };
    if text.starts_with('"') { parsed().map_or(Cow::Borrowed(text), Cow::Owned) } else { Cow::Borrowed(text) }
}

/// The text without what means nothing: objects of an invalidation are a set, and files lie anywhere.
fn plain(text: String) -> String {
    const NO_FILE: &str = "\"No blob file at ";
    const STORAGE: &str = "\"name\": \"";
    if text.contains(": get_info -> ")
        && let Some((head, rest)) = text.split_once(STORAGE)
        && let Some((_, end)) = rest.split_once('"')
    {
        return format!("{head}{STORAGE}<file>\"{end}");
    }
    if text.starts_with("invalidateTransaction(")
        && let Some((head, rest)) = text.split_once(", [").or_else(|| text.split_once(", ("))
        && let Some((oids, end)) = rest.split_once([']', ')'])
    {
        let oids: BTreeSet<&str> = oids.trim_end_matches(',').split(", ").collect();
        let oids: Vec<&str> = oids.into_iter().collect();
        return format!("{head}, [{}]{end}", oids.join(", "));
    }
    if let Some((head, rest)) = text.split_once(NO_FILE)
        && let Some((_, end)) = rest.split_once('"')
    {
        return format!("{head}{NO_FILE}<file>\"{end}");
    }
    text
}

/// Where they part, with something of what is there.
fn unequal(expected: &str, got: &str) -> Unequal {
    let common = expected.char_indices().zip(got.chars()).find(|((_, one), other)| one != other);
    let at = common.map_or_else(|| expected.len().min(got.len()), |((at, _), _)| at);
    Unequal {
        field: field(expected.get(..at).unwrap_or_default()),
        expected: cut(expected, at),
        got: cut(got, at),
    }
}

/// Which part of a message the next character belongs to.
fn field(before: &str) -> String {
    let (head, body) = match before.split_once("-> ") {
        Some((_, body)) => ("result", body),
        None => match before.split_once('(') {
            Some((_, body)) => ("argument", body),
            None => return "what it is".to_owned(),
        },
    };
    let mut path = vec![0_usize];
    let mut quote = None;
    for character in body.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(' | '[' | '{') => path.push(0),
            (None, ')' | ']' | '}') => {
                path.pop();
            }
            (None, ',') => {
                if let Some(last) = path.last_mut() {
                    *last += 1;
                }
            }
            (None, _) => {}
        }
    }
    let mut shown = head.to_owned();
    let first = usize::from(head == "result");
    path.iter().skip(first).for_each(|index| shown.push_str(&format!("[{index}]")));
    shown
}

/// The text around a place.
fn cut(text: &str, at: usize) -> String {
    const BEFORE: usize = 60;
    const LEN: usize = 200;
    let start = text.floor_char_boundary(at.saturating_sub(BEFORE));
    let end = text.floor_char_boundary(start.saturating_add(LEN).min(text.len()));
    let [before, behind] = [start > 0, end < text.len()].map(|is_cut| if is_cut { "..." } else { "" });
    format!("{before}{}{behind}", text.get(start..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_named() {
        let unequal = |expected, got| unequal(expected, got).field;
        assert_eq!(
            unequal("3: loadBefore -> [h'01', T1, None]", "3: loadBefore -> [h'01', T2, None]"),
            "result[1]"
        );
        assert_eq!(unequal("3: vote -> [\"a,b\", [1, 2]]", "3: vote -> [\"a,b\", [1, 3]]"), "result[1][1]");
        assert_eq!(unequal("3: vote -> None", "3: vote -> 1"), "result");
        assert_eq!(
            unequal("info({\"length\": 1, \"size\": 2})", "info({\"length\": 1, \"size\": 3})"),
            "argument[0][1]"
        );
        assert_eq!(unequal("3: vote", "4: vote"), "what it is");
    }

    #[test]
    fn objects_of_an_invalidation_are_a_set() {
        let mut comparison = Comparison::default();
        let mut compare = |captured, live| comparison.compare(1, captured, live).is_ok();
        assert!(compare(
            "invalidateTransaction(1, [h'02', h'01', h'02'])",
            "invalidateTransaction(1, [h'01', h'02'])"
        ));
        assert!(!compare("invalidateTransaction(1, [h'02', h'01'])", "invalidateTransaction(1, [h'01'])"));
        assert!(compare("invalidateTransaction(1, (h'02', h'02'))", "invalidateTransaction(1, (h'02',))"));
        assert!(compare(
            r#"2: get_info -> {"name": "Data.fs", "size": 4}"#,
            r#"2: get_info -> {"name": "/d", "size": 4}"#
        ));
        assert!(!compare(
            r#"2: get_info -> {"name": "d", "size": 4}"#,
            r#"2: get_info -> {"name": "d", "size": 5}"#
        ));
        assert!(compare(r#"x("No blob file at /a/b", 1)"#, r#"x("No blob file at /c", 1)"#));
    }

    #[test]
    fn json_is_the_same_however_it_is_written() {
        let mut comparison = Comparison::default();
        let mut compare = |captured, live| comparison.compare(1, captured, live).is_ok();
        let captured = r#""{\"1\": {\"loads\": 0, \"start\": \"Thu Nov 26 18:12:34 2026\"}}""#;
        assert!(compare(captured, r#""{\"1\":{\"start\":\"Fri Nov 27 18:12:34 2026\",\"loads\":0}}""#));
        assert!(!compare(captured, r#""{\"1\":{\"start\":\"Fri Nov 27 18:12:34 2026\",\"loads\":1}}""#));
    }

    #[test]
    fn one_difference_is_one() {
        let mut comparison = Comparison::default();
        let mut compare = |captured: &str, live: &str| comparison.compare(1, captured, live).is_ok();
        assert!(compare("1: a -> h'0400000000000011'", "1: a -> h'0400000000000101'"));
        assert!(!compare("2: a -> h'0400000000000011'", "2: a -> h'0400000000000333'"));
        assert!(compare("3: a -> h'0400000000000022'", "3: a -> h'0400000000000201'"));
    }

    #[test]
    fn tids_are_mapped_one_to_one() {
        let mut comparison = Comparison::default();
        let mut compare = |captured, live| comparison.compare(1, captured, live).is_ok();
        assert!(compare("1: a -> h'0400000000000011'", "1: a -> h'0400000000000101'"));
        assert!(compare("2: a -> h'0400000000000022'", "2: a -> h'0400000000000201'"));
        assert!(compare("3: a -> h'0400000000000011'", "3: a -> h'0400000000000101'"));
        assert!(!compare("4: a -> h'0400000000000011'", "4: a -> h'0400000000000201'"));
        assert!(!compare("5: a -> h'0400000000000099'", "5: a -> h'0400000000000201'"), "two for one");
    }

    #[test]
    fn new_oids_are_mapped_one_to_one() {
        let mut comparison = Comparison::default();
        let mut compare = |captured: &str, live: &str| {
            let captured = comparison.with_live_oids(captured, live);
            comparison.compare(1, &captured, live).is_ok()
        };
        let [first, second, third, fourth] = [1_u64, 2, 101, 102].map(|oid| format!("h'{oid:016x}'"));
        assert!(compare(
            &format!("1: new_oids -> [{first}, {second}]"),
            &format!("1: new_oids -> [{third}, {fourth}]")
        ));
        let notice = |oid: &str| format!("invalidateTransaction(h'0400000000000011', [{oid}])");
        assert!(compare(&notice(&second), &notice(&fourth)));
        assert!(!compare(&notice(&second), &notice(&second)), "another object");
        assert!(!compare(&notice(&third), &notice(&fourth)), "two for one");
        let record = |oid: u64| {
            format!("2: loadBefore -> [h'80036370434308{oid:016x}7151', h'0400000000000011', None]")
        };
        assert!(compare(&record(2), &record(102)), "what a record refers to");
        assert!(!compare(&record(2), &record(101)));
        assert!(
            !compare(
                &format!("3: new_oids -> [{first}, {second}]"),
                &format!("3: new_oids -> [h'00000000000000c9', {fourth}]"),
            ),
            "handed out for the second time"
        );
        assert!(
            !compare("4: new_oids -> [h'0000000000000005']", &format!("4: new_oids -> [{third}]")),
            "two for one"
        );
    }

    /// A clock that has not moved on gives the next tid.
    #[test]
    fn tids_side_by_side_are_two() {
        for (captured, live) in [(0x12, 0x205), (0x31, 0x102)] {
            let mut comparison = Comparison::default();
            let mut compare = |captured: &str, live: &str| comparison.compare(1, captured, live).is_ok();
            let tid = |tid: u64| format!("1: tpc_finish -> h'{:016x}'", 0x0400_0000_0000_0000_u64 + tid);
            assert!(compare(&tid(0x11), &tid(0x101)));
            assert!(compare(&tid(captured), &tid(live)), "{captured:x} {live:x}");
            assert!(compare(&tid(captured), &tid(live)) && !compare(&tid(0x11), &tid(live)));
            assert!(compare(&tid(0x44), &tid(0x404)) && !compare(&tid(0x44), &tid(live)));
        }
    }

    #[test]
    fn records_are_compared_to_their_last_byte() {
        let mut comparison = Comparison::default();
        let record = |last: &str| {
            format!(
                "3: loadBefore -> [h'80036370657273697374656e742e6d617070696e67{last}', h'0400000000000011', None]"
            )
        };
        assert!(comparison.compare(1, &record("01"), &record("01")).is_ok());
        assert!(comparison.compare(1, &record("01"), &record("02")).is_err());
    }
}
