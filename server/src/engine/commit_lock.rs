//! The commit lock of a storage: one holder from its vote to the end of its transaction, everyone else in
//! a queue, first in, first out.
//!
//! A [`Ticket`] stands for the holder's place or for one in the queue. Dropping it, on whatever path,
//! gives the place up: this is how rule S9 holds on every way a connection can end. The lock is handed
//! straight to the next in line, so nobody can overtake.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{Mailbox, PeerId};
use crate::engine::mailbox::Mail;

/// The lock. Shared by all connections of a storage.
#[derive(Debug)]
pub(crate) struct CommitLock {
    storage_name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    holder: Option<Holder>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Holder {
    peer: PeerId,
    since: SystemTime,
    /// What the client is called in the log.
    label: String,
}

#[derive(Debug)]
struct Waiting {
    peer: PeerId,
    mailbox: Arc<Mailbox>,
    label: String,
}

/// A place at or before the lock.
#[derive(Debug)]
#[must_use = "dropping the ticket gives up the lock"]
pub(crate) struct Ticket {
    lock: Arc<CommitLock>,
    peer: PeerId,
}

impl CommitLock {
    pub(crate) fn new(storage_name: &str) -> Arc<Self> {
        Arc::new(Self { storage_name: storage_name.to_owned(), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under this lock can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock, or a place in the queue. Returns the ticket and whether the lock is held now; if
    /// not, [`Mail::LockGranted`] will come. A connection must not ask twice.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        peer: PeerId,
        mailbox: &Arc<Mailbox>,
        now: SystemTime,
        label: &str,
    ) -> (Ticket, bool) {
        let ticket = Ticket { lock: Arc::clone(self), peer };
        let mut state = self.state();
        let is_held = state.holder.is_none();
        if is_held {
            state.holder = Some(Holder { peer, since: now, label: label.to_owned() });
        } else {
            state.waiting.push_back(Waiting { peer, mailbox: Arc::clone(mailbox), label: label.to_owned() });
        }
        let waiting_count = state.waiting.len();
        drop(state);
        self.log_waiting(label, if is_held { "lock" } else { "queue lock" }, waiting_count);
        (ticket, is_held)
    }

    /// When the present holder got the lock.
    pub(crate) fn held_since(&self) -> Option<SystemTime> {
        self.state().holder.as_ref().map(|holder| holder.since)
    }

    /// Number of connections in the queue.
    pub(crate) fn waiting_count(&self) -> usize {
        self.state().waiting.len()
    }

    /// Levels as in Python's server (StorageServer.py:LockManager._log_waiting, ZEO 6.2).
    fn log_waiting(&self, label: &str, what: &str, count: usize) {
        let name = &self.storage_name;
        match count {
            0..=3 => {
                tracing::debug!(target: "ZEO.StorageServer", "({label}) ('{name}') {what}: transactions waiting: {count}");
            }
            4..=9 => {
                tracing::warn!(target: "ZEO.StorageServer", "({label}) ('{name}') {what}: transactions waiting: {count}");
            }
            _ => {
                tracing::error!(target: "ZEO.StorageServer", critical = true, "({label}) ('{name}') {what}: transactions waiting: {count}");
            }
        }
    }

    fn give_up(&self, peer: PeerId, now: SystemTime) {
        let mut state = self.state();
        if let Some(holder) = state.holder.take_if(|holder| holder.peer == peer) {
            let next = state.waiting.pop_front();
            let waiting_count = state.waiting.len();
            if let Some(Waiting { peer, label, .. }) = &next {
                state.holder = Some(Holder { peer: *peer, since: now, label: label.clone() });
            }
            drop(state);
            let before_count = waiting_count + usize::from(next.is_some());
            self.log_waiting(&holder.label, "unlock", before_count);
            if let Some(Waiting { mailbox, label, .. }) = next {
                self.log_waiting(&label, "lock", waiting_count);
                mailbox.put(Mail::LockGranted);
            }
        } else if let Some(at) = state.waiting.iter().position(|waiting| waiting.peer == peer) {
            let gone = state.waiting.remove(at);
            let waiting_count = state.waiting.len();
            drop(state);
            if let Some(Waiting { label, .. }) = gone {
                self.log_waiting(&label, "dequeue lock", waiting_count);
            }
        }
    }
}

impl Ticket {
    /// Whether this is the holder's ticket now.
    pub(crate) fn is_holder(&self) -> bool {
        self.lock.state().holder.as_ref().is_some_and(|holder| holder.peer == self.peer)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lock.give_up(self.peer, SystemTime::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(lock: &Arc<CommitLock>, peer: u64) -> (Ticket, bool, Arc<Mailbox>) {
        let mailbox = Mailbox::new(Box::new(|| {}));
        let (ticket, is_held) = lock.acquire(PeerId(peer), &mailbox, SystemTime::UNIX_EPOCH, "test");
        (ticket, is_held, mailbox)
    }

    fn is_granted(mailbox: &Mailbox) -> bool {
        matches!(mailbox.take().as_slice(), [Mail::LockGranted])
    }

    #[test]
    fn goes_from_one_to_the_next_in_order() {
        let lock = CommitLock::new("1");
        let (first, is_held, _) = acquire(&lock, 1);
        assert!(is_held);
        let (second, is_held, second_mail) = acquire(&lock, 2);
        assert!(!is_held);
        let (third, _, third_mail) = acquire(&lock, 3);
        let (fourth, _, fourth_mail) = acquire(&lock, 4);
        assert_eq!(lock.waiting_count(), 3);
        drop(third);
        drop(first);
        assert!(is_granted(&second_mail) && !is_granted(&third_mail) && !is_granted(&fourth_mail));
        drop(second);
        assert!(is_granted(&fourth_mail) && !is_granted(&third_mail));
        assert_eq!(lock.held_since().map(|_| lock.waiting_count()), Some(0));
        drop(fourth);
        assert_eq!(lock.held_since(), None);
    }
}
