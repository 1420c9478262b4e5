//! Numbers, sizes and times.

use super::{ValueError, trim};

/// ZConfig's `integer`: what Python's `int` takes, that is an optional sign, digits, and single underscores
/// between digits; blanks around it do not count. (Digits of other scripts than ours, which Python takes
/// too, are refused.)
///
/// # Errors
/// [`ValueError::Integer`], also for what does not fit into 64 bits.
pub fn integer(value: &str) -> Result<i64, ValueError> {
    number(value).ok_or_else(|| ValueError::Integer { value: value.into() })
}

/// ZConfig's `float`: what Python's `float` takes, including `inf` and `nan`.
///
/// # Errors
/// [`ValueError::Float`]
pub fn float(value: &str) -> Result<f64, ValueError> {
    let parsed = without_underscores(trim(value)).and_then(|digits| digits.parse().ok());
    parsed.ok_or_else(|| ValueError::Float { value: value.into() })
}

/// ZConfig's `byte-size`: an integer, in bytes, or followed by `KB`, `MB` or `GB` in any case (powers of
/// 1024).
///
/// # Errors
/// [`ValueError::ByteSize`]
pub fn byte_size(value: &str) -> Result<i64, ValueError> {
    let units = [("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30)];
    with_unit(value, &units).ok_or_else(|| ValueError::ByteSize { value: value.into() })
}

/// ZConfig's `time-interval`: an integer, in seconds, or followed by one of `s`, `m`, `h`, `d` in any case.
/// There are no combinations such as `1h 30m`: that is another of ZConfig's types, which ZEO does not use.
///
/// # Errors
/// [`ValueError::TimeInterval`]
pub fn time_interval(value: &str) -> Result<i64, ValueError> {
    let units = [("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)];
    with_unit(value, &units).ok_or_else(|| ValueError::TimeInterval { value: value.into() })
}

fn with_unit(value: &str, units: &[(&str, i64)]) -> Option<i64> {
    let lower = value.to_lowercase();
    let split = units.iter().find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, *factor)));
    let (digits, factor) = split.unwrap_or((&lower, 1));
    number(digits)?.checked_mul(factor)
}

fn number(value: &str) -> Option<i64> {
    // Rust and Python agree on the rest: one sign, then at least one digit, leading zeros allowed.
    without_underscores(trim(value))?.parse().ok()
}

/// Takes out underscores, each of which must stand between two digits.
fn without_underscores(text: &str) -> Option<String> {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut previous_is_digit = false;
    while let Some(c) = characters.next() {
        if c == '_' {
            let next_is_digit = characters.peek().is_some_and(char::is_ascii_digit);
            if !(previous_is_digit && next_is_digit) {
                return None;
            }
        } else {
            result.push(c);
        }
        previous_is_digit = c.is_ascii_digit();
    }
    Some(result)
}
