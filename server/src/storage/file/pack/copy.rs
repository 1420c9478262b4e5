//! Copying what stays into the new data file.
//!
//! ```text
//!  old file    | up to the pack time                      | behind it            | committed meanwhile ...
//!                 some records, data in place of back        all, byte for byte but for positions
//!                 pointers, status 'p'
//!  new file    | packed                    | rest                 | ...
//!                                          |<- old position - pack_pos + packed_len
//! ```
//!
//! The bytes are those that Python's pack writes (`fspack.py:copyToPacktime`, `copyRest`, ZODB 6.4), with one
//! exception: where a transaction has two records of an object, as with blobs, a later back pointer to the second
//! may lead to the first in Python's copy. Transactions undone in place (status `u`, before ZODB 3.2) do not count, as
//! in every index; Python's pack brings them back to life.

use std::collections::BTreeMap;

use zeo_codec::record::is_blob;
use zeo_codec::{Oid, Tid};

use super::super::super::{PackHost, StorageError};
use super::super::format::{
    BACK_POINTER_LEN, DATA_HEADER_SPAN, DataHeader, FIRST_TRANSACTION_POS, TransactionHeader, span, status,
    transaction_field,
};
use super::super::index::IndexBuilder;
use super::notes::Notes;
use super::output::Output;
use super::progress::{Progress, Unit};
use super::reachable::Reachable;
use super::walk::{Content, Record, Source, Transaction, Walk};

/// A back pointer to nowhere, in place of one that was. It leads into the magic, where no reader finds a record.
const LOST_POS: u64 = 1;
/// Records beyond this length are none of blobs, and not read to find out.
const BLOB_RECORD_LEN_MAX: u64 = 1 << 12;
/// Data up to this length is taken from the window.
const WINDOW_DATA_LEN_MAX: u64 = 1 << 18;

/// The new data file, as far as it has been copied.
pub(super) struct Copy {
    pub(super) out: Output,
    pub(super) index: IndexBuilder,
    /// Where revisions went to which later back pointers lead.
    targets: BTreeMap<u64, u64>,
    /// Where the rest begins, in the old file and in the new one.
    pack_pos: u64,
    packed_len: u64,
    /// Up to where the old file has been copied.
    pub(super) copied_pos: u64,
    pub(super) last_tid: Tid,
    pub(super) removed_count: u64,
    /// Records of the transaction being copied.
    pending: Vec<(Oid, u64)>,
}

impl Copy {
    pub(super) fn new(out: Output) -> Self {
        Self {
            out,
            index: IndexBuilder::default(),
            targets: BTreeMap::new(),
            pack_pos: 0,
            packed_len: 0,
            copied_pos: 0,
            last_tid: Tid::ZERO,
            removed_count: 0,
            pending: Vec::new(),
        }
    }

    /// Copies what stays of everything up to the pack time. Returns whether anything became free.
    pub(super) fn packed(
        &mut self,
        walk: &mut Walk<'_>,
        reachable: &Reachable,
        host: &dyn PackHost,
        notes: &mut Notes<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<bool, StorageError> {
        progress.begin("copying up to the pack time", Unit::Bytes);
        self.write(walk, 0, FIRST_TRANSACTION_POS)?;
        let mut pos = FIRST_TRANSACTION_POS;
        while pos < reachable.pack_pos {
            let transaction = walk.transaction(pos)?;
            self.last_tid = transaction.header.tid;
            let mut new_pos = None;
            let mut record_pos = transaction.records_pos();
            while !transaction.is_undone() && record_pos < transaction.records_end_pos() {
                progress.step(record_pos, walk.end_pos())?;
                let record = walk.record(&transaction, record_pos)?;
                if reachable.keeps(record.oid(), record_pos) {
                    let new_pos = match new_pos {
                        Some(new_pos) => new_pos,
                        None => *new_pos.insert(self.packed_header(walk, &transaction)?),
                    };
                    self.packed_record(walk, &record, new_pos, reachable, notes)?;
                } else {
                    self.removed_count += 1;
                    if host.wants_removed_blobs() {
                        removed(walk, &record, reachable, host)?;
                    }
                }
                record_pos = record.end_pos();
            }
            if let Some(new_pos) = new_pos {
                let len = self.out.pos() - new_pos;
                let patched = self.out.patch(new_pos + span(transaction_field::LEN.start), len);
                patched.and_then(|()| self.out.write(&len.to_be_bytes())).map_err(write_failed)?;
            }
            pos = transaction.next_pos();
            progress.step(pos, walk.end_pos())?;
        }
        (self.pack_pos, self.packed_len, self.copied_pos) = (pos, self.out.pos(), pos);
        Ok(self.packed_len != pos)
    }

    /// Writes the header of a packed transaction, with a length to be filled in; where it stands.
    fn packed_header(&mut self, walk: &mut Walk<'_>, from: &Transaction) -> Result<u64, StorageError> {
        let new_pos = self.out.pos();
        let header = TransactionHeader { status: status::PACKED, ..from.header };
        let mut bytes = Vec::with_capacity(super::super::format::TRANSACTION_HEADER_LEN);
        header.emit(&mut bytes);
        self.out.write(&bytes).map_err(write_failed)?;
        let metadata_pos = from.pos + span(bytes.len());
        self.write(walk, metadata_pos, from.records_pos() - metadata_pos)?;
        Ok(new_pos)
    }

    fn packed_record(
        &mut self,
        walk: &mut Walk<'_>,
        record: &Record,
        transaction_pos: u64,
        reachable: &Reachable,
        notes: &mut Notes<'_>,
    ) -> Result<(), StorageError> {
        let new_pos = self.out.pos();
        let source = walk.source(record)?;
        let data_len = if let Source::Data { len, .. } = source { len } else { 0 };
        let header = DataHeader { previous_pos: 0, transaction_pos, data_len, ..record.header };
        self.out.header(&header).map_err(write_failed)?;
        match source {
            Source::Data { pos, len } => self.write(walk, pos, len)?,
            Source::Deleted => self.out.write(&[0; BACK_POINTER_LEN]).map_err(write_failed)?,
            Source::Lost => {
                notes.strange_record(record.oid(), record.pos, "a back pointer leads nowhere");
                self.out.write(&LOST_POS.to_be_bytes()).map_err(write_failed)?;
            }
        }
        self.index.insert(record.oid(), new_pos);
        if reachable.is_target(record.oid(), record.pos) {
            self.targets.insert(record.pos, new_pos);
        }
        Ok(())
    }

    /// Copies the transactions from where the last call ended up to the end of `walk`.
    pub(super) fn rest(
        &mut self,
        walk: &mut Walk<'_>,
        notes: &mut Notes<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        let (from_pos, total) = (self.copied_pos, walk.end_pos().saturating_sub(self.copied_pos));
        while self.copied_pos < walk.end_pos() {
            let transaction = walk.transaction(self.copied_pos)?;
            if transaction.header.tid <= self.last_tid {
                notes.strange_transaction(transaction.header.tid, transaction.pos, "time-stamp reduction");
            }
            self.last_tid = transaction.header.tid;
            let new_pos = self.out.pos();
            let header_len = transaction.records_pos() - transaction.pos;
            self.write(walk, transaction.pos, header_len)?;
            if transaction.is_undone() {
                self.write(walk, transaction.records_pos(), transaction.header.len - header_len)?;
            }
            let mut record_pos = transaction.records_pos();
            while !transaction.is_undone() && record_pos < transaction.records_end_pos() {
                progress.step(record_pos - from_pos, total)?;
                let record = walk.record(&transaction, record_pos)?;
                Walk::judge_record(&transaction, &record, notes);
                self.record(walk, &record, new_pos, notes)?;
                record_pos = record.end_pos();
            }
            walk.check_trailer(&transaction)?;
            self.out.write(&transaction.header.len.to_be_bytes()).map_err(write_failed)?;
            // Two records of an object in a transaction have the same previous one.
            self.pending.drain(..).for_each(|(oid, pos)| self.index.insert(oid, pos));
            self.copied_pos = transaction.next_pos();
            progress.step(self.copied_pos - from_pos, total)?;
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
        let back_pos = match record.content {
            Content::Data | Content::Deleted => 0,
            Content::Back(back_pos) => match self.new_back_pos(walk, record, back_pos)? {
                Some(new_back_pos) => new_back_pos,
                None => {
                    notes.strange_record(record.oid(), record.pos, "a back pointer leads nowhere");
                    LOST_POS
                }
            },
        };
        self.pending.push((record.oid(), self.out.pos()));
        let header = DataHeader { previous_pos, transaction_pos, ..record.header };
        self.out.header(&header).map_err(write_failed)?;
        match record.content {
            Content::Data => self.write(walk, record.pos + DATA_HEADER_SPAN, record.header.data_len),
            Content::Deleted | Content::Back(_) => {
                self.out.write(&back_pos.to_be_bytes()).map_err(write_failed)
            }
        }
    }

    /// Where the record is now to which `record` points back; `None` if there was none.
    ///
    /// # Errors
    /// [`StorageError::UndoneMeanwhile`] if there was one, but it did not stay: the pointer is younger than the
    /// decision about that.
    fn new_back_pos(
        &self,
        walk: &mut Walk<'_>,
        record: &Record,
        back_pos: u64,
    ) -> Result<Option<u64>, StorageError> {
        let target = if back_pos < record.pos { walk.target(record.oid(), back_pos)? } else { None };
        let Some(target) = target else { return Ok(None) };
        if back_pos >= self.pack_pos {
            return Ok(Some(back_pos - self.pack_pos + self.packed_len));
        }
        if let Some(new_pos) = self.targets.get(&back_pos) {
            return Ok(Some(*new_pos));
        }
        // Not known beforehand: it can only be the revision that was current at the pack time, the end of the chain.
        let mut pos = self.index.get(record.oid()).unwrap_or(0);
        while pos >= self.packed_len {
            pos = self.out.header_at(pos).map_err(write_failed)?.previous_pos;
        }
        if pos != 0 {
            let found = self.out.header_at(pos).map_err(write_failed)?;
            if found.oid == record.oid() && found.tid == target.header.tid {
                return Ok(Some(pos));
            }
        }
        Err(StorageError::UndoneMeanwhile { tid: record.header.tid })
    }

    /// Copies bytes of the old file.
    fn write(&mut self, walk: &mut Walk<'_>, pos: u64, len: u64) -> Result<(), StorageError> {
        // What is near is in the window already, and what is read on is needed next.
        if len <= WINDOW_DATA_LEN_MAX && walk.is_near(pos) {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let bytes = walk.window.bytes(pos, len).map_err(walk.state.read_failed(pos))?;
            self.out.write(bytes).map_err(write_failed)
        } else {
            self.out.copy(&*walk.state.disk, pos, len).map_err(write_failed)
        }
    }
}

/// Tells `host` of a record that does not stay, if it is a blob's.
fn removed(
    walk: &mut Walk<'_>,
    record: &Record,
    reachable: &Reachable,
    host: &dyn PackHost,
) -> Result<(), StorageError> {
    let Source::Data { pos, len } = walk.source(record)? else { return Ok(()) };
    if len > BLOB_RECORD_LEN_MAX {
        return Ok(());
    }
    let mut data = Vec::new();
    walk.data(pos, len, &mut data)?;
    if !is_blob(&data) {
        return Ok(());
    }
    for pos in reachable.kept(record.oid()) {
        if walk.header(pos)?.is_some_and(|kept| kept.header.tid == record.header.tid) {
            return Ok(());
        }
    }
    host.removed_blob(record.oid(), record.header.tid)
}

/// The error of a failed write, or of a read in between: the operating system's words say which.
fn write_failed(source: std::io::Error) -> StorageError {
    StorageError::Io { doing: "write the packed file".to_owned(), source }
}
