//! tokio around the [`Engine`]: its mutex, its socket, and the tasks that keep a connection.
//!
//! A call is written by the caller itself, under the mutex; the task of the connection ([`drive`]) reads, and writes
//! what the socket did not take at once. So a call costs one switch of tasks, when its reply wakes the caller. Another
//! task ([`keep`]) sees to it that there is a connection.

mod blob;
mod connect;
mod drive;
mod keep;
mod socket;
mod tls;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;
use zeo_codec::call::TxnId;
use zeo_codec::session::SessionError;
use zeo_codec::{Call, Oid, Tid};

use crate::address::Address;
use crate::blob::BlobDirectory;
use crate::builder::Options;
use crate::cache::Cache;
use crate::client::Download;
use crate::engine::{Answer, Engine, Outcome};
use crate::error::{ConnectionError, Error};
use blob::Backlog;
pub(crate) use blob::blocking;
use socket::Socket;

/// Output beyond which one-way calls wait until some of it has been written.
const OUTPUT_LEN_MAX: usize = 4 * 1024 * 1024;
/// Output of one-way calls that waits for company: the server does nothing about them before the vote.
const COMPANY_LEN: usize = 32 * 1024;
/// Blobs that are loaded at the same time.
const DOWNLOAD_COUNT_MAX: usize = 8;

/// Who waits for the outcome of a call.
#[derive(Debug)]
pub(crate) enum Waiter {
    One(oneshot::Sender<Outcome>),
    /// One of several loads.
    Many(mpsc::UnboundedSender<(Oid, Outcome)>, Oid),
    /// A commit: its end lets the next transaction begin, whether or not anybody still listens.
    Commit(oneshot::Sender<Outcome>, OwnedSemaphorePermit),
    /// An end that nobody listens to, and that lets the next transaction begin.
    Abort(OwnedSemaphorePermit),
}

impl Waiter {
    fn tell(self, outcome: Outcome) {
        // Whoever does not listen any more has given up the call.
        match self {
            Self::One(sender) => drop(sender.send(outcome)),
            Self::Many(sender, oid) => drop(sender.send((oid, outcome))),
            Self::Abort(permit) => drop(permit),
            Self::Commit(sender, permit) => {
                drop(permit);
                drop(sender.send(outcome));
            }
        }
    }
}

/// How the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Offline,
    Ready { is_read_only: bool },
    Closed,
}

/// What the tasks of a client wait for changes of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    status: Status,
    generation: u64,
}

/// A client, shared by its handles, transactions and tasks.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) options: Options,
    addresses: watch::Sender<Vec<Address>>,
    seen: watch::Sender<Seen>,
    /// The task of the connection has something to do.
    bell: Arc<Notify>,
    /// Output has been written, or there is no connection any more.
    drained: Notify,
    /// A server has one transaction of a connection at a time.
    pub(crate) transactions: Arc<Semaphore>,
    blobs: Option<Arc<BlobDirectory>>,
    backlog: Arc<Backlog>,
    pub(crate) download_permits: Semaphore,
}

/// What is behind the mutex.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) engine: Engine<Waiter>,
    socket: Option<Box<dyn Socket>>,
    /// The socket does not take more; the task of the connection waits for it.
    is_stuck: bool,
    /// Why there is no connection.
    why: Arc<ConnectionError>,
    /// Object ids that the server has handed out, and the connection that it was.
    pub(crate) oids: (u64, Vec<Oid>),
    /// Who writes the pieces of the blobs that come in.
    arriving: HashMap<(Oid, Tid), mpsc::UnboundedSender<Bytes>>,
    /// The blobs that are being loaded.
    pub(crate) downloads: HashMap<(Oid, Tid), Download>,
    is_closed: bool,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        addresses: Vec<Address>,
        cache: Option<Box<dyn Cache>>,
        blobs: Option<BlobDirectory>,
    ) -> Arc<Self> {
        let mut engine = Engine::new(options.limits, options.label.clone(), cache);
        engine.set_drops_cache(options.drops_cache);
        if let Some(directory) = &blobs {
            engine.set_blob_len_max(directory.blob_len_max);
        }
        let bell = Arc::new(Notify::new());
        let state = State {
            engine,
            socket: None,
            is_stuck: false,
            why: Arc::new(ConnectionError::NotYet),
            oids: (0, Vec::new()),
            arriving: HashMap::new(),
            downloads: HashMap::new(),
            is_closed: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            options,
            addresses: watch::Sender::new(addresses),
            seen: watch::Sender::new(Seen { status: Status::Offline, generation: 0 }),
            backlog: Arc::new(Backlog::new(Arc::clone(&bell))),
            bell,
            blobs: blobs.map(Arc::new),
            download_permits: Semaphore::new(DOWNLOAD_COUNT_MAX),
            drained: Notify::new(),
            transactions: Arc::new(Semaphore::new(1)),
        })
    }

    /// Starts the task that keeps a connection.
    pub(crate) fn start(self: &Arc<Self>) {
        if let Some(directory) = self.blobs.clone() {
            drop(tokio::task::spawn_blocking(move || directory.shrink()));
        }
        tokio::spawn(keep::keep(Arc::clone(self)));
    }

    /// The blob directory.
    ///
    /// # Errors
    /// [`Error::NoBlobDirectory`]
    pub(crate) fn blobs(&self) -> Result<Arc<BlobDirectory>, Error> {
        self.blobs.clone().ok_or(Error::NoBlobDirectory)
    }

    /// Notes that so many bytes have come into the blob directory; it may be time to look at its size.
    pub(crate) fn noted(&self, directory: &Arc<BlobDirectory>, len: u64) {
        if directory.note_loaded(len) {
            let directory = Arc::clone(directory);
            // Nobody waits for it.
            drop(tokio::task::spawn_blocking(move || directory.shrink()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock has ended its task; what it left behind is whole between two steps of the engine.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the client.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state())
    }

    /// Makes calls, and writes them if the socket takes them.
    pub(crate) fn act<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state();
        let result = act(&mut state);
        self.write_now(&mut state, 0);
        result
    }

    /// Makes one-way calls, which may wait for company before they are written.
    pub(crate) fn act_one_way<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state();
        let result = act(&mut state);
        self.write_now(&mut state, COMPANY_LEN);
        result
    }

    fn write_now(&self, state: &mut State, len_min: usize) {
        let output_len = state.engine.session().map_or(0, |session| session.output_len());
        if output_len <= len_min || state.is_stuck {
            return;
        }
        match state.poll_write(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {}
            // The task of the connection knows how to wait, and how to end.
            Poll::Ready(Err(_)) | Poll::Pending => self.bell.notify_one(),
        }
    }

    /// Waits until there is room for more output.
    pub(crate) async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            let output_len = self.look(|state| state.engine.session().map_or(0, |s| s.output_len()));
            if output_len <= OUTPUT_LEN_MAX {
                return;
            }
            drained.await;
        }
    }

    /// Makes a call as soon as there is a connection, and waits for its outcome.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Outcome {
        self.call_noting(call).await.map(|(answer, _)| answer)
    }

    /// The same, and tells the generation of the connection that answered.
    pub(crate) async fn call_noting(&self, call: &Call<'_>) -> Result<(Answer, u64), Error> {
        loop {
            let made = self.act(|state| {
                state.engine.is_ready().then(|| {
                    let receiver = state.call(call)?;
                    Ok::<_, Error>((receiver, state.engine.generation()))
                })
            });
            match made {
                Some(made) => {
                    let (receiver, generation) = made?;
                    return Ok((outcome(receiver).await?, generation));
                }
                None => self.ready().await?,
            }
        }
    }

    /// Makes a call in the connection of this generation, and waits for its outcome.
    pub(crate) async fn call_in(&self, generation: u64, call: &Call<'_>) -> Outcome {
        let receiver = self.act(|state| {
            state.check_generation(generation)?;
            state.call(call)
        })?;
        outcome(receiver).await
    }

    /// Makes a call in the connection of this generation whose outcome does not matter: if it has gone, so has what
    /// the call is to end.
    pub(crate) fn end_in(&self, generation: u64, call: &Call<'_>) {
        self.end_by(generation, |engine| engine.call_unheard(call));
    }

    /// Gives up a transaction of the connection of this generation. The next one may begin when `permit` is dropped.
    pub(crate) fn abort_in(&self, generation: u64, id: TxnId, permit: OwnedSemaphorePermit) {
        self.end_by(generation, |engine| engine.abort(id, Waiter::Abort(permit)));
    }

    fn end_by(&self, generation: u64, end: impl FnOnce(&mut Engine<Waiter>) -> Result<(), Error>) {
        let mut state = self.state();
        if state.check_generation(generation).is_err() {
            return;
        }
        if end(&mut state.engine).is_err() {
            // The server would keep what nobody can end any more.
            self.lost(&mut state, Arc::new(SessionError::TooManyPending.into()));
        }
        self.write_now(&mut state, 0);
    }

    /// Waits until calls can be made, for as long as the options say (C8).
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let mut seen = self.seen.subscribe();
        let changed = seen.wait_for(|seen| seen.status != Status::Offline);
        match timeout(self.options.wait_timeout, changed).await {
            Ok(Ok(seen)) if matches!(seen.status, Status::Ready { .. }) => Ok(()),
            Ok(_) => Err(Error::Closed),
            Err(_) => Err(Error::Disconnected(self.look(|state| Arc::clone(&state.why)))),
        }
    }

    /// Waits for a connection of another generation, or for the end.
    pub(crate) async fn next_connection(&self, known: u64) -> Option<u64> {
        let mut seen = self.seen.subscribe();
        let is_next = |seen: &Seen| match seen.status {
            Status::Offline => false,
            Status::Ready { .. } => seen.generation != known,
            Status::Closed => true,
        };
        // The sender lives as long as this.
        let found = seen.wait_for(is_next).await.ok()?;
        (found.status != Status::Closed).then_some(found.generation)
    }

    pub(crate) fn status(&self) -> Status {
        self.seen.borrow().status
    }

    /// Ends it all: calls in flight, new calls, streams, tasks.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.why = Arc::new(ConnectionError::Closed);
        state.engine.close();
        self.settle(&mut state);
    }

    pub(crate) fn set_addresses(&self, addresses: Vec<Address>) {
        self.addresses.send_replace(addresses);
    }

    /// The connection is of no use, or gone.
    fn lost(&self, state: &mut State, why: Arc<ConnectionError>) {
        state.engine.disconnect(&why);
        state.why = why;
        self.settle(state);
    }

    /// Tells everybody what has become of their calls, and of the connection.
    fn settle(&self, state: &mut State) {
        state.hand_out_pieces(&self.backlog);
        while let Some((waiter, outcome)) = state.engine.poll_done() {
            waiter.tell(outcome);
        }
        if state.engine.session().is_none() {
            state.socket = None;
            state.is_stuck = false;
            state.arriving.clear();
            self.bell.notify_one();
            self.drained.notify_waiters();
        }
        let status = if state.is_closed {
            Status::Closed
        } else if state.engine.is_ready() {
            Status::Ready { is_read_only: state.engine.is_read_only() }
        } else {
            Status::Offline
        };
        let seen = Seen { status, generation: state.engine.generation() };
        self.seen.send_if_modified(|known| std::mem::replace(known, seen) != seen);
    }
}

impl State {
    fn call(&mut self, call: &Call<'_>) -> Result<oneshot::Receiver<Outcome>, Error> {
        let (sender, receiver) = oneshot::channel();
        self.engine.call(call, Waiter::One(sender)).map(|()| receiver)
    }

    /// The error of calls that cannot be made now.
    pub(crate) fn disconnected(&self) -> Error {
        if self.is_closed { Error::Closed } else { Error::Disconnected(Arc::clone(&self.why)) }
    }

    /// Whether what began in this connection can go on.
    pub(crate) fn check_generation(&self, generation: u64) -> Result<(), Error> {
        if self.engine.generation() == generation { Ok(()) } else { Err(self.disconnected()) }
    }
}

/// What has become of a call.
pub(crate) async fn outcome(receiver: oneshot::Receiver<Outcome>) -> Result<Answer, Error> {
    // Every call is told its outcome; only a client that is torn down under its callers drops them.
    receiver.await.unwrap_or(Err(Error::Closed))
}
