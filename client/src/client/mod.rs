//! The methods of a storage. One file for each family; what they share is here.

mod admin;
mod blob;
mod load;
mod outcome;
mod past;

use std::sync::Arc;

use zeo_codec::call::NewOids;
use zeo_codec::{Call, Method, Oid, Reply, Tid};

pub use crate::engine::ServerInfo;
pub(crate) use blob::{Download, lock};
pub use load::Prefetch;
pub use outcome::Fate;
pub use past::{HistoryEntry, RecordIteration, TransactionIterator, TransactionRecord, UndoEntry};

use crate::address::Address;
use crate::builder::Access;
use crate::engine::{Answer, Invalidations};
use crate::error::Error;
use crate::net::{Shared, Status};
use crate::transaction::{Begun, Metadata, Transaction};

/// A client of a storage. Clones are the same client; the last one to go closes it, be it in a transaction or an
/// iterator.
#[derive(Debug, Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Closes the client when nobody has it any more.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Arc::new(Handle { shared }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Waits until calls can be made, for at most the wait timeout.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::Closed`].
    pub async fn wait(&self) -> Result<(), Error> {
        self.shared().ready().await
    }

    /// Which connection this is: another number after each loss.
    #[must_use]
    pub fn connection_number(&self) -> u64 {
        self.shared().look(|state| state.engine.generation())
    }

    /// Waits until calls can be made in another connection than this one; its number. `None` when the client was
    /// closed.
    pub async fn next_connection(&self, number: u64) -> Option<u64> {
        self.shared().next_connection(number).await
    }

    /// Whether calls can be made now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.shared().status(), Status::Ready { .. })
    }

    /// Whether the client is to only read, or the server in use has registered it so.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.shared().options.access == Access::ReadOnly
            || self.shared().look(|state| state.engine.is_read_only())
    }

    /// The last transaction whose changes this client knows: everything up to it is in all [`Invalidations`] already
    /// (C2). [`Tid::ZERO`] while it knows of none.
    #[must_use]
    pub fn last_transaction(&self) -> Tid {
        self.shared().look(|state| state.engine.last_transaction()).unwrap_or(Tid::ZERO)
    }

    /// All changes of the database from now on.
    #[must_use]
    pub fn invalidations(&self) -> Invalidations {
        self.shared().look(|state| state.engine.subscribe())
    }

    /// What the server says about the storage; from before, while there is no connection.
    #[must_use]
    pub fn server_info(&self) -> ServerInfo {
        self.shared().look(|state| state.engine.info().clone())
    }

    /// Uses these servers from the next connection on: Python's `new_addr`. Attempts that are under way are given up,
    /// and the next ones begin at once. Without any address no attempt is made until there are some again.
    pub fn set_addresses(&self, addresses: impl IntoIterator<Item = Address>) {
        self.shared().set_addresses(addresses.into_iter().collect());
    }

    /// Closes the connection for good: calls in flight and later ones fail.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Begins a transaction, when the one before it has ended.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Disconnected`].
    pub async fn begin(&self, metadata: Metadata) -> Result<Transaction<Begun>, Error> {
        Transaction::begin(self, metadata, None).await
    }

    /// Begins a transaction that is copied from another storage, under its own tid (protocol reference 9.5). `status`
    /// is `" "`, or `"p"` if it was packed.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn begin_copy(
        &self,
        metadata: Metadata,
        tid: Tid,
        status: &str,
    ) -> Result<Transaction<Begun>, Error> {
        Transaction::begin(self, metadata, Some((tid, status.to_owned()))).await
    }

    /// Object ids that nobody else gets, as many as the server hands out at once: a hundred, mostly in sequence.
    ///
    /// # Errors
    /// As [`new_oid`](Self::new_oid).
    pub async fn new_oids(&self) -> Result<Vec<Oid>, Error> {
        if self.is_read_only() {
            return Err(Error::ReadOnly);
        }
        match self.shared().call(&Call::NewOids(NewOids { count: None })).await? {
            Answer::Reply(Reply::Oids(oids)) => Ok(oids),
            _ => Err(unexpected(Method::NewOids)),
        }
    }

    /// Makes a call that only asks, of whatever kind: for who passes calls on. Those that change something, or whose
    /// answers belong into the cache, have methods of their own.
    ///
    /// # Errors
    /// What the server says; [`Error::Disconnected`].
    pub async fn ask(&self, call: &Call<'_>) -> Result<Reply<'static>, Error> {
        Ok(match self.shared().call(call).await? {
            Answer::Reply(reply) => reply,
            Answer::Data(data) => Reply::Data(data.to_vec().into()),
            Answer::Loaded(_) => return Err(unexpected(Method::LoadBefore)),
        })
    }

    /// An object id that nobody else gets. The server hands them out by the hundred.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Disconnected`].
    pub async fn new_oid(&self) -> Result<Oid, Error> {
        loop {
            let pooled = self.shared().look(|state| {
                let generation = state.engine.generation();
                let (owner, oids) = &mut state.oids;
                // A server that was restarted may hand out again what its predecessor had.
                if *owner != generation {
                    oids.clear();
                }
                oids.pop()
            });
            if let Some(oid) = pooled {
                return Ok(oid);
            }
            if self.is_read_only() {
                return Err(Error::ReadOnly);
            }
            let call = Call::NewOids(NewOids { count: None });
            let (answer, generation) = self.shared().call_noting(&call).await?;
            let Answer::Reply(Reply::Oids(oids)) = answer else { return Err(unexpected(Method::NewOids)) };
            if oids.is_empty() {
                return Err(Error::BadAnswer { method: Method::NewOids, what: "no oids" });
            }
            self.shared().look(|state| {
                if state.engine.generation() == generation {
                    // Handed out from the end.
                    let older = std::mem::take(&mut state.oids.1);
                    state.oids = (generation, oids.into_iter().rev().chain(older).collect());
                }
            });
        }
    }
}

/// A result that the codec types in another way than the method's.
pub(crate) fn unexpected(method: Method) -> Error {
    Error::BadAnswer { method, what: "a result of another type" }
}
