//! How long it takes until everybody knows of a commit.
//!
//! One thread does everything that clients do: it sends `tpc_finish` on one connection, and has the system tell which of the
//! others have got something (`epoll`, edge by edge), until the last one has. Only then is read what they got, and checked. So
//! the time is the server's, but for what the system needs to put some thousand sockets on a list; it is in the ceiling's
//! time, too.

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
/// Connections that the system tells of at once.
const EVENT_COUNT: usize = 1024;

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
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&epoll, &stream, data, flags).map_err(io::Error::from)?;
            all.push(Listener { stream, dialect, received: Vec::new() });
        }
        Ok(Self { epoll, all })
    }

    /// Waits until everybody has a whole frame; since when.
    fn wait(&mut self) -> Result<Instant, BenchError> {
        let mut silent_count = self.all.len();
        loop {
            self.wait_for_bytes(silent_count)?;
            let came = Instant::now();
            let mut unfinished_count = 0;
            for listener in &mut self.all {
                unfinished_count += usize::from(!listener.read()?);
            }
            if unfinished_count == 0 {
                return Ok(came);
            }
            // Something has come for everybody, and not yet all of it: what is missing comes with an event of its own.
            silent_count = unfinished_count;
        }
    }

    /// Waits until something has come for so many.
    fn wait_for_bytes(&self, mut silent_count: usize) -> Result<(), BenchError> {
        let limit = Timespec::try_from(SILENCE_LIMIT).unwrap_or_default();
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENT_COUNT);
        while silent_count > 0 {
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.epoll, room, Some(&limit)).map_err(io::Error::from)?;
            if events.is_empty() {
                return Err(BenchError::Wrong(format!("{silent_count} listeners were told nothing")));
            }
            silent_count = silent_count.saturating_sub(events.len());
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
    /// Reads what has come; whether that is a whole frame.
    fn read(&mut self) -> Result<bool, BenchError> {
        let mut buffer = [0; READ_LEN];
        while !self.is_whole() {
            match (&self.stream).read(&mut buffer) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(read_len) => self.received.extend_from_slice(buffer.get(..read_len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

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
            let taken = listeners.wait()?.saturating_duration_since(began);
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
