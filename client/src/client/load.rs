//! Reading objects.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};
use zeo_codec::call::{GetTid, LoadSerial};
use zeo_codec::{Call, Method, Oid, Reply, Tid};

use super::{Client, unexpected};
use crate::cache::Revision;
use crate::engine::{Answer, Outcome};
use crate::error::Error;
use crate::net::{State, Waiter, outcome};

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
    /// are in the cache, if there is one, whether or not they are looked at.
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
    before: Tid,
    sender: mpsc::UnboundedSender<(Oid, Outcome)>,
    receiver: mpsc::UnboundedReceiver<(Oid, Outcome)>,
    waiting_count: usize,
    in_flight_count: usize,
}

impl Prefetch {
    /// The next answer: an object, and what [`Client::load_before`] gives for it. `None` when there are no more.
    pub async fn next(&mut self) -> Option<(Oid, Result<Option<Revision>, Error>)> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<<Self as Stream>::Item>> {
        if self.waiting_count == 0 {
            return Poll::Ready(None);
        }
        if self.in_flight_count < BATCH_COUNT_MAX / 2 && !self.oids.is_empty() {
            self.ask();
        }
        // As a sender is kept here, this does not end before all answers are there.
        let Some((oid, outcome)) = ready!(self.receiver.poll_recv(context)) else { return Poll::Ready(None) };
        self.waiting_count -= 1;
        self.in_flight_count -= 1;
        Poll::Ready(Some((oid, loaded(outcome))))
    }

    /// Asks for as many as may be in flight. Each is answered, now or later.
    fn ask(&mut self) {
        while self.in_flight_count < BATCH_COUNT_MAX && !self.oids.is_empty() {
            self.ask_some();
        }
    }

    fn ask_some(&mut self) {
        let Self { client, oids, before, sender, in_flight_count, .. } = self;
        let count = ASK_COUNT_MAX.min(BATCH_COUNT_MAX.saturating_sub(*in_flight_count));
        let asked = oids.split_off(oids.len().saturating_sub(count));
        *in_flight_count += asked.len();
        client.shared().act(|state| {
            for oid in asked.into_iter().rev() {
                let waiter = || (Waiter::Many(sender.clone(), oid), ());
                let answer = match state.load(oid, *before, waiter) {
                    Ok(Asked::Sent(())) => continue,
                    Ok(Asked::Cached(revision)) => Ok(Answer::Loaded(Some(revision))),
                    Ok(Asked::Offline) => Err(state.disconnected()),
                    Err(error) => Err(error),
                };
                // The receiver is ours.
                let _ = sender.send((oid, answer));
            }
        });
    }
}
