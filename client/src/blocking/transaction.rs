//! A commit, for threads.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use super::runtime::Runtime;
use crate::error::{Conflict, Error};
use crate::transaction::{Begun, Unresolved, Voted};

/// A transaction under way, first `Begun`, then `Voted`: a [`crate::Transaction`] whose methods wait. Dropping it
/// aborts it.
#[derive(Debug)]
#[must_use = "dropping it aborts it"]
pub struct Transaction<Phase> {
    transaction: crate::Transaction<Phase>,
    runtime: Arc<Runtime>,
}

/// What became of a vote.
#[derive(Debug)]
#[must_use = "dropping it aborts the transaction"]
pub enum Vote {
    /// The server can commit it.
    Done(Transaction<Voted>),
    /// The server leaves conflicts to the client: as [`crate::Vote::Conflicts`].
    Conflicts(Transaction<Begun>, Vec<(Conflict, Bytes)>),
}

impl<Phase> Transaction<Phase> {
    pub(super) fn new(runtime: &Arc<Runtime>, transaction: crate::Transaction<Phase>) -> Self {
        Self { transaction, runtime: Arc::clone(runtime) }
    }

    /// Gives it up, and waits until the server knows.
    pub fn abort(self) {
        self.runtime.block_on(self.transaction.abort());
    }
}

impl Transaction<Begun> {
    /// Stores an object.
    ///
    /// # Errors
    /// As [`store`](crate::Transaction::store).
    pub fn store(&mut self, oid: Oid, serial: Tid, data: impl Into<Bytes>) -> Result<(), Error> {
        self.runtime.block_on(self.transaction.store(oid, serial, data))
    }

    /// Stores a blob: the record of its object, and the content of a file.
    ///
    /// # Errors
    /// As [`store_blob`](crate::Transaction::store_blob).
    pub fn store_blob(
        &mut self,
        oid: Oid,
        serial: Tid,
        record: impl Into<Bytes>,
        file: impl AsRef<Path>,
    ) -> Result<(), Error> {
        self.runtime.block_on(self.transaction.store_blob(oid, serial, record, file))
    }

    /// The second half of [`store_blob`](Self::store_blob).
    ///
    /// # Errors
    /// As [`attach_blob`](crate::Transaction::attach_blob).
    pub fn attach_blob(
        &mut self,
        oid: Oid,
        serial: Tid,
        record: impl Into<Bytes>,
        file: impl AsRef<Path>,
    ) -> Result<(), Error> {
        self.runtime.block_on(self.transaction.attach_blob(oid, serial, record, file))
    }

    /// Makes the vote fail unless the object is still at `serial`.
    ///
    /// # Errors
    /// As [`check_current`](crate::Transaction::check_current).
    pub fn check_current(&mut self, oid: Oid, serial: Tid) -> Result<(), Error> {
        self.runtime.block_on(self.transaction.check_current(oid, serial))
    }

    /// Deletes an object, which is at `serial`.
    ///
    /// # Errors
    /// As [`delete`](crate::Transaction::delete).
    pub fn delete(&mut self, oid: Oid, serial: Tid) -> Result<(), Error> {
        self.runtime.block_on(self.transaction.delete(oid, serial))
    }

    /// Copies a record verbatim.
    ///
    /// # Errors
    /// As [`restore`](crate::Transaction::restore).
    pub fn restore(
        &mut self,
        oid: Oid,
        serial: Tid,
        data: Option<Bytes>,
        prev_txn: Option<Tid>,
    ) -> Result<(), Error> {
        self.runtime.block_on(self.transaction.restore(oid, serial, data, prev_txn))
    }

    /// Undoes a transaction.
    ///
    /// # Errors
    /// As [`undo`](crate::Transaction::undo).
    pub fn undo(&mut self, undo_id: &[u8]) -> Result<(), Error> {
        self.runtime.block_on(self.transaction.undo(undo_id))
    }

    /// Votes once, and hands back the conflicts that the server leaves to the client.
    ///
    /// # Errors
    /// As [`vote_once`](crate::Transaction::vote_once).
    pub fn vote_once(self) -> Result<Vote, Error> {
        let Self { transaction, runtime } = self;
        Ok(match runtime.block_on(transaction.vote_once())? {
            crate::Vote::Done(transaction) => Vote::Done(Transaction { transaction, runtime }),
            crate::Vote::Conflicts(transaction, conflicts) => {
                Vote::Conflicts(Self { transaction, runtime }, conflicts)
            }
        })
    }

    /// Asks the server whether it can commit all of this.
    ///
    /// # Errors
    /// As [`vote`](crate::Transaction::vote).
    pub fn vote(self) -> Result<Transaction<Voted>, Error> {
        self.vote_resolving(|_| None)
    }

    /// The same, but offers conflicts to `resolve`.
    ///
    /// # Errors
    /// As [`vote_resolving`](crate::Transaction::vote_resolving).
    pub fn vote_resolving(
        self,
        resolve: impl FnMut(&Unresolved) -> Option<Bytes>,
    ) -> Result<Transaction<Voted>, Error> {
        let transaction = self.runtime.block_on(self.transaction.vote_resolving(resolve))?;
        Ok(Transaction { transaction, runtime: self.runtime })
    }
}

impl Transaction<Voted> {
    /// The objects whose state is not what was stored.
    #[must_use]
    pub fn resolved(&self) -> &[Oid] {
        self.transaction.resolved()
    }

    /// Commits, and returns the tid.
    ///
    /// # Errors
    /// As [`finish`](crate::Transaction::finish).
    pub fn finish(self) -> Result<Tid, Error> {
        self.runtime.block_on(self.transaction.finish())
    }
}
