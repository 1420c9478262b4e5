//! Reading a data file transaction by transaction, to fill the index and to find where the file ends.
//!
//! The checks are those of `FileStorage.py:read_index`, ZODB 6.4. A transaction that fails one is either the
//! tail of a file whose writer was interrupted, which [`Scanned::tail`] reports and the caller may cut off, or
//! damage, which is refused: [`StorageError::Corrupt`]. Python's rule for a tail is: fewer bytes than a header,
//! a length that reaches beyond the end of the file, status `c`, or a header that contradicts itself while the
//! last eight bytes of the file are no plausible length. Two things differ, both towards losing nothing:
//!
//! * where complete transactions follow that were not made durable together with it (see [`super::together`]), it is
//!   damage and not a tail (Python cuts them all off);
//! * where the last transaction is broken, or one of those made durable with it, *and* a sector was never written (see
//!   [`super::append`]), it is a tail (Python refuses to open).
//!
//! Nothing is read into memory but headers: object data is skipped over.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use zeo_codec::{Oid, Tid};

use super::super::StorageError;
use super::disk::Disk;
use super::format::{
    DATA_HEADER_LEN, DATA_HEADER_SPAN, DataHeader, TRAILER_LEN, TRANSACTION_HEADER_LEN,
    TRANSACTION_HEADER_SPAN, TransactionHeader, data_field, span, status,
};
use super::index::IndexBuilder;
use super::together::{TOGETHER_LEN_MAX, place_of};
use super::window::{SCAN_WINDOW_LEN, Window};

/// What a disk writes whole or not at all; all smaller units that exist are multiples of it.
const SECTOR_LEN: u64 = 512;

/// Between two lines about the progress of a scan.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Wrong previous pointers that are logged one by one.
const LOGGED_MAX: u64 = 10;

/// Where a scan starts, and what is known by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// Position of the first transaction to read.
    pub(crate) pos: u64,
    /// The transaction before it; [`Tid::ZERO`] if there is none.
    pub(crate) last_tid: Tid,
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Where the last complete transaction ends.
    pub(crate) end_pos: u64,
    /// The last complete transaction.
    pub(crate) last_tid: Tid,
    /// What lies behind `end_pos`, if anything.
    pub(crate) tail: Option<Tail>,
    /// Number of records whose pointer to the previous one differs from what the scan saw.
    pub(crate) wrong_previous_count: u64,
}

/// Bytes behind the last complete transaction that an interrupted commit left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// How they are known to be a tail.
    pub(crate) why: &'static str,
    /// Whether Python saves them to a file before it cuts them off.
    pub(crate) is_saved: bool,
}

/// Reads transactions from `start` to the end of `disk`, entering their records in `index`.
///
/// # Errors
/// [`StorageError::Corrupt`], [`StorageError::Io`].
pub(crate) fn scan(
    disk: &dyn Disk,
    file_name: &str,
    start: Start,
    index: &mut IndexBuilder,
) -> Result<Scanned, StorageError> {
    let io_failed =
        |source| StorageError::Io { doing: format!("determine the length of {file_name}"), source };
    let file_len = disk.len().map_err(io_failed)?;
    let mut scanner = Scanner {
        window: Window::new(disk, file_len, SCAN_WINDOW_LEN),
        file_name,
        index,
        last_tid: start.last_tid,
        wrong_previous_count: 0,
        records: Vec::new(),
    };
    let mut progress = Progress::new(start.pos, file_len);
    let mut pos = start.pos;
    let mut tail = None;
    while pos < file_len {
        match scanner.transaction(pos)? {
            Step::Whole { next_pos } => pos = next_pos,
            Step::Tail(found) => {
                tail = Some(found);
                break;
            }
        }
        progress.tell(file_name, pos);
    }
    let Scanner { last_tid, wrong_previous_count, .. } = scanner;
    Ok(Scanned { end_pos: pos, last_tid, tail, wrong_previous_count })
}

enum Step {
    Whole { next_pos: u64 },
    Tail(Tail),
}

/// Why a transaction is not whole.
enum Flaw {
    /// A contradiction in its structure, found at this position.
    Broken { what: &'static str, pos: u64 },
    /// A header whose first bytes were never written, though nothing contradicts it.
    Unwritten,
    /// The disk.
    Io(io::Error),
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct Scanner<'a> {
    window: Window<'a>,
    file_name: &'a str,
    index: &'a mut IndexBuilder,
    last_tid: Tid,
    wrong_previous_count: u64,
    /// Records of the transaction being read; they count when it has proved whole.
    records: Vec<(Oid, u64)>,
}

impl Scanner<'_> {
    fn transaction(&mut self, pos: u64) -> Result<Step, StorageError> {
        self.judge(pos)
            .map_err(|source| StorageError::Io { doing: format!("scan {}", self.file_name), source })?
    }

    /// Reads the transaction at `pos` and decides whether it is whole, a tail, or damaged.
    fn judge(&mut self, pos: u64) -> io::Result<Result<Step, StorageError>> {
        let left_len = self.window.end_pos() - pos;
        if left_len < TRANSACTION_HEADER_SPAN {
            return Ok(Ok(tail("fewer bytes than a transaction header", false)));
        }
        let header = self.transaction_header(pos)?;
        let Some(record_span) = header.span().filter(|record_span| *record_span <= left_len) else {
            let what = "transaction reaches beyond the end of the file, yet complete ones follow";
            return Ok(if self.is_settled(pos, None)? {
                Err(self.corrupt(what, pos))
            } else {
                Ok(tail("transaction reaches beyond the end of the file", true))
            });
        };
        let next_pos = pos + record_span;
        if header.status == status::CHECKPOINT {
            return Ok(if self.is_followed(pos, next_pos)? {
                Err(self.corrupt("transaction marked as unfinished, yet complete ones follow", pos))
            } else {
                Ok(tail("transaction was not finished", true))
            });
        }
        if header.len < header.header_len() {
            return self.contradictory_header(pos);
        }
        match self.records(pos, &header) {
            Ok(()) => {}
            Err(Flaw::Io(error)) => return Err(error),
            Err(Flaw::Unwritten) => return Ok(Ok(tail("transaction was not written in full", true))),
            Err(Flaw::Broken { what, pos: at_pos }) => {
                return Ok(if !self.is_settled(pos, Some(next_pos))? && self.has_unwritten_sector(pos)? {
                    Ok(tail("transaction was not written in full", true))
                } else {
                    Err(self.corrupt(what, at_pos))
                });
            }
        }
        if header.tid <= self.last_tid {
            tracing::warn!(target: "ZODB.FileStorage", file = self.file_name, pos, tid = %header.tid, last = %self.last_tid,
                "time-stamp reduction");
        }
        self.last_tid = header.tid;
        self.records.drain(..).for_each(|(oid, record_pos)| self.index.insert(oid, record_pos));
        Ok(Ok(Step::Whole { next_pos }))
    }

    /// A header whose length does not hold its own fields: Python's test for what an old crash left at the end.
    fn contradictory_header(&mut self, pos: u64) -> io::Result<Result<Step, StorageError>> {
        let end_pos = self.window.end_pos();
        let last_len = self.window.number(end_pos - TRAILER_LEN)?;
        let is_implausible = last_len < TRANSACTION_HEADER_SPAN
            || end_pos.checked_sub(last_len).is_none_or(|start_pos| start_pos < pos);
        if is_implausible {
            return Ok(Ok(tail("invalid transaction header at the end of the file", true)));
        }
        if !self.is_settled(pos, None)? && self.has_unwritten_sector(pos)? {
            return Ok(Ok(tail("transaction was not written in full", true)));
        }
        Ok(Err(self.corrupt("invalid transaction header", pos)))
    }

    /// Checks the records and the trailer of a transaction that lies within the file, and collects the records.
    fn records(&mut self, pos: u64, header: &TransactionHeader) -> Result<(), Flaw> {
        self.records.clear();
        let end_pos = pos + header.len;
        let next_pos = end_pos + TRAILER_LEN;
        if header.tid <= self.last_tid && self.is_lost(pos, pos..pos + 1, next_pos)? {
            return Err(Flaw::Unwritten);
        }
        if header.status != status::UNDONE {
            if !matches!(header.status, status::COMMITTED | status::PACKED) {
                tracing::warn!(target: "ZODB.FileStorage", file = self.file_name, pos, status = header.status, "invalid status");
            }
            let mut record_pos = pos + header.header_len();
            while record_pos < end_pos {
                let record = self.record(pos, record_pos, end_pos)?;
                let tid_pos = record_pos + span(data_field::TID.start);
                if record.tid != header.tid
                    && self.is_lost(pos, tid_pos..tid_pos + span(data_field::TID.len()), next_pos)?
                {
                    return Err(Flaw::Unwritten);
                }
                if !self.is_previous(&record)
                    && record.oid.to_u64() & 0xff == 0
                    && self.is_lost(pos, record_pos..record_pos + span(data_field::OID.len()), next_pos)?
                {
                    return Err(Flaw::Unwritten);
                }
                self.compare_previous(&record, record_pos);
                self.records.push((record.oid, record_pos));
                record_pos += record.record_len().unwrap_or(u64::MAX - record_pos);
            }
        }
        if self.window.number(end_pos)? != header.len {
            return Err(Flaw::Broken { what: "redundant transaction length differs", pos: end_pos });
        }
        Ok(())
    }

    /// The header of the record at `record_pos`, which lies within its transaction.
    fn record(&mut self, transaction_pos: u64, record_pos: u64, end_pos: u64) -> Result<DataHeader, Flaw> {
        let broken = |what| Flaw::Broken { what, pos: record_pos };
        if end_pos - record_pos < DATA_HEADER_SPAN {
            return Err(broken("data record exceeds its transaction"));
        }
        let bytes = self.window.bytes(record_pos, DATA_HEADER_LEN)?;
        let record = DataHeader::parse(bytes).ok_or_else(|| broken("data record is cut short"))?;
        if record.transaction_pos != transaction_pos {
            return Err(broken("data record does not point to its transaction"));
        }
        if record.version_len != 0 {
            return Err(broken("data record of a version"));
        }
        let record_end_pos = record.record_len().and_then(|len| len.checked_add(record_pos));
        if record_end_pos.is_none_or(|record_end_pos| record_end_pos > end_pos) {
            return Err(broken("data record exceeds its transaction"));
        }
        Ok(record)
    }

    /// Whether a record points to the one that was its object's last.
    fn is_previous(&self, record: &DataHeader) -> bool {
        record.previous_pos == self.index.get(record.oid).unwrap_or(0)
    }

    /// Python logs a wrong previous pointer and goes on: the current data can be read all the same. After a
    /// pack a pointer of 0 is usual.
    fn compare_previous(&mut self, record: &DataHeader, pos: u64) {
        if !self.is_previous(record) {
            let seen_pos = self.index.get(record.oid).unwrap_or(0);
            self.wrong_previous_count += 1;
            if self.wrong_previous_count <= LOGGED_MAX {
                tracing::warn!(target: "ZODB.FileStorage", file = self.file_name, pos, oid = %record.oid, previous_pos = record.previous_pos,
                    seen_pos, "incorrect previous pointer");
            }
        }
    }

    fn transaction_header(&mut self, pos: u64) -> io::Result<TransactionHeader> {
        let bytes = self.window.bytes(pos, TRANSACTION_HEADER_LEN)?;
        TransactionHeader::parse(bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Whether a complete transaction follows the one at `pos`, which claims to reach to `next_pos`.
    fn is_followed(&mut self, pos: u64, next_pos: u64) -> io::Result<bool> {
        Ok(self.is_whole(next_pos, None)? || self.whole_before(pos + 1, self.window.end_pos())?.is_some())
    }

    /// Whether the transaction at `pos` had been durable before something else was written: then it was acknowledged, and
    /// must not be cut off. A complete transaction behind it shows that, unless the two were made durable together.
    /// `next_pos` is where it claims to end.
    fn is_settled(&mut self, pos: u64, next_pos: Option<u64>) -> io::Result<bool> {
        if let Some(next_pos) = next_pos
            && self.is_whole(next_pos, None)?
            && self.place_at(next_pos)? == 0
        {
            return Ok(true);
        }
        let end_pos = self.window.end_pos();
        let Some(mut at_pos) = self.whole_before(pos + 1, end_pos)? else { return Ok(false) };
        if end_pos - pos > TOGETHER_LEN_MAX {
            return Ok(true);
        }
        // Back from the last one, to the first of those that were made durable with it.
        let mut place = self.place_at(at_pos)?;
        while place > 0 {
            let Some(before_pos) = self.whole_before(pos + 1, at_pos)? else { return Ok(false) };
            let place_before = self.place_at(before_pos)?;
            if place_before + 1 != place {
                break;
            }
            (at_pos, place) = (before_pos, place_before);
        }
        Ok(true)
    }

    /// The place of the transaction at `pos` among those that were made durable together.
    fn place_at(&mut self, pos: u64) -> io::Result<u64> {
        Ok(place_of(self.transaction_header(pos)?.tid))
    }

    /// The complete transaction that ends at `end_pos` as its last eight bytes have it, if it starts at `from_pos` or
    /// behind.
    fn whole_before(&mut self, from_pos: u64, end_pos: u64) -> io::Result<Option<u64>> {
        let trailer_pos = end_pos.saturating_sub(TRAILER_LEN);
        let len = self.window.number(trailer_pos)?;
        match trailer_pos.checked_sub(len) {
            Some(pos) if pos >= from_pos => Ok(self.is_whole(pos, Some(len))?.then_some(pos)),
            Some(_) | None => Ok(None),
        }
    }

    /// Whether the bytes at `pos` are those of a complete transaction: newer than the last one, with matching
    /// lengths, and a first record that names this position. `len` stands in for a damaged length field.
    fn is_whole(&mut self, pos: u64, len: Option<u64>) -> io::Result<bool> {
        let end_pos = self.window.end_pos();
        if end_pos.saturating_sub(pos) < TRANSACTION_HEADER_SPAN + TRAILER_LEN {
            return Ok(false);
        }
        let header = self.transaction_header(pos)?;
        let len = len.unwrap_or(header.len);
        let is_plausible = header.tid > self.last_tid
            && matches!(header.status, status::COMMITTED | status::PACKED | status::UNDONE)
            && len >= header.header_len()
            && len <= end_pos - pos - TRAILER_LEN;
        if !is_plausible || self.window.number(pos + len)? != len {
            return Ok(false);
        }
        let record_pos = pos + header.header_len();
        if record_pos == pos + len {
            return Ok(true);
        }
        match self.record(pos, record_pos, pos + len) {
            Ok(_) => Ok(true),
            Err(Flaw::Io(error)) => Err(error),
            Err(Flaw::Broken { .. } | Flaw::Unwritten) => Ok(false),
        }
    }

    /// Whether the tail from `pos` on has a sector of zeros: one that was never written.
    fn has_unwritten_sector(&mut self, pos: u64) -> io::Result<bool> {
        let end_pos = self.window.end_pos();
        self.is_unwritten(pos, pos..end_pos)
    }

    /// Whether `field` of the transaction from `pos` to `next_pos` was never written, since power failed before.
    fn is_lost(&mut self, pos: u64, field: Range<u64>, next_pos: u64) -> io::Result<bool> {
        let end_pos = self.window.end_pos();
        let may_be = end_pos == next_pos
            || end_pos - pos <= TOGETHER_LEN_MAX && !self.is_settled(pos, Some(next_pos))?;
        Ok(may_be && self.is_unwritten(pos, field)?)
    }

    /// Whether one of the sectors that `field` touches is all zeros, as far as it belongs to the tail from
    /// `tail_pos` on.
    fn is_unwritten(&mut self, tail_pos: u64, field: Range<u64>) -> io::Result<bool> {
        let end_pos = self.window.end_pos();
        let mut sector_pos = field.start - field.start % SECTOR_LEN;
        while sector_pos < field.end.min(end_pos) {
            let from_pos = sector_pos.max(tail_pos);
            let to_pos = sector_pos.saturating_add(SECTOR_LEN).min(end_pos);
            let len = usize::try_from(to_pos - from_pos).map_err(io::Error::other)?;
            if self.window.bytes(from_pos, len)?.iter().all(|byte| *byte == 0) {
                return Ok(true);
            }
            sector_pos = to_pos;
        }
        Ok(false)
    }

    fn corrupt(&self, what: &str, pos: u64) -> StorageError {
        StorageError::Corrupt { file: self.file_name.to_owned(), what: what.to_owned(), pos }
    }
}

const fn tail(why: &'static str, is_saved: bool) -> Step {
    Step::Tail(Tail { why, is_saved })
}

/// Tells from time to time how far a long scan has come.
struct Progress {
    start_pos: u64,
    end_pos: u64,
    started: Instant,
    told: Instant,
    step_count: u32,
}

impl Progress {
    fn new(start_pos: u64, end_pos: u64) -> Self {
        let now = Instant::now();
        Self { start_pos, end_pos, started: now, told: now, step_count: 0 }
    }

    fn tell(&mut self, file: &str, pos: u64) {
        self.step_count = self.step_count.wrapping_add(1);
        // Asking for the time costs more than reading a small transaction.
        if self.step_count.is_multiple_of(256)
            && let Some((percent, mib_per_second)) = self.at(pos, Instant::now())
        {
            Self::log(file, percent, mib_per_second);
        }
    }

    /// How much has been done and how fast, if it is time to tell.
    fn at(&mut self, pos: u64, now: Instant) -> Option<(u64, u64)> {
        if now.saturating_duration_since(self.told) < PROGRESS_INTERVAL {
            return None;
        }
        self.told = now;
        let done_len = pos - self.start_pos;
        let percent = done_len.saturating_mul(100) / (self.end_pos - self.start_pos).max(1);
        let seconds = now.saturating_duration_since(self.started).as_secs().max(1);
        Some((percent, (done_len >> 20) / seconds))
    }

    fn log(file: &str, percent: u64, mib_per_second: u64) {
        tracing::info!(target: "ZODB.FileStorage", file, percent, mib_per_second, "building the index");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_scan_tells_from_time_to_time_how_far_it_is() {
        let mut progress = Progress::new(4, 4 + (100 << 20));
        let start = progress.started;
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(progress.at(4 + (10 << 20), after(1)), None);
        assert_eq!(progress.at(4 + (20 << 20), after(2)), Some((20, 10)));
        assert_eq!(progress.at(4 + (30 << 20), after(3)), None);
        assert_eq!(progress.at(4 + (90 << 20), after(9)), Some((90, 10)));
    }
}
