//! A data file of any bytes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};
use zeo_server::storage::file::disk::MemoryDisk;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};
use zeo_server::storage::{LoadedRevision, NewRecord, NewTransaction, Pending, Storage, View};

/// How many objects, transactions and records are looked at.
const COUNT_MAX: usize = 300;
const LEN_MAX: usize = 1 << 16;

/// A file that opens can be read from one end to the other, with an error where it is damaged; and what can be read is
/// still there after a commit and another start, with what was committed.
pub fn data_file(input: &[u8]) {
    if input.len() > LEN_MAX {
        return;
    }
    let disk = Arc::new(MemoryDisk::new(input.to_vec()));
    let Ok(storage) = FileStorage::open_disk(disk.clone(), "fuzz", FileStorageOptions::default()) else {
        return;
    };
    let before = walk(&*storage.view());
    let oid = Oid::from_u64(0x00fe_dcba);
    let tid = storage.view().last_tid().to_u64().saturating_add(1);
    // Nobody asks for what comes after the last of all.
    if Tid::from_u64(tid) >= Tid::MAX {
        return;
    }
    let data = Bytes::from_static(b"a record");
    let transaction = NewTransaction {
        tid: Tid::from_u64(tid),
        status: b' ',
        user: Bytes::new(),
        description: Bytes::new(),
        extension: Bytes::new(),
        records: vec![NewRecord::with_data(oid, data.clone())],
    };
    let Ok(voted) = storage.vote(transaction) else { return };
    voted.finish().expect("a disk in memory does not fail");
    drop(storage);
    let disk = Arc::new(MemoryDisk::new(disk.bytes()));
    let again = FileStorage::open_disk(disk, "fuzz", FileStorageOptions::default())
        .expect("what opened before opens after a commit");
    let after = walk(&*again.view());
    for (object, content) in before.iter().filter(|(object, _)| **object != oid) {
        // Those that did not fit into the count are not looked at again, either.
        if after.len() < COUNT_MAX {
            assert_eq!(after.get(object), Some(content), "{object}");
        }
    }
    let mut found = LoadedRevision::default();
    assert!(again.view().load_before(oid, Tid::MAX, &mut found).unwrap());
    assert_eq!((found.data, found.serial), (data.to_vec(), Tid::from_u64(tid)));
}

type Content = Option<(Vec<u8>, Tid)>;

/// Asks everything of a state; returns the current data of its objects, as far as it can be read.
fn walk(view: &dyn View) -> BTreeMap<Oid, Content> {
    let mut content = BTreeMap::new();
    let mut next = Some(Oid::ZERO);
    while let Some(start) = next {
        let Ok(Some(object)) = view.object_from(start) else { break };
        assert!(object.oid >= start && object.next.is_none_or(|next| next > object.oid));
        next = object.next.filter(|_| content.len() < COUNT_MAX);
        content.insert(object.oid, current(view, object.oid));
        let mut revision_count = 0;
        let _any = view.history(object.oid, &mut |_| {
            revision_count += 1;
            if revision_count < COUNT_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    let mut place = view.place_of(None).unwrap_or_default();
    for _ in 0..COUNT_MAX {
        let Ok(Some(transaction)) = view.transaction_from(place) else { break };
        // Tids may fall: Python opens such files, too.
        assert!(transaction.next_place > transaction.place);
        place = transaction.next_place;
        let mut record_place = transaction.records_place;
        for _ in 0..COUNT_MAX {
            let Ok(Some(record)) = view.record_from(&transaction, record_place) else { break };
            assert!(record.next_place > record_place);
            record_place = record.next_place;
        }
        let _any = view.undo(transaction.tid, &mut Pending::new(0, COUNT_MAX));
        let _any = view.place_of(Some(transaction.tid));
    }
    let mut place = view.end_place();
    for _ in 0..COUNT_MAX {
        let Ok(Some(transaction)) = view.transaction_before(place) else { break };
        assert!(transaction.place < place);
        place = transaction.place;
    }
    let _any = view.last_changes(COUNT_MAX);
    content
}

pub fn current(view: &dyn View, oid: Oid) -> Content {
    let mut found = LoadedRevision::default();
    match view.load_before(oid, Tid::MAX, &mut found) {
        Ok(true) => Some((found.data, found.serial)),
        Ok(false) | Err(_) => None,
    }
}
