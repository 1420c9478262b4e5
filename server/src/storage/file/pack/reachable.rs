//! Which revisions from before the pack time stay.
//!
//! Three sets of revisions (`fspack.py:GC`, ZODB 6.4):
//!
//! ```text
//!   pack time:              |
//!   A   r1 <-- r2           |            current then, and reachable from the root: r2 stays
//!   B   r1 <-- r2 <--------------- r3    r3 is an undo that points back to r1: r1 stays, too, and what r1
//!        ^__________________________|    refers to counts as reachable
//!   C   r1                  |            current, but not reachable: goes, with all its revisions
//! ```
//!
//! The first takes an index as of the pack time with a bit for each object; the second is a set of (oid, position),
//! usually small. Marking keeps a stack of bounded size: what does not fit is put off with another bit. Together
//! with the index that takes 6.2 to 9.7 bytes an object, and 48 for each revision of the second kind.
//!
//! Two things differ from Python, both towards losing nothing:
//!
//! * What is kept because of a back pointer is kept *in addition* to the object's revision at the pack time, and its
//!   references count, even if the object was not reachable at the pack time; Python then forgets its references,
//!   and forgets the revision at the pack time if the object is reached through them (`findReachableFromFuture`).
//! * Without garbage collection (`pack-gc false`), later back pointers keep their targets, too; Python's pack fails.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use zeo_codec::record::{possible_references, references};
use zeo_codec::{Oid, Tid};

use super::super::super::StorageError;
use super::super::format::FIRST_TRANSACTION_POS;
use super::super::index::{IndexBuilder, MarkedIndex, Slot};
use super::estimate::Part;
use super::notes::Notes;
use super::progress::Progress;
use super::walk::{Content, Record, Source, Walk};

/// The index entry of an object that does not exist at the pack time. It lies within the magic: no record does.
const DELETED_POS: u64 = 1;

/// How many objects may wait in the stack.
const STACK_LEN: usize = 1 << 16;

/// The current revisions as of the pack time.
pub(super) struct PackIndex {
    index: IndexBuilder,
    /// Where the first transaction behind the pack time begins.
    pub(super) pack_pos: u64,
    /// Whether there is anything that no earlier pack has been over.
    pub(super) is_redundant: bool,
}

/// The revisions from before the pack time that stay.
pub(super) struct Reachable {
    index: MarkedIndex,
    pub(super) pack_pos: u64,
    /// Revisions to which later back pointers lead.
    later: BTreeSet<(Oid, u64)>,
    /// Whether only marked objects stay.
    is_collecting: bool,
}

/// Reads everything up to the pack time `until`.
pub(super) fn pack_index(
    walk: &mut Walk<'_>,
    until: Tid,
    notes: &mut Notes<'_>,
    progress: &mut Progress<'_>,
) -> Result<PackIndex, StorageError> {
    progress.begin(Part::Read, "looking for the pack time");
    let mut found = PackIndex { index: IndexBuilder::default(), pack_pos: 0, is_redundant: false };
    let mut pos = FIRST_TRANSACTION_POS;
    let mut last_tid = Tid::ZERO;
    let mut is_packed_so_far = true;
    while pos < walk.end_pos() {
        let transaction = walk.transaction(pos)?;
        let is_packed = transaction.header.status == super::super::format::status::PACKED;
        if transaction.header.tid > until {
            // Everything up to here went through an earlier pack, and so did this one: to a later time.
            found.is_redundant = is_packed_so_far && is_packed;
            break;
        }
        is_packed_so_far &= is_packed;
        Walk::judge(&transaction, last_tid, notes);
        last_tid = transaction.header.tid;
        let mut record_pos = transaction.records_pos();
        while !transaction.is_undone() && record_pos < transaction.records_end_pos() {
            progress.step(record_pos, walk.end_pos())?;
            let record = walk.record(&transaction, record_pos)?;
            Walk::judge_record(&transaction, &record, notes);
            let is_deleted = record.content == Content::Deleted;
            found.index.insert(record.oid(), if is_deleted { DELETED_POS } else { record_pos });
            record_pos = record.end_pos();
        }
        walk.check_trailer(&transaction)?;
        pos = transaction.next_pos();
        progress.step(pos, walk.end_pos())?;
    }
    // Nothing behind the pack time, and nothing new before it.
    found.is_redundant |= is_packed_so_far && pos >= walk.end_pos();
    found.pack_pos = pos;
    Ok(found)
}

/// Finds out what stays.
pub(super) fn reachable<'p>(
    found: PackIndex,
    walk: &mut Walk<'_>,
    is_collecting: bool,
    notes: &mut Notes<'p>,
    progress: &mut Progress<'p>,
) -> Result<Reachable, StorageError> {
    let PackIndex { index, pack_pos, .. } = found;
    let object_count = index.len();
    let mut reachable =
        Reachable { index: index.into_marked(), pack_pos, later: BTreeSet::new(), is_collecting };
    reachable.find_back_pointers(walk, progress)?;
    if is_collecting {
        progress.begin(Part::Mark, "marking what can be reached");
        let stack = Vec::with_capacity(STACK_LEN);
        let (data, oids) = (Vec::new(), Vec::new());
        let (reachable, has_put_off, done) = (&mut reachable, false, 0);
        Marking { reachable, walk, notes, progress, stack, has_put_off, data, oids, done, object_count }
            .run()?;
    }
    Ok(reachable)
}

impl Reachable {
    /// Whether the revision at `pos`, before the pack time, stays.
    pub(super) fn keeps(&self, oid: Oid, pos: u64) -> bool {
        let current = self.index.find(oid).filter(|(_, current_pos)| *current_pos == pos);
        current.is_some_and(|(slot, _)| self.is_kept(slot)) || self.later.contains(&(oid, pos))
    }

    /// The revisions of `oid` from before the pack time that stay, newest last.
    pub(super) fn kept(&self, oid: Oid) -> impl Iterator<Item = u64> {
        let current = self.index.find(oid).filter(|(slot, pos)| *pos != DELETED_POS && self.is_kept(*slot));
        let later = self.later.range((oid, 0)..=(oid, u64::MAX)).map(|(_, pos)| *pos);
        later.chain(current.map(|(_, pos)| pos))
    }

    /// Whether later back pointers lead to the revision at `pos`.
    pub(super) fn is_target(&self, oid: Oid, pos: u64) -> bool {
        self.later.contains(&(oid, pos))
    }

    fn is_kept(&self, slot: Slot) -> bool {
        !self.is_collecting || self.index.is_marked(slot)
    }

    /// The entry of an object that exists at the pack time.
    fn existing(&self, oid: Oid) -> Option<(Slot, u64)> {
        self.index.find(oid).filter(|(_, pos)| *pos != DELETED_POS)
    }

    /// Collects the revisions to which transactions behind the pack time point back.
    fn find_back_pointers(
        &mut self,
        walk: &mut Walk<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        progress.begin(Part::Read, "looking for undone transactions behind the pack time");
        let mut pos = self.pack_pos;
        while pos < walk.end_pos() {
            let transaction = walk.transaction(pos)?;
            let mut record_pos = transaction.records_pos();
            while !transaction.is_undone() && record_pos < transaction.records_end_pos() {
                progress.step(record_pos, walk.end_pos())?;
                let record = walk.record(&transaction, record_pos)?;
                if let Content::Back(back_pos) = record.content
                    && back_pos < self.pack_pos
                    && walk.target(record.oid(), back_pos)?.is_some()
                {
                    self.later.insert((record.oid(), back_pos));
                }
                record_pos = record.end_pos();
            }
            walk.check_trailer(&transaction)?;
            pos = transaction.next_pos();
            progress.step(pos, walk.end_pos())?;
        }
        Ok(())
    }
}

/// Marking: a walk through the references.
struct Marking<'m, 's, 'p> {
    reachable: &'m mut Reachable,
    walk: &'m mut Walk<'s>,
    notes: &'m mut Notes<'p>,
    progress: &'m mut Progress<'p>,
    /// Marked objects whose references have not been read. Never longer than its first capacity.
    stack: Vec<Slot>,
    has_put_off: bool,
    data: Vec<u8>,
    oids: Vec<Oid>,
    done: u64,
    object_count: u64,
}

impl Marking<'_, '_, '_> {
    fn run(mut self) -> Result<(), StorageError> {
        match self.reachable.existing(Oid::ZERO) {
            Some((slot, _)) => self.mark(slot),
            // A pack to a time before everything: nothing to be marked.
            None if self.reachable.index.positions().all(|pos| pos == DELETED_POS) => {}
            None => return Err(StorageError::NoRoot(Oid::ZERO)),
        }
        self.drain()?;
        let mut next = self.reachable.later.first().copied();
        while let Some((oid, pos)) = next {
            let is_read = self.reachable.index.find(oid).is_some_and(|(slot, current_pos)| {
                current_pos == pos && self.reachable.index.is_marked(slot)
            });
            if !is_read {
                self.read(pos)?;
                self.drain()?;
            }
            next = self.reachable.later.range((Excluded((oid, pos)), Unbounded)).next().copied();
        }
        Ok(())
    }

    /// Reads the references of everything that is marked.
    fn drain(&mut self) -> Result<(), StorageError> {
        loop {
            while let Some(slot) = self.stack.pop() {
                let Some(pos) = self.reachable.index.position(slot) else { continue };
                self.done += 1;
                self.progress.step(self.done, self.object_count)?;
                self.read(pos)?;
            }
            if !std::mem::take(&mut self.has_put_off) {
                return Ok(());
            }
            self.reachable.index.take_put_off(&mut self.stack);
            // There may be more than the stack takes.
            self.has_put_off = self.stack.len() >= STACK_LEN;
        }
    }

    /// Marks what the record at `pos` refers to.
    fn read(&mut self, pos: u64) -> Result<(), StorageError> {
        let record = self.walk.header(pos)?;
        let record = record.ok_or_else(|| self.walk.state.corrupt("data record is cut short", pos))?;
        // What is deleted or lost refers to nothing; the copy tells of the latter.
        let Source::Data { pos: data_pos, len } = self.walk.source(&record)? else { return Ok(()) };
        let (mut data, mut oids) = (std::mem::take(&mut self.data), std::mem::take(&mut self.oids));
        self.walk.data(data_pos, len, &mut data)?;
        oids.clear();
        match references(&data, &mut oids) {
            Ok(()) => oids.iter().for_each(|oid| self.refer(&record, *oid)),
            Err(error) => {
                self.notes.strange_record(record.oid(), record.pos, &error.to_string());
                possible_references(&data, |oid| {
                    if let Some((slot, _)) = self.reachable.existing(oid) {
                        self.mark(slot);
                    }
                });
            }
        }
        // One large record must not keep its room.
        if data.capacity() <= BUFFER_LEN {
            (self.data, self.oids) = (data, oids);
        }
        Ok(())
    }

    fn refer(&mut self, from: &Record, oid: Oid) {
        match self.reachable.existing(oid) {
            Some((slot, _)) => self.mark(slot),
            None if self.reachable.kept(oid).next().is_some() => {}
            None => self.notes.dangling(from.oid(), from.pos, oid),
        }
    }

    /// Marks an object and remembers to read it.
    fn mark(&mut self, slot: Slot) {
        if !self.reachable.index.mark(slot) {
            return;
        }
        if self.stack.len() < STACK_LEN {
            self.stack.push(slot);
        } else {
            self.reachable.index.put_off(slot);
            self.has_put_off = true;
        }
    }
}

/// Room that is kept from one record to the next.
const BUFFER_LEN: usize = 1 << 20;
