//! Judges what clients wrote down.
//!
//! Nothing here knows how a server works. First all commits are put in the order of their tids, and the history
//! of every object follows from what the transactions asked for. Then each client's stream is compared with it,
//! event by event: a client walks through the commits one by one, and whatever it loads is what the commits that
//! it has been told of have left. `guarantees.md` numbers the rules S1 to S8; the text of each finding begins with
//! the rule that is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

use zeo_codec::{Oid, Tid};

use super::record::{Event, Loaded, Op, Record, Value};

/// What is not held against a server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leniency {
    /// Deleted objects need not be announced: Python's server does not (protocol reference 8).
    pub deletions_unannounced: bool,
    /// Answers may be ahead of the stream: a load may give a revision, and `lastTransaction` or `getInvalidations`
    /// name a commit, before the stream has told of it. Python's server does so now and then, and its clients cope:
    /// rule S1 forbids only what is behind.
    pub ahead: bool,
    /// Packs took place: old revisions may be gone, and deleted objects as if they had never been there.
    pub packed: bool,
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The client's number, if it is one client's matter.
    pub client: Option<usize>,
    /// Connection and place within its events.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(client) = self.client {
            write!(f, "client {client}")?;
        }
        if let Some((connection, event)) = self.place {
            write!(f, ", connection {connection}, event {event}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// A revision: who wrote it, and what; `None` says that the object exists no more.
type Revision = (Tid, Option<Value>);

/// Everything that was committed, as far as the clients know.
#[derive(Debug, Default)]
struct History {
    objects: BTreeMap<Oid, Vec<Revision>>,
    /// Each commit: whose it is, and what it changed.
    commits: BTreeMap<Tid, (usize, BTreeMap<Oid, Option<Value>>)>,
}

impl History {
    fn newest(&self, oid: Oid) -> Option<Revision> {
        self.objects.get(&oid)?.last().copied()
    }

    /// The newest revision below `before`, and the one after it, as of `seen`.
    fn revision_before(&self, oid: Oid, before: Tid, seen: Tid) -> (Option<Revision>, Option<Tid>, bool) {
        let all = self.objects.get(&oid).map(Vec::as_slice).unwrap_or_default();
        let known = all.get(..all.partition_point(|(tid, _)| *tid <= seen)).unwrap_or_default();
        let later = known.partition_point(|(tid, _)| *tid < before);
        let found = later.checked_sub(1).and_then(|at| known.get(at)).copied();
        (found, known.get(later).map(|(tid, _)| *tid), !known.is_empty())
    }

    /// The commit that follows `seen`.
    fn next(&self, seen: Tid) -> Option<Tid> {
        self.commits.range((Bound::Excluded(seen), Bound::Unbounded)).next().map(|(tid, _)| *tid)
    }

    /// Whether `told` are the objects that commits behind `since`, up to and including `until`, changed.
    fn changed(&self, since: Tid, until: Tid, told: &[Oid], leniency: Leniency) -> Result<(), String> {
        let commits = self.commits.range((Bound::Excluded(since), Bound::Included(until)));
        let changes = commits.flat_map(|(_, (_, changes))| changes);
        let mut expected: BTreeMap<Oid, bool> = BTreeMap::new();
        for (oid, value) in changes {
            *expected.entry(*oid).or_default() |= value.is_some() || !leniency.deletions_unannounced;
        }
        let told: BTreeSet<Oid> = told.iter().copied().collect();
        let is_all = expected.iter().all(|(oid, is_needed)| !is_needed || told.contains(oid));
        if is_all && told.iter().all(|oid| expected.contains_key(oid)) {
            Ok(())
        } else {
            Err(format!("from {since} to {until} announced {told:?}, but changed {:?}", expected.keys()))
        }
    }
}

/// Judges all records of a run, the one that set the objects up included.
///
/// `final_tid` is the last transaction when everything had ended: what every client must have seen in the end.
#[must_use]
pub fn check(records: &[Record], final_tid: Tid, leniency: Leniency) -> Vec<Finding> {
    let mut findings = Vec::new();
    let history = build(records, leniency, &mut findings);
    if history.commits.last_key_value().map(|(tid, _)| *tid) != Some(final_tid) {
        let what = format!("S8: the last transaction is {final_tid}, which is not the last known commit");
        findings.push(Finding { client: None, place: None, what });
    }
    for (client, record) in records.iter().enumerate() {
        let mut walk =
            Walk { history: &history, leniency, client, seen: None, connection: 0, findings: &mut findings };
        walk.record(record);
        if walk.seen.is_some_and(|seen| seen != final_tid) {
            let what = format!("S6: the stream ended before {final_tid}");
            findings.push(Finding { client: Some(client), place: None, what });
        }
    }
    findings
}

/// The history that the committed transactions make, checked for updates that were lost.
fn build(records: &[Record], leniency: Leniency, findings: &mut Vec<Finding>) -> History {
    let mut attempts = BTreeMap::new();
    for (client, record) in records.iter().enumerate() {
        for attempt in &record.attempts {
            let Some(tid) = attempt.tid else { continue };
            if attempts.insert(tid, (client, &attempt.ops)).is_some() {
                let what = format!("S3: {tid} was given to two transactions");
                findings.push(Finding { client: Some(client), place: None, what });
            }
        }
    }
    let mut history = History::default();
    for (tid, (client, ops)) in attempts {
        let mut report = |what: String| {
            let what = format!("conflict: {tid} {what}");
            findings.push(Finding { client: Some(client), place: None, what });
        };
        let changes = apply(ops, &history, leniency, &mut report);
        for (oid, value) in &changes {
            history.objects.entry(*oid).or_default().push((tid, *value));
        }
        history.commits.insert(tid, (client, changes));
    }
    history
}

/// What a transaction changes, which must be built on the newest revisions.
fn apply(
    ops: &[Op],
    history: &History,
    leniency: Leniency,
    report: &mut impl FnMut(String),
) -> BTreeMap<Oid, Option<Value>> {
    let mut changes = BTreeMap::new();
    let mut last_reads = BTreeMap::new();
    for op in ops {
        match *op {
            Op::Write { oid, read, value } => {
                last_reads.insert(oid, read);
                changes.insert(oid, Some(value));
            }
            Op::Delete { oid, read } => {
                last_reads.insert(oid, read);
                changes.insert(oid, None);
            }
            Op::Check { oid, read } => {
                last_reads.entry(oid).or_insert(read);
            }
            Op::Undo { tid } => undo(tid, history, &mut changes, report),
        }
    }
    for (oid, read) in last_reads {
        let newest = history.newest(oid);
        let is_gone = leniency.packed && read == Tid::ZERO && matches!(newest, Some((_, None)));
        let newest = newest.map_or(Tid::ZERO, |(tid, _)| tid);
        if newest != read && !is_gone {
            report(format!("was built on {read} of {oid}, but {newest} was the newest"));
        }
    }
    changes
}

fn undo(
    undone: Tid,
    history: &History,
    changes: &mut BTreeMap<Oid, Option<Value>>,
    report: &mut impl FnMut(String),
) {
    let Some((_, undone_changes)) = history.commits.get(&undone) else {
        report(format!("undid {undone}, which is no commit"));
        return;
    };
    for (oid, value) in undone_changes {
        let is_newest = history.newest(*oid).is_some_and(|(tid, newest)| tid == undone || newest == *value);
        if !is_newest {
            report(format!("undid {undone}, although {oid} was changed later"));
        }
        let (before, _, _) = history.revision_before(*oid, undone, Tid::MAX);
        changes.insert(*oid, before.and_then(|(_, value)| value));
    }
}

/// A walk through one client's events.
struct Walk<'w> {
    history: &'w History,
    leniency: Leniency,
    client: usize,
    /// The last commit that the client was told of.
    seen: Option<Tid>,
    connection: usize,
    findings: &'w mut Vec<Finding>,
}

impl Walk<'_> {
    fn record(&mut self, record: &Record) {
        for (connection, events) in record.connections.iter().enumerate() {
            self.connection = connection;
            for (place, event) in events.iter().enumerate() {
                if let Err(what) = self.event(event) {
                    let place = Some((connection, place));
                    self.findings.push(Finding { client: Some(self.client), place, what });
                }
            }
        }
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Registered(tid) => self.registered(*tid),
            Event::CaughtUp { since, until, oids } => self.caught_up(*since, *until, oids.as_deref()),
            Event::Invalidated(tid, oids) => {
                if self.leniency.ahead && self.seen.is_some_and(|seen| *tid <= seen) {
                    // An answer was ahead; clients compare.
                    return Ok(());
                }
                let result = self.told(*tid);
                let before = Tid::from_u64(tid.to_u64().saturating_sub(1));
                let changed = self.history.changed(before, *tid, oids, self.leniency);
                result.and_then(|()| changed.map_err(|what| format!("S7: {what}")))
            }
            Event::Committed(tid) => {
                let is_own = self.history.commits.get(tid).is_some_and(|(client, _)| *client == self.client);
                let result = self.told(*tid);
                if is_own { result } else { Err(format!("S3: {tid} is somebody else's commit")) }
            }
            Event::Loaded { oid, before, loaded } => self.loaded(*oid, *before, *loaded),
            Event::LastTransaction(tid) => match self.seen {
                Some(seen) if seen == *tid || (self.leniency.ahead && *tid > seen) => Ok(()),
                seen => {
                    Err(format!("S8: the last transaction is said to be {tid}, the stream is at {seen:?}"))
                }
            },
        }
    }

    fn registered(&mut self, tid: Tid) -> Result<(), String> {
        let before = self.seen.replace(tid);
        match before {
            Some(before) if tid < before => Err(format!("S8: registered at {tid}, after {before} was known")),
            _ if tid != Tid::ZERO && !self.history.commits.contains_key(&tid) => {
                Err(format!("S4: registered at {tid}, which nobody committed"))
            }
            _ => Ok(()),
        }
    }

    fn caught_up(&mut self, since: Tid, until: Tid, oids: Option<&[Oid]>) -> Result<(), String> {
        let seen = self.seen.replace(until).ok_or("S4: caught up before it registered")?;
        if seen != until && !(self.leniency.ahead && until > seen) {
            return Err(format!("S5: caught up to {until}, the stream is at {seen}"));
        }
        let Some(oids) = oids else { return Ok(()) };
        self.history.changed(since, until, oids, self.leniency).map_err(|what| format!("S5: {what}"))
    }

    /// The client is told of a commit: it must be the next one.
    fn told(&mut self, tid: Tid) -> Result<(), String> {
        let seen = self.seen.replace(tid).ok_or("S4: told before it registered")?;
        match self.history.next(seen) {
            Some(next) if next == tid => Ok(()),
            next => Err(format!("S3: told of {tid} after {seen}, where {next:?} is the next commit")),
        }
    }

    fn loaded(&self, oid: Oid, before: Tid, loaded: Loaded) -> Result<(), String> {
        let mut seen = self.seen.ok_or("S4: loaded before it registered")?;
        if let (true, Loaded::Revision { serial, end, .. }) = (self.leniency.ahead, loaded) {
            seen = seen.max(serial).max(end.unwrap_or(serial));
        }
        let (found, end, is_known) = self.history.revision_before(oid, before, seen);
        let expected = match found {
            Some((serial, Some(value))) => Loaded::Revision { value, serial, end },
            None if is_known => Loaded::OnlyLater,
            Some((_, None)) | None => Loaded::NoSuchObject,
        };
        let may_be_gone =
            self.leniency.packed && (end.is_some() || !matches!(expected, Loaded::Revision { .. }));
        let is_gone = matches!(loaded, Loaded::OnlyLater | Loaded::NoSuchObject);
        if loaded == expected || (may_be_gone && is_gone) {
            Ok(())
        } else {
            Err(format!("S1: {oid} before {before} as of {seen}: {loaded:?}, expected {expected:?}"))
        }
    }
}

#[cfg(test)]
mod tests;
