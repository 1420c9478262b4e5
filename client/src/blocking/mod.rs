//! The client for threads: the same methods, each of which waits.
//!
//! A thin front: a [`Client`] has a runtime of its own, on whose one thread the connection lives, and the calling thread
//! waits for what the async client does there. Any number of threads may share it. Not for use inside of async code,
//! which it would block.

mod methods;
mod runtime;
mod transaction;

use std::sync::Arc;

pub use methods::{Invalidations, Prefetch, RecordIteration, TransactionIterator};
pub use transaction::{Transaction, Vote};

use crate::builder::Builder;
use crate::error::Error;
use runtime::Runtime;

/// A client of a storage, for threads. Clones are the same client; the last one to go closes it.
///
/// ```no_run
/// use zeo_client::{Builder, Metadata, Tid};
///
/// let client = Builder::new(8100).connect_blocking()?;
/// let oid = client.new_oid()?;
/// let mut transaction = client.begin(Metadata::new("me", "a first object"))?;
/// transaction.store(oid, Tid::ZERO, b"a database record".as_slice())?;
/// let tid = transaction.vote()?.finish()?;
/// assert_eq!(client.load_current(oid)?.serial, tid);
/// # Ok::<(), zeo_client::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    /// Goes first: it tells the tasks to end.
    client: crate::Client,
    runtime: Arc<Runtime>,
}

#[cfg(feature = "tools")]
impl Client {
    /// Waits for what the async client does, for so long at most: `None` if it takes longer.
    pub(crate) fn within<'c, R, F: Future<Output = R>>(
        &'c self,
        limit: std::time::Duration,
        work: impl FnOnce(&'c crate::Client) -> F,
    ) -> Option<R> {
        self.runtime.block_on(async { tokio::time::timeout(limit, work(&self.client)).await.ok() })
    }
}

impl Builder {
    /// Connects, for at most the wait timeout; for threads.
    ///
    /// # Errors
    /// [`Error::Disconnected`] with what the last attempt met; what [`start_blocking`](Self::start_blocking) says.
    ///
    /// # Panics
    /// Inside of async code.
    pub fn connect_blocking(self) -> Result<Client, Error> {
        let client = self.start_blocking()?;
        client.wait()?;
        Ok(client)
    }

    /// Begins to connect, and does not wait for it; for threads. Loads are served from the cache meanwhile, other calls
    /// wait.
    ///
    /// # Errors
    /// As [`start`](Self::start); [`Error::Options`] if there can be no thread.
    ///
    /// # Panics
    /// Inside of async code.
    pub fn start_blocking(self) -> Result<Client, Error> {
        let runtime = Runtime::start()?;
        let client = runtime.block_on(async { self.start() })?;
        Ok(Client { client, runtime: Arc::new(runtime) })
    }
}
