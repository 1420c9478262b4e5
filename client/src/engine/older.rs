//! Servers of ZEO 4 (protocol reference 7, 8 and 9.4): what they are told otherwise, and what they tell otherwise.
//!
//! * Users and descriptions are text; there is no `ping`.
//! * The result of a vote comes in `serialnos`, before a reply that says nothing.
//! * A server that no longer knows what has changed is asked about each object in the cache.
//! * An invalidation may come between the moment at which a load was executed and its reply: see [`Load::settle`].

use std::collections::HashSet;

use smallvec::SmallVec;
use zeo_codec::call::{TpcBegin, Verify};
use zeo_codec::pickle::PickleFlavor;
use zeo_codec::session::Message;
use zeo_codec::{Call, Method, Oid, Reply, Serialno, Tid, Value, VoteItem};

use super::link::{EARLY_COUNT_MAX, Link, Waiting};
use super::{Engine, Invalidation};
use crate::cache::Revision;
use crate::error::{ConnectionError, ServerError};

/// Who waits for a load; mostly one.
pub(super) type Tokens<T> = SmallVec<[T; 1]>;

/// A load that is in flight.
#[derive(Debug)]
pub(super) struct Load<T> {
    /// Who waits for it.
    pub(super) tokens: Tokens<T>,
    /// Transactions that changed the object since the server was asked, as far as the server may have executed the load
    /// before them.
    changes: Vec<Tid>,
}

impl<T> Load<T> {
    pub(super) const fn new(tokens: Tokens<T>) -> Self {
        Self { tokens, changes: Vec::new() }
    }

    /// The revision as it is after the changes that came while it was under way; `None` if it is not the newest one older
    /// than `before` any more, so that the server must be asked again.
    ///
    /// Python's clients of ZEO 4 keep such a revision out of their cache (`ClientStorage.py:load`, 4.3.1).
    pub(super) fn settle(&self, mut revision: Revision, before: Tid) -> Option<Revision> {
        let end = self.changes.iter().copied().filter(|tid| *tid > revision.serial).min();
        if revision.end.is_none()
            && let Some(end) = end
        {
            if end < before {
                return None;
            }
            revision.end = Some(end);
        }
        Some(revision)
    }
}

impl<T> Link<T> {
    /// What a server of ZEO 4 is told in the place of this call; `None` if it is the same.
    pub(super) fn translated(&self, call: &Call<'_>) -> Option<Call<'static>> {
        if !self.is_older() {
            return None;
        }
        match call {
            Call::Plain(Method::Ping) => Some(Call::Plain(Method::LastTransaction)),
            Call::TpcBegin(begin) => Some(Call::TpcBegin(TpcBegin {
                id: begin.id,
                user: self.as_text(&begin.user),
                description: self.as_text(&begin.description),
                extension: begin.extension.clone().into_owned(),
                tid: begin.tid,
                status: begin.status.clone().into_owned().into(),
            })),
            _ => None,
        }
    }

    /// Bytes that are text, as the server's Python has it. What is no UTF-8 stays, and the server has to say what it
    /// thinks of it.
    pub(super) fn text(&self, bytes: Vec<u8>) -> Value<'static> {
        match self.session.dialect().pickle {
            PickleFlavor::Python3 => match String::from_utf8(bytes) {
                Ok(text) => Value::Text(text.into()),
                Err(error) => Value::Bytes(error.into_bytes().into()),
            },
            PickleFlavor::Python2Protocol1 | PickleFlavor::Python2Protocol3 => Value::Native(bytes.into()),
        }
    }

    fn as_text(&self, value: &Value<'_>) -> Value<'static> {
        value.as_bytes().map_or_else(|| value.clone().into_owned(), |bytes| self.text(bytes.to_vec()))
    }

    /// Notes that objects have changed, for the loads that are under way.
    pub(super) fn note_changes(&mut self, tid: Tid, oids: impl Iterator<Item = Oid>) {
        if self.loads.is_empty() || !self.is_older() {
            return;
        }
        let oids: HashSet<Oid> = oids.collect();
        for ((oid, _), load) in &mut self.loads {
            if oids.contains(oid) {
                load.changes.push(tid);
            }
        }
    }

    /// Keeps what `serialnos` tells until the reply of the vote.
    pub(super) fn keep_serialnos(&mut self, args: &Value<'_>) -> Result<(), ConnectionError> {
        let malformed = |error| {
            ConnectionError::malformed(Some(Method::Serialnos), zeo_codec::MessageError::Shape(error))
        };
        for serialno in Serialno::parse_args(args).map_err(malformed)? {
            match serialno {
                Serialno::Stored(..) => {}
                Serialno::Resolved(oid) if self.resolved.len() < EARLY_COUNT_MAX => self.resolved.push(oid),
                Serialno::Resolved(_) => return Err(ConnectionError::TooManyEarly(EARLY_COUNT_MAX)),
                // The first one is why the others failed, if they did.
                Serialno::Failed(_, error) => {
                    self.failure.get_or_insert_with(|| error.into());
                }
            }
        }
        Ok(())
    }

    /// The result of the vote whose reply has come.
    pub(super) fn voted(&mut self) -> Result<Reply<'static>, ServerError> {
        let resolved = std::mem::take(&mut self.resolved);
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok(Reply::Voted(resolved.into_iter().map(VoteItem::Resolved).collect())),
        }
    }
}

impl<T> Engine<T> {
    /// The server does not know what has changed since the last connection. Asks about each object in the cache, or drops
    /// the cache.
    pub(super) fn verify_otherwise(&mut self, registered: Tid) -> Result<(), ConnectionError> {
        let is_asked = !self.drops_cache && self.link.as_ref().is_some_and(Link::is_older);
        let current = if is_asked { self.with_cache(|cache| cache.current()) } else { None };
        let (Some(current), Some(link)) = (current, &mut self.link) else {
            tracing::warn!("what has changed since the last connection is not known; dropping the cache");
            self.with_cache(|cache| cache.clear());
            return self.verified(Invalidation::Everything { tid: registered });
        };
        tracing::info!("verifying {} objects in the cache", current.len());
        for (oid, serial) in current {
            let call = Call::Verify(Method::Verify, Verify { oid, serial: serial.into() });
            link.call(&call, Waiting::Nobody)?;
        }
        link.call(&Call::Plain(Method::EndZeoVerify), Waiting::Nobody)?;
        link.verifying = Some(registered);
        Ok(())
    }

    /// What a server says while objects are verified, or before the connection is in use.
    pub(super) fn on_early_call(&mut self, message: &Message) -> Result<(), ConnectionError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let (Some(registered), Some(call)) = (link.verifying, link.parse(message)?) else {
            return link.keep_early(message);
        };
        match call {
            Call::Untyped(Method::InvalidateVerify, args) => {
                let oid = args.as_sequence().and_then(<[Value<'_>]>::first).and_then(Value::as_bytes);
                let oid = oid.and_then(Oid::from_slice).ok_or(ConnectionError::BadVerification)?;
                self.with_cache(|cache| cache.invalidate(oid, None));
                Ok(())
            }
            Call::Plain(Method::EndVerify) => {
                link.verifying = None;
                // Only the cache was verified, and the application may hold more than that.
                self.verified(Invalidation::Everything { tid: registered })
            }
            _ => link.keep_early(message),
        }
    }
}
