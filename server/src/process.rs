//! The process around the server: storages opened, signals obeyed, files left and removed.

mod hosted;
mod open;
mod pid_file;
mod ready;

use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use zeo_codec::Limits;
use zeo_codec::handshake::Protocol;

use crate::auth::{DatabaseError, DigestScheme, PasswordDatabase, Scheme};
use crate::cli;
use crate::config::{AuthenticationOptions, Config, ServerOptions, StorageKind};
use crate::engine::{Engine, EngineOptions, QueueLimits};
use crate::logging::{self, LogHandle};
use crate::net::{Bound, ConnectionOptions, Listener, Tls};
use crate::storage::{Storage, StorageError};
use crate::zconfig::System;
pub use hosted::{Hosted, NotHosted};
use open::CannotOpen;
use pid_file::PidFile;

/// How often indexes are saved, so that a start after a crash has no more than this to read again.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(600);
/// What `--test` says on standard output, as Python's server does.
const TRIAL: &str = "testing exit immediately";
/// After how many turns of connections a thread looks for new input. Connections that always have something to do would
/// otherwise keep the others' requests unseen for tokio's 61 turns.
const EVENT_INTERVAL: u32 = 8;
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
            complain(&error);
            return EXIT_FAILED.into();
        }
    };
    let tls = match config.server.ssl.as_ref().map(|ssl| Tls::load(ssl, &System)).transpose() {
        Ok(tls) => tls,
        Err(error) => {
            fail(&error);
            return EXIT_USAGE.into();
        }
    };
    let scheme = match config.server.authentication.as_ref().map(scheme).transpose() {
        Ok(scheme) => scheme,
        Err(error) => {
            fail(&error);
            return EXIT_USAGE.into();
        }
    };
    match serve(&config, tls, scheme, &log) {
        Ok(code) => code,
        Err(error) => {
            fail(&error);
            EXIT_FAILED.into()
        }
    }
}

/// Reads the passwords.
fn scheme(options: &AuthenticationOptions) -> Result<Arc<dyn Scheme>, SchemeFailure> {
    let database = PasswordDatabase::load(&options.database, options.realm.as_deref())?;
    let (count, path) = (database.user_count(), options.database.display());
    tracing::info!(target: "ZEO.StorageServer", "StorageServer: using auth protocol: digest, {count} users in {path}");
    Ok(Arc::new(DigestScheme::new(database)?))
}

/// Why nobody could be authenticated.
#[derive(Debug, thiserror::Error)]
enum SchemeFailure {
    #[error("{0}")]
    Database(#[from] DatabaseError),
    #[error("no random bytes: {0}")]
    Random(#[from] std::io::Error),
}

/// Says why there is no server: in the log, and to whoever has started it and does not look there.
fn fail(error: &dyn std::error::Error) {
    tracing::error!(target: "ZEO.runzeo", critical = true, "{error}");
    complain(error);
}

/// Says it on the terminal, if there is one: the exit status says it in any case.
fn complain(error: &dyn std::error::Error) {
    let _ = writeln!(std::io::stderr(), "Error: {error}");
}

/// Why the server could not start, or not stop in order.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Open(#[from] CannotOpen),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    #[error("{0}")]
    Storage(#[from] StorageError),
}

fn serve(
    config: &Config,
    tls: Option<Tls>,
    scheme: Option<Arc<dyn Scheme>>,
    log: &LogHandle,
) -> Result<ExitCode, Failure> {
    let engine = engine(config, scheme)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().event_interval(EVENT_INTERVAL).enable_all().build()?;
    let mut pid_file = None;
    let result = runtime.block_on(listen(config, tls, &engine, log, &mut pid_file));
    // Connections end here, and with them their transactions; commits under way are completed below.
    drop(runtime);
    for storage in &config.storages {
        tracing::info!(target: "ZEO.StorageServer", "closing storage '{}'", storage.name);
    }
    engine.close()?;
    // Last of all: whoever waits for it to go may take the files.
    drop(pid_file);
    if config.is_test {
        // Once more: it comes out of Python's buffer at the exit, and the tests of ZEO 5.2.3 want it last. Those of 5.4.1
        // and 6.2 want it where it was printed, and look at nothing behind (`runzeo_without_configfile`).
        println!("{TRIAL}");
    }
    result
}

/// Opens the storages.
fn engine(config: &Config, scheme: Option<Arc<dyn Scheme>>) -> Result<Arc<Engine>, Failure> {
    let storages = open::all(&config.storages)?;
    let described = Described(&storages, config.server.read_only).to_string();
    tracing::info!(target: "ZEO.StorageServer", "StorageServer created {described}");
    let options = EngineOptions {
        read_only: config.server.read_only,
        queue_limits: config
            .server
            .invalidation_queue_size
            .map_or(QueueLimits::DEFAULT, QueueLimits::exactly),
        invalidation_age: config.server.invalidation_age,
        transaction_timeout: config.server.transaction_timeout,
        ..EngineOptions::with_limits(&config.server.limits)
    };
    Ok(Engine::with_authentication(storages, options, &ctime(), scheme)?)
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
    pid_file: &mut Option<PidFile>,
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
    let monitor = match &config.server.monitor {
        None => None,
        Some(address) => {
            let failed = |source| Failure::Listen { address: address.to_string(), source };
            let monitor = Listener::bind(address).await.map_err(failed)?;
            let bound: Vec<String> = monitor.bound()?.iter().map(Bound::to_string).collect();
            tracing::info!(target: "ZEO.monitor", "listening on {}", bound.join(" and "));
            Some(monitor)
        }
    };
    let bound = listener.bound()?;
    let shown: Vec<String> = bound.iter().map(Bound::to_string).collect();
    tracing::info!(target: "ZEO.asyncio.server", "listening on {}", shown.join(" and "));
    // Not earlier: who finds the files or the address in use leaves alone what belongs to their user. (Python's
    // server begins with it, and then removes the file of the one that runs.)
    *pid_file = PidFile::write(config.pid_file.as_deref());
    if config.is_test {
        println!("{TRIAL}");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(address) = bound.first() {
        ready::greet(address, is_embedded_default(config));
    }
    ready::notify_ready();
    let serving = listener.run(Arc::clone(engine), connection_options(&config.server));
    tokio::pin!(serving);
    // It goes with the runtime.
    let _monitoring = monitor.map(|monitor| tokio::spawn(monitor.run_monitor(Arc::clone(engine))));
    let mut checkpoint = tokio::time::interval_at(Instant::now() + CHECKPOINT_INTERVAL, CHECKPOINT_INTERVAL);
    loop {
        tokio::select! {
            () = &mut serving => return Ok(EXIT_FAILED.into()),
            _ = terminate.recv() => return Ok(stopped(engine, "terminated by SIGTERM", ExitCode::SUCCESS)),
            _ = interrupt.recv() => return Ok(stopped(engine, "terminated by SIGINT", ExitCode::SUCCESS)),
            _ = hangup.recv() => return Ok(stopped(engine, "restarted by SIGHUP", EXIT_HANGUP.into())),
            _ = reopen.recv() => log.reopen(),
            _ = checkpoint.tick() => {
                let engine = Arc::clone(engine);
                tokio::task::spawn_blocking(move || engine.checkpoint());
            }
        }
    }
}

fn connection_options(server: &ServerOptions) -> ConnectionOptions {
    let default = ConnectionOptions::with_limits(&server.limits);
    ConnectionOptions {
        announced: if server.msgpack { Protocol::M5 } else { Protocol::Z5 },
        oldest: server.oldest,
        limits: Limits { frame_bytes: server.frame_size_limit, ..default.limits },
        handshake_timeout: server.handshake_timeout,
        ..default
    }
}

/// Gives packs up, before connections end: one that waits for the commit lock must not get it from them.
fn stopped(engine: &Engine, why: &str, code: ExitCode) -> ExitCode {
    engine.stop_packs();
    tracing::info!(target: "ZEO.runzeo", "({}) {why}", std::process::id());
    ready::notify_stopping();
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
