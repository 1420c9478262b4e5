//! One storage as the server offers it: its journal, its commit lock, its counters, and the one thread
//! that commits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use zeo_codec::{Oid, Tid, Value};

use super::commit_lock::{CommitLock, Ticket};
use super::invalidation::InvalidationQueue;
use super::journal::{Commit, Cursor, Journal};
use super::mailbox::{Mail, Mailbox};
use super::status::{Circumstances, Stats, StorageStatus};
use super::{EngineOptions, PeerId};
use crate::storage::{Features, Storage, StorageError, Voted};

/// A storage and everything that its connections share.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) stats: Stats,
    pub(crate) lock: Arc<CommitLock>,
    pub(crate) queue: InvalidationQueue,
    journal: Journal,
    peers: Mutex<HashMap<PeerId, Arc<Mailbox>>>,
    committer: Mutex<Option<Committer>>,
    start: String,
    has_timeout: bool,
}

/// A voted transaction on its way to the disk, with the commit lock.
#[derive(Debug)]
pub(crate) struct FinishJob {
    pub(crate) voted: Box<dyn Voted>,
    pub(crate) tid: Tid,
    pub(crate) oids: Vec<Oid>,
    pub(crate) peer: PeerId,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) ticket: Ticket,
}

#[derive(Debug)]
struct Committer {
    jobs: mpsc::Sender<FinishJob>,
    thread: JoinHandle<()>,
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
        let last_changes = view.last_changes(options.invalidation_queue_size)?;
        let served = Arc::new(Self {
            lock: CommitLock::new(&name),
            queue: InvalidationQueue::new(last_changes, options.invalidation_queue_size),
            journal: Journal::new(view),
            stats: Stats::default(),
            peers: Mutex::default(),
            committer: Mutex::default(),
            has_timeout: options.transaction_timeout.is_some(),
            start,
            name,
            storage,
        });
        served.start_committer()?;
        Ok(served)
    }

    fn start_committer(self: &Arc<Self>) -> Result<(), StorageError> {
        // The queue holds at most one job: only the holder of the commit lock sends any.
        let (jobs, incoming) = mpsc::channel::<FinishJob>();
        let served = Arc::downgrade(self);
        let run = move || {
            for job in incoming {
                match served.upgrade() {
                    Some(served) => served.finish(job),
                    None => break,
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("commit {}", self.name))
            .spawn(run)
            .map_err(|source| StorageError::Io { doing: "starting the commit thread".to_owned(), source })?;
        *self.committer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Committer { jobs, thread });
        Ok(())
    }

    /// Makes a transaction durable, visible and known, in this order (rule S8); then lets go of the lock.
    fn finish(&self, job: FinishJob) {
        match job.voted.finish() {
            Ok(view) => {
                self.stats.commits.add();
                self.queue.push(job.tid, job.oids.clone());
                self.journal.publish(Commit::new(job.tid, job.oids, job.peer, view));
                let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
                // The committer waits for its reply; everybody else is told after it.
                job.mailbox.wake();
                for (peer, mailbox) in &*peers {
                    if *peer != job.peer {
                        mailbox.wake();
                    }
                }
            }
            Err(error) => {
                tracing::error!(target: "ZEO.StorageServer", critical = true, "({}) commit of {} failed: {error}", self.name, job.tid);
                job.mailbox.put(Mail::FinishFailed(error));
            }
        }
        drop(job.ticket);
    }

    /// Hands a transaction to the committer; gives it back if the server is closing.
    pub(crate) fn submit(&self, job: FinishJob) -> Result<(), FinishJob> {
        match &*self.committer.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(committer) => committer.jobs.send(job).map_err(|error| error.0),
            None => Err(job),
        }
    }

    /// Registers a connection: from the returned cursor on it misses nothing (rule S4).
    pub(crate) fn attach(&self, peer: PeerId, mailbox: &Arc<Mailbox>) -> Cursor {
        // Listening first, looking second: a commit in between wakes the connection once too often.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, Arc::clone(mailbox));
        self.stats.connections.add();
        self.journal.cursor()
    }

    /// Forgets a connection.
    pub(crate) fn detach(&self, peer: PeerId) {
        if self.peers.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer).is_some() {
            self.stats.connections.subtract();
        }
    }

    /// How far a connection is behind.
    pub(crate) fn lag(&self, cursor: &Cursor) -> u64 {
        cursor.lag(&self.journal)
    }

    /// The newest state.
    pub(crate) fn view(&self) -> Arc<dyn crate::storage::View> {
        self.journal.view()
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

    /// Commits what was submitted, then closes the storage.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Committer { jobs, thread }) = committer {
            drop(jobs);
            if thread.join().is_err() {
                tracing::error!(target: "ZEO.StorageServer", "the commit thread of {} had panicked", self.name);
            }
        }
        self.storage.close()
    }
}

/// What the engine already offers of what a storage may be able to do. Clients use whatever is announced.
const SUPPORTED: Features = Features {
    undo: false,
    iteration: false,
    restore: false,
    record_iteration: false,
    external_gc: true,
    blobs: false,
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
