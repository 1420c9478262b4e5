//! Reading the committed state as of one transaction.
//!
//! A [`FileView`] is three numbers and a reference to what all views of the file share. The index may already
//! lead to a record behind the view's end; the chain of previous records then leads back to the view's own.
//! So no view waits for a commit, and no commit for a view.
//!
//! # The way of the data
//!
//! A load is mostly one positional read: the record's header onto the stack, what is behind it into the room that the
//! [`DataSink`] gives. For a reply that is the connection's output buffer, just where the data will stand:
//!
//! ```text
//!  file     | header |  data  | trailer, or next record |
//!               |         |          `------.
//!               v         v                 v
//!             stack     room: as long as the last load needed
//!
//!  output   | replies | ... |  data  | ..................|   after the read; nothing else has been written
//!  output   | replies | head of this |  data  | tail     |   once the record has been checked
//! ```
//!
//! If the record is longer than the room, a second read puts the rest into its place. So the data is copied twice, by
//! the kernel: from its page cache into the output, and from there into the socket. In between it stays where it is,
//! unless the head is longer or shorter than that of the connection's last load: then what has been read, at most
//! the room, moves by these few bytes. Nothing is cleared for a load, except where the output grows beyond what it has
//! been before.
//!
//! Pages that are asked for again and again are kept at hand ([`Pages`]): records of up to 4 KiB in them come from
//! there, and need no read at all. That takes a sixth of the processor time off a load of 256 bytes.
//!
//! `sendfile` would save the first copy. But it cannot say beforehand that it would wait for the disk, it would need a
//! system call for each object and one for what stands between them, and TLS is not for it. Mapping the file would
//! let every access wait for the disk, and needs `unsafe`.
//!
//! # Trust
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
    BACK_POINTER_LEN, DATA_HEADER_LEN, DATA_HEADER_SPAN, DataHeader, FIRST_TRANSACTION_POS, TRAILER_LEN,
    TRANSACTION_HEADER_LEN, TransactionHeader, data_field, span, status,
};
use super::index::Index;
use super::pages::Pages;
use super::window::Window;

/// Bytes read at once where headers are read in sequence.
pub(super) const WALK_WINDOW_LEN: usize = 1 << 16;

/// What all views of one data file share.
#[derive(Debug)]
pub(crate) struct FileState {
    pub(crate) disk: Arc<dyn Disk>,
    /// For error texts.
    pub(crate) file_name: String,
    pub(crate) index: Index,
    pages: Pages,
}

impl FileState {
    pub(crate) fn new(disk: Arc<dyn Disk>, file_name: String, index: Index) -> Self {
        Self { disk, file_name, index, pages: Pages::default() }
    }

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
        self.header(oid, pos, buffer)
    }

    /// Checks the header at the start of `bytes`, which are those at `pos`, against what led here.
    fn header(&self, oid: Oid, pos: u64, bytes: &[u8]) -> Result<DataHeader, StorageError> {
        let header = DataHeader::parse(bytes).ok_or_else(|| self.corrupt("data record is cut short", pos))?;
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

/// A record, of which the beginning has been read.
struct Record<'r> {
    pos: u64,
    header: DataHeader,
    /// What has been read behind the header.
    read: &'r [u8],
}

/// A record whose end has been checked.
struct Checked {
    pos: u64,
    header: DataHeader,
    /// Number of bytes behind the header that have been read into the sink's room.
    read_len: usize,
    /// Where the data is if it is not here; 0: nowhere.
    back_pos: u64,
}

impl FileView {
    /// The position of the newest record of `oid` in this view.
    pub(super) fn newest_pos(&self, oid: Oid) -> Result<Option<u64>, StorageError> {
        match self.state.index.get(oid) {
            Some(pos) => self.state.position_below(oid, pos, self.end_pos),
            None => Ok(None),
        }
    }

    /// Reads the record at `pos`, and as much behind its header as fits in `room`.
    fn record<'r>(&self, oid: Oid, pos: u64, room: &'r mut [u8]) -> Result<Record<'r>, StorageError> {
        let left_len =
            self.end_pos.checked_sub(pos).ok_or_else(|| self.corrupt("position beyond the end", pos))?;
        let read_len = left_len.saturating_sub(DATA_HEADER_SPAN).min(span(room.len()));
        let read = room.get_mut(..usize::try_from(read_len).unwrap_or_default()).unwrap_or_default();
        let mut header = [0; DATA_HEADER_LEN];
        let FileState { pages, disk, .. } = &*self.state;
        let filled = pages.read_both(&**disk, &mut header, read, pos, self.end_pos);
        filled.map_err(self.state.read_failed(pos))?;
        let header = self.state.header(oid, pos, &header)?;
        // The trailer of the transaction lies behind every record.
        let record_len = header.record_len().and_then(|len| len.checked_add(TRAILER_LEN));
        if record_len.is_none_or(|record_len| record_len > left_len) {
            return Err(self.corrupt("data record reaches beyond the end", pos));
        }
        Ok(Record { pos, header, read })
    }

    /// Checks how the record ends, and reads its back pointer if it has one: mostly without another read.
    fn check(&self, Record { pos, header, read }: Record<'_>) -> Result<Checked, StorageError> {
        self.check_end(pos, &header, read)?;
        let mut back_pos = [0; BACK_POINTER_LEN];
        if header.data_len == 0 {
            self.fill(&mut back_pos, pos + DATA_HEADER_SPAN, read, 0)?;
        }
        Ok(Checked { pos, header, read_len: read.len(), back_pos: u64::from_be_bytes(back_pos) })
    }

    /// Makes sure that the transaction goes on, or ends, where the record does: the format has no checksum, but
    /// a damaged length shows there. `read` has been read behind the header.
    pub(super) fn check_end(&self, pos: u64, header: &DataHeader, read: &[u8]) -> Result<(), StorageError> {
        // `record` has found the end to lie within the file.
        let record_len = header.record_len().unwrap_or(u64::MAX);
        let end_pos = pos.saturating_add(record_len);
        let mut following = [0; data_field::TRANSACTION.end];
        let wanted_len = self.end_pos.saturating_sub(end_pos).min(span(following.len()));
        let wanted_len = usize::try_from(wanted_len).unwrap_or(following.len());
        let following = following.get_mut(..wanted_len).unwrap_or_default();
        self.fill(following, pos + DATA_HEADER_SPAN, read, record_len.saturating_sub(DATA_HEADER_SPAN))?;
        let trailer = following.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let next = following.get(data_field::TRANSACTION).and_then(|bytes| bytes.try_into().ok());
        let is_sound = trailer == end_pos.checked_sub(header.transaction_pos)
            || next.map(u64::from_be_bytes) == Some(header.transaction_pos);
        if is_sound { Ok(()) } else { Err(self.corrupt("data record has a wrong length", pos)) }
    }

    /// Fills `bytes` with those at `pos + offset`: from `read`, which was read from `pos` on, if they are there.
    fn fill(&self, bytes: &mut [u8], pos: u64, read: &[u8], offset: u64) -> Result<(), StorageError> {
        let read = usize::try_from(offset).ok().and_then(|offset| read.get(offset..)?.get(..bytes.len()));
        if let Some(read) = read {
            bytes.copy_from_slice(read);
            return Ok(());
        }
        let pos = pos.saturating_add(offset);
        self.state.disk.read_exact_at(bytes, pos).map_err(self.state.read_failed(pos))
    }

    /// Hands the data of a record to `sink`, following back pointers.
    fn deliver(
        &self,
        mut record: Checked,
        end: Option<Tid>,
        sink: &mut dyn DataSink,
    ) -> Result<(), StorageError> {
        let DataHeader { oid, tid: serial, .. } = record.header;
        while record.header.data_len == 0 {
            let Checked { pos, back_pos, .. } = record;
            if back_pos == 0 {
                return Err(StorageError::NoSuchObject(oid));
            }
            if back_pos >= pos {
                return Err(self.corrupt("invalid back pointer", pos));
            }
            record = self.check(self.record(oid, back_pos, sink.room())?)?;
        }
        let Checked { pos, header, read_len, .. } = record;
        let data_len =
            usize::try_from(header.data_len).map_err(|_wide| self.corrupt("data too long", pos))?;
        let place = sink.accept(serial, end, data_len);
        assert_eq!(place.len(), data_len, "DataSink::accept returns as many bytes as it is asked for");
        // What has been read is there already.
        let Some(rest) = place.get_mut(read_len..).filter(|rest| !rest.is_empty()) else { return Ok(()) };
        let rest_pos = pos + DATA_HEADER_SPAN + span(read_len);
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
        let mut end = None;
        loop {
            let record = self.record(oid, pos, sink.room())?;
            if record.header.tid < before {
                let record = self.check(record)?;
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
        loop {
            let record = self.record(oid, pos, sink.room())?;
            if record.header.tid == serial {
                let record = self.check(record)?;
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
        let mut back_pos = [0; BACK_POINTER_LEN];
        let Record { header, .. } = self.record(oid, pos, &mut back_pos)?;
        let is_deleted = header.data_len == 0 && u64::from_be_bytes(back_pos) == 0;
        Ok(Some(Current { serial: header.tid, is_deleted }))
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
