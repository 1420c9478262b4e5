//! Whether a loaded index belongs to the data file.
//!
//! Like Python, the records of the last transaction before the index's end are compared with it (at most
//! five). An object may occur twice in a transaction (blobs do); Python then throws the index away, we look at
//! the later record. Beyond Python, a sample of entries from the whole index is compared with the records that
//! they name, which finds another database's index and most damage. Source: `FileStorage.py:_check_sanity`,
//! ZODB 6.4.

use zeo_codec::Tid;

use super::disk::Disk;
use super::format::{
    DATA_HEADER_LEN, DataHeader, FIRST_TRANSACTION_POS, TRAILER_LEN, TRANSACTION_HEADER_LEN,
    TransactionHeader, status,
};
use super::index::IndexBuilder;
use super::index_file::{Loaded, Unusable};
use super::window::Window;

/// Python distrusts an index that ends before this position, without a look.
const END_POS_MIN: u64 = 100;
/// Records of the last transaction that are compared, as in Python.
const RECORD_COUNT_MAX: usize = 5;
/// Entries from the whole index that are compared: tens of milliseconds on a slow disk.
const SAMPLE_COUNT: usize = 64;
/// Bytes read at once: the reads are scattered.
const WINDOW_LEN: usize = 1 << 12;

/// The last transaction before the end of the index, if the index belongs to the file on `disk`.
pub(crate) fn check(disk: &dyn Disk, loaded: &Loaded) -> Result<Tid, Unusable> {
    if loaded.end_pos < END_POS_MIN {
        return Err(Unusable::Foreign("too short to be compared"));
    }
    if disk.len()? < loaded.end_pos {
        return Err(Unusable::Foreign("ends behind the end of the data file"));
    }
    let mut window = Window::new(disk, loaded.end_pos, WINDOW_LEN);
    let last_tid = check_last_transaction(&mut window, loaded)?;
    for (oid, pos) in loaded.index.sample(SAMPLE_COUNT) {
        let record = data_header(&mut window, pos)?;
        if record.oid != oid || record.transaction_pos >= pos || record.version_len != 0 {
            return Err(Unusable::Foreign("an entry names another object's record"));
        }
    }
    Ok(last_tid)
}

/// Goes back to the last transaction that has records and compares these.
fn check_last_transaction(window: &mut Window<'_>, loaded: &Loaded) -> Result<Tid, Unusable> {
    let mut end_pos = loaded.end_pos;
    let mut last_tid = None;
    loop {
        let trailer_pos = end_pos.checked_sub(TRAILER_LEN).ok_or(Unusable::Foreign("no transaction"))?;
        let len = window.number(trailer_pos)?;
        let pos = trailer_pos
            .checked_sub(len)
            .filter(|pos| *pos >= FIRST_TRANSACTION_POS)
            .ok_or(Unusable::Foreign("does not end at a transaction's end"))?;
        let header = TransactionHeader::parse(window.bytes(pos, TRANSACTION_HEADER_LEN)?)
            .filter(|header| header.len == len)
            .ok_or(Unusable::Foreign("does not end at a transaction's end"))?;
        last_tid.get_or_insert(header.tid);
        let is_known = matches!(header.status, status::COMMITTED | status::PACKED | status::UNDONE);
        if !is_known || len < header.header_len() {
            return Err(Unusable::Foreign("the last transaction is not sound"));
        }
        if header.status == status::UNDONE || len == header.header_len() {
            end_pos = pos;
            continue;
        }
        check_records(window, &loaded.index, pos, pos + header.header_len(), pos + len)?;
        return last_tid.ok_or(Unusable::Foreign("no transaction"));
    }
}

fn check_records(
    window: &mut Window<'_>,
    index: &IndexBuilder,
    transaction_pos: u64,
    first_pos: u64,
    end_pos: u64,
) -> Result<(), Unusable> {
    let mut pos = first_pos;
    for _ in 0..RECORD_COUNT_MAX {
        if pos >= end_pos {
            break;
        }
        let record = data_header(window, pos)?;
        let next_pos = record.record_len().and_then(|len| len.checked_add(pos));
        let next_pos = next_pos.filter(|next_pos| *next_pos <= end_pos);
        let (Some(next_pos), true) = (next_pos, record.transaction_pos == transaction_pos) else {
            return Err(Unusable::Foreign("the last transaction is not sound"));
        };
        let is_right = match index.get(record.oid) {
            Some(indexed_pos) if indexed_pos == pos => true,
            Some(later_pos) if (next_pos..end_pos).contains(&later_pos) => {
                let later = data_header(window, later_pos)?;
                later.oid == record.oid && later.transaction_pos == transaction_pos
            }
            Some(_) | None => false,
        };
        if !is_right {
            return Err(Unusable::Foreign("a record of the last transaction is not in it"));
        }
        pos = next_pos;
    }
    Ok(())
}

fn data_header(window: &mut Window<'_>, pos: u64) -> Result<DataHeader, Unusable> {
    let bytes = window.bytes(pos, DATA_HEADER_LEN)?;
    DataHeader::parse(bytes).ok_or(Unusable::Foreign("a record is cut short"))
}
