//! A commit as a value: each step takes the transaction and gives it back in its next phase.

mod blob;
mod vote;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use zeo_codec::call::{
    CheckCurrentSerial, DeleteObject, Restorea, Storea, TpcBegin, TransactionRef, TxnId, Undoa,
};
use zeo_codec::{Call, Method, Oid, Reply, Tid, Value};

pub use vote::{Unresolved, Vote};

use crate::builder::Access;
use crate::client::{Client, unexpected};
use crate::engine::{Answer, Changes};
use crate::error::Error;
use crate::net::{Shared, Waiter, outcome};
use blob::Blobs;

/// Changes may be made. A phase of [`Transaction`].
#[derive(Debug)]
pub struct Begun;

/// The server holds the commit lock for it. A phase of [`Transaction`].
#[derive(Debug)]
pub struct Voted;

/// What a transaction says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// User name, in UTF-8; of copied transactions, whatever it was.
    pub user: Vec<u8>,
    /// Description, likewise.
    pub description: Vec<u8>,
    /// Further data: a dict.
    pub extension: Value<'static>,
}

impl Metadata {
    /// A user and a description.
    #[must_use]
    pub fn new(user: &str, description: &str) -> Self {
        Self { user: user.into(), description: description.into(), ..Self::default() }
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self { user: Vec::new(), description: Vec::new(), extension: Value::Dict(Vec::new()) }
    }
}

/// A transaction under way, first `Begun`, then `Voted`. Dropping it aborts it.
///
/// A client has one at a time, as servers allow one for each connection;
/// [`Client::begin`](crate::Client::begin) waits for the one before.
///
/// A wrong order does not compile:
///
/// ```compile_fail,E0599
/// # async fn wrong(client: zeo_client::Client) -> Result<(), zeo_client::Error> {
/// let transaction = client.begin(zeo_client::Metadata::default()).await?;
/// transaction.finish().await?; // not without a vote
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0599
/// # async fn wrong(client: zeo_client::Client) -> Result<(), zeo_client::Error> {
/// let transaction = client.begin(zeo_client::Metadata::default()).await?;
/// let mut transaction = transaction.vote().await?;
/// transaction.store(zeo_client::Oid::ZERO, zeo_client::Tid::ZERO, "late").await?; // not after the vote
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0382
/// # async fn wrong(client: zeo_client::Client) -> Result<(), zeo_client::Error> {
/// let transaction = client.begin(zeo_client::Metadata::default()).await?.vote().await?;
/// transaction.finish().await?;
/// transaction.abort().await; // it is over
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it aborts it"]
pub struct Transaction<Phase> {
    shared: Arc<Shared>,
    /// A client is not closed while it has a transaction.
    client: Client,
    /// Until it is over.
    running: Option<Running>,
    phase: PhantomData<Phase>,
}

#[derive(Debug)]
struct Running {
    id: TxnId,
    /// The connection that it lives in.
    generation: u64,
    permit: OwnedSemaphorePermit,
    changes: Changes,
    resolved: Vec<Oid>,
    blobs: Blobs,
}

impl<Phase> Transaction<Phase> {
    /// Makes a one-way call of the transaction, as long as its connection lives.
    fn send<'c>(&mut self, call: impl FnOnce(TxnId) -> Call<'c>, memory: &Bytes) -> Result<(), Error> {
        let running = self.running.as_mut().ok_or(Error::NoTransaction)?;
        let (id, generation) = (running.id, running.generation);
        self.shared.act_one_way(|state| {
            state.check_generation(generation)?;
            state.engine.send(&call(id), memory)
        })
    }

    /// Makes a call in the connection that the transaction lives in.
    async fn call(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let generation = self.running.as_ref().ok_or(Error::NoTransaction)?.generation;
        self.shared.call_in(generation, call).await
    }

    /// Gives it up, and waits until the server knows.
    pub async fn abort(mut self) {
        self.end_upload();
        let Some(running) = &self.running else { return };
        let call = Call::Transaction(Method::TpcAbort, TransactionRef { id: running.id });
        // If the connection is lost the server aborts by itself.
        let _ = self.call(&call).await;
        self.running = None;
    }

    /// The phase is all that changes.
    fn enter<Next>(mut self) -> Transaction<Next> {
        Transaction {
            shared: Arc::clone(&self.shared),
            client: self.client.clone(),
            running: self.running.take(),
            phase: PhantomData,
        }
    }
}

impl<Phase> Drop for Transaction<Phase> {
    fn drop(&mut self) {
        self.end_upload();
        let Some(running) = self.running.take() else { return };
        // The next transaction may begin behind this in the same stream.
        self.shared.abort_in(running.generation, running.id, running.permit);
    }
}

impl Transaction<Begun> {
    pub(crate) async fn begin(
        client: &Client,
        metadata: Metadata,
        copied: Option<(Tid, String)>,
    ) -> Result<Self, Error> {
        /// Servers tell the transactions of a connection apart by these.
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let shared = client.shared();
        if shared.options.access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        // Never closed.
        let permit = Arc::clone(&shared.transactions).acquire_owned().await.map_err(|_| Error::Closed)?;
        let tid = copied.as_ref().map(|(tid, _)| *tid);
        let changes = Changes::of(&metadata.user, &metadata.description, tid);
        let (tid, status) =
            copied.map_or_else(|| (None, " ".to_owned()), |(tid, status)| (Some(tid), status));
        let id = TxnId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let call = Call::TpcBegin(TpcBegin {
            id,
            user: Value::Bytes(metadata.user.into()),
            description: Value::Bytes(metadata.description.into()),
            extension: metadata.extension,
            tid,
            status: status.into(),
        });
        loop {
            let begun = shared.act_one_way(|state| {
                if !state.engine.is_ready() {
                    return Ok(None);
                }
                if state.engine.is_read_only() {
                    return Err(Error::ReadOnly);
                }
                state.engine.send(&call, &Bytes::new())?;
                Ok(Some(state.engine.generation()))
            })?;
            if let Some(generation) = begun {
                let running = Running {
                    id,
                    generation,
                    permit,
                    changes,
                    resolved: Vec::new(),
                    blobs: Blobs::default(),
                };
                return Ok(Self {
                    shared: Arc::clone(shared),
                    client: client.clone(),
                    running: Some(running),
                    phase: PhantomData,
                });
            }
            shared.ready().await?;
        }
    }

    /// Stores an object. `serial` is the revision that was read, [`Tid::ZERO`] for a new object.
    ///
    /// Waits while the connection has much to write; what the server thinks of it shows at the vote.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if the connection that it began in is lost; [`Error::EmptyRecord`].
    pub async fn store(&mut self, oid: Oid, serial: Tid, data: impl Into<Bytes>) -> Result<(), Error> {
        let data = data.into();
        check_record(oid, &data)?;
        self.shared.room().await;
        self.store_now(oid, serial, &data)
    }

    fn store_now(&mut self, oid: Oid, serial: Tid, data: &Bytes) -> Result<(), Error> {
        check_record(oid, data)?;
        let running = self.running.as_mut().ok_or(Error::NoTransaction)?;
        let (id, generation) = (running.id, running.generation);
        self.shared.act_one_way(|state| {
            state.check_generation(generation)?;
            let call = Call::Storea(Storea { oid, serial, data: (&**data).into(), id });
            state.engine.send(&call, data)
        })?;
        running.changes.store(oid, data.clone());
        Ok(())
    }

    /// Makes the vote fail unless the object is still at `serial`.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub async fn check_current(&mut self, oid: Oid, serial: Tid) -> Result<(), Error> {
        self.shared.room().await;
        self.send(|id| Call::CheckCurrentSerial(CheckCurrentSerial { oid, serial, id }), &Bytes::new())
    }

    /// Deletes an object, which is at `serial`.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub async fn delete(&mut self, oid: Oid, serial: Tid) -> Result<(), Error> {
        self.shared.room().await;
        self.send(|id| Call::DeleteObject(DeleteObject { oid, serial, id }), &Bytes::new())?;
        self.touch(oid);
        Ok(())
    }

    /// Copies a record verbatim, without looking for conflicts: `data` is `None` if the object ceased to exist;
    /// `prev_txn` wrote the record that holds the same data, if there is one.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub async fn restore(
        &mut self,
        oid: Oid,
        serial: Tid,
        data: Option<Bytes>,
        prev_txn: Option<Tid>,
    ) -> Result<(), Error> {
        if data.as_ref().is_some_and(Bytes::is_empty) {
            return Err(Error::EmptyRecord(oid));
        }
        self.shared.room().await;
        let running = self.running.as_mut().ok_or(Error::NoTransaction)?;
        let (id, generation) = (running.id, running.generation);
        let memory = data.unwrap_or_default();
        self.shared.act_one_way(|state| {
            state.check_generation(generation)?;
            let data = (!memory.is_empty()).then(|| (&*memory).into());
            state.engine.send(&Call::Restorea(Restorea { oid, serial, data, prev_txn, id }), &memory)
        })?;
        self.touch(oid);
        Ok(())
    }

    /// Undoes a transaction, by the id that [`Client::undo_log`](crate::Client::undo_log) has for it.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub async fn undo(&mut self, undo_id: &[u8]) -> Result<(), Error> {
        self.shared.room().await;
        let undo_id = undo_id.to_vec().into();
        self.send(|id| Call::Undoa(Undoa { undo_id, id }), &Bytes::new())?;
        if let Some(running) = &mut self.running {
            running.changes.undo();
        }
        Ok(())
    }

    fn touch(&mut self, oid: Oid) {
        if let Some(running) = &mut self.running {
            running.changes.touch(oid);
        }
    }
}

/// Servers of Python take a record without data, and cannot read their file afterwards.
const fn check_record(oid: Oid, data: &Bytes) -> Result<(), Error> {
    if data.is_empty() { Err(Error::EmptyRecord(oid)) } else { Ok(()) }
}

impl Transaction<Voted> {
    /// The objects whose state is not what was stored: resolved here or on the server, or undone. Who has one in
    /// memory must load it again.
    #[must_use]
    pub fn resolved(&self) -> &[Oid] {
        self.running.as_ref().map_or(&[], |running| &running.resolved)
    }

    /// Commits, and returns the tid. [`Client::last_transaction`](crate::Client::last_transaction) is at it, or
    /// beyond, then.
    ///
    /// Once this has been polled the commit goes on even if the future is dropped.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the connection is lost, or the server fails, before it answers.
    /// [`Error::Disconnected`] if it was lost before: nothing was committed.
    pub async fn finish(mut self) -> Result<Tid, Error> {
        let Running { id, generation, permit, changes, blobs, .. } =
            self.running.take().ok_or(Error::NoTransaction)?;
        let receiver = self.shared.act(|state| {
            state.check_generation(generation)?;
            let (sender, receiver) = oneshot::channel();
            state.engine.finish(id, changes, Waiter::Commit(sender, permit)).map(|()| receiver)
        })?;
        match outcome(receiver).await? {
            Answer::Reply(Reply::Tid(tid)) => {
                blobs.committed(&self.shared, tid).await;
                Ok(tid)
            }
            _ => Err(unexpected(Method::TpcFinish)),
        }
    }
}
