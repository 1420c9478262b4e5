//! A file beyond 4 GiB, most of it a hole: positions that do not fit in 32 bits, in indexes, back pointers and walks.

#![expect(clippy::unwrap_used, reason = "a test: helpers of tests are not exempt by themselves")]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;

use zeo_codec::{Oid, Tid};
use zeo_server::storage::file::format::{DataHeader, MAGIC_PYTHON3, TransactionHeader};
use zeo_server::storage::file::{FileStorage, FileStorageOptions, IndexUse};
use zeo_server::storage::{LoadedRevision, NewRecord, NewTransaction, Pending, Storage, View};

const HOLE_LEN: u64 = 5 << 30;
const FIRST: u64 = 0x040d_2400_0000_0000;

/// A file with one object of 5 GiB of zeros, none of which is on the disk.
fn make(path: &Path) {
    let mut bytes = MAGIC_PYTHON3.to_vec();
    let tid = Tid::from_u64(FIRST);
    let len = 23 + 42 + HOLE_LEN;
    let status = b' ';
    TransactionHeader { tid, len, status, user_len: 0, description_len: 0, extension_len: 0 }
        .emit(&mut bytes);
    let header = DataHeader {
        oid: Oid::ZERO,
        tid,
        previous_pos: 0,
        transaction_pos: 4,
        version_len: 0,
        data_len: HOLE_LEN,
    };
    header.emit(&mut bytes);
    let mut file = File::create(path).unwrap();
    file.write_all(&bytes).unwrap();
    file.seek(SeekFrom::Start(4 + len)).unwrap();
    file.write_all(&len.to_be_bytes()).unwrap();
}

fn commit(storage: &FileStorage, number: u64, records: Vec<NewRecord>) -> Tid {
    let tid = Tid::from_u64(FIRST + number);
    let [user, description, extension] = Default::default();
    let transaction = NewTransaction { tid, status: b' ', user, description, extension, records };
    storage.vote(transaction).unwrap().finish().unwrap();
    tid
}

fn data_before(view: &dyn View, before: Tid) -> Vec<u8> {
    let mut sink = LoadedRevision::default();
    assert!(view.load_before(Oid::from_u64(1), before, &mut sink).unwrap());
    sink.data
}

#[test]
fn positions_beyond_32_bits_are_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    make(&path);
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    let one = Oid::from_u64(1);
    let first = commit(&storage, 1, vec![NewRecord::with_data(one, "first".into())]);
    let second = commit(&storage, 2, vec![NewRecord::with_data(one, "second".into())]);
    let records = storage.view().undo(second, &mut Pending::default()).unwrap();
    let third = commit(&storage, 3, records);
    storage.close().unwrap();

    for with_index in [true, false] {
        if !with_index {
            std::fs::remove_file(folder.path().join("Data.fs.index")).unwrap();
        }
        let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
        assert_eq!(storage.report().index == IndexUse::Loaded, with_index);
        let view = storage.view();
        assert!(view.size_bytes() > HOLE_LEN);
        assert_eq!(data_before(&*view, Tid::MAX), b"first");
        assert_eq!(data_before(&*view, third), b"second");
        assert_eq!(data_before(&*view, second), b"first");
        let mut history = Vec::new();
        view.history(one, &mut |revision| {
            history.push(revision.tid);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(history, [third, second, first]);
        let place = view.place_of(Some(third)).unwrap();
        assert!(place > HOLE_LEN);
        let transaction = view.transaction_from(place).unwrap().unwrap();
        let record = view.record_from(&transaction, transaction.records_place).unwrap().unwrap();
        assert_eq!((record.data.unwrap(), record.data_tid), ("first".into(), Some(first)));
        let mut tids = Vec::new();
        let mut place = view.end_place();
        while let Some(transaction) = view.transaction_before(place).unwrap() {
            tids.push(transaction.tid);
            place = transaction.place;
        }
        assert_eq!(tids, [third, second, first, Tid::from_u64(FIRST)]);
        storage.close().unwrap();
    }
}
