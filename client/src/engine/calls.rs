//! Calls of the application.

use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::call::{SendBlob, TransactionRef, TxnId};
use zeo_codec::session::SessionError;
use zeo_codec::{Call, Method, Oid, Tid};

use super::link::{Link, Waiting};
use super::{Changes, Engine, Stage};
use crate::cache::Revision;
use crate::error::{ConnectionError, Error};

impl<T> Engine<T> {
    /// Makes a call; its outcome comes with the token.
    ///
    /// # Errors
    /// [`Error::TooManyCalls`], [`Error::Unencodable`], and [`Error::Disconnected`] unless the engine
    /// [is ready](Self::is_ready); the token is forgotten.
    pub fn call(&mut self, call: &Call<'_>, token: T) -> Result<(), Error> {
        self.usable()?.with_room()?.call(call, Waiting::Call(token)).map_err(call_error)
    }

    /// Makes a call to whose outcome nobody listens.
    ///
    /// # Errors
    /// As [`call`](Self::call); but there is always room for some more of these, so that a transaction can be ended.
    pub fn call_unheard(&mut self, call: &Call<'_>) -> Result<(), Error> {
        self.usable()?.call(call, Waiting::Nobody).map_err(call_error)
    }

    /// Gives a transaction up. `token` is dropped when the next one may begin, or the connection is lost.
    ///
    /// # Errors
    /// As [`call_unheard`](Self::call_unheard).
    pub fn abort(&mut self, id: TxnId, token: T) -> Result<(), Error> {
        self.usable()?.abort(id, token).map_err(call_error)
    }

    /// Makes a one-way call whose large records lie in `memory`, and are sent from there.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn send(&mut self, call: &Call<'_>, memory: &Bytes) -> Result<(), Error> {
        self.usable()?.send(call, memory).map_err(call_error)
    }

    /// Asks the server for the newest revision older than `before`; look at [what is cached](Self::cached) first.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn load(&mut self, oid: Oid, before: Tid, token: T) -> Result<(), Error> {
        self.usable()?.with_room()?.load(oid, before, token).map_err(call_error)
    }

    /// Asks the server for a blob, whose [pieces](Self::poll_piece) come before the outcome.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`Error::NoBlob`] comes with the token if the server has none.
    pub fn load_blob(&mut self, oid: Oid, serial: Tid, token: T) -> Result<(), Error> {
        let link = self.usable()?.with_room()?;
        if !link.blobs.ask(oid, serial) {
            return Err(Error::TooManyCalls);
        }
        let call = Call::SendBlob(SendBlob { oid, serial });
        link.call(&call, Waiting::Blob { token, oid, serial }).map_err(call_error)
    }

    /// What the cache knows about the newest revision older than `before`, connected or not.
    pub fn cached(&mut self, oid: Oid, before: Tid) -> Option<Revision> {
        self.with_cache(|cache| cache.load_before(oid, before)).flatten()
    }

    /// Writes what waits in the cache for more.
    pub fn flush_cache(&mut self) {
        self.with_cache(|cache| cache.flush());
    }

    /// Forgets what was thought to be current: the server says that it is not.
    pub fn forget(&mut self, oid: Oid) {
        self.with_cache(|cache| cache.invalidate(oid, None));
    }

    /// Finishes the transaction, which the server has voted for. When its outcome comes with the token, the changes
    /// have been applied and announced (C3).
    ///
    /// # Errors
    /// As [`call_unheard`](Self::call_unheard): nothing was sent.
    pub fn finish(&mut self, id: TxnId, changes: Changes, token: T) -> Result<(), Error> {
        let call = Call::Transaction(Method::TpcFinish, TransactionRef { id });
        self.usable()?.call(&call, Waiting::Finish { token, changes }).map_err(call_error)
    }

    /// Says that the client is still there (protocol reference 3.1).
    pub fn keep_alive(&mut self) {
        if let Some(link) = &mut self.link {
            // A closed session shows itself at the next step.
            let _ = link.session.keep_alive();
        }
    }

    fn usable(&mut self) -> Result<&mut Link<T>, Error> {
        match (&mut self.link, self.stage) {
            (Some(link), Stage::Ready) => Ok(link),
            _ => Err(Error::Disconnected(Arc::new(ConnectionError::NotYet))),
        }
    }

    pub(super) fn call_waiting(
        &mut self,
        call: &Call<'_>,
        waiting: Waiting<T>,
    ) -> Result<(), ConnectionError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        Ok(link.call(call, waiting)?)
    }
}

fn call_error(error: SessionError) -> Error {
    match error {
        SessionError::TooManyPending => Error::TooManyCalls,
        SessionError::Unencodable(error) => Error::Unencodable(error),
        other => Error::Disconnected(Arc::new(other.into())),
    }
}
