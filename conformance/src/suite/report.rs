//! What came of whole suites: a table for people, a file for programs, and the problems.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::expected::{Expected, Reason};
use super::{Judgement, Status, TestResult, Version};
use crate::config::Framing;

/// How many lines of a log are shown, its last.
const LOG_LINES: usize = 15;
/// How many lines of a report are shown, its first: of a test in prose the later errors are consequences.
const REPORT_LINES: usize = 30;

/// One suite that was run.
#[derive(Debug)]
pub struct Report<'a> {
    /// Whose suite.
    pub version: Version,
    /// The framing of all tests that do not choose one.
    pub framing: Framing,
    /// Whether all tests were run, so that it would be noticed if some were missing.
    pub is_whole: bool,
    /// The results, in the order of their ids.
    pub results: Vec<TestResult>,
    /// What is known not to pass.
    pub expected: &'a Expected,
}

/// A suite in the file for programs.
#[derive(Debug, Serialize)]
struct Record<'a> {
    zeo: &'static str,
    framing: &'static str,
    tests: Vec<TestRecord<'a>>,
}

#[derive(Debug, Serialize)]
struct TestRecord<'a> {
    #[serde(flatten)]
    result: &'a TestResult,
    /// The kind of the reason why it is known not to pass.
    expected: Option<&'a str>,
}

impl Report<'_> {
    /// The results that count, each with what it means.
    fn judged(&self) -> impl Iterator<Item = (&TestResult, Judgement<'_>)> {
        let judge = |result| (result, Judgement::of(result, self.version, self.expected));
        self.results.iter().map(judge).filter(|(_, judgement)| *judgement != Judgement::NotCounted)
    }

    fn count(&self, is_one: impl Fn(Judgement<'_>) -> bool) -> usize {
        self.judged().filter(|(_, judgement)| is_one(*judgement)).count()
    }

    /// Everything that somebody has to look at, a paragraph each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> =
            self.judged().filter_map(|(result, judgement)| problem(result, judgement)).collect();
        if self.is_whole {
            let count = self.judged().count();
            let expected = self.version.external_count();
            if count != expected {
                problems.push(format!("{count} tests started the server; with Python's it is {expected}"));
            }
            let tests: Vec<_> = self.judged().map(|(result, _)| result.test.as_str()).collect();
            for (line, pattern) in self.expected.idle(self.version.name(), &tests) {
                problems.push(format!("the list of expected failures, line {line}: no test is {pattern}"));
            }
        }
        problems
    }

    fn record(&self) -> Record<'_> {
        let tests = self.results.iter().map(|result| TestRecord {
            result,
            expected: self
                .expected
                .reason(self.version.name(), &result.test)
                .map(|reason| reason.kind.as_str()),
        });
        Record { zeo: self.version.name(), framing: self.framing.name(), tests: tests.collect() }
    }
}

/// What is wrong with a result, if anything, with the ends of its logs.
#[must_use]
pub fn problem(result: &TestResult, judgement: Judgement<'_>) -> Option<String> {
    let TestResult { test, status, error, seconds, .. } = result;
    match judgement {
        Judgement::PassesUnexpectedly(Reason { kind, text }) => {
            Some(format!("{test}: passes, but is on the list as {kind}: {text}"))
        }
        Judgement::Fails => {
            let status = match status {
                Status::Pass => "passes",
                Status::Fail => "fails",
                Status::Error => "error",
                Status::Skip => "skipped",
                Status::Timeout => "time limit",
            };
            let logs = logs(Path::new(&result.logs));
            Some(format!("{test}: {status} after {seconds} s\n  {error}\n{logs}"))
        }
        Judgement::NotCounted | Judgement::Passes | Judgement::CannotPass(_) => None,
    }
}

/// The beginning of the report in `dir`, and the ends of the logs.
fn logs(dir: &Path) -> String {
    let mut paths: Vec<_> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut text = String::new();
    for path in paths.iter().filter(|path| path.extension().is_none_or(|extension| extension != "conf")) {
        let log = crate::process::read_lossy(path);
        let lines: Vec<_> = log.trim_end().lines().collect();
        let is_report = path.file_name().is_some_and(|name| name == "report.txt");
        let shown = if is_report {
            lines.get(..REPORT_LINES.min(lines.len()))
        } else {
            lines.get(lines.len().saturating_sub(LOG_LINES)..)
        };
        if let Some(shown) = shown.filter(|shown| !shown.is_empty()) {
            // Writing to a String cannot fail.
            let _ = write!(text, "  --- {}\n  {}\n", path.display(), shown.join("\n  "));
        }
    }
    text
}

/// A table of all suites in Markdown, and under it the reasons.
#[must_use]
pub fn markdown(reports: &[Report<'_>]) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    let mut reasons = BTreeMap::new();
    for (_, judgement) in reports.iter().flat_map(Report::judged) {
        if let Judgement::CannotPass(reason) = judgement {
            if !kinds.contains(&reason.kind.as_str()) {
                kinds.push(&reason.kind);
            }
            reasons.entry((&reason.kind, &reason.text)).and_modify(|count| *count += 1).or_insert(1_usize);
        }
    }
    let mut text = String::from("| ZEO | framing | tests | pass |");
    for kind in &kinds {
        let _ = write!(text, " {kind} |");
    }
    text.push_str(" other failures |\n|---|---|---|---|");
    text.push_str(&"---|".repeat(kinds.len() + 1));
    text.push('\n');
    for report in reports {
        let passes = report
            .count(|judgement| matches!(judgement, Judgement::Passes | Judgement::PassesUnexpectedly(_)));
        let (zeo, framing) = (report.version.name(), report.framing.name());
        let _ = write!(text, "| {zeo} | {framing} | {} | {passes} |", report.judged().count());
        for &kind in &kinds {
            let count = report
                .count(|judgement| matches!(judgement, Judgement::CannotPass(reason) if reason.kind == kind));
            let _ = write!(text, " {count} |");
        }
        let fails = report.count(|judgement: Judgement<'_>| judgement == Judgement::Fails);
        let _ = writeln!(text, " {fails} |");
    }
    text.push('\n');
    for ((kind, reason), count) in reasons {
        let _ = writeln!(text, "* {kind} ({count}): {reason}");
    }
    text
}

/// All results as JSON.
///
/// # Errors
/// None that these types can cause.
pub fn json(reports: &[Report<'_>]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&reports.iter().map(Report::record).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::PeerVersion;

    fn result(test: &str, status: Status) -> TestResult {
        let (test, error) = (test.to_owned(), "because".to_owned());
        TestResult {
            test,
            status,
            external: true,
            seconds: 0.5,
            error,
            warnings: vec![],
            logs: String::new(),
        }
    }

    fn report(expected: &Expected) -> Report<'_> {
        let mut results = vec![
            result("a", Status::Pass),
            result("b", Status::Fail),
            result("c", Status::Error),
            result("d", Status::Pass),
        ];
        let inside = TestResult { external: false, ..result("e", Status::Error) };
        results.push(inside);
        Report {
            version: PeerVersion::Zeo62.into(),
            framing: Framing::Pickle,
            is_whole: false,
            results,
            expected,
        }
    }

    #[test]
    fn the_table_counts_by_kind() {
        let expected = Expected::parse("undo: cannot merge\n  b\n  d\n").unwrap();
        let table = "| ZEO | framing | tests | pass | undo | other failures |\n|---|---|---|---|---|---|\n\
                     | 6.2 | pickle | 4 | 2 | 1 | 1 |\n\n* undo (1): cannot merge\n";
        assert_eq!(markdown(&[report(&expected)]), table);
    }

    #[test]
    fn problems_are_failures_unexpected_passes_and_what_is_missing() {
        let expected = Expected::parse("undo: cannot merge\n  b\n  d\n  6.2 x\n").unwrap();
        let mut report = report(&expected);
        let problems =
            ["c: error after 0.5 s\n  because\n", "d: passes, but is on the list as undo: cannot merge"];
        assert_eq!(report.problems(), problems);
        report.is_whole = true;
        let missing = [
            "4 tests started the server; with Python's it is 543",
            "the list of expected failures, line 4: no test is x",
        ];
        assert_eq!(report.problems().get(2..), Some(&missing.map(str::to_owned)[..]));
    }

    #[test]
    fn the_file_for_programs_has_the_ids() {
        let expected = Expected::parse("undo: cannot merge\n  b\n").unwrap();
        let value: serde_json::Value = serde_json::from_str(&json(&[report(&expected)]).unwrap()).unwrap();
        let test = value.pointer("/0/tests/1").unwrap();
        assert_eq!(test.get("test").unwrap(), "b");
        assert_eq!(test.get("status").unwrap(), "fail");
        assert_eq!(test.get("expected").unwrap(), "undo");
    }
}
