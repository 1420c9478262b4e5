//! What has become of a commit whose answer was lost (C7).

use zeo_codec::{Oid, Tid};

use super::Client;
use crate::error::{Error, LostCommit};
use crate::transaction::Metadata;

/// What has become of a commit whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was committed, as this transaction.
    Committed(Tid),
    /// It was not, and will not be.
    NotCommitted,
}

impl Client {
    /// Looks for a commit whose answer was lost, as soon as there is a connection.
    ///
    /// A server that has begun to finish holds the commit lock until it is done. So the lock is taken first, by a vote
    /// for nothing: from then on the transaction is there, or never will be. It is there if all of its objects have a
    /// revision of one and the same transaction, above what the client knew when it voted, with the data that was
    /// stored. Of two transactions that store the same bytes over the same revisions, only one can have been
    /// committed; which one cannot be told, nor does it matter to the database.
    ///
    /// # Errors
    /// [`Error::CannotTell`] if it stored no data by which to know it: it only deleted or undid. Whatever a call may
    /// meet.
    pub async fn fate_of(&self, lost: &LostCommit) -> Result<Fate, Error> {
        let Some((sample, data)) = &lost.sample else { return Err(Error::CannotTell) };
        let lock = self.begin(Metadata::default()).await?.vote().await?;
        let mut before = Tid::MAX;
        let fate = loop {
            // Its revisions, newest first, down to what was there before.
            let revision = match self.load_before(*sample, before).await {
                Ok(Some(revision)) => revision,
                Ok(None) => break Fate::NotCommitted,
                Err(error) if error.is_no_such_object() => break Fate::NotCommitted,
                Err(error) => return Err(error),
            };
            if revision.serial <= lost.since {
                break Fate::NotCommitted;
            }
            if revision.data == *data && self.all_written_by(&lost.oids, revision.serial).await? {
                break Fate::Committed(revision.serial);
            }
            before = revision.serial;
        };
        lock.abort().await;
        Ok(fate)
    }

    /// Whether each of the objects has a revision of this transaction.
    async fn all_written_by(&self, oids: &[Oid], tid: Tid) -> Result<bool, Error> {
        for oid in oids {
            match self.load_serial(*oid, tid).await {
                Ok(_) => {}
                Err(error) if error.is_no_such_object() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
