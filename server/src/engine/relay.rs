//! A storage that is another server's: its changes become those of this server.
//!
//! What the other server announces, and one's own commits at their place among that, are taken from the storage one by
//! one and published under one lock, by whoever comes first: a thread that waits for them, or the commit job that knows
//! that its own is there. So every client hears of everything in the order of the other server (rule S3), and the
//! committer has its reply as soon as its commit is known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::PeerId;
use super::journal::Commit;
use super::served::Served;
use crate::storage::StorageError;
use crate::storage::remote::{Changed, RemoteVoted};

/// What is under way with the server behind.
#[derive(Debug, Default)]
pub(crate) struct Relayed {
    /// Held by who takes changes and publishes them.
    order: Mutex<()>,
    /// Whose commit is under way; nobody's as [`PeerId::NOBODY`].
    committer: AtomicU64,
}

impl Served {
    /// Starts to follow the server behind, if there is one.
    pub(super) fn follow(self: &Arc<Self>) -> Result<(), StorageError> {
        if self.storage.remote().is_none() {
            return Ok(());
        }
        let (storage, served) = (Arc::clone(&self.storage), Arc::downgrade(self));
        let follow = move || {
            while storage.remote().is_some_and(|remote| remote.wait_for_change()) {
                let Some(served) = served.upgrade() else { return };
                served.take_changes();
            }
        };
        let thread = std::thread::Builder::new().name("follow".into()).spawn(follow);
        thread.map(drop).map_err(|source| StorageError::Io { doing: "start a thread".into(), source })
    }

    /// Publishes all changes that nobody has taken yet.
    fn take_changes(&self) {
        let Some(remote) = self.storage.remote() else { return };
        let _ordered = self.relayed.order.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(change) = remote.take_change() {
            match change.what {
                Changed::Objects { oids, is_own } => {
                    let committer = match is_own {
                        true => self.relayed.committer.swap(PeerId::NOBODY.0, Ordering::AcqRel),
                        false => PeerId::NOBODY.0,
                    };
                    self.announce(Commit::new(change.tid, oids, PeerId(committer), change.view), false);
                }
                // Python's server does so, too: its clients are to look again at everything in their memory, as they do
                // when they come back (ClientStorage.py:notify_connected, ZEO 6.2). Who has missed nothing keeps its cache.
                Changed::Connection => {
                    tracing::info!(target: "ZEO.StorageServer", "storage '{}': the server behind is back", self.name);
                    self.broadcast.publish_unknown(change.view);
                }
                Changed::Unknown => {
                    let name = &self.name;
                    tracing::warn!(target: "ZEO.StorageServer", "storage '{name}': what has changed on the server behind is not known; its clients have to come back");
                    self.queue.restart(change.tid);
                    self.broadcast.publish_unknown(change.view);
                }
            }
        }
    }

    /// Commits a transaction of the server behind, and publishes it. The committer is told by what is published.
    pub(super) fn finish_remotely(
        &self,
        voted: Box<dyn RemoteVoted>,
        peer: PeerId,
    ) -> Result<(), StorageError> {
        self.relayed.committer.store(peer.0, Ordering::Release);
        let finished = voted.finish();
        self.take_changes();
        if finished.is_err() {
            self.relayed.committer.store(PeerId::NOBODY.0, Ordering::Release);
        }
        finished.map(drop)
    }
}
