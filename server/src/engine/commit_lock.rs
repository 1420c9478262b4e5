//! The commit lock of a storage: from its vote to the end of its transaction each client has to itself what it touches.
//!
//! What a transaction touches is its [`Scope`]: mostly some objects, those that it only checks included, so that
//! transactions of different objects go on beside each other; what looks at the whole storage has it whole. Who cannot
//! have its scope yet waits in a queue, first in, first out: nobody overtakes somebody who wants the same.
//!
//! A [`Ticket`] stands for the holder's place or for one in the queue. Dropping it, on whatever path,
//! gives the place up: this is how rule S9 holds on every way a connection can end. What becomes free is handed
//! straight to the next in line.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use zeo_codec::Oid;

use super::{Mailbox, PeerId};
use crate::engine::mailbox::Mail;

/// What a transaction touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything.
    Whole,
    /// These objects.
    Objects {
        /// It writes them: nobody else may touch them.
        written: HashSet<Oid>,
        /// It wants them to stay as they are: nobody else may write them.
        read: HashSet<Oid>,
    },
}

/// The lock. Shared by all connections of a storage.
#[derive(Debug)]
pub(crate) struct CommitLock {
    storage_name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    holders: Vec<Holder>,
    held: Touched,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Holder {
    peer: PeerId,
    since: SystemTime,
    /// What the client is called in the log.
    label: String,
    scope: Scope,
}

#[derive(Debug)]
struct Waiting {
    peer: PeerId,
    mailbox: Arc<Mailbox>,
    label: String,
    scope: Scope,
}

/// What several transactions touch together.
#[derive(Debug, Default)]
struct Touched {
    whole_count: usize,
    transaction_count: usize,
    written: HashMap<Oid, usize>,
    read: HashMap<Oid, usize>,
}

impl Touched {
    fn is_free(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Whole => self.transaction_count == 0,
            Scope::Objects { written, read } => {
                self.whole_count == 0
                    && written
                        .iter()
                        .all(|oid| !self.written.contains_key(oid) && !self.read.contains_key(oid))
                    && read.iter().all(|oid| !self.written.contains_key(oid))
            }
        }
    }

    fn add(&mut self, scope: &Scope) {
        self.transaction_count += 1;
        match scope {
            Scope::Whole => self.whole_count += 1,
            Scope::Objects { written, read } => {
                written.iter().for_each(|oid| *self.written.entry(*oid).or_default() += 1);
                read.iter().for_each(|oid| *self.read.entry(*oid).or_default() += 1);
            }
        }
    }

    fn remove(&mut self, scope: &Scope) {
        fn remove_from(counts: &mut HashMap<Oid, usize>, oids: &HashSet<Oid>) {
            for oid in oids {
                if let Some(count) = counts.get_mut(oid) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(oid);
                    }
                }
            }
        }
        self.transaction_count -= 1;
        match scope {
            Scope::Whole => self.whole_count -= 1,
            Scope::Objects { written, read } => {
                remove_from(&mut self.written, written);
                remove_from(&mut self.read, read);
            }
        }
    }
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

    /// Takes the lock for `scope`, or a place in the queue. Returns the ticket and whether the lock is held now; if
    /// not, [`Mail::LockGranted`] will come. A connection must not ask twice.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        peer: PeerId,
        mailbox: &Arc<Mailbox>,
        now: SystemTime,
        label: &str,
        scope: Scope,
    ) -> (Ticket, bool) {
        let ticket = Ticket { lock: Arc::clone(self), peer };
        let mut state = self.state();
        let is_held = state.held.is_free(&scope) && state.may_overtake(&scope);
        let label_kept = label.to_owned();
        if is_held {
            state.hold(Holder { peer, since: now, label: label_kept, scope });
        } else {
            let mailbox = Arc::clone(mailbox);
            state.waiting.push_back(Waiting { peer, mailbox, label: label_kept, scope });
        }
        let waiting_count = state.waiting.len();
        drop(state);
        self.log_waiting(label, if is_held { "lock" } else { "queue lock" }, waiting_count);
        (ticket, is_held)
    }

    /// When the one who has held it for the longest time got it.
    pub(crate) fn held_since(&self) -> Option<SystemTime> {
        self.state().holders.iter().map(|holder| holder.since).min()
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
        let waiting_before = state.waiting.len();
        let (gone, what) = if let Some(at) = state.holders.iter().position(|holder| holder.peer == peer) {
            let Holder { label, scope, .. } = state.holders.swap_remove(at);
            state.held.remove(&scope);
            (label, "unlock")
        } else if let Some(at) = state.waiting.iter().position(|waiting| waiting.peer == peer)
            && let Some(Waiting { label, .. }) = state.waiting.remove(at)
        {
            (label, "dequeue lock")
        } else {
            return;
        };
        let granted = state.grant(now);
        let waiting_count = state.waiting.len();
        drop(state);
        self.log_waiting(
            &gone,
            what,
            if what == "unlock" { waiting_before } else { waiting_count + granted.len() },
        );
        for (label, mailbox) in granted {
            self.log_waiting(&label, "lock", waiting_count);
            mailbox.put(Mail::LockGranted);
        }
    }
}

impl State {
    fn hold(&mut self, holder: Holder) {
        self.held.add(&holder.scope);
        self.holders.push(holder);
    }

    /// Whether nobody waits for something of `scope`.
    fn may_overtake(&self, scope: &Scope) -> bool {
        let mut ahead = Touched::default();
        self.waiting.iter().for_each(|waiting| ahead.add(&waiting.scope));
        ahead.is_free(scope)
    }

    /// Gives those who wait what they want, where it is free and nobody has waited for it longer.
    fn grant(&mut self, now: SystemTime) -> Vec<(String, Arc<Mailbox>)> {
        let mut granted = Vec::new();
        let mut ahead = Touched::default();
        let mut still_waiting = VecDeque::new();
        for waiting in std::mem::take(&mut self.waiting) {
            if self.held.is_free(&waiting.scope) && ahead.is_free(&waiting.scope) {
                let Waiting { peer, mailbox, label, scope } = waiting;
                self.hold(Holder { peer, since: now, label: label.clone(), scope });
                granted.push((label, mailbox));
            } else {
                ahead.add(&waiting.scope);
                still_waiting.push_back(waiting);
            }
        }
        self.waiting = still_waiting;
        granted
    }
}

impl Ticket {
    /// Whether this is a holder's ticket now.
    pub(crate) fn is_holder(&self) -> bool {
        self.lock.state().holders.iter().any(|holder| holder.peer == self.peer)
    }

    /// Whether it is a holder's, and for all of `scope`.
    pub(crate) fn covers(&self, scope: &Scope) -> bool {
        let state = self.lock.state();
        let holder = state.holders.iter().find(|holder| holder.peer == self.peer);
        holder.is_some_and(|holder| match (&holder.scope, scope) {
            (Scope::Whole, _) => true,
            (Scope::Objects { .. }, Scope::Whole) => false,
            (Scope::Objects { written: own_written, read: own_read }, Scope::Objects { written, read }) => {
                written.is_subset(own_written)
                    && read.iter().all(|oid| own_read.contains(oid) || own_written.contains(oid))
            }
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lock.give_up(self.peer, SystemTime::now());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn objects(written: &[u64], read: &[u64]) -> Scope {
        let set = |oids: &[u64]| oids.iter().copied().map(Oid::from_u64).collect();
        Scope::Objects { written: set(written), read: set(read) }
    }

    fn acquire(lock: &Arc<CommitLock>, peer: u64, scope: Scope) -> (Ticket, bool, Arc<Mailbox>) {
        let mailbox = Mailbox::new(Box::new(|| {}));
        let (ticket, is_held) = lock.acquire(PeerId(peer), &mailbox, SystemTime::UNIX_EPOCH, "test", scope);
        (ticket, is_held, mailbox)
    }

    fn is_granted(mailbox: &Mailbox) -> bool {
        matches!(mailbox.take().as_slice(), [Mail::LockGranted])
    }

    #[test]
    fn goes_from_one_to_the_next_in_order() {
        let lock = CommitLock::new("1");
        let (first, is_held, _) = acquire(&lock, 1, Scope::Whole);
        assert!(is_held);
        let (second, is_held, second_mail) = acquire(&lock, 2, Scope::Whole);
        assert!(!is_held);
        let (third, _, third_mail) = acquire(&lock, 3, Scope::Whole);
        let (fourth, _, fourth_mail) = acquire(&lock, 4, Scope::Whole);
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

    #[test]
    fn who_touches_other_objects_goes_on() {
        let lock = CommitLock::new("1");
        let (first, is_held, _) = acquire(&lock, 1, objects(&[1, 2], &[3]));
        assert!(is_held);
        let (_second, is_held, _) = acquire(&lock, 2, objects(&[4], &[3]));
        assert!(is_held, "both want object 3 to stay");
        let (third, is_held, third_mail) = acquire(&lock, 3, objects(&[3], &[]));
        assert!(!is_held, "object 3 is to stay");
        let (_fourth, is_held, fourth_mail) = acquire(&lock, 4, objects(&[5], &[2]));
        assert!(!is_held, "object 2 is being written");
        let (_fifth, is_held, fifth_mail) = acquire(&lock, 5, objects(&[5], &[]));
        assert!(!is_held, "somebody waits for object 5");
        let (_sixth, is_held, _) = acquire(&lock, 6, objects(&[6], &[]));
        assert!(is_held);
        drop(first);
        assert!(is_granted(&fourth_mail) && !is_granted(&third_mail) && !is_granted(&fifth_mail));
        drop(third);
        assert!(!is_granted(&fifth_mail));
    }

    #[test]
    fn who_wants_everything_is_not_overtaken() {
        let lock = CommitLock::new("1");
        let (first, _, _) = acquire(&lock, 1, objects(&[1], &[]));
        let (whole, is_held, whole_mail) = acquire(&lock, 2, Scope::Whole);
        assert!(!is_held);
        let (_third, is_held, third_mail) = acquire(&lock, 3, objects(&[3], &[]));
        assert!(!is_held);
        drop(first);
        assert!(is_granted(&whole_mail) && !is_granted(&third_mail));
        drop(whole);
        assert!(is_granted(&third_mail));
    }

    #[test]
    fn a_resolution_may_not_touch_more_than_the_vote() {
        let lock = CommitLock::new("1");
        let (ticket, _, _) = acquire(&lock, 1, objects(&[1, 2], &[3]));
        assert!(ticket.covers(&objects(&[2], &[1, 3])) && !ticket.covers(&objects(&[3], &[])));
        assert!(!ticket.covers(&objects(&[], &[4])) && !ticket.covers(&Scope::Whole));
    }

    fn scope() -> impl Strategy<Value = Scope> {
        let oids = || prop::collection::vec(0..4_u64, 0..3);
        prop_oneof![
            1 => Just(Scope::Whole),
            6 => (oids(), oids()).prop_map(|(written, read)| objects(&written, &read)),
        ]
    }

    fn collide(one: &Scope, other: &Scope) -> bool {
        match (one, other) {
            (
                Scope::Objects { written, read },
                Scope::Objects { written: other_written, read: other_read },
            ) => {
                !written.is_disjoint(other_written)
                    || !written.is_disjoint(other_read)
                    || !read.is_disjoint(other_written)
            }
            _ => true,
        }
    }

    proptest! {
        /// Nobody holds what another one touches, and nobody waits without a reason.
        #[test]
        fn holders_do_not_collide_and_nobody_waits_in_vain(
            steps in prop::collection::vec((0..8_u64, scope()), 1..60)
        ) {
            let lock = CommitLock::new("1");
            let mut tickets = HashMap::new();
            for (peer, scope) in steps {
                if tickets.remove(&peer).is_none() {
                    tickets.insert(peer, acquire(&lock, peer, scope).0);
                }
                let state = lock.state();
                for (at, one) in state.holders.iter().enumerate() {
                    for other in &state.holders[at + 1..] {
                        prop_assert!(!collide(&one.scope, &other.scope));
                    }
                }
                for (at, waiting) in state.waiting.iter().enumerate() {
                    let holders = state.holders.iter().map(|holder| &holder.scope);
                    let mut before = holders.chain(state.waiting.iter().take(at).map(|other| &other.scope));
                    prop_assert!(before.any(|other| collide(&waiting.scope, other)));
                }
                prop_assert_eq!(state.holders.len() + state.waiting.len(), tickets.len());
            }
            tickets.clear();
            let state = lock.state();
            prop_assert_eq!((state.held.written.len(), state.held.read.len(), state.held.whole_count), (0, 0, 0));
        }
    }
}
