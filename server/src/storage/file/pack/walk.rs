//! Reading transactions and their records in sequence, with what is strange about them.
//!
//! What can be walked past is strange: it is told to the [`Notes`] and kept. What makes it impossible to tell where
//! the next record or transaction begins is damage to the structure, and ends the pack: guessing would lose data.

use zeo_codec::{Oid, Tid};

use super::super::super::StorageError;
use super::super::format::{
    DATA_HEADER_LEN, DATA_HEADER_SPAN, DataHeader, TRANSACTION_HEADER_LEN, TransactionHeader, back_pointer,
    data_field, span, status,
};
use super::super::view::FileState;
use super::super::window::Window;
use super::notes::Notes;

/// A transaction whose lengths agree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction {
    pub(super) pos: u64,
    pub(super) header: TransactionHeader,
}

impl Transaction {
    /// Where its first record lies.
    pub(super) fn records_pos(&self) -> u64 {
        self.pos.saturating_add(self.header.header_len())
    }

    /// Where its last record ends.
    pub(super) const fn records_end_pos(&self) -> u64 {
        self.pos.saturating_add(self.header.len)
    }

    /// Where the next one begins.
    pub(super) fn next_pos(&self) -> u64 {
        self.header.span().unwrap_or(u64::MAX).saturating_add(self.pos)
    }

    /// Undone in place, as before ZODB 3.2: its records count for nothing.
    pub(super) const fn is_undone(&self) -> bool {
        self.header.status == status::UNDONE
    }
}

/// A record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) pos: u64,
    pub(super) header: DataHeader,
    pub(super) content: Content,
}

impl Record {
    /// Where the record behind it begins.
    pub(super) fn end_pos(&self) -> u64 {
        self.header.record_len().unwrap_or(u64::MAX).saturating_add(self.pos)
    }

    pub(super) const fn oid(&self) -> Oid {
        self.header.oid
    }
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Data of its own.
    Data,
    /// The position of a record that has it, or points further.
    Back(u64),
    /// The object does not exist.
    Deleted,
}

/// Where the data of a record lies in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// There, so many bytes.
    Data { pos: u64, len: u64 },
    /// The object does not exist.
    Deleted,
    /// A back pointer leads nowhere.
    Lost,
}

/// A reader of one data file, up to a position.
#[derive(Debug)]
pub(super) struct Walk<'s> {
    pub(super) state: &'s FileState,
    pub(super) window: Window<'s>,
    /// For what lies elsewhere: so that the window need not move.
    aside: Window<'s>,
}

/// Bytes read at once in sequence.
const WINDOW_LEN: usize = 1 << 20;
/// Bytes read at once elsewhere: a record of usual size.
const ASIDE_LEN: usize = 1 << 12;

impl<'s> Walk<'s> {
    pub(super) fn new(state: &'s FileState, end_pos: u64) -> Self {
        let window = |len| Window::new(&*state.disk, end_pos, len);
        Self { state, window: window(WINDOW_LEN), aside: window(ASIDE_LEN) }
    }

    /// Walks on to `end_pos`: more has been committed.
    pub(super) const fn extend(&mut self, end_pos: u64) {
        self.window.extend(end_pos);
        self.aside.extend(end_pos);
    }

    /// Where the bytes end that are walked.
    pub(super) const fn end_pos(&self) -> u64 {
        self.window.end_pos()
    }

    /// The transaction at `pos`, which must lie before the end.
    pub(super) fn transaction(&mut self, pos: u64) -> Result<Transaction, StorageError> {
        let failed = self.state.read_failed(pos);
        let bytes = self.window.bytes(pos, TRANSACTION_HEADER_LEN).map_err(&failed)?;
        let header =
            TransactionHeader::parse(bytes).ok_or_else(|| self.state.corrupt("no transaction", pos))?;
        let transaction = Transaction { pos, header };
        if header.len < header.header_len() || transaction.next_pos() > self.end_pos() {
            return Err(self.state.corrupt("invalid transaction length", pos));
        }
        Ok(transaction)
    }

    /// Compares the length at the end of a transaction with the one at its beginning. Of its own, since it moves
    /// the window there.
    pub(super) fn check_trailer(&mut self, transaction: &Transaction) -> Result<(), StorageError> {
        let pos = transaction.records_end_pos();
        let len = self.window.number(pos).map_err(self.state.read_failed(pos))?;
        if len == transaction.header.len {
            Ok(())
        } else {
            Err(self.state.corrupt("redundant transaction length differs", pos))
        }
    }

    /// Whether `pos` is where the window is, or just behind.
    pub(super) fn is_near(&self, pos: u64) -> bool {
        self.window.start_pos() <= pos && pos <= self.window.start_pos().saturating_add(2 * span(WINDOW_LEN))
    }

    /// The record at `pos` of `transaction`.
    pub(super) fn record(&mut self, transaction: &Transaction, pos: u64) -> Result<Record, StorageError> {
        let state = self.state;
        let corrupt = |what| state.corrupt(what, pos);
        let left_len = transaction.records_end_pos().saturating_sub(pos);
        if left_len < DATA_HEADER_SPAN {
            return Err(corrupt("data record exceeds its transaction"));
        }
        let bytes = self.window.bytes(pos, DATA_HEADER_LEN).map_err(state.read_failed(pos))?;
        let header = DataHeader::parse(bytes).ok_or_else(|| corrupt("data record is cut short"))?;
        if header.version_len != 0 {
            return Err(corrupt("data record of a version"));
        }
        if header.record_len().is_none_or(|len| len > left_len) {
            return Err(corrupt("data record exceeds its transaction"));
        }
        let content = if header.data_len != 0 {
            Content::Data
        } else {
            let bytes =
                self.window.bytes(pos, data_field::BACK_POINTER.end).map_err(state.read_failed(pos))?;
            match back_pointer(bytes) {
                Some(0) | None => Content::Deleted,
                Some(pos) => Content::Back(pos),
            }
        };
        Ok(Record { pos, header, content })
    }

    /// The record at `pos` if it is one of `oid`.
    pub(super) fn target(&mut self, oid: Oid, pos: u64) -> Result<Option<Record>, StorageError> {
        Ok(self.header(pos)?.filter(|record| record.oid() == oid))
    }

    /// The record at `pos`, wherever that is; `None` if there is none that ends before the end.
    pub(super) fn header(&mut self, pos: u64) -> Result<Option<Record>, StorageError> {
        if pos.saturating_add(DATA_HEADER_SPAN) > self.end_pos() {
            return Ok(None);
        }
        let end_pos = self.end_pos();
        let len = usize::try_from(end_pos - pos).unwrap_or(usize::MAX).min(data_field::BACK_POINTER.end);
        let bytes = self.aside.bytes(pos, len).map_err(self.state.read_failed(pos))?;
        let header = DataHeader::parse(bytes).filter(|header| header.version_len == 0);
        let Some(header) = header else { return Ok(None) };
        if header.record_len().and_then(|len| len.checked_add(pos)).is_none_or(|end| end > end_pos) {
            return Ok(None);
        }
        let content = match (header.data_len, back_pointer(bytes)) {
            (1.., _) => Content::Data,
            (0, Some(0) | None) => Content::Deleted,
            (0, Some(pos)) => Content::Back(pos),
        };
        Ok(Some(Record { pos, header, content }))
    }

    /// Follows the back pointers of `record` to its data.
    pub(super) fn source(&mut self, record: &Record) -> Result<Source, StorageError> {
        let mut at = *record;
        loop {
            match at.content {
                Content::Data => {
                    let pos = at.pos.saturating_add(DATA_HEADER_SPAN);
                    return Ok(Source::Data { pos, len: at.header.data_len });
                }
                Content::Deleted => return Ok(Source::Deleted),
                // Each must lead further back, so that the chain ends.
                Content::Back(pos) if pos < at.pos => match self.target(record.oid(), pos)? {
                    Some(next) => at = next,
                    None => return Ok(Source::Lost),
                },
                Content::Back(_) => return Ok(Source::Lost),
            }
        }
    }

    /// Reads `len` bytes at `pos` into `buffer`.
    pub(super) fn data(&self, pos: u64, len: u64, buffer: &mut Vec<u8>) -> Result<(), StorageError> {
        let len = usize::try_from(len).map_err(|_wide| self.state.corrupt("data too long", pos))?;
        buffer.clear();
        buffer.resize(len, 0);
        self.state.disk.read_exact_at(buffer, pos).map_err(self.state.read_failed(pos))
    }

    /// Tells of what is wrong about a transaction, and of `last_tid`, the one before it.
    pub(super) fn judge(transaction: &Transaction, last_tid: Tid, notes: &mut Notes<'_>) {
        if transaction.header.tid <= last_tid {
            notes.strange_transaction(transaction.header.tid, transaction.pos, "time-stamp reduction");
        }
        if !matches!(transaction.header.status, status::COMMITTED | status::PACKED | status::UNDONE) {
            notes.strange_transaction(transaction.header.tid, transaction.pos, "unknown status");
        }
    }

    /// Tells of what is wrong about a record and its pointers. All of it is set right in the copy, but for a back
    /// pointer that leads nowhere.
    pub(super) fn judge_record(transaction: &Transaction, record: &Record, notes: &mut Notes<'_>) {
        if record.header.transaction_pos != transaction.pos {
            notes.strange_record(record.oid(), record.pos, "does not point to its transaction");
        }
        if record.header.previous_pos >= record.pos {
            notes.strange_record(record.oid(), record.pos, "invalid previous pointer");
        }
    }
}
