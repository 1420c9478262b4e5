//! What clients write down: everything that they asked for and everything that came, in the order of arrival.

use std::collections::BTreeMap;

use zeo_codec::{Oid, Tid};

/// What an object holds, unique among all stores of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value(pub u64);

/// One change that a transaction asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Store a value over the revision `read`, `z64` for a new object.
    Write {
        /// The object.
        oid: Oid,
        /// The revision that was read.
        read: Tid,
        /// What is stored.
        value: Value,
    },
    /// Delete the object, whose current revision is `read`.
    Delete {
        /// The object.
        oid: Oid,
        /// The revision that was read.
        read: Tid,
    },
    /// The transaction must fail unless `read` is still current.
    Check {
        /// The object.
        oid: Oid,
        /// The revision that was read.
        read: Tid,
    },
    /// Undo a transaction.
    Undo {
        /// Which.
        tid: Tid,
    },
}

/// A transaction that was voted for successfully, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// In the order in which they were sent. A later write of an object replaces an earlier one.
    pub ops: Vec<Op>,
    /// The tid, once the client knows that it was committed.
    pub tid: Option<Tid>,
}

/// The answer to `loadBefore`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// A revision.
    Revision {
        /// Its value.
        value: Value,
        /// Who wrote it.
        serial: Tid,
        /// Who wrote the next one; `None` says that it is current.
        end: Option<Tid>,
    },
    /// The object had no revision so early.
    OnlyLater,
    /// There is no such object, or not then.
    NoSuchObject,
}

/// Something in the stream of a connection, in the order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `register` was answered with this tid.
    Registered(Tid),
    /// `getInvalidations(since)` was answered; without `oids` the server could not tell.
    CaughtUp {
        /// What the client knew.
        since: Tid,
        /// Up to where the answer goes.
        until: Tid,
        /// What changed.
        oids: Option<Vec<Oid>>,
    },
    /// `invalidateTransaction`.
    Invalidated(Tid, Vec<Oid>),
    /// The reply to the own `tpc_finish`.
    Committed(Tid),
    /// The reply to `loadBefore(oid, before)`.
    Loaded {
        /// The object.
        oid: Oid,
        /// The bound.
        before: Tid,
        /// What came.
        loaded: Loaded,
    },
    /// The reply to `lastTransaction`.
    LastTransaction(Tid),
}

/// All that one client has to tell.
#[derive(Debug, Default)]
pub struct Record {
    /// The events of each of its connections.
    pub connections: Vec<Vec<Event>>,
    /// Its transactions that were voted for.
    pub attempts: Vec<Attempt>,
    /// Number of transactions refused: conflicts, failed checks, undos that were too late.
    pub refused_count: u64,
    /// Number of connections that it broke off in the middle of a transaction.
    pub broken_off_count: u64,
}

/// Where the objects of a run are: first the shared ones, then two for each client, which have numbers from 1 on. All
/// are referenced by the root, so that no pack takes them.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Number of clients.
    pub client_count: u64,
    /// Number of objects that all clients fight for.
    pub shared_count: u64,
}

impl Layout {
    /// An object that everybody changes.
    #[must_use]
    pub fn shared(&self, number: u64) -> Oid {
        Oid::from_u64(1 + number % self.shared_count)
    }

    /// The client's own journal: a part of each of its transactions, and of nobody else's, so that it can find
    /// out what became of a commit whose reply was lost.
    #[must_use]
    pub fn journal(&self, client: u64) -> Oid {
        Oid::from_u64(self.shared_count + 2 * client - 1)
    }

    /// An object that only this client deletes and creates again.
    #[must_use]
    pub fn spare(&self, client: u64) -> Oid {
        Oid::from_u64(self.shared_count + 2 * client)
    }

    /// All objects but the root.
    pub fn oids(&self) -> impl Iterator<Item = Oid> + use<> {
        (1..=self.shared_count + 2 * self.client_count).map(Oid::from_u64)
    }
}

/// The newest serials that a client knows of.
pub type Serials = BTreeMap<Oid, Tid>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_one_place() {
        let layout = Layout { client_count: 3, shared_count: 5 };
        let shared = (0..5).map(|number| layout.shared(number));
        let own = (1..=3).flat_map(|client| [layout.journal(client), layout.spare(client)]);
        assert_eq!(shared.chain(own).collect::<Vec<_>>(), layout.oids().collect::<Vec<_>>());
    }
}
