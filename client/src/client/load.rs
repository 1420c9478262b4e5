//! Reading objects.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};
use zeo_codec::call::{GetTid, LoadSerial};
use zeo_codec::{Call, Method, Oid, Reply, Tid};

use super::{Client, unexpected};
use crate::cache::Revision;
use crate::engine::{Answer, Outcome};
use crate::error::Error;
use crate::net::{Shared, State, Waiter, outcome};

/// Loads of a batch that are in flight at the same time.
const BATCH_COUNT_MAX: usize = 10_000;
/// Loads of a batch that are sent at once: the server begins with them while the next are written.
const ASK_COUNT_MAX: usize = 256;

/// What a look at the cache, and a try at the server, gave.
enum Asked<W> {
    Cached(Revision),
    Sent(W),
    Offline,
}

impl State {
    /// The revision if it is cached; otherwise asks the server if there is one.
    fn load<W>(
        &mut self,
        oid: Oid,
        before: Tid,
        waiter: impl FnOnce() -> (Waiter, W),
    ) -> Result<Asked<W>, Error> {
        if let Some(revision) = self.engine.cached(oid, before) {
            return Ok(Asked::Cached(revision));
        }
        if !self.engine.is_ready() {
            return Ok(Asked::Offline);
        }
        let (waiter, waits) = waiter();
        self.engine.load(oid, before, waiter)?;
        Ok(Asked::Sent(waits))
    }
}

impl Client {
    /// The newest revision older than `before`; `None` if the object had none yet. From the cache where it can be,
    /// also while there is no connection.
    ///
    /// # Errors
    /// [`Error::is_no_such_object`] if there is no such object, or that revision is its deletion.
    pub async fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, Error> {
        loop {
            let asked = self.shared().act(|state| {
                state.load(oid, before, || {
                    let (sender, receiver) = oneshot::channel();
                    (Waiter::One(sender), receiver)
                })
            })?;
            match asked {
                Asked::Cached(revision) => return Ok(Some(revision)),
                Asked::Sent(receiver) => return loaded(outcome(receiver).await),
                Asked::Offline => self.shared().ready().await?,
            }
        }
    }

    /// The current revision.
    ///
    /// # Errors
    /// [`Error::is_no_such_object`] if there is no such object, or it was deleted.
    pub async fn load_current(&self, oid: Oid) -> Result<Revision, Error> {
        let revision = self.load_before(oid, Tid::MAX).await?;
        // An object that exists has a revision before the end of time.
        revision.ok_or(Error::BadAnswer { method: Method::LoadBefore, what: "no current revision" })
    }

    /// The data of the revision that `serial` wrote.
    ///
    /// # Errors
    /// [`Error::is_no_such_object`] if there is none.
    pub async fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Bytes, Error> {
        match self.shared().call(&Call::LoadSerial(LoadSerial { oid, serial })).await? {
            Answer::Data(data) => Ok(data),
            _ => Err(unexpected(Method::LoadSerial)),
        }
    }

    /// The current serial of an object, from the server.
    ///
    /// # Errors
    /// [`Error::is_no_such_object`] if there is no such object.
    pub async fn tid_of(&self, oid: Oid) -> Result<Tid, Error> {
        match self.shared().call(&Call::GetTid(GetTid { oid })).await? {
            Answer::Reply(Reply::Tid(tid)) => Ok(tid),
            _ => Err(unexpected(Method::GetTid)),
        }
    }

    /// Loads many objects as of before `before`, in one round trip. The answers come as the server gives them, and
    /// are in the cache, if there is one, whether or not they are looked at. What is not cached while there is no
    /// connection waits for one when the answers are looked at, as [`load_before`](Self::load_before) does.
    #[must_use]
    pub fn prefetch(&self, oids: impl IntoIterator<Item = Oid>, before: Tid) -> Prefetch {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut oids: Vec<Oid> = oids.into_iter().collect();
        // Taken from the end.
        oids.reverse();
        let waiting_count = oids.len();
        let mut prefetch = Prefetch {
            client: self.clone(),
            oids,
            held: Vec::new(),
            connection: None,
            before,
            sender,
            receiver,
            waiting_count,
            in_flight_count: 0,
        };
        prefetch.ask();
        prefetch
    }
}

impl Stream for Prefetch {
    type Item = (Oid, Result<Option<Revision>, Error>);

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(context)
    }
}

fn loaded(outcome: Outcome) -> Result<Option<Revision>, Error> {
    match outcome? {
        Answer::Loaded(revision) => Ok(revision),
        _ => Err(unexpected(Method::LoadBefore)),
    }
}

/// Answers of [`Client::prefetch`].
#[derive(Debug)]
pub struct Prefetch {
    client: Client,
    /// Not asked yet.
    oids: Vec<Oid>,
    /// To be asked when there is a connection, the last one first.
    held: Vec<Oid>,
    connection: Option<Connection>,
    before: Tid,
    sender: mpsc::UnboundedSender<(Oid, Outcome)>,
    receiver: mpsc::UnboundedReceiver<(Oid, Outcome)>,
    waiting_count: usize,
    in_flight_count: usize,
}

/// The wait for a connection.
struct Connection(Pin<Box<dyn Future<Output = Result<(), Error>> + Send + Sync>>);

impl Connection {
    fn of(shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self(Box::pin(async move { shared.ready().await }))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connection")
    }
}

impl Prefetch {
    /// The next answer: an object, and what [`Client::load_before`] gives for it. `None` when there are no more.
    pub async fn next(&mut self) -> Option<(Oid, Result<Option<Revision>, Error>)> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<<Self as Stream>::Item>> {
        loop {
            if self.waiting_count == 0 {
                return Poll::Ready(None);
            }
            if self.in_flight_count < BATCH_COUNT_MAX / 2 && !self.oids.is_empty() {
                self.ask();
            }
            // As a sender is kept here, this does not end before all answers are there.
            if let Poll::Ready(answer) = self.receiver.poll_recv(context) {
                let Some((oid, outcome)) = answer else { return Poll::Ready(None) };
                self.waiting_count -= 1;
                self.in_flight_count -= 1;
                return Poll::Ready(Some((oid, loaded(outcome))));
            }
            if self.held.is_empty() || self.poll_connection(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Waits for a connection on behalf of what is held back, and has it asked for; or has all of it fail.
    fn poll_connection(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let connection = self.connection.get_or_insert_with(|| Connection::of(self.client.shared()));
        let Poll::Ready(waited) = connection.0.as_mut().poll(context) else { return Poll::Pending };
        self.connection = None;
        match waited {
            Ok(()) => self.oids.append(&mut self.held),
            Err(error) => {
                self.in_flight_count += self.held.len();
                for oid in self.held.drain(..).rev() {
                    // The receiver is ours.
                    let _ = self.sender.send((oid, Err(error.clone())));
                }
            }
        }
        Poll::Ready(())
    }

    /// Asks for as many as may be in flight. Each is answered, now or later, or held back.
    fn ask(&mut self) {
        while self.in_flight_count < BATCH_COUNT_MAX && !self.oids.is_empty() {
            self.ask_some();
        }
    }

    fn ask_some(&mut self) {
        let Self { client, oids, held, before, sender, in_flight_count, .. } = self;
        let count = ASK_COUNT_MAX.min(BATCH_COUNT_MAX.saturating_sub(*in_flight_count));
        let asked = oids.split_off(oids.len().saturating_sub(count));
        *in_flight_count += asked.len();
        let mut offline = Vec::new();
        client.shared().act(|state| {
            for oid in asked.into_iter().rev() {
                let waiter = || (Waiter::Many(sender.clone(), oid), ());
                let answer = match state.load(oid, *before, waiter) {
                    Ok(Asked::Sent(())) => continue,
                    Ok(Asked::Cached(revision)) => Ok(Answer::Loaded(Some(revision))),
                    Ok(Asked::Offline) => {
                        offline.push(oid);
                        continue;
                    }
                    Err(error) => Err(error),
                };
                // The receiver is ours.
                let _ = sender.send((oid, answer));
            }
        });
        *in_flight_count -= offline.len();
        offline.reverse();
        held.splice(..0, offline);
    }
}
