//! Tests of the whole file storage: a model to compare with, and what the tests share.

mod failures;
mod histories;
mod pack;
mod power;
mod recovery;
mod undo;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use super::together::tid_at;
use super::{FileStorage, FileStorageOptions};
use crate::storage::file::disk::Disk;
use crate::storage::past::CurrentObject;
use crate::storage::{DataSink, LoadedRevision, NewRecord, NewTransaction, Storage, StorageError, View};

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// A revision, read through a room that has another length each time, and rubbish in it.
#[derive(Debug, Default)]
pub(crate) struct ThroughAnyRoom(pub(crate) LoadedRevision);

impl DataSink for ThroughAnyRoom {
    fn room(&mut self) -> &mut [u8] {
        const LENS: [usize; 11] = [0, 1, 7, 8, 9, 40, 41, 100, 300, 1024, 5000];
        thread_local! {
            static NEXT: Cell<usize> = const { Cell::new(0) };
        }
        let next = NEXT.replace(NEXT.get() + 1);
        self.0.data = vec![0xee; LENS[next % LENS.len()]];
        &mut self.0.data
    }

    fn accept(&mut self, serial: Tid, end: Option<Tid>, data_len: usize) -> &mut [u8] {
        self.0.accept(serial, end, data_len)
    }
}

/// What a load gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Loaded {
    Revision { data: Vec<u8>, serial: Tid, end: Option<Tid> },
    OnlyLater,
    NoSuchObject,
}

pub(crate) fn load_before(view: &dyn View, oid: Oid, before: Tid) -> Result<Loaded, StorageError> {
    let mut sink = ThroughAnyRoom::default();
    match view.load_before(oid, before, &mut sink) {
        Ok(true) => {
            let LoadedRevision { data, serial, end } = sink.0;
            Ok(Loaded::Revision { data, serial, end })
        }
        Ok(false) => Ok(Loaded::OnlyLater),
        Err(StorageError::NoSuchObject(_)) => Ok(Loaded::NoSuchObject),
        Err(error) => Err(error),
    }
}

/// All that was ever committed, kept in the plainest way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) revisions: BTreeMap<Oid, Vec<(Tid, Option<Bytes>)>>,
    pub(crate) transactions: Vec<(Tid, BTreeSet<Oid>)>,
}

impl Model {
    pub(crate) fn last_tid(&self) -> Tid {
        self.transactions.last().map_or(Tid::ZERO, |(tid, _)| *tid)
    }

    pub(crate) fn apply(&mut self, transaction: &NewTransaction) {
        let mut oids = BTreeSet::new();
        for record in &transaction.records {
            let revisions = self.revisions.entry(record.oid).or_default();
            revisions.retain(|(tid, _)| *tid != transaction.tid);
            revisions.push((transaction.tid, record.data.new_data().cloned()));
            oids.insert(record.oid);
        }
        self.transactions.push((transaction.tid, oids));
    }

    pub(crate) fn load_before(&self, oid: Oid, before: Tid) -> Loaded {
        let Some(revisions) = self.revisions.get(&oid) else { return Loaded::NoSuchObject };
        let Some(at) = revisions.iter().rposition(|(tid, _)| *tid < before) else { return Loaded::OnlyLater };
        match &revisions[at] {
            (serial, Some(data)) => Loaded::Revision {
                data: data.to_vec(),
                serial: *serial,
                end: revisions.get(at + 1).map(|(tid, _)| *tid),
            },
            (_, None) => Loaded::NoSuchObject,
        }
    }

    /// Compares every revision, and some more, with what `view` reads.
    pub(crate) fn assert_equals(&self, view: &dyn View) {
        assert_eq!(view.last_tid(), self.last_tid());
        assert_eq!(view.object_count(), self.revisions.len() as u64);
        let changes: Vec<_> = self
            .transactions
            .iter()
            .map(|(tid, oids)| (*tid, oids.iter().copied().collect::<Vec<_>>()))
            .collect();
        assert_eq!(view.last_changes(usize::MAX).unwrap(), changes);
        assert_eq!(iterate(view), self.transactions);
        for (oid, revisions) in &self.revisions {
            let bounds = revisions.iter().flat_map(|(tid, _)| [*tid, tid.next().unwrap()]);
            for before in bounds.chain([Tid::ZERO, Tid::MAX]) {
                assert_eq!(load_before(view, *oid, before).unwrap(), self.load_before(*oid, before));
            }
            let mut history = Vec::new();
            view.history(*oid, &mut |revision| {
                history.push(revision.tid);
                ControlFlow::Continue(())
            })
            .unwrap();
            assert_eq!(history, revisions.iter().rev().map(|(tid, _)| *tid).collect::<Vec<_>>());
            let next = self.revisions.range(Oid::from_u64(oid.to_u64() + 1)..).next().map(|(oid, _)| *oid);
            assert_eq!(view.object_from(*oid).unwrap(), Some(CurrentObject { oid: *oid, next }));
            let current = view.current(*oid).unwrap().unwrap();
            let (serial, data) = revisions.last().unwrap();
            assert_eq!((current.serial, current.is_deleted), (*serial, data.is_none()));
            for (serial, data) in revisions {
                let mut sink = ThroughAnyRoom::default();
                match (view.load_serial(*oid, *serial, &mut sink), data) {
                    (Ok(()), Some(data)) => assert_eq!((sink.0.data, sink.0.end), (data.to_vec(), None)),
                    (Err(StorageError::NoSuchObject(_)), None) => {}
                    (other, _) => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(load_before(view, Oid::from_u64(u64::MAX), Tid::MAX).unwrap(), Loaded::NoSuchObject);
        assert_eq!(view.current(Oid::from_u64(u64::MAX)).unwrap(), None);
    }
}

/// The transactions of a view and their objects, by iteration.
fn iterate(view: &dyn View) -> Vec<(Tid, BTreeSet<Oid>)> {
    let mut found = Vec::new();
    let mut place = view.place_of(None).unwrap();
    while let Some(transaction) = view.transaction_from(place).unwrap() {
        let mut oids = BTreeSet::new();
        let mut record_place = transaction.records_place;
        while let Some(record) = view.record_from(&transaction, record_place).unwrap() {
            assert_eq!(record.tid, transaction.tid);
            oids.insert(record.oid);
            record_place = record.next_place;
        }
        found.push((transaction.tid, oids));
        place = transaction.next_place;
    }
    found
}

/// A transaction of up to `record_count_max` records of up to `data_len_max` bytes each.
pub(crate) fn random_transaction(
    random: &mut Random,
    last: Tid,
    record_count_max: usize,
    data_len_max: usize,
) -> NewTransaction {
    let records =
        (0..random.below(record_count_max + 1)).map(|_| random_record(random, data_len_max)).collect();
    let bytes = |len: usize| Bytes::from(vec![b'm'; len]);
    let wanted = Tid::from_u64(last.to_u64().max(0x040d_23f9_0000_0000) + 1 + random.next() % 1000);
    NewTransaction {
        tid: tid_at(wanted, 0).unwrap(),
        status: b' ',
        user: bytes(random.below(3) * 4),
        description: bytes(random.below(60)),
        extension: Bytes::new(),
        records,
    }
}

fn random_record(random: &mut Random, data_len_max: usize) -> NewRecord {
    let number = random.next() % 40;
    let oid = Oid::from_u64(if number < 30 { number } else { number << 14 });
    let data_len = 1 + random.below(data_len_max);
    // Zeros now and then, for they are what an unwritten sector looks like.
    let data = match random.below(12) {
        0 => None,
        1 => Some(vec![0; data_len].into()),
        _ => {
            let byte = u8::try_from(1 + random.below(255)).unwrap();
            Some((1..=250).map(|at: u8| byte ^ at | 1).cycle().take(data_len).collect())
        }
    };
    data.map_or_else(|| NewRecord::deleted(oid), |data| NewRecord::with_data(oid, data))
}

pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<FileStorage, StorageError> {
    FileStorage::open_disk(disk, "Data.fs", FileStorageOptions::default())
}

/// Commits random transactions and tells each of them to the model.
pub(crate) fn commit_some(
    storage: &dyn Storage,
    model: &mut Model,
    random: &mut Random,
    count: usize,
    data_len_max: usize,
) {
    for _ in 0..count {
        let transaction = random_transaction(random, model.last_tid(), 6, data_len_max);
        storage.vote(transaction.clone()).unwrap().finish().unwrap();
        model.apply(&transaction);
    }
}

/// Commits `count` random transactions of different objects together, tells each of them to the model, and returns the
/// model after each.
pub(crate) fn commit_some_together(
    storage: &dyn Storage,
    model: &mut Model,
    random: &mut Random,
    count: usize,
    data_len_max: usize,
) -> Vec<Model> {
    let mut oids = BTreeSet::new();
    let mut last = model.last_tid();
    let transactions: Vec<_> = (0..count)
        .map(|place| {
            let mut transaction = random_transaction(random, last, 4, data_len_max);
            let own: BTreeSet<Oid> = transaction.records.iter().map(|record| record.oid).collect();
            transaction.records.retain(|record| !oids.contains(&record.oid));
            oids.extend(own);
            transaction.tid = storage.tid_together(transaction.tid, place).unwrap();
            last = transaction.tid;
            transaction
        })
        .collect();
    let views = storage.commit_together(transactions.clone()).unwrap();
    let after = |(transaction, view): (&NewTransaction, Arc<dyn View>)| {
        model.apply(transaction);
        model.assert_equals(&*view);
        model.clone()
    };
    transactions.iter().zip(views).map(after).collect()
}
