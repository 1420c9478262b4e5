//! Operations of the disk that fail: nothing acknowledged is lost, nothing else appears, and either the storage
//! goes on or it says why it does not.

use super::*;
use crate::storage::file::disk::fault::{EIO, ENOSPC, Effect, Fault, FaultDisk};

/// What is done while the disk fails.
fn attempt(storage: &FileStorage, transaction: &NewTransaction) -> Result<(), StorageError> {
    storage.vote(transaction.clone())?.finish().map(drop)
}

fn with_history(seed: u64) -> (Arc<FaultDisk>, FileStorage, Model, Random) {
    let disk = Arc::new(FaultDisk::default());
    let storage = open(disk.clone()).unwrap();
    let (mut model, mut random) = (Model::default(), Random(seed));
    commit_some(&storage, &mut model, &mut random, 4, 400);
    (disk, storage, model, random)
}

/// A large transaction, so that it needs room and is written in pieces.
fn large(random: &mut Random, model: &Model) -> NewTransaction {
    let mut transaction = random_transaction(random, model.last_tid(), 0, 1);
    transaction.records =
        (1..=4).map(|n| NewRecord::with_data(Oid::from_u64(n), vec![7; 3 << 20].into())).collect();
    transaction
}

#[test]
fn each_operation_failing_once_or_for_good() {
    // Learn how many operations a commit has: reserve, writes, sync.
    let (disk, storage, model, mut random) = with_history(1);
    let transaction = large(&mut random, &model);
    disk.plan(None);
    attempt(&storage, &transaction).unwrap();
    let operation_count = disk.operation_count();
    assert!(operation_count >= 4, "{operation_count}");

    for from in 0..operation_count {
        for errno in [EIO, ENOSPC] {
            for effect in [Effect::Nothing, Effect::Half, Effect::All] {
                for count in [1, u64::MAX] {
                    one_failure(Fault { from, count, errno, effect }, from + 1 == operation_count);
                }
            }
        }
    }
}

fn one_failure(fault: Fault, is_sync: bool) {
    let (disk, storage, mut model, mut random) = with_history(1);
    let transaction = large(&mut random, &model);
    disk.plan(Some(fault));
    let result = attempt(&storage, &transaction);
    disk.plan(None);
    let (is_reserve, is_once) = (fault.from == 0, fault.count == 1);
    if is_reserve && is_once {
        // Asked again for less room.
        result.unwrap();
        model.apply(&transaction);
        return model.assert_equals(&*storage.view());
    }
    match result {
        Err(StorageError::Io { source, .. }) => assert_eq!(source.raw_os_error(), Some(fault.errno)),
        other => panic!("{fault:?}: {other:?}"),
    }
    // Reading goes on, and shows what was acknowledged.
    model.assert_equals(&*storage.view());
    let next = random_transaction(&mut random, transaction.tid, 3, 100);
    let may_go_on = is_reserve || (is_once && !is_sync);
    match attempt(&storage, &next) {
        Ok(()) if may_go_on => {
            model.apply(&next);
            model.assert_equals(&*storage.view());
            let bytes = disk.inner.bytes();
            assert_eq!(bytes.len() as u64, storage.view().size_bytes());
            model.assert_equals(&*open(Arc::new(FaultDisk::new(bytes))).unwrap().view());
        }
        Err(StorageError::Failed(_)) if !may_go_on => {
            let operations_before = disk.operation_count();
            storage.close().unwrap();
            assert_eq!(disk.operation_count(), operations_before, "nothing more is written");
            // A restart finds all that was acknowledged; the failed one is there whole or not at all.
            let reopened = open(Arc::new(FaultDisk::new(disk.inner.bytes()))).unwrap();
            if reopened.view().last_tid() == transaction.tid {
                model.apply(&transaction);
            }
            model.assert_equals(&*reopened.view());
        }
        other => panic!("{fault:?}: {other:?}"),
    }
}

#[test]
fn a_full_disk_shows_at_vote_and_passes() {
    let (disk, storage, mut model, mut random) = with_history(2);
    let transaction = large(&mut random, &model);
    disk.plan(Some(Fault { from: 0, count: u64::MAX, errno: ENOSPC, effect: Effect::Nothing }));
    for _ in 0..3 {
        assert!(matches!(storage.vote(transaction.clone()), Err(StorageError::Io { .. })));
        model.assert_equals(&*storage.view());
    }
    // A small one still fits in the room reserved before, until it is to be written.
    disk.plan(None);
    attempt(&storage, &transaction).unwrap();
    model.apply(&transaction);
    model.assert_equals(&*storage.view());
}

#[test]
fn a_disk_that_fails_at_open_is_named() {
    let (disk, storage, model, _) = with_history(3);
    drop(storage);
    let mut bytes = disk.inner.bytes();
    bytes.extend_from_slice(&[7; 100]);
    for from in 0..2 {
        let disk = Arc::new(FaultDisk::new(bytes.clone()));
        disk.plan(Some(Fault { from, count: 1, errno: EIO, effect: Effect::Nothing }));
        assert!(matches!(open(disk.clone()), Err(StorageError::Io { .. })));
        model.assert_equals(&*open(disk).unwrap().view());
    }
}
