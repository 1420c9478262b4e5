//! Reading base and changes as one.
//!
//! Places of the base are its own; those of the changes begin behind them.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use super::super::past::{CurrentObject, PastRecord, PastRevision, PastTransaction, UndoError};
use super::super::{Current, DataSink, NewRecord, Pending, RecordData, StorageError, View};
use super::last_tid;

/// A state of the changes before the base.
#[derive(Debug)]
pub(super) struct DemoView {
    pub(super) base: Arc<dyn View>,
    pub(super) changes: Arc<dyn View>,
}

impl DemoView {
    /// Where the places of the changes begin.
    fn changes_place(&self) -> u64 {
        self.base.end_place().saturating_add(1)
    }

    /// Moves the places of a transaction of the changes behind those of the base.
    fn moved(&self, transaction: PastTransaction) -> PastTransaction {
        let by = self.changes_place();
        PastTransaction {
            place: transaction.place.saturating_add(by),
            next_place: transaction.next_place.saturating_add(by),
            records_place: transaction.records_place.saturating_add(by),
            ..transaction
        }
    }

    /// The oldest revision of `oid` in the changes.
    fn first_change(&self, oid: Oid) -> Result<Option<Tid>, StorageError> {
        let mut first = None;
        let walked = self.changes.history(oid, &mut |revision| {
            first = Some(revision.tid);
            ControlFlow::Continue(())
        });
        match walked {
            Ok(()) | Err(StorageError::NoSuchObject(_)) => Ok(first),
            Err(error) => Err(error),
        }
    }

    /// Loads from the base what the changes superseded later.
    fn load_base(
        &self,
        oid: Oid,
        before: Tid,
        end: Option<Tid>,
        sink: &mut dyn DataSink,
    ) -> Result<bool, StorageError> {
        self.base.load_before(oid, before, &mut Ended { sink, end })
    }

    /// Whether nothing is known of any of these oids.
    pub(super) fn are_free(&self, oids: Range<u64>) -> Result<bool, StorageError> {
        let first = Oid::from_u64(oids.start);
        let is_free = |view: &dyn View| {
            let found = view.object_from(first)?;
            Ok::<_, StorageError>(found.is_none_or(|object| object.oid.to_u64() >= oids.end))
        };
        // The root's oid is never free.
        Ok(oids.start > 0 && !oids.is_empty() && is_free(&*self.base)? && is_free(&*self.changes)?)
    }
}

/// Fills in the end of a revision that its storage takes for the current one.
struct Ended<'s> {
    sink: &'s mut dyn DataSink,
    end: Option<Tid>,
}

impl DataSink for Ended<'_> {
    fn room(&mut self) -> &mut [u8] {
        self.sink.room()
    }

    fn accept(&mut self, serial: Tid, end: Option<Tid>, data_len: usize) -> &mut [u8] {
        self.sink.accept(serial, end.or(self.end), data_len)
    }
}

impl View for DemoView {
    fn last_tid(&self) -> Tid {
        last_tid(self.base.last_tid(), self.changes.last_tid())
    }

    /// As Python's, which counts the changes only.
    fn object_count(&self) -> u64 {
        self.changes.object_count()
    }

    /// As Python's, which measures the changes only.
    fn size_bytes(&self) -> u64 {
        self.changes.size_bytes()
    }

    fn load_before(&self, oid: Oid, before: Tid, sink: &mut dyn DataSink) -> Result<bool, StorageError> {
        match self.changes.load_before(oid, before, sink) {
            Err(StorageError::NoSuchObject(_)) => self.load_base(oid, before, None, sink),
            Ok(false) => match self.load_base(oid, before, self.first_change(oid)?, sink) {
                // It exists, but only later.
                Err(StorageError::NoSuchObject(_)) => Ok(false),
                loaded => loaded,
            },
            loaded => loaded,
        }
    }

    fn load_serial(&self, oid: Oid, serial: Tid, sink: &mut dyn DataSink) -> Result<(), StorageError> {
        match self.changes.load_serial(oid, serial, sink) {
            Err(StorageError::NoSuchObject(_) | StorageError::NoSuchRevision(..)) => {
                self.base.load_serial(oid, serial, sink)
            }
            loaded => loaded,
        }
    }

    fn current(&self, oid: Oid) -> Result<Option<Current>, StorageError> {
        match self.changes.current(oid)? {
            Some(current) if !current.is_deleted => Ok(Some(current)),
            // What the base has deleted, Python's does not see at all: anybody may store it anew.
            changed => Ok(self.base.current(oid)?.filter(|current| !current.is_deleted).or(changed)),
        }
    }

    fn last_changes(&self, count: usize) -> Result<Vec<(Tid, Vec<Oid>)>, StorageError> {
        let newest = self.changes.last_changes(count)?;
        let mut all = match count.saturating_sub(newest.len()) {
            0 => Vec::new(),
            missing_count => self.base.last_changes(missing_count)?,
        };
        all.extend(newest);
        Ok(all)
    }

    fn place_of(&self, start: Option<Tid>) -> Result<u64, StorageError> {
        let place = self.base.place_of(start)?;
        if place < self.base.end_place() {
            return Ok(place);
        }
        Ok(self.changes.place_of(start)?.saturating_add(self.changes_place()))
    }

    fn end_place(&self) -> u64 {
        self.changes.end_place().saturating_add(self.changes_place())
    }

    fn undoable_place(&self) -> u64 {
        self.changes.undoable_place().saturating_add(self.changes_place())
    }

    fn transaction_from(&self, place: u64) -> Result<Option<PastTransaction>, StorageError> {
        if place < self.changes_place()
            && let Some(transaction) = self.base.transaction_from(place)?
        {
            return Ok(Some(transaction));
        }
        let place = match place.checked_sub(self.changes_place()) {
            Some(place) => place,
            None => self.changes.place_of(None)?,
        };
        Ok(self.changes.transaction_from(place)?.map(|transaction| self.moved(transaction)))
    }

    fn transaction_before(&self, place: u64) -> Result<Option<PastTransaction>, StorageError> {
        if let Some(place) = place.checked_sub(self.changes_place())
            && let Some(transaction) = self.changes.transaction_before(place)?
        {
            return Ok(Some(self.moved(transaction)));
        }
        self.base.transaction_before(place.min(self.base.end_place()))
    }

    fn record_from(
        &self,
        transaction: &PastTransaction,
        place: u64,
    ) -> Result<Option<PastRecord>, StorageError> {
        let by = self.changes_place();
        if transaction.place < by {
            return self.base.record_from(transaction, place);
        }
        let back = |place: u64| place.saturating_sub(by);
        let own = PastTransaction {
            place: back(transaction.place),
            next_place: back(transaction.next_place),
            records_place: back(transaction.records_place),
            ..transaction.clone()
        };
        let record = self.changes.record_from(&own, back(place))?;
        Ok(record.map(|record| PastRecord { next_place: record.next_place.saturating_add(by), ..record }))
    }

    fn history(
        &self,
        oid: Oid,
        visit: &mut dyn FnMut(PastRevision) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut is_over = false;
        let mut base_layer = 1;
        let mut watching = |revision: PastRevision| {
            base_layer = revision.layer + 1;
            let flow = visit(revision);
            is_over = flow.is_break();
            flow
        };
        let changed = self.changes.history(oid, &mut watching);
        if is_over {
            return changed;
        }
        let mut behind =
            |revision: PastRevision| visit(PastRevision { layer: revision.layer + base_layer, ..revision });
        match changed {
            Ok(()) | Err(StorageError::NoSuchObject(_)) => self.base.history(oid, &mut behind),
            Err(error) => Err(error),
        }
    }

    fn object_from(&self, start: Oid) -> Result<Option<CurrentObject>, StorageError> {
        let (Some(one), Some(other)) = (self.changes.object_from(start)?, self.base.object_from(start)?)
        else {
            return Ok(self.changes.object_from(start)?.or(self.base.object_from(start)?));
        };
        let (first, second) = if one.oid <= other.oid { (one, other) } else { (other, one) };
        // Behind the first: its own successor, or the other's first, or, if both have the first, the other's next.
        let rest = if second.oid == first.oid { second.next } else { Some(second.oid) };
        let next = first.next.into_iter().chain(rest).min();
        Ok(Some(CurrentObject { oid: first.oid, next }))
    }

    fn undo(&self, tid: Tid, pending: &mut Pending) -> Result<Vec<NewRecord>, UndoError> {
        self.changes.undo(tid, pending)
    }

    fn restored(
        &self,
        oid: Oid,
        data: Option<Bytes>,
        data_tid: Option<Tid>,
    ) -> Result<RecordData, StorageError> {
        self.changes.restored(oid, data, data_tid)
    }
}
