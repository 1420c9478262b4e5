//! PROTOCOL.md and the tests that it names belong together.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::path::Path;

#[test]
fn every_fact_is_shown_by_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("PROTOCOL.md")).unwrap();
    let mut number = 0;
    for row in text.lines().filter(|line| line.starts_with("| F")) {
        number += 1;
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells[0], format!("F{number}"));
        assert_eq!(cells.len(), 4, "F{number}");
        for citation in cells[3].split(", ") {
            let (file, test) = citation.trim_matches('`').split_once("::").unwrap();
            let path = match file.strip_prefix("unit:") {
                Some(path) => root.join("src").join(path),
                None => root.join("tests").join(file).with_extension("rs"),
            };
            let source =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("F{number}: {path:?}: {error}"));
            assert!(source.contains(&format!("fn {test}(")), "F{number}: no {test} in {path:?}");
        }
    }
    assert!(number >= 40);
}
