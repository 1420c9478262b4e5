//! The way from `tpc_finish` to the disk: commits in the order of their tids, several with one sync.
//!
//! Transactions of different objects are voted on beside each other; what comes first is decided here. Whoever finds
//! nobody at work makes its own commit, and then those that have come meanwhile, together: they are written one behind
//! the other, made durable by one sync, and then announced one by one. Nobody waits for a turn: the others have left
//! their commits in the queue, and learn from the announcement what became of them.
//!
//! ```text
//!   client A   vote --- tpc_finish --> [A: write, sync, announce] [B and C: write, sync, announce B, announce C]
//!   client B      vote ------ tpc_finish --> queue                ^
//!   client C   vote ---------------- tpc_finish --> queue         |     B and C go on reading meanwhile
//! ```

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use zeo_codec::{Oid, Tid};

use super::PeerId;
use super::commit_lock::Ticket;
use super::journal::Commit;
use super::mailbox::{Mail, Mailbox};
use super::served::{CommitJob, Served};
use super::sync::{Mutex, MutexGuard};
use crate::storage::remote::RemoteVoted;
use crate::storage::{
    NewTransaction, Reservation, StorageError, TOGETHER_LEN_MAX, TOGETHER_MAX, View, Voted,
};

/// A transaction that the storage will not refuse any more.
#[derive(Debug)]
pub(super) enum Ready {
    /// It has the storage to itself, and its place in it.
    Placed { voted: Box<dyn Voted>, tid: Tid },
    /// It has room, and the objects that it touches. Tid and place are still to be decided.
    Promised { transaction: Box<NewTransaction>, room: Reservation },
    /// The server behind this one will commit it, and decides the tid.
    Behind(Box<dyn RemoteVoted>),
}

/// Who makes commits, and which ones wait.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_busy: bool,
    waiting: VecDeque<CommitJob>,
}

impl Pipeline {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under this lock can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `job`, and all that come meanwhile; or leaves it to the one who is at work.
    pub(super) fn commit(&self, job: CommitJob) {
        let mut state = self.state();
        if state.is_busy {
            state.waiting.push_back(job);
            return;
        }
        state.is_busy = true;
        drop(state);
        let own = Arc::clone(&job.mailbox);
        // Whatever happens, the others must not wait for ever.
        let made = catch_unwind(AssertUnwindSafe(|| make(vec![job], true)));
        let mut next = self.next();
        if !next.is_empty() {
            // Its client is not to wait for those of others.
            own.wake();
        }
        while !next.is_empty() {
            // Those whom a panic leaves without an answer have been told so by `Committer`.
            let _ = catch_unwind(AssertUnwindSafe(|| make(next, false)));
            next = self.next();
        }
        if let Err(panic) = made {
            resume_unwind(panic);
        }
    }

    /// The next ones in the queue, which can be made together; if there is none, nobody is at work from now on.
    fn next(&self) -> Vec<CommitJob> {
        let mut state = self.state();
        let mut jobs = Vec::new();
        let mut len = 0_u64;
        while let Some(job) = state.waiting.front() {
            let room_len = match &job.ready {
                Ready::Promised { room, .. } => Some(room.transaction_len()),
                Ready::Placed { .. } | Ready::Behind(_) => None,
            };
            let is_together = room_len.is_some_and(|room_len| {
                len = len.saturating_add(room_len);
                jobs.len() < TOGETHER_MAX && len <= TOGETHER_LEN_MAX
            });
            if !jobs.is_empty() && !is_together {
                break;
            }
            jobs.extend(state.waiting.pop_front());
            if room_len.is_none() {
                break;
            }
        }
        state.is_busy = !jobs.is_empty();
        jobs
    }
}

/// Makes commits durable, then visible, then known: one, or several that are made together.
fn make(jobs: Vec<CommitJob>, is_committer_awake: bool) {
    let Some(served) = jobs.first().map(|job| Arc::clone(&job.served)) else { return };
    let mut promised = Vec::new();
    for CommitJob { ready, oids, peer, mailbox, ticket, asked, .. } in jobs {
        let committer = Committer { peer, oids, ticket, mailbox, is_told: false };
        match ready {
            Ready::Placed { voted, tid } => {
                committer.end(&served, tid, voted.finish(), is_committer_awake);
            }
            Ready::Promised { transaction, room } => {
                promised.push(Promised { committer, transaction: *transaction, asked, _room: room });
            }
            Ready::Behind(voted) => {
                if let Err(error) = served.finish_remotely(voted, peer) {
                    committer.fail(error);
                } else {
                    committer.leave();
                }
            }
        }
    }
    if promised.len() > 1 {
        let placed = place(&served, &mut promised).and_then(|()| {
            let transactions = promised.iter().map(|promise| promise.transaction.clone());
            served.storage.commit_together(transactions.collect())
        });
        match placed {
            Ok(views) => {
                for (Promised { committer, transaction, .. }, view) in promised.into_iter().zip(views) {
                    committer.end(&served, transaction.tid, Ok(view), false);
                }
                return;
            }
            // To each its own error.
            Err(error) => {
                tracing::debug!(target: "ZEO.StorageServer", "({}) one by one: {error}", served.name);
            }
        }
    }
    for mut promise in promised {
        let placed = place(&served, std::slice::from_mut(&mut promise));
        let Promised { committer, transaction, .. } = promise;
        let tid = transaction.tid;
        let view = placed.and_then(|()| served.storage.vote(transaction)?.finish());
        committer.end(&served, tid, view, is_committer_awake);
    }
}

/// Gives transactions that are committed together their tids.
fn place(served: &Served, promised: &mut [Promised]) -> Result<(), StorageError> {
    let mut last: Option<Tid> = None;
    for (place, Promised { transaction, asked, .. }) in promised.iter_mut().enumerate() {
        let wanted = match last {
            None => served.next_tid(*asked)?,
            Some(last) => last.next().ok_or(StorageError::TidsExhausted)?,
        };
        let tid = served.storage.tid_together(wanted, place).ok_or(StorageError::TidsExhausted)?;
        transaction.tid = tid;
        last = Some(tid);
    }
    Ok(())
}

/// A transaction that has room.
struct Promised {
    committer: Committer,
    transaction: NewTransaction,
    asked: Instant,
    _room: Reservation,
}

/// Who waits for a commit, with the objects that it touches, which nobody else has before everybody was told.
struct Committer {
    peer: PeerId,
    oids: Vec<Oid>,
    #[expect(dead_code, reason = "what matters is when it is dropped")]
    ticket: Ticket,
    mailbox: Arc<Mailbox>,
    is_told: bool,
}

impl Committer {
    fn end(
        mut self,
        served: &Served,
        tid: Tid,
        finished: Result<Arc<dyn View>, StorageError>,
        is_committer_awake: bool,
    ) {
        match finished {
            Ok(view) => {
                self.is_told = true;
                let oids = std::mem::take(&mut self.oids);
                served.announce(Commit::new(tid, oids, self.peer, view), is_committer_awake);
            }
            Err(error) => {
                let name = &served.name;
                tracing::error!(target: "ZEO.StorageServer", critical = true, "({name}) commit failed: {error}");
                self.fail(error);
            }
        }
    }

    fn fail(mut self, error: StorageError) {
        self.is_told = true;
        self.mailbox.put(Mail::FinishFailed(error));
    }

    /// Somebody else tells.
    fn leave(mut self) {
        self.is_told = true;
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        if !self.is_told {
            self.mailbox.put(Mail::FinishFailed(StorageError::Failed("the commit panicked".into())));
        }
    }
}

#[cfg(test)]
mod models;
#[cfg(test)]
mod tests;
