//! Commits, passed on.

use std::sync::Arc;

use zeo_client::{Begun, Metadata, Transaction, Vote, Voted};
use zeo_codec::{Conflict, Tid};

use super::Link;
use crate::storage::StorageError;
use crate::storage::remote::{RemoteMetadata, RemoteOp, RemoteTransaction, RemoteVote, RemoteVoted};

/// A transaction of the server behind, in one of its phases.
#[derive(Debug)]
struct Passed<Phase> {
    link: Arc<Link>,
    /// Always there, but while the client has it.
    transaction: Option<Transaction<Phase>>,
}

pub(super) fn begin(
    link: &Arc<Link>,
    metadata: RemoteMetadata,
) -> Result<Box<dyn RemoteTransaction>, StorageError> {
    let RemoteMetadata { user, description, extension, tid, status } = metadata;
    let metadata = Metadata { user: user.to_vec(), description: description.to_vec(), extension };
    let client = link.client.clone();
    let begun = link.wait(async move {
        match tid {
            None => client.begin(metadata).await,
            Some(tid) => client.begin_copy(metadata, tid, if status == b'p' { "p" } else { " " }).await,
        }
    })?;
    Ok(Box::new(Passed { link: Arc::clone(link), transaction: Some(begun) }))
}

impl RemoteTransaction for Passed<Begun> {
    fn apply(&mut self, op: RemoteOp) -> Result<(), StorageError> {
        let mut transaction = self.transaction.take().ok_or(StorageError::Closed)?;
        let applied = self.link.wait(async move {
            match op {
                RemoteOp::Store(oid, serial, data) => transaction.store(oid, serial, data).await,
                RemoteOp::Delete(oid, serial) => transaction.delete(oid, serial).await,
                RemoteOp::CheckCurrent(oid, serial) => transaction.check_current(oid, serial).await,
                RemoteOp::Restore(oid, serial, data, data_tid) => {
                    transaction.restore(oid, serial, data, data_tid).await
                }
                RemoteOp::Undo(undo_id) => transaction.undo(&undo_id).await,
                RemoteOp::Blob(oid, serial, record, path) => {
                    transaction.attach_blob(oid, serial, record, path).await
                }
            }
            .map(|()| transaction)
        })?;
        self.transaction = Some(applied);
        Ok(())
    }

    fn vote(mut self: Box<Self>) -> Result<RemoteVote, StorageError> {
        let transaction = self.transaction.take().ok_or(StorageError::Closed)?;
        let link = Arc::clone(&self.link);
        Ok(match self.link.wait(async move { transaction.vote_once().await })? {
            Vote::Done(voted) => {
                let resolved = voted.resolved().to_vec();
                RemoteVote::Voted(Box::new(Passed { link, transaction: Some(voted) }), resolved)
            }
            Vote::Conflicts(transaction, conflicts) => {
                let conflicts = conflicts
                    .into_iter()
                    .map(|(conflict, data)| Conflict {
                        oid: conflict.oid,
                        committed: conflict.committed,
                        read: conflict.read,
                        data: data.to_vec().into(),
                    })
                    .collect();
                RemoteVote::Conflicts(Box::new(Self { link, transaction: Some(transaction) }), conflicts)
            }
        })
    }
}

impl RemoteVoted for Passed<Voted> {
    fn finish(mut self: Box<Self>) -> Result<Tid, StorageError> {
        let transaction = self.transaction.take().ok_or(StorageError::Closed)?;
        self.link.wait(async move { transaction.finish().await })
    }
}
