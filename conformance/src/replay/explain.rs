//! The bytes of two messages that are not the same.

use std::fmt;

use super::Difference;

/// How many bytes stand on a line, and how many lines there are around the place.
const LINE_LEN: usize = 16;
const LINE_COUNT: usize = 12;

/// Shows a difference with the bytes of both messages, from a little before the place where they part; that is marked.
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
            bytes: (Bytes::from_static(b"\x80\x03(one"), Bytes::from_static(b"\x80\x03(other")),
        };
        let shown = Explained(&difference).to_string();
        let expected = "connection 1, message 7, result[1]\n  expected one\n  got      other\n  expected, 6 bytes, which part at 4:\n    \
                        000000  80 03 28 6f>6e 65                                ..(one\n  got, 8 bytes, which part at 4:\n    \
                        000000  80 03 28 6f>74 68 65 72                          ..(other\n";
        assert_eq!(shown, expected);
    }
}
