//! What is left of a run on the disk: read to its end, without the server and without an index.

use std::path::Path;

use zeo_codec::Tid;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};
use zeo_server::storage::past::PastTransaction;
use zeo_server::storage::{Storage, StorageError, View};

/// What a file holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Whole transactions.
    pub transaction_count: u64,
    /// Their records, each of which could be read.
    pub record_count: u64,
    /// The last transaction.
    pub last_tid: Tid,
}

/// Reads all transactions and all data of a file that nobody has open, after its index has been removed.
///
/// # Errors
/// What is damaged, and where.
pub fn verify(path: &Path) -> Result<Verified, StorageError> {
    let _ = std::fs::remove_file(path.with_added_extension("index"));
    let options = FileStorageOptions { read_only: true, ..FileStorageOptions::default() };
    let storage = FileStorage::open(path, options)?;
    let view = storage.view();
    let mut found = Verified::default();
    let mut place = view.place_of(None)?;
    while let Some(transaction) = view.transaction_from(place)? {
        found.transaction_count += 1;
        found.record_count += count_records(&*view, &transaction)?;
        if transaction.tid <= found.last_tid {
            return Err(StorageError::TidNotRising { tid: transaction.tid, last: found.last_tid });
        }
        found.last_tid = transaction.tid;
        place = transaction.next_place;
    }
    storage.close()?;
    Ok(found)
}

fn count_records(view: &dyn View, transaction: &PastTransaction) -> Result<u64, StorageError> {
    let (mut count, mut place) = (0, transaction.records_place);
    while let Some(record) = view.record_from(transaction, place)? {
        count += 1;
        place = record.next_place;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeo_codec::Oid;
    use zeo_server::storage::{NewRecord, NewTransaction};

    #[test]
    fn a_damaged_record_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Data.fs");
        let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
        for number in 1..=3 {
            let transaction = NewTransaction {
                tid: Tid::from_u64(number),
                status: b' ',
                user: "".into(),
                description: "".into(),
                extension: "".into(),
                records: vec![NewRecord::with_data(Oid::from_u64(number), "data".into())],
            };
            storage.vote(transaction).unwrap().finish().unwrap();
        }
        storage.close().unwrap();
        let all = Verified { transaction_count: 3, record_count: 3, last_tid: Tid::from_u64(3) };
        assert_eq!(verify(&path).unwrap(), all);
        let mut bytes = std::fs::read(&path).unwrap();
        // The length of the data of the record in the middle.
        let middle = bytes.len() / 2;
        let at = middle + bytes[middle..].windows(4).position(|window| window == b"data").unwrap() - 8;
        bytes[at] ^= 0x40;
        std::fs::write(&path, bytes).unwrap();
        assert!(verify(&path).is_err());
    }
}
