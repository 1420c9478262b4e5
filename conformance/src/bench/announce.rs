//! How long it takes until everybody knows of a commit.
//!
//! One thread does everything that clients do: it sends `tpc_finish` on one connection, and then reads from all others, as
//! they become readable, until the last one has its `invalidateTransaction`. So it has no other thread to wake, and what the
//! time contains beside the server is one read of each connection. The ceiling's time contains the same.

use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll;
use zeo_codec::frame::LENGTH_LEN;
use zeo_codec::{Call, Dialect, Envelope, Limits, Method, Oid, Tid};

use super::BenchError;
use super::client::Client;
use super::data::{Entry, SMALL};
use super::window::{Phase, Tally, Window};

/// Longest wait for any invalidation.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);
/// Bytes that are read at once: an invalidation of one object is much shorter.
const READ_LEN: usize = 4096;
/// Connections that are asked for at once.
const EVENT_COUNT: usize = 256;

/// A connection that does nothing but listen.
#[derive(Debug)]
struct Listener {
    stream: TcpStream,
    dialect: Dialect,
    /// What has come of the invalidation that is awaited.
    received: Vec<u8>,
}

/// Connections that listen.
#[derive(Debug)]
pub struct Listeners {
    epoll: OwnedFd,
    all: Vec<Listener>,
}

impl Listeners {
    /// Connects and registers so many.
    ///
    /// # Errors
    /// If the server refuses, or this process may not have so many descriptors.
    pub fn connect(address: SocketAddr, count: usize) -> Result<Self, BenchError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let mut all = Vec::with_capacity(count);
        for index in 0..count {
            let client = Client::connect(address)?;
            let dialect = client.protocol().dialect();
            let stream = client.into_stream();
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).map_err(io::Error::from)?;
            all.push(Listener { stream, dialect, received: Vec::new() });
        }
        Ok(Self { epoll, all })
    }

    /// Reads until everybody has a whole frame.
    fn wait(&mut self) -> Result<(), BenchError> {
        let mut missing_count = self.all.len();
        let mut events = Vec::with_capacity(EVENT_COUNT);
        let mut buffer = [0; READ_LEN];
        let limit = Timespec::try_from(SILENCE_LIMIT).unwrap_or_default();
        while missing_count > 0 {
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&limit))
                .map_err(io::Error::from)?;
            if events.is_empty() {
                return Err(BenchError::Wrong(format!("{missing_count} listeners were told nothing")));
            }
            for event in &events {
                let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                let Some(listener) = self.all.get_mut(index) else { continue };
                let read_len = match (&listener.stream).read(&mut buffer) {
                    Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    Ok(read_len) => read_len,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error.into()),
                };
                let was_whole = listener.is_whole();
                listener.received.extend_from_slice(buffer.get(..read_len).unwrap_or_default());
                missing_count -= usize::from(listener.is_whole() && !was_whole);
            }
        }
        Ok(())
    }

    /// Everybody was told exactly of this commit.
    fn check(&mut self, tid: Tid, oid: Oid) -> Result<(), BenchError> {
        let mut right: Option<Vec<u8>> = None;
        for listener in &mut self.all {
            match &right {
                // The framing is the same for all, and so are the bytes.
                Some(right) if *right == listener.received => listener.received.clear(),
                Some(_) => return Err(BenchError::Wrong(format!("one listener was not told of {tid}"))),
                None => {
                    check_invalidation(&listener.received, listener.dialect, tid, oid)?;
                    right = Some(std::mem::take(&mut listener.received));
                }
            }
        }
        Ok(())
    }
}

impl Listener {
    fn is_whole(&self) -> bool {
        let Some((length, payload)) = self.received.split_first_chunk::<LENGTH_LEN>() else { return false };
        usize::try_from(u32::from_be_bytes(*length)).is_ok_and(|payload_len| payload.len() >= payload_len)
    }
}

/// Reads an invalidation as a client would.
fn check_invalidation(frame: &[u8], dialect: Dialect, tid: Tid, oid: Oid) -> Result<(), BenchError> {
    let limits = &Limits::DEFAULT;
    let envelope = Envelope::parse(frame.get(LENGTH_LEN..).unwrap_or_default(), dialect.framing, limits)?;
    if *envelope.name != *Method::InvalidateTransaction.name().as_bytes() {
        return Err(BenchError::Wrong(format!("{:?} to a listener", envelope.name)));
    }
    match Call::parse(Method::InvalidateTransaction, envelope.args, limits)? {
        Call::InvalidateTransaction(told) if told.tid == tid && told.oids == [oid] => Ok(()),
        other => Err(BenchError::Wrong(format!("{other:?} after a commit of {oid} as {tid}"))),
    }
}

/// Commits one of `entries` after the other, and waits for all listeners each time, until the window is over. What counts as
/// the time of a commit is that from sending `tpc_finish` until the last listener has its invalidation.
///
/// # Errors
/// A wrong answer, a hang-up, or silence.
pub fn announce_steadily(
    client: &mut Client,
    listeners: &mut Listeners,
    entries: &mut [Entry],
    window: &Window,
) -> Result<Tally, BenchError> {
    let mut tally = Tally::new();
    loop {
        for entry in &mut *entries {
            client.vote_on(entry, SMALL.data_len)?;
            let began = Instant::now();
            let finish = client.send_finish()?;
            listeners.wait()?;
            let taken = began.elapsed();
            client.finished(&finish, entry)?;
            listeners.check(entry.serial, entry.oid)?;
            match window.phase() {
                Phase::Warming => {}
                Phase::Measuring => tally.add(1, taken),
                Phase::Over => return Ok(tally),
            }
        }
    }
}
