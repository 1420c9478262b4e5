//! One connection, and which call a reply belongs to. How it begins is in [`register`](super::register).

use bytes::Bytes;
use hashbrown::HashMap;
use zeo_codec::call::{InvalidateTransaction, LoadBefore, TransactionRef, TxnId};
use zeo_codec::digest::SessionKey;
use zeo_codec::handshake::Version;
use zeo_codec::session::{ClientEvent, ClientReply, ClientSession, Incoming, Message, SessionError};
use zeo_codec::{Call, Limits, Method, MsgId, Oid, Tid};

use super::Changes;
use super::arriving::Arriving;
use super::older::{Load, Tokens};
use crate::credentials::Credentials;
use crate::error::{ConnectionError, Error, ServerError};

/// Oids (and transactions) of invalidations that are kept until the connection is in use.
pub(super) const EARLY_COUNT_MAX: usize = 1_000_000;

/// Those of ZEO 4.0 and later, the newest last; ZEO 3 has some fewer calls.
const VERSIONS: [Version; 3] = [Version::V3101, Version::V4, Version::V5];

/// Calls beyond [`Limits::pending_count`] that end transactions, or that the engine makes for itself.
const SPARE_CALL_COUNT: usize = 1000;

/// Whether the client wants to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Only servers that can be written to will do.
    #[default]
    ReadWrite,
    /// The client does not write.
    ReadOnly,
    /// Rather a server that can be written to, but one that cannot will do meanwhile: Python's `read_only_fallback`.
    PreferWrite,
}

/// What a client says when it registers.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Name of the storage; `1` unless the server has several.
    pub storage: String,
    /// Whether it wants to write.
    pub access: Access,
    /// Who it is, for servers of ZEO 4 that want to know.
    pub credentials: Option<Credentials>,
}

/// Who waits for a reply.
#[derive(Debug)]
pub(super) enum Waiting<T> {
    /// A caller.
    Call(T),
    /// A caller, and the cache.
    Finish { token: T, changes: Changes },
    /// A caller, who has been given the pieces of a blob.
    Blob { token: T, oid: Oid, serial: Tid },
    /// Those who wait for this load, where the id of a message does not tell which one it is.
    Load(Oid, Tid),
    /// The engine: what changed since this transaction?
    Verify(Tid),
    /// The engine: what does the server serve?
    Info,
    /// Nobody.
    Nobody,
}

/// What a server did that the engine has to look at.
#[derive(Debug)]
pub(super) enum Happened<T> {
    Replied { to: Waiting<T>, reply: ClientReply },
    Loaded { oid: Oid, before: Tid, load: Load<T>, reply: ClientReply },
    Called(Message),
}

/// A connection. Until it is registered it stands for itself; then an [`Engine`](super::Engine) takes it over.
///
/// Several can be tried at the same time: what each server announces meanwhile stays with its connection (C5).
#[derive(Debug)]
pub struct Link<T> {
    pub(super) session: ClientSession,
    pub(super) limits: Limits,
    pub(super) registration: Registration,
    pub(super) is_read_only: bool,
    /// What the server said when it registered us.
    pub(super) registered: Option<Tid>,
    /// Of the MACs, once the server accepts us.
    pub(super) key: Option<SessionKey>,
    calls: HashMap<i64, Waiting<T>>,
    pub(super) loads: HashMap<(Oid, Tid), Load<T>>,
    /// Whose reply was no reply.
    unanswered: Vec<Waiting<T>>,
    early: Vec<InvalidateTransaction>,
    early_count: usize,
    pub(super) blobs: Arriving,
    /// Objects are being verified; what the server's last transaction was at the registration.
    pub(super) verifying: Option<Tid>,
    /// What `serialnos` has told before the reply of the vote: objects that were resolved, and why it failed.
    pub(super) resolved: Vec<Oid>,
    pub(super) failure: Option<ServerError>,
    /// The answer to a vote is due, and what is to be said when it is there.
    is_voting: bool,
    abort_after_vote: Option<(TxnId, T)>,
}

impl<T> Link<T> {
    /// A connection that begins.
    #[must_use]
    pub fn new(registration: Registration, limits: Limits) -> Self {
        Self::with_versions(registration, limits, &VERSIONS)
    }

    /// A connection that begins, and that speaks the protocol of ZEO 4 whatever the server has: for
    /// [`ConnectionError::AuthenticatesAsZeo4`].
    #[must_use]
    pub fn of_zeo4(registration: Registration, limits: Limits) -> Self {
        let older = VERSIONS.split_last().map_or(&[][..], |(_, older)| older);
        Self::with_versions(registration, limits, older)
    }

    fn with_versions(registration: Registration, limits: Limits, versions: &[Version]) -> Self {
        let mut session = ClientSession::with_versions(
            Limits { pending_count: limits.pending_count.saturating_add(SPARE_CALL_COUNT), ..limits },
            versions,
        );
        session.begin_for_any_python();
        Self {
            session,
            limits,
            is_read_only: registration.access == Access::ReadOnly,
            registration,
            registered: None,
            key: None,
            calls: HashMap::new(),
            loads: HashMap::new(),
            unanswered: Vec::new(),
            early: Vec::new(),
            early_count: 0,
            blobs: Arriving::default(),
            verifying: None,
            resolved: Vec::new(),
            failure: None,
            is_voting: false,
            abort_after_vote: None,
        }
    }

    /// Bytes in both directions: append to its receive buffer, and write out its output.
    pub const fn session(&mut self) -> &mut ClientSession {
        &mut self.session
    }

    /// Whether the client has registered to only read.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Keeps an invalidation for the time when the connection is in use. What else a server says that early is said
    /// again when it is asked.
    pub(super) fn keep_early(&mut self, message: &Message) -> Result<(), ConnectionError> {
        if let Some(Call::InvalidateTransaction(invalidation)) = self.parse(message)? {
            self.early_count += 1 + invalidation.oids.len();
            if self.early_count > EARLY_COUNT_MAX {
                return Err(ConnectionError::TooManyEarly(EARLY_COUNT_MAX));
            }
            self.early.push(invalidation);
        }
        Ok(())
    }

    pub(super) fn take_early(&mut self) -> Vec<InvalidateTransaction> {
        self.early_count = 0;
        std::mem::take(&mut self.early)
    }

    /// The call that a message is; `None` for methods that we do not know, which Python's clients ignore, too.
    pub(super) fn parse<'m>(&self, message: &'m Message) -> Result<Option<Call<'m>>, ConnectionError> {
        let parsed = message.parse(&self.limits).map_err(SessionError::from)?;
        let Incoming::Call(envelope) = parsed else { return Ok(None) };
        let Some(method) = Method::from_name(&envelope.name) else { return Ok(None) };
        let call = Call::parse(method, envelope.args, &self.limits);
        call.map(Some).map_err(|error| ConnectionError::malformed(Some(method), error))
    }

    /// The link, if one more call of the application may be in flight.
    pub(super) fn with_room(&mut self) -> Result<&mut Self, Error> {
        let is_full = self.session.pending_len() >= self.limits.pending_count;
        if is_full { Err(Error::TooManyCalls) } else { Ok(self) }
    }

    /// Makes a call. One-way calls need nobody to wait.
    pub(super) fn call(&mut self, call: &Call<'_>, waiting: Waiting<T>) -> Result<(), SessionError> {
        let translated = self.translated(call);
        let call = translated.as_ref().unwrap_or(call);
        let id = self.session.call(call)?;
        self.is_voting |= call.method() == Some(Method::Vote);
        if !call.method().is_some_and(Method::is_one_way)
            && let MsgId::Int(id) = id
        {
            self.calls.insert(id, waiting);
        }
        Ok(())
    }

    /// Makes a one-way call whose large records lie in `memory`, and are sent from there.
    pub(super) fn send(&mut self, call: &Call<'_>, memory: &Bytes) -> Result<(), SessionError> {
        let translated = self.translated(call);
        self.session.call_sharing(translated.as_ref().unwrap_or(call), memory).map(drop)
    }

    /// Asks for a revision, or joins those who wait for the same (protocol reference 3.1).
    pub(super) fn load(&mut self, oid: Oid, before: Tid, token: T) -> Result<(), SessionError> {
        if let Some(load) = self.loads.get_mut(&(oid, before)) {
            load.tokens.push(token);
            return Ok(());
        }
        self.send_load(oid, before)?;
        self.loads.insert((oid, before), Load::new(Tokens::from([token])));
        Ok(())
    }

    /// Asks once more for a revision whose answer is of no use. Those who wait go on waiting, if need be for the end.
    pub(super) fn load_again(
        &mut self,
        oid: Oid,
        before: Tid,
        tokens: Tokens<T>,
    ) -> Result<(), SessionError> {
        self.loads.insert((oid, before), Load::new(tokens));
        self.send_load(oid, before)
    }

    fn send_load(&mut self, oid: Oid, before: Tid) -> Result<(), SessionError> {
        if let MsgId::Int(id) = self.session.call(&Call::LoadBefore(LoadBefore { oid, before }))? {
            self.calls.insert(id, Waiting::Load(oid, before));
        }
        Ok(())
    }

    /// Gives a transaction up; drops `token` when the next one may begin. That is now, but with a server of ZEO 4 that has
    /// not answered the vote yet: there an abort may cross the moment in which the transaction gets the lock that it
    /// waits for, which nobody gives back then (`StorageServer.py:_try_to_vote`, 4.3.1, does not look for the transaction).
    pub(super) fn abort(&mut self, id: TxnId, token: T) -> Result<(), SessionError> {
        if self.is_voting && self.is_older() {
            self.abort_after_vote = Some((id, token));
            return Ok(());
        }
        self.call(&Call::Transaction(Method::TpcAbort, TransactionRef { id }), Waiting::Nobody)
    }

    /// Notes that a vote has been answered.
    fn end_vote(&mut self) -> Result<(), SessionError> {
        self.is_voting = false;
        match self.abort_after_vote.take() {
            Some((id, token)) => self.abort(id, token),
            None => Ok(()),
        }
    }

    /// The next thing that the server did.
    pub(super) fn poll(&mut self) -> Result<Option<Happened<T>>, SessionError> {
        let Some(event) = self.session.poll_event()? else { return Ok(None) };
        match event {
            // The greeting is over when a link is taken over.
            ClientEvent::Connected(_) => Err(SessionError::BadHandshake),
            ClientEvent::Call(message) => Ok(Some(Happened::Called(message))),
            ClientEvent::Reply(reply) => {
                let (oid, before) = match reply.id {
                    MsgId::Load(oid, before) => (oid, before),
                    _ => match self.take(&reply)? {
                        Waiting::Load(oid, before) => (oid, before),
                        to => return Ok(Some(Happened::Replied { to, reply })),
                    },
                };
                let load = self.loads.remove(&(oid, before)).ok_or(SessionError::UnexpectedReply)?;
                Ok(Some(Happened::Loaded { oid, before, load, reply }))
            }
        }
    }

    pub(super) fn take(&mut self, reply: &ClientReply) -> Result<Waiting<T>, SessionError> {
        if reply.method == Some(Method::Vote) {
            self.end_vote()?;
        }
        let waiting = if let MsgId::Int(id) = &reply.id { self.calls.remove(id) } else { None };
        waiting.ok_or(SessionError::UnexpectedReply)
    }

    /// Puts back who was about to be answered, but will not be.
    pub(super) fn put_back(&mut self, waiting: impl IntoIterator<Item = Waiting<T>>) {
        self.unanswered.extend(waiting);
    }

    /// Everybody who waits, when there will be no replies any more.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = Waiting<T>> {
        let loads = self.loads.into_values().flat_map(|load| load.tokens).map(Waiting::Call);
        self.unanswered.into_iter().chain(self.calls.into_values()).chain(loads)
    }
}
