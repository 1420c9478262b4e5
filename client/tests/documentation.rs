//! The documents and the tests that they name belong together.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

/// The file of a test that is cited, and its name there. `None` for what is no citation.
fn place(citation: &str) -> Option<(String, &str)> {
    let (place, name) = citation.rsplit_once("::")?;
    let file = match place.split("::").collect::<Vec<_>>()[..] {
        ["live"] => "conformance/tests/client/main.rs".to_owned(),
        ["connection"] => "client/tests/connection/main.rs".to_owned(),
        ["connection", module] => format!("client/tests/connection/{module}.rs"),
        ["engine", module] => format!("client/src/engine/tests/{module}.rs"),
        [file] if file.ends_with(".rs") => file.to_owned(),
        _ => return None,
    };
    Some((file, name))
}

/// Sees to it that a cell names tests that exist; how many.
fn check(cell: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // Every second piece stands between backticks.
    let citations = cell.split('`').skip(1).step_by(2).filter_map(place);
    citations
        .map(|(file, name)| {
            let source = std::fs::read_to_string(root.join(&file));
            let source = source.unwrap_or_else(|error| panic!("{file}: {error}"));
            let is_there = [format!("fn {name}("), format!("(\"{name}\",")]
                .iter()
                .any(|text| source.contains(text.as_str()));
            assert!(is_there, "no {name} in {file}");
        })
        .count()
}

/// The cells of the rows of all tables, but for their heads.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
}

#[test]
fn tests_of_python_have_tests_that_exist() {
    let mut python = BTreeSet::new();
    for row in rows(include_str!("../TESTS.md")) {
        let [theirs, ours] = row[..] else { panic!("two cells: {row:?}") };
        if theirs == "Python test" {
            continue;
        }
        assert!(python.insert(theirs.to_owned()), "{theirs} twice");
        let count = check(ours);
        assert!(count > 0 || ours.starts_with("- ") || theirs == "`MsgpackClientTests`", "{theirs}: {ours}");
    }
    assert!(python.len() > 100, "{}", python.len());
}

#[test]
fn every_order_rule_has_tests_that_exist() {
    let mut rules = Vec::new();
    for row in rows(include_str!("../README.md")) {
        if let [rule @ ("C1" | "C2" | "C3" | "C4" | "C5" | "C6" | "C7" | "C8"), _, _, shown] = row[..] {
            assert!(check(shown) > 0, "{rule} is shown by nothing");
            rules.push(rule);
        }
    }
    assert_eq!(rules, ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"]);
}
