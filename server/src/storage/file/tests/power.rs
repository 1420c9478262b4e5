//! Power cuts: what had been acknowledged is there, and of the transaction under way all or nothing, as far as
//! the format can tell.

use super::*;
use crate::storage::file::disk::fault::{Survivors, after_power_cut};
use crate::storage::file::disk::{Change, MemoryDisk};

/// A history, and the states acknowledged after each number of changes of the disk.
struct Recorded {
    changes: Vec<Change>,
    /// Number of changes, and the states after each of the transactions that were made durable by the last one.
    acknowledged: Vec<(usize, Vec<Model>)>,
}

fn record(seed: u64, count: usize, data_len_max: usize) -> Recorded {
    recorded(seed, count, |storage, model, random| {
        commit_some(storage, model, random, 1, data_len_max);
        vec![model.clone()]
    })
}

/// Of transactions that are committed together, up to `together_max` of them.
fn record_together(seed: u64, count: usize, data_len_max: usize, together_max: usize) -> Recorded {
    recorded(seed, count, |storage, model, random| {
        let together = 1 + random.below(together_max);
        commit_some_together(storage, model, random, together, data_len_max)
    })
}

fn recorded(
    seed: u64,
    count: usize,
    commit: impl Fn(&FileStorage, &mut Model, &mut Random) -> Vec<Model>,
) -> Recorded {
    let disk = Arc::new(MemoryDisk::default());
    let storage = open(disk.clone()).unwrap();
    let mut random = Random(seed);
    let mut model = Model::default();
    let mut acknowledged = vec![(disk.changes().len(), vec![model.clone()])];
    for _ in 0..count {
        let states = commit(&storage, &mut model, &mut random);
        acknowledged.push((disk.changes().len(), states));
    }
    Recorded { changes: disk.changes(), acknowledged }
}

/// Opens `bytes` and compares them with what had been acknowledged, or with that and the next transaction, or the first
/// of the next ones.
fn check(recorded: &Recorded, change_count: usize, bytes: Vec<u8>) -> (Outcome, Tid) {
    let at = recorded.acknowledged.iter().rposition(|(count, _)| *count <= change_count);
    let disk = Arc::new(MemoryDisk::new(bytes));
    let storage = open(disk.clone()).unwrap_or_else(|error| panic!("after {change_count} changes: {error}"));
    let view = storage.view();
    let known = at.and_then(|at| recorded.acknowledged[at].1.last());
    if known.is_none_or(|known| view.last_tid() == known.last_tid()) {
        known.cloned().unwrap_or_default().assert_equals(&*view);
        // And it goes on from there.
        let mut model = known.cloned().unwrap_or_default();
        commit_some(&storage, &mut model, &mut Random(3), 2, 100);
        model.assert_equals(&*open(disk).unwrap().view());
        return (Outcome::Acknowledged, view.last_tid());
    }
    let (_, states) = &recorded.acknowledged[at.unwrap() + 1];
    let next = states.iter().find(|state| state.last_tid() == view.last_tid()).expect("one of the next ones");
    assert_eq!(iterate(&*view), next.transactions);
    let last_known = known.unwrap().last_tid();
    let mut outcome = Outcome::Next;
    for (oid, revisions) in &next.revisions {
        for (tid, data) in revisions {
            let Some(data) = data else { continue };
            let mut sink = LoadedRevision::default();
            view.load_serial(*oid, *tid, &mut sink).unwrap();
            if *tid <= last_known {
                assert_eq!(sink.data, *data, "acknowledged data");
            } else if sink.data != *data {
                // Only zeros may stand in for what it was: the format has no checksum.
                assert!(sink.data.iter().zip(data).all(|(found, was)| found == was || *found == 0));
                outcome = Outcome::NextWithLostData;
            }
        }
    }
    (outcome, view.last_tid())
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
    cut_everywhere(&recorded, |prefix, len| {
        Some(if prefix == len && len > 4 { Outcome::Next } else { Outcome::Acknowledged })
    });
}

/// They are there one after the other, from the first on.
#[test]
fn every_prefix_of_transactions_that_are_made_durable_together() {
    let recorded = record_together(12, 6, 300, 4);
    assert!(recorded.acknowledged.iter().any(|(_, states)| states.len() > 2));
    let seen = cut_everywhere(&recorded, |prefix, len| {
        // All of them at the end; before that what is whole.
        Some(Outcome::Next).filter(|_| prefix == len && len > 4)
    });
    let (_, states) = recorded.acknowledged.last().unwrap();
    let tids = states.last().unwrap().transactions.iter().map(|(tid, _)| *tid);
    assert_eq!(seen, tids.chain([Tid::ZERO]).collect());
}

/// Cuts the power after each byte; the last transactions that were found.
fn cut_everywhere(recorded: &Recorded, expected: impl Fn(usize, usize) -> Option<Outcome>) -> BTreeSet<Tid> {
    let mut random = Random(1);
    let mut seen = BTreeSet::new();
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
            let (outcome, last) = check(recorded, change_count, bytes);
            if let Some(expected) = expected(prefix, len) {
                assert_eq!(outcome, expected, "{prefix} of {len} bytes of change {change_count}");
            }
            seen.insert(last);
        }
    }
    seen
}

#[test]
fn any_subset_of_the_unsynced_sectors() {
    let seeds = [(21, 200), (22, 900), (23, 5_000), (24, 40)];
    let counts = lose_sectors(seeds.map(|(seed, data_len_max)| (seed, record(seed, 25, data_len_max))));
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn any_subset_of_the_sectors_of_transactions_that_are_made_durable_together() {
    let seeds = [(31, 200, 4), (32, 900, 3), (33, 5_000, 5), (34, 40, 16)];
    let counts = lose_sectors(seeds.map(|(seed, data_len_max, together_max)| {
        (seed, record_together(seed, 25, data_len_max, together_max))
    }));
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

/// How often which outcome came of a power cut at any time.
///
/// `ZEO_POWER_ROUNDS` says how often it is cut between two changes of the disk; otherwise 60 times.
fn lose_sectors<const N: usize>(recorded: [(u64, Recorded); N]) -> [usize; 3] {
    let rounds = std::env::var("ZEO_POWER_ROUNDS").map_or(60, |rounds| rounds.parse().unwrap());
    let mut counts = [0; 3];
    for (seed, recorded) in recorded {
        let mut random = Random(seed);
        // From the first transaction on, after the magic and its sync.
        for change_count in 2..=recorded.changes.len() {
            for _ in 0..rounds {
                let changes = &recorded.changes[..change_count];
                let bytes = after_power_cut(&[], changes, Survivors::Subset, &mut random);
                counts[check(&recorded, change_count, bytes).0 as usize] += 1;
            }
        }
    }
    println!("acknowledged only, with the next, with the next and lost data: {counts:?}");
    counts
}

/// What is behind tells that a lost sector is not one that was never written: nothing is cut off. Only the last ones,
/// which were made durable together, may be a tail.
#[test]
fn a_sector_lost_later_is_damage() {
    let (mut refused_count, mut tail_count) = (0, 0);
    for (seed, data_len_max, together_max) in [(41, 200, 4), (42, 900, 3), (43, 2_000, 5), (44, 40, 16)] {
        let disk = Arc::new(MemoryDisk::default());
        let storage = open(disk.clone()).unwrap();
        let (mut model, mut random) = (Model::default(), Random(seed));
        let mut last_pos = 0;
        for _ in 0..20 {
            last_pos = disk.bytes().len();
            let together = 1 + random.below(together_max);
            commit_some_together(&storage, &mut model, &mut random, together, data_len_max);
        }
        let good = disk.bytes();
        for sector_pos in (0..good.len()).step_by(512) {
            let mut bytes = good.clone();
            let end = (sector_pos + 512).min(bytes.len());
            bytes[sector_pos..end].fill(0);
            let is_last = end > last_pos;
            match open(Arc::new(MemoryDisk::new(bytes))) {
                Ok(storage) if storage.report().cut_tail.is_none() => {
                    assert_eq!(storage.view().last_tid(), model.last_tid());
                }
                Ok(_) => {
                    assert!(is_last, "at {sector_pos} of {last_pos}, {}", good.len());
                    tail_count += 1;
                }
                Err(StorageError::Corrupt { .. }) => refused_count += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(refused_count > 50 && tail_count > 0, "{refused_count} {tail_count}");
}
