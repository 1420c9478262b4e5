//! `GUARANTEES.md` and the tests that it names belong together.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

/// Whether a source has a test, or a trial, of this name.
fn has(source: &str, name: &str) -> bool {
    [format!("fn {name}("), format!("(\"{name}\","), format!("name: \"{name}\"")]
        .iter()
        .any(|text| source.contains(text.as_str()))
}

#[test]
fn every_guarantee_is_shown_by_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("server/GUARANTEES.md")).unwrap();
    let mut rules = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [rule, _, shown] = cells.as_slice() else { panic!("three cells: {row}") };
        if rule.chars().any(|character| character.is_ascii_digit()) {
            rules.push((*rule).to_owned());
        } else {
            continue;
        }
        // Every second piece stands between backticks.
        let citations: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!citations.is_empty() || shown.contains("not yet"), "{rule} shows nothing");
        // Programs for long runs stand there by their command lines.
        for citation in citations.into_iter().filter(|citation| !citation.starts_with("zeo-")) {
            let (file, test) = citation.split_once("::").unwrap_or_else(|| panic!("{rule}: {citation}"));
            let path = root.join(file);
            let source = std::fs::read_to_string(&path);
            let source = source.unwrap_or_else(|error| panic!("{rule}: {file}: {error}"));
            assert!(has(&source, test), "{rule}: no {test} in {file}");
        }
    }
    let rows = |letter: &str, count: u32| -> Vec<String> {
        (1..=count).map(|number| format!("{letter}{number}")).collect()
    };
    assert_eq!(rules, [rows("S", 11), rows("", 30), rows("O", 17)].concat());
}
