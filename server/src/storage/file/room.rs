//! Room for transactions that are voted on beside each other.
//!
//! Where a transaction will lie is decided at its commit. Until then it only counts: there is room on the disk for all
//! that have been voted on, behind the last one that was committed. Who votes mostly sees that from a few numbers, and
//! does not wait for a commit that is on its way to the disk.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use super::super::{KeepsRoom, NewTransaction, Reservation, StorageError, wait};
use super::append::checked_len;
use super::storage::{Health, Shared, Writer};

/// What a vote has to know of the writer, to be read without its lock.
#[derive(Debug)]
pub(super) struct Room {
    is_good: AtomicBool,
    /// As [`Writer::reserved_pos`].
    reserved_pos: AtomicU64,
    /// Length of all transactions that have been voted on and are neither committed nor aborted.
    promised_len: AtomicU64,
}

impl Room {
    pub(super) fn new(writer: &Writer) -> Self {
        let room = Self {
            is_good: AtomicBool::default(),
            reserved_pos: AtomicU64::default(),
            promised_len: AtomicU64::default(),
        };
        room.follow(writer);
        room
    }

    fn follow(&self, writer: &Writer) {
        self.is_good.store(matches!(writer.health, Health::Good), Ordering::SeqCst);
        self.reserved_pos.store(writer.reserved_pos, Ordering::SeqCst);
    }
}

/// The writer, for as long as nobody else may have it.
#[derive(Debug)]
pub(super) struct Writing<'s> {
    pub(super) writer: MutexGuard<'s, Writer>,
    pub(super) room: &'s Room,
}

impl Deref for Writing<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.room.follow(&self.writer);
    }
}

/// Room that was promised.
#[derive(Debug)]
struct Promise {
    shared: Arc<Shared>,
    len: u64,
}

impl KeepsRoom for Promise {
    fn transaction_len(&self) -> u64 {
        self.len
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.shared.room.promised_len.fetch_sub(self.len, Ordering::SeqCst);
    }
}

/// [`Storage::reserve`](super::super::Storage::reserve).
pub(super) fn reserve(
    shared: &Arc<Shared>,
    transaction: &NewTransaction,
) -> Result<Reservation, StorageError> {
    let (len, last_record_offset) = checked_len(transaction)?;
    let room = &shared.room;
    // From here on it counts, and no longer when it is dropped.
    let promised_before = room.promised_len.fetch_add(len, Ordering::SeqCst);
    let promise = Promise { shared: Arc::clone(shared), len };
    // What is being committed may count twice for a moment; never not at all.
    let start_pos_max = shared.view.load().end_pos.saturating_add(promised_before);
    let end_pos_max = start_pos_max.saturating_add(len);
    if !room.is_good.load(Ordering::SeqCst) || end_pos_max > room.reserved_pos.load(Ordering::SeqCst) {
        let mut result = Ok(());
        wait(&mut || {
            let mut writer = shared.writer();
            result = writer.check().and_then(|()| writer.reserve(&shared.view.load(), end_pos_max));
        });
        result?;
    }
    if let Some(quota_bytes) = shared.options.quota_bytes
        && start_pos_max.saturating_add(last_record_offset) > quota_bytes
    {
        return Err(StorageError::QuotaExceeded { quota_bytes });
    }
    Ok(Reservation::new(promise))
}
