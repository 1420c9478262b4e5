//! One storage as the server offers it: its journal, its commit lock, its counters, and how a commit is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use zeo_codec::{Oid, Tid, Value};

use super::broadcast::Broadcast;
use super::clock::{ClockWatch, unix_micros};
use super::commit_lock::{CommitLock, Ticket};
use super::invalidation::InvalidationQueue;
use super::journal::{Commit, Cursor, Lag};
use super::mailbox::Mailbox;
use super::pipeline::{Pipeline, Ready};
use super::relay::Relayed;
use super::status::{Circumstances, Stats, StorageStatus};
use super::{EngineOptions, PeerId};
use crate::limits::Reached;
use crate::storage::tid::next_tid;
use crate::storage::{Features, HistoryShape, Storage, StorageError};

/// A storage and everything that its connections share.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) stats: Stats,
    pub(crate) lock: Arc<CommitLock>,
    pub(crate) queue: InvalidationQueue,
    pub(crate) clock: ClockWatch,
    pub(super) broadcast: Broadcast,
    pub(super) pipeline: Pipeline,
    start: String,
    has_timeout: bool,
    /// Whether packs are to be given up.
    is_stopping: AtomicBool,
    /// What the server behind does, if there is one.
    pub(super) relayed: Relayed,
}

/// A transaction that has been voted on, on its way to the disk, with the commit lock for what it touches. To be run
/// where blocking is allowed, while its connection goes on reading; dropping it aborts the transaction.
#[derive(Debug)]
#[must_use = "the client waits for its commit"]
pub struct CommitJob {
    pub(super) served: Arc<Served>,
    pub(super) ready: Ready,
    pub(super) oids: Vec<Oid>,
    pub(super) peer: PeerId,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) ticket: Ticket,
    /// When its client asked for it, by the driver's clock.
    pub(super) asked: Instant,
}

impl CommitJob {
    /// Makes the transaction durable, visible and known, in this order (rule S8); then lets go of the lock. If other
    /// commits are under way, whoever makes them makes this one, too, and this returns at once; whoever makes this one
    /// goes on with those that have come meanwhile. The committer's own reply is
    /// [`Peer::on_wake`](super::Peer::on_wake)'s business: call it next, and when the bell rings.
    pub fn run(self) {
        let served = Arc::clone(&self.served);
        served.pipeline.commit(self);
    }
}

impl Served {
    /// Offers `storage` under `name`.
    pub(crate) fn start(
        name: String,
        storage: Arc<dyn Storage>,
        options: &EngineOptions,
        start: String,
    ) -> Result<Arc<Self>, StorageError> {
        let view = storage.view();
        let last_changes = view.last_changes(options.queue_limits.commits_min)?;
        let served = Arc::new(Self {
            lock: CommitLock::new(&name),
            queue: InvalidationQueue::new(last_changes, options.queue_limits),
            broadcast: Broadcast::new(view),
            pipeline: Pipeline::default(),
            stats: Stats::default(),
            clock: ClockWatch::default(),
            has_timeout: options.transaction_timeout.is_some(),
            is_stopping: AtomicBool::new(false),
            relayed: Relayed::default(),
            start,
            name,
            storage,
        });
        served.follow()?;
        Ok(served)
    }

    /// Publishes a commit and wakes everybody, or everybody but its committer, who is awake.
    pub(super) fn announce(&self, commit: Commit, is_committer_awake: bool) {
        self.stats.commits.add();
        self.queue.push(commit.tid, commit.oids.clone());
        self.broadcast.publish(commit, is_committer_awake);
    }

    /// Moves everybody on to the view of the packed storage, and so tells them its size. By the holder of the
    /// commit lock. Everybody is woken, or those who do nothing would keep the old file.
    pub(crate) fn announce_packed(&self, view: Arc<dyn crate::storage::View>) {
        self.broadcast.publish_packed(view);
    }

    /// Tells everybody the size of the storage, after a pack that changed nothing.
    pub(crate) fn announce_size(&self) {
        self.broadcast.publish_unchanged();
    }

    /// Has packs given up from now on.
    pub(crate) fn stop_packs(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Registers a connection: from the returned cursor on it misses nothing (rule S4).
    pub(crate) fn attach(&self, peer: PeerId, mailbox: &Arc<Mailbox>) -> Cursor {
        self.stats.connections.add();
        self.broadcast.attach(peer, mailbox)
    }

    /// Forgets a connection.
    pub(crate) fn detach(&self, peer: PeerId) {
        if self.broadcast.detach(peer) {
            self.stats.connections.subtract();
        }
    }

    /// How far a connection is behind.
    pub(crate) fn lag(&self, cursor: &Cursor) -> Lag {
        self.broadcast.lag(cursor)
    }

    /// The tid of a transaction that is to follow the newest one. `now` is the driver's clock, which nobody sets.
    pub(super) fn next_tid(&self, now: Instant) -> Result<Tid, StorageError> {
        let time = SystemTime::now();
        if let Some(jump) = self.clock.look(time, now) {
            tracing::warn!(target: "ZEO.StorageServer", "('{}') {jump}", self.name);
        }
        let wanted = next_tid(unix_micros(time), self.view().last_tid());
        wanted.and_then(|wanted| self.storage.tid_together(wanted, 0)).ok_or(StorageError::TidsExhausted)
    }

    /// The newest state.
    pub(crate) fn view(&self) -> Arc<dyn crate::storage::View> {
        self.broadcast.view()
    }

    /// What is counted here, and how often limits were reached, whoever's.
    pub(crate) fn status(&self, reached: &Reached) -> StorageStatus {
        StorageStatus::new(
            &self.stats,
            reached,
            &Circumstances {
                start: &self.start,
                lock_held_since: self.lock.held_since(),
                waiting_count: self.lock.waiting_count(),
                has_timeout: self.has_timeout,
                last_tid: self.view().last_tid(),
            },
        )
    }

    /// The result of `get_info` (protocol reference 7.1).
    pub(crate) fn info(&self, view: &dyn crate::storage::View) -> Value<'static> {
        let Features { undo, record_iteration, .. } = SUPPORTED;
        let features = self.storage.features();
        let interfaces = self.storage.interfaces().iter().filter(|(_, name)| is_supported(name));
        let interfaces =
            interfaces.map(|(module, name)| Value::Tuple(vec![(*module).into(), (*name).into()]));
        Value::Dict(vec![
            ("length".into(), view.object_count().into()),
            ("size".into(), view.size_bytes().into()),
            ("name".into(), self.storage.name().to_owned().into()),
            ("supportsUndo".into(), (features.undo && undo).into()),
            ("supports_record_iternext".into(), (features.record_iteration && record_iteration).into()),
            ("interfaces".into(), Value::Tuple(interfaces.collect())),
        ])
    }

    /// Closes the storage.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        self.storage.close()
    }
}

/// What the engine already offers of what a storage may be able to do. Clients use whatever is announced.
const SUPPORTED: Features = Features {
    undo: true,
    iteration: true,
    restore: true,
    record_iteration: true,
    external_gc: true,
    blobs: true,
    concurrent_commits: true,
    history: HistoryShape::Merged,
    python_class: "",
};

fn is_supported(interface: &str) -> bool {
    match interface {
        "IStorageUndoable" => SUPPORTED.undo,
        "IStorageIteration" => SUPPORTED.iteration,
        "IStorageRestoreable" => SUPPORTED.restore,
        "IStorageCurrentRecordIteration" => SUPPORTED.record_iteration,
        "IExternalGC" => SUPPORTED.external_gc,
        "IBlobStorage" | "IBlobStorageRestoreable" => SUPPORTED.blobs,
        _ => true,
    }
}

/// Numbers connections.
#[derive(Debug, Default)]
pub(crate) struct PeerIds(AtomicU64);

impl PeerIds {
    pub(crate) fn next(&self) -> PeerId {
        PeerId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
