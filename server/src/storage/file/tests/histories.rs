//! Random histories against the model, and views while commits go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::storage::file::disk::MemoryDisk;
use crate::storage::memory::MemoryStorage;

fn every_view_keeps_its_state(storage: &dyn Storage, seed: u64, data_len_max: usize) {
    let mut random = Random(seed);
    let mut model = Model::default();
    let mut kept: Vec<(Arc<dyn View>, Model)> = vec![(storage.view(), model.clone())];
    for _ in 0..random.below(25) {
        let transaction = random_transaction(&mut random, model.last_tid(), 6, data_len_max);
        let voted = storage.vote(transaction.clone()).unwrap();
        model.assert_equals(&*storage.view());
        if random.below(4) == 0 {
            drop(voted);
            continue;
        }
        let view = voted.finish().unwrap();
        model.apply(&transaction);
        kept.push((view, model.clone()));
    }
    for (view, model) in &kept {
        model.assert_equals(&**view);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_file_keeps_every_state(seed: u64) {
        let disk = Arc::new(MemoryDisk::default());
        every_view_keeps_its_state(&open(disk).unwrap(), seed, 300);
    }

    /// Longer than the bytes read at once.
    #[test]
    fn a_file_keeps_large_objects(seed: u64) {
        let disk = Arc::new(MemoryDisk::default());
        every_view_keeps_its_state(&open(disk).unwrap(), seed, 9_000);
    }

    #[test]
    fn memory_keeps_every_state(seed: u64) {
        every_view_keeps_its_state(&MemoryStorage::new("MappingStorage"), seed, 300);
    }

    #[test]
    fn a_restart_keeps_the_state(seed: u64) {
        let disk = Arc::new(MemoryDisk::default());
        let (mut random, mut model) = (Random(seed), Model::default());
        for _ in 0..4 {
            let storage = open(disk.clone()).unwrap();
            model.assert_equals(&*storage.view());
            commit_some(&storage, &mut model, &mut random, 5, 300);
            prop_assert_eq!(storage.report().wrong_previous_count, 0);
        }
    }
}

/// Readers hold views of all ages while a writer commits and the index is saved, on a real file.
#[test]
fn readers_are_right_while_commits_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    let (mut model, mut random) = (Model::default(), Random(5));
    commit_some(&storage, &mut model, &mut random, 10, 6_000);
    let shared = std::sync::Mutex::new(vec![(storage.view(), model.clone())]);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (shared, is_done) = (&shared, &is_done);
            scope.spawn(move || {
                let mut random = Random(seed);
                while !is_done.load(Ordering::Relaxed) {
                    let (view, model) = {
                        let states = shared.lock().unwrap();
                        states[random.below(states.len())].clone()
                    };
                    model.assert_equals(&*view);
                }
            });
        }
        let saver = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                storage.save_index().unwrap();
            }
        });
        for _ in 0..150 {
            let transaction = random_transaction(&mut random, model.last_tid(), 6, 6_000);
            let view = storage.vote(transaction.clone()).unwrap().finish().unwrap();
            model.apply(&transaction);
            shared.lock().unwrap().push((view, model.clone()));
        }
        is_done.store(true, Ordering::Relaxed);
        saver.join().unwrap();
    });
    // The index that was saved in the midst of it is a good one.
    drop(storage);
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    assert_eq!(storage.report().index, crate::storage::file::IndexUse::Loaded);
    model.assert_equals(&*storage.view());
}

#[test]
fn oids_rise_above_all_stored_and_handed_out() {
    let disk = Arc::new(MemoryDisk::default());
    let file = open(disk.clone()).unwrap();
    let memory = MemoryStorage::new("m");
    let storages: [&dyn Storage; 2] = [&file, &memory];
    for storage in storages {
        assert_eq!(storage.new_oids(100).unwrap(), Oid::from_u64(1));
        assert_eq!(storage.new_oids(1).unwrap(), Oid::from_u64(101));
        let mut transaction = random_transaction(&mut Random(1), Tid::ZERO, 0, 1);
        transaction.records = vec![NewRecord::with_data(Oid::from_u64(5_000), "x".into())];
        storage.vote(transaction).unwrap().finish().unwrap();
        assert_eq!(storage.new_oids(1).unwrap(), Oid::from_u64(5_001));
    }
    let reopened = open(disk).unwrap();
    assert_eq!(reopened.new_oids(1).unwrap(), Oid::from_u64(5_001));
    // Two starts, a second apart: whatever the first one handed out in that time, the second one does not.
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds);
    reopened.skip_issued_oids(at(0));
    let first = reopened.new_oids(65_535).unwrap().to_u64();
    reopened.skip_issued_oids(at(1));
    assert_eq!(reopened.new_oids(1).unwrap().to_u64(), first + 65_536);
    reopened.skip_issued_oids(at(0));
    assert_eq!(reopened.new_oids(1).unwrap().to_u64(), first + 65_537, "never backwards");
    assert_eq!(file.new_oids(u32::MAX).unwrap(), Oid::from_u64(5_002));
    let mut transaction = random_transaction(&mut Random(2), Tid::from_u64(1 << 62), 0, 1);
    transaction.records = vec![NewRecord::with_data(Oid::from_u64(u64::MAX - 3), "x".into())];
    drop(file.vote(transaction.clone()).unwrap());
    assert!(file.new_oids(4).is_ok(), "what is aborted leaves no trace");
    file.vote(transaction).unwrap().finish().unwrap();
    assert!(matches!(file.new_oids(4), Err(StorageError::OidsExhausted)));
    assert_eq!(file.new_oids(3).unwrap(), Oid::from_u64(u64::MAX - 2));
}

#[test]
fn what_is_wrong_is_refused_at_vote_and_changes_nothing() {
    let disk = Arc::new(MemoryDisk::default());
    let storage = open(disk.clone()).unwrap();
    let (mut model, mut random) = (Model::default(), Random(9));
    commit_some(&storage, &mut model, &mut random, 3, 100);
    let before = disk.bytes();
    let good = random_transaction(&mut random, model.last_tid(), 3, 100);

    let old = NewTransaction { tid: model.last_tid(), ..good.clone() };
    assert!(matches!(storage.vote(old), Err(StorageError::TidNotRising { .. })));
    let mut empty = good.clone();
    empty.records = vec![NewRecord::with_data(Oid::from_u64(3), Bytes::new())];
    assert!(matches!(storage.vote(empty), Err(StorageError::EmptyRecord(_))));
    let long = NewTransaction { user: vec![0; 65_536].into(), ..good.clone() };
    assert!(matches!(storage.vote(long), Err(StorageError::MetadataTooLong(_))));

    let (one, other) = (storage.vote(good.clone()).unwrap(), storage.vote(good.clone()).unwrap());
    assert_eq!(disk.bytes(), before);
    one.finish().unwrap();
    assert!(matches!(other.finish(), Err(StorageError::VoteOutdated)));
    model.apply(&good);
    model.assert_equals(&*storage.view());

    storage.close().unwrap();
    let next = random_transaction(&mut random, model.last_tid(), 3, 100);
    assert!(matches!(storage.vote(next), Err(StorageError::Closed)));
    model.assert_equals(&*storage.view());
    let read_only = FileStorageOptions { read_only: true, ..FileStorageOptions::default() };
    let storage = FileStorage::open_disk(disk.clone(), "Data.fs", read_only).unwrap();
    let next = random_transaction(&mut random, model.last_tid(), 3, 100);
    assert!(matches!(storage.vote(next), Err(StorageError::ReadOnly)));
    assert!(matches!(storage.new_oids(1), Err(StorageError::ReadOnly)));
    model.assert_equals(&*storage.view());
}

#[test]
fn a_quota_bounds_the_position_of_records() {
    let options = FileStorageOptions { quota_bytes: Some(1_000), ..FileStorageOptions::default() };
    let storage = FileStorage::open_disk(Arc::new(MemoryDisk::default()), "Data.fs", options).unwrap();
    let mut last = Tid::ZERO;
    let mut finished = 0;
    let refused = loop {
        let mut transaction = random_transaction(&mut Random(1), last, 0, 1);
        transaction.records = vec![NewRecord::with_data(Oid::ZERO, vec![1; 300].into())];
        last = transaction.tid;
        match storage.vote(transaction) {
            Ok(voted) => finished += usize::from(voted.finish().is_ok()),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StorageError::QuotaExceeded { quota_bytes: 1_000 }));
    assert_eq!(finished, 3);
}
