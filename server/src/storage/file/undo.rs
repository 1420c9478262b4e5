//! Taking a transaction back, and copying records from another storage: which of it can be written as a reference to
//! what the file holds already.
//!
//! Source: `FileStorage.py:undo`, `_txn_find`, `_txn_undo_write`, `_transactionalUndoRecord`, `_undoDataInfo`,
//! `restore`, `_data_find`, ZODB 6.4. Three things differ:
//!
//! * an object that Python would let its class merge cannot be undone;
//! * the search for the transaction ends at the first older one, as tids rise. (Python searches the whole file;
//!   that it means to stop at a packed transaction has no effect on Python 3, where the comparison of a byte
//!   with `b'p'` never holds.);
//! * the hint that comes with a copied record is a hint, as `IStorageRestoreable` says: Python fails where the
//!   transaction is not there, and believes references without a look at the data.

use std::collections::HashMap;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use super::super::past::{UndoError, WhyNotUndone};
use super::super::{NewRecord, Pending, RecordData, Revision, StorageError, wait};
use super::format::{DATA_HEADER_LEN, DataHeader, back_pointer, data_field, status};
use super::view::FileView;

/// What an object is now, this transaction's own records included.
struct Now<'p> {
    /// Where the data stand, as Python's `_undoDataInfo` has it: the position of a record with data or of what a
    /// record refers to; 0 if there are none. `None`: in a record that is not written yet.
    data_pos: Option<u64>,
    /// Data that is not written yet.
    new_data: Option<&'p Bytes>,
    /// Above every position that `data_pos` can have.
    below_pos: u64,
}

impl FileView {
    pub(super) fn undo_transaction(
        &self,
        tid: Tid,
        pending: &mut Pending,
    ) -> Result<Vec<NewRecord>, UndoError> {
        // That may be at the far end of a large file, and this is a thread that has other connections, too.
        let mut found = Ok(None);
        wait(&mut || found = self.find_transaction(tid));
        let pos = found?.ok_or(UndoError::NoSuchTransaction)?;
        let transaction = self.transaction_header(pos)?;
        if transaction.status != status::COMMITTED {
            return Err(UndoError::NotUndoable);
        }
        let end_pos = pos + transaction.len;
        let mut record_pos = pos + transaction.header_len();
        let mut records = Vec::new();
        // With the positions of their records, by which they are told in the end.
        let mut failures: HashMap<Oid, (u64, WhyNotUndone)> = HashMap::new();
        while record_pos < end_pos {
            let (header, back_pos) = self.header_in(pos, record_pos, end_pos)?;
            let oid = header.oid;
            if records.len() + failures.len() >= pending.left() {
                return Err(UndoError::TooMany);
            }
            // An object that has another record in the transaction gets another chance.
            failures.remove(&oid);
            match self.undo_record(record_pos, &header, back_pos, pending.last_of(oid))? {
                Ok(data) => records.push(NewRecord { oid, serial: None, data }),
                Err(why) => {
                    failures.insert(oid, (record_pos, why));
                }
            }
            record_pos += header.record_len().unwrap_or(u64::MAX - record_pos);
        }
        if failures.is_empty() {
            return Ok(records);
        }
        let mut failures: Vec<_> = failures.into_iter().collect();
        failures.sort_unstable_by_key(|(_, (pos, _))| *pos);
        Err(UndoError::Objects(failures.into_iter().map(|(oid, (_, why))| (oid, why)).collect()))
    }

    /// What to write to take back the record at `pos`.
    fn undo_record(
        &self,
        pos: u64,
        header: &DataHeader,
        back_pos: u64,
        pending: Option<&RecordData>,
    ) -> Result<Result<RecordData, WhyNotUndone>, StorageError> {
        let oid = header.oid;
        let Some(now) = self.now(oid, pos, pending)? else { return self.before(oid, pos, header) };
        if now.data_pos != Some(pos) {
            let undone = self.target(oid, pos + 1, if header.data_len != 0 { pos } else { back_pos })?;
            let Some(undone) = undone else { return Ok(Err(WhyNotUndone::NotThere)) };
            let is_same = match (now.new_data, now.data_pos) {
                (Some(data), _) => self.target_data(&undone)? == *data,
                (None, data_pos) => match self.target(oid, now.below_pos, data_pos.unwrap_or(0))? {
                    None => return Ok(Err(WhyNotUndone::NotThere)),
                    Some(current) if current.pos == undone.pos => true,
                    Some(current) => self.target_data(&undone)? == self.target_data(&current)?,
                },
            };
            if !is_same {
                if header.previous_pos == 0 {
                    return Ok(Err(WhyNotUndone::AddedAndModifiedLater));
                }
                let before = self.target(oid, pos, header.previous_pos)?;
                return Ok(Err(match before {
                    None => WhyNotUndone::NotThereBefore,
                    Some(_) => WhyNotUndone::ModifiedLater,
                }));
            }
        }
        self.before(oid, pos, header)
    }

    /// What the object is now; `None` if the record at `pos` says so itself.
    fn now<'p>(
        &self,
        oid: Oid,
        pos: u64,
        pending: Option<&'p RecordData>,
    ) -> Result<Option<Now<'p>>, StorageError> {
        if let Some(record) = pending {
            let (data_pos, new_data) = match record {
                RecordData::Data(data) => (None, Some(data)),
                RecordData::Deleted => (Some(0), None),
                RecordData::Revision(revision) => (Some(revision.place), None),
            };
            return Ok(Some(Now { data_pos, new_data, below_pos: self.end_pos }));
        }
        let newest_pos =
            self.newest_pos(oid)?.ok_or_else(|| self.corrupt("record is not in the index", pos))?;
        if newest_pos == pos {
            return Ok(None);
        }
        let mut bytes = [0; data_field::BACK_POINTER.end];
        let newest = self.state.record(oid, newest_pos, &mut bytes)?;
        let data_pos = match newest.data_len {
            0 => back_pointer(&bytes).unwrap_or(0),
            _ => newest_pos,
        };
        Ok(Some(Now { data_pos: Some(data_pos), new_data: None, below_pos: self.end_pos }))
    }

    /// What the object was before the record at `pos`.
    fn before(
        &self,
        oid: Oid,
        pos: u64,
        header: &DataHeader,
    ) -> Result<Result<RecordData, WhyNotUndone>, StorageError> {
        let previous_pos = header.previous_pos;
        if previous_pos == 0 {
            return Ok(Ok(RecordData::Deleted));
        }
        let serial = self.header_of(oid, pos, previous_pos)?.tid;
        let data_serial = self.target(oid, pos, previous_pos)?.map(|target| target.data_tid);
        Ok(Ok(RecordData::Revision(Revision { serial, data_serial, place: previous_pos })))
    }

    pub(super) fn restored_record(
        &self,
        oid: Oid,
        data: Option<Bytes>,
        data_tid: Option<Tid>,
    ) -> Result<RecordData, StorageError> {
        if let Some(place) = data_tid.map(|tid| self.position_at(oid, tid)).transpose()?.flatten() {
            let serial = self.state.record(oid, place, &mut [0; DATA_HEADER_LEN])?.tid;
            let target = self.target(oid, self.end_pos, place)?;
            let is_same = match (&target, &data) {
                (Some(target), Some(data)) => self.target_data(target)? == *data,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if is_same {
                let data_serial = target.map(|target| target.data_tid);
                return Ok(RecordData::Revision(Revision { serial, data_serial, place }));
            }
        }
        Ok(data.map_or(RecordData::Deleted, RecordData::Data))
    }

    /// The position of the record of `oid` that bears the serial `tid`.
    fn position_at(&self, oid: Oid, tid: Tid) -> Result<Option<u64>, StorageError> {
        let mut pos = self.newest_pos(oid)?.unwrap_or(0);
        while pos != 0 {
            let header = self.state.record(oid, pos, &mut [0; DATA_HEADER_LEN])?;
            if header.tid <= tid {
                return Ok((header.tid == tid).then_some(pos));
            }
            pos = header.previous_pos;
        }
        Ok(None)
    }
}
