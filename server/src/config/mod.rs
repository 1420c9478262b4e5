//! What the server is to do, by the names that Python's `runzeo` gives to its options.
//!
//! A [`Config`] comes from a configuration file ([`Config::from_document`]), from the command line
//! ([`Config::from_overrides`]), or from both, where the command line wins. The schema is that of ZEO 6.2
//! (`ZEO/schema.xml`, `ZEO/server.xml`), ZODB 6.4 (`ZODB/component.xml`) and ZConfig 4.3 (its `logger`
//! component). What Python accepts and this server cannot do (yet) is refused by name and line, see
//! `REFUSED` in `config/schema.rs`: a server that ignores an option does something else than its operator
//! thinks.
//!
//! This module opens nothing: it asks its [`Environment`] for variables and for directories to exist.

mod error;
mod fields;
mod limits;
mod log;
mod read;
mod schema;
mod storages;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeo_codec::Limits;
use zeo_codec::handshake::Version;

pub use error::{ConfigError, ErrorKind};
pub(crate) use read::duration;
pub use zeo_client::ClientConfig;
pub use zeo_client::tls::Password;

use crate::limits::LimitOptions;
use crate::logging::LogConfig;
pub use crate::zconfig::Suggestion;
use crate::zconfig::value::SocketAddress;
use crate::zconfig::{Document, Environment, Position};

/// Everything that is said about a server before it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to listen (`address` in `<zeo>`, `-a`).
    pub listen: Address,
    /// How to serve (`<zeo>`).
    pub server: ServerOptions,
    /// What to serve; at least one, with names that differ (storage sections, `-f`).
    pub storages: Vec<StorageConfig>,
    /// What to tell and where (`<eventlog>`).
    pub log: LogConfig,
    /// Where to write the process id (`pid-filename` in `<zeo>`, `--pid-file`). Without either it is
    /// `$INSTANCE_HOME/var/ZEO.pid` if that variable is set. A read-only server writes none
    /// (`ZEO/runzeo.py`, `make_pidfile`).
    pub pid_file: Option<PathBuf>,
    /// Stop at once after the start (`--test`).
    pub is_test: bool,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// Host name or address. Empty, as for a port alone: all interfaces, by IPv4 and IPv6, which is
        /// what Python's `loop.create_server('', port)` does.
        host: String,
        /// The port; 0, also where none is given, for one chosen by the system.
        port: u16,
    },
    /// The path of a Unix domain socket.
    Unix(PathBuf),
}

impl From<SocketAddress> for Address {
    fn from(address: SocketAddress) -> Self {
        match address {
            SocketAddress::Inet { host, port } => Self::Tcp { host, port: port.unwrap_or(0) },
            SocketAddress::Unix(path) => Self::Unix(path.into()),
        }
    }
}

impl fmt::Display for Address {
    /// As Python prints the address it was given: `('host', 8100)` or `'/path'`, as in its log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "('{host}', {port})"),
            Self::Unix(path) => write!(f, "'{}'", path.display()),
        }
    }
}

/// The keys of `<zeo>` that are about serving.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerOptions {
    /// `read-only`, default false: refuse all writing, except packing.
    pub read_only: bool,
    /// `invalidation-queue-size`: how many transactions are remembered for clients that return; 0 is taken for 1. (With 0, or
    /// less, the first commit fails in Python's server: ZEO 6.2, `StorageServer.invalidate`.) Its default is 100; without the key we keep more, see [`QueueLimits::DEFAULT`](crate::engine::QueueLimits::DEFAULT).
    pub invalidation_queue_size: Option<usize>,
    /// `invalidation-age`, default none: clients that were away for less are told what changed from the
    /// storage itself if the queue does not reach back far enough. Python takes 0 for none, and so is it here.
    pub invalidation_age: Option<Duration>,
    /// `transaction-timeout` (whole seconds) or `-t` (seconds), default none: how long a client may hold the
    /// commit lock. The documentation of ZEO speaks of 30 seconds, but there is no such default in ZEO 6.2.
    pub transaction_timeout: Option<Duration>,
    /// `client-conflict-resolution`, default false: leave the resolution of conflicts to the clients.
    pub client_conflict_resolution: bool,
    /// `msgpack`; where the key is absent, whether the environment variable `ZEO_MSGPACK` is set and not
    /// empty: offer the framing `M5` and not `Z5`.
    pub msgpack: bool,
    /// `frame-size-limit`, default 1 GiB: the greatest message, in bytes, that a registered client may send. A key
    /// that Python does not have: it refuses a file with it.
    pub frame_size_limit: usize,
    /// `handshake-timeout`, default 30 seconds: how long a client may take until it has registered. A key that
    /// Python does not have.
    pub handshake_timeout: Duration,
    /// `<limits>`: everything else that is bounded. A section that Python does not have.
    pub limits: LimitOptions,
    /// `<ssl>`, default none.
    pub ssl: Option<SslOptions>,
    /// `min-protocol`, default `Z308`: the oldest protocol that is spoken. A key that Python does not have: its servers
    /// since ZEO 5 speak `Z5` only.
    pub oldest: Version,
    /// `authentication-protocol` (ZEO 4), default none: how clients of ZEO 4 show who they are; all others are refused
    /// then.
    pub authentication: Option<AuthenticationOptions>,
    /// `monitor-address` (ZEO 4), default none: where statistics are told as text.
    pub monitor: Option<Address>,
}

impl Default for ServerOptions {
    /// The defaults of `ZEO/server.xml`, and those of the keys that are ours.
    fn default() -> Self {
        Self {
            read_only: false,
            invalidation_queue_size: None,
            invalidation_age: None,
            transaction_timeout: None,
            client_conflict_resolution: false,
            msgpack: false,
            frame_size_limit: Limits::DEFAULT.frame_bytes,
            handshake_timeout: Duration::from_secs(30),
            limits: LimitOptions::default(),
            ssl: None,
            oldest: Version::V308,
            authentication: None,
            monitor: None,
        }
    }
}

/// The keys `authentication-*` of `<zeo>`, for the scheme `digest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationOptions {
    /// `authentication-database`, required: the file that `zeopasswd` keeps.
    pub database: PathBuf,
    /// `authentication-realm`; it has to be that of the file. Without the key it is the file's.
    pub realm: Option<String>,
}

/// The section `<ssl>` of `<zeo>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SslOptions {
    /// `certificate`, required: a PEM file with the server's certificate.
    pub certificate: PathBuf,
    /// `key`: a PEM file with its key, if not in the same file.
    pub key: Option<PathBuf>,
    /// Where the password of an encrypted key is kept: `password-file` or `password-env`, which are this server's
    /// own, in place of Python's `password-function`.
    pub password: Option<Password>,
    /// `authenticate`, required.
    pub authenticate: Authenticate,
}

/// Which clients are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticate {
    /// Those whose certificates, or the authorities that issued them, are in a file or directory.
    Path(PathBuf),
    /// Those with a certificate that was issued by an authority that the system trusts: `-` or `SIGNED`. It is
    /// what the description in `ZEO/server.xml` promises; the code of ZEO 6.2 looks for a file of that name.
    Signed,
}

/// One storage to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// The name by which clients ask for it: that of the section, in lower case; `1` without a name.
    pub name: String,
    /// What it is.
    pub kind: StorageKind,
    /// Where it is configured; nowhere for those of the command line.
    pub at: Option<Position>,
}

/// The kinds of storages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageKind {
    /// `<filestorage>`
    File(FileStorageOptions),
    /// `<mappingstorage>`
    Mapping {
        /// `name`, default `Mapping Storage`: what the storage calls itself.
        name: String,
    },
    /// `<blobstorage>`
    Blob {
        /// `blob-dir`, required: where blobs are kept, relative to the working directory.
        blob_dir: PathBuf,
        /// The storage for everything else, required.
        base: Box<Self>,
    },
    /// `<clientstorage>`, `<zeoclient>`: another server's.
    Client {
        /// How to reach it, and everything else that the section says.
        config: Box<ClientConfig>,
        /// Whether it is a `<zeoclient>`.
        is_zeoclient: bool,
    },
    /// `<demostorage>`
    Demo {
        /// `name`, default none: what the storage calls itself, if not after the two below.
        name: Option<String>,
        /// The storage that is shown and never written to; without one an empty one in memory.
        base: Option<Box<Self>>,
        /// The storage that takes all changes: the one in a section with the name `changes`; without one, one in
        /// memory, with blobs in a temporary directory.
        changes: Option<Box<Self>>,
    },
}

impl StorageKind {
    /// The name of the Python class that opens it, as `runzeo` logs it: "opening storage '1' using
    /// FileStorage".
    pub fn opener(&self) -> &'static str {
        match self {
            Self::File(_) => "FileStorage",
            Self::Mapping { .. } => "MappingStorage",
            Self::Blob { .. } => "BlobStorage",
            Self::Demo { .. } => "DemoStorage",
            Self::Client { is_zeoclient: false, .. } => "ClientStorageConfig",
            Self::Client { is_zeoclient: true, .. } => "ZEOClient",
        }
    }
}

/// The keys of `<filestorage>`, with the defaults of `ZODB/component.xml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStorageOptions {
    /// `path`, required: the data file, relative to the working directory.
    pub path: PathBuf,
    /// `blob-dir`, default none (so does an empty value): where blobs are kept.
    pub blob_dir: Option<PathBuf>,
    /// `create`, default false: begin with an empty file, even where there is one with data.
    pub create: bool,
    /// `read-only`, default false.
    pub read_only: bool,
    /// `quota`, default none: bytes that the data file may not exceed.
    pub quota_bytes: Option<u64>,
    /// `pack-gc`, default true: packing removes objects that nothing refers to.
    pub pack_gc: bool,
    /// `pack-keep-old`, default true: packing keeps the file as it was under another name.
    pub pack_keep_old: bool,
    /// Whether the directory of `path` is to be made where it is missing. Only so for the default storage
    /// of a server without configuration; there is no key for it.
    pub create_directory: bool,
    /// What the storage calls itself; its path unless told. There is no key for it.
    pub name: Option<String>,
}

impl FileStorageOptions {
    /// The file `path`, all other options as they are by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            blob_dir: None,
            create: false,
            read_only: false,
            quota_bytes: None,
            pack_gc: true,
            pack_keep_old: true,
            create_directory: false,
            name: None,
        }
    }
}

/// What the command line says; it takes precedence over the configuration file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// `-a`
    pub listen: Option<Address>,
    /// `-f`, once for each storage. These replace the storages of the file and are called `1`, `2`, ...
    pub filenames: Vec<PathBuf>,
    /// `-t`
    pub transaction_timeout: Option<Duration>,
    /// `--pid-file`
    pub pid_file: Option<PathBuf>,
    /// `--test`
    pub is_test: bool,
}

impl Config {
    /// What `document` says, except where the command line says something else.
    ///
    /// # Errors
    /// Every [`ErrorKind`] but those of the command line.
    pub fn from_document(
        document: &Document,
        overrides: Overrides,
        environment: &dyn Environment,
    ) -> Result<Self, ConfigError> {
        read::config(document, overrides, environment)
    }

    /// What the command line says by itself. If it says neither where to listen nor what to serve, the server
    /// listens at port 8100 of this host only, and serves the file `./data/Data.fs` with the blobs in
    /// `./data/blobs`.
    ///
    /// # Errors
    /// [`ErrorKind::NoAddress`] and [`ErrorKind::NoStorages`] if one is given without the other.
    pub fn from_overrides(overrides: Overrides, environment: &dyn Environment) -> Result<Self, ConfigError> {
        let is_bare = overrides.listen.is_none() && overrides.filenames.is_empty();
        if is_bare {
            return Ok(Self::embedded(overrides, environment));
        }
        let Some(listen) = overrides.listen else {
            return Err(ConfigError::nowhere(ErrorKind::NoAddress));
        };
        if overrides.filenames.is_empty() {
            return Err(ConfigError::nowhere(ErrorKind::NoStorages));
        }
        let server = read::defaults(overrides.transaction_timeout, environment);
        Ok(Self {
            listen,
            pid_file: read::pid_file(overrides.pid_file, &server, environment),
            server,
            storages: storages::from_filenames(overrides.filenames),
            log: LogConfig::default(),
            is_test: overrides.is_test,
        })
    }

    fn embedded(overrides: Overrides, environment: &dyn Environment) -> Self {
        let file = FileStorageOptions {
            blob_dir: Some("./data/blobs".into()),
            create_directory: true,
            ..FileStorageOptions::new("./data/Data.fs")
        };
        let server = read::defaults(overrides.transaction_timeout, environment);
        Self {
            listen: Address::Tcp { host: "127.0.0.1".into(), port: 8100 },
            pid_file: read::pid_file(overrides.pid_file, &server, environment),
            server,
            storages: vec![StorageConfig { name: "1".into(), kind: StorageKind::File(file), at: None }],
            log: LogConfig::default(),
            is_test: overrides.is_test,
        }
    }
}
