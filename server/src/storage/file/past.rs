//! Walking over what a data file has kept: transactions in both directions, their records, an object's revisions,
//! and the current objects in order. A place is a file position.
//!
//! Nothing is remembered between two steps, so a walk costs no memory, and lasts as long as its view.
//! Sources: `FileStorage.py:FileIterator`, `TransactionRecordIterator`, `UndoSearch`, `history`,
//! `record_iternext`, ZODB 6.4. Two things differ: transactions with status `u`, over which Python's iterator
//! stumbles, are left out, and damage is an error and not the end of the walk.

use std::ops::ControlFlow;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use super::super::past::{CurrentObject, PastRecord, PastRevision, PastTransaction};
use super::super::tid::unix_seconds_from_tid;
use super::super::{HistoryShape, StorageError};
use super::format::{
    DATA_HEADER_LEN, DATA_HEADER_SPAN, DataHeader, FIRST_TRANSACTION_POS, TRAILER_LEN,
    TRANSACTION_HEADER_LEN, TRANSACTION_HEADER_SPAN, TransactionHeader, back_pointer, data_field, span,
    status,
};
use super::view::{FileView, WALK_WINDOW_LEN};
use super::window::Window;

/// Bytes read at once for a transaction: its header, and mostly its metadata with it.
const TRANSACTION_READ_LEN: usize = 512;

/// A transaction that ends before this is not listed: one without records or metadata at the start of a file. Python
/// wonders itself why (`FileStorage.py:UndoSearch.finished`).
const LISTED_FROM_POS: u64 = 39;

/// The record that a reference leads to.
#[derive(Debug)]
pub(super) struct Target {
    /// The serial of the record that holds the data.
    pub(super) data_tid: Tid,
    /// Position of this record.
    pub(super) pos: u64,
    /// Number of bytes of its data.
    data_len: u64,
}

impl FileView {
    /// The header of the transaction at `pos`, if it lies within the view as a whole.
    pub(super) fn transaction_header(&self, pos: u64) -> Result<TransactionHeader, StorageError> {
        let mut bytes = [0; TRANSACTION_HEADER_LEN];
        self.read(&mut bytes, pos)?;
        self.parse_transaction(&bytes, pos)
    }

    fn parse_transaction(&self, bytes: &[u8], pos: u64) -> Result<TransactionHeader, StorageError> {
        TransactionHeader::parse(bytes)
            .filter(|header| header.len >= header.header_len())
            .filter(|header| {
                header.span().and_then(|len| len.checked_add(pos)).is_some_and(|end| end <= self.end_pos)
            })
            .ok_or_else(|| self.corrupt("invalid transaction header", pos))
    }

    /// The transaction at `pos` with its metadata.
    fn transaction_at(&self, pos: u64) -> Result<PastTransaction, StorageError> {
        let left_len = self.end_pos.saturating_sub(pos);
        let mut buffer = [0; TRANSACTION_READ_LEN];
        let len = usize::try_from(left_len).unwrap_or(usize::MAX).min(buffer.len());
        let read = buffer.get_mut(..len).unwrap_or_default();
        self.read(read, pos)?;
        let header = self.parse_transaction(read, pos)?;
        let metadata = self.metadata(&header, pos, read)?;
        let (user_len, description_len) = (usize::from(header.user_len), usize::from(header.description_len));
        Ok(PastTransaction {
            tid: header.tid,
            status: header.status,
            user: metadata.slice(..user_len),
            description: metadata.slice(user_len..user_len + description_len),
            extension: metadata.slice(user_len + description_len..),
            len: header.len,
            place: pos,
            next_place: pos + header.len + TRAILER_LEN,
            records_place: pos + header.header_len(),
        })
    }

    /// User, description and extension, one behind the other. `read` is what has been read from `pos` on.
    fn metadata(&self, header: &TransactionHeader, pos: u64, read: &[u8]) -> Result<Bytes, StorageError> {
        let [user_len, description_len, extension_len] =
            [header.user_len, header.description_len, header.extension_len].map(usize::from);
        let len = user_len + description_len + extension_len;
        match read.get(TRANSACTION_HEADER_LEN..TRANSACTION_HEADER_LEN + len) {
            Some(metadata) => Ok(Bytes::copy_from_slice(metadata)),
            None => {
                let mut metadata = vec![0; len];
                self.read(&mut metadata, pos + TRANSACTION_HEADER_SPAN)?;
                Ok(metadata.into())
            }
        }
    }

    /// Where the transaction before `pos` starts, if there is one.
    pub(super) fn previous_transaction(&self, pos: u64) -> Result<Option<u64>, StorageError> {
        if pos <= FIRST_TRANSACTION_POS {
            return Ok(None);
        }
        let trailer_pos = pos.saturating_sub(TRAILER_LEN);
        let mut trailer = [0; 8];
        self.read(&mut trailer, trailer_pos)?;
        let start_pos = trailer_pos.checked_sub(u64::from_be_bytes(trailer));
        match start_pos.filter(|start_pos| *start_pos >= FIRST_TRANSACTION_POS && *start_pos < trailer_pos) {
            Some(start_pos) => Ok(Some(start_pos)),
            None => Err(self.corrupt("redundant transaction length is wrong", trailer_pos)),
        }
    }

    /// Where the transaction `tid` starts, looked for from the end; ends at the first older one.
    pub(super) fn find_transaction(&self, tid: Tid) -> Result<Option<u64>, StorageError> {
        let mut window = Window::new(&*self.state.disk, self.end_pos, WALK_WINDOW_LEN);
        let mut end_pos = self.end_pos;
        while end_pos > FIRST_TRANSACTION_POS {
            let pos = self.start_of_last(&mut window, end_pos)?;
            let header = window.bytes_before(pos + TRANSACTION_HEADER_SPAN, TRANSACTION_HEADER_LEN);
            let header = self.parse_transaction(header.map_err(self.state.read_failed(pos))?, pos)?;
            if header.tid <= tid {
                return Ok((header.tid == tid).then_some(pos));
            }
            end_pos = pos;
        }
        Ok(None)
    }

    pub(super) fn past_from(&self, mut pos: u64) -> Result<Option<PastTransaction>, StorageError> {
        while pos < self.end_pos {
            let transaction = self.transaction_at(pos)?;
            if transaction.status != status::UNDONE {
                return Ok(Some(transaction));
            }
            pos = transaction.next_place;
        }
        Ok(None)
    }

    pub(super) fn past_before(&self, pos: u64) -> Result<Option<PastTransaction>, StorageError> {
        if pos < LISTED_FROM_POS {
            return Ok(None);
        }
        let Some(start_pos) = self.previous_transaction(pos)? else { return Ok(None) };
        let transaction = self.transaction_at(start_pos)?;
        if transaction.next_place == pos {
            Ok(Some(transaction))
        } else {
            Err(self.corrupt("redundant transaction length differs", start_pos))
        }
    }

    /// Where an iteration from `start` on begins: as Python looks for it, from whichever end of the file is nearer
    /// in time. In a file whose tids do not rise, too, that gives what Python gives.
    pub(super) fn position_of(&self, start: Tid) -> Result<u64, StorageError> {
        let Some(last_pos) = self.previous_transaction(self.end_pos)? else { return Ok(self.end_pos) };
        let first = self.transaction_header(FIRST_TRANSACTION_POS)?.tid;
        let last = self.transaction_header(last_pos)?.tid;
        if start <= first {
            return Ok(FIRST_TRANSACTION_POS);
        }
        if last <= start {
            return Ok(if last == start { last_pos } else { self.end_pos });
        }
        let [first, start_time, last] = [first, start, last].map(unix_seconds_from_tid);
        if start_time - first < last - start_time {
            self.scan_forward(start)
        } else {
            self.scan_backward(last_pos, start)
        }
    }

    /// The first transaction that is not older than `start`.
    fn scan_forward(&self, start: Tid) -> Result<u64, StorageError> {
        let mut pos = FIRST_TRANSACTION_POS;
        while pos < self.end_pos {
            let header = self.transaction_header(pos)?;
            if header.tid >= start {
                break;
            }
            pos += header.len + TRAILER_LEN;
        }
        Ok(pos)
    }

    /// The transaction behind the last one, below `pos`, that is older than `start`.
    fn scan_backward(&self, mut pos: u64, start: Tid) -> Result<u64, StorageError> {
        while let Some(previous_pos) = self.previous_transaction(pos)? {
            let tid = self.transaction_header(previous_pos)?.tid;
            if tid <= start {
                return Ok(if tid == start { previous_pos } else { pos });
            }
            pos = previous_pos;
        }
        Ok(pos)
    }

    /// The record at `pos` of a transaction, `None` behind its last one.
    pub(super) fn past_record(
        &self,
        transaction: &PastTransaction,
        pos: u64,
    ) -> Result<Option<PastRecord>, StorageError> {
        let end_pos = transaction.next_place.saturating_sub(TRAILER_LEN);
        if pos >= end_pos {
            return Ok(None);
        }
        let (header, back_pos) = self.header_in(transaction.place, pos, end_pos)?;
        let next_place = pos + header.record_len().unwrap_or(0);
        let (data, data_tid) = if header.data_len != 0 {
            (Some(self.data_at(pos, header.data_len)?), None)
        } else if back_pos == 0 {
            (None, None)
        } else {
            let target = self.target(header.oid, pos, back_pos)?;
            let data = target.map(|target| self.data_at(target.pos, target.data_len)).transpose()?;
            (data, Some(self.header_of(header.oid, pos, back_pos)?.tid))
        };
        Ok(Some(PastRecord { oid: header.oid, tid: header.tid, data, data_tid, next_place }))
    }

    /// The header and the back pointer (0 if there are data) of the record at `pos` of the transaction at
    /// `transaction_pos`, whose records end at `end_pos`.
    pub(super) fn header_in(
        &self,
        transaction_pos: u64,
        pos: u64,
        end_pos: u64,
    ) -> Result<(DataHeader, u64), StorageError> {
        let exceeds = || self.corrupt("data record exceeds its transaction", pos);
        let mut bytes = [0; data_field::BACK_POINTER.end];
        if end_pos.saturating_sub(pos) <= DATA_HEADER_SPAN {
            return Err(exceeds());
        }
        // Behind at least one byte of data comes another record or the trailer, so this much can be read.
        self.read(&mut bytes, pos)?;
        let header = DataHeader::parse(&bytes).ok_or_else(exceeds)?;
        let record_end_pos = header.record_len().and_then(|len| len.checked_add(pos));
        if record_end_pos.is_none_or(|record_end_pos| record_end_pos > end_pos) {
            return Err(exceeds());
        }
        if header.transaction_pos != transaction_pos {
            return Err(self.corrupt("data record does not point to its transaction", pos));
        }
        if header.previous_pos >= pos {
            return Err(self.corrupt("invalid previous pointer", pos));
        }
        let back_pos = if header.data_len == 0 { back_pointer(&bytes).unwrap_or(0) } else { 0 };
        Ok((header, back_pos))
    }

    /// The header of the record at `pos` to which the one at `from_pos` points.
    pub(super) fn header_of(&self, oid: Oid, from_pos: u64, pos: u64) -> Result<DataHeader, StorageError> {
        if pos >= from_pos {
            return Err(self.corrupt("invalid back pointer", from_pos));
        }
        self.state.record(oid, pos, &mut [0; DATA_HEADER_LEN])
    }

    /// The record with the data of the one at `pos`, to which the one at `from_pos` points; `None` if the object
    /// does not exist there.
    pub(super) fn target(
        &self,
        oid: Oid,
        mut from_pos: u64,
        mut pos: u64,
    ) -> Result<Option<Target>, StorageError> {
        while pos != 0 {
            if pos >= from_pos {
                return Err(self.corrupt("invalid back pointer", from_pos));
            }
            let mut bytes = [0; data_field::BACK_POINTER.end];
            let header = self.state.record(oid, pos, &mut bytes)?;
            if header.data_len != 0 {
                self.check_end(pos, &header, bytes.get(DATA_HEADER_LEN..).unwrap_or_default())?;
                return Ok(Some(Target { data_tid: header.tid, pos, data_len: header.data_len }));
            }
            (from_pos, pos) = (pos, back_pointer(&bytes).unwrap_or(0));
        }
        Ok(None)
    }

    /// The data of a target.
    pub(super) fn target_data(&self, target: &Target) -> Result<Bytes, StorageError> {
        self.data_at(target.pos, target.data_len)
    }

    fn data_at(&self, pos: u64, data_len: u64) -> Result<Bytes, StorageError> {
        let data_pos = pos + DATA_HEADER_SPAN;
        // Checked before memory is taken.
        let is_inside = data_pos.checked_add(data_len).is_some_and(|end_pos| end_pos <= self.end_pos);
        let len = usize::try_from(data_len).ok().filter(|_| is_inside);
        let len = len.ok_or_else(|| self.corrupt("data record reaches beyond the end", pos))?;
        let mut data = vec![0; len];
        self.read(&mut data, data_pos)?;
        Ok(data.into())
    }

    fn read(&self, buffer: &mut [u8], pos: u64) -> Result<(), StorageError> {
        if pos.checked_add(span(buffer.len())).is_none_or(|end_pos| end_pos > self.end_pos) {
            return Err(self.corrupt("record reaches beyond the end", pos));
        }
        self.state.disk.read_exact_at(buffer, pos).map_err(self.state.read_failed(pos))
    }

    pub(super) fn revisions(
        &self,
        oid: Oid,
        visit: &mut dyn FnMut(PastRevision) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut pos = self.newest_pos(oid)?.ok_or(StorageError::NoSuchObject(oid))?;
        while pos != 0 {
            let header = self.state.record(oid, pos, &mut [0; DATA_HEADER_LEN])?;
            let transaction = self.transaction_at(header.transaction_pos)?;
            let PastTransaction { user, description, extension, .. } = transaction;
            let revision = PastRevision {
                tid: header.tid,
                user,
                description,
                extension,
                data_len: header.data_len,
                shape: HistoryShape::Merged,
                layer: 0,
            };
            if visit(revision).is_break() {
                break;
            }
            pos = header.previous_pos;
        }
        Ok(())
    }

    /// The first object of this view at or above `start`. The index may be ahead of the view.
    fn existing_from(&self, start: Oid) -> Result<Option<Oid>, StorageError> {
        let mut start = Some(start);
        while let Some(oid) = start.and_then(|start| self.state.index.first_from(start)) {
            if self.newest_pos(oid)?.is_some() {
                return Ok(Some(oid));
            }
            start = above(oid);
        }
        Ok(None)
    }

    pub(super) fn current_from(&self, start: Oid) -> Result<Option<CurrentObject>, StorageError> {
        let Some(oid) = self.existing_from(start)? else { return Ok(None) };
        let next = above(oid).map(|start| self.existing_from(start)).transpose()?.flatten();
        Ok(Some(CurrentObject { oid, next }))
    }
}

fn above(oid: Oid) -> Option<Oid> {
    oid.to_u64().checked_add(1).map(Oid::from_u64)
}
