//! What is another value each time, by number: tids `T1`, ids of transactions `X1`, times.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Larger numbers are ids of transactions, or times.
const ID_MIN: u64 = 1_000_000_000;

/// How many digits of a string of bytes are shown: it is mostly a record.
const HEX_LEN_MAX: usize = 24;

/// The first bytes of tids that are not too far away: one is 31 years.
const TID_FIRST_BYTES: [u64; 2] = [3, 4];

/// The names that one capture has given out.
#[derive(Debug, Default)]
pub(crate) struct Names {
    tids: BTreeMap<u64, usize>,
    /// How many numbers of tids were given out, or left out.
    tid_count: usize,
    /// Those that have been named since somebody asked.
    new_tids: Vec<u64>,
    ids: BTreeMap<(u32, String), usize>,
    id_count: usize,
    connection: u32,
    /// Strings of bytes are not cut.
    is_whole: bool,
    /// One more or less than a tid is a tid of its own.
    is_strict: bool,
}

impl Names {
    /// Names for lines in which strings of bytes stay whole: to compare, not to read.
    pub(crate) fn whole() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    /// [`Self::replace`], where numbers beside a tid that have no name are tids of their own.
    pub(crate) fn replace_strictly(&mut self, connection: u32, line: &str) -> String {
        self.is_strict = true;
        let text = self.replace(connection, line);
        self.is_strict = false;
        text
    }

    /// The line, which is of this connection, with names in place of such values. What is one more or less than a tid is
    /// named after it.
    pub(crate) fn replace(&mut self, connection: u32, line: &str) -> String {
        self.connection = connection;
        if line.starts_with("tpc_begin(") {
            // It is the address of an object, and may be used again.
            self.ids.retain(|(of, digits), _| *of != connection || !line.contains(digits.as_str()));
        }
        let mut text = String::new();
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let (len, shown) = match first {
                '\'' | '"' => self.quoted(rest, first),
                '0'..='9' => self.number(rest),
                _ => (first.len_utf8(), None),
            };
            let (taken, behind) = rest.split_at(len);
            let is_name = shown.as_ref().is_some_and(|shown| !shown.starts_with('\''));
            if is_name && text.ends_with('h') && first == '\'' {
                text.pop();
            }
            text.push_str(shown.as_deref().unwrap_or(taken));
            rest = behind;
        }
        text
    }

    /// The tids that have been named since the last call, in order.
    pub(crate) fn new_tids(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.new_tids)
    }

    /// The number that the next tid will have.
    pub(crate) const fn next_number(&self) -> usize {
        self.tid_count + 1
    }

    /// Leaves numbers out.
    pub(crate) const fn go_on_from(&mut self, next: usize) {
        self.tid_count = next.saturating_sub(1);
    }

    /// How long the string is, and what to show in its place.
    fn quoted(&mut self, rest: &str, quote: char) -> (usize, Option<String>) {
        let inside = rest.get(1..).unwrap_or_default();
        // Quotes in a JSON string are escaped.
        let mut is_escaped = false;
        let end = inside.find(|c| {
            let is_end = c == quote && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        let Some(end) = end else { return (rest.len(), None) };
        let content = inside.get(..end).unwrap_or_default();
        let tid = self.tid(content);
        let shown = match quote {
            '"' => {
                volatile(content).or(tid).or_else(|| self.undo_id(content)).map(|name| format!("\"{name}\""))
            }
            _ => tid.or_else(|| self.undo_id_in_hex(content)),
        };
        let behind = inside.get(end + 1..).unwrap_or_default();
        match (quote, content.get(..HEX_LEN_MAX)) {
            ('\'', Some(start)) if !self.is_whole && shown.is_none() && content.len() > HEX_LEN_MAX => {
                let (more_len, more) = left_out(behind);
                let rest = (content.len() - HEX_LEN_MAX) / 2 + more;
                (end + 2 + more_len, Some(format!("'{start}'+{rest}")))
            }
            _ => (end + 2, shown),
        }
    }

    /// The name of a tid in 16 digits: one of the years from 1990 to 2080.
    fn tid(&mut self, digits: &str) -> Option<String> {
        let tid = (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()?;
        if !TID_FIRST_BYTES.contains(&(tid >> 56)) {
            return None;
        }
        for (known, add) in [(tid, ""), (tid - 1, "+1"), (tid + 1, "-1")] {
            if self.is_strict && known != tid {
                break;
            }
            if let Some(number) = self.tids.get(&known) {
                return Some(format!("T{number}{add}"));
            }
        }
        self.tid_count += 1;
        let number = self.tid_count;
        self.tids.insert(tid, number);
        self.new_tids.push(tid);
        Some(format!("T{number}"))
    }

    /// The id by which a transaction is undone: its tid in base64.
    fn undo_id(&mut self, text: &str) -> Option<String> {
        let bytes: [u8; 8] = BASE64_STANDARD.decode(text).ok()?.try_into().ok()?;
        let name = self.tid(&format!("{:016x}", u64::from_be_bytes(bytes)))?;
        Some(format!("undo-{name}"))
    }

    fn undo_id_in_hex(&mut self, digits: &str) -> Option<String> {
        let bytes: Option<Vec<u8>> = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        self.undo_id(str::from_utf8(&bytes?).ok()?)
    }

    fn number(&mut self, rest: &str) -> (usize, Option<String>) {
        let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest.get(..len).unwrap_or_default();
        let is_id = digits.parse::<u64>().is_ok_and(|number| number >= ID_MIN);
        let behind = rest.get(len..).unwrap_or_default();
        if let Some(fraction) = behind.strip_prefix('.').filter(|_| is_id) {
            let fraction_len = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
            return (len + 1 + fraction_len, Some("<time>".to_owned()));
        }
        if !is_id {
            return (len, None);
        }
        let number = *self.ids.entry((self.connection, digits.to_owned())).or_insert_with(|| {
            self.id_count += 1;
            self.id_count
        });
        (len, Some(format!("X{number}")))
    }
}

/// How many bytes were left out of a string that is followed by this, and how long that statement is.
fn left_out(behind: &str) -> (usize, usize) {
    let Some(digits) = behind.strip_prefix('+') else { return (0, 0) };
    let len = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    (len + 1, digits.get(..len).and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

/// What a text stands for that is another one each time: `Thu Nov 26 18:12:34 2026`, the name of a file on its way to
/// the blobs, a digest; or its beginning.
fn volatile(text: &str) -> Option<String> {
    let days = ["Mon ", "Tue ", "Wed ", "Thu ", "Fri ", "Sat ", "Sun "];
    let name = if days.iter().any(|day| text.starts_with(day)) && text.len() > 10 {
        "<date>"
    } else if text.starts_with("0x0") && text.len() > 10 {
        "<file>"
    } else if text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        "<digest>"
    } else {
        return None;
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_change_have_names_and_others_stay() {
        let mut names = Names::default();
        let line =
            r#"C 7: a(h'040d43b9dc09c6dd', h'0000000000000001', h'7fffffffffffffff', 140545394105680, 12)"#;
        assert_eq!(names.replace(1, line), "C 7: a(T1, h'0000000000000001', h'7fffffffffffffff', X1, 12)");
        let line = r#"S 7: a -> {"time": 1795656591.62, "tid": "040d43b9dc09c6dd", "n": h'040d43b9dc09c6de', "x": "a\"1"}"#;
        assert_eq!(
            names.replace(1, line),
            r#"S 7: a -> {"time": <time>, "tid": "T1", "n": T1+1, "x": "a\"1"}"#
        );
        assert_eq!(
            names.replace(1, "undoa(h'42413144756478436234673d', 140545394105680)"),
            "undoa(undo-T2, X1)"
        );
        assert_eq!(names.replace(1, r#"undoa(s2"BA1DudwJxt0=", 12)"#), r#"undoa(s2"undo-T1", 12)"#);
        assert_eq!(names.replace(1, r#"{"start": "Thu Nov 26 18:12:34 2026"}"#), r#"{"start": "<date>"}"#);
        assert_eq!(names.replace(1, "tpc_begin(140545394105680, {})"), "tpc_begin(X2, {})", "used again");
        assert_eq!(
            names.replace(1, "h'80036370657273697374656e742e6d61'+48, 1"),
            "h'80036370657273697374656e'+52, 1"
        );
        assert_eq!(
            names.replace(1, "s2'80036370657273697374656e742e6d61'"),
            "s2'80036370657273697374656e'+4"
        );
        assert_eq!(names.replace(1, "h'80036370657273697374656e'+3"), "h'80036370657273697374656e'+3");
    }
}
