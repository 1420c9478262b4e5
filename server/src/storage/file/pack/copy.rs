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
//! may lead to the first in Python's copy. (What is committed while a pack runs may need more, see [`super::rest`].)
//! Transactions undone in place (status `u`, before ZODB 3.2) do not count, as
//! in every index; Python's pack brings them back to life.

use std::collections::BTreeMap;

use zeo_codec::record::is_blob;
use zeo_codec::{Oid, Tid};

use super::super::super::{PackHost, StorageError};
use super::super::format::{
    BACK_POINTER_LEN, DataHeader, FIRST_TRANSACTION_POS, TransactionHeader, span, status, transaction_field,
};
use super::super::index::IndexBuilder;
use super::estimate::Part;
use super::moves::Moves;
use super::notes::Notes;
use super::output::Output;
use super::progress::Progress;
use super::reachable::Reachable;
use super::walk::{Record, Source, Transaction, Walk};

/// A back pointer to nowhere, in place of one that was. It leads into the magic, where no reader finds a record.
pub(super) const LOST_POS: u64 = 1;
/// Records beyond this length are none of blobs, and not read to find out.
const BLOB_RECORD_LEN_MAX: u64 = 1 << 12;
/// Data up to this length is taken from the window.
const WINDOW_DATA_LEN_MAX: u64 = 1 << 18;

/// The new data file, as far as it has been copied.
pub(super) struct Copy {
    pub(super) out: Output,
    pub(super) index: IndexBuilder,
    /// Where revisions went to which later back pointers lead.
    pub(super) targets: BTreeMap<u64, u64>,
    /// Where the rest goes.
    pub(super) moves: Moves,
    /// Up to where the old file has been copied.
    pub(super) copied_pos: u64,
    pub(super) last_tid: Tid,
    pub(super) removed_count: u64,
    /// Records of the transaction being copied.
    pub(super) pending: Vec<(Oid, u64)>,
    /// Whether objects go that nobody refers to.
    pub(super) is_collecting: bool,
    /// References of the transaction being copied to objects that have not been met.
    pub(super) wanted: Vec<Oid>,
    /// Records that got the data to which they pointed back.
    pub(super) filled_count: u64,
}

impl Copy {
    pub(super) fn new(out: Output, is_collecting: bool) -> Self {
        Self {
            out,
            index: IndexBuilder::default(),
            targets: BTreeMap::new(),
            moves: Moves::default(),
            copied_pos: 0,
            last_tid: Tid::ZERO,
            removed_count: 0,
            pending: Vec::new(),
            is_collecting,
            wanted: Vec::new(),
            filled_count: 0,
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
        progress.begin(Part::Copy, "copying up to the pack time");
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
        self.moves = Moves::new(pos, self.out.pos());
        self.copied_pos = pos;
        Ok(self.out.pos() != pos)
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

    /// Copies bytes of the old file.
    pub(super) fn write(&mut self, walk: &mut Walk<'_>, pos: u64, len: u64) -> Result<(), StorageError> {
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
pub(super) fn write_failed(source: std::io::Error) -> StorageError {
    StorageError::Io { doing: "write the packed file".to_owned(), source }
}
