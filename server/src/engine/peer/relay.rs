//! Calls and transactions that are the server's behind this one.

use std::collections::BTreeSet;

use zeo_codec::{Call, Conflict, Generation, Oid, Reply, Value, VoteItem};

use super::old::RESOLVED;
use super::{Answer, Peer};
use crate::engine::commit_lock::Ticket;
use crate::engine::error::CallError;
use crate::engine::pipeline::Ready;
use crate::engine::transaction::{BlobOp, Op, Stage, Transaction};
use crate::storage::StorageError;
use crate::storage::remote::{Remote, RemoteMetadata, RemoteOp, RemoteTransaction, RemoteVote};

impl Peer {
    /// Whether the call is passed on: it looks back, where the views of such a storage see nothing.
    pub(super) fn passes_on(&self, call: &Call<'_>) -> Result<bool, CallError> {
        let is_past =
            matches!(call, Call::History(_) | Call::UndoLog(_) | Call::UndoInfo(_) | Call::RecordIternext(_));
        let is_relayed = self.is_relayed();
        if is_relayed && matches!(call, Call::IteratorStart(_)) {
            // Nor is it announced: iterators would be those of one connection to the server behind.
            return Err(CallError::NotSupported("iterator_start of another server's storage"));
        }
        Ok(is_past && is_relayed)
    }

    /// Passes a call on.
    pub(super) fn pass_on(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let served = self.attached()?.served.clone();
        let Some(remote) = served.storage.remote() else { return Ok(Answer::Reply(Reply::None)) };
        Ok(Answer::Reply(remote.ask(call)?))
    }

    /// Whether the transaction is the server's behind.
    pub(super) fn is_relayed(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| attached.served.storage.remote().is_some())
    }

    /// Votes there, with the commit lock of this server held: one connection has one transaction.
    pub(super) fn vote_remotely(&mut self, ticket: Ticket) -> Result<Answer, CallError> {
        let served = self.attached()?.served.clone();
        let dialect = self.dialect;
        let is_old = dialect.generation != Generation::Zeo5;
        let (Some(remote), Some(transaction)) = (served.storage.remote(), &mut self.transaction) else {
            return Ok(Answer::Reply(Reply::None));
        };
        let mut passed = match transaction.passed.take() {
            Some(passed) => passed,
            None => begin(remote, transaction)?,
        };
        let mut stored = BTreeSet::new();
        for op in std::mem::take(&mut transaction.ops) {
            if let Op::Store { oid, .. } = op
                && is_old
            {
                stored.insert(oid);
            }
            passed.apply(remote_op(op)?)?;
        }
        for BlobOp { store, content, .. } in std::mem::take(&mut transaction.blobs) {
            if let Op::Store { oid, serial, data } = store {
                stored.insert(oid);
                passed.apply(RemoteOp::Blob(oid, serial, data, content.path().to_owned()))?;
            }
        }
        match passed.vote()? {
            RemoteVote::Voted(voted, resolved) => {
                let ready = Ready::Behind(voted);
                transaction.stage = Stage::Voted { ticket, ready, oids: Vec::new() };
                if is_old {
                    stored.extend(resolved);
                    return Ok(Answer::Serials(unknown_serials(stored)));
                }
                Ok(Answer::Reply(Reply::Voted(resolved.into_iter().map(VoteItem::Resolved).collect())))
            }
            // It resolves none. What is dropped is aborted.
            RemoteVote::Conflicts(_aborted, conflicts) if is_old => {
                let errors = conflicts.into_iter().map(unresolved);
                let serials = errors.map(|(oid, error)| (oid, error.to_remote(&dialect).detail)).collect();
                served.stats.conflicts.add();
                Ok(self.failed_vote(serials))
            }
            RemoteVote::Conflicts(passed, conflicts) => {
                served.stats.conflicts.add();
                transaction.passed = Some(passed);
                transaction.stage = Stage::HandedBack { ticket };
                Ok(Answer::Reply(Reply::Voted(conflicts.into_iter().map(VoteItem::Conflict).collect())))
            }
        }
    }
}

/// The error of a conflict for a client that resolves none.
fn unresolved(conflict: Conflict<'_>) -> (Oid, CallError) {
    let Conflict { oid, committed, read, data } = conflict;
    let class_name = zeo_codec::record::class_name(&data);
    (oid, CallError::Conflict { oid, committed, read, class_name })
}

/// What `serialnos` tells of objects whose serial nobody knows yet: the server behind tells the tid when the transaction is
/// finished. The client forgets what it has of them, and loads them when it wants them.
fn unknown_serials(oids: BTreeSet<Oid>) -> Vec<(Oid, Value<'static>)> {
    oids.into_iter().map(|oid| (oid, Value::Bytes(RESOLVED.into()))).collect()
}

fn begin(remote: &dyn Remote, transaction: &Transaction) -> Result<Box<dyn RemoteTransaction>, StorageError> {
    remote.begin(RemoteMetadata {
        user: transaction.user.clone(),
        description: transaction.description.clone(),
        extension: transaction.passed_extension.clone().unwrap_or_else(|| Value::Dict(Vec::new())),
        tid: transaction.tid,
        status: transaction.status,
    })
}

fn remote_op(op: Op) -> Result<RemoteOp, CallError> {
    Ok(match op {
        Op::Store { oid, serial, data } => RemoteOp::Store(oid, serial, data),
        Op::Delete { oid, serial } => RemoteOp::Delete(oid, serial),
        Op::CheckCurrent { oid, serial } => RemoteOp::CheckCurrent(oid, serial),
        Op::Restore { oid, serial, data, data_tid } => RemoteOp::Restore(oid, serial, data, data_tid),
        Op::Undo { undo_id } => RemoteOp::Undo(undo_id),
        Op::Unsupported { type_name, attribute } => {
            return Err(CallError::NoAttribute { type_name: type_name.to_owned(), attribute });
        }
    })
}
