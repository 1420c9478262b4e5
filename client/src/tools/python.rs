//! How Python writes strings and numbers: what its programs print is read by other programs.

use std::fmt::Write as _;

use super::text::is_dangerous;

/// As Python's `repr` of a `str`; of the characters that it escapes, those that are control characters.
pub(super) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for char in text.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if char == quote => out.extend(['\\', char]),
            _ if is_dangerous(char) => {
                let number = u32::from(char);
                // A String takes everything.
                let _ = if number < 0x100 {
                    write!(out, "\\x{number:02x}")
                } else {
                    write!(out, "\\u{number:04x}")
                };
            }
            _ => out.push(char),
        }
    }
    out.push(quote);
    out
}

/// As Python's `repr` of a `float`.
pub(super) fn float(number: f64) -> String {
    let size = number.abs();
    if !number.is_finite() || size == 0.0 || (1e-4..1e16).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python 3.11: `repr` of the same.
    #[test]
    fn writes_numbers_as_python_does() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.5, "-0.5"),
            (81.226297803, "81.226297803"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (-0.000025, "-2.5e-05"),
            (1e-100, "1e-100"),
        ] {
            assert_eq!(float(number), expected);
        }
    }

    /// Python 3.11: `for text in [...]: print(repr(text))`.
    #[test]
    fn quotes_as_python_does() {
        for (text, expected) in [
            ("1", r"'1'"),
            ("it's", r#""it's""#),
            (r#"'"#, r#""'""#),
            (r#"a'b"c"#, r#"'a\'b"c'"#),
            ("a\\b\n\r\t\x1b\u{7f}\u{9b}", r"'a\\b\n\r\t\x1b\x7f\x9b'"),
            ("Zürich \u{202e}", r"'Zürich \u202e'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
