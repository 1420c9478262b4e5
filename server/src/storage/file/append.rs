//! Laying out a transaction as it will stand in the file.
//!
//! The bytes are those that Python's FileStorage writes for the same input, tid and position
//! (`FileStorage.py:store`, `deleteObject`, `tpc_vote`, `_finish`, ZODB 6.4). In particular every record points
//! to the previous *committed* record of its object, so two records of one object in a transaction (Python
//! writes blobs like that) point to the same one.
//!
//! # When it is written, and what a crash leaves
//!
//! Python appends the transaction at vote with status `c`, and at finish overwrites the status and calls
//! `fsync`, once. We write nothing at vote but take room for it, and at finish write it whole, with its final
//! status, and call `fdatasync`, once:
//!
//! ```text
//!            committed                 |<- end_pos of every view
//! vote       [ ... | transaction N-1 ] |. . . . . . . room reserved (does not count as length) . . .
//! finish  1  [ ... | transaction N-1 ] | transaction N ]        written, perhaps still in memory
//!         2  [ ... | transaction N-1 ] | transaction N ]        fdatasync: durable
//!         3  [ ... | transaction N-1 ] | transaction N ]        index entries
//!         4  [ ... | transaction N-1     transaction N ] |<-    new view; acknowledged
//! ```
//!
//! | crash | left in the file | next start |
//! |---|---|---|
//! | before 1 | N-1 | as if N had never been |
//! | process dies in 1 | a beginning of N | tail: saved aside (under 23 bytes: not), cut |
//! | process dies after 1 | N | N is there; it was not acknowledged, but whole |
//! | power fails in 1 or 2 | any sectors of N, the others zeros; any length | see below |
//! | after 2 | N | N is there |
//!
//! With several that are made durable [together](super::together) N stands for all of them, and what is there at the next
//! start are those before the first that is not whole.
//!
//! A sector that did not reach the disk reads as zeros, since the file was extended there. The scan then finds
//! one of: a length beyond the end of the file; a header of zeros; a record or a trailer that contradicts the
//! header; a tid that starts with zeros. Each is a tail, if the transaction is the last, or one of those that were to be
//! made durable with the last, and a sector from there on is all zeros, and is cut. Damage that is not of this kind is never
//! cut.
//!
//! What the format cannot show, since it has no checksums (it is the same with Python, which syncs once as
//! well): a lost sector that lies wholly within object data, user, description or extension, or ends with the oid of a
//! new object. The unacknowledged
//! transaction then appears with zeros in that place. File systems that write data before they extend the file
//! (ext4 in its default mode, XFS, Btrfs, ZFS) do not leave such a state. Acknowledged transactions are
//! not in danger in any case.
//!
//! If a write fails (no room), the file is cut back to `end_pos` and the storage goes on. If that or
//! `fdatasync` fails, the state of the file is unknown and nothing is written any more; reading goes on.

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use super::super::{Metadata, NewTransaction, RecordData, Revision, StorageError};
use super::format::{
    BACK_POINTER_LEN, DATA_HEADER_LEN, DATA_HEADER_SPAN, DataHeader, POS_MAX, TRAILER_LEN,
    TRANSACTION_HEADER_SPAN, TransactionHeader, span,
};
use super::index::Index;

/// Bytes written at once; an image up to this size is one write.
const PIECE_LEN_MAX: usize = 4 << 20;
/// In a larger image, data from this size on is written from where it is instead of being copied.
const SHARED_LEN_MIN: usize = 256 << 10;

/// A transaction's bytes and where they belong.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) tid: Tid,
    pub(crate) start_pos: u64,
    /// Length in bytes, trailer included.
    pub(crate) len: u64,
    /// The bytes, in pieces to be written one after the other.
    pub(crate) pieces: Vec<Bytes>,
    /// Where each record will lie, in file order.
    pub(crate) record_positions: Vec<(Oid, u64)>,
}

impl Image {
    /// Position behind the transaction.
    pub(crate) const fn end_pos(&self) -> u64 {
        self.start_pos.saturating_add(self.len)
    }

    /// Position of the last record, or of the transaction if it has none.
    pub(crate) fn last_record_pos(&self) -> u64 {
        self.record_positions.last().map_or(self.start_pos, |(_, pos)| *pos)
    }
}

/// Lays out `transaction` for `start_pos`, with previous positions from `index`.
///
/// # Errors
/// [`StorageError::MetadataTooLong`], [`StorageError::EmptyRecord`]; [`StorageError::Io`] if the file would
/// exceed the 2^48 bytes that an index can address.
pub(crate) fn lay_out(
    transaction: NewTransaction,
    start_pos: u64,
    index: &Index,
) -> Result<Image, StorageError> {
    let NewTransaction { tid, status, user, description, extension, records } = transaction;
    let mut header = TransactionHeader {
        tid,
        len: 0,
        status,
        user_len: metadata_len(&user, Metadata::User)?,
        description_len: metadata_len(&description, Metadata::Description)?,
        extension_len: metadata_len(&extension, Metadata::Extension)?,
    };
    let mut record_positions = Vec::with_capacity(records.len());
    let mut pos = start_pos.saturating_add(header.header_len());
    for record in &records {
        let data_len = record.data.new_data().map_or(BACK_POINTER_LEN, Bytes::len);
        if data_len == 0 {
            return Err(StorageError::EmptyRecord(record.oid));
        }
        record_positions.push((record.oid, pos));
        pos = pos.saturating_add(DATA_HEADER_SPAN).saturating_add(span(data_len));
    }
    if pos > POS_MAX {
        let source = std::io::ErrorKind::FileTooLarge.into();
        return Err(StorageError::Io { doing: "lay out a transaction".to_owned(), source });
    }
    header.len = pos - start_pos;
    let len = header.len + TRAILER_LEN;

    let mut pieces = Pieces::new(len);
    header.emit(pieces.room(super::format::TRANSACTION_HEADER_LEN));
    for metadata in [user, description, extension] {
        pieces.push(metadata);
    }
    for record in records {
        let data_header = DataHeader {
            oid: record.oid,
            tid: record.serial.unwrap_or(tid),
            previous_pos: index.get(record.oid).unwrap_or(0),
            transaction_pos: start_pos,
            version_len: 0,
            data_len: record.data.new_data().map_or(0, |data| span(data.len())),
        };
        data_header.emit(pieces.room(DATA_HEADER_LEN));
        match record.data {
            RecordData::Data(data) => pieces.push(data),
            RecordData::Deleted => pieces.push(Bytes::from_static(&[0; BACK_POINTER_LEN])),
            RecordData::Revision(Revision { place: pos, .. }) => {
                pieces.room(BACK_POINTER_LEN).extend_from_slice(&pos.to_be_bytes());
            }
        }
    }
    pieces.push(Bytes::copy_from_slice(&header.len.to_be_bytes()));
    Ok(Image { tid, start_pos, len, pieces: pieces.finish(), record_positions })
}

/// The length in bytes that `transaction` will have in the file, and how far from its start its last record begins.
///
/// # Errors
/// Those of [`lay_out`].
pub(super) fn checked_len(transaction: &NewTransaction) -> Result<(u64, u64), StorageError> {
    let NewTransaction { user, description, extension, records, .. } = transaction;
    let metadata =
        [(user, Metadata::User), (description, Metadata::Description), (extension, Metadata::Extension)];
    let mut len = TRANSACTION_HEADER_SPAN;
    for (bytes, which) in metadata {
        len += u64::from(metadata_len(bytes, which)?);
    }
    let mut last_record_offset = 0;
    for record in records {
        let data_len = record.data.new_data().map_or(BACK_POINTER_LEN, Bytes::len);
        if data_len == 0 {
            return Err(StorageError::EmptyRecord(record.oid));
        }
        last_record_offset = len;
        len = len.saturating_add(DATA_HEADER_SPAN).saturating_add(span(data_len));
    }
    Ok((len.saturating_add(TRAILER_LEN), last_record_offset))
}

fn metadata_len(bytes: &Bytes, which: Metadata) -> Result<u16, StorageError> {
    u16::try_from(bytes.len()).map_err(|_too_long| StorageError::MetadataTooLong(which))
}

/// Gathers bytes into few writes.
struct Pieces {
    done: Vec<Bytes>,
    open: Vec<u8>,
    shared_len_min: usize,
}

impl Pieces {
    /// For an image of `len` bytes.
    fn new(len: u64) -> Self {
        match usize::try_from(len) {
            Ok(len) if len <= PIECE_LEN_MAX => {
                Self { done: Vec::new(), open: Vec::with_capacity(len), shared_len_min: usize::MAX }
            }
            Ok(_) | Err(_) => Self { done: Vec::new(), open: Vec::new(), shared_len_min: SHARED_LEN_MIN },
        }
    }

    /// Where to append `len` bytes.
    fn room(&mut self, len: usize) -> &mut Vec<u8> {
        if self.open.len() + len > PIECE_LEN_MAX {
            self.close();
        }
        &mut self.open
    }

    fn push(&mut self, bytes: Bytes) {
        if bytes.len() >= self.shared_len_min {
            self.close();
            self.done.push(bytes);
        } else {
            self.room(bytes.len()).extend_from_slice(&bytes);
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open).into());
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.close();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::NewRecord;
    use crate::storage::file::index::IndexBuilder;

    fn transaction(sizes: &[usize]) -> NewTransaction {
        let record =
            |(n, size): (u64, &usize)| NewRecord::with_data(Oid::from_u64(n), vec![7_u8; *size].into());
        NewTransaction {
            tid: Tid::from_u64(1 << 58),
            status: b' ',
            user: Bytes::from_static(b"u"),
            description: Bytes::from_static(b"some"),
            extension: Bytes::new(),
            records: (0..).zip(sizes).map(record).collect(),
        }
    }

    #[test]
    fn pieces_add_up_whatever_the_sizes() {
        let index = IndexBuilder::default().finish();
        for sizes in [
            &[][..],
            &[1],
            &[100_000, 5, SHARED_LEN_MIN],
            &[PIECE_LEN_MAX, 1, SHARED_LEN_MIN - 1, SHARED_LEN_MIN, 3],
            &[200_000; 60],
        ] {
            let image = lay_out(transaction(sizes), 4, &index).unwrap();
            let bytes: Vec<u8> = image.pieces.concat();
            assert_eq!(span(bytes.len()), image.len);
            let fixed = 23 + 5 + 8;
            assert_eq!(bytes.len(), fixed + sizes.iter().map(|size| 42 + size).sum::<usize>());
            let header = TransactionHeader::parse(&bytes).unwrap();
            assert_eq!(header.len.to_be_bytes(), bytes[bytes.len() - 8..]);
            for ((oid, pos), size) in image.record_positions.iter().zip(sizes) {
                let record = DataHeader::parse(&bytes[usize::try_from(*pos).unwrap() - 4..]).unwrap();
                assert_eq!((record.oid, record.data_len), (*oid, *size as u64));
            }
            assert!(image.pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= PIECE_LEN_MAX));
            assert_eq!(image.pieces.len() == 1, bytes.len() <= PIECE_LEN_MAX);
        }
    }

    #[test]
    fn large_data_of_a_large_transaction_is_not_copied() {
        let index = IndexBuilder::default().finish();
        let large = transaction(&[PIECE_LEN_MAX, 5]);
        let place = large.records[0].data.new_data().unwrap().clone();
        let image = lay_out(large, 4, &index).unwrap();
        assert!(image.pieces.iter().any(|piece| piece.as_ptr() == place.as_ptr()));
    }

    #[test]
    fn refuses_what_does_not_fit_the_format() {
        let index = IndexBuilder::default().finish();
        assert!(matches!(lay_out(transaction(&[5, 0]), 4, &index),
            Err(StorageError::EmptyRecord(oid)) if oid == Oid::from_u64(1)));
        assert!(matches!(lay_out(transaction(&[5]), POS_MAX - 50, &index), Err(StorageError::Io { .. })));
        for which in [Metadata::User, Metadata::Description, Metadata::Extension] {
            let mut long = transaction(&[1]);
            let field = match which {
                Metadata::User => &mut long.user,
                Metadata::Description => &mut long.description,
                Metadata::Extension => &mut long.extension,
            };
            *field = vec![b'x'; 65_535].into();
            assert!(lay_out(long.clone(), 4, &index).is_ok());
            let field = match which {
                Metadata::User => &mut long.user,
                Metadata::Description => &mut long.description,
                Metadata::Extension => &mut long.extension,
            };
            *field = vec![b'x'; 65_536].into();
            assert!(matches!(lay_out(long, 4, &index),
                Err(StorageError::MetadataTooLong(found)) if found == which));
        }
    }
}
