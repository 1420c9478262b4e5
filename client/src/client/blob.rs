//! Reading blobs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use zeo_codec::{Oid, Tid};

use super::Client;
use crate::blob::{Blob, BlobDirectory};
use crate::error::Error;
use crate::lock_file::LockFile;
use crate::net::{Shared, blocking};

/// How long to wait for another process that has locked a directory, and how often to look; as Python's client
/// (`ClientStorage.py:_lock_blob`, ZEO 6.2).
const LOCK_TIME_MAX: Duration = Duration::from_secs(600);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A download that is under way, and whoever waits for it.
pub(crate) type Download = watch::Receiver<Option<Result<Blob, Error>>>;

impl Client {
    /// The blob of the revision that `serial` wrote. What is not in the blob directory is downloaded, once for all who
    /// ask meanwhile, also in other processes that use the same directory. A download goes on even if the future is
    /// dropped.
    ///
    /// # Errors
    /// [`Error::NoBlobDirectory`]; [`Error::NoBlob`], or the server's [error](Error::is_no_such_object), if there is
    /// no such blob; [`Error::File`] if the directory cannot be used.
    pub async fn load_blob(&self, oid: Oid, serial: Tid) -> Result<Blob, Error> {
        let directory = self.shared().blobs()?;
        if let Some(blob) = find(&directory, oid, serial).await? {
            return Ok(blob);
        }
        if directory.is_shared() {
            // What is not there is nowhere.
            return Err(Error::NoBlob { oid, serial });
        }
        let mut download = self.shared().look(|state| match state.downloads.get(&(oid, serial)) {
            Some(download) => download.clone(),
            None => {
                let (sender, download) = watch::channel(None);
                state.downloads.insert((oid, serial), download.clone());
                tokio::spawn(fetch(Arc::clone(self.shared()), directory, oid, serial, sender));
                download
            }
        });
        let result = download.wait_for(Option::is_some).await;
        result.ok().and_then(|result| result.clone()).unwrap_or(Err(Error::Closed))
    }
}

/// The task of a download.
async fn fetch(
    shared: Arc<Shared>,
    directory: Arc<BlobDirectory>,
    oid: Oid,
    serial: Tid,
    result: watch::Sender<Option<Result<Blob, Error>>>,
) {
    let fetched = fetch_locked(&shared, &directory, oid, serial).await;
    shared.look(|state| state.downloads.remove(&(oid, serial)));
    result.send_replace(Some(fetched));
}

async fn fetch_locked(
    shared: &Arc<Shared>,
    directory: &Arc<BlobDirectory>,
    oid: Oid,
    serial: Tid,
) -> Result<Blob, Error> {
    let _lock = lock(directory, oid).await?;
    // Another process may have been faster.
    if let Some(blob) = find(directory, oid, serial).await? {
        return Ok(blob);
    }
    // Servers send only so many at the same time.
    let _permit = shared.download_permits.acquire().await.map_err(|_| Error::Closed)?;
    let opened = directory.incoming(oid, serial).map_err(|(path, error)| Error::file(path, error))?;
    let incoming = shared.download(oid, serial, opened).await?;
    let path = incoming.path().to_owned();
    let kept = blocking(move || incoming.keep()).await?.map_err(|error| Error::file(path, error))?;
    let blob = find(directory, oid, serial).await?.ok_or(Error::NoBlob { oid, serial })?;
    shared.noted(directory, kept);
    Ok(blob)
}

async fn find(directory: &Arc<BlobDirectory>, oid: Oid, serial: Tid) -> Result<Option<Blob>, Error> {
    let directory = Arc::clone(directory);
    let found = blocking(move || directory.find(oid, serial)).await?;
    found.map_err(|(path, error)| Error::file(path, error))
}

/// The lock under which files of this object are made. Whoever has it is not waited for forever.
pub(crate) async fn lock(directory: &Arc<BlobDirectory>, oid: Oid) -> Result<LockFile, Error> {
    let deadline = Instant::now() + LOCK_TIME_MAX;
    loop {
        let own = Arc::clone(directory);
        let locked = blocking(move || own.lock(oid)).await?;
        match locked.map_err(|(path, error)| Error::file(path, error))? {
            Some(lock) => return Ok(lock),
            None if Instant::now() > deadline => {
                return Err(Error::file(directory.lock_path(oid), std::io::ErrorKind::ResourceBusy.into()));
            }
            None => sleep(LOCK_PAUSE).await,
        }
    }
}
