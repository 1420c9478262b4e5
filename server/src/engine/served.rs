//! One storage as the server offers it: its journal, its commit lock, its counters, and how a commit is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use zeo_codec::{Oid, Tid, Value};

use super::broadcast::Broadcast;
use super::commit_lock::{CommitLock, Ticket};
use super::invalidation::InvalidationQueue;
use super::journal::{Commit, Cursor};
use super::mailbox::{Mail, Mailbox};
use super::status::{Circumstances, Stats, StorageStatus};
use super::{EngineOptions, PeerId};
use crate::storage::{Features, HistoryShape, Storage, StorageError, Voted};

/// A storage and everything that its connections share.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) stats: Stats,
    pub(crate) lock: Arc<CommitLock>,
    pub(crate) queue: InvalidationQueue,
    broadcast: Broadcast,
    start: String,
    has_timeout: bool,
    /// Whether packs are to be given up.
    is_stopping: AtomicBool,
}

/// A voted transaction on its way to the disk, with the commit lock. To be run where blocking is allowed, while
/// its connection goes on reading; dropping it aborts the transaction.
#[derive(Debug)]
#[must_use = "the client waits for its commit"]
pub struct CommitJob {
    pub(super) served: Arc<Served>,
    pub(super) voted: Box<dyn Voted>,
    pub(super) tid: Tid,
    pub(super) oids: Vec<Oid>,
    pub(super) peer: PeerId,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) ticket: Ticket,
}

impl CommitJob {
    /// Makes the transaction durable, visible and known, in this order (rule S8); then lets go of the lock. The
    /// committer's own reply is [`Peer::on_wake`](super::Peer::on_wake)'s business: call it next.
    pub fn run(self) {
        let Self { served, voted, tid, oids, peer, mailbox, ticket } = self;
        match voted.finish() {
            Ok(view) => served.announce(Commit::new(tid, oids, peer, view)),
            Err(error) => {
                let name = &served.name;
                tracing::error!(target: "ZEO.StorageServer", critical = true, "({name}) commit of {tid} failed: {error}");
                mailbox.put(Mail::FinishFailed(error));
            }
        }
        // Held until here: only its holder may publish.
        drop(ticket);
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
        Ok(Arc::new(Self {
            lock: CommitLock::new(&name),
            queue: InvalidationQueue::new(last_changes, options.queue_limits),
            broadcast: Broadcast::new(view),
            stats: Stats::default(),
            has_timeout: options.transaction_timeout.is_some(),
            is_stopping: AtomicBool::new(false),
            start,
            name,
            storage,
        }))
    }

    /// Publishes a commit and wakes everybody but its committer.
    fn announce(&self, commit: Commit) {
        self.stats.commits.add();
        self.queue.push(commit.tid, commit.oids.clone());
        self.broadcast.publish(commit);
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
    pub(crate) fn lag(&self, cursor: &Cursor) -> u64 {
        self.broadcast.lag(cursor)
    }

    /// The newest state.
    pub(crate) fn view(&self) -> Arc<dyn crate::storage::View> {
        self.broadcast.view()
    }

    pub(crate) fn status(&self) -> StorageStatus {
        StorageStatus::new(
            &self.stats,
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
