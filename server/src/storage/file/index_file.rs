//! The `.index` file: Python's format 1, byte for byte.
//!
//! A sequence of pickles, each complete in itself: an int, the position up to which the index holds; a pair
//! (prefix, bucket) for each bucket by rising prefix; `None`. A bucket is all its two-byte suffixes, then all
//! its six-byte positions. Python 3 writes pickle protocol 3 without memo; older Pythons wrote protocol 1 with
//! `str` for bytes, which is read too. Source: `fsIndex.py:save`, `load`, ZODB 6.4; opcodes: `pickletools`.
//!
//! The file only saves time. Whatever is strange about it is an [`Unusable`], and the caller rebuilds; nothing
//! here believes a position that [`super::sanity`] has not compared with the data file.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::format::{FIRST_TRANSACTION_POS, TRANSACTION_HEADER_SPAN};
use super::index::{Bucket, IndexBuilder, Prefix};
use super::sync_folder;

/// Bytes of an entry in a bucket: suffix and position.
const ENTRY_LEN: usize = 8;
/// Bytes of the greatest bucket.
const BUCKET_LEN_MAX: usize = 65_536 * ENTRY_LEN;

mod op {
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const STOP: u8 = b'.';
    pub(super) const NONE: u8 = b'N';
    pub(super) const MARK: u8 = b'(';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const BINPUT: u8 = b'q';
    pub(super) const LONG_BINPUT: u8 = b'r';
    pub(super) const INT: u8 = b'I';
    pub(super) const LONG: u8 = b'L';
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const BINBYTES: u8 = b'B';
    pub(super) const SHORT_BINBYTES: u8 = b'C';
    pub(super) const BINSTRING: u8 = b'T';
    pub(super) const SHORT_BINSTRING: u8 = b'U';
}

/// Why an index file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// There is none, or it cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not a sequence of pickles that Python's `fsIndex.save` could have written.
    #[error("{0}")]
    Malformed(&'static str),
    /// It does not belong to the data file.
    #[error("does not match the data file: {0}")]
    Foreign(&'static str),
}

/// An index as read, not yet compared with the data file.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Position up to which the index holds.
    pub(crate) end_pos: u64,
    /// The entries.
    pub(crate) index: IndexBuilder,
}

/// Writes the index of the data file up to `end_pos` as `path`: to a temporary file, durably, then renamed. A
/// crash at any moment leaves the old index, or none, or the new one, and perhaps the temporary file, which
/// the next save overwrites.
pub(crate) fn save(
    path: &Path,
    end_pos: u64,
    buckets: impl Iterator<Item = io::Result<(Prefix, Vec<(u16, u64)>)>>,
) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".index_tmp");
    let temporary = PathBuf::from(temporary);
    let result = write_file(&temporary, end_pos, buckets).and_then(|()| {
        fs::rename(&temporary, path)?;
        sync_folder(path)
    });
    if result.is_err() {
        // For example a full disk: leave no file behind. The first error is the one to tell.
        let _ignored = fs::remove_file(&temporary);
    }
    result
}

fn write_file(
    path: &Path,
    end_pos: u64,
    buckets: impl Iterator<Item = io::Result<(Prefix, Vec<(u16, u64)>)>>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut pickle = Vec::new();
    emit_number(&mut pickle, end_pos);
    out.write_all(&pickle)?;
    for bucket in buckets {
        let (prefix, entries) = bucket?;
        if !entries.is_empty() {
            pickle.clear();
            emit_bucket(&mut pickle, prefix, &entries);
            out.write_all(&pickle)?;
        }
    }
    out.write_all(&[op::PROTO, 3, op::NONE, op::STOP])?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Appends the pickle of `number`, as the pickler chooses: the shortest of the fixed widths, then `LONG1`.
fn emit_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&[op::PROTO, 3]);
    if let Ok(number) = u8::try_from(number) {
        out.extend_from_slice(&[op::BININT1, number]);
    } else if let Ok(number) = u16::try_from(number) {
        out.push(op::BININT2);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(op::BININT);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        // Two's complement, little-endian: one bit more than the number needs, for the sign.
        let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
        let bytes = [a, b, c, d, e, f, g, h, 0];
        let bit_count = 64 - number.leading_zeros() + 1;
        let byte_count = bit_count.div_ceil(8);
        out.push(op::LONG1);
        out.extend_from_slice(&byte_count.to_le_bytes()[..1]);
        out.extend(bytes.iter().zip(0..byte_count).map(|(byte, _)| *byte));
    }
    out.push(op::STOP);
}

fn emit_bucket(out: &mut Vec<u8>, prefix: Prefix, entries: &[(u16, u64)]) {
    out.extend_from_slice(&[op::PROTO, 3]);
    let [_, _, key @ ..] = prefix.to_be_bytes();
    emit_bytes_header(out, key.len());
    out.extend_from_slice(&key);
    emit_bytes_header(out, entries.len() * ENTRY_LEN);
    for (suffix, _) in entries {
        out.extend_from_slice(&suffix.to_be_bytes());
    }
    for (_, pos) in entries {
        let [_, _, stored @ ..] = pos.to_be_bytes();
        out.extend_from_slice(&stored);
    }
    out.extend_from_slice(&[op::TUPLE2, op::STOP]);
}

fn emit_bytes_header(out: &mut Vec<u8>, len: usize) {
    if let Ok(len) = u8::try_from(len) {
        out.extend_from_slice(&[op::SHORT_BINBYTES, len]);
    } else {
        // At most BUCKET_LEN_MAX.
        out.push(op::BINBYTES);
        out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    }
}

/// Reads the index file `path`.
pub(crate) fn load(path: &Path) -> Result<Loaded, Unusable> {
    load_from(BufReader::with_capacity(1 << 20, File::open(path)?))
}

pub(crate) fn load_from(input: impl BufRead) -> Result<Loaded, Unusable> {
    let mut reader = PickleReader { input };
    let end_pos = reader.number_pickle()?;
    let mut index = IndexBuilder::default();
    while let Some((prefix, content)) = reader.bucket_pickle()? {
        let bucket = parse_bucket(&content, end_pos)?;
        if !index.push_bucket(prefix, bucket) {
            return Err(Unusable::Malformed("empty or unsorted buckets"));
        }
    }
    Ok(Loaded { end_pos, index })
}

/// The bucket of `content`, whose positions must lie before `end_pos` and behind a transaction header.
fn parse_bucket(content: &[u8], end_pos: u64) -> Result<Bucket, Unusable> {
    const FIRST_RECORD_POS: u64 = FIRST_TRANSACTION_POS + TRANSACTION_HEADER_SPAN;
    if !content.len().is_multiple_of(ENTRY_LEN) {
        return Err(Unusable::Malformed("a bucket of broken length"));
    }
    let (suffixes, positions) = content.split_at(content.len() / ENTRY_LEN * 2);
    let (suffixes, _) = suffixes.as_chunks::<2>();
    let (positions, _) = positions.as_chunks::<6>();
    let is_inside = |[a, b, c, d, e, f]: &[u8; 6]| {
        let pos = u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]);
        (FIRST_RECORD_POS..end_pos).contains(&pos)
    };
    if !positions.iter().all(is_inside) {
        return Err(Unusable::Malformed("a position outside the data file"));
    }
    let suffixes = suffixes.iter().map(|suffix| u16::from_be_bytes(*suffix)).collect();
    Bucket::from_sorted(suffixes, positions.to_vec()).ok_or(Unusable::Malformed("unsorted entries"))
}

/// Reads the few opcodes that an index file can hold.
struct PickleReader<R> {
    input: R,
}

impl<R: BufRead> PickleReader<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Unusable> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The next opcode that is not about protocol, memo or marks.
    fn op(&mut self) -> Result<u8, Unusable> {
        loop {
            let [code] = self.bytes()?;
            match code {
                op::PROTO | op::BINPUT => drop(self.bytes::<1>()?),
                op::LONG_BINPUT => drop(self.bytes::<4>()?),
                op::MARK => {}
                code => return Ok(code),
            }
        }
    }

    fn stop(&mut self) -> Result<(), Unusable> {
        if self.op()? == op::STOP { Ok(()) } else { Err(Unusable::Malformed("a pickle does not end")) }
    }

    /// A whole pickle: a number that is not negative.
    fn number_pickle(&mut self) -> Result<u64, Unusable> {
        let number = match self.op()? {
            op::BININT1 => u64::from(u8::from_le_bytes(self.bytes()?)),
            op::BININT2 => u64::from(u16::from_le_bytes(self.bytes()?)),
            op::BININT => {
                let number = i32::from_le_bytes(self.bytes()?);
                u64::try_from(number).map_err(|_negative| Unusable::Malformed("a negative position"))?
            }
            op::LONG1 => self.long1()?,
            op::INT | op::LONG => self.decimal()?,
            _ => return Err(Unusable::Malformed("an older format, or no index")),
        };
        self.stop()?;
        Ok(number)
    }

    fn long1(&mut self) -> Result<u64, Unusable> {
        let [len] = self.bytes()?;
        // Nine bytes hold every u64 with its sign bit.
        let mut bytes = [0; 9];
        let place = bytes.get_mut(..usize::from(len)).ok_or(Unusable::Malformed("a huge position"))?;
        self.input.read_exact(place)?;
        let [a, b, c, d, e, f, g, h, sign] = bytes;
        let is_negative = bytes.get(usize::from(len).wrapping_sub(1)).is_some_and(|top| top & 0x80 != 0);
        if is_negative || sign != 0 {
            return Err(Unusable::Malformed("a position out of range"));
        }
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    fn decimal(&mut self) -> Result<u64, Unusable> {
        let mut line = String::new();
        self.input.by_ref().take(32).read_line(&mut line)?;
        let digits = line.trim_end_matches('\n').trim_end_matches('L');
        digits.parse().map_err(|_not_digits| Unusable::Malformed("no number"))
    }

    /// A whole pickle: a pair of prefix and bucket, or `None` at the end.
    fn bucket_pickle(&mut self) -> Result<Option<(Prefix, Vec<u8>)>, Unusable> {
        let code = self.op()?;
        if code == op::NONE {
            self.stop()?;
            return Ok(None);
        }
        let key = self.byte_string(code)?;
        let code = self.op()?;
        let content = self.byte_string(code)?;
        if !matches!(self.op()?, op::TUPLE | op::TUPLE2) {
            return Err(Unusable::Malformed("not a pair"));
        }
        self.stop()?;
        let key: [u8; 6] = key.try_into().map_err(|_other| Unusable::Malformed("a prefix not of 6 bytes"))?;
        let [a, b, c, d, e, f] = key;
        Ok(Some((u64::from_be_bytes([0, 0, a, b, c, d, e, f]), content)))
    }

    fn byte_string(&mut self, code: u8) -> Result<Vec<u8>, Unusable> {
        let len = match code {
            op::SHORT_BINBYTES | op::SHORT_BINSTRING => usize::from(u8::from_le_bytes(self.bytes()?)),
            op::BINBYTES | op::BINSTRING => {
                usize::try_from(u32::from_le_bytes(self.bytes()?)).unwrap_or(usize::MAX)
            }
            _ => return Err(Unusable::Malformed("no byte string")),
        };
        if len > BUCKET_LEN_MAX {
            return Err(Unusable::Malformed("a bucket of more than 65,536 entries"));
        }
        let mut bytes = vec![0; len];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use zeo_codec::Oid;

    /// What `zodbpickle`'s fast protocol 3 pickler of ZODB 6.4 makes of these numbers.
    const PYTHON_NUMBERS: [(u64, &[u8]); 11] = [
        (0, b"\x80\x03K\x00."),
        (255, b"\x80\x03K\xff."),
        (256, b"\x80\x03M\x00\x01."),
        (65_535, b"\x80\x03M\xff\xff."),
        (65_536, b"\x80\x03J\x00\x00\x01\x00."),
        (0x7fff_ffff, b"\x80\x03J\xff\xff\xff\x7f."),
        (0x8000_0000, b"\x80\x03\x8a\x05\x00\x00\x00\x80\x00."),
        (1 << 32, b"\x80\x03\x8a\x05\x00\x00\x00\x00\x01."),
        (1 << 40, b"\x80\x03\x8a\x06\x00\x00\x00\x00\x00\x01."),
        (1 << 47, b"\x80\x03\x8a\x07\x00\x00\x00\x00\x00\x80\x00."),
        ((1 << 48) - 1, b"\x80\x03\x8a\x07\xff\xff\xff\xff\xff\xff\x00."),
    ];

    #[test]
    fn numbers_as_python_writes_them() {
        for (number, python) in PYTHON_NUMBERS {
            let mut bytes = Vec::new();
            emit_number(&mut bytes, number);
            assert_eq!(bytes, python, "{number}");
            assert_eq!(PickleReader { input: python }.number_pickle().unwrap(), number);
        }
    }

    /// The example of the protocol reference 14.2, which Python wrote.
    #[test]
    fn the_example_of_the_reference() {
        let python = b"\x80\x03M\xd0\x07.\
            \x80\x03C\x06\0\0\0\0\0\0C\x10\0\0\0\x01\0\0\0\0\0\x04\0\0\0\0\x01\x2c\x86.\
            \x80\x03C\x06\0\0\0\0\0\x01C\x08\0\x07\0\0\0\0\x03\xe8\x86.\x80\x03N.";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Data.fs.index");
        let buckets = [(0, vec![(0, 4), (1, 300)]), (1, vec![(7, 1000)])];
        save(&path, 2000, buckets.into_iter().map(Ok)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), python);
        assert!(!folder.path().join("Data.fs.index.index_tmp").exists());
    }

    /// Protocol 1 with memo, as `ZODB` 3 on Python 2 wrote it.
    #[test]
    fn reads_what_python_2_wrote() {
        let old = b"M\xd0\x07.(U\x06\0\0\0\0\0\0q\x01U\x08\0\x01\0\0\0\0\x01\x2cq\x02tq\x03.N.";
        let loaded = load_from(&old[..]).unwrap();
        assert_eq!(loaded.end_pos, 2000);
        assert_eq!(loaded.index.get(Oid::from_u64(1)), Some(300));
        let long = load_from(&b"L2000L\n.N."[..]).unwrap();
        assert_eq!(long.end_pos, 2000);
    }

    #[test]
    fn refuses_what_python_would_not_write() {
        let refused: [&[u8]; 9] = [
            b"",
            b"\x80\x03J\xff\xff\xff\xff.\x80\x03N.",
            b"\x80\x03M\xd0\x07.",
            b"\x80\x03}.",
            // Huge length, no such bytes.
            b"\x80\x03M\xd0\x07.\x80\x03C\x06\0\0\0\0\0\0B\xff\xff\xff\xff",
            // Position at and beyond the end.
            b"\x80\x03M\xd0\x07.\x80\x03C\x06\0\0\0\0\0\0C\x08\0\x01\0\0\0\0\x07\xd0\x86.\x80\x03N.",
            // The same prefix twice.
            b"\x80\x03M\xd0\x07.\x80\x03C\x06\0\0\0\0\0\0C\x08\0\x01\0\0\0\0\x01\x2c\x86.\
              \x80\x03C\x06\0\0\0\0\0\0C\x08\0\x01\0\0\0\0\x01\x2c\x86.\x80\x03N.",
            b"\x80\x03M\xd0\x07.\x80\x03C\x06\0\0\0\0\0\0C\x07\0\x01\0\0\0\0\x01\x86.\x80\x03N.",
            b"\x80\x03\x8a\x09\0\0\0\0\0\0\0\0\x01.\x80\x03N.",
        ];
        for bytes in refused {
            assert!(load_from(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        // Each case waits for the disk.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_is_saved_is_loaded(
            entries in prop::collection::btree_map(0_u64..1_000_000, 27_u64..1 << 47, 0..3_000),
        ) {
            let mut buckets: BTreeMap<Prefix, Vec<(u16, u64)>> = BTreeMap::new();
            for (number, pos) in &entries {
                let suffix = u16::try_from(number & 0xffff).unwrap();
                buckets.entry(number >> 16).or_default().push((suffix, *pos));
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("i");
            save(&path, 1 << 47, buckets.into_iter().map(Ok)).unwrap();
            let loaded = load(&path).unwrap();
            prop_assert_eq!(loaded.index.len(), entries.len() as u64);
            for (number, pos) in entries {
                prop_assert_eq!(loaded.index.get(Oid::from_u64(number)), Some(pos));
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _any = load_from(&bytes[..]);
        }
    }
}
