//! The list of tests that are known not to pass, each with the reason.
//!
//! ```text
//! # A comment.
//! KIND: the reason, which is shown to people
//!     ZEO.tests.testZEO.SomeTests.testSomething
//!     5.2.3 ZEO.tests.testZEO.OtherTests.*
//! ```
//!
//! A line at the margin begins a kind; the indented lines after it are ids of tests, in which `*` stands for
//! anything. In front of an id may be the only version that it is about. The first line that fits decides.

use super::SuiteError;

/// The kind whose tests fail only for who may write a file in spite of its mode, as root may.
pub const ROOT: &str = "root";

/// Why tests do not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A word for tables.
    pub kind: String,
    /// The sentence.
    pub text: String,
}

/// The list.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    reasons: Vec<Reason>,
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// Index into the reasons.
    reason: usize,
    version: Option<String>,
    test: String,
    line: usize,
}

impl Expected {
    /// Reads a list.
    ///
    /// # Errors
    /// [`SuiteError::Expected`] names the first line that is none of the forms.
    pub fn parse(text: &str) -> Result<Self, SuiteError> {
        let mut expected = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let malformed = || SuiteError::Expected { line: number, text: line.to_owned() };
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if line.starts_with(' ') {
                let reason = expected.reasons.len().checked_sub(1).ok_or_else(malformed)?;
                let (version, test) = match content.split_once(' ') {
                    Some((version, test)) => (Some(version.to_owned()), test.trim()),
                    None => (None, content),
                };
                let test = test.to_owned();
                expected.patterns.push(Pattern { reason, version, test, line: number });
            } else {
                let (kind, text) = content.split_once(": ").ok_or_else(malformed)?;
                expected.reasons.push(Reason { kind: kind.to_owned(), text: text.to_owned() });
            }
        }
        Ok(expected)
    }

    /// Leaves only the kinds for which `keep` says yes.
    pub fn retain_kinds(&mut self, keep: impl Fn(&str) -> bool) {
        let Self { reasons, patterns } = self;
        patterns.retain(|pattern| reasons.get(pattern.reason).is_some_and(|reason| keep(&reason.kind)));
    }

    /// Why `test` of ZEO `version` is known not to pass, if it is.
    #[must_use]
    pub fn reason(&self, version: &str, test: &str) -> Option<&Reason> {
        let pattern = self.patterns.iter().find(|pattern| pattern.fits(version, test))?;
        self.reasons.get(pattern.reason)
    }

    /// The lines for `version` alone that fit none of `tests`, with their numbers: nobody would miss them.
    pub fn idle<'a>(&'a self, version: &'a str, tests: &'a [&str]) -> impl Iterator<Item = (usize, &'a str)> {
        let own = self.patterns.iter().filter(move |pattern| pattern.version.as_deref() == Some(version));
        let idle = own.filter(move |pattern| !tests.iter().any(|test| fits(&pattern.test, test)));
        idle.map(|pattern| (pattern.line, pattern.test.as_str()))
    }

    /// The kinds in the order of the list, each once.
    #[must_use]
    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = Vec::new();
        for pattern in &self.patterns {
            let kind = self.reasons.get(pattern.reason).map_or("", |reason| reason.kind.as_str());
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }
}

impl Pattern {
    fn fits(&self, version: &str, test: &str) -> bool {
        self.version.as_deref().is_none_or(|own| own == version) && fits(&self.test, test)
    }
}

/// Whether `text` is `pattern`, in which `*` stands for anything.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(tail) = text.strip_prefix(head) else {
        return false;
    };
    tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| {
        let remaining = tail.get(at..).unwrap_or_default();
        fits(rest, remaining)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# what\n\nundo: the server cannot merge\n    a.B.test*Conflict\n\n    5.2.3 a.C.*\n\
                        root: files can be written\n    x@Layer\n";

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.*", "a.", true),
            ("*.b", "a.a.b", true),
            ("*.b*", "a.a.c", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*", "", true),
            ("6.2-*-msgpack", "6.2-5.4.1-pickle", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_line_that_fits_gives_the_reason() {
        let expected = Expected::parse(LIST).unwrap();
        let kind = |version, test| expected.reason(version, test).map(|reason| reason.kind.as_str());
        assert_eq!(kind("6.2", "a.B.testUndoConflict"), Some("undo"));
        assert_eq!(kind("6.2", "a.B.testUndo"), None);
        assert_eq!(kind("5.2.3", "a.C.test"), Some("undo"));
        assert_eq!(kind("6.2", "a.C.test"), None);
        assert_eq!(kind("6.2", "x@Layer"), Some("root"));
        assert_eq!(expected.reason("6.2", "x@Layer").unwrap().text, "files can be written");
        assert_eq!(expected.kinds(), ["undo", "root"]);
    }

    #[test]
    fn kinds_can_be_left_out() {
        let mut expected = Expected::parse(LIST).unwrap();
        expected.retain_kinds(|kind| kind != ROOT);
        assert_eq!(expected.reason("6.2", "x@Layer"), None);
        assert_eq!(expected.kinds(), ["undo"]);
    }

    #[test]
    fn a_line_that_fits_nothing_is_noticed() {
        let expected = Expected::parse(LIST).unwrap();
        assert_eq!(expected.idle("5.2.3", &["a.B.test"]).collect::<Vec<_>>(), [(6, "a.C.*")]);
        assert_eq!(expected.idle("5.2.3", &["a.C.test"]).count(), 0);
        assert_eq!(expected.idle("6.2", &["a.B.test"]).count(), 0);
    }

    #[test]
    fn lines_of_other_forms_are_refused_by_number() {
        for text in ["\nundo the server\n", "# x\n  a.B.test\n"] {
            let error = Expected::parse(text).unwrap_err();
            assert!(error.to_string().contains("line 2"), "{error}");
        }
    }
}
