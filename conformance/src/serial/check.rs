//! Judges the journals of all clients by what the file holds in the end.
//!
//! The file is the history: the order of the tids. A run is serializable in this order if each transaction read what
//! the ones before its place have left. One that only reads has its place at its snapshot. One that writes has it at
//! its tid: what it writes, and what it has checked, must not have changed since its snapshot. What it has read besides
//! belongs to the snapshot, as ZODB promises no more (write skew); such transactions are counted apart.

use std::collections::BTreeMap;

use super::journal::{Committed, Entry, ObjectNumber, Outcome, Read, TidNumber};

/// What was checked, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong, in words.
    pub findings: Vec<String>,
    /// Revisions that were read, and were the newest of their snapshots.
    pub read_count: u64,
    /// Transactions that only read.
    pub reader_count: u64,
    /// Transactions that were committed, those with an unknown outcome included.
    pub commit_count: u64,
    /// Of these, how many had checked, or written, all that they had read.
    pub serializable_count: u64,
    /// Transactions that were refused.
    pub conflict_count: u64,
    /// Transactions whose connection was lost before the end.
    pub lost_count: u64,
    /// Transactions whose outcome their clients did not know.
    pub unknown_count: u64,
    /// Of these, how many are in the file.
    pub unknown_committed_count: u64,
    /// Of these, how many have been found out by their clients, in the file or not.
    pub found_count: u64,
}

/// Judges a run by its journals, in the order of each thread, and the transactions of the file.
#[must_use]
pub fn check(entries: &[Entry], file: &[Committed]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut history = History::of(file, &mut verdict.findings);
    let mut last_known: BTreeMap<u64, TidNumber> = BTreeMap::new();
    for entry in entries {
        let mut report = |what: String| {
            verdict.findings.push(format!("thread {} at {:#x}: {what}", entry.thread, entry.snapshot));
        };
        let known = last_known.entry(entry.thread).or_default();
        if entry.snapshot < *known {
            report(format!("its snapshot is behind {known:#x}, which it knew"));
        }
        *known = entry.snapshot.max(*known);
        for read in &entry.reads {
            match history.check_read(entry.snapshot, read) {
                Ok(()) => verdict.read_count += 1,
                Err(what) => report(what),
            }
        }
        let committed = history.take(entry).unwrap_or_else(|what| {
            report(what);
            None
        });
        match (entry.outcome, committed) {
            (Outcome::Committed(tid), Some(found)) if tid == found => *known = tid.max(*known),
            (Outcome::Committed(tid), found) => {
                report(format!("committed as {tid:#x}, but the file has its writes in {found:x?}"));
            }
            (Outcome::Found(fate), found) if fate == found => {}
            (Outcome::Found(fate), found) => {
                report(format!(
                    "its fate is said to be {fate:x?}, but the file has its writes in {found:x?}"
                ));
            }
            (Outcome::Read | Outcome::Unknown, _) | (Outcome::Refused | Outcome::Lost, None) => {}
            (Outcome::Refused | Outcome::Lost, Some(tid)) => {
                report(format!("{:?}, but the file has its writes in {tid:#x}", entry.outcome));
            }
        }
        if let Some(tid) = committed {
            verdict.commit_count += 1;
            match history.check_commit(entry, tid) {
                Ok(is_serializable) => verdict.serializable_count += u64::from(is_serializable),
                Err(what) => report(what),
            }
        }
        match entry.outcome {
            Outcome::Read => verdict.reader_count += 1,
            Outcome::Committed(_) => {}
            Outcome::Refused => verdict.conflict_count += 1,
            Outcome::Lost => verdict.lost_count += 1,
            Outcome::Unknown | Outcome::Found(_) => {
                verdict.unknown_count += 1;
                verdict.unknown_committed_count += u64::from(committed.is_some());
                verdict.found_count += u64::from(matches!(entry.outcome, Outcome::Found(_)));
            }
        }
    }
    let strangers = history.unclaimed.keys().map(|tid| format!("{tid:#x} is nobody's transaction"));
    verdict.findings.extend(strangers);
    verdict
}

/// What the file holds.
#[derive(Debug, Default)]
struct History {
    /// The revisions of each object, oldest first: tid and value.
    objects: BTreeMap<ObjectNumber, Vec<(TidNumber, u64)>>,
    /// Where each value was written.
    places: BTreeMap<u64, (TidNumber, ObjectNumber)>,
    /// Transactions that have not been found in a journal, with the number of their writes.
    unclaimed: BTreeMap<TidNumber, usize>,
}

impl History {
    fn of(file: &[Committed], findings: &mut Vec<String>) -> Self {
        let mut history = Self::default();
        let mut last = 0;
        for Committed { tid, writes } in file {
            if *tid <= last {
                findings.push(format!("{tid:#x} stands behind {last:#x} in the file"));
            }
            last = *tid;
            history.unclaimed.insert(*tid, writes.len());
            for write in writes {
                history.objects.entry(write.oid).or_default().push((*tid, write.value));
                if let Some((other, _)) = history.places.insert(write.value, (*tid, write.oid)) {
                    findings
                        .push(format!("{:#x} is in the file twice, in {other:#x} and {tid:#x}", write.value));
                }
            }
        }
        history
    }

    fn revisions(&self, oid: ObjectNumber) -> &[(TidNumber, u64)] {
        self.objects.get(&oid).map(Vec::as_slice).unwrap_or_default()
    }

    /// The newest revision up to and including `tid`, and the one after it.
    fn newest(&self, oid: ObjectNumber, tid: TidNumber) -> (Option<(TidNumber, u64)>, Option<TidNumber>) {
        let all = self.revisions(oid);
        let later = all.partition_point(|(serial, _)| *serial <= tid);
        let newest = later.checked_sub(1).and_then(|at| all.get(at)).copied();
        (newest, all.get(later).map(|(serial, _)| *serial))
    }

    /// What was read is the newest revision as of the snapshot, no older and no newer one.
    fn check_read(&self, snapshot: TidNumber, read: &Read) -> Result<(), String> {
        let (newest, next) = self.newest(read.oid, snapshot);
        if newest != Some((read.serial, read.value)) {
            return Err(format!("read {read:x?}, where {newest:x?} is the newest"));
        }
        // Without an end it is only said that the client knew of none.
        if read.end.is_some() && read.end != next {
            return Err(format!("read {read:x?}, which was superseded by {next:x?}"));
        }
        Ok(())
    }

    /// The transaction of the file that holds all writes of this one, and nothing else; `None` if there is none of them.
    fn take(&mut self, entry: &Entry) -> Result<Option<TidNumber>, String> {
        let Some(first) = entry.writes.first() else { return Ok(None) };
        let tid = self.places.get(&first.value).map(|(tid, _)| *tid);
        for write in &entry.writes {
            let place = self.places.get(&write.value).copied();
            if place != tid.map(|tid| (tid, write.oid)) {
                return Err(format!("a part of it is in {tid:x?}, but {write:x?} is at {place:x?}"));
            }
        }
        let Some(tid) = tid else { return Ok(None) };
        match self.unclaimed.remove(&tid) {
            Some(count) if count == entry.writes.len() => Ok(Some(tid)),
            Some(count) => Err(format!("{tid:#x} has {count} writes, and this one {}", entry.writes.len())),
            None => Err(format!("{tid:#x} is another one's, too")),
        }
    }

    /// Nothing that it has written or checked has changed between its snapshot and its commit. Whether that is all that
    /// it has read.
    fn check_commit(&self, entry: &Entry, tid: TidNumber) -> Result<bool, String> {
        if tid <= entry.snapshot {
            return Err(format!("committed as {tid:#x}, which is no later"));
        }
        let mut is_all = true;
        for read in &entry.reads {
            let is_written = entry.writes.iter().any(|write| write.oid == read.oid);
            if !is_written && !entry.checked.contains(&read.oid) {
                is_all = false;
                continue;
            }
            let (before, _) = self.newest(read.oid, tid - 1);
            if before.map(|(serial, _)| serial) != Some(read.serial) {
                let what = if is_written { "a lost update" } else { "a check that failed to fail" };
                return Err(format!(
                    "{what}: {tid:#x} was built on {read:x?}, but {before:x?} was the newest"
                ));
            }
        }
        Ok(is_all)
    }
}

#[cfg(test)]
mod tests;
