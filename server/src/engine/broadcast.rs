//! The journal and who listens to it: how a commit, or a pack, reaches every connection (rules S4 and S6).
//!
//! One lock makes an order of registrations and commits. Who registers before a commit is woken by it; who registers
//! after it starts behind it. There is no third case in which a connection would neither know a commit nor hear of
//! it. Readers and connections that catch up do not take this lock.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::PeerId;
use super::journal::{Commit, Cursor, Event, Journal, Lag};
use super::mailbox::Mailbox;
use super::sync::{Mutex, MutexGuard};
use crate::storage::View;

/// A journal that rings when it grows.
#[derive(Debug)]
pub(crate) struct Broadcast {
    journal: Journal,
    listeners: Mutex<BTreeMap<PeerId, Arc<Mailbox>>>,
}

impl Broadcast {
    /// Begins with the state that was found.
    pub(crate) fn new(view: Arc<dyn View>) -> Self {
        Self { journal: Journal::new(view), listeners: Mutex::default() }
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<PeerId, Arc<Mailbox>>> {
        // Nothing below panics half-way through a change.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a commit and wakes everybody, or everybody but its committer, who is awake. One after the other only,
    /// as their views follow each other.
    pub(crate) fn publish(&self, commit: Commit, is_committer_awake: bool) {
        let awake = if is_committer_awake { commit.committer } else { PeerId::NOBODY };
        self.publish_event(awake, |_| Event::Committed(commit));
    }

    /// Publishes that the storage has been packed, with its new view, and wakes everybody. By the holder of the commit
    /// lock only.
    pub(crate) fn publish_packed(&self, view: Arc<dyn View>) {
        self.publish_event(PeerId::NOBODY, |_| Event::Packed(view));
    }

    /// Publishes that anything may have changed, and wakes everybody. By who alone publishes commits.
    pub(crate) fn publish_unknown(&self, view: Arc<dyn View>) {
        self.publish_event(PeerId::NOBODY, |_| Event::Unknown(view));
    }

    /// Publishes that a pack had nothing to do, and wakes everybody. By anybody.
    pub(crate) fn publish_unchanged(&self) {
        self.publish_event(PeerId::NOBODY, |last| Event::Packed(Arc::clone(last)));
    }

    /// Publishes the event made from the newest view, and wakes everybody but `awake`.
    fn publish_event(&self, awake: PeerId, event: impl FnOnce(&Arc<dyn View>) -> Event) {
        let listeners = self.listeners();
        self.journal.publish(event);
        for (peer, mailbox) in &*listeners {
            if *peer != awake {
                mailbox.wake();
            }
        }
    }

    /// Registers a connection: it is woken by every commit beyond the returned cursor (rule S4).
    pub(crate) fn attach(&self, peer: PeerId, mailbox: &Arc<Mailbox>) -> Cursor {
        let mut listeners = self.listeners();
        listeners.insert(peer, Arc::clone(mailbox));
        self.journal.cursor()
    }

    /// Forgets a connection; tells whether it was registered.
    pub(crate) fn detach(&self, peer: PeerId) -> bool {
        self.listeners().remove(&peer).is_some()
    }

    /// How far a connection is behind.
    pub(crate) fn lag(&self, cursor: &Cursor) -> Lag {
        cursor.lag(&self.journal)
    }

    /// The newest state.
    pub(crate) fn view(&self) -> Arc<dyn View> {
        self.journal.view()
    }
}

#[cfg(test)]
mod models;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::StillView;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use zeo_codec::Tid;

    fn broadcast() -> Broadcast {
        Broadcast::new(Arc::new(StillView(Tid::ZERO)))
    }

    fn commit(number: u64, committer: PeerId) -> Commit {
        let tid = Tid::from_u64(number);
        Commit::new(tid, vec![], committer, Arc::new(StillView(tid)))
    }

    /// A mailbox and how often its bell rang.
    fn mailbox() -> (Arc<Mailbox>, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        let ringing = Arc::clone(&count);
        let ring = move || {
            ringing.fetch_add(1, Ordering::SeqCst);
        };
        (Mailbox::new(Box::new(ring)), count)
    }

    #[test]
    fn everybody_but_the_committer_is_woken() {
        let broadcast = broadcast();
        let (mailboxes, counts): (Vec<_>, Vec<_>) = (0..3).map(|_| mailbox()).unzip();
        let mut cursors: Vec<Cursor> = (1..)
            .map(PeerId)
            .zip(&mailboxes)
            .map(|(peer, mailbox)| broadcast.attach(peer, mailbox))
            .collect();
        broadcast.publish(commit(1, PeerId(2)), true);
        assert!(broadcast.detach(PeerId(3)));
        assert!(!broadcast.detach(PeerId(3)));
        broadcast.publish(commit(2, PeerId(1)), false);
        let counts: Vec<u64> = counts.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        assert_eq!(counts, [2, 1, 1]);
        // Waking is only a hint to look: everybody finds everything.
        for cursor in &mut cursors {
            assert_eq!(broadcast.lag(cursor).event_count, 2);
            assert_eq!(std::iter::from_fn(|| cursor.advance().map(|_| ())).count(), 2);
        }
    }

    /// A connection that registers while a commit rings, with another one right behind: the first commit beyond its
    /// cursor must ring for it. If the cursor were taken before the lock nearly every round would fail: the
    /// registration waits for the lock, and the next commit is published before it is its turn.
    #[test]
    fn registration_has_no_gap() {
        const ROUND_COUNT: u64 = 100;
        let broadcast = broadcast();
        let is_armed = Arc::new(AtomicBool::new(false));
        let start = Arc::new(Barrier::new(2));
        let (armed, starting) = (Arc::clone(&is_armed), Arc::clone(&start));
        let ring = move || {
            if armed.swap(false, Ordering::SeqCst) {
                starting.wait();
                // Some time to get as far as it can while the lock is taken.
                (0..100).for_each(|_| std::thread::yield_now());
            }
        };
        broadcast.attach(PeerId(1), &Mailbox::new(Box::new(ring)));
        let mut missed_count = 0;
        for round in 0..ROUND_COUNT {
            let (newcomer, count) = mailbox();
            is_armed.store(true, Ordering::SeqCst);
            let mut cursor = std::thread::scope(|scope| {
                let registration = scope.spawn(|| {
                    start.wait();
                    broadcast.attach(PeerId(2), &newcomer)
                });
                broadcast.publish(commit(2 * round + 1, PeerId::NOBODY), false);
                broadcast.publish(commit(2 * round + 2, PeerId::NOBODY), false);
                registration.join().unwrap()
            });
            broadcast.detach(PeerId(2));
            let unseen_count = std::iter::from_fn(|| cursor.advance().map(|_| ())).count();
            missed_count += u64::from(count.load(Ordering::SeqCst) < unseen_count as u64);
        }
        assert_eq!(missed_count, 0, "of {ROUND_COUNT} registrations");
    }
}
