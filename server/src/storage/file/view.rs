//! Reading the committed state as of one transaction.
//!
//! A [`FileView`] is three numbers and a reference to what all views of the file share. The index may already
//! lead to a record behind the view's end; the chain of previous records then leads back to the view's own.
//! So no view waits for a commit, and no commit for a view.
//!
//! A load of a small object is one positional read: the record's header and [`READ_AHEAD_LEN`] bytes behind
//! it. Whatever more there is goes straight into the room that the [`DataSink`] gave.
//!
//! The file is not trusted: every header is compared with what led to it, every pointer must point further
//! back (so every chain ends), and a length is believed only if the transaction goes on, or ends, where the
//! record does.
//! Sources: `FileStorage.py:loadBefore`, `loadSerial`, `getTid`, `lastInvalidations`;
//! `format.py:_loadBack_impl`, ZODB 6.4.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use super::super::past::{CurrentObject, PastRecord, PastRevision, PastTransaction, UndoError};
use super::super::{Current, DataSink, NewRecord, Pending, RecordData, StorageError, View};
use super::disk::Disk;
use super::format::{
    DATA_HEADER_LEN, DATA_HEADER_SPAN, DataHeader, FIRST_TRANSACTION_POS, TRAILER_LEN,
    TRANSACTION_HEADER_LEN, TransactionHeader, back_pointer, data_field, span, status,
};
use super::index::Index;
use super::window::Window;

/// Bytes read at once for a load, header included. Most objects of a Zope database fit; see
/// `server/FILESTORAGE.md` for the measurement.
///
/// They go through a buffer that is filled with zeros first, as is the place of whatever data there is beyond. On the
/// machine of the benchmarks that costs 30 of the 400 ns of a cached read, and a third of the copying of large
/// objects (64 KiB: 0.4 and 1.2 us), little beside the rest of a load. Safe Rust has no way around it: a positional
/// read into memory that was never written ends where the vector's capacity does, not the object, and one that does
/// not wait (`preadv2`) takes initialised memory only.
pub(crate) const READ_AHEAD_LEN: usize = 4096;

/// Bytes read at once where headers are read in sequence.
pub(super) const WALK_WINDOW_LEN: usize = 1 << 16;

/// What all views of one data file share.
#[derive(Debug)]
pub(crate) struct FileState {
    pub(crate) disk: Arc<dyn Disk>,
    /// For error texts.
    pub(crate) file_name: String,
    pub(crate) index: Index,
}

impl FileState {
    pub(crate) fn corrupt(&self, what: &str, pos: u64) -> StorageError {
        StorageError::Corrupt { file: self.file_name.clone(), what: what.to_owned(), pos }
    }

    /// The error of a failed read at `pos`. The end of the file is no failure of the disk.
    pub(crate) fn read_failed(&self, pos: u64) -> impl Fn(io::Error) -> StorageError {
        move |source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.corrupt("record reaches beyond the end of the file", pos),
            _ => StorageError::Io { doing: format!("read {} at {pos}", self.file_name), source },
        }
    }

    /// Fills `buffer` from `pos` and checks the header at its start against what led here.
    pub(super) fn record(&self, oid: Oid, pos: u64, buffer: &mut [u8]) -> Result<DataHeader, StorageError> {
        self.disk.read_exact_at(buffer, pos).map_err(self.read_failed(pos))?;
        let header =
            DataHeader::parse(buffer).ok_or_else(|| self.corrupt("data record is cut short", pos))?;
        if header.oid != oid {
            return Err(self.corrupt(&format!("record of object {} instead of {oid}", header.oid), pos));
        }
        if header.version_len != 0 {
            return Err(self.corrupt("data record of a version", pos));
        }
        if header.transaction_pos >= pos || header.transaction_pos < FIRST_TRANSACTION_POS {
            return Err(self.corrupt("data record does not point to its transaction", pos));
        }
        if header.previous_pos >= pos {
            return Err(self.corrupt("invalid previous pointer", pos));
        }
        Ok(header)
    }

    /// The position of the newest record of `oid` before `end_pos`, given its newest of all.
    pub(crate) fn position_below(
        &self,
        oid: Oid,
        newest_pos: u64,
        end_pos: u64,
    ) -> Result<Option<u64>, StorageError> {
        let mut pos = newest_pos;
        while pos >= end_pos {
            pos = self.record(oid, pos, &mut [0; DATA_HEADER_LEN])?.previous_pos;
        }
        Ok((pos != 0).then_some(pos))
    }
}

/// The committed state of a data file up to a position. Immutable.
#[derive(Debug)]
pub(crate) struct FileView {
    pub(crate) state: Arc<FileState>,
    /// Where the last transaction of the view ends.
    pub(crate) end_pos: u64,
    pub(crate) last_tid: Tid,
    pub(crate) object_count: u64,
}

/// A record and the beginning of what follows its header.
struct Record<'b> {
    pos: u64,
    header: DataHeader,
    /// From the header's start on; at least up to the back pointer if there is one.
    bytes: &'b [u8],
}

impl FileView {
    /// The position of the newest record of `oid` in this view.
    pub(super) fn newest_pos(&self, oid: Oid) -> Result<Option<u64>, StorageError> {
        match self.state.index.get(oid) {
            Some(pos) => self.state.position_below(oid, pos, self.end_pos),
            None => Ok(None),
        }
    }

    /// Reads the record at `pos` and as much behind its header as fits in `buffer`.
    fn record<'b>(&self, oid: Oid, pos: u64, buffer: &'b mut [u8]) -> Result<Record<'b>, StorageError> {
        let left_len =
            self.end_pos.checked_sub(pos).ok_or_else(|| self.corrupt("position beyond the end", pos))?;
        let len = usize::try_from(left_len).unwrap_or(usize::MAX).min(buffer.len());
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        let header = self.state.record(oid, pos, bytes)?;
        // The trailer of the transaction lies behind every record.
        let record_len = header.record_len().and_then(|len| len.checked_add(TRAILER_LEN));
        if record_len.is_none_or(|record_len| record_len > left_len) {
            return Err(self.corrupt("data record reaches beyond the end", pos));
        }
        Ok(Record { pos, header, bytes })
    }

    /// Makes sure that the transaction goes on, or ends, where the record does: the format has no checksum, but
    /// a damaged length shows there. Mostly without another read.
    pub(super) fn check_end(&self, pos: u64, header: &DataHeader, bytes: &[u8]) -> Result<(), StorageError> {
        // `record` has found the end to lie within the file.
        let record_len = header.record_len().unwrap_or(u64::MAX);
        let end_pos = pos.saturating_add(record_len);
        let mut buffer = [0; data_field::TRANSACTION.end];
        let wanted_len = self.end_pos.saturating_sub(end_pos).min(span(buffer.len()));
        let wanted_len = usize::try_from(wanted_len).unwrap_or(buffer.len());
        let seen = usize::try_from(record_len).ok().and_then(|len| bytes.get(len..)?.get(..wanted_len));
        let following = match seen {
            Some(following) => following,
            None => {
                let place = buffer.get_mut(..wanted_len).unwrap_or_default();
                self.state.disk.read_exact_at(place, end_pos).map_err(self.state.read_failed(end_pos))?;
                place
            }
        };
        let trailer = following.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let next = following.get(data_field::TRANSACTION).and_then(|bytes| bytes.try_into().ok());
        let is_sound = trailer == end_pos.checked_sub(header.transaction_pos)
            || next.map(u64::from_be_bytes) == Some(header.transaction_pos);
        if is_sound { Ok(()) } else { Err(self.corrupt("data record has a wrong length", pos)) }
    }

    /// Hands the data of `record` to `sink`, following back pointers.
    fn deliver(
        &self,
        record: Record<'_>,
        end: Option<Tid>,
        sink: &mut dyn DataSink,
    ) -> Result<(), StorageError> {
        let Record { mut pos, mut header, bytes } = record;
        self.check_end(pos, &header, bytes)?;
        let serial = header.tid;
        if header.data_len != 0 {
            return self.copy_data(pos, &header, bytes, (serial, end), sink);
        }
        let mut back = back_pointer(bytes);
        let mut buffer = [0; READ_AHEAD_LEN];
        loop {
            let back_pos = back.ok_or_else(|| self.corrupt("back pointer is cut short", pos))?;
            if back_pos == 0 {
                return Err(StorageError::NoSuchObject(header.oid));
            }
            if back_pos >= pos {
                return Err(self.corrupt("invalid back pointer", pos));
            }
            let target = self.record(header.oid, back_pos, &mut buffer)?;
            self.check_end(target.pos, &target.header, target.bytes)?;
            (pos, header, back) = (target.pos, target.header, back_pointer(target.bytes));
            if header.data_len != 0 {
                return self.copy_data(pos, &header, target.bytes, (serial, end), sink);
            }
        }
    }

    /// Copies what has been read of the data at `pos` and reads the rest in place.
    fn copy_data(
        &self,
        pos: u64,
        header: &DataHeader,
        bytes: &[u8],
        (serial, end): (Tid, Option<Tid>),
        sink: &mut dyn DataSink,
    ) -> Result<(), StorageError> {
        let data_len =
            usize::try_from(header.data_len).map_err(|_wide| self.corrupt("data too long", pos))?;
        let read = bytes.get(DATA_HEADER_LEN..).unwrap_or_default();
        let read = read.get(..data_len).unwrap_or(read);
        let place = sink.accept(serial, end, data_len);
        assert_eq!(place.len(), data_len, "DataSink::accept returns as many bytes as it is asked for");
        let (head, rest) = place.split_at_mut(read.len());
        head.copy_from_slice(read);
        if rest.is_empty() {
            return Ok(());
        }
        let rest_pos = pos + DATA_HEADER_SPAN + span(read.len());
        self.state.disk.read_exact_at(rest, rest_pos).map_err(self.state.read_failed(rest_pos))
    }

    pub(super) fn corrupt(&self, what: &str, pos: u64) -> StorageError {
        self.state.corrupt(what, pos)
    }

    /// Where the transaction that ends at `end_pos` starts.
    pub(super) fn start_of_last(&self, window: &mut Window<'_>, end_pos: u64) -> Result<u64, StorageError> {
        let trailer_pos = end_pos.saturating_sub(TRAILER_LEN);
        let len = window.number_before(end_pos).map_err(self.state.read_failed(trailer_pos))?;
        trailer_pos
            .checked_sub(len)
            .filter(|pos| *pos >= FIRST_TRANSACTION_POS)
            .ok_or_else(|| self.corrupt("redundant transaction length is wrong", trailer_pos))
    }

    /// The tid and the oids of the transaction at `pos`, which must end at `next_pos`.
    fn transaction_oids(
        &self,
        window: &mut Window<'_>,
        pos: u64,
        next_pos: u64,
    ) -> Result<(Tid, Vec<Oid>), StorageError> {
        let failed = self.state.read_failed(pos);
        let header = TransactionHeader::parse(window.bytes(pos, TRANSACTION_HEADER_LEN).map_err(&failed)?)
            .filter(|header| header.span().and_then(|len| len.checked_add(pos)) == Some(next_pos))
            .ok_or_else(|| self.corrupt("redundant transaction length differs", pos))?;
        let mut oids = BTreeSet::new();
        let mut record_pos = pos.saturating_add(header.header_len());
        while header.status != status::UNDONE && record_pos < next_pos - TRAILER_LEN {
            let bytes = window.bytes(record_pos, DATA_HEADER_LEN).map_err(&failed)?;
            let record = DataHeader::parse(bytes)
                .filter(|record| record.transaction_pos == pos)
                .ok_or_else(|| self.corrupt("data record does not point to its transaction", record_pos))?;
            oids.insert(record.oid);
            record_pos = record_pos.saturating_add(record.record_len().unwrap_or(u64::MAX));
        }
        Ok((header.tid, oids.into_iter().collect()))
    }
}

impl View for FileView {
    fn last_tid(&self) -> Tid {
        self.last_tid
    }

    fn object_count(&self) -> u64 {
        self.object_count
    }

    fn size_bytes(&self) -> u64 {
        self.end_pos
    }

    fn load_before(&self, oid: Oid, before: Tid, sink: &mut dyn DataSink) -> Result<bool, StorageError> {
        let mut pos = self.newest_pos(oid)?.ok_or(StorageError::NoSuchObject(oid))?;
        let mut buffer = [0; READ_AHEAD_LEN];
        let mut end = None;
        loop {
            let record = self.record(oid, pos, &mut buffer)?;
            if record.header.tid < before {
                return self.deliver(record, end, sink).map(|()| true);
            }
            end = Some(record.header.tid);
            pos = record.header.previous_pos;
            if pos == 0 {
                return Ok(false);
            }
        }
    }

    fn load_serial(&self, oid: Oid, serial: Tid, sink: &mut dyn DataSink) -> Result<(), StorageError> {
        let mut pos = self.newest_pos(oid)?.ok_or(StorageError::NoSuchObject(oid))?;
        let mut buffer = [0; READ_AHEAD_LEN];
        loop {
            let record = self.record(oid, pos, &mut buffer)?;
            if record.header.tid == serial {
                return self.deliver(record, None, sink);
            }
            pos = record.header.previous_pos;
            if record.header.tid < serial || pos == 0 {
                return Err(StorageError::NoSuchObject(oid));
            }
        }
    }

    fn current(&self, oid: Oid) -> Result<Option<Current>, StorageError> {
        let Some(pos) = self.newest_pos(oid)? else { return Ok(None) };
        let mut buffer = [0; data_field::BACK_POINTER.end];
        let record = self.record(oid, pos, &mut buffer)?;
        let is_deleted = record.header.data_len == 0 && back_pointer(record.bytes) == Some(0);
        Ok(Some(Current { serial: record.header.tid, is_deleted }))
    }

    fn last_changes(&self, count: usize) -> Result<Vec<(Tid, Vec<Oid>)>, StorageError> {
        let mut window = Window::new(&*self.state.disk, self.end_pos, WALK_WINDOW_LEN);
        let mut changes = Vec::new();
        let mut end_pos = self.end_pos;
        while changes.len() < count && end_pos > FIRST_TRANSACTION_POS {
            let pos = self.start_of_last(&mut window, end_pos)?;
            changes.push(self.transaction_oids(&mut window, pos, end_pos)?);
            end_pos = pos;
        }
        changes.reverse();
        Ok(changes)
    }

    fn place_of(&self, start: Option<Tid>) -> Result<u64, StorageError> {
        start.map_or(Ok(FIRST_TRANSACTION_POS), |start| self.position_of(start))
    }

    fn end_place(&self) -> u64 {
        self.end_pos
    }

    fn transaction_from(&self, place: u64) -> Result<Option<PastTransaction>, StorageError> {
        self.past_from(place)
    }

    fn transaction_before(&self, place: u64) -> Result<Option<PastTransaction>, StorageError> {
        self.past_before(place)
    }

    fn record_from(
        &self,
        transaction: &PastTransaction,
        place: u64,
    ) -> Result<Option<PastRecord>, StorageError> {
        self.past_record(transaction, place)
    }

    fn history(
        &self,
        oid: Oid,
        visit: &mut dyn FnMut(PastRevision) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.revisions(oid, visit)
    }

    fn object_from(&self, start: Oid) -> Result<Option<CurrentObject>, StorageError> {
        self.current_from(start)
    }

    fn undo(&self, tid: Tid, pending: &mut Pending) -> Result<Vec<NewRecord>, UndoError> {
        self.undo_transaction(tid, pending)
    }

    fn restored(
        &self,
        oid: Oid,
        data: Option<Bytes>,
        data_tid: Option<Tid>,
    ) -> Result<RecordData, StorageError> {
        self.restored_record(oid, data, data_tid)
    }
}
