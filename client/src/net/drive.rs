//! The task of a connection.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::{Instant, MissedTickBehavior, Sleep, interval, sleep};

use super::{OUTPUT_LEN_MAX, Shared, State};
use crate::error::ConnectionError;

/// How often the server hears from the client (protocol reference 3.1).
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long the newest records may stay out of the cache's file: written one by one, they would cost as much again as
/// their loads. What could make the file untrue does not wait.
const FLUSH_AFTER: Duration = Duration::from_millis(20);
/// Room that is made for reading, at least.
const READ_LEN_MIN: usize = 64 * 1024;
/// Room that is made for reading while a large frame arrives, at most.
const READ_LEN_MAX: usize = 4 * 1024 * 1024;
/// Parts of the output that are written at once.
const SLICE_COUNT_MAX: usize = 64;

/// Reads and writes until the connection is lost. There is one such task for each generation of the engine.
pub(super) async fn drive(shared: Arc<Shared>, generation: u64) {
    let mut keep_alive = interval(KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    keep_alive.tick().await;
    let mut flush = Flush { at: Box::pin(sleep(FLUSH_AFTER)), is_due: false };
    loop {
        tokio::select! {
            biased;
            () = std::future::poll_fn(|context| {
                let gone = shared.poll_connection(generation, &mut flush, context);
                if flush.poll(context).is_ready() || gone.is_ready() {
                    shared.look(|state| state.engine.flush_cache());
                }
                gone
            }) => return,
            () = shared.bell.notified() => {}
            _ = keep_alive.tick() => shared.act(|state| {
                if state.engine.generation() == generation {
                    state.engine.keep_alive();
                }
            }),
        }
    }
}

/// Whether something waits to be written into the cache's file, and when that is done.
struct Flush {
    at: Pin<Box<Sleep>>,
    is_due: bool,
}

impl Flush {
    /// Something waits from now on, if not already.
    fn set(&mut self) {
        if !self.is_due {
            self.is_due = true;
            self.at.as_mut().reset(Instant::now() + FLUSH_AFTER);
        }
    }

    /// Ready once when it is time.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_due {
            return Poll::Pending;
        }
        ready!(self.at.as_mut().poll(context));
        self.is_due = false;
        Poll::Ready(())
    }
}

impl Shared {
    /// Goes on until the socket has to be waited for; ready when the connection is gone.
    fn poll_connection(&self, generation: u64, flush: &mut Flush, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        loop {
            if state.engine.generation() != generation {
                return Poll::Ready(());
            }
            // Reading goes on while the server takes nothing: it may be waiting for us to read.
            let written = match state.poll_write(context) {
                Poll::Ready(Err(error)) => Err(error.into()),
                Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
            };
            if state.engine.session().is_some_and(|session| session.output_len() <= OUTPUT_LEN_MAX) {
                self.drained.notify_waiters();
            }
            let read = match written {
                Err(error) => Err(error),
                // The bell rings when that has changed.
                Ok(()) if self.backlog.is_full() => return Poll::Pending,
                Ok(()) => match ready!(state.poll_read(context)) {
                    Ok(0) => Err(ConnectionError::Ended),
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.into()),
                },
            };
            let handled = match read {
                Ok(()) => state.engine.advance(),
                Err(error) => Err(Arc::new(error)),
            };
            match handled {
                Ok(()) => {
                    self.settle(&mut state);
                    flush.set();
                }
                Err(why) => {
                    tracing::warn!("connection lost: {why}");
                    self.lost(&mut state, why);
                }
            }
        }
    }
}

impl State {
    /// Writes all output.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (Some(socket), Some(session)) = (&mut self.socket, self.engine.session()) else {
            return Poll::Ready(Ok(()));
        };
        self.is_stuck = true;
        while session.output_len() > 0 {
            let written_len = if session.output().len() == session.output_len() {
                ready!(Pin::new(&mut *socket).poll_write(context, session.output()))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICE_COUNT_MAX];
                let mut count = 0;
                for (slot, slice) in slices.iter_mut().zip(session.output_slices()) {
                    *slot = IoSlice::new(slice);
                    count += 1;
                }
                let slices = slices.get(..count).unwrap_or_default();
                ready!(Pin::new(&mut *socket).poll_write_vectored(context, slices))?
            };
            if written_len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            session.consume_output(written_len);
        }
        // TLS takes more than it can pass on.
        ready!(Pin::new(&mut *socket).poll_flush(context))?;
        self.is_stuck = false;
        Poll::Ready(Ok(()))
    }

    /// Reads what is there; the number of bytes, 0 at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (Some(socket), Some(session)) = (&mut self.socket, self.engine.session()) else {
            return Poll::Ready(Ok(0));
        };
        let want_len = session.missing_len().unwrap_or(0).clamp(READ_LEN_MIN, READ_LEN_MAX);
        let buffer = session.receive_buffer();
        let room_len = buffer.capacity() - buffer.len();
        // Frames that are still in use keep their whole buffer alive, so it is filled before the next one.
        if room_len < READ_LEN_MIN / 16 || want_len > READ_LEN_MIN {
            buffer.reserve(want_len);
        }
        pin!(socket.read_buf(buffer)).poll(context)
    }
}
