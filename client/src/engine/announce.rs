//! What has changed in the database: announced, committed by this client, or found out after a time without a
//! connection.

use zeo_codec::call::{InvalidateTransaction, SetClientLabel};
use zeo_codec::{Call, Method, Oid, Reply, Tid};

use super::link::{Link, Waiting};
use super::{Answer, Changes, Engine, Invalidation, Origin, Stage};
use crate::cache::Revision;
use crate::error::{ConnectionError, Error, ServerError};

impl<T> Engine<T> {
    /// Another client's transaction.
    pub(super) fn on_invalidation(
        &mut self,
        invalidation: InvalidateTransaction,
    ) -> Result<(), ConnectionError> {
        let InvalidateTransaction { tid, oids } = invalidation;
        if let Some(last) = self.last
            && tid <= last
        {
            return Err(ConnectionError::TidsGoBack { tid, last });
        }
        if let Some(link) = &mut self.link {
            link.note_changes(tid, oids.iter().copied());
        }
        self.with_cache(|cache| oids.iter().try_for_each(|oid| cache.invalidate(*oid, Some(tid))));
        self.announce(Invalidation::Changed { tid, oids: oids.into(), origin: Origin::Other });
        Ok(())
    }

    /// This client's transaction (C3).
    pub(super) fn on_finish(
        &mut self,
        token: T,
        changes: Changes,
        result: Result<Reply<'_>, ServerError>,
    ) -> Result<(), ConnectionError> {
        let tid = match result {
            Ok(Reply::Tid(tid)) => tid,
            Ok(_) => {
                self.done.push_back((token, Err(Error::NoTransaction)));
                return Ok(());
            }
            Err(error) => {
                let waiting = Waiting::Finish { token, changes };
                return Err(self.fail_with(waiting, ConnectionError::FinishFailed(error)));
            }
        };
        // A transaction without changes is none in ZEO 4: the tid is that of the last one.
        let is_older = self.link.as_ref().is_some_and(Link::is_older);
        if is_older && changes.is_empty() && self.last == Some(tid) {
            self.done.push_back((token, Ok(Answer::Reply(Reply::Tid(tid)))));
            return Ok(());
        }
        let is_old = changes.is_copy(tid, self.last);
        if let Some(last) = self.last
            && tid <= last
            && !is_old
        {
            let waiting = Waiting::Finish { token, changes };
            return Err(self.fail_with(waiting, ConnectionError::TidsGoBack { tid, last }));
        }
        if let Some(link) = &mut self.link {
            link.note_changes(tid, changes.iter().map(|(oid, _)| oid));
        }
        self.with_cache(|cache| {
            for (oid, data) in changes.iter() {
                // Of a transaction older than what is known, nobody can tell which revisions it comes between.
                cache.invalidate(oid, (!is_old).then_some(tid))?;
                if let Some(data) = data.filter(|_| !is_old) {
                    cache.store(oid, &Revision { data: data.clone(), serial: tid, end: None })?;
                }
            }
            Ok(())
        });
        let oids = changes.iter().map(|(oid, _)| oid).collect();
        // Everybody else learns what a late copy changed under the tid that they know.
        let tid_announced = if is_old { self.last.unwrap_or(tid) } else { tid };
        self.announce(Invalidation::Changed { tid: tid_announced, oids, origin: Origin::Own });
        self.done.push_back((token, Ok(Answer::Reply(Reply::Tid(tid)))));
        Ok(())
    }

    /// What has changed since the last connection.
    pub(super) fn on_verification(
        &mut self,
        registered: Tid,
        tid: Tid,
        oids: Vec<Oid>,
    ) -> Result<(), ConnectionError> {
        // The queue of a server of ZEO 4 has no transactions that only made or deleted objects, the last one perhaps among
        // them (`StorageServer.py:_invalidate`, 4.3.1).
        let is_older = self.link.as_ref().is_some_and(Link::is_older);
        let tid = if is_older { tid.max(registered) } else { tid };
        // It may be less than the server has registered the client with. Python's server of ZEO 6.2 does that with the tid of
        // a transaction that a crash has cut off, until the next commit; the queue, which is of the file, is right
        // (`ZODB/FileStorage/FileStorage.py:read_index`, 6.4; Python's client takes the queue's, `ZEO/asyncio/client.py`, too).
        if let Some(last) = self.last {
            if tid < last || (tid == last && !oids.is_empty()) {
                return Err(ConnectionError::TidsGoBack { tid, last });
            }
            if tid == last {
                // Only what was cut off came after it.
                return self.in_use();
            }
        }
        self.with_cache(|cache| oids.iter().try_for_each(|oid| cache.invalidate(*oid, None)));
        self.verified(Invalidation::Changed { tid, oids: oids.into(), origin: Origin::Other })
    }

    pub(super) fn verified(&mut self, change: Invalidation) -> Result<(), ConnectionError> {
        self.announce(change);
        self.in_use()
    }

    /// First the application, then the last transaction (C2).
    fn announce(&mut self, change: Invalidation) {
        let tid = change.tid();
        self.feed.publish(&change);
        self.last = Some(tid);
        self.with_cache(|cache| cache.set_last_tid(tid));
    }

    /// Nothing that has waited is missed: it follows upon what the link is verified for (C5).
    pub(super) fn in_use(&mut self) -> Result<(), ConnectionError> {
        self.stage = Stage::Describing;
        let early = self.link.as_mut().map(Link::take_early).unwrap_or_default();
        // The server announces everything behind the registration, and verification may have told of it already.
        let verified = self.last;
        let mut before = None;
        for invalidation in early {
            let tid = invalidation.tid;
            if let Some(last) = before
                && tid <= last
            {
                return Err(ConnectionError::TidsGoBack { tid, last });
            }
            before = Some(tid);
            if verified.is_none_or(|verified| tid > verified) {
                self.on_invalidation(invalidation)?;
            }
        }
        self.call_waiting(&Call::Plain(Method::GetInfo), Waiting::Info)?;
        if let Some(label) = self.label.clone() {
            let call = Call::SetClientLabel(SetClientLabel { label: label.into() });
            self.call_waiting(&call, Waiting::Nobody)?;
        }
        Ok(())
    }
}
