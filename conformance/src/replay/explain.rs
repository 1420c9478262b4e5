//! The bytes of two messages that are not the same.

use std::fmt;

use super::Difference;
use super::fields::fields;

/// How many bytes stand on a line, and how many lines there are around the place.
const LINE_LEN: usize = 16;
const LINE_COUNT: usize = 12;

/// Shows a difference with the bytes of both messages, from a little before the place where they part, which is marked,
/// and with the fields that lie there, of which the one with that place is marked, too.
#[derive(Debug)]
pub struct Explained<'d>(pub &'d Difference);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(difference) = self;
        writeln!(f, "{difference}")?;
        let (expected, got) = &difference.bytes;
        let parted = expected.iter().zip(got.iter()).position(|(one, other)| one != other);
        let at = parted.unwrap_or_else(|| expected.len().min(got.len()));
        for (name, bytes) in [("expected", expected), ("got", got)] {
            writeln!(f, "  {name}, {} bytes, which part at {at}:", bytes.len())?;
            let first = (at / LINE_LEN).saturating_sub(2);
            for (number, line) in bytes.chunks(LINE_LEN).enumerate().skip(first).take(LINE_COUNT) {
                let start = number * LINE_LEN;
                write!(f, "    {start:06x} ")?;
                for index in 0..LINE_LEN {
                    let mark = if start + index == at { '>' } else { ' ' };
                    match line.get(index) {
                        Some(byte) => write!(f, "{mark}{byte:02x}")?,
                        None => f.write_str("   ")?,
                    }
                }
                f.write_str("  ")?;
                for byte in line {
                    let shown =
                        if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
                    write!(f, "{shown}")?;
                }
                writeln!(f)?;
            }
            let shown = first * LINE_LEN..(first + LINE_COUNT) * LINE_LEN;
            for (place, name) in fields(bytes) {
                if place.start < shown.end && shown.start < place.end {
                    let mark = if place.contains(&at) { '>' } else { ' ' };
                    writeln!(f, "   {mark}{:06x} to {:06x} {name}", place.start, place.end)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_byte_at_which_they_part_is_marked() {
        let difference = Difference {
            connection: 1,
            number: Some(7),
            field: "result[1]".into(),
            expected: "one".into(),
            got: "other".into(),
            bytes: (Bytes::from_static(b"\x93\x01\xc2\xa3one"), Bytes::from_static(b"\x93\x01\xc2\xa5other")),
        };
        let shown = Explained(&difference).to_string();
        let expected = "connection 1, message 7, result[1]\n  expected one\n  got      other\n  expected, 7 bytes, which part at 3:\n    \
                        000000  93 01 c2>a3 6f 6e 65                             ....one\n    \
                        000004 to 000007 method\n  got, 9 bytes, which part at 3:\n    \
                        000000  93 01 c2>a5 6f 74 68 65 72                       ....other\n    \
                        000004 to 000009 method\n";
        assert_eq!(shown, expected);
    }
}
