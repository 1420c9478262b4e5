//! Drives one connection: bytes between the socket and the session, wake-ups and deadlines to the peer.
//!
//! Everything that has arrived is handled before anything is written, so that the replies to a pipeline of
//! requests leave in one write. While output cannot be written nothing is read: a client that does not
//! read cannot make the server hold more than one batch of replies for it.
//!
//! # Commits
//!
//! A `tpc_finish` waits for the disk; the other threads of the same client must not wait with it, nor may
//! the reply be late because a sleeping thread has to be woken first. So a commit is a task of its own. It
//! starts on the thread that read the request, as soon as the connection has nothing else to do there, and
//! blocks it ([`block`] lets another thread take over what else there is to do, this connection
//! included); then it writes the reply itself. What both tasks need is under one mutex. Who holds it waits for
//! nothing but a disk that has to be read or written, and that within [`block`], too: it keeps this connection, no
//! other one.
//!
//! # Blobs
//!
//! Their files are read and written on the connection's thread, a piece at a time, within [`block`], so that no
//! piece has to change threads. Pieces to be sent are asked for when everything before them is written: a client
//! gets them as fast as it reads, and what it asks for meanwhile is answered between two of them.

mod end;

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use zeo_codec::Limits;
use zeo_codec::handshake::{Protocol, Version};
use zeo_codec::session::{Message, ServerEvent, ServerSession};

use end::End;

use super::blocking::block;
use super::gates::Gates;
use crate::engine::{CommitJob, Engine, Flow, Job, Peer};
use crate::limits::LimitOptions;

/// What the listener tells every connection.
///
/// Those of [`LimitOptions`] are [its](ConnectionOptions::with_limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// The protocol that is announced; clients answer with either framing.
    pub announced: Protocol,
    /// The oldest version that is spoken. Clients of ZEO 4 choose it themselves when `Z5` is announced; they turn away
    /// from `M5`.
    pub oldest: Version,
    /// Bounds on messages.
    pub limits: Limits,
    /// How long a client may take to greet and register.
    pub handshake_timeout: Duration,
    /// How long a client may take to read what was sent to it.
    pub write_timeout: Duration,
    /// The same for a client that holds the commit lock: others wait for it.
    pub holder_write_timeout: Duration,
    /// How many connections there may be; who comes beyond that is hung up on.
    pub connection_count: usize,
    /// How many long questions of all connections are answered at the same time.
    pub question_count: usize,
    /// How many storages are packed at the same time.
    pub pack_count: usize,
}

impl ConnectionOptions {
    /// These limits, and the defaults otherwise.
    #[must_use]
    pub fn with_limits(limits: &LimitOptions) -> Self {
        Self {
            announced: Protocol::Z5,
            oldest: Version::V308,
            limits: Limits { frame_bytes_before_register: limits.early_frame_bytes, ..Limits::DEFAULT },
            handshake_timeout: Duration::from_secs(30),
            write_timeout: limits.read_timeout,
            holder_write_timeout: limits.holder_read_timeout,
            connection_count: limits.connection_count,
            question_count: limits.all_question_count,
            pack_count: limits.pack_count,
        }
    }
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self::with_limits(&LimitOptions::default())
    }
}

/// Room that is made for reading at first, and below which new room is made.
const READ_LEN_MIN: usize = 4 * 1024;
/// Room that is made for reading from a client that fills what it gets.
const READ_LEN: usize = 64 * 1024;
/// Room that is made for reading while a large frame arrives, at most.
const READ_LEN_MAX: usize = 4 * 1024 * 1024;
/// Room that an idle connection keeps.
const READ_LEN_KEPT: usize = 256 * 1024;
/// Work that is done for one connection in a row while others may be waiting, a message and what it brings being one piece at
/// least: about a tenth of a millisecond. After that a thread that has nothing to do looks for the input of others; before
/// that perhaps nobody does.
const TURN_LEN: usize = 64;
/// Bytes that are read, or make an answer, beyond which they are another piece of work.
const PIECE_LEN: usize = 8 * 1024;
/// Output beyond which is written before more input is handled.
const WRITE_LEN: usize = 1024 * 1024;
/// How often pieces of blobs are produced before others get their turn.
const SEND_ROUNDS: u32 = 8;

/// Serves a connection to its end, with nobody beside it.
pub async fn serve<S>(stream: S, address: String, engine: Arc<Engine>, options: ConnectionOptions)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gates = Gates::new(&options);
    serve_among(stream, address, engine, options, gates).await;
}

/// Serves a connection to its end, one of those that share the gates.
pub(super) async fn serve_among<S>(
    stream: S,
    address: String,
    engine: Arc<Engine>,
    options: ConnectionOptions,
    gates: Arc<Gates>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = Connection::new(stream, address, engine, options, gates);
    let result = connection.run().await;
    connection.end(result);
}

/// A connection, shared by its own task and that of its commit.
struct Connection<S> {
    core: Mutex<Core<S>>,
    bell: Arc<Notify>,
    gates: Arc<Gates>,
}

/// What only one task at a time may touch.
struct Core<S> {
    stream: S,
    session: ServerSession,
    peer: Peer,
    engine: Arc<Engine>,
    options: ConnectionOptions,
    began: Instant,
    /// A message that waits for the commit under way. Nothing is read until it is handled.
    blocked: Option<Message>,
    /// How many pieces of work may be done before others have their turn.
    turn_left: usize,
    read_len: usize,
    /// All that is left is to write the output.
    is_over: bool,
    /// Since when output could not be written.
    stuck_since: Option<Instant>,
    /// The bell rang while output could not be written.
    is_rung: bool,
    /// What the commit's task met, for the connection's own to end with.
    ended: Option<End>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<S> {
    fn new(
        stream: S,
        address: String,
        engine: Arc<Engine>,
        options: ConnectionOptions,
        gates: Arc<Gates>,
    ) -> Arc<Self> {
        let bell = Arc::new(Notify::new());
        let ringing = Arc::clone(&bell);
        let mut peer = engine.connect(address, Box::new(move || ringing.notify_one()));
        peer.set_limits(options.limits);
        peer.set_clock(|| Instant::now().into_std());
        let mut session = ServerSession::new(options.announced, options.limits);
        session.set_oldest(options.oldest);
        session.set_handshake_deadline(options.handshake_timeout);
        let core = Core {
            stream,
            session,
            peer,
            engine,
            options,
            began: Instant::now(),
            blocked: None,
            turn_left: TURN_LEN,
            read_len: READ_LEN_MIN,
            is_over: false,
            stuck_since: None,
            is_rung: false,
            ended: None,
        };
        Arc::new(Self { core: Mutex::new(core), bell, gates })
    }

    /// Tells the log, and the client what was decided for it before the end.
    fn end(&self, result: Result<(), End>) {
        let mut core = self.core();
        let label = core.peer.label();
        match result {
            Ok(()) => tracing::info!(target: "ZEO.StorageServer", "({label}) disconnected"),
            Err(end) => {
                let offset = core.session.stream_offset();
                tracing::error!(target: "ZEO.asyncio.server", "({label}) closing the connection before byte {offset} of its input: {end}");
                // Worth a try.
                let _ = core.poll_write(&mut Context::from_waker(Waker::noop()));
            }
        }
        // With TLS this says goodbye, which may fail if the client has gone.
        let _ = Pin::new(&mut core.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }

    fn core(&self) -> MutexGuard<'_, Core<S>> {
        // A panic in one task of a connection ends the connection; the other one may find it anyhow.
        match self.core.try_lock() {
            Ok(core) => core,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Mostly held for a moment, but a load may wait for the disk.
            Err(TryLockError::WouldBlock) => {
                block(|| self.core.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }

    /// Serves the client until the connection ends, and counts the limit that was reached if that is why.
    async fn run(self: &Arc<Self>) -> Result<(), End> {
        let result = self.go_on().await;
        if let Err(end) = &result {
            let core = self.core();
            if let Some(limit) = end.limit(&core.peer) {
                core.engine.reached().count(limit);
            }
        }
        result
    }

    async fn go_on(self: &Arc<Self>) -> Result<(), End> {
        loop {
            let deadline = self.core().deadline();
            let progress = std::future::poll_fn(|context| match self.poll(context) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                // What was handled has moved the deadline.
                Poll::Pending if self.core().deadline() != deadline => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            tokio::select! {
                // In this order: mostly there is nothing to wait for.
                biased;
                ended = progress => if let Some(ended) = ended {
                    return ended;
                },
                () = self.bell.notified() => self.core().on_bell()?,
                () = until(deadline) => self.core().on_time()?,
            }
        }
    }

    /// Goes on until the stream has to be waited for.
    fn poll(self: &Arc<Self>, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut core = self.core();
        let progress = core.poll(context);
        while let Some(job) = core.peer.take_job() {
            match job {
                Job::Commit(job) => drop(tokio::spawn(Arc::clone(self).commit(job))),
                // The answer comes by the bell.
                Job::Ask(job) if job.is_pack() => self.gates.pack(&core.engine, || job.run()),
                Job::Ask(job) => self.gates.ask(&core.engine, || job.run()),
                Job::Pack(job) => self.gates.pack(&core.engine, || job.run()),
                // The bell says when it is done.
                Job::Sync(job) => drop(tokio::task::spawn_blocking(|| job.run())),
            }
        }
        progress
    }

    /// Makes a commit, and answers it.
    async fn commit(self: Arc<Self>, job: CommitJob) {
        // Whatever happens, the client must not wait for ever.
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| block(|| job.run())));
        let is_answered = match ran {
            Ok(()) => self.core().answer_commit(),
            Err(_) => {
                self.core().ended = Some(End::CommitPanicked);
                false
            }
        };
        if !is_answered {
            self.bell.notify_one();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Core<S> {
    /// Handles input and writes output until one of them has to be waited for.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut rounds = 0;
        self.turn_left = TURN_LEN;
        loop {
            if let Some(end) = self.ended.take() {
                return Poll::Ready(Err(end));
            }
            let is_all = self.handle_input()?;
            ready!(self.poll_write(context))?;
            if std::mem::take(&mut self.is_rung) {
                self.peer.on_wake(&mut self.session)?;
                continue;
            }
            if self.is_over {
                return Poll::Ready(Ok(()));
            }
            if self.turn_left == 0 {
                // A client that asks without pause must not keep a thread to itself: others wait for it, commits too.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !is_all {
                continue;
            }
            let is_sending = self.peer.is_sending();
            if self.blocked.is_none() {
                match self.poll_read(context)? {
                    Poll::Ready(0) => return Poll::Ready(Ok(())),
                    Poll::Pending if !is_sending => return Poll::Pending,
                    Poll::Ready(len) => self.work(len / PIECE_LEN),
                    Poll::Pending => {}
                }
            } else if !is_sending {
                // The commit task rings.
                return Poll::Pending;
            }
            if is_sending {
                if rounds == SEND_ROUNDS {
                    // The client reads as fast as we read the disk. Others, and the bell, want their turn, too.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                rounds += 1;
                block(|| self.peer.produce(&mut self.session))?;
            }
        }
    }

    /// Handles whole messages that have arrived, up to one that has to wait, or until there is much to write;
    /// tells whether that was all of them.
    fn handle_input(&mut self) -> Result<bool, End> {
        if let Some(message) = self.blocked.take()
            && self.handle(message)? == Flow::Blocked
        {
            return Ok(true);
        }
        while let Some(event) = self.session.poll_event()? {
            let output_len = self.session.output_len();
            match event {
                ServerEvent::Message(message) => {
                    if self.handle(message)? == Flow::Blocked {
                        return Ok(true);
                    }
                }
                ServerEvent::Hello(protocol) => {
                    let label = self.peer.label();
                    tracing::info!(target: "ZEO.asyncio.server", "({label}) received handshake '{protocol}'");
                }
                ServerEvent::Ruok => {
                    self.session.finish_ruok(&self.engine.ruok());
                    self.is_over = true;
                    return Ok(true);
                }
            }
            self.work(1 + self.session.output_len().saturating_sub(output_len) / PIECE_LEN);
            if self.session.output_len() > WRITE_LEN || self.turn_left == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts pieces of work.
    const fn work(&mut self, count: usize) {
        self.turn_left = self.turn_left.saturating_sub(count);
    }

    fn handle(&mut self, message: Message) -> Result<Flow, End> {
        let flow = if self.peer.is_uploading() {
            block(|| self.peer.on_message(&message, &mut self.session))?
        } else {
            self.peer.on_message(&message, &mut self.session)?
        };
        if flow == Flow::Blocked {
            self.blocked = Some(message);
        }
        Ok(flow)
    }

    /// Writes all output.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        while !self.session.output().is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, self.session.output()) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
                }
                Poll::Ready(written) => self.session.consume_output(written?),
                Poll::Pending => {
                    self.stuck_since.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
            self.stuck_since = None;
        }
        // TLS takes more than it can pass on; what it keeps nobody else would write.
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(flushed) => {
                self.stuck_since = None;
                Poll::Ready(Ok(flushed?))
            }
            Poll::Pending => {
                self.stuck_since.get_or_insert_with(Instant::now);
                Poll::Pending
            }
        }
    }

    /// Reads what is there; the number of bytes, 0 at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, End>> {
        let want_len = self.session.missing_len().unwrap_or(0).clamp(self.read_len, READ_LEN_MAX);
        let buffer = self.session.receive_buffer();
        if buffer.is_empty() && buffer.capacity() > READ_LEN_KEPT {
            // What a large message needed is not kept for the next one, which may never come.
            *buffer = BytesMut::new();
        }
        // Frames that are still in use keep their whole buffer alive, so it is filled before the next one.
        if buffer.capacity() - buffer.len() < want_len.min(READ_LEN_MIN) || want_len > self.read_len {
            buffer.reserve(want_len);
        }
        let room_len = buffer.capacity() - buffer.len();
        let len = ready!(pin!(self.stream.read_buf(buffer)).poll(context))?;
        if len == room_len {
            self.read_len = (self.read_len * 2).min(READ_LEN);
        }
        Poll::Ready(Ok(len))
    }

    /// Something happened elsewhere: another connection's commit, or the commit lock is ours.
    fn on_bell(&mut self) -> Result<(), End> {
        if self.stuck_since.is_some() {
            // Commits and letters can wait until the client reads, but not for ever.
            self.is_rung = true;
            return Ok(self.peer.check_lag()?);
        }
        Ok(self.peer.on_wake(&mut self.session)?)
    }

    /// After a commit: writes the reply, if the stream takes it at once. Otherwise the connection's own task
    /// has to look, as it knows how to wait for the stream, and how to end.
    fn answer_commit(&mut self) -> bool {
        if self.stuck_since.is_some() || self.blocked.is_some() {
            return false;
        }
        let answered = self.peer.on_wake(&mut self.session).map_err(End::from);
        let written = answered.map(|()| self.poll_write(&mut Context::from_waker(Waker::noop())));
        match written {
            Ok(Poll::Ready(Ok(()))) => true,
            Ok(Poll::Pending) => false,
            Ok(Poll::Ready(Err(end))) | Err(end) => {
                self.ended = Some(end);
                false
            }
        }
    }

    fn write_timeout(&self) -> Duration {
        if self.peer.holds_commit_lock() {
            self.options.holder_write_timeout
        } else {
            self.options.write_timeout
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let handshake = self.session.deadline().and_then(|deadline| self.began.checked_add(deadline));
        let write = self.stuck_since.and_then(|since| since.checked_add(self.write_timeout()));
        let lock = self.peer.deadline().map(Instant::from_std);
        handshake.into_iter().chain(lock).chain(write).min()
    }

    fn on_time(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.session.on_time(now.saturating_duration_since(self.began))?;
        self.peer.on_time(now.into_std())?;
        match self.stuck_since {
            Some(since) if now.saturating_duration_since(since) >= self.write_timeout() => {
                Err(End::WriteTimeout)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Sleeps until then, or for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
