//! The server's log, in the shape that Python's `logging` and ZConfig give it.
//!
//! Events of `tracing` are written by handlers, each with its level, format and target. By convention
//!
//! * the `target:` of an event is the name of Python's logger: `ZEO.runzeo`, `ZEO.StorageServer`,
//!   `ZEO.asyncio.server`, ...;
//! * an *error* event with a field `critical = true` is a CRITICAL one, and a *debug* event with
//!   `blather = true` is one of ZODB's level BLATHER, since `tracing` knows neither:
//!   `error!(target: "ZEO.StorageServer", critical = true, "Transaction timeout after {n} seconds")`;
//! * all other fields are appended to the message as `name=value`.
//!
//! By default ZConfig's format is used, which is two lines for each event: `------`, then
//! `2026-01-31T12:00:00 INFO ZEO.runzeo (123) opening storage '1' using FileStorage`.
//!
//! One layer serves all handlers, instead of one `fmt::Layer` with its `FormatEvent` for each: the message is
//! rendered once, each handler writes an event with a single system call, and all of them can be reopened
//! through one [`LogHandle`].

mod date;
mod file;
mod format;
mod layer;
mod level;
mod schedule;
mod syslog;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt;

pub use date::DateFormat;
pub use format::{Format, FormatError, Style};
pub use layer::EventLog;
pub use level::Level;
pub use schedule::{Schedule, When};
pub use syslog::{Facility, SyslogAddress, SyslogConfig};

use layer::Sink;

/// What is logged, where and how: the section `<eventlog>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `level`, default INFO: events below are not logged at all.
    pub level: Level,
    /// One for each `<logfile>` and `<syslog>`. Without any, an `<eventlog>` discards everything.
    pub handlers: Vec<LogHandler>,
    /// Whether there is an `<eventlog>`. Without one there is nothing to reopen, of which SIGUSR2 complains.
    pub is_configured: bool,
}

impl Default for LogConfig {
    /// What a server without `<eventlog>` does: INFO and above, to the standard error stream
    /// (`ZEO/runzeo.py`, `setup_default_logging`).
    fn default() -> Self {
        let handler = LogHandler {
            target: LogTarget::Stderr,
            level: Level::NOTSET,
            format: Format::default(),
            date_format: DateFormat::default(),
        };
        Self { level: Level::INFO, handlers: vec![handler], is_configured: false }
    }
}

#[cfg(test)]
impl LogConfig {
    /// Everything, as it is by default, into a file.
    pub(crate) fn to_file(path: &std::path::Path) -> Self {
        let file = LogFile { path: path.to_owned(), rotation: None, is_delayed: false };
        let mut config = Self { level: Level::NOTSET, is_configured: true, ..Self::default() };
        for handler in &mut config.handlers {
            handler.target = LogTarget::File(file.clone());
        }
        config
    }
}

/// The section `<logfile>` or `<syslog>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHandler {
    /// `path`, or `address`, and what goes with it.
    pub target: LogTarget,
    /// `level`, default NOTSET: events below are not logged here.
    pub level: Level,
    /// `format` and `style`, default [`Format::LOGFILE`] or [`Format::SYSLOG`].
    pub format: Format,
    /// `dateformat`, default `%Y-%m-%dT%H:%M:%S`, in local time: what `%(asctime)s` becomes.
    pub date_format: DateFormat,
}

/// Where a handler writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// `path STDERR`
    Stderr,
    /// `path STDOUT`
    Stdout,
    /// Any other path.
    File(LogFile),
    /// A `<syslog>`.
    Syslog(SyslogConfig),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stderr => f.write_str("STDERR"),
            Self::Stdout => f.write_str("STDOUT"),
            Self::File(file) => file.path.display().fmt(f),
            Self::Syslog(syslog) => write!(f, "syslog at {}", syslog.address),
        }
    }
}

/// A log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// `path`, required: appended to.
    pub path: PathBuf,
    /// `old-files`, and `max-size` or `when` and `interval`; default none.
    pub rotation: Option<Rotation>,
    /// `delay`, default false: do not open the file before there is something to write.
    pub is_delayed: bool,
}

/// When a log file gives way to a new one, and how many of the old ones stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// When it is full.
    Full {
        /// `max-size`, in bytes: a file that an event would fill up to this becomes an old one before.
        max_len: u64,
        /// `old-files`: the old ones are called `PATH.1` (the youngest) to `PATH.N`.
        old_files: u32,
    },
    /// When it is time.
    Timed {
        /// `when` and `interval`. The old ones are called after the time at which they were begun, such as
        /// `PATH.2026-01-31`.
        schedule: Schedule,
        /// `old-files`: how many of them are kept.
        old_files: u32,
    },
}

/// A log that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A log file cannot be opened for writing.
    #[error("cannot open log file {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The address of a `<syslog>` cannot be found, or there is no socket to be had.
    #[error("cannot log to syslog at {address}: {source}")]
    Syslog {
        /// The address.
        address: SyslogAddress,
        /// Why not.
        source: io::Error,
    },
    /// The process logs elsewhere already.
    #[error("logging has been set up before")]
    SetUpBefore,
}

/// A grip on the log of a running server.
#[derive(Debug, Clone)]
pub struct LogHandle {
    sinks: Arc<[Sink]>,
    is_configured: bool,
}

impl LogHandle {
    /// Closes the log files and opens them again under their names, for SIGUSR2; files with a rotation are
    /// rotated. Logs that it has been done, or that there is nothing to reopen, in Python's words
    /// (`ZEO/runzeo.py`, `handle_sigusr2`). A file that cannot be opened is logged, and the old one kept.
    pub fn reopen(&self) {
        let pid = std::process::id();
        if !self.is_configured {
            tracing::warn!(target: RUNZEO, "({pid}) received SIGUSR2, but it was not handled!");
            return;
        }
        // All of them first: each event below is to go to the new files.
        let errors: Vec<LogError> = self.sinks.iter().filter_map(|sink| sink.reopen().err()).collect();
        for error in &errors {
            tracing::error!(target: RUNZEO, "({pid}) {error}");
        }
        if errors.is_empty() {
            tracing::info!(target: RUNZEO, "({pid}) Log files reopened successfully");
        }
    }
}

/// The logger of what concerns the process as a whole.
const RUNZEO: &str = "ZEO.runzeo";

/// Opens the targets of `config`: the layer to be added to a subscriber, and the grip on it.
///
/// # Errors
/// [`LogError::Open`]
pub fn open(config: &LogConfig) -> Result<(EventLog, LogHandle), LogError> {
    let sinks: Result<Arc<[Sink]>, LogError> = config.handlers.iter().map(Sink::open).collect();
    let sinks = sinks?;
    let handle = LogHandle { sinks: Arc::clone(&sinks), is_configured: config.is_configured };
    Ok((EventLog::new(config.level, sinks), handle))
}

/// Makes `config` the log of this process.
///
/// # Errors
/// [`LogError::Open`]; [`LogError::SetUpBefore`] if `tracing` has a global subscriber already.
pub fn install(config: &LogConfig) -> Result<LogHandle, LogError> {
    let (layer, handle) = open(config)?;
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::SetUpBefore)?;
    Ok(handle)
}
