//! `dateformat`: Python's `time.strftime`, in local time and with English names.

use jiff::Zoned;
use jiff::fmt::strtime;

use super::FormatError;

/// How `%(asctime)s` looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateFormat {
    /// In the language of jiff; the directives that differ from Python's have been replaced.
    strftime: String,
    has_milliseconds: bool,
}

impl Default for DateFormat {
    /// `%Y-%m-%dT%H:%M:%S`
    fn default() -> Self {
        Self { strftime: "%Y-%m-%dT%H:%M:%S".into(), has_milliseconds: false }
    }
}

/// Directives that mean the same to the C library's `strftime` and to jiff.
const SHARED: &str = "aAbBCdDeFgGhHIjklmMnpPRsStTuUVwWyYzZ%";

/// Directives by which the C library means, in the locale `C`, what others mean together.
const COMPOSED: &[(char, &str)] =
    &[('c', "%a %b %e %H:%M:%S %Y"), ('r', "%I:%M:%S %p"), ('x', "%m/%d/%y"), ('X', "%H:%M:%S")];

impl DateFormat {
    /// Reads the value of `dateformat`. An empty one is Python's own default, which has milliseconds.
    ///
    /// # Errors
    /// [`FormatError::Date`] for directives that `strftime` does not have.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        if text.is_empty() {
            return Ok(Self { strftime: "%Y-%m-%d %H:%M:%S".into(), has_milliseconds: true });
        }
        let mut strftime = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                strftime.push(c);
                continue;
            }
            match rest.next() {
                Some(directive) if SHARED.contains(directive) => strftime.extend(['%', directive]),
                directive => {
                    let composed = COMPOSED.iter().find(|(name, _)| Some(*name) == directive);
                    let directive = directive.map_or_else(|| "%".into(), |name| format!("%{name}"));
                    strftime.push_str(composed.ok_or(FormatError::Date { directive })?.1);
                }
            }
        }
        Ok(Self { strftime, has_milliseconds: false })
    }

    /// Appends `time` to `line`.
    pub(super) fn emit(&self, time: &Zoned, line: &mut String) {
        // It cannot fail, since all directives are known and a `Zoned` has everything that they ask for; but
        // a log line without its time would still be better than none.
        if let Ok(text) = strtime::format(&self.strftime, time) {
            line.push_str(&text);
        }
        if self.has_milliseconds {
            line.push_str(&format!(",{:03}", time.millisecond()));
        }
    }
}
