//! The layout of a `Data.fs`: where each field lies, and nothing else.
//!
//! No I/O, no policy: bytes to meaning and back. Whoever audits the format needs only this file and
//! `server/FILESTORAGE.md`. All integers are big-endian. Source: `ZODB/FileStorage/format.py`, ZODB 6.4.
//!
//! ```text
//! magic 4 | transaction | transaction | ...
//!
//! transaction:  tid 8 | length - 8: 8 | status 1 | user_len 2 | description_len 2 | extension_len 2
//!               | user | description | extension | data record ... | length - 8: 8
//!
//! data record:  oid 8 | tid 8 | previous 8 | transaction 8 | version_len 2 (zero) | data_len 8
//!               | data, or an 8-byte back pointer if data_len is 0
//! ```
//!
//! Parsing never panics: a slice that is too short gives `None`.

use std::ops::Range;

use zeo_codec::{Oid, Tid};

/// First four bytes of a file written on Python 3, and of those that we create (`_compat.py:FILESTORAGE_MAGIC`).
pub const MAGIC_PYTHON3: [u8; 4] = *b"FS30";
/// First four bytes of a file written on Python 2. The layout is the same; we keep the magic and go on.
pub const MAGIC_PYTHON2: [u8; 4] = *b"FS21";
/// Position of the first transaction: the magic's length.
pub const FIRST_TRANSACTION_POS: u64 = 4;

/// Bytes of a transaction header without its three variable fields.
pub const TRANSACTION_HEADER_LEN: usize = 23;
/// Bytes of a data record's header.
pub const DATA_HEADER_LEN: usize = 42;
/// Bytes of the back pointer that stands in place of empty data.
pub const BACK_POINTER_LEN: usize = 8;
/// Bytes of the redundant length that ends a transaction; its header's length field does not count them.
pub const TRAILER_LEN: u64 = 8;
/// The greatest position that an index file can hold: six bytes (`fsIndex.py:num2str`).
pub const POS_MAX: u64 = (1 << 48) - 1;

/// Bytes of a transaction header as a file distance.
pub(crate) const TRANSACTION_HEADER_SPAN: u64 = TRANSACTION_HEADER_LEN as u64;
/// Bytes of a data header as a file distance.
pub(crate) const DATA_HEADER_SPAN: u64 = DATA_HEADER_LEN as u64;
/// Bytes of a back pointer as a file distance.
pub(crate) const BACK_POINTER_SPAN: u64 = BACK_POINTER_LEN as u64;

/// A length in memory as a file distance; `usize` has at most 64 bits on every target of this crate.
pub(crate) const fn span(len: usize) -> u64 {
    len as u64
}

/// Where the fields of a transaction header lie.
pub mod transaction_field {
    use super::Range;
    /// Transaction identifier.
    pub const TID: Range<usize> = 0..8;
    /// Length of the whole record without the trailer.
    pub const LEN: Range<usize> = 8..16;
    /// Status byte, see [`super::status`].
    pub const STATUS: usize = 16;
    /// Length of the user name.
    pub const USER_LEN: Range<usize> = 17..19;
    /// Length of the description.
    pub const DESCRIPTION_LEN: Range<usize> = 19..21;
    /// Length of the pickled extension dictionary.
    pub const EXTENSION_LEN: Range<usize> = 21..23;
}

/// Where the fields of a data record's header lie.
pub mod data_field {
    use super::Range;
    /// Object identifier.
    pub const OID: Range<usize> = 0..8;
    /// Tid of the transaction that wrote the record (older in some copied data).
    pub const TID: Range<usize> = 8..16;
    /// Position of the object's previous record, 0 for none.
    pub const PREVIOUS: Range<usize> = 16..24;
    /// Position of the enclosing transaction.
    pub const TRANSACTION: Range<usize> = 24..32;
    /// Zero; was the length of a version name.
    pub const VERSION_LEN: Range<usize> = 32..34;
    /// Length of the data; 0: a back pointer follows.
    pub const DATA_LEN: Range<usize> = 34..42;
    /// The back pointer, if the data length is 0; 0 means that the object does not exist.
    pub const BACK_POINTER: Range<usize> = 42..50;
}

/// Status bytes of a transaction.
pub mod status {
    /// An ordinary committed transaction.
    pub const COMMITTED: u8 = b' ';
    /// A committed transaction that has been through a pack.
    pub const PACKED: u8 = b'p';
    /// Voted but not finished. Python writes it at vote; we never do.
    pub const CHECKPOINT: u8 = b'c';
    /// Undone in place, as before ZODB 3.2; its records count for nothing.
    pub const UNDONE: u8 = b'u';
}

fn number_at(bytes: &[u8], field: Range<usize>) -> Option<u64> {
    bytes.get(field)?.try_into().ok().map(u64::from_be_bytes)
}

fn short_at(bytes: &[u8], field: Range<usize>) -> Option<u16> {
    bytes.get(field)?.try_into().ok().map(u16::from_be_bytes)
}

/// The fixed part of a transaction record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionHeader {
    /// Transaction identifier.
    pub tid: Tid,
    /// Length in bytes of the record without the trailer, header included.
    pub len: u64,
    /// See [`status`]; unknown values are kept.
    pub status: u8,
    /// Length of the user name in bytes.
    pub user_len: u16,
    /// Length of the description in bytes.
    pub description_len: u16,
    /// Length of the pickled extension in bytes.
    pub extension_len: u16,
}

impl TransactionHeader {
    /// Reads the header at the start of `bytes`; `None` if fewer than [`TRANSACTION_HEADER_LEN`] are there.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            tid: Tid::from_slice(bytes.get(transaction_field::TID)?)?,
            len: number_at(bytes, transaction_field::LEN)?,
            status: *bytes.get(transaction_field::STATUS)?,
            user_len: short_at(bytes, transaction_field::USER_LEN)?,
            description_len: short_at(bytes, transaction_field::DESCRIPTION_LEN)?,
            extension_len: short_at(bytes, transaction_field::EXTENSION_LEN)?,
        })
    }

    /// Appends the header's 23 bytes.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tid.as_bytes());
        out.extend_from_slice(&self.len.to_be_bytes());
        out.push(self.status);
        out.extend_from_slice(&self.user_len.to_be_bytes());
        out.extend_from_slice(&self.description_len.to_be_bytes());
        out.extend_from_slice(&self.extension_len.to_be_bytes());
    }

    /// Distance from the record's start to its first data record, in bytes.
    #[must_use]
    pub fn header_len(&self) -> u64 {
        TRANSACTION_HEADER_SPAN
            + u64::from(self.user_len)
            + u64::from(self.description_len)
            + u64::from(self.extension_len)
    }

    /// Distance from the record's start to the next transaction; `None` beyond 64 bits.
    #[must_use]
    pub fn span(&self) -> Option<u64> {
        self.len.checked_add(TRAILER_LEN)
    }
}

/// The fixed part of a data record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// The object.
    pub oid: Oid,
    /// Serial of the revision: the tid of the transaction (older in some copied data).
    pub tid: Tid,
    /// Position of the object's previous record, 0 for none.
    pub previous_pos: u64,
    /// Position of the enclosing transaction.
    pub transaction_pos: u64,
    /// Zero in every file that can be read.
    pub version_len: u16,
    /// Length of the data in bytes; 0: a back pointer follows.
    pub data_len: u64,
}

impl DataHeader {
    /// Reads the header at the start of `bytes`; `None` if fewer than [`DATA_HEADER_LEN`] are there.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            oid: Oid::from_slice(bytes.get(data_field::OID)?)?,
            tid: Tid::from_slice(bytes.get(data_field::TID)?)?,
            previous_pos: number_at(bytes, data_field::PREVIOUS)?,
            transaction_pos: number_at(bytes, data_field::TRANSACTION)?,
            version_len: short_at(bytes, data_field::VERSION_LEN)?,
            data_len: number_at(bytes, data_field::DATA_LEN)?,
        })
    }

    /// Appends the header's 42 bytes.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.oid.as_bytes());
        out.extend_from_slice(self.tid.as_bytes());
        out.extend_from_slice(&self.previous_pos.to_be_bytes());
        out.extend_from_slice(&self.transaction_pos.to_be_bytes());
        out.extend_from_slice(&self.version_len.to_be_bytes());
        out.extend_from_slice(&self.data_len.to_be_bytes());
    }

    /// Length in bytes of the whole record with its data or back pointer; `None` beyond 64 bits.
    #[must_use]
    pub fn record_len(&self) -> Option<u64> {
        let tail_len = if self.data_len == 0 { BACK_POINTER_SPAN } else { self.data_len };
        tail_len.checked_add(DATA_HEADER_SPAN)
    }
}

/// The back pointer in the bytes of a data record, header included; `None` if they are too short.
#[must_use]
pub fn back_pointer(record: &[u8]) -> Option<u64> {
    number_at(record, data_field::BACK_POINTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn transaction_headers_survive(tid: u64, len: u64, status: u8, user_len: u16, description_len: u16,
                                       extension_len: u16) {
            let header = TransactionHeader {
                tid: Tid::from_u64(tid), len, status, user_len, description_len, extension_len,
            };
            let mut bytes = Vec::new();
            header.emit(&mut bytes);
            prop_assert_eq!(bytes.len(), TRANSACTION_HEADER_LEN);
            prop_assert_eq!(TransactionHeader::parse(&bytes), Some(header));
        }

        #[test]
        fn data_headers_survive(oid: u64, tid: u64, previous_pos: u64, transaction_pos: u64, version_len: u16,
                                data_len: u64) {
            let header = DataHeader {
                oid: Oid::from_u64(oid), tid: Tid::from_u64(tid), previous_pos, transaction_pos, version_len,
                data_len,
            };
            let mut bytes = Vec::new();
            header.emit(&mut bytes);
            prop_assert_eq!(bytes.len(), DATA_HEADER_LEN);
            prop_assert_eq!(DataHeader::parse(&bytes), Some(header));
        }
    }

    #[test]
    fn short_input_is_no_header() {
        assert_eq!(TransactionHeader::parse(&[0; 22]), None);
        assert_eq!(DataHeader::parse(&[0; 41]), None);
        assert_eq!(back_pointer(&[0; 49]), None);
    }

    /// Python: `struct.pack('>8s8sQQHQ', b'\0'*7+b'\x01', b'\x03'*8, 4, 300, 0, 5)`.
    #[test]
    fn data_header_as_python_packs_it() {
        let mut bytes = Vec::new();
        DataHeader {
            oid: Oid::from_u64(1),
            tid: Tid::from_bytes([3; 8]),
            previous_pos: 4,
            transaction_pos: 300,
            version_len: 0,
            data_len: 5,
        }
        .emit(&mut bytes);
        let python = b"\0\0\0\0\0\0\0\x01\x03\x03\x03\x03\x03\x03\x03\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\x01\x2c\0\0\0\0\0\0\0\0\0\x05";
        assert_eq!(bytes, python);
    }
}
