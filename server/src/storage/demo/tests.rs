//! A history that is cut in two, base and changes, reads like the whole one.

use bytes::Bytes;
use proptest::prelude::*;
use std::collections::HashSet;
use std::ops::ControlFlow;

use super::super::file::{FileStorage, FileStorageOptions, disk::MemoryDisk};
use super::super::memory::MemoryStorage;
use super::super::{Current, LoadedRevision, NewRecord, Pending, RecordData};
use super::*;

/// Transactions: each the objects that it writes, `None` for a deletion.
type Script = Vec<Vec<(u64, Option<u8>)>>;

fn oid(number: u64) -> Oid {
    Oid::from_u64(number)
}

fn tid(number: usize) -> Tid {
    Tid::from_u64(10 * (number as u64 + 1))
}

fn commit(storage: &dyn Storage, tid: Tid, records: Vec<NewRecord>) {
    let transaction = NewTransaction {
        tid,
        status: b' ',
        user: Bytes::from_static(b"u"),
        description: tid.to_string().into(),
        extension: Bytes::new(),
        records,
    };
    storage.vote(transaction).unwrap().finish().unwrap();
}

fn play(storage: &dyn Storage, script: &Script, from: usize) {
    for (number, writes) in script.iter().enumerate().skip(from) {
        let record = |(number, data): &(u64, Option<u8>)| match data {
            Some(byte) => NewRecord::with_data(oid(*number), vec![*byte; 3].into()),
            None => NewRecord::deleted(oid(*number)),
        };
        commit(storage, tid(number), writes.iter().map(record).collect());
    }
}

fn file() -> Arc<dyn Storage> {
    Arc::new(
        FileStorage::open_disk(Arc::new(MemoryDisk::default()), "f", FileStorageOptions::default()).unwrap(),
    )
}

/// Everything that can be asked of a view, in an order and a form of its own.
fn answers(view: &dyn View, oid_count: u64, tid_count: usize) -> Vec<String> {
    let mut answers = vec![format!("{}", view.last_tid()), format!("{:?}", view.last_changes(1000).unwrap())];
    for number in 0..=oid_count {
        let oid = oid(number);
        for bound in (0..=tid_count).flat_map(|number| [tid(number), tid(number).next().unwrap()]) {
            let mut sink = LoadedRevision::default();
            let loaded = view.load_before(oid, bound, &mut sink).map_err(|error| error.to_string());
            let revision = (loaded == Ok(true)).then_some(sink);
            answers.push(format!("{oid} before {bound}: {loaded:?} {revision:?}"));
            let mut sink = LoadedRevision::default();
            let loaded = view.load_serial(oid, bound, &mut sink).is_ok();
            let data = loaded.then_some(sink.data);
            answers.push(format!("{oid} at {bound}: {data:?}"));
        }
        // Deleted or never there: that is not always the same, see below.
        let current = view.current(oid).unwrap().filter(|current| !current.is_deleted);
        answers.push(format!("{oid}: {current:?}"));
        let mut revisions = Vec::new();
        let walked = view.history(oid, &mut |revision| {
            revisions.push((revision.tid, revision.description, revision.data_len));
            if revisions.len() == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // The base need not know it.
        let is_known = walked.is_ok() || !revisions.is_empty();
        answers.push(format!("{oid}: {is_known} {revisions:?}"));
        answers.push(format!("from {oid}: {:?}", view.object_from(oid).unwrap()));
    }
    for start in (0..=tid_count).map(|number| Some(tid(number))).chain([None]) {
        let mut place = view.place_of(start).unwrap();
        while let Some(transaction) = view.transaction_from(place).unwrap() {
            answers.push(format!("{start:?}: {} {:?}", transaction.tid, transaction.description));
            let mut record_place = transaction.records_place;
            while let Some(record) = view.record_from(&transaction, record_place).unwrap() {
                answers
                    .push(format!("{} {} {:?} {:?}", record.oid, record.tid, record.data, record.data_tid));
                record_place = record.next_place;
            }
            place = transaction.next_place;
        }
    }
    let mut place = view.end_place();
    while let Some(transaction) = view.transaction_before(place).unwrap() {
        answers.push(format!("back: {}", transaction.tid));
        place = transaction.place;
    }
    answers
}

fn script() -> impl Strategy<Value = Script> {
    let write = (0_u64..6, prop::option::weighted(0.9, 1_u8..255));
    let transaction = prop::collection::btree_map(0_u64..6, write, 0..4)
        .prop_map(|writes| writes.into_iter().map(|(oid, (_, data))| (oid, data)).collect());
    prop::collection::vec(transaction, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_history_cut_in_two_reads_like_the_whole(mut script in script(), cut in 0_usize..12, kinds in 0_u8..4) {
        let cut = cut % script.len();
        // Where base and changes meet, a deletion means something else than in a whole; see below.
        let changed: HashSet<u64> = script.iter().skip(cut).flatten().map(|(oid, _)| *oid).collect();
        for write in script.iter_mut().flatten().filter(|(oid, _)| changed.contains(oid)) {
            write.1.get_or_insert(7);
        }
        let new = |is_file: bool| if is_file { file() } else { Arc::new(MemoryStorage::new("m")) };
        let (whole, base, changes) = (file(), new(kinds & 1 == 0), new(kinds & 2 == 0));
        play(&*whole, &script, 0);
        play(&*base, &script[..cut].to_vec(), 0);
        let demo = DemoStorage::new(None, base, changes);
        play(&demo, &script, cut);
        let (demo, whole) = (answers(&*demo.view(), 6, 12), answers(&*whole.view(), 6, 12));
        for (demo, whole) in demo.iter().zip(&whole) {
            prop_assert_eq!(demo, whole);
        }
        prop_assert_eq!(demo.len(), whole.len());
    }
}

#[test]
fn what_the_changes_say_is_no_more_is_as_in_the_base() {
    let base = file();
    commit(&*base, tid(0), vec![NewRecord::with_data(oid(1), "base".into())]);
    let changes = file();
    let demo = DemoStorage::new(None, base, Arc::clone(&changes));
    commit(
        &demo,
        tid(1),
        vec![NewRecord::with_data(oid(1), "changed".into()), NewRecord::with_data(oid(2), "new".into())],
    );
    let undone = demo.view().undo(tid(1), &mut Pending::default()).unwrap();
    assert!(undone.iter().all(|record| !matches!(record.data, RecordData::Data(_))));
    commit(&demo, tid(2), undone);
    let view = demo.view();
    let mut sink = LoadedRevision::default();
    assert!(view.load_before(oid(1), Tid::MAX, &mut sink).unwrap());
    assert_eq!(sink, LoadedRevision { data: b"base".to_vec(), serial: tid(0), end: None });
    assert_eq!(view.current(oid(1)).unwrap(), Some(Current { serial: tid(0), is_deleted: false }));
    let mut sink = LoadedRevision::default();
    assert!(matches!(view.load_before(oid(2), Tid::MAX, &mut sink), Err(StorageError::NoSuchObject(_))));
    assert!(view.load_before(oid(1), tid(2), &mut sink).unwrap());
    assert_eq!(sink.data, b"changed");
    // Deleted in the base, and stored again: before that it is said to exist only later.
    let base = file();
    commit(&*base, tid(0), vec![NewRecord::deleted(oid(1))]);
    let demo = DemoStorage::new(None, base, file());
    assert_eq!(demo.view().current(oid(1)).unwrap(), None, "anybody may store it");
    commit(&demo, tid(1), vec![NewRecord::with_data(oid(1), "new".into())]);
    assert!(!demo.view().load_before(oid(1), tid(1), &mut sink).unwrap());
}

#[test]
fn only_changes_can_be_undone() {
    let base = file();
    commit(&*base, tid(0), vec![NewRecord::with_data(oid(1), "base".into())]);
    let demo = DemoStorage::new(None, base, file());
    commit(&demo, tid(1), vec![NewRecord::with_data(oid(1), "changed".into())]);
    let view = demo.view();
    assert!(view.undo(tid(0), &mut Pending::default()).is_err());
    let newest = view.transaction_before(view.end_place()).unwrap().unwrap();
    let oldest = view.transaction_before(newest.place).unwrap().unwrap();
    assert_eq!((newest.tid, oldest.tid), (tid(1), tid(0)));
    assert!(oldest.place < view.undoable_place() && view.undoable_place() <= newest.place);
}

#[test]
fn the_base_is_never_written() {
    let base = file();
    commit(&*base, tid(3), vec![NewRecord::with_data(oid(1), "base".into())]);
    let demo = DemoStorage::new(None, Arc::clone(&base), Arc::new(MemoryStorage::new("m")));
    let before = base.view().size_bytes();
    let early = NewTransaction {
        tid: tid(2),
        status: b' ',
        user: Bytes::new(),
        description: Bytes::new(),
        extension: Bytes::new(),
        records: vec![],
    };
    assert!(matches!(demo.vote(early), Err(StorageError::TidNotRising { .. })));
    commit(&demo, tid(4), vec![NewRecord::with_data(oid(2), "new".into())]);
    assert_eq!(base.view().size_bytes(), before);
    assert_eq!((demo.view().last_tid(), base.view().last_tid()), (tid(4), tid(3)));
}

#[test]
fn new_oids_collide_with_nothing() {
    let base = file();
    let demo = DemoStorage::new(None, Arc::clone(&base), Arc::new(MemoryStorage::new("m")));
    let first = demo.new_oids(100).unwrap().to_u64();
    assert_eq!(demo.new_oids(2).unwrap().to_u64(), first + 100);
    commit(&*base, tid(0), vec![NewRecord::with_data(oid(first + 150), "in the way".into())]);
    let next = demo.new_oids(100).unwrap().to_u64();
    assert!(!(next..next + 100).contains(&(first + 150)), "{next} after {first}");
    let view = demo.view_with(demo.changes.view());
    assert!(!view.are_free(0..5).unwrap() && !view.are_free(5..5).unwrap());
    assert!(
        !view.are_free(first + 150..first + 151).unwrap() && view.are_free(first + 151..first + 160).unwrap()
    );
}

/// Python: `DemoStorage(base=..., changes=...).getName()` for storages of these names.
#[test]
fn it_is_called_after_both() {
    let demo = |base: &str, name| {
        DemoStorage::new(name, Arc::new(MemoryStorage::new(base)), Arc::new(MemoryStorage::new("c\\d")))
    };
    assert_eq!(demo("a'b", None).name(), r#"DemoStorage("a'b", 'c\\d')"#);
    assert_eq!(demo("a", None).name(), r"DemoStorage('a', 'c\\d')");
    assert_eq!(demo("a'\"b", None).name(), r#"DemoStorage('a\'"b', 'c\\d')"#);
    assert_eq!(demo("a", Some("own")).name(), "own");
}
