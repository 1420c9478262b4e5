//! Power cuts: what had been acknowledged is there, and of the transaction under way all or nothing, as far as
//! the format can tell.

use super::*;
use crate::storage::file::disk::fault::{Survivors, after_power_cut};
use crate::storage::file::disk::{Change, MemoryDisk};

/// A history, and the state acknowledged after each number of changes of the disk.
struct Recorded {
    changes: Vec<Change>,
    /// Number of changes, and the state once they are made.
    acknowledged: Vec<(usize, Model)>,
}

fn record(seed: u64, count: usize, data_len_max: usize) -> Recorded {
    let disk = Arc::new(MemoryDisk::default());
    let storage = open(disk.clone()).unwrap();
    let mut random = Random(seed);
    let mut model = Model::default();
    let mut acknowledged = vec![(disk.changes().len(), model.clone())];
    for _ in 0..count {
        commit_some(&storage, &mut model, &mut random, 1, data_len_max);
        acknowledged.push((disk.changes().len(), model.clone()));
    }
    Recorded { changes: disk.changes(), acknowledged }
}

/// Opens `bytes` and compares them with what had been acknowledged, or with that and the next transaction.
fn check(recorded: &Recorded, change_count: usize, bytes: Vec<u8>) -> Outcome {
    let at = recorded.acknowledged.iter().rposition(|(count, _)| *count <= change_count);
    let disk = Arc::new(MemoryDisk::new(bytes));
    let storage = open(disk.clone()).unwrap_or_else(|error| panic!("after {change_count} changes: {error}"));
    let view = storage.view();
    let known = at.map(|at| &recorded.acknowledged[at].1);
    if known.is_none_or(|known| view.last_tid() == known.last_tid()) {
        known.cloned().unwrap_or_default().assert_equals(&*view);
        // And it goes on from there.
        let mut model = known.cloned().unwrap_or_default();
        commit_some(&storage, &mut model, &mut Random(3), 2, 100);
        model.assert_equals(&*open(disk).unwrap().view());
        return Outcome::Acknowledged;
    }
    let (_, next) = &recorded.acknowledged[at.unwrap() + 1];
    assert_eq!(view.last_tid(), next.last_tid());
    assert_eq!(view.last_changes(1).unwrap().len(), 1);
    let mut outcome = Outcome::Next;
    for (oid, revisions) in &next.revisions {
        for (tid, data) in revisions {
            let Some(data) = data else { continue };
            let mut sink = Sink::default();
            view.load_serial(*oid, *tid, &mut sink).unwrap();
            if *tid != next.last_tid() {
                assert_eq!(sink.data, *data, "acknowledged data");
            } else if sink.data != *data {
                // Only zeros may stand in for what it was: the format has no checksum.
                assert!(sink.data.iter().zip(data).all(|(found, was)| found == was || *found == 0));
                outcome = Outcome::NextWithLostData;
            }
        }
    }
    outcome
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    Next,
    NextWithLostData,
}

#[test]
fn every_prefix_of_the_written_bytes() {
    let recorded = record(11, 12, 900);
    let mut random = Random(1);
    for change_count in 0..=recorded.changes.len() {
        let changes = &recorded.changes[..change_count];
        let len = match changes.last() {
            Some(Change::Write { bytes, .. }) => bytes.len(),
            _ => 0,
        };
        for prefix in 0..=len {
            // An empty file and a torn magic: the storage had never been opened.
            if change_count <= 1 && (1..4).contains(&prefix) {
                continue;
            }
            let bytes = after_power_cut(&[], changes, Survivors::Prefix(prefix), &mut random);
            let outcome = check(&recorded, change_count, bytes);
            let expected = if prefix == len && len > 4 { Outcome::Next } else { Outcome::Acknowledged };
            assert_eq!(outcome, expected, "{prefix} of {len} bytes of change {change_count}");
        }
    }
}

#[test]
fn any_subset_of_the_unsynced_sectors() {
    let mut counts = [0; 3];
    for (seed, data_len_max) in [(21, 200), (22, 900), (23, 5_000), (24, 40)] {
        let recorded = record(seed, 25, data_len_max);
        let mut random = Random(seed);
        // From the first transaction on, after the magic and its sync.
        for change_count in 2..=recorded.changes.len() {
            for _ in 0..60 {
                let changes = &recorded.changes[..change_count];
                let bytes = after_power_cut(&[], changes, Survivors::Subset, &mut random);
                counts[check(&recorded, change_count, bytes) as usize] += 1;
            }
        }
    }
    println!("acknowledged only, with the next, with the next and lost data: {counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}
