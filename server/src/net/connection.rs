//! Drives one connection: bytes between the socket and the session, wake-ups and deadlines to the peer.
//!
//! Everything that has arrived is handled before anything is written, so that the replies to a pipeline of
//! requests leave in one write. While output cannot be written nothing is read: a client that does not
//! read cannot make the server hold more than one batch of replies for it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::sleep_until;
use zeo_codec::Limits;
use zeo_codec::handshake::Protocol;
use zeo_codec::session::{Message, ServerEvent, ServerSession, SessionError};

use crate::engine::{Closing, Engine, Flow, Peer};

/// What the listener tells every connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOptions {
    /// The protocol that is announced; clients answer with either framing.
    pub announced: Protocol,
    /// Bounds on messages.
    pub limits: Limits,
    /// How long a client may take to greet.
    pub handshake_timeout: Duration,
    /// How long a client may take to read what was sent to it.
    pub write_timeout: Duration,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            announced: Protocol::Z5,
            limits: Limits::DEFAULT,
            handshake_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(300),
        }
    }
}

/// Room that is made for reading at first, and below which new room is made.
const READ_LEN_MIN: usize = 4 * 1024;
/// Room that is made for reading from a client that fills what it gets.
const READ_LEN: usize = 64 * 1024;
/// Room that is made for reading while a large frame arrives, at most.
const READ_LEN_MAX: usize = 4 * 1024 * 1024;
/// Output beyond which is written before more input is handled.
const WRITE_LEN: usize = 1024 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Session(#[from] SessionError),
    #[error("{0}")]
    Engine(#[from] Closing),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the client reads nothing")]
    WriteTimeout,
}

/// Serves a connection to its end.
pub async fn serve<R, W>(
    reader: R,
    writer: W,
    address: String,
    engine: Arc<Engine>,
    options: ConnectionOptions,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let bell = Arc::new(Notify::new());
    let ringing = Arc::clone(&bell);
    let mut peer = engine.connect(address, Box::new(move || ringing.notify_one()));
    peer.set_limits(options.limits);
    let mut session = ServerSession::new(options.announced, options.limits);
    session.set_handshake_deadline(options.handshake_timeout);
    let began = Instant::now();
    let mut connection = Connection {
        reader,
        writer,
        session,
        peer,
        engine,
        bell,
        options,
        began,
        blocked: None,
        read_len: READ_LEN_MIN,
        is_rung: false,
        is_over: false,
    };
    match connection.run().await {
        Ok(()) => {
            tracing::info!(target: "ZEO.StorageServer", "({}) disconnected", connection.peer.label());
        }
        Err(end) => {
            // Replies that were decided before the end are still worth sending.
            let _ = tokio::time::timeout(Duration::from_secs(1), connection.flush()).await;
            let offset = connection.session.stream_offset();
            let label = connection.peer.label();
            tracing::error!(target: "ZEO.asyncio.server", "({label}) closing the connection before byte {offset} of its input: {end}");
        }
    }
}

struct Connection<R, W> {
    reader: R,
    writer: W,
    session: ServerSession,
    peer: Peer,
    engine: Arc<Engine>,
    bell: Arc<Notify>,
    options: ConnectionOptions,
    began: Instant,
    /// A message that waits for the commit under way. Nothing is read until it is handled.
    blocked: Option<Message>,
    read_len: usize,
    /// Something happened elsewhere that the peer has not looked at.
    is_rung: bool,
    /// All that is left is to write the output.
    is_over: bool,
}

/// What waiting brought.
#[derive(Debug, PartialEq, Eq)]
enum Input {
    More,
    End,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    async fn run(&mut self) -> Result<(), End> {
        loop {
            if std::mem::take(&mut self.is_rung) {
                self.peer.on_wake(&mut self.session)?;
            }
            self.handle_input().await?;
            self.flush().await?;
            if self.is_over {
                return Ok(());
            }
            if !self.is_rung && self.wait().await? == Input::End {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) -> Result<Input, End> {
        let deadline = self.deadline();
        let is_reading = self.blocked.is_none();
        let want_len = self.session.missing_len().unwrap_or(0).clamp(self.read_len, READ_LEN_MAX);
        let buffer = self.session.receive_buffer();
        // Frames that are still in use keep their whole buffer alive, so it is filled before the next one.
        if buffer.capacity() - buffer.len() < want_len.min(READ_LEN_MIN) || want_len > self.read_len {
            buffer.reserve(want_len);
        }
        let room_len = buffer.capacity() - buffer.len();
        tokio::select! {
            read = self.reader.read_buf(buffer), if is_reading => {
                let read_len = read?;
                if read_len == room_len {
                    self.read_len = (self.read_len * 2).min(READ_LEN);
                }
                if read_len == 0 { Ok(Input::End) } else { Ok(Input::More) }
            }
            () = self.bell.notified() => {
                self.is_rung = true;
                Ok(Input::More)
            }
            () = until(deadline) => self.on_time().map(|()| Input::More),
        }
    }

    /// Handles every whole message that has arrived, up to one that has to wait.
    async fn handle_input(&mut self) -> Result<(), End> {
        if let Some(message) = self.blocked.take()
            && self.handle(message)? == Flow::Blocked
        {
            return Ok(());
        }
        while let Some(event) = self.session.poll_event()? {
            match event {
                ServerEvent::Message(message) => {
                    if self.handle(message)? == Flow::Blocked {
                        return Ok(());
                    }
                }
                ServerEvent::Hello(protocol) => {
                    let label = self.peer.label();
                    tracing::info!(target: "ZEO.asyncio.server", "({label}) received handshake '{protocol}'");
                }
                ServerEvent::Ruok => {
                    self.session.finish_ruok(&self.engine.ruok());
                    self.is_over = true;
                    return Ok(());
                }
            }
            if self.session.output().len() > WRITE_LEN {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, message: Message) -> Result<Flow, End> {
        let flow = self.peer.on_message(&message, &mut self.session)?;
        if flow == Flow::Blocked {
            self.blocked = Some(message);
        }
        Ok(flow)
    }

    /// Writes all output. Meanwhile only what cannot wait is looked at.
    async fn flush(&mut self) -> Result<(), End> {
        let give_up = Instant::now().checked_add(self.options.write_timeout);
        while !self.session.output().is_empty() {
            let deadline = self.deadline();
            tokio::select! {
                // Mostly everything can be written at once: without the order, the deadlines would be set up
                // first in three of four cases, each time with a lock and a system call that wakes the timer.
                biased;
                written = self.writer.write(self.session.output()) => match written? {
                    0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                    written => self.session.consume_output(written),
                },
                () = self.bell.notified() => {
                    // Commits and letters can wait, but not for ever.
                    self.peer.check_lag()?;
                    self.is_rung = true;
                }
                () = until(deadline) => self.on_time()?,
                () = until(give_up) => return Err(End::WriteTimeout),
            }
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let handshake = self.session.deadline().and_then(|deadline| self.began.checked_add(deadline));
        handshake.into_iter().chain(self.peer.deadline()).min()
    }

    fn on_time(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.session.on_time(now.saturating_duration_since(self.began))?;
        Ok(self.peer.on_time(now)?)
    }
}

/// Sleeps until then, or for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
