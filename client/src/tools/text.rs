//! What is said on the standard streams.

use std::fmt::{self, Display, Formatter, Write as _};
use std::io::Write as _;

/// Says it on the standard error stream, if there is one: the exit status says it in any case.
pub(super) fn complain(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Text of a server as it may be shown: control characters, and those that change the direction of what follows, are
/// escaped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<T>(pub(super) T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes what is written to it.
struct Escaping<'a, 'f>(&'a mut Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| {
            if is_dangerous(char) {
                write!(self.0, "{}", char.escape_default())
            } else {
                self.0.write_char(char)
            }
        })
    }
}

/// Whether a terminal may do something else with it than show it.
pub(super) fn is_dangerous(char: char) -> bool {
    // Bidirectional embeddings, overrides and isolates.
    char.is_control()
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_server_says_moves_the_cursor() {
        let said = "Zürich\x1b[2J\r\nok \u{202e}txt\u{9b}";
        assert_eq!(Shown(said).to_string(), "Zürich\\u{1b}[2J\\r\\nok \\u{202e}txt\\u{9b}");
    }
}
