//! The options of a client: those of ZEO 5's documentation, by its names.

use std::path::PathBuf;
use std::time::Duration;

use zeo_codec::Limits;

use crate::address::Address;
use crate::blob::{BlobDirectory, BlobOptions};
use crate::cache::{Cache, FileCache};
use crate::client::Client;
use crate::credentials::Credentials;
pub use crate::engine::Access;
use crate::error::Error;
use crate::net::Shared;
use crate::tls::{Connector, TlsOptions};
use crate::zconfig::System;

/// What the tasks of a client go by.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) storage: String,
    pub(crate) access: Access,
    pub(crate) label: Option<String>,
    pub(crate) wait_timeout: Duration,
    pub(crate) disconnect_poll: Duration,
    pub(crate) disconnect_poll_max: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) server_sync: bool,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<Connector>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) drops_cache: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            storage: "1".to_owned(),
            access: Access::ReadWrite,
            label: None,
            wait_timeout: Duration::from_secs(30),
            disconnect_poll: Duration::from_secs(1),
            disconnect_poll_max: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(30),
            server_sync: false,
            limits: Limits::DEFAULT,
            tls: None,
            credentials: None,
            drops_cache: false,
        }
    }
}

/// A client to be.
///
/// ```no_run
/// # async fn example() -> Result<(), zeo_client::Error> {
/// let client = zeo_client::Builder::new("zeo.example.com:8100".parse::<zeo_client::Address>().unwrap())
///     .label("reports")
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Builder {
    addresses: Vec<Address>,
    options: Options,
    tls: Option<TlsOptions>,
    blobs: Option<BlobOptions>,
    cache: CacheOptions,
}

/// Where revisions of objects are kept.
#[derive(Debug)]
enum CacheOptions {
    Nowhere,
    Given(Box<dyn Cache>),
    File { path: PathBuf, size: u64 },
    Temporary { size: u64 },
}

impl CacheOptions {
    fn open(self) -> Result<Option<Box<dyn Cache>>, Error> {
        Ok(Some(match self {
            Self::Nowhere => return Ok(None),
            Self::Given(cache) => cache,
            Self::File { path, size } => {
                Box::new(FileCache::open(&path, size).map_err(|error| Error::file(path, error))?)
            }
            Self::Temporary { size } => {
                let opened = FileCache::temporary(size);
                Box::new(opened.map_err(|error| Error::file(std::env::temp_dir(), error))?)
            }
        }))
    }
}

impl Builder {
    /// A client of the server at this address; [`and_address`](Self::and_address) for more of them.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::with_addresses(vec![address.into()])
    }

    pub(crate) fn with_addresses(addresses: Vec<Address>) -> Self {
        let cache = CacheOptions::Temporary { size: FileCache::SIZE_DEFAULT };
        Self { addresses, options: Options::default(), tls: None, blobs: None, cache }
    }

    /// Another server that serves the same data; the first that registers the client is used until it is lost.
    pub fn and_address(mut self, address: impl Into<Address>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Which of the server's storages; `1` by default, the only one of most servers.
    pub fn storage(mut self, name: impl Into<String>) -> Self {
        self.options.storage = name.into();
        self
    }

    /// Whether the client wants to write; [`Access::ReadWrite`] by default.
    pub fn access(mut self, access: Access) -> Self {
        self.options.access = access;
        self
    }

    /// What the client is called in the server's log.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.options.label = Some(label.into());
        self
    }

    /// How long to wait for a connection, at first and in each call while there is none; 30 seconds by default. With
    /// zero nothing waits: [`connect`](Self::connect) fails at once, and calls fail while there is no connection. (In a
    /// ZConfig file, `wait-timeout 0` is the default, as it is for Python.)
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.options.wait_timeout = limit;
        self
    }

    /// The first pause between two attempts to connect; 1 second by default, 10 milliseconds at least, whatever is given.
    /// Pauses vary at random, down to the half, and double up to [a bound](Self::disconnect_poll_max).
    pub fn disconnect_poll(mut self, pause: Duration) -> Self {
        self.options.disconnect_poll = pause;
        self
    }

    /// The longest pause between two attempts to connect; 30 seconds by default. If it is shorter than
    /// [the first one](Self::disconnect_poll), that one is never doubled.
    pub fn disconnect_poll_max(mut self, pause: Duration) -> Self {
        self.options.disconnect_poll_max = pause;
        self
    }

    /// Speaks TLS; not by default.
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Says who it is to servers of ZEO 4 that ask for that; those of ZEO 5 go by the certificate.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.options.credentials = Some(credentials);
        self
    }

    /// Drops the cache when a server of ZEO 4 cannot tell what has changed since the last connection, rather than ask it
    /// about each object; not by default. With servers of ZEO 5 nothing else can be done.
    pub fn drop_cache_rather_verify(mut self, drops: bool) -> Self {
        self.options.drops_cache = drops;
        self
    }

    /// How long a server may take to greet and register the client; 30 seconds by default.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.options.handshake_timeout = limit;
        self
    }

    /// Whether [`Client::sync`] asks the server, so that it returns when everything that was committed before is
    /// known; not by default.
    pub fn server_sync(mut self, asks: bool) -> Self {
        self.options.server_sync = asks;
        self
    }

    /// Bounds on what a server can make this client hold.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Keeps revisions of objects there. This, [`cache_file`](Self::cache_file), [`cache_size`](Self::cache_size) and
    /// [`no_cache`](Self::no_cache) take the place of each other; without any of them a client has a temporary file of 20
    /// MB, as Python's.
    pub fn cache(mut self, cache: impl Cache + 'static) -> Self {
        self.cache = CacheOptions::Given(Box::new(cache));
        self
    }

    /// Keeps no revisions of objects: each load asks the server.
    pub fn no_cache(mut self) -> Self {
        self.cache = CacheOptions::Nowhere;
        self
    }

    /// Keeps blobs there; without a directory they cannot be loaded.
    pub fn blobs(mut self, blobs: BlobOptions) -> Self {
        self.blobs = Some(blobs);
        self
    }

    /// Keeps revisions of objects in this file, which a Python client may have made, `size` bytes long; 20 MB is usual
    /// ([`FileCache::SIZE_DEFAULT`]). What has changed since it was used is asked of the server, or else it is emptied. A
    /// damaged file is set aside; one that another process uses is an [`Error::File`] when the client starts. A size
    /// below 64 bytes is taken for that, one beyond 256 TiB for that; an object that is larger than the file, or than 2
    /// GiB, is not kept.
    ///
    /// Beside the file lie `PATH.lock`, and `PATH.open` while it is in use, by which the next one knows that the machine
    /// failed meanwhile.
    pub fn cache_file(mut self, path: impl Into<PathBuf>, size: u64) -> Self {
        self.cache = CacheOptions::File { path: path.into(), size };
        self
    }

    /// Keeps revisions of objects in a file of this length in the system's directory for temporary files, which goes with
    /// the client; 20 MB by default. Sizes are bounded as those of [`cache_file`](Self::cache_file).
    pub fn cache_size(mut self, size: u64) -> Self {
        self.cache = CacheOptions::Temporary { size };
        self
    }

    /// Connects, for at most the wait timeout.
    ///
    /// # Errors
    /// [`Error::Disconnected`] with what the last attempt met; what [`start`](Self::start) says.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.start()?;
        client.wait().await?;
        Ok(client)
    }

    /// Begins to connect, and does not wait for it. Loads are served from the cache meanwhile, other calls wait.
    ///
    /// # Errors
    /// [`Error::Options`] if a file that the options name cannot be used, or [`BlobOptions::check_percent`] is 100 or
    /// more; [`Error::File`] for the cache file and the blob directory.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<Client, Error> {
        let Self { addresses, mut options, tls, blobs, cache } = self;
        options.tls = match tls {
            None => None,
            Some(tls) => {
                Some(Connector::load(&tls, &System).map_err(|error| Error::Options(error.to_string()))?)
            }
        };
        let blobs = match blobs {
            None => None,
            Some(blobs) if blobs.check_percent >= 100 => {
                let what = format!("{} is no percentage below 100 (check_percent)", blobs.check_percent);
                return Err(Error::Options(what));
            }
            Some(blobs) => {
                let opened = BlobDirectory::open(&blobs);
                Some(opened.map_err(|error| Error::file(blobs.path, error))?)
            }
        };
        let shared = Shared::new(options, addresses, cache.open()?, blobs);
        shared.start();
        Ok(Client::new(shared))
    }
}
