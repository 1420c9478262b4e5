//! The layout of the file, without any I/O (protocol reference 16; ZEO 6.2 `cache.py`, the same since ZEO 4.0).

use std::fmt;
use std::io;

use bytes::Buf;

/// What a file begins with; the last transaction's id follows.
pub(super) const MAGIC: &[u8; 4] = b"ZEC3";
/// The magic and the last transaction's id; the first block is here.
pub(super) const HEADER_LEN: u64 = 12;
/// Where the last transaction's id is.
pub(super) const LAST_TID_AT: u64 = 4;
/// The longest block.
pub(super) const BLOCK_LEN_MAX: u64 = (1 << 31) - 1;
/// What a record's block has before its data.
pub(super) const HEAD_LEN: usize = 35;
/// What a record's block has besides its data: the head, and the object's id once more.
pub(super) const OVERHEAD: u64 = 43;
/// Where in a record's block the id of the transaction is that superseded it.
pub(super) const END_AT: u64 = 21;

/// What a record's block says in front of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the whole block.
    pub(super) len: u64,
    pub(super) oid: u64,
    pub(super) start: u64,
    /// 0 while it is current.
    pub(super) end: u64,
    pub(super) data_len: usize,
}

/// A block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Record(Head),
    /// That many bytes.
    Free(u64),
}

impl Block {
    /// Reads the beginning of a block at this offset of the file.
    pub(super) fn parse(mut bytes: &[u8], at: u64) -> io::Result<Self> {
        let short = |_| damage(at, "the block is cut off");
        let block = match bytes.try_get_u8().map_err(short)? {
            b'f' => Self::Free(u64::from(bytes.try_get_u32().map_err(short)?)),
            digit @ b'1'..=b'4' => Self::Free(u64::from(digit - b'0')),
            b'a' => {
                let len = u64::from(bytes.try_get_u32().map_err(short)?);
                let [oid, start, end] = [(); 3].map(|()| bytes.try_get_u64());
                let [oid, start, end] = [oid.map_err(short)?, start.map_err(short)?, end.map_err(short)?];
                let version_len = bytes.try_get_u16().map_err(short)?;
                let data_len = bytes.try_get_u32().map_err(short)?;
                if version_len != 0 {
                    return Err(damage(at, "a record of a version"));
                }
                if len != u64::from(data_len) + OVERHEAD {
                    return Err(damage(at, "a record and its block differ in length"));
                }
                if end != 0 && end <= start {
                    return Err(damage(at, "a revision ends before it begins"));
                }
                let data_len =
                    usize::try_from(data_len).map_err(|_| damage(at, "a record beyond this machine"))?;
                Self::Record(Head { len, oid, start, end, data_len })
            }
            _ => return Err(damage(at, "no block begins like this")),
        };
        if block.len() == 0 {
            return Err(damage(at, "a block without length"));
        }
        Ok(block)
    }

    pub(super) const fn len(&self) -> u64 {
        match self {
            Self::Record(head) => head.len,
            Self::Free(len) => *len,
        }
    }
}

/// The beginning of a free block of at least one byte; the longest is twice [`BLOCK_LEN_MAX`].
pub(super) fn free(len: u64) -> Vec<u8> {
    match (len, u32::try_from(len)) {
        (1..=4, _) => len.to_string().into_bytes(),
        (_, Ok(len)) => status(b'f', len).into(),
        // Not met: whoever makes room looks at blocks that are shorter.
        (_, Err(_)) => status(b'f', u32::MAX).into(),
    }
}

/// The beginning of a block of five bytes or more.
pub(super) fn status(status: u8, len: u32) -> [u8; 5] {
    let [first, second, third, fourth] = len.to_be_bytes();
    [status, first, second, third, fourth]
}

/// The file is not what was written.
pub(super) fn damage(at: u64, what: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged cache file: at offset {at}: {what}"))
}
