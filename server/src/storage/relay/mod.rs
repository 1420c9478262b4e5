//! [`RelayStorage`]: a storage that is another server's (`<clientstorage>`, `<zeoclient>`).
//!
//! Between the synchronous storage interface and the client stands a runtime of the storage's own; who waits for an
//! answer does so within [`wait()`], as for a disk.
//!
//! | module | owns |
//! |---|---|
//! | this one | opening, the changes in their order, oids, blobs |
//! | `view` | reading as of a transaction |
//! | `transaction` | commits |

mod transaction;
mod view;

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::{Handle, Runtime};
use zeo_client::{Client, ClientConfig, Invalidation, Invalidations, Origin};
use zeo_codec::{Call, Oid, Reply, Tid};

use super::blob::{BlobDirectory, BlobDirectoryOptions};
use super::remote::{Change, Changed, Remote, RemoteMetadata, RemoteTransaction};
use super::tid::unix_micros_from_tid;
use super::{
    Features, NewTransaction, PackHost, PackOutcome, PackRequest, Storage, StorageError, View, Voted, wait,
};
use view::RelayView;

/// What a storage announces that passes everything on: what `ClientStorage` is, less what is not passed on.
const INTERFACES: [(&str, &str); 3] =
    [("ZODB.interfaces", "IBlobStorage"), ("ZODB.interfaces", "IStorage"), ("zope.interface", "Interface")];

/// Threads of the runtime: one for the connection, one for what its callers do.
const THREAD_COUNT: usize = 2;

/// A storage that is another server's.
#[derive(Debug)]
pub struct RelayStorage {
    name: String,
    link: Arc<Link>,
    /// Where uploads of clients are kept until the vote.
    uploads: Option<Arc<BlobDirectory>>,
    changes: Mutex<Changes>,
    bell: Mutex<Invalidations>,
    /// The connection that clients have been told of, and the one that there is.
    told_connection: AtomicU64,
    connection: AtomicU64,
    /// The state before the first change.
    first: Arc<dyn View>,
    oids: Mutex<VecDeque<Oid>>,
}

/// What the server behind announces.
#[derive(Debug)]
struct Changes {
    invalidations: Invalidations,
    /// Of the last one that was taken.
    last_tid: Tid,
}

/// The client, and how to wait for it.
#[derive(Debug)]
struct Link {
    client: Client,
    handle: Handle,
    /// Until the end.
    runtime: Option<Runtime>,
}

impl Link {
    /// Waits for the client.
    fn wait<R, F>(&self, future: F) -> Result<R, StorageError>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, zeo_client::Error>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // Whoever waits does so until this.
            let _ = sender.send(future.await);
        });
        let mut result = Err(StorageError::Closed);
        wait(&mut || {
            if let Ok(found) = receiver.recv() {
                result = found.map(Some).map_err(remote_error);
            }
        });
        result.and_then(|found| found.ok_or(StorageError::Closed))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.client.close();
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped where nobody may wait.
            runtime.shutdown_background();
        }
    }
}

fn remote_error(error: zeo_client::Error) -> StorageError {
    match error {
        zeo_client::Error::ReadOnly => StorageError::ReadOnly,
        zeo_client::Error::Closed => StorageError::Closed,
        error => StorageError::Remote(Box::new(error)),
    }
}

impl RelayStorage {
    /// Connects to the server behind; waits for it unless the configuration says otherwise.
    ///
    /// # Errors
    /// [`StorageError::Remote`] if there is none within the wait timeout, or a file that the configuration names
    /// cannot be used; [`StorageError::Io`].
    pub fn open(config: &ClientConfig) -> Result<Self, StorageError> {
        let name = config.display_name();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(THREAD_COUNT).thread_name("relay").enable_all().build();
        let runtime = runtime
            .map_err(|source| StorageError::Io { doing: format!("start the threads of {name}"), source })?;
        let client = {
            let _entered = runtime.enter();
            config.builder().start().map_err(remote_error)?
        };
        let handle = runtime.handle().clone();
        let link = Arc::new(Link { client: client.clone(), handle, runtime: Some(runtime) });
        if config.waits {
            let waiting = client.clone();
            link.wait(async move { waiting.wait().await })?;
        }
        let uploads = match &config.blobs {
            // Of a server that is not there yet the best is hoped for.
            Some(blobs) if !client.is_connected() || client.server_info().provides("IBlobStorage") => {
                let path = blobs.path.join("tmp").join("uploads");
                Some(Arc::new(BlobDirectory::open(&path, BlobDirectoryOptions::default())?))
            }
            _ => None,
        };
        // In this order: what rings is in the other one already.
        let changes = client.invalidations();
        let bell = client.invalidations();
        let connection = client.connection_number();
        let last_tid = changes.start().unwrap_or(Tid::ZERO);
        let first = RelayView::of(&link, last_tid);
        Ok(Self {
            name,
            link,
            uploads,
            changes: Mutex::new(Changes { invalidations: changes, last_tid }),
            bell: Mutex::new(bell),
            told_connection: AtomicU64::new(connection),
            connection: AtomicU64::new(connection),
            first,
            oids: Mutex::default(),
        })
    }

    fn client(&self) -> Client {
        self.link.client.clone()
    }

    /// The ids at hand, if `count` of them are in sequence.
    fn pooled(oids: &mut VecDeque<Oid>, count: u32) -> Option<Oid> {
        let first = *oids.front()?;
        let count = usize::try_from(count).ok()?;
        let mut expected = first.to_u64()..;
        let is_sequence =
            oids.len() >= count && oids.iter().take(count).all(|oid| expected.next() == Some(oid.to_u64()));
        if !is_sequence {
            return None;
        }
        oids.drain(..count);
        Some(first)
    }
}

impl Remote for RelayStorage {
    fn begin(&self, metadata: RemoteMetadata) -> Result<Box<dyn RemoteTransaction>, StorageError> {
        transaction::begin(&self.link, metadata)
    }

    fn take_change(&self) -> Option<Change> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match changes.invalidations.try_next() {
            Some(change) => {
                changes.last_tid = change.tid();
                match change {
                    Invalidation::Changed { oids, origin, .. } => {
                        Changed::Objects { oids: oids.to_vec(), is_own: origin == Origin::Own }
                    }
                    Invalidation::Everything { .. } => Changed::Unknown,
                }
            }
            None => {
                let connection = self.connection.load(Ordering::Acquire);
                if self.told_connection.swap(connection, Ordering::AcqRel) == connection {
                    return None;
                }
                Changed::Connection
            }
        };
        let tid = changes.last_tid;
        Some(Change { tid, what, view: RelayView::of(&self.link, tid) })
    }

    fn wait_for_change(&self) -> bool {
        let mut bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.connection.load(Ordering::Acquire);
        // Its own thread waits here, which may.
        self.link.handle.block_on(async {
            tokio::select! {
                change = bell.next() => change.is_some(),
                connection = self.link.client.next_connection(known) => match connection {
                    Some(connection) => {
                        self.connection.store(connection, Ordering::Release);
                        true
                    }
                    None => false,
                },
            }
        })
    }

    fn ask(&self, call: &Call<'_>) -> Result<Reply<'static>, StorageError> {
        let mut result = Err(StorageError::Closed);
        wait(&mut || {
            result = self.link.handle.block_on(self.link.client.ask(call)).map_err(remote_error);
        });
        result
    }
}

impl Storage for RelayStorage {
    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> Features {
        let info = self.link.client.server_info();
        Features {
            undo: info.supports_undo,
            restore: info.provides("IStorageRestoreable"),
            record_iteration: info.supports_record_iternext,
            external_gc: info.provides("IExternalGC"),
            blobs: self.uploads.is_some(),
            python_class: "ClientStorage",
            ..Features::default()
        }
    }

    fn interfaces(&self) -> &'static [(&'static str, &'static str)] {
        if self.uploads.is_some() { &INTERFACES } else { INTERFACES.split_at(1).1 }
    }

    fn is_read_only(&self) -> bool {
        self.link.client.is_read_only()
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::clone(&self.first)
    }

    fn new_oids(&self, count: u32) -> Result<Oid, StorageError> {
        let mut oids = self.oids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = Self::pooled(&mut oids, count) {
            return Ok(first);
        }
        let client = self.client();
        *oids = self.link.wait(async move { client.new_oids().await })?.into();
        // Servers hand them out in sequence; from another one, ids by the one will do.
        Self::pooled(&mut oids, count).ok_or(StorageError::OidsExhausted)
    }

    /// Never called: what is committed goes through [`Remote::begin`].
    fn vote(&self, _: NewTransaction) -> Result<Box<dyn Voted>, StorageError> {
        Err(StorageError::ReadOnly)
    }

    fn pack(&self, request: PackRequest, _: &dyn PackHost) -> Result<PackOutcome, StorageError> {
        let micros = u64::try_from(unix_micros_from_tid(request.until)).unwrap_or(0);
        let time: SystemTime = UNIX_EPOCH + Duration::from_micros(micros);
        let client = self.client();
        self.link.wait(async move { client.pack(time, true).await })?;
        Ok(PackOutcome::NothingFreed)
    }

    fn blobs(&self) -> Option<&Arc<BlobDirectory>> {
        self.uploads.as_ref()
    }

    fn open_blob(&self, oid: Oid, serial: Tid) -> Result<File, StorageError> {
        let client = self.client();
        let blob = self.link.wait(async move { client.load_blob(oid, serial).await }).map_err(|error| {
            let StorageError::Remote(why) = &error else { return error };
            let is_missing = why.is_no_such_object() || matches!(**why, zeo_client::Error::NoBlob { .. });
            if is_missing {
                StorageError::NoBlobFile { path: "the server behind".into(), oid, serial }
            } else {
                error
            }
        })?;
        File::open(blob.path())
            .map_err(|source| StorageError::Io { doing: format!("open {}", blob.path().display()), source })
    }

    fn remote(&self) -> Option<&dyn Remote> {
        Some(self)
    }

    fn close(&self) -> Result<(), StorageError> {
        self.link.client.close();
        Ok(())
    }
}
