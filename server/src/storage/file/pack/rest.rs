//! Copying what was committed behind the pack time, up to the last moment.
//!
//! All of it stays, byte for byte but for positions. A back pointer that leads to a revision from before the pack time
//! was seen before it was decided what stays, and its revision stayed for it ([`super::reachable`]). One that was
//! committed while the pack was running was not:
//!
//! ```text
//!   pack time:       |         pack runs
//!   A   r1 <-- r2    |              r3    r3 undoes r2, and points to r1, which has gone
//! ```
//!
//! Such a record gets the data of r1 itself: the object is then what the undo made it. With that the record is longer
//! than a back pointer, and so is its transaction. If r1 refers to an object that has gone as well, because nobody else
//! referred to it, the pack cannot mend that and begins again; then it sees r3 in time.
//!
//! Python's pack fails in both cases, with an assertion or a `PackError` (`fspack.py:copyOne`,
//! `PackCopier._txn_find`, ZODB 6.4, tried with an undo made from within `referencesf`), and has to be repeated by
//! whoever asked for it.

use zeo_codec::Oid;
use zeo_codec::record::{possible_references, references};

use super::super::super::StorageError;
use super::super::format::{BACK_POINTER_LEN, DATA_HEADER_SPAN, DataHeader, span, transaction_field};
use super::Stop;
use super::copy::{Copy, LOST_POS, write_failed};
use super::notes::Notes;
use super::progress::Progress;
use super::walk::{Content, Record, Source, Walk};

/// What a record holds in the new file.
enum Body {
    /// Bytes of the old file.
    Data { pos: u64, len: u64 },
    /// A back pointer, or one of the numbers that stand in its place.
    Pointer(u64),
}

/// To what a back pointer leads in the new file.
enum Target {
    At(u64),
    /// It was there, and has gone.
    Gone(Record),
    /// It never led anywhere.
    Nowhere,
}

impl Copy {
    /// Copies the transactions from where the last call ended up to the end of `walk`.
    ///
    /// # Errors
    /// [`Stop::Lacking`] if the pack has to begin again.
    pub(super) fn rest(
        &mut self,
        walk: &mut Walk<'_>,
        notes: &mut Notes<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), Stop> {
        while self.copied_pos < walk.end_pos() {
            let transaction = walk.transaction(self.copied_pos)?;
            let tid = transaction.header.tid;
            if tid <= self.last_tid {
                notes.strange_transaction(tid, transaction.pos, "time-stamp reduction");
            }
            self.last_tid = tid;
            let new_pos = self.out.pos();
            let header_len = transaction.records_pos() - transaction.pos;
            self.write(walk, transaction.pos, header_len)?;
            if transaction.is_undone() {
                self.write(walk, transaction.records_pos(), transaction.header.len - header_len)?;
            }
            let mut record_pos = transaction.records_pos();
            while !transaction.is_undone() && record_pos < transaction.records_end_pos() {
                progress.step(record_pos, walk.end_pos())?;
                let record = walk.record(&transaction, record_pos)?;
                Walk::judge_record(&transaction, &record, notes);
                self.record(walk, &record, new_pos, notes)?;
                record_pos = record.end_pos();
            }
            walk.check_trailer(&transaction)?;
            let len = self.out.pos() - new_pos;
            if len != transaction.header.len {
                self.out.patch(new_pos + span(transaction_field::LEN.start), len).map_err(write_failed)?;
            }
            self.out.write(&len.to_be_bytes()).map_err(write_failed)?;
            // Two records of an object in a transaction have the same previous one.
            self.pending.drain(..).for_each(|(oid, pos)| self.index.insert(oid, pos));
            for oid in std::mem::take(&mut self.wanted) {
                if self.lacks(walk, oid)? {
                    return Err(Stop::Lacking { tid, oid });
                }
            }
            self.copied_pos = transaction.next_pos();
            progress.step(self.copied_pos, walk.end_pos())?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        walk: &mut Walk<'_>,
        record: &Record,
        transaction_pos: u64,
        notes: &mut Notes<'_>,
    ) -> Result<(), StorageError> {
        let previous_pos = self.index.get(record.oid()).unwrap_or(0);
        let body = match record.content {
            Content::Data => Body::Data { pos: record.pos + DATA_HEADER_SPAN, len: record.header.data_len },
            Content::Deleted => Body::Pointer(0),
            Content::Back(back_pos) => match self.target(walk, record, back_pos)? {
                Target::At(new_back_pos) => Body::Pointer(new_back_pos),
                Target::Gone(target) => self.filled(walk, record, &target, notes)?,
                Target::Nowhere => lost(record, notes),
            },
        };
        self.pending.push((record.oid(), self.out.pos()));
        let data_len = if let Body::Data { len, .. } = body { len } else { 0 };
        let header = DataHeader { previous_pos, transaction_pos, data_len, ..record.header };
        self.out.header(&header).map_err(write_failed)?;
        match body {
            Body::Data { pos, len } => self.write(walk, pos, len),
            Body::Pointer(pos) => self.out.write(&pos.to_be_bytes()).map_err(write_failed),
        }
    }

    /// Where the record is now to which `record` points back.
    fn target(&self, walk: &mut Walk<'_>, record: &Record, back_pos: u64) -> Result<Target, StorageError> {
        let target = if back_pos < record.pos { walk.target(record.oid(), back_pos)? } else { None };
        let Some(target) = target else { return Ok(Target::Nowhere) };
        let moved = self.moves.new_pos(back_pos).or_else(|| self.targets.get(&back_pos).copied());
        if let Some(new_pos) = moved {
            return Ok(Target::At(new_pos));
        }
        // Not known beforehand: it can only be the revision that was current at the pack time, the end of the chain.
        let mut pos = self.index.get(record.oid()).unwrap_or(0);
        while pos >= self.moves.packed_len() {
            pos = self.out.header_at(pos).map_err(write_failed)?.previous_pos;
        }
        if pos != 0 {
            let found = self.out.header_at(pos).map_err(write_failed)?;
            if found.oid == record.oid() && found.tid == target.header.tid {
                return Ok(Target::At(pos));
            }
        }
        Ok(Target::Gone(target))
    }

    /// The data to which `record` points back by way of `target`, in place of the pointer.
    fn filled(
        &mut self,
        walk: &mut Walk<'_>,
        record: &Record,
        target: &Record,
        notes: &mut Notes<'_>,
    ) -> Result<Body, StorageError> {
        match walk.source(target)? {
            Source::Data { pos, len } => {
                self.filled_count += 1;
                self.moves.grew(record.pos, span(BACK_POINTER_LEN), len);
                if self.is_collecting {
                    self.want(walk, record, pos, len, notes)?;
                }
                Ok(Body::Data { pos, len })
            }
            Source::Deleted => Ok(Body::Pointer(0)),
            Source::Lost => Ok(lost(record, notes)),
        }
    }

    /// Remembers to what the data refer, where that has not been met.
    fn want(
        &mut self,
        walk: &Walk<'_>,
        record: &Record,
        pos: u64,
        len: u64,
        notes: &mut Notes<'_>,
    ) -> Result<(), StorageError> {
        let (mut data, mut oids) = (Vec::new(), Vec::new());
        walk.data(pos, len, &mut data)?;
        if let Err(error) = references(&data, &mut oids) {
            notes.strange_record(record.oid(), record.pos, &error.to_string());
            oids.clear();
            possible_references(&data, |oid| oids.push(oid));
        }
        oids.retain(|oid| self.index.get(*oid).is_none());
        self.wanted.append(&mut oids);
        Ok(())
    }

    /// Whether an object is there that has gone from the new file.
    fn lacks(&self, walk: &mut Walk<'_>, oid: Oid) -> Result<bool, StorageError> {
        if self.index.get(oid).is_some() {
            return Ok(false);
        }
        match walk.state.index.get(oid) {
            Some(pos) if pos < self.moves.pack_pos() => {
                Ok(walk.header(pos)?.is_some_and(|record| record.content != Content::Deleted))
            }
            // Stored behind the pack time, of which a later round tells; or never.
            Some(_) | None => Ok(false),
        }
    }
}

fn lost(record: &Record, notes: &mut Notes<'_>) -> Body {
    notes.strange_record(record.oid(), record.pos, "a back pointer leads nowhere");
    Body::Pointer(LOST_POS)
}
