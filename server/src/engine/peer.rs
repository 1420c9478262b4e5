//! One connection as the engine sees it: who it is, where it reads, and what its messages lead to.

mod auth;
mod blob;
mod closing;
mod commit;
mod methods;
mod old;
mod pack;
mod past;
mod read;
mod relay;
mod say;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use zeo_codec::call::{Register, UndoInfo, UndoLog};
use zeo_codec::session::{Incoming, Message, ServerSession};
use zeo_codec::{
    Call, Dialect, EncodeError, Envelope, Expected, Generation, Limits, MessageError, Method, MsgId, Oid,
    Reply, ShapeError, Value,
};

use blob::Download;
pub use closing::Closing;
use methods::uses_iterator;
use say::{finished, send, send_error, send_size, size_info};

use super::error::CallError;
use super::iterators::Iterators;
use super::job::{Answered, AskJob, Job};
use super::journal::{Cursor, Event, Lag};
use super::load::ReadAhead;
use super::mailbox::{Mail, Mailbox};
use super::pack::PackCancel;
use super::printable::{ERROR_LEN, LABEL_LEN, NAME_LEN, printable};
use super::python2;
use super::served::Served;
use super::transaction::{Stage, Transaction};
use super::{Engine, PeerId};
use crate::limits::Limit;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// It is dealt with.
    Done,
    /// It has to wait until the commit, or one of the questions or downloads, under way has ended: offer it again
    /// after the next wake-up or [`Peer::produce`], and nothing else before it.
    Blocked,
}

/// How a call was answered.
enum Answer {
    Reply(Reply<'static>),
    /// The reply stands in the output already, or will come later.
    Sent,
    /// What a vote has to say to a client of ZEO 4: `serialnos`, and then the reply.
    Serials(Vec<(Oid, Value<'static>)>),
}

/// A connection. Dropping it aborts its transaction and gives up the commit lock.
#[derive(Debug)]
pub struct Peer {
    engine: Arc<Engine>,
    id: PeerId,
    mailbox: Arc<Mailbox>,
    address: String,
    label: String,
    limits: Limits,
    attached: Option<Attached>,
    is_read_only: bool,
    transaction: Option<Transaction>,
    lock_deadline: Option<Instant>,
    clock: fn() -> Instant,
    /// What the driver is to run.
    jobs: VecDeque<Job>,
    /// Number of long questions that have no answer yet.
    asking_count: usize,
    /// Packs for which the client waits: nobody needs them when it is gone.
    awaited_packs: Vec<PackCancel>,
    /// Blobs on their way to the client, whose turn it is first.
    downloads: VecDeque<Download>,
    /// Where a piece of a blob is read to.
    chunk: Vec<u8>,
    /// Counts how often files were to be made durable.
    sync_round: u64,
    iterators: Iterators,
    read_ahead: ReadAhead,
    /// The rules of the session; known from the first message on.
    dialect: Dialect,
    authentication: auth::Authentication,
    /// It asks for the state of each object in its cache.
    is_verifying: bool,
    /// What its next message waits for.
    held_back: Option<Limit>,
}

/// What a connection has once it is registered.
#[derive(Debug)]
struct Attached {
    served: Arc<Served>,
    cursor: Cursor,
}

impl Peer {
    pub(super) fn new(engine: Arc<Engine>, id: PeerId, address: String, mailbox: Arc<Mailbox>) -> Self {
        let is_read_only = engine.options.read_only;
        let iterator_count = engine.options.iterator_count;
        Self {
            engine,
            id,
            mailbox,
            label: address.clone(),
            address,
            limits: Limits::DEFAULT,
            attached: None,
            is_read_only,
            transaction: None,
            lock_deadline: None,
            clock: Instant::now,
            jobs: VecDeque::new(),
            asking_count: 0,
            awaited_packs: Vec::new(),
            downloads: VecDeque::new(),
            chunk: Vec::new(),
            sync_round: 0,
            iterators: Iterators::new(iterator_count),
            read_ahead: ReadAhead::default(),
            dialect: Dialect::Z5,
            authentication: auth::Authentication::default(),
            is_verifying: false,
            held_back: None,
        }
    }

    /// Lets deadlines be reckoned by the driver's clock.
    pub const fn set_clock(&mut self, clock: fn() -> Instant) {
        self.clock = clock;
    }

    /// Sets the bounds on what one message may hold.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// What the client is called in the log.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether it has a storage.
    #[must_use]
    pub const fn is_registered(&self) -> bool {
        self.attached.is_some()
    }

    /// Handles a message.
    ///
    /// # Errors
    /// Why the connection is to be closed. Replies to earlier messages still stand in the session's output.
    pub fn on_message(&mut self, message: &Message, session: &mut ServerSession) -> Result<Flow, Closing> {
        self.catch_up(session)?;
        match message.parse(&self.limits)? {
            Incoming::KeepAlive => Ok(Flow::Done),
            Incoming::Reply(_) => Err(Closing::UnexpectedReply),
            Incoming::Call(envelope) => self.on_call(envelope, &message.payload, session),
        }
    }

    fn on_call(
        &mut self,
        envelope: Envelope<'_>,
        payload: &Bytes,
        session: &mut ServerSession,
    ) -> Result<Flow, Closing> {
        if let MsgId::Other(id) = &envelope.id
            && !is_data(id)
        {
            return Err(Closing::UnusableId);
        }
        session.adopt(envelope.flavor);
        self.dialect = *session.dialect();
        if self.is_authenticating(&envelope.name) {
            return self.authenticate(envelope, session);
        }
        let known = Method::from_name(&envelope.name);
        let Some(method) = known.filter(|method| self.allows(*method)) else {
            if let Some(method) = known.filter(|_| self.attached.is_none()) {
                return Err(Closing::NotRegistered(method.name()));
            }
            let name = String::from_utf8_lossy(&envelope.name);
            return Err(Closing::InvalidMethod(name.chars().take(NAME_LEN).collect()));
        };
        let reached = self.limit_before(method);
        let is_blocked = reached.is_some()
            || (method.is_transactional() && self.is_finishing())
            || (uses_iterator(method) && self.iterators.is_starting());
        // A message is offered until it is let through, and counted once.
        if let Some(limit) = reached
            && self.held_back != reached
        {
            self.engine.reached.count(limit);
        }
        self.held_back = reached;
        if is_blocked {
            return Ok(Flow::Blocked);
        }
        if envelope.is_one_way() && method.is_only_asking() {
            // Nobody waits for the answer.
            return Ok(Flow::Done);
        }
        let reply_to = if envelope.is_one_way() { None } else { Some(&envelope.id) };
        let args = match self.dialect.generation {
            Generation::Versions => old::without_version(method, envelope.args, &self.limits),
            _ => Ok(envelope.args),
        };
        let result = match args {
            // Looked at where it is made: a call is large enough for moves to show.
            Ok(args) => match Call::parse(method, args, &self.limits) {
                Ok(call) => self.execute(call, payload, reply_to, session),
                Err(MessageError::Shape(error)) => self.refuse(method, error),
                Err(MessageError::Undecodable(error)) => return Err(error.into()),
            },
            Err(old::Misfit::Version(error)) => Err(error),
            Err(old::Misfit::Message(MessageError::Shape(error))) => self.refuse(method, error),
            Err(old::Misfit::Message(MessageError::Undecodable(error))) => return Err(error.into()),
        };
        self.answer(method, reply_to, result, session)?;
        if self.attached.is_none() {
            self.check_patience()?;
        }
        Ok(Flow::Done)
    }

    /// Refuses arguments. A record that is no bytes does not end the connection: Python's server keeps it until the
    /// vote, where the storage raises the `TypeError` (StorageServer.py:storea, storeBlobEnd, ZEO 6.2 and 5.2.3, whose
    /// `checkTransactionBufferCleanup` stores text).
    fn refuse(&mut self, method: Method, error: ShapeError) -> Result<Answer, CallError> {
        use Method as M;
        let is_record = error == ShapeError { index: 2, expected: Expected::Bytes }
            && matches!(method, M::Storea | M::Restorea | M::StoreBlobEnd | M::StoreBlobShared);
        match &mut self.transaction {
            Some(transaction) if is_record => {
                transaction.fail(CallError::BadArguments(error));
                Ok(Answer::Reply(Reply::None))
            }
            _ => Err(CallError::BadArguments(error)),
        }
    }

    fn execute(
        &mut self,
        call: Call<'_>,
        payload: &Bytes,
        reply_to: Option<&MsgId<'_>>,
        session: &mut ServerSession,
    ) -> Result<Answer, CallError> {
        if self.passes_on(&call)? {
            return self.pass_on(&call);
        }
        // First: some of what follows older clients have in another way.
        if self.dialect.generation != Generation::Zeo5
            && let Some(reply) = self.execute_old(&call, session)?
        {
            return Ok(Answer::Reply(reply));
        }
        let reply = match call {
            Call::LoadBefore(args) => return self.load_before(args, reply_to, session),
            Call::LoadSerial(args) => return self.load_serial(args, reply_to, session),
            Call::Storea(args) => self.storea(args, payload)?,
            Call::TpcBegin(args) => self.tpc_begin(&args, payload, session.dialect().framing)?,
            Call::Transaction(Method::Vote, args) => return self.vote(args.id, reply_to),
            Call::Transaction(Method::TpcFinish, args) => return self.tpc_finish(args.id, reply_to),
            Call::Transaction(_, args) => self.tpc_abort(args.id)?,
            Call::Restorea(args) => self.restorea(args, payload)?,
            Call::Undoa(args) => self.undoa(&args)?,
            Call::CheckCurrentSerial(args) => self.check_current_serial(args)?,
            Call::Plain(Method::StoreBlobStart) => self.store_blob_start()?,
            Call::StoreBlobChunk(args) => self.store_blob_chunk(&args)?,
            Call::StoreBlobEnd(args) => self.store_blob_end(args)?,
            Call::StoreBlobShared(args) => self.store_blob_shared(args)?,
            Call::SendBlob(args) => return self.send_blob(args, reply_to),
            Call::DeleteObject(args) => self.delete_object(args)?,
            Call::NewOids(args) => self.new_oids(args)?,
            Call::GetInvalidations(args) => self.get_invalidations(args)?,
            Call::History(args) => return self.history(args, reply_to),
            Call::UndoLog(UndoLog { first, last }) => {
                let args = UndoInfo { first, last, specification: Value::None };
                return self.undo_log(Method::UndoLog, args, reply_to);
            }
            Call::UndoInfo(args) => return self.undo_log(Method::UndoInfo, args, reply_to),
            Call::RecordIternext(args) => self.record_iternext(args)?,
            Call::IteratorStart(args) => return self.iterator_start(args, reply_to),
            Call::IteratorNext(Method::IteratorNext, args) => self.iterator_next(args)?,
            Call::IteratorRecordStart(args) => self.iterator_record_start(args)?,
            Call::IteratorNext(_, args) => self.iterator_record_next(args)?,
            Call::IteratorGc(args) => self.iterator_gc(&args),
            Call::GetTid(args) => self.get_tid(args)?,
            Call::Pack(args) => return self.pack(&args, reply_to),
            Call::Register(args) => self.register(&args, session)?,
            Call::SetClientLabel(args) => {
                self.label = format!("{} {}", printable(&args.label, LABEL_LEN), self.address);
                Reply::None
            }
            Call::Plain(Method::LastTransaction) => Reply::Tid(self.attached()?.cursor.view().last_tid()),
            Call::Plain(Method::Ping) => Reply::None,
            Call::Plain(Method::GetInfo) => {
                let Attached { served, cursor } = self.attached()?;
                Reply::Value(served.info(cursor.view()))
            }
            Call::Plain(Method::ServerStatus) => {
                Reply::Value(self.attached()?.served.status(&self.engine.reached).into_value())
            }
            Call::Plain(Method::NewOid) => return Err(CallError::NoNewOid),
            other => self.not_supported(&other)?,
        };
        Ok(Answer::Reply(reply))
    }

    fn answer(
        &self,
        method: Method,
        reply_to: Option<&MsgId<'_>>,
        result: Result<Answer, CallError>,
        session: &mut ServerSession,
    ) -> Result<(), Closing> {
        if let Err(error) = &result
            && !error.is_everyday()
        {
            let error = printable(&error.to_string(), ERROR_LEN);
            tracing::error!(target: "ZEO.asyncio.server", "({}) {method} raised: {error}", self.label);
        }
        if let Err(error) = &result
            && let Some(limit) = error.limit()
        {
            self.engine.reached.count(limit);
        }
        match (result, reply_to) {
            (Ok(Answer::Sent), _) | (Ok(Answer::Reply(_)), None) => Ok(()),
            (Ok(Answer::Reply(reply)), Some(id)) => {
                send(session, id, &python2::reply(reply, session.dialect()))
            }
            (Ok(Answer::Serials(serials)), reply_to) => {
                old::send_serials(serials, session)?;
                reply_to.map_or(Ok(()), |id| send(session, id, &Reply::None))
            }
            (Err(error), Some(id)) => send_error(session, id, &error),
            // ZEO 4 goes on (protocol reference 11).
            (Err(_), None) if self.dialect.generation != Generation::Zeo5 => Ok(()),
            (Err(error), None) => {
                let reason = printable(&error.to_string(), ERROR_LEN);
                Err(Closing::OneWayFailed { method: method.name(), reason })
            }
        }
    }

    fn attached(&self) -> Result<&Attached, CallError> {
        self.attached.as_ref().ok_or_else(unregistered)
    }

    fn register(
        &mut self,
        args: &Register<'_>,
        session: &mut ServerSession,
    ) -> Result<Reply<'static>, CallError> {
        if args.credentials.is_some() {
            return Err(CallError::BadArguments(ShapeError { index: 2, expected: Expected::End }));
        }
        self.check_authenticated()?;
        if self.attached.is_some() {
            // Clients of ZEO 4 only get that far.
            return Err(CallError::Registered);
        }
        let Some(served) = self.engine.storages.get(args.storage.as_ref()) else {
            return Err(CallError::UnknownStorage(args.storage.clone().into_owned()));
        };
        if !args.is_read_only() && (self.is_read_only || served.storage.is_read_only()) {
            return Err(CallError::ReadOnly);
        }
        self.is_read_only |= args.is_read_only();
        let served = Arc::clone(served);
        let cursor = served.attach(self.id, &self.mailbox);
        let tid = cursor.view().last_tid();
        self.attached = Some(Attached { served, cursor });
        session.set_registered();
        Ok(if session.dialect().register_returns_tid { Reply::Tid(tid) } else { Reply::None })
    }

    /// Methods that are to come: an error now, or, if the client waits for no answer, at the vote.
    fn not_supported(&mut self, call: &Call<'_>) -> Result<Reply<'static>, CallError> {
        let name = call.method().map_or("", Method::name);
        let is_part_of_commit = call.method().is_some_and(Method::is_transactional);
        match &mut self.transaction {
            Some(transaction) if is_part_of_commit => {
                transaction.failure.get_or_insert(CallError::NotSupported(name));
                Ok(Reply::None)
            }
            Some(_) | None => Err(CallError::NotSupported(name)),
        }
    }

    fn is_finishing(&self) -> bool {
        self.transaction
            .as_ref()
            .is_some_and(|transaction| matches!(transaction.stage, Stage::Finishing { .. }))
    }

    /// What earlier messages asked for that takes long; see [`Job`]. This connection may go on with messages
    /// meanwhile. Take until there is none.
    pub fn take_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// Leaves a question to the driver.
    fn ask(
        &mut self,
        method: Method,
        reply_to: Option<&MsgId<'_>>,
        work: impl FnOnce() -> Result<Reply<'static>, CallError> + Send + 'static,
    ) -> Answer {
        let reply_to = reply_to.map(|id| id.clone().into_owned());
        self.asking_count += 1;
        self.jobs.push_back(Job::Ask(AskJob::new(method, reply_to, &self.mailbox, work)));
        Answer::Sent
    }

    /// Sends the answer to a question.
    fn answered(&mut self, answered: Answered, session: &mut ServerSession) -> Result<(), Closing> {
        self.asking_count = self.asking_count.saturating_sub(1);
        let Answered { method, reply_to, result } = answered;
        if method == Method::Pack {
            self.forget_awaited_packs();
        }
        self.answer(method, reply_to.as_ref(), result.map(Answer::Reply), session)
    }

    /// Takes note of what other connections did: letters, and commits to announce.
    ///
    /// # Errors
    /// Why the connection is to be closed.
    pub fn on_wake(&mut self, session: &mut ServerSession) -> Result<(), Closing> {
        // In this order: what was announced before a letter was written is told before it is opened.
        let letters = self.mailbox.take();
        self.catch_up(session)?;
        for mail in letters {
            match mail {
                Mail::LockGranted => self.lock_granted(session)?,
                Mail::FinishFailed(error) => self.finish_failed(&error.into(), session)?,
                Mail::Answered(answered) => self.answered(answered, session)?,
                Mail::Synced(synced) => self.synced(synced, session)?,
            }
        }
        Ok(())
    }

    /// Announces all commits that this connection has not seen, its own as the reply to `tpc_finish`, and
    /// moves its view there. The only place where either happens.
    fn catch_up(&mut self, session: &mut ServerSession) -> Result<(), Closing> {
        let Some(Attached { served, cursor }) = &mut self.attached else { return Ok(()) };
        while let Some(event) = cursor.advance() {
            let commit = match event {
                Event::Committed(commit) => commit,
                Event::Packed(view) => {
                    send_size(&**view, session)?;
                    continue;
                }
                Event::Unknown(_) => return Err(Closing::AnythingChanged),
            };
            if commit.committer == self.id {
                finished(commit, served, &mut self.transaction, session)?;
                self.lock_deadline = None;
            } else {
                let dialect = *session.dialect();
                let frame = commit.invalidation(&dialect).map_err(|EncodeError| Closing::UnusableId)?;
                session.send_frames(frame);
            }
        }
        Ok(())
    }

    /// For a driver that cannot write: whether others may be waiting for this client to go on.
    #[must_use]
    pub fn holds_commit_lock(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| {
            matches!(
                transaction.stage,
                Stage::HandedBack { .. } | Stage::Voted { .. } | Stage::Finishing { .. }
            )
        })
    }

    /// For a driver that cannot write: whether the client has been left behind too far.
    ///
    /// # Errors
    /// [`Closing::TooSlow`], [`Closing::TooMuchUnread`].
    pub fn check_lag(&self) -> Result<(), Closing> {
        let Some(Attached { served, cursor }) = &self.attached else { return Ok(()) };
        let Lag { event_count, oid_count } = served.lag(cursor);
        let options = &self.engine.options;
        if event_count > options.unread_commit_count {
            return Err(Closing::TooSlow(event_count));
        }
        if event_count > 1 && oid_count > options.unread_oid_count {
            return Err(Closing::TooMuchUnread(oid_count));
        }
        Ok(())
    }

    /// When [`on_time`](Self::on_time) must be called, if at all.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.lock_deadline.filter(|_| !self.is_finishing())
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// [`Closing::TransactionTimeout`].
    pub fn on_time(&self, now: Instant) -> Result<(), Closing> {
        match (self.deadline(), self.engine.options.transaction_timeout) {
            (Some(deadline), Some(timeout)) if now >= deadline => {
                let seconds = timeout.as_secs();
                tracing::error!(target: "ZEO.StorageServer", critical = true, "({}) Transaction timeout after {seconds} seconds", self.label);
                Err(Closing::TransactionTimeout(seconds))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.awaited_packs.iter().for_each(PackCancel::cancel);
        let Some(Attached { served, .. }) = &self.attached else { return };
        if self.is_verifying {
            served.stats.verifying.subtract();
        }
        // With it goes the commit lock: whoever sees that the connection is gone may see that too.
        if let Some(transaction) = self.transaction.take() {
            served.stats.active_transactions.subtract();
            if !matches!(transaction.stage, Stage::Finishing { .. }) {
                served.stats.aborts.add();
                tracing::info!(target: "ZEO.StorageServer", "({}) disconnected during {} transaction", self.label, transaction.stage);
            }
        }
        served.detach(self.id);
    }
}

/// For nobody: before there is a storage, `allows` lets nothing but `register` through.
const fn unregistered() -> CallError {
    CallError::NotSupported("unregistered")
}

/// Whether a value is data. Classes, calls and references are symbols here, but whoever gets them back might take them
/// for more; Python's server refuses them when it decodes the message (`marshal.py:server_find_global`, ZEO 6.2).
fn is_data(value: &Value<'_>) -> bool {
    match value {
        Value::None
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Long(_)
        | Value::Float(_)
        | Value::Bytes(_)
        | Value::ByteArray(_)
        | Value::Text(_)
        | Value::Native(_) => true,
        // The ids of loads on Python 2.
        Value::Tuple(items) => items.iter().all(is_data),
        // What the codec may come to know later.
        _ => false,
    }
}

/// The system's time, for lock times and tids.
fn now() -> SystemTime {
    SystemTime::now()
}
