//! The process around the server: storages opened, signals obeyed, files left and removed.

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use zeo_codec::Limits;
use zeo_codec::handshake::Protocol;

use crate::cli;
use crate::config::{Config, ServerOptions, StorageConfig, StorageKind};
use crate::engine::{Engine, EngineOptions};
use crate::logging::{self, LogHandle};
use crate::net::{Bound, ConnectionOptions, Listener, Tls};
use crate::storage::blob::{BlobDirectory, BlobDirectoryOptions, BlobStorage};
use crate::storage::file::{FileStorage, FileStorageOptions};
use crate::storage::memory::MemoryStorage;
use crate::storage::{Storage, StorageError};
use crate::zconfig::System;

/// How often indexes are saved, so that a start after a crash has no more than this to read again.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(600);
/// What `--test` says on standard output, as Python's server does.
const TRIAL: &str = "testing exit immediately";
/// Exit status after SIGHUP: not 0, so that a supervisor starts the server again (`guarantees.md` 3).
const EXIT_HANGUP: u8 = 1;
/// Exit status when the options or the configuration are wrong, so that starting again does not help.
const EXIT_USAGE: u8 = 2;
/// Exit status when the server cannot start.
const EXIT_FAILED: u8 = 1;

/// Runs `runzeo` with its command line, the program's name included, until a signal ends it.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let config = match cli::parse(arguments, &System) {
        Ok(config) => config,
        Err(stop) => {
            stop.print();
            return stop.exit_code().into();
        }
    };
    let log = match logging::install(&config.log) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("Error: {error}");
            return EXIT_FAILED.into();
        }
    };
    let tls = match config.server.ssl.as_ref().map(|ssl| Tls::load(ssl, &System)).transpose() {
        Ok(tls) => tls,
        Err(error) => {
            fail(&config, &error);
            return EXIT_USAGE.into();
        }
    };
    match serve(&config, tls, &log) {
        Ok(code) => code,
        Err(error) => {
            fail(&config, &error);
            EXIT_FAILED.into()
        }
    }
}

fn fail(config: &Config, error: &dyn std::error::Error) {
    tracing::error!(target: "ZEO.runzeo", critical = true, "{error}");
    if !config.log.is_configured {
        eprintln!("Error: {error}");
    }
}

/// Why the server could not start, or not stop in order.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot open storage '{name}': {source}")]
    Open { name: String, source: StorageError },
    #[error("cannot create the directory {}: {source}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    #[error("{0}")]
    Storage(#[from] StorageError),
}

fn serve(config: &Config, tls: Option<Tls>, log: &LogHandle) -> Result<ExitCode, Failure> {
    let storages = config.storages.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let described = Described(&storages, config.server.read_only).to_string();
    tracing::info!(target: "ZEO.StorageServer", "StorageServer created {described}");
    let options = EngineOptions {
        read_only: config.server.read_only,
        invalidation_queue_size: config.server.invalidation_queue_size,
        invalidation_age: config.server.invalidation_age,
        transaction_timeout: config.server.transaction_timeout,
        ..EngineOptions::default()
    };
    let engine = Engine::new(storages, options, &ctime())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(listen(config, tls, &engine, log));
    // Connections end here, and with them their transactions; commits under way are completed below.
    drop(runtime);
    for storage in &config.storages {
        tracing::info!(target: "ZEO.StorageServer", "closing storage '{}'", storage.name);
    }
    engine.close()?;
    if config.is_test {
        // Once more: it comes out of Python's buffer at the exit, and the tests of ZEO 5.2.3 want it last. Those of 5.4.1
        // and 6.2 want it where it was printed, and look at nothing behind (`runzeo_without_configfile`).
        println!("{TRIAL}");
    }
    result
}

fn open(config: &StorageConfig) -> Result<(String, Arc<dyn Storage>), Failure> {
    let StorageConfig { name, kind } = config;
    let pid = std::process::id();
    tracing::info!(target: "ZEO.runzeo", "({pid}) opening storage '{name}' using {}", kind.opener());
    Ok((name.clone(), open_kind(name, kind)?))
}

fn open_kind(name: &str, kind: &StorageKind) -> Result<Arc<dyn Storage>, Failure> {
    let failed = |source| Failure::Open { name: name.to_owned(), source };
    let file = match kind {
        StorageKind::Mapping { name } => return Ok(Arc::new(MemoryStorage::new(name))),
        StorageKind::Blob { blob_dir, base } => {
            let base = open_kind(name, base)?;
            let options = BlobDirectoryOptions { create: false, read_only: base.is_read_only() };
            return with_blobs(base, blob_dir, options).map_err(failed);
        }
        StorageKind::File(file) => file,
    };
    if file.create_directory
        && let Some(directory) = file.path.parent()
    {
        std::fs::create_dir_all(directory)
            .map_err(|source| Failure::Directory { path: directory.to_owned(), source })?;
    }
    let options =
        FileStorageOptions { create: file.create, read_only: file.read_only, quota_bytes: file.quota_bytes };
    let storage = Arc::new(FileStorage::open(&file.path, options).map_err(failed)?);
    match &file.blob_dir {
        None => Ok(storage),
        Some(blob_dir) => {
            let options = BlobDirectoryOptions { create: file.create, read_only: file.read_only };
            with_blobs(storage, blob_dir, options).map_err(failed)
        }
    }
}

fn with_blobs(
    storage: Arc<dyn Storage>,
    path: &Path,
    options: BlobDirectoryOptions,
) -> Result<Arc<dyn Storage>, StorageError> {
    Ok(Arc::new(BlobStorage::new(storage, BlobDirectory::open(path, options)?)?))
}

/// The storages as Python's server logs them: `RW with storages: 1:RW:Data.fs`.
struct Described<'s>(&'s [(String, Arc<dyn Storage>)], bool);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = |is_read_only| if is_read_only { "RO" } else { "RW" };
        write!(f, "{} with storages: ", mode(self.1))?;
        for (index, (name, storage)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}:{}:{}", mode(storage.is_read_only()), storage.name())?;
        }
        Ok(())
    }
}

/// Listens, and serves until a signal comes.
async fn listen(
    config: &Config,
    tls: Option<Tls>,
    engine: &Arc<Engine>,
    log: &LogHandle,
) -> Result<ExitCode, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut reopen = signal(SignalKind::user_defined2())?;
    // A handler keeps the limit on file sizes from ending the process; writes fail with an error instead.
    let _file_size = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;

    let failed = |source| Failure::Listen { address: config.listen.to_string(), source };
    let listener = Listener::bind(&config.listen).await.map_err(failed)?;
    let listener = match tls {
        Some(tls) => listener.with_tls(tls),
        None => listener,
    };
    let bound = listener.bound()?;
    let shown: Vec<String> = bound.iter().map(Bound::to_string).collect();
    tracing::info!(target: "ZEO.asyncio.server", "listening on {}", shown.join(" and "));
    let _pid_file = PidFile::write(config.pid_file.as_deref());
    if config.is_test {
        println!("{TRIAL}");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(address) = bound.first() {
        greet(address, is_embedded_default(config));
    }
    let serving = listener.run(Arc::clone(engine), connection_options(&config.server));
    tokio::pin!(serving);
    let mut checkpoint = tokio::time::interval_at(Instant::now() + CHECKPOINT_INTERVAL, CHECKPOINT_INTERVAL);
    loop {
        tokio::select! {
            () = &mut serving => return Ok(EXIT_FAILED.into()),
            _ = terminate.recv() => return Ok(stopped("SIGTERM", ExitCode::SUCCESS)),
            _ = interrupt.recv() => return Ok(stopped("SIGINT", ExitCode::SUCCESS)),
            _ = hangup.recv() => return Ok(stopped("SIGHUP", EXIT_HANGUP.into())),
            _ = reopen.recv() => log.reopen(),
            _ = checkpoint.tick() => {
                let engine = Arc::clone(engine);
                tokio::task::spawn_blocking(move || engine.checkpoint());
            }
        }
    }
}

fn connection_options(server: &ServerOptions) -> ConnectionOptions {
    ConnectionOptions {
        announced: if server.msgpack { Protocol::M5 } else { Protocol::Z5 },
        limits: Limits { frame_bytes: server.frame_size_limit, ..Limits::DEFAULT },
        handshake_timeout: server.handshake_timeout,
        ..ConnectionOptions::default()
    }
}

fn stopped(signal: &str, code: ExitCode) -> ExitCode {
    tracing::info!(target: "ZEO.runzeo", "({}) terminated by {signal}", std::process::id());
    code
}

impl fmt::Display for Bound {
    /// As Python logs it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "('{}', {})", address.ip(), address.port()),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

fn is_embedded_default(config: &Config) -> bool {
    config
        .storages
        .iter()
        .any(|storage| matches!(&storage.kind, StorageKind::File(file) if file.create_directory))
}

/// Says on the standard output that the server is ready, and to somebody who just tries it, how to go on.
fn greet(address: &Bound, is_trial: bool) {
    let text = match address {
        Bound::Unix(path) => format!("ready: listening on {}\n", path.display()),
        Bound::Tcp(address) if !is_trial => format!("ready: listening on {address}\n"),
        Bound::Tcp(address) => format!(
            "ready: listening on {address}\n\
             Try it from Python:\n    \
                 import ZEO, transaction\n    \
                 root = ZEO.DB(('{}', {})).open().root\n    \
                 root.greeting = 'Hello from Rust'; transaction.commit()\n",
            address.ip(),
            address.port(),
        ),
    };
    // Whoever closed our output does not want to know.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A file with the process's number, removed at the end.
struct PidFile(PathBuf);

impl PidFile {
    /// Failing is not fatal, as in Python's server (runzeo.py:create_pidfile, ZEO 6.2).
    fn write(path: Option<&Path>) -> Option<Self> {
        let path = path?;
        match std::fs::write(path, std::process::id().to_string()) {
            Ok(()) => Some(Self(path.to_owned())),
            Err(error) => {
                tracing::error!(target: "ZEO.runzeo", "PID file '{}' cannot be written: {error}", path.display());
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::error!(target: "ZEO.runzeo", "PID file '{}' could not be removed: {error}", self.0.display());
        }
    }
}

/// Local time as C's `ctime` prints it.
fn ctime() -> String {
    jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_configuration_has_the_defaults() {
        assert_eq!(connection_options(&ServerOptions::default()), ConnectionOptions::default());
    }
}
