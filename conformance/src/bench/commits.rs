//! Commits, alone and among loads. Clients write disjoint objects, so that nothing conflicts.

use std::time::Instant;

use super::BenchError;
use super::client::Client;
use super::data::{Entry, Random, SMALL, Set};
use super::window::{Phase, Tally, Window};

/// Of so many operations of the mixture one is a commit.
const MIXTURE: u64 = 10;

/// Bytes of data in a transaction of the preparation.
const PREPARE_LEN: usize = 256 * 1024;

/// Commits the first revision of each object of a set.
///
/// # Errors
/// A wrong answer, a hang-up, or silence.
pub fn commit_set(client: &mut Client, set: Set) -> Result<Vec<Entry>, BenchError> {
    let mut entries: Vec<Entry> = set.oids().map(Entry::new).collect();
    for entries in entries.chunks_mut((PREPARE_LEN / set.data_len).max(1)) {
        client.commit(entries, set.data_len)?;
    }
    Ok(entries)
}

/// Commits of `object_count` objects at a time, going round in `entries`, until the window is over.
///
/// # Errors
/// A wrong answer, a conflict, a hang-up, or silence.
pub fn commit_steadily(
    client: &mut Client,
    entries: &mut [Entry],
    object_count: usize,
    window: &Window,
) -> Result<Tally, BenchError> {
    let mut tally = Tally::new();
    loop {
        for entries in entries.chunks_exact_mut(object_count) {
            let began = Instant::now();
            client.commit(entries, SMALL.data_len)?;
            match window.phase() {
                Phase::Warming => {}
                Phase::Measuring => tally.add(1, began.elapsed()),
                Phase::Over => return Ok(tally),
            }
        }
    }
}

/// Loads of random objects, each checked, and now and then a commit of one of `entries`.
///
/// # Errors
/// A wrong answer, a conflict, a hang-up, or silence.
pub fn mix(
    client: &mut Client,
    entries: &mut [Entry],
    seed: u64,
    window: &Window,
) -> Result<Tally, BenchError> {
    let mut tally = Tally::new();
    let mut random = Random::new(seed);
    let mut next = 0;
    loop {
        let oid = SMALL.pick(&mut random);
        let began = Instant::now();
        if random.below(MIXTURE) == 0 {
            client.commit(entries.get_mut(next..=next).unwrap_or_default(), SMALL.data_len)?;
            next = (next + 1) % entries.len();
        } else {
            client.load_entry(oid, SMALL.data_len)?;
        }
        match window.phase() {
            Phase::Warming => {}
            Phase::Measuring => tally.add(1, began.elapsed()),
            Phase::Over => return Ok(tally),
        }
    }
}
