//! One connection: greeting, registration, and which call a reply belongs to.

use std::collections::HashMap;

use zeo_codec::call::{InvalidateTransaction, Register};
use zeo_codec::session::{ClientEvent, ClientReply, ClientSession, Incoming, Message, SessionError};
use zeo_codec::{Call, Limits, Method, MsgId, Oid, Reply, Tid, Value};

use super::Changes;
use super::arriving::Arriving;
use crate::error::{ConnectionError, Error, ServerError, ServerErrorKind};

/// Oids (and transactions) of invalidations that are kept until the connection is in use.
const EARLY_COUNT_MAX: usize = 1_000_000;

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
    Loaded { oid: Oid, before: Tid, tokens: Vec<T>, reply: ClientReply },
    Called(Message),
}

/// A connection. Until it is registered it stands for itself; then an [`Engine`](super::Engine) takes it over.
///
/// Several can be tried at the same time: what each server announces meanwhile stays with its connection (C5).
#[derive(Debug)]
pub struct Link<T> {
    pub(super) session: ClientSession,
    limits: Limits,
    registration: Registration,
    is_read_only: bool,
    /// What the server said when it registered us.
    registered: Option<Tid>,
    calls: HashMap<i64, Waiting<T>>,
    loads: HashMap<(Oid, Tid), Vec<T>>,
    /// Whose reply was no reply.
    unanswered: Vec<Waiting<T>>,
    early: Vec<InvalidateTransaction>,
    early_count: usize,
    pub(super) blobs: Arriving,
}

impl<T> Link<T> {
    /// A connection that begins.
    #[must_use]
    pub fn new(registration: Registration, limits: Limits) -> Self {
        Self {
            session: ClientSession::new(Limits {
                pending_count: limits.pending_count.saturating_add(SPARE_CALL_COUNT),
                ..limits
            }),
            limits,
            is_read_only: registration.access == Access::ReadOnly,
            registration,
            registered: None,
            calls: HashMap::new(),
            loads: HashMap::new(),
            unanswered: Vec::new(),
            early: Vec::new(),
            early_count: 0,
            blobs: Arriving::default(),
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

    /// Goes on with greeting and registration as far as the bytes reach; the server's last transaction once it has
    /// registered the client. Then the link is for [`Engine::adopt`](super::Engine::adopt).
    ///
    /// # Errors
    /// If this will never become a connection.
    pub fn register(&mut self) -> Result<Option<Tid>, ConnectionError> {
        while self.registered.is_none() {
            match self.session.poll_event()? {
                None => return Ok(None),
                Some(ClientEvent::Connected(_)) => self.call_register()?,
                Some(ClientEvent::Reply(reply)) => self.on_registration(&reply)?,
                Some(ClientEvent::Call(message)) => self.keep_early(&message)?,
            }
        }
        Ok(self.registered)
    }

    fn call_register(&mut self) -> Result<(), ConnectionError> {
        let storage = self.registration.storage.clone().into();
        let read_only = Value::Bool(self.is_read_only);
        let call = Call::Register(Register { storage, read_only, credentials: None });
        Ok(self.call(&call, Waiting::Nobody)?)
    }

    fn on_registration(&mut self, reply: &ClientReply) -> Result<(), ConnectionError> {
        let method = reply.method.unwrap_or(Method::Register);
        self.take(reply)?;
        match reply.result(&self.limits).map_err(|error| ConnectionError::malformed(Some(method), error))? {
            Ok(Reply::Tid(tid)) => self.registered = Some(tid),
            // A storage that does not tell its last transaction; Python asks again in another way.
            Ok(_) if method == Method::Register => {
                self.call(&Call::Plain(Method::LastTransaction), Waiting::Nobody)?;
            }
            Ok(_) => self.registered = Some(Tid::ZERO),
            Err(error) => {
                let error = ServerError::from(error);
                let may_fall_back = self.registration.access == Access::PreferWrite && !self.is_read_only;
                if !may_fall_back || error.kind() != ServerErrorKind::ReadOnly {
                    return Err(ConnectionError::Refused(error));
                }
                self.is_read_only = true;
                self.call_register()?;
            }
        }
        Ok(())
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
        let is_full = self.calls.len() + self.loads.len() >= self.limits.pending_count;
        if is_full { Err(Error::TooManyCalls) } else { Ok(self) }
    }

    /// Makes a call. One-way calls need nobody to wait.
    pub(super) fn call(&mut self, call: &Call<'_>, waiting: Waiting<T>) -> Result<(), SessionError> {
        let id = self.session.call(call)?;
        if id != MsgId::ONE_WAY
            && let MsgId::Int(id) = id
        {
            self.calls.insert(id, waiting);
        }
        Ok(())
    }

    /// Asks for a revision, or joins those who wait for the same (protocol reference 3.1).
    pub(super) fn load(
        &mut self,
        call: &Call<'_>,
        oid: Oid,
        before: Tid,
        token: T,
    ) -> Result<(), SessionError> {
        if let Some(tokens) = self.loads.get_mut(&(oid, before)) {
            tokens.push(token);
            return Ok(());
        }
        self.session.call(call)?;
        self.loads.insert((oid, before), vec![token]);
        Ok(())
    }

    /// The next thing that the server did.
    pub(super) fn poll(&mut self) -> Result<Option<Happened<T>>, SessionError> {
        let Some(event) = self.session.poll_event()? else { return Ok(None) };
        match event {
            // The greeting is over when a link is taken over.
            ClientEvent::Connected(_) => Err(SessionError::BadHandshake),
            ClientEvent::Call(message) => Ok(Some(Happened::Called(message))),
            ClientEvent::Reply(reply) => {
                if let MsgId::Load(oid, before) = reply.id
                    && let Some(tokens) = self.loads.remove(&(oid, before))
                {
                    return Ok(Some(Happened::Loaded { oid, before, tokens, reply }));
                }
                let to = self.take(&reply)?;
                Ok(Some(Happened::Replied { to, reply }))
            }
        }
    }

    fn take(&mut self, reply: &ClientReply) -> Result<Waiting<T>, SessionError> {
        let waiting = if let MsgId::Int(id) = &reply.id { self.calls.remove(id) } else { None };
        waiting.ok_or(SessionError::UnexpectedReply)
    }

    /// Puts back who was about to be answered, but will not be.
    pub(super) fn put_back(&mut self, waiting: impl IntoIterator<Item = Waiting<T>>) {
        self.unanswered.extend(waiting);
    }

    /// Everybody who waits, when there will be no replies any more.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = Waiting<T>> {
        let loads = self.loads.into_values().flatten().map(Waiting::Call);
        self.unanswered.into_iter().chain(self.calls.into_values()).chain(loads)
    }
}
