//! What ZEO means, without sockets: calls in, replies and invalidations out.
//!
//! An [`Engine`] offers storages. Each connection has a [`Peer`], which its driver feeds with messages and
//! wakes when other connections have something for it. A peer writes into its connection's
//! [`ServerSession`]; nobody else does, so the order in which the engine decides is the order on the wire.
//!
//! # How the ordering rules hold
//!
//! * Commits form a journal (see the `journal` module). A peer reads in the view of the last commit that it
//!   has told its client about, and moves on only by telling the next one. So a reply computed in a state
//!   leaves after all invalidations up to it and before all later ones (S1, S2), every peer sees the same
//!   commits in the same order, its own as the reply to its `tpc_finish` (S3), and a registration starts
//!   at the commit whose tid it returned (S4).
//! * A peer looks at the journal before it handles each message: whatever was acknowledged to anybody
//!   before is visible.
//! * A commit is made durable first, then visible, then announced (S8), by a [`CommitJob`] that runs beside
//!   its connection: readers, its own connection's included, take no part in that and wait for none of it.
//! * From vote to finish a transaction has to itself what it touches, or the whole storage if that is what it looks at
//!   (see the `commit_lock` module). It is held through a ticket that gives it up when dropped (S9). Transactions of
//!   different objects are under way beside each other; which comes first is decided when they are finished, one after
//!   the other, in the order of their tids (see the `pipeline` module).
//!
//! ```text
//!   peer A: vote --- ticket for its objects (S9) ---- tpc_finish --> commit job --+
//!   peer B: vote --- ticket for its objects (S9) -- tpc_finish --> commit job ----+--> pipeline: write, one sync (S8)
//!                                                                                          |
//!                          one by one, tids rising, under the lock of registrations (S4)   v
//!   journal:   [T1] --> [T2] --> [T3] ---------------------------------------------------> [T4]
//!                ^        ^        ^                                                        |
//!             peer C    peer B   peer A    each reads where its cursor stands (S1, S2) <----+  bells: go and look (S6)
//!                                          and goes on by telling the next one (S3); the tickets are dropped
//! ```
//!
//! That this holds in whatever order the threads run is tried by the models of the broadcast, the commit lock and the
//! pipeline (see the `models` module, which is there in tests only), on real connections by `tests/ordering.rs`, and by
//! `zeo-stress` from outside.
//!
//! This module compiles without tokio; deadlines and wake-ups are the driver's, and so is the clock behind them. The
//! time of day is read where a tid is made and where a lock is taken.

mod broadcast;
mod by_value;
mod clock;
mod commit_lock;
mod error;
mod extension;
mod history;
mod invalidation;
mod iterators;
mod job;
mod journal;
mod load;
mod mailbox;
#[cfg(test)]
mod models;
mod pack;
mod past;
mod peer;
mod pipeline;
mod printable;
mod python;
mod python2;
mod relay;
mod served;
mod status;
mod sync;
#[cfg(test)]
mod testing;
mod transaction;
mod undo_filter;
mod undo_id;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use served::{PeerIds, Served};

pub use invalidation::QueueLimits;
pub use job::{AskJob, Job, SyncJob};
pub use pack::PackJob;
pub use peer::{Closing, Flow, Peer};
pub use served::CommitJob;

use mailbox::Mailbox;

use crate::auth::Scheme;
use crate::limits::{LimitOptions, Reached};
use crate::storage::{Storage, StorageError};

#[expect(unused_imports, reason = "linked from the documentation")]
use zeo_codec::session::ServerSession;

/// A connection's number, unique while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerId(pub(crate) u64);

impl PeerId {
    /// No connection.
    pub(crate) const NOBODY: Self = Self(0);
}

/// What an operator can set, by Python's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// `read-only`: every client may only read.
    pub read_only: bool,
    /// `invalidation-queue-size`: how many commits are kept for clients that come back.
    pub queue_limits: QueueLimits,
    /// `invalidation-age`: a client that was away for less is told what changed from the storage itself, if
    /// the queue does not reach back far enough. Default: never.
    pub invalidation_age: Option<Duration>,
    /// `transaction-timeout`: how long a client may hold the commit lock. Default: for ever.
    pub transaction_timeout: Option<Duration>,
    /// Greatest sum of the data of one transaction, in bytes. It is held in memory until the commit.
    pub transaction_bytes: u64,
    /// Greatest size of an answer that lists what a storage has kept (`undoLog`, `undoInfo`, `history`), in bytes,
    /// roughly as it lies in memory; beyond it the call fails.
    pub answer_bytes: usize,
    /// How many commits a client may leave unread before it is disconnected.
    pub unread_commit_count: u64,
    /// How many objects there may be in these commits, counted as often as they occur; a single commit may have more.
    pub unread_oid_count: u64,
    /// How many changes of objects are looked for in the storage for a client that was away for less than
    /// `invalidation_age`; one that has missed more has to drop its cache.
    pub missed_oid_count: usize,
    /// How many long questions of one connection may be under way; the next one waits.
    pub question_count: usize,
    /// How many blobs one connection is sent at the same time, each with a file open; the next one waits.
    pub download_count: usize,
    /// How many iterators one connection may have open.
    pub iterator_count: usize,
    /// Greatest sum of the blobs of one transaction, in bytes. They are on the disk until the commit.
    pub transaction_blob_bytes: u64,
}

impl EngineOptions {
    /// These limits, and the defaults otherwise.
    #[must_use]
    pub fn with_limits(limits: &LimitOptions) -> Self {
        Self {
            read_only: false,
            queue_limits: QueueLimits::DEFAULT,
            invalidation_age: None,
            transaction_timeout: None,
            transaction_bytes: limits.transaction_bytes,
            answer_bytes: limits.answer_bytes,
            unread_commit_count: limits.unread_commit_count,
            unread_oid_count: limits.unread_oid_count,
            missed_oid_count: limits.missed_oid_count,
            question_count: limits.question_count,
            download_count: limits.download_count,
            iterator_count: limits.iterator_count,
            transaction_blob_bytes: limits.transaction_blob_bytes,
        }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self::with_limits(&LimitOptions::default())
    }
}

/// The storages of a server.
#[derive(Debug)]
pub struct Engine {
    storages: BTreeMap<String, Arc<Served>>,
    options: EngineOptions,
    peer_ids: PeerIds,
    /// How clients of ZEO 4 show who they are; without it nobody has to.
    scheme: Option<Arc<dyn Scheme>>,
    /// How often limits were reached.
    reached: Reached,
}

impl Engine {
    /// Offers storages under their names. `started` is the time of the start as C's `ctime` prints it,
    /// without the newline.
    ///
    /// # Errors
    /// What a storage says when its last transactions are read.
    pub fn new(
        storages: impl IntoIterator<Item = (String, Arc<dyn Storage>)>,
        options: EngineOptions,
        started: &str,
    ) -> Result<Arc<Self>, StorageError> {
        Self::with_authentication(storages, options, started, None)
    }

    /// [`new`](Self::new), where a client has to show who it is before it registers, if there is a scheme.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_authentication(
        storages: impl IntoIterator<Item = (String, Arc<dyn Storage>)>,
        options: EngineOptions,
        started: &str,
        scheme: Option<Arc<dyn Scheme>>,
    ) -> Result<Arc<Self>, StorageError> {
        let storages = storages
            .into_iter()
            .map(|(name, storage)| {
                let served = Served::start(name.clone(), storage, &options, started.to_owned())?;
                Ok((name, served))
            })
            .collect::<Result<_, StorageError>>()?;
        Ok(Arc::new(Self {
            storages,
            options,
            peer_ids: PeerIds::default(),
            scheme,
            reached: Reached::default(),
        }))
    }

    /// Begins a connection. `wake` is called from any thread when [`Peer::on_wake`] should be; `label`
    /// names the client in the log.
    #[must_use]
    pub fn connect(self: &Arc<Self>, label: String, wake: Box<dyn Fn() + Send + Sync>) -> Peer {
        Peer::new(Arc::clone(self), self.peer_ids.next(), label, Mailbox::new(wake))
    }

    /// How often limits were reached, those of connections included.
    #[must_use]
    pub const fn reached(&self) -> &Reached {
        &self.reached
    }

    /// The answer to `ruok`: JSON with the status of each storage.
    #[must_use]
    pub fn ruok(&self) -> String {
        let all = self.storages.iter().map(|(name, served)| (name.clone(), served.status(&self.reached)));
        status::ruok_json(&all.collect())
    }

    /// What the monitor of ZEO 4 tells of each storage, in the order of their names (protocol reference 13).
    #[must_use]
    pub fn monitor_report(&self) -> String {
        let storage =
            |(name, served): (&String, &Arc<Served>)| served.status(&self.reached).monitor_lines(name);
        self.storages.iter().map(storage).collect()
    }

    /// Lets every storage write what speeds up the next start. Blocks; commits and readers go on meanwhile.
    pub fn checkpoint(&self) {
        for (name, served) in &self.storages {
            if let Err(error) = served.storage.checkpoint() {
                tracing::warn!(target: "ZEO.StorageServer", "storage '{name}': {error}");
            }
        }
    }

    /// Has packs that are under way given up, and later ones refused: the server is about to stop. Does not wait.
    pub fn stop_packs(&self) {
        self.storages.values().for_each(|served| served.stop_packs());
    }

    /// Closes all storages. Connections must be gone, and their commits made.
    ///
    /// # Errors
    /// The first storage's error; the others are closed nevertheless.
    pub fn close(&self) -> Result<(), StorageError> {
        let results: Vec<_> = self.storages.values().map(|served| served.close()).collect();
        results.into_iter().collect()
    }
}
