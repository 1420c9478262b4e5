//! What has become of a commit whose answer was lost (C7).

use std::collections::BTreeSet;

use zeo_codec::{Oid, Tid};

use super::Client;
use super::past::{TransactionIterator, TransactionRecord};
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

/// How much a transaction is like the one that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Likeness {
    /// It is another one.
    None,
    /// It changed the same objects, but user or description are others.
    Some,
    /// It is the lost one, or one like it.
    Full,
}

/// What the transactions since then tell.
#[derive(Debug, Default)]
struct Found {
    /// Those that are like it in everything.
    full: Vec<Tid>,
    /// There are others that may be it.
    has_some: bool,
    /// A pack may have taken it away.
    is_packed: bool,
}

impl Client {
    /// Looks for a commit whose answer was lost, as soon as there is a connection.
    ///
    /// A server that has begun to finish it lets nobody else vote on its objects until it is done. So this votes on one of
    /// them first, without changing it: from then on the transaction is there, or never will be. It was not committed if an
    /// object that it stored is at a revision from before. Otherwise it is looked for among the transactions since then: one
    /// with the same objects, the data that was stored, the same user and description. Of two transactions that agree in
    /// all this, and could both have been committed, which one it is does not matter to the database.
    ///
    /// # Errors
    /// [`Error::CannotTell`] if it is not there, and a pack since then may have taken it away; if several are like it that
    /// stored no data by which to know them; and if the server cannot list its transactions (that of another server, for
    /// example), and the revisions of what was stored do not tell. Whatever a call may meet; [`Error::ReadOnly`].
    pub async fn fate_of(&self, lost: &LostCommit) -> Result<Fate, Error> {
        self.wait_for_its_end(lost).await?;
        if let (Some((oid, _)), None) = (&lost.sample, lost.copied)
            && self.current_of(*oid).await?.is_some_and(|serial| serial <= lost.since)
        {
            return Ok(Fate::NotCommitted);
        }
        let found = match self.found_since(lost).await {
            // It cannot list them.
            Err(error) if error.server().is_some() => return self.fate_by_revisions(lost).await,
            found => found?,
        };
        match (found.full.as_slice(), &lost.sample) {
            ([tid], _) | ([tid, ..], Some(_)) => Ok(Fate::Committed(*tid)),
            ([], _) if !found.has_some && !found.is_packed => Ok(Fate::NotCommitted),
            _ => Err(Error::CannotTell),
        }
    }

    /// Waits until nothing of the transaction is under way any more.
    async fn wait_for_its_end(&self, lost: &LostCommit) -> Result<(), Error> {
        // One without objects has the server to itself, or nothing to be lost.
        let oid = lost.oids.first().copied().unwrap_or(Oid::ZERO);
        let serial = self.current_of(oid).await?.unwrap_or(Tid::ZERO);
        let mut transaction = self.begin(Metadata::default()).await?;
        transaction.check_current(oid, serial).await?;
        match transaction.vote().await {
            Ok(transaction) => transaction.abort().await,
            // The server has come to say that the object has changed: it had the lock.
            Err(error) if error.server().is_some() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The serial of an object, if it exists.
    async fn current_of(&self, oid: Oid) -> Result<Option<Tid>, Error> {
        match self.tid_of(oid).await {
            Ok(tid) => Ok(Some(tid)),
            Err(error) if error.is_no_such_object() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn found_since(&self, lost: &LostCommit) -> Result<Found, Error> {
        let mut found = Found::default();
        // A copied transaction may be older than what the client knew.
        let start = lost.copied.map_or(lost.since, |tid| tid.min(lost.since));
        let mut transactions = self.iterate(Some(start), None).await?;
        // The transaction from before is there, and not packed: so nothing since then is.
        let mut is_first = start != Tid::ZERO;
        while let Some(transaction) = transactions.next().await? {
            let tid = transaction.info.tid;
            found.is_packed |= transaction.info.status == "p" || (is_first && tid > start);
            is_first = false;
            if lost.copied.is_none() && tid <= lost.since {
                continue;
            }
            match likeness(&mut transactions, &transaction, lost).await? {
                Likeness::Full => found.full.push(tid),
                Likeness::Some => found.has_some = true,
                Likeness::None => {}
            }
        }
        found.is_packed |= is_first;
        Ok(found)
    }

    /// The fate as far as the revisions of the objects tell it.
    async fn fate_by_revisions(&self, lost: &LostCommit) -> Result<Fate, Error> {
        let Some((sample, data)) = &lost.sample else { return Err(Error::CannotTell) };
        let mut before = Tid::MAX;
        loop {
            // Newest first, down to what was there before.
            let revision = match self.load_before(*sample, before).await {
                Ok(revision) => revision.filter(|revision| revision.serial > lost.since),
                // It may have been deleted since then.
                Err(error) if error.is_no_such_object() => None,
                Err(error) => return Err(error),
            };
            let Some(revision) = revision else { return Err(Error::CannotTell) };
            if revision.data == *data && self.all_written_by(&lost.oids, revision.serial).await? {
                return Ok(Fate::Committed(revision.serial));
            }
            before = revision.serial;
        }
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

async fn likeness(
    transactions: &mut TransactionIterator,
    transaction: &TransactionRecord,
    lost: &LostCommit,
) -> Result<Likeness, Error> {
    let info = &transaction.info;
    if let Some(tid) = lost.copied {
        return Ok(if info.tid == tid { Likeness::Full } else { Likeness::None });
    }
    let wanted: BTreeSet<Oid> = lost.oids.iter().copied().collect();
    let mut oids = BTreeSet::new();
    let mut has_sample = lost.sample.is_none();
    let mut records = transactions.records(transaction).await?;
    while let Some(record) = records.next().await? {
        if let Some((oid, data)) = &lost.sample
            && *oid == record.oid
        {
            // Of a blob there may be two, the same.
            has_sample |= record.data.as_deref() == Some(&**data);
        }
        oids.insert(record.oid);
    }
    // What an undo changed the server may not have told.
    let has_all = if lost.has_undone { oids.is_superset(&wanted) } else { oids == wanted };
    Ok(match has_all && has_sample {
        true if info.user == lost.user && info.description == lost.description => Likeness::Full,
        true => Likeness::Some,
        false => Likeness::None,
    })
}
