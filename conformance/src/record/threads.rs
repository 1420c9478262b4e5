//! The two directions of a connection by a thread each, for sockets without TLS: a thread that waits in `read` goes on sooner
//! after bytes have come than one that waits for many sockets, which matters where each message waits for the one before it.
//!
//! What is done is the same future as elsewhere, on streams that never let it wait: so one poll runs it to its end.

use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::address::Stream;

/// What a thread needs at most, which is little.
const STACK_LEN: usize = 256 * 1024;

/// A socket on which calls wait.
#[derive(Debug)]
pub(super) enum Waiting {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Hands a call on to the socket of whichever kind.
macro_rules! delegate {
    ($self:expr, $method:ident($($argument:expr),*)) => {
        match $self {
            Waiting::Tcp(stream) => stream.$method($($argument),*),
            Waiting::Unix(stream) => stream.$method($($argument),*),
        }
    };
}

impl Waiting {
    pub(super) fn new(stream: Stream) -> io::Result<Self> {
        let waiting = match stream {
            Stream::Tcp(stream) => Self::Tcp(stream.into_std()?),
            Stream::Unix(stream) => Self::Unix(stream.into_std()?),
            Stream::Tls(_) => return Err(io::Error::other("TLS does not wait")),
        };
        delegate!(&waiting, set_nonblocking(false))?;
        Ok(waiting)
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    /// The last one to be closed is to make the other side see a reset, where that can be done.
    fn will_reset(&self) {
        if let Self::Tcp(stream) = self {
            // It is gone anyway when this fails.
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Waiting {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let len = uninterrupted(|| delegate!(&mut *stream, read(buffer.initialize_unfilled())))?;
        buffer.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Waiting {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        Poll::Ready(uninterrupted(|| delegate!(&mut *stream, write(bytes))))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(delegate!(self.get_mut(), shutdown(Shutdown::Write)))
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Both sockets of a connection. Dropping it ends the threads that wait on them.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) client: Waiting,
    pub(super) server: Waiting,
    is_given_up: Arc<AtomicBool>,
    is_reset: bool,
}

impl Pair {
    /// Once it sets `is_given_up` the threads are to tell nothing any more.
    pub(super) fn new(client: Stream, server: Stream, is_given_up: Arc<AtomicBool>) -> io::Result<Self> {
        Ok(Self {
            client: Waiting::new(client)?,
            server: Waiting::new(server)?,
            is_given_up,
            is_reset: false,
        })
    }

    /// Both sides are to see a reset when the threads have ended, which they do now.
    pub(super) fn reset(&mut self) {
        self.is_reset = true;
        self.is_given_up.store(true, Ordering::SeqCst);
        for stream in [&self.client, &self.server] {
            stream.will_reset();
            // That of the side that was reset is gone. Nothing is sent by this.
            let _ = delegate!(stream, shutdown(Shutdown::Read));
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.is_given_up.store(true, Ordering::SeqCst);
        for stream in [&self.client, &self.server] {
            // So that who reads goes on, and who writes. A reset that is to come is not announced by an end.
            let how = if self.is_reset { Shutdown::Read } else { Shutdown::Both };
            let _ = delegate!(stream, shutdown(how));
        }
    }
}

/// Runs what never has to wait for anything but its own calls to a thread's end.
pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let run = move || {
        // It is never pending: nobody would wake it.
        let _ = pin!(work).poll(&mut Context::from_waker(Waker::noop()));
    };
    std::thread::Builder::new().name("pass".to_owned()).stack_size(STACK_LEN).spawn(run).map(drop)
}
