//! The server that is checked: one that is started for each capture, or one that runs.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::Verdict;
use super::spoken::Spoken;
use crate::capture::{CaptureError, file};
use crate::replay::provider::Provider;
use crate::replay::start::{start_and_play, with_server};
use crate::replay::{Needs, Plan, ReplayError, Report, is_empty, play};

/// How long a server may take to come back after it was reset.
const RESET_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The server.
#[derive(Debug)]
pub enum Target {
    /// One that is started for each capture, with what its scenario needs.
    Started(Provider),
    /// One that runs, and is what it is.
    Running {
        /// Its address.
        address: SocketAddr,
        /// A command for the shell, after which its storage is empty again.
        reset: Option<String>,
    },
}

impl Target {
    /// In words.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Started(provider) => provider.name(),
            Self::Running { address, .. } => address.to_string(),
        }
    }

    /// What it speaks.
    pub(super) fn spoken(&self) -> Result<Spoken, Box<dyn Error>> {
        match self {
            Self::Started(server) => with_server(server, Spoken::ask),
            Self::Running { address, .. } => Ok(Spoken::ask(*address)?),
        }
    }

    pub(super) fn play(&self, capture: &Path, patience: Duration) -> Verdict {
        let failed = |error: &(dyn Error + 'static)| Verdict::Failed(told(capture, error));
        match self {
            Self::Started(server) => match start_and_play(capture, server, patience) {
                Ok(Ok(report)) => verdict(report),
                Ok(Err(reason)) => Verdict::NotPlayed(reason.to_owned()),
                Err(error) => failed(&*error),
            },
            Self::Running { address, reset } => match prepare(capture, *address, reset.as_deref()) {
                Ok(Ok(())) => play(capture, *address, patience).map_or_else(|error| failed(&error), verdict),
                Ok(Err(reason)) => Verdict::NotPlayed(reason),
                Err(error) => failed(&*error),
            },
        }
    }
}

/// What went wrong; where it is the capture, with its name.
fn told(capture: &Path, error: &(dyn Error + 'static)) -> String {
    let replay_error = error.downcast_ref::<ReplayError>();
    let is_captures = error.is::<CaptureError>()
        || matches!(replay_error, Some(ReplayError::Capture(_) | ReplayError::Unsayable { .. }));
    if is_captures { format!("{}: {error}", capture.display()) } else { error.to_string() }
}

fn verdict(report: Report) -> Verdict {
    if report.differences.is_empty() {
        Verdict::Same(report.compared_count)
    } else {
        Verdict::Differs(report.differences)
    }
}

/// Sees to it that the storage is empty; or says why the capture does not apply to this server.
fn prepare(
    capture: &Path,
    address: SocketAddr,
    reset: Option<&str>,
) -> Result<Result<(), String>, Box<dyn Error>> {
    let metadata = file::open(capture)?.metadata().clone();
    let Needs { lines, is_restarted } = match Plan::read(capture)?.needs() {
        Ok(needs) => needs,
        Err(reason) => return Ok(Err(reason.to_owned())),
    };
    if let Some(line) = lines.zeo.iter().chain(&lines.storage).next() {
        return Ok(Err(format!("it needs a server with {line:?} in its configuration")));
    }
    if is_restarted {
        return Ok(Err("it needs a server that is started again in the middle".to_owned()));
    }
    let greeting = Spoken::ask(address)?.greeting;
    let spoken = if greeting.starts_with(b"M") { "msgpack" } else { "pickle" };
    if metadata.framing != spoken {
        return Ok(Err(format!("the server speaks {spoken}")));
    }
    let Some(reset) = reset else {
        if is_empty(address)? {
            return Ok(Ok(()));
        }
        return Ok(Err("the storage is not empty, and --reset does not say how it is emptied".to_owned()));
    };
    if is_empty(address).unwrap_or_default() {
        return Ok(Ok(()));
    }
    let status = Command::new("sh").args(["-c", reset]).status()?;
    if !status.success() {
        return Err(format!("{reset}: {status}").into());
    }
    let deadline = Instant::now() + RESET_LIMIT;
    loop {
        let why = match is_empty(address) {
            Ok(true) => return Ok(Ok(())),
            Ok(false) => "its storage is not empty".to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(format!("{reset}: the server is not there with an empty storage: {why}").into());
        }
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}
