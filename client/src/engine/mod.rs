//! What being a ZEO client means, without sockets, clocks or tasks.
//!
//! A [`Link`] is one connection up to its registration; an [`Engine`] is a client with one link in use, whatever
//! happens to links. Feed a link through [`Link::session`], then call [`Link::register`] or [`Engine::advance`], then
//! take what has become of calls with [`Engine::poll_done`], then write out the session's output; repeat. The
//! tokio driver in `net/`, the tests, and the fuzz targets stand at these doors. `T` is whatever the driver knows a
//! caller by.
//!
//! # Order
//!
//! [`Engine::advance`] takes message after message, and finishes each before it looks at the next:
//!
//! * a load's reply enters the cache in that step (C1);
//! * an invalidation enters the cache, then every [`Invalidations`], and then moves
//!   [`last_transaction`](Engine::last_transaction) (C2); the reply of `tpc_finish` does the same (C3);
//! * until the link is verified, its invalidations wait in the link itself (C5).
//!
//! Whoever can only look between two steps, as behind a mutex, never sees anything in between. The cache is owned by
//! the engine alone (C6).

mod announce;
mod arriving;
mod calls;
mod changes;
mod feed;
mod info;
mod link;
mod older;
mod register;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::call::{GetInvalidations, ReceiveBlobChunk, ReceiveBlobStart, ReceiveBlobStop};
use zeo_codec::session::{ClientReply, ClientSession, Message};
use zeo_codec::{Call, Limits, Method, Oid, Reply, Tid};

pub use changes::Changes;
pub use feed::{Invalidation, Invalidations, Origin};
pub use info::ServerInfo;
pub use link::{Access, Link, Registration};

use crate::cache::{Cache, Revision};
use crate::error::{ConnectionError, Error, ServerError};
use feed::Feed;
use link::{Happened, Waiting};
use older::{Load, Tokens};

/// The result of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of `loadBefore`; `None` if the object had no such revision yet.
    Loaded(Option<Revision>),
    /// Of `loadSerial`.
    Data(Bytes),
    /// Of any other method.
    Reply(Reply<'static>),
}

/// What became of a call.
pub type Outcome = Result<Answer, Error>;

/// How far the link in use is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Offline,
    /// Waiting to hear what has changed since the last link; invalidations wait, too.
    Verifying,
    /// Verified; waiting for what the server has to say about itself.
    Describing,
    /// Calls can be made.
    Ready,
}

/// A client as a state machine; see the [module](self).
#[derive(Debug)]
pub struct Engine<T> {
    limits: Limits,
    label: Option<String>,
    cache: Option<Box<dyn Cache>>,
    last: Option<Tid>,
    link: Option<Link<T>>,
    stage: Stage,
    /// Counts links; a transaction or iterator lives in one.
    generation: u64,
    info: ServerInfo,
    feed: Feed,
    done: VecDeque<(T, Outcome)>,
    pieces: VecDeque<Piece>,
    blob_len_max: u64,
    drops_cache: bool,
}

/// The next bytes of a blob that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The blob object.
    pub oid: Oid,
    /// The revision.
    pub serial: Tid,
    /// The bytes.
    pub bytes: Bytes,
}

impl<T> Engine<T> {
    /// A client without a connection. What is in the cache will be verified.
    #[must_use]
    pub fn new(limits: Limits, label: Option<String>, cache: Option<Box<dyn Cache>>) -> Self {
        let mut engine = Self {
            limits,
            label,
            last: None,
            cache,
            link: None,
            stage: Stage::Offline,
            generation: 0,
            info: ServerInfo::default(),
            feed: Feed::default(),
            done: VecDeque::new(),
            pieces: VecDeque::new(),
            blob_len_max: u64::MAX,
            drops_cache: false,
        };
        if let Some(cache) = &engine.cache
            && !cache.is_empty()
        {
            engine.last = cache.last_tid();
            if engine.last.is_none() {
                tracing::error!("the cache holds objects but no last transaction; clearing it");
                engine.with_cache(|cache| cache.clear());
            }
        }
        engine
    }

    /// The last transaction whose changes have all been applied and announced; `None` before the first connection
    /// without a cache.
    #[must_use]
    pub const fn last_transaction(&self) -> Option<Tid> {
        self.last
    }

    /// Whether calls can be made.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    /// Whether the server or the client itself does not want writes.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_read_only)
    }

    /// Which connection this is, counted; another one after each loss.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What the server says about itself; from before, while there is no connection.
    #[must_use]
    pub const fn info(&self) -> &ServerInfo {
        &self.info
    }

    /// All changes from now on.
    pub fn subscribe(&mut self) -> Invalidations {
        self.feed.subscribe(self.last)
    }

    /// The session of the link in use.
    pub fn session(&mut self) -> Option<&mut ClientSession> {
        self.link.as_mut().map(Link::session)
    }

    /// Takes over a registered link, in place of the one in use.
    ///
    /// # Errors
    /// [`ConnectionError::ServerBehind`]: the link is not used (C4).
    pub fn adopt(&mut self, link: Link<T>, registered: Tid) -> Result<(), Arc<ConnectionError>> {
        if let Some(known) = self.last
            && registered < known
        {
            return Err(Arc::new(ConnectionError::ServerBehind { server: registered, known }));
        }
        if self.link.is_some() {
            self.disconnect(&Arc::new(ConnectionError::Replaced));
        }
        self.generation += 1;
        self.link = Some(link);
        self.stage = Stage::Verifying;
        let begun = match self.last {
            // Nobody knows anything that could be out of date.
            None => self.verified(Invalidation::Everything { tid: registered }),
            Some(known) if known == registered => self.in_use(),
            Some(known) => {
                let call = Call::GetInvalidations(GetInvalidations { tid: known });
                self.call_waiting(&call, Waiting::Verify(registered))
            }
        };
        self.ended(begun)
    }

    /// Handles what the session of the link has received.
    ///
    /// # Errors
    /// If the server did what it must not do; the link is gone then.
    pub fn advance(&mut self) -> Result<(), Arc<ConnectionError>> {
        let result = self.handle_all();
        self.ended(result)
    }

    fn ended(&mut self, result: Result<(), ConnectionError>) -> Result<(), Arc<ConnectionError>> {
        result.map_err(|error| {
            let error = Arc::new(error);
            self.disconnect(&error);
            error
        })
    }

    fn handle_all(&mut self) -> Result<(), ConnectionError> {
        while let Some(link) = &mut self.link
            && let Some(happened) = link.poll()?
        {
            match happened {
                Happened::Loaded { oid, before, load, reply } => self.on_load(oid, before, load, &reply)?,
                Happened::Replied { to, reply } => self.on_reply(to, &reply)?,
                Happened::Called(message) => self.on_call(&message)?,
            }
        }
        Ok(())
    }

    /// Drops the cache when a server of ZEO 4 cannot tell what has changed, rather than ask about each object: ZEO 4's
    /// `drop-cache-rather-verify`.
    pub const fn set_drops_cache(&mut self, drops_cache: bool) {
        self.drops_cache = drops_cache;
    }

    /// The longest blob that a server may send, in bytes.
    pub const fn set_blob_len_max(&mut self, len_max: u64) {
        self.blob_len_max = len_max;
    }

    /// The next bytes of a blob. Take all of them before the outcomes: that of a blob comes behind its last bytes.
    pub fn poll_piece(&mut self) -> Option<Piece> {
        self.pieces.pop_front()
    }

    /// What has become of a call that was made with a token.
    pub fn poll_done(&mut self) -> Option<(T, Outcome)> {
        self.done.pop_front()
    }

    /// There is no connection any more: all calls in flight fail (C8), and the outcome of a `tpc_finish` is unknown
    /// (C7).
    pub fn disconnect(&mut self, why: &Arc<ConnectionError>) {
        let Some(link) = self.link.take() else { return };
        self.stage = Stage::Offline;
        self.generation += 1;
        for waiting in link.into_waiting() {
            let (token, error) = match waiting {
                Waiting::Call(token) | Waiting::Blob { token, .. } => {
                    (token, Error::Disconnected(Arc::clone(why)))
                }
                Waiting::Finish { token, changes } => {
                    let lost = changes.into_lost(self.last, Arc::clone(why));
                    (token, Error::OutcomeUnknown(Box::new(lost)))
                }
                Waiting::Load(..) | Waiting::Verify(_) | Waiting::Info | Waiting::Nobody => continue,
            };
            self.done.push_back((token, Err(error)));
        }
    }

    /// No connection will follow: all [`Invalidations`] end, and the cache is let go of.
    pub fn close(&mut self) {
        self.disconnect(&Arc::new(ConnectionError::Closed));
        self.feed = Feed::default();
        self.cache = None;
    }

    fn on_load(
        &mut self,
        oid: Oid,
        before: Tid,
        load: Load<T>,
        reply: &ClientReply,
    ) -> Result<(), ConnectionError> {
        let loaded = match reply.result(&self.limits) {
            Ok(loaded) => loaded,
            Err(error) => {
                return Err(self.fail_loads(load.tokens, ConnectionError::malformed(reply.method, error)));
            }
        };
        let outcome = match loaded {
            Ok(Reply::Loaded(loaded)) => {
                let (serial, end) = (loaded.serial, loaded.end);
                if serial >= before || end.is_some_and(|end| end < before) {
                    return Err(self
                        .fail_loads(load.tokens, ConnectionError::BadRevision { oid, before, serial, end }));
                }
                let revision = Revision { data: reply.keep(loaded.data), serial, end };
                let Some(revision) = load.settle(revision, before) else {
                    return self.load_again(oid, before, load.tokens);
                };
                self.with_cache(|cache| cache.store(oid, &revision));
                Ok(Answer::Loaded(Some(revision)))
            }
            Ok(_) => Ok(Answer::Loaded(None)),
            Err(error) => Err(ServerError::from(error).into()),
        };
        let mut tokens = load.tokens;
        // Mostly there is but one, and nothing to share.
        let Some(last) = tokens.pop() else { return Ok(()) };
        self.done.extend(tokens.into_iter().map(|token| (token, outcome.clone())));
        self.done.push_back((last, outcome));
        Ok(())
    }

    fn load_again(&mut self, oid: Oid, before: Tid, tokens: Tokens<T>) -> Result<(), ConnectionError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        Ok(link.load_again(oid, before, tokens)?)
    }

    fn on_reply(&mut self, to: Waiting<T>, reply: &ClientReply) -> Result<(), ConnectionError> {
        let result = match reply.result(&self.limits) {
            Ok(result) => result.map_err(ServerError::from),
            Err(error) => return Err(self.fail_with(to, ConnectionError::malformed(reply.method, error))),
        };
        match to {
            Waiting::Nobody => Ok(()),
            Waiting::Info => {
                let info = ServerInfo::from_reply(&result.map_err(ConnectionError::Refused)?);
                self.info = info.ok_or(ConnectionError::NotADict(Method::GetInfo))?;
                self.stage = Stage::Ready;
                Ok(())
            }
            Waiting::Verify(registered) => match result.map_err(ConnectionError::Refused)? {
                Reply::Invalidations(found) => self.on_verification(registered, found.tid, found.oids),
                _ => self.verify_otherwise(registered),
            },
            Waiting::Finish { token, changes } => self.on_finish(token, changes, result),
            Waiting::Blob { token, oid, serial } => self.on_blob(token, oid, serial, result.map(drop)),
            // A load's reply comes another way.
            Waiting::Load(..) => Ok(()),
            Waiting::Call(token) => {
                let result = match &mut self.link {
                    Some(link) if reply.method == Some(Method::Vote) && link.is_older() => {
                        // Taken in any case: nothing of it belongs to the next vote.
                        let voted = link.voted();
                        result.and(voted)
                    }
                    _ => result,
                };
                let answer = match result {
                    Err(error) => Err(error.into()),
                    Ok(Reply::None) if reply.method.is_some_and(has_result) => {
                        let method = reply.method.unwrap_or(Method::Ping);
                        return Err(self.fail_with(Waiting::Call(token), ConnectionError::NoResult(method)));
                    }
                    Ok(Reply::Data(data)) => Ok(Answer::Data(reply.keep(data))),
                    Ok(result) => Ok(Answer::Reply(result.into_owned())),
                };
                self.done.push_back((token, answer));
                Ok(())
            }
        }
    }

    fn on_blob(
        &mut self,
        token: T,
        oid: Oid,
        serial: Tid,
        result: Result<(), ServerError>,
    ) -> Result<(), ConnectionError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let outcome = match result {
            Err(error) => {
                link.blobs.failed(oid, serial);
                Err(error.into())
            }
            Ok(()) => match link.blobs.answered(oid, serial) {
                Ok(true) => Ok(Answer::Reply(Reply::None)),
                Ok(false) => Err(Error::NoBlob { oid, serial }),
                Err(error) => return Err(self.fail_with(Waiting::Blob { token, oid, serial }, error)),
            },
        };
        self.done.push_back((token, outcome));
        Ok(())
    }

    fn on_call(&mut self, message: &Message) -> Result<(), ConnectionError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if self.stage == Stage::Verifying {
            return self.on_early_call(message);
        }
        match link.parse(message)? {
            Some(Call::InvalidateTransaction(invalidation)) => self.on_invalidation(invalidation),
            Some(Call::Untyped(Method::Serialnos, args)) if link.is_older() => link.keep_serialnos(&args),
            Some(Call::Info(info)) => {
                self.info.change(&info.changes);
                Ok(())
            }
            Some(Call::ReceiveBlobStart(ReceiveBlobStart { oid, serial })) => link.blobs.begin(oid, serial),
            Some(Call::ReceiveBlobChunk(ReceiveBlobChunk { oid, serial, chunk })) => {
                link.blobs.go_on(oid, serial, chunk.len(), self.blob_len_max)?;
                self.pieces.push_back(Piece { oid, serial, bytes: message.keep(chunk) });
                Ok(())
            }
            Some(Call::ReceiveBlobStop(ReceiveBlobStop { oid, serial })) => link.blobs.end(oid, serial),
            _ => Ok(()),
        }
    }

    /// Does something with the cache. A cache that fails is not used any more: with an invalidation missing it would
    /// lie.
    fn with_cache<R>(&mut self, act: impl FnOnce(&mut dyn Cache) -> io::Result<R>) -> Option<R> {
        let cache = self.cache.as_mut()?;
        match act(cache.as_mut()) {
            Ok(result) => Some(result),
            Err(error) => {
                tracing::error!("going on without a cache: {error}");
                self.cache = None;
                None
            }
        }
    }

    /// Whoever has been taken out to be answered hears of the end with everybody else.
    fn fail_with(&mut self, waiting: Waiting<T>, error: ConnectionError) -> ConnectionError {
        if let Some(link) = &mut self.link {
            link.put_back([waiting]);
        }
        error
    }

    fn fail_loads(&mut self, tokens: Tokens<T>, error: ConnectionError) -> ConnectionError {
        if let Some(link) = &mut self.link {
            link.put_back(tokens.into_iter().map(Waiting::Call));
        }
        error
    }
}

/// Whether the method never answers `None` (protocol reference 7).
const fn has_result(method: Method) -> bool {
    matches!(
        method,
        Method::LoadSerial
            | Method::NewOids
            | Method::GetTid
            | Method::IteratorStart
            | Method::IteratorRecordStart
            | Method::RecordIternext
    )
}
