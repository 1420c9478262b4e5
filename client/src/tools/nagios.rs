//! `zeo-nagios`: a check for Nagios and its kin, as Python's (`ZEO/nagios.py`, ZEO 6.2).
//!
//! Options, lines and exit status are Python's, and so is the file of counters for the rates, which either may go on
//! with. Where Python's would end with a traceback, and a status that stands for a warning, this one is critical: a server
//! that answers nothing, or something else.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{ArgAction, Parser, ValueEnum};
use serde_json::Value;

use super::probe::{ProbeError, Storages, probe};
use super::python::{float, quoted};
use super::text::{Shown, complain};
use crate::Address;

/// What Nagios takes for "critical".
const EXIT_CRITICAL: u8 = 2;
/// What it takes for a warning.
const EXIT_WARNING: u8 = 1;
/// The tid of a storage without transactions.
const NO_TRANSACTION: &str = "0000000000000000";
/// Counters that are shown as they are (`nagios.py:nodiff_names`).
const LEVELS: [&str; 3] = ["active_txns", "connections", "waiting"];
/// Counters that are shown as rates (`nagios.py:diff_names`).
const RATES: [&str; 6] = ["aborts", "commits", "conflicts", "conflicts_resolved", "loads", "stores"];
/// The name of most servers' only storage, with which its metrics are not marked.
const USUAL_NAME: &str = "1";

const AFTER_HELP: &str = "\
Exit status, as Nagios wants it:
  0     OK
  1     warning: there are no storages, or a storage is empty
  2     critical: the server cannot be reached or answers nothing; or the
        options are wrong";

/// Check a ZEO server, for Nagios.
#[derive(Debug, Parser)]
#[command(name = "zeo-nagios", version, after_help = AFTER_HELP, infer_long_args = true, args_override_self = true)]
struct Arguments {
    #[arg(
        value_name = "ADDRESS",
        help = "[addr]:port for an IPv6 address, addr:port, or the name of a Unix-domain socket file"
    )]
    address: String,

    /// Output metrics
    #[arg(short = 'm', long, action = ArgAction::SetTrue)]
    output_metrics: bool,

    /// Path to status file, needed to get rate metrics
    #[arg(short, long, value_name = "STATUS_PATH")]
    status_path: Option<PathBuf>,

    /// Time unit for rate metrics
    #[arg(short = 'u', long, value_enum, default_value = "minutes")]
    time_units: TimeUnit,

    /// How many seconds to wait for the server
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u32,
}

/// What rates are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TimeUnit {
    Seconds,
    Minutes,
    Hours,
    Days,
}

impl TimeUnit {
    const fn seconds(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Minutes => 60.0,
            Self::Hours => 3600.0,
            Self::Days => 86_400.0,
        }
    }
}

/// What is reported: lines, and the exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    text: String,
    exit: u8,
}

/// Why there is no report of a server's counters; critical.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("{0}")]
    Probe(ProbeError),
    #[error("The status of storage {storage} has no {name}")]
    Lacks { storage: String, name: &'static str },
    #[error("Can't use status file {}: {source}", path.display())]
    StatusFile { path: PathBuf, source: std::io::Error },
}

/// Runs `zeo-nagios` with its command line, the program's name included.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(EXIT_CRITICAL).into();
        }
    };
    let report =
        check(&arguments).unwrap_or_else(|error| Report { text: error.to_string(), exit: EXIT_CRITICAL });
    if let Err(error) = writeln!(std::io::stdout(), "{}", report.text) {
        complain(error);
        return EXIT_CRITICAL.into();
    }
    report.exit.into()
}

fn check(arguments: &Arguments) -> Result<Report, CheckError> {
    let limit = Duration::from_secs(arguments.wait.into());
    let answer = match probe(&address(&arguments.address), limit) {
        Ok(answer) => answer,
        Err(ProbeError::Connect(error)) => {
            return Ok(Report { text: format!("Can't connect {}", os_error(&error)), exit: EXIT_CRITICAL });
        }
        Err(error) => return Err(CheckError::Probe(error)),
    };
    if answer.storages.is_empty() {
        return Ok(Report { text: "No storages".to_owned(), exit: EXIT_WARNING });
    }
    // In Python's order, which is that of UTF-8 as well.
    let storages: std::collections::BTreeMap<&String, &Value> = answer.storages.iter().collect();
    let mut metrics = Vec::new();
    if arguments.output_metrics {
        for (storage, status) in &storages {
            for name in LEVELS {
                let value = counter(storage, status, name)?;
                metrics.push(format!("{}={value}", label(storage, name)));
            }
        }
        if let Some(path) = &arguments.status_path {
            let unusable = |source| CheckError::StatusFile { path: path.clone(), source };
            if let Some((before, elapsed)) = read_status(path).map_err(unusable)? {
                let units = elapsed.as_secs_f64() / arguments.time_units.seconds();
                rates(&storages, &before, units, &mut metrics)?;
            }
            let text = Value::Object(answer.storages.clone()).to_string();
            std::fs::write(path, text).map_err(unusable)?;
        }
    }
    let mut lines = Vec::new();
    for (storage, status) in &storages {
        let last = status.get("last-transaction").and_then(Value::as_str);
        let last = last.ok_or_else(|| lacks(storage, "last-transaction"))?;
        if last == NO_TRANSACTION {
            lines.push(format!("Empty storage {}", quoted(storage)));
        }
    }
    let exit = if lines.is_empty() { 0 } else { EXIT_WARNING };
    Ok(Report { text: layout(lines, &metrics), exit })
}

/// The lines as Nagios reads them: the first metric behind the first of them, the others behind the last.
fn layout(mut lines: Vec<String>, metrics: &[String]) -> String {
    if lines.is_empty() {
        lines.push("OK".to_owned());
    }
    if let (Some(line), Some(metric)) = (lines.first_mut(), metrics.first()) {
        line.push('|');
        line.push_str(metric);
    }
    if let Some(others) = metrics.get(1..).filter(|others| !others.is_empty()) {
        lines.push(format!("| {}", others.join("\n ")));
    }
    lines.join("\n")
}

/// Adds how often things have happened, of storages that were there before.
fn rates(
    storages: &std::collections::BTreeMap<&String, &Value>,
    before: &Storages,
    units: f64,
    metrics: &mut Vec<String>,
) -> Result<(), CheckError> {
    for (storage, status) in storages {
        let Some(old) = before.get(*storage) else { continue };
        for name in RATES {
            let now = number(storage, status, name)?;
            let then = number(storage, old, name)?;
            metrics.push(format!("{}={}", label(storage, name), float((now - then) / units)));
        }
    }
    Ok(())
}

/// What was written the last time, and how long ago that was; `None` if there was no last time, or nothing can be
/// divided by what has gone by since. What is no longer readable counts as nothing: the next time it is.
fn read_status(path: &Path) -> std::io::Result<Option<(Storages, Duration)>> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let elapsed = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
    let before = serde_json::from_slice(&std::fs::read(path)?).ok();
    Ok(before.filter(|_| !elapsed.is_zero()).map(|before| (before, elapsed)))
}

fn lacks(storage: &str, name: &'static str) -> CheckError {
    CheckError::Lacks { storage: quoted(storage), name }
}

/// A counter as the server has written it.
fn counter<'v>(storage: &str, status: &'v Value, name: &'static str) -> Result<&'v Value, CheckError> {
    status.get(name).filter(|value| value.is_number()).ok_or_else(|| lacks(storage, name))
}

fn number(storage: &str, status: &Value, name: &'static str) -> Result<f64, CheckError> {
    counter(storage, status, name)?.as_f64().ok_or_else(|| lacks(storage, name))
}

/// What a metric is called (`nagios.py:new_metric`).
fn label(storage: &str, name: &str) -> String {
    if storage == USUAL_NAME {
        name.to_owned()
    } else if storage.contains(' ') {
        format!("'{}:{name}'", Shown(storage))
    } else {
        format!("{}:{name}", Shown(storage))
    }
}

/// Python's rule: what ends in a colon and digits is a host and a port, anything else the path of a socket.
fn address(text: &str) -> Address {
    let tcp = || {
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let is_plain = !host.is_empty() && !host.contains(char::is_whitespace);
        let port =
            port.parse().ok().filter(|_| is_plain && port.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some(Address::Tcp { host: host.to_owned(), port })
    };
    tcp().unwrap_or_else(|| Address::Unix(text.into()))
}

/// As Python's `str` of an `OSError`.
fn os_error(error: &std::io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => {
            let said = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text);
            format!("[Errno {number}] {said}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_as_in_python() {
        let tcp = |host, port| Address::from((host, port));
        for (text, expected) in [
            ("127.0.0.1:8100", tcp("127.0.0.1", 8100)),
            ("zeo.example.com:8100", tcp("zeo.example.com", 8100)),
            ("[::1]:8100", tcp("::1", 8100)),
            ("zeosock", Address::Unix("zeosock".into())),
            ("/run/zeo.sock", Address::Unix("/run/zeo.sock".into())),
            ("a:b", Address::Unix("a:b".into())),
            ("a:+1", Address::Unix("a:+1".into())),
            (":8100", Address::Unix(":8100".into())),
        ] {
            assert_eq!(address(text), expected, "{text}");
        }
    }

    /// The shape of `ZEO/nagios.rst`, with two storages.
    #[test]
    fn metrics_are_laid_out_as_in_python() {
        let lines = vec!["Empty storage 'first'".to_owned(), "Empty storage 'second'".to_owned()];
        let metrics = ["first:waiting=0", "second:waiting=0", "second:loads=42.42"].map(str::to_owned);
        assert_eq!(
            layout(lines, &metrics),
            "Empty storage 'first'|first:waiting=0\nEmpty storage 'second'\n| second:waiting=0\n second:loads=42.42"
        );
        assert_eq!(layout(Vec::new(), &metrics[..1]), "OK|first:waiting=0");
        assert_eq!(layout(Vec::new(), &[]), "OK");
    }

    #[test]
    fn a_storage_cannot_add_lines() {
        assert_eq!(label("a\nOK|b", "loads"), "a\\nOK|b:loads");
        assert_eq!(label("my storage", "loads"), "'my storage:loads'");
    }

    #[test]
    fn a_status_that_lacks_something_is_an_error() {
        let error = counter("1", &serde_json::json!({"loads": "7"}), "loads").unwrap_err();
        assert_eq!(error.to_string(), "The status of storage '1' has no loads");
    }
}
