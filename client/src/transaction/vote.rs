//! The vote, and conflicts that the server leaves to the client.

use bytes::Bytes;
use zeo_codec::call::{LoadSerial, TransactionRef};
use zeo_codec::{Call, Method, Oid, Reply, Tid, VoteItem};

use super::{Begun, Transaction, Voted};
use crate::client::unexpected;
use crate::engine::Answer;
use crate::error::{Conflict, Error};

/// How often a client votes for one transaction, as Python's (protocol reference 9.3).
const VOTE_COUNT_MAX: u32 = 9;

/// A conflict that the server leaves to the client, with all there is to resolve it: the states of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Whose conflict.
    pub conflict: Conflict,
    /// What this client had read.
    pub old: Bytes,
    /// What another transaction has made of it.
    pub committed: Bytes,
    /// What this transaction wants to make of it.
    pub new: Bytes,
}

/// What became of a vote.
#[derive(Debug)]
#[must_use = "dropping it aborts the transaction"]
pub enum Vote {
    /// The server can commit it.
    Done(Transaction<Voted>),
    /// The server leaves conflicts to the client, each with what this transaction had stored: store the objects once
    /// more over their committed revisions, and vote again.
    Conflicts(Transaction<Begun>, Vec<(Conflict, Bytes)>),
}

impl Transaction<Begun> {
    /// Votes once, and hands back the conflicts that the server leaves to the client: for who passes them on.
    ///
    /// # Errors
    /// As [`vote`](Self::vote).
    pub async fn vote_once(mut self) -> Result<Vote, Error> {
        let conflicts = self.ask_for_vote().await?;
        Ok(if conflicts.is_empty() { Vote::Done(self.enter()) } else { Vote::Conflicts(self, conflicts) })
    }

    /// Asks the server whether it can commit all of this; from then on it can. Waits for the commit lock.
    ///
    /// # Errors
    /// [`Error::conflict`] if another transaction was first; whatever else the server says. The transaction is
    /// aborted.
    pub async fn vote(self) -> Result<Transaction<Voted>, Error> {
        self.vote_resolving(|_| None).await
    }

    /// The same, but offers conflicts that the server leaves to the client to `resolve`: what it makes of the states
    /// of the object is stored, and voted on again.
    ///
    /// # Errors
    /// As [`vote`](Self::vote); [`Error::Conflict`] where `resolve` gives `None`, [`Error::EmptyRecord`] where it gives
    /// nothing.
    pub async fn vote_resolving(
        mut self,
        mut resolve: impl FnMut(&Unresolved) -> Option<Bytes>,
    ) -> Result<Transaction<Voted>, Error> {
        for _ in 0..VOTE_COUNT_MAX {
            let conflicts = self.ask_for_vote().await?;
            if conflicts.is_empty() {
                return Ok(self.enter());
            }
            for (conflict, new) in conflicts {
                let Conflict { oid, committed, read } = conflict;
                let states = (self.state_of(oid, read).await?, self.state_of(oid, committed).await?);
                let unresolved = Unresolved { conflict, old: states.0, committed: states.1, new };
                let Some(resolved) = resolve(&unresolved) else {
                    // The next transaction shall not read the same again.
                    self.shared.look(|state| state.engine.forget(oid));
                    return Err(Error::Conflict(conflict));
                };
                self.store_now(oid, committed, &resolved)?;
                if let Some(running) = &mut self.running
                    && !running.resolved.contains(&oid)
                {
                    running.resolved.push(oid);
                }
            }
        }
        Err(Error::TooManyVotes(VOTE_COUNT_MAX))
    }

    async fn state_of(&self, oid: Oid, serial: Tid) -> Result<Bytes, Error> {
        match self.call(&Call::LoadSerial(LoadSerial { oid, serial })).await? {
            Answer::Data(data) => Ok(data),
            _ => Err(unexpected(Method::LoadSerial)),
        }
    }

    /// Votes; the conflicts that the server leaves to the client, and what this client had stored.
    async fn ask_for_vote(&mut self) -> Result<Vec<(Conflict, Bytes)>, Error> {
        let running = self.running.as_ref().ok_or(Error::NoTransaction)?;
        running.blobs.check_complete()?;
        let id = running.id;
        let voted = self.call(&Call::Transaction(Method::Vote, TransactionRef { id })).await;
        let items = match voted {
            Ok(Answer::Reply(Reply::Voted(items))) => items,
            Ok(Answer::Reply(Reply::None)) => Vec::new(),
            Ok(_) => return Err(unexpected(Method::Vote)),
            Err(error) => {
                if let Some(conflict) = error.conflict() {
                    // The next transaction shall not read the same again.
                    self.shared.look(|state| state.engine.forget(conflict.oid));
                }
                return Err(error);
            }
        };
        let mut conflicts = Vec::new();
        for item in items {
            match item {
                VoteItem::Resolved(oid) => {
                    self.touch(oid);
                    if let Some(running) = &mut self.running {
                        running.resolved.push(oid);
                    }
                }
                VoteItem::Conflict(conflict) => {
                    let zeo_codec::Conflict { oid, committed, read, data } = conflict;
                    conflicts.push((Conflict { oid, committed, read }, data.into_owned().into()));
                }
            }
        }
        Ok(conflicts)
    }
}
