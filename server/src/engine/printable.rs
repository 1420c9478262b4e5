//! Text that clients chose, as it may stand in a line of the log.
//!
//! Python's server writes what it is given (StorageServer.py:set_client_label, ZEO 6.2), so that there a label with a
//! line break in it is a second line, which says whatever the client likes, as long as it likes.

/// Greatest number of characters of a client's label; host names have at most 253.
pub(crate) const LABEL_LEN: usize = 255;
/// Greatest number of characters of an error that repeats what a client said.
pub(crate) const ERROR_LEN: usize = 2_000;
/// Greatest number of characters of a name that a client made up.
pub(crate) const NAME_LEN: usize = 255;

/// One line of at most `len_max` characters of `text`, and a sign where it is longer. What would end the line, move
/// on a terminal, or turn the direction of writing is escaped.
pub(crate) fn printable(text: &str, len_max: usize) -> String {
    let mut line = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == len_max {
            line.push('…');
            break;
        }
        if is_plain(character) {
            line.push(character);
        } else {
            line.extend(character.escape_unicode());
        }
    }
    line
}

fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            // Line and paragraph separators; marks, embeddings, overrides and isolates of direction.
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_text_stays_and_control_characters_are_shown() {
        assert_eq!(printable("instance-1 (zürich) \\n", 255), "instance-1 (zürich) \\n");
        let forged = "x\n2026-11-21T00:00:00 INFO root all is well\x1b[2K\r\u{9b}\u{2028}\u{202e}";
        let line = printable(forged, 255);
        assert_eq!(
            line,
            "x\\u{a}2026-11-21T00:00:00 INFO root all is well\\u{1b}[2K\\u{d}\\u{9b}\\u{2028}\\u{202e}"
        );
    }

    #[test]
    fn what_is_longer_is_cut_with_a_sign() {
        assert_eq!(printable("abc", 3), "abc");
        assert_eq!(printable("abcd", 3), "abc…");
        assert_eq!(printable(&"ü".repeat(1_000_000), LABEL_LEN).chars().count(), LABEL_LEN + 1);
    }

    proptest! {
        #[test]
        fn any_text_is_one_short_line(text: String, len_max in 0_usize..50) {
            let line = printable(&text, len_max);
            prop_assert!(line.chars().all(is_plain));
            // An escape has at most ten characters.
            prop_assert!(line.chars().count() <= 10 * len_max + 1);
        }
    }
}
