//! The commit lock of a storage: from its vote to the end of its transaction each client has to itself what it touches.
//!
//! What a transaction touches is its [`Scope`]: mostly some objects, those that it only checks included, so that
//! transactions of different objects go on beside each other; what looks at the whole storage has it whole. Who cannot
//! have its scope yet waits, first in, first out: nobody overtakes somebody who wants the same.
//!
//! Whoever asks is a node of a graph: it waits for everybody before it who wants the same, holder or not, and has its
//! scope when all of them are gone. Nobody ever waits for one who came later, so that there is no circle. What a node
//! waits for is looked up by object when it comes; to go costs what it touches, and one step for each who waits for it.
//!
//! A [`Ticket`] stands for a node. Dropping it, on whatever path, takes the node out: this is how rule S9 holds on every
//! way a connection can end. What becomes free is handed straight to the next in line.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use zeo_codec::Oid;

use super::Mailbox;
use crate::engine::mailbox::Mail;
use crate::engine::sync::{Mutex, MutexGuard};

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

/// The number of a node, in the order in which they came.
type Number = u64;

#[derive(Debug, Default)]
struct State {
    next_number: Number,
    nodes: BTreeMap<Number, Node>,
    /// Those that want everything.
    wholes: BTreeSet<Number>,
    /// Those that want an object.
    by_object: HashMap<Oid, Vec<Claim>>,
    waiting_count: usize,
    /// Places that nodes have left, of all that there have been.
    free_places: Vec<usize>,
    place_count: usize,
}

/// A node that wants an object.
#[derive(Debug, Clone, Copy)]
struct Claim {
    number: Number,
    /// A small number, which no other node has now: a node that is met by thousands of objects is to count once, cheaply.
    place: usize,
    writes: bool,
}

/// Somebody who holds the lock, or waits for it.
#[derive(Debug)]
struct Node {
    /// What the client is called in the log.
    label: String,
    scope: Scope,
    place: usize,
    /// Where it is told that it need not wait any longer.
    mailbox: Arc<Mailbox>,
    /// How many before it want the same.
    blocker_count: usize,
    /// Those behind it that want the same. Some may be gone.
    dependents: Vec<Number>,
    /// When it got its scope.
    held_since: Option<SystemTime>,
}

/// A place at or before the lock.
#[derive(Debug)]
#[must_use = "dropping the ticket gives up the lock"]
pub(crate) struct Ticket {
    lock: Arc<CommitLock>,
    number: Number,
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
        mailbox: &Arc<Mailbox>,
        now: SystemTime,
        label: &str,
        scope: Scope,
    ) -> (Ticket, bool) {
        let mut state = self.state();
        let number = state.next_number;
        state.next_number += 1;
        let blockers = state.others(&scope, number);
        let is_held = blockers.is_empty();
        for blocker in &blockers {
            if let Some(node) = state.nodes.get_mut(blocker) {
                node.dependents.push(number);
            }
        }
        let place = state.free_places.pop().unwrap_or(state.place_count);
        state.place_count = state.place_count.max(place + 1);
        state.claim(number, place, &scope);
        let node = Node {
            label: label.to_owned(),
            scope,
            place,
            mailbox: Arc::clone(mailbox),
            blocker_count: blockers.len(),
            dependents: Vec::new(),
            held_since: is_held.then_some(now),
        };
        state.nodes.insert(number, node);
        state.waiting_count += usize::from(!is_held);
        let waiting_count = state.waiting_count;
        drop(state);
        self.log_waiting(label, if is_held { "lock" } else { "queue lock" }, waiting_count);
        (Ticket { lock: Arc::clone(self), number }, is_held)
    }

    /// When the one who has held it for the longest time got it.
    pub(crate) fn held_since(&self) -> Option<SystemTime> {
        self.state().nodes.values().filter_map(|node| node.held_since).min()
    }

    /// Number of connections in the queue.
    pub(crate) fn waiting_count(&self) -> usize {
        self.state().waiting_count
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

    fn give_up(&self, number: Number, now: SystemTime) {
        let mut state = self.state();
        let Some(gone) = state.nodes.remove(&number) else { return };
        state.unclaim(number, &gone.scope);
        state.free_places.push(gone.place);
        let what = if gone.held_since.is_some() { "unlock" } else { "dequeue lock" };
        state.waiting_count -= usize::from(gone.held_since.is_none());
        // As if whoever is next came a moment later.
        let waiting_then = state.waiting_count;
        let granted = state.free(&gone.dependents, now);
        let waiting_count = state.waiting_count;
        drop(state);
        self.log_waiting(&gone.label, what, waiting_then);
        for (label, mailbox) in granted {
            self.log_waiting(&label, "lock", waiting_count);
            mailbox.put(Mail::LockGranted);
        }
    }
}

impl State {
    /// Everybody else who touches what this scope excludes, or excludes what it touches.
    fn others(&self, scope: &Scope, own: Number) -> Vec<Number> {
        let (written, read) = match scope {
            Scope::Whole => return self.nodes.keys().copied().filter(|number| *number != own).collect(),
            Scope::Objects { written, read } => (written, read),
        };
        let writing = written.iter().filter_map(|oid| self.by_object.get(oid)).flatten();
        let reading = read.iter().filter_map(|oid| self.by_object.get(oid)).flatten();
        let reading = reading.filter(|claim| claim.writes);
        let mut seen = vec![false; self.place_count];
        let mut others: Vec<Number> = self.wholes.iter().copied().filter(|number| *number != own).collect();
        for claim in writing.chain(reading) {
            if let Some(seen) = seen.get_mut(claim.place)
                && !std::mem::replace(seen, true)
                && claim.number != own
            {
                others.push(claim.number);
            }
        }
        others
    }

    /// Notes what a node wants.
    fn claim(&mut self, number: Number, place: usize, scope: &Scope) {
        match scope {
            Scope::Whole => {
                self.wholes.insert(number);
            }
            Scope::Objects { written, read } => {
                let claims = written.iter().map(|oid| (oid, true)).chain(read.iter().map(|oid| (oid, false)));
                for (oid, writes) in claims {
                    self.by_object.entry(*oid).or_default().push(Claim { number, place, writes });
                }
            }
        }
    }

    fn unclaim(&mut self, number: Number, scope: &Scope) {
        match scope {
            Scope::Whole => {
                self.wholes.remove(&number);
            }
            Scope::Objects { written, read } => {
                for oid in written.iter().chain(read) {
                    if let Some(claims) = self.by_object.get_mut(oid) {
                        claims.retain(|claim| claim.number != number);
                        if claims.is_empty() {
                            self.by_object.remove(oid);
                        }
                    }
                }
            }
        }
    }

    /// One that these waited for is gone. Those that wait for nobody else now have the lock.
    fn free(&mut self, dependents: &[Number], now: SystemTime) -> Vec<(String, Arc<Mailbox>)> {
        let mut granted = Vec::new();
        for dependent in dependents {
            let Some(node) = self.nodes.get_mut(dependent) else { continue };
            node.blocker_count -= 1;
            if node.blocker_count == 0 {
                node.held_since = Some(now);
                self.waiting_count -= 1;
                granted.push((node.label.clone(), Arc::clone(&node.mailbox)));
            }
        }
        granted
    }
}

impl Ticket {
    /// Whether this is a holder's ticket now.
    pub(crate) fn is_holder(&self) -> bool {
        self.lock.state().nodes.get(&self.number).is_some_and(|node| node.held_since.is_some())
    }

    /// Whether it is a holder's, and for everything.
    pub(crate) fn has_whole(&self) -> bool {
        let state = self.lock.state();
        state
            .nodes
            .get(&self.number)
            .is_some_and(|node| node.held_since.is_some() && node.scope == Scope::Whole)
    }

    /// Has a holder hold `scope`, too. `false` if somebody else has or wants what of it is new: then nothing changes.
    pub(crate) fn widen(&self, scope: &Scope) -> bool {
        let mut state = self.lock.state();
        let Some(node) = state.nodes.get(&self.number).filter(|node| node.held_since.is_some()) else {
            return false;
        };
        let new = match (&node.scope, scope) {
            (Scope::Whole, _) => return true,
            (Scope::Objects { .. }, Scope::Whole) => Scope::Whole,
            (Scope::Objects { written: own_written, read: own_read }, Scope::Objects { written, read }) => {
                Scope::Objects {
                    written: written.difference(own_written).copied().collect(),
                    read: read
                        .iter()
                        .filter(|oid| !own_read.contains(oid) && !own_written.contains(oid))
                        .copied()
                        .collect(),
                }
            }
        };
        if matches!(&new, Scope::Objects { written, read } if written.is_empty() && read.is_empty()) {
            return true;
        }
        // Nobody may come to wait for one who came later.
        if !state.others(&new, self.number).is_empty() {
            return false;
        }
        let Some(node) = state.nodes.get_mut(&self.number) else { return false };
        let old = std::mem::replace(&mut node.scope, Scope::Whole);
        let merged = match (&old, new) {
            (Scope::Objects { written, read }, Scope::Objects { written: more, read: more_read }) => {
                Scope::Objects { written: written | &more, read: read | &more_read }
            }
            (_, new) => new,
        };
        node.scope = merged.clone();
        let place = node.place;
        state.unclaim(self.number, &old);
        state.claim(self.number, place, &merged);
        true
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lock.give_up(self.number, SystemTime::now());
    }
}

#[cfg(test)]
mod models;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn objects(written: &[u64], read: &[u64]) -> Scope {
        let set = |oids: &[u64]| oids.iter().copied().map(Oid::from_u64).collect();
        Scope::Objects { written: set(written), read: set(read) }
    }

    fn acquire(lock: &Arc<CommitLock>, scope: Scope) -> (Ticket, bool, Arc<Mailbox>) {
        let mailbox = Mailbox::new(Box::new(|| {}));
        let (ticket, is_held) = lock.acquire(&mailbox, SystemTime::UNIX_EPOCH, "test", scope);
        (ticket, is_held, mailbox)
    }

    fn is_granted(mailbox: &Mailbox) -> bool {
        matches!(mailbox.take().as_slice(), [Mail::LockGranted])
    }

    #[test]
    fn goes_from_one_to_the_next_in_order() {
        let lock = CommitLock::new("1");
        let (first, is_held, _) = acquire(&lock, Scope::Whole);
        assert!(is_held);
        let (second, is_held, second_mail) = acquire(&lock, Scope::Whole);
        assert!(!is_held);
        let (third, _, third_mail) = acquire(&lock, Scope::Whole);
        let (fourth, _, fourth_mail) = acquire(&lock, Scope::Whole);
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
        let (first, is_held, _) = acquire(&lock, objects(&[1, 2], &[3]));
        assert!(is_held);
        let (_second, is_held, _) = acquire(&lock, objects(&[4], &[3]));
        assert!(is_held, "both want object 3 to stay");
        let (third, is_held, third_mail) = acquire(&lock, objects(&[3], &[]));
        assert!(!is_held, "object 3 is to stay");
        let (_fourth, is_held, fourth_mail) = acquire(&lock, objects(&[5], &[2]));
        assert!(!is_held, "object 2 is being written");
        let (_fifth, is_held, fifth_mail) = acquire(&lock, objects(&[5], &[]));
        assert!(!is_held, "somebody waits for object 5");
        let (_sixth, is_held, _) = acquire(&lock, objects(&[6], &[]));
        assert!(is_held);
        drop(first);
        assert!(is_granted(&fourth_mail) && !is_granted(&third_mail) && !is_granted(&fifth_mail));
        drop(third);
        assert!(!is_granted(&fifth_mail));
    }

    #[test]
    fn who_wants_everything_is_not_overtaken() {
        let lock = CommitLock::new("1");
        let (first, _, _) = acquire(&lock, objects(&[1], &[]));
        let (whole, is_held, whole_mail) = acquire(&lock, Scope::Whole);
        assert!(!is_held);
        let (_third, is_held, third_mail) = acquire(&lock, objects(&[3], &[]));
        assert!(!is_held);
        drop(first);
        assert!(is_granted(&whole_mail) && !is_granted(&third_mail));
        drop(whole);
        assert!(is_granted(&third_mail));
    }

    #[test]
    fn a_resolution_may_touch_more_if_nobody_else_wants_it() {
        let lock = CommitLock::new("1");
        let (ticket, _, _) = acquire(&lock, objects(&[1, 2], &[3]));
        assert!(ticket.widen(&objects(&[2], &[1, 3])));
        let (other, is_held, _) = acquire(&lock, objects(&[5], &[6]));
        let (_waiting, waits, _) = acquire(&lock, objects(&[2, 7], &[]));
        assert!(is_held && !waits);
        // Held by another one, or waited for.
        assert!(!ticket.widen(&objects(&[1, 6], &[])) && !ticket.widen(&objects(&[7], &[])));
        assert!(!ticket.widen(&Scope::Whole));
        // Another one may read it, too, and new objects are everybody's.
        assert!(ticket.widen(&objects(&[3, 8], &[6])));
        let (_late, is_held, late_mail) = acquire(&lock, objects(&[8], &[]));
        assert!(!is_held);
        drop(other);
        assert!(!is_granted(&late_mail));
        drop(ticket);
        assert!(is_granted(&late_mail));
    }

    fn scope() -> impl Strategy<Value = Scope> {
        let oids = || prop::collection::vec(0..4_u64, 0..3);
        prop_oneof![
            1 => Just(Scope::Whole),
            6 => (oids(), oids()).prop_map(|(written, read)| objects(&written, &read)),
        ]
    }

    pub(super) fn collide(one: &Scope, other: &Scope) -> bool {
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

    /// Whoever holds or waits, in the order in which they came, and whether they hold.
    fn queue(state: &State) -> Vec<(&Scope, bool)> {
        state.nodes.values().map(|node| (&node.scope, node.held_since.is_some())).collect()
    }

    proptest! {
        /// Nobody holds what another one touches, and nobody waits without a reason.
        #[test]
        fn holders_do_not_collide_and_nobody_waits_in_vain(
            steps in prop::collection::vec((0..8_u64, scope(), any::<bool>()), 1..60)
        ) {
            let lock = CommitLock::new("1");
            let mut tickets: HashMap<u64, Ticket> = HashMap::new();
            for (peer, scope, widens) in steps {
                match tickets.remove(&peer) {
                    Some(ticket) if widens => {
                        ticket.widen(&scope);
                        tickets.insert(peer, ticket);
                    }
                    Some(ticket) => drop(ticket),
                    None => {
                        tickets.insert(peer, acquire(&lock, scope).0);
                    }
                }
                let state = lock.state();
                let queue = queue(&state);
                for (at, (one, is_held)) in queue.iter().enumerate() {
                    let mut before = queue.iter().take(at);
                    if *is_held {
                        let mut others = queue.iter().take(at).chain(queue.iter().skip(at + 1));
                        prop_assert!(!others.any(|(other, is_held)| *is_held && collide(one, other)));
                    }
                    prop_assert_eq!(*is_held, !before.any(|(other, _)| collide(one, other)));
                }
                let waiting_count = queue.iter().filter(|(_, is_held)| !is_held).count();
                prop_assert_eq!((state.waiting_count, queue.len()), (waiting_count, tickets.len()));
            }
            tickets.clear();
            let state = lock.state();
            prop_assert_eq!((state.by_object.len(), state.wholes.len(), state.waiting_count), (0, 0, 0));
        }
    }
}
