//! What strangers cost: clients that say nothing, little, or too much, and what becomes of those who behave.
//!
//! Each part of a [`run`] lets one kind of them loose on a server of its own, as many as the plan says, and looks at three
//! things: whether the server gets rid of them, what memory and descriptors they cost, and how long the loads of
//! others take meanwhile (`guarantees.md` 2, points 11 to 13). [`together`] lets all kinds come at once.

mod guests;
mod kinds;
mod parts;
pub mod together;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use self::guests::Latency;
use crate::process::ProcessError;
use crate::server::ServerCommand;
use crate::stress::connection::Lost;

/// How many strangers come.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server: its words with `{config}` in them. It has to know `handshake-timeout`.
    pub server: ServerCommand,
    /// Where its files go.
    pub dir: PathBuf,
    /// Connections that say nothing.
    pub silent_count: usize,
    /// Connections that say one byte a second.
    pub slow_count: usize,
    /// Clients that read nothing while others commit.
    pub reader_count: usize,
    /// Commits that they do not read.
    pub commit_count: u64,
    /// Connections that are closed at once.
    pub storm_count: usize,
    /// How long the loads of others are measured, each time.
    pub measured: Duration,
    /// `handshake-timeout`, in whole seconds.
    pub handshake_timeout: Duration,
}

/// What one kind of stranger cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What was done.
    pub what: String,
    /// How many of them the server got rid of, and of how many.
    pub expelled: (usize, usize),
    /// Loads of others before.
    pub before: Latency,
    /// Loads of others meanwhile.
    pub meanwhile: Latency,
    /// Resident memory before, at the most meanwhile, and afterwards, in KiB.
    pub resident_kib: [u64; 3],
    /// Descriptors before and afterwards.
    pub descriptors: [usize; 2],
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, expelled: (gone, of), before, meanwhile, .. } = self;
        let [memory_before, memory_most, memory_after] = self.resident_kib.map(|kib| kib / 1024);
        let [descriptors_before, descriptors_after] = self.descriptors;
        writeln!(f, "{what}")?;
        writeln!(f, "  the server is rid of {gone} of {of}")?;
        writeln!(f, "  loads of others, p50 and p99: {before} before, {meanwhile} meanwhile")?;
        writeln!(
            f,
            "  memory: {memory_before} MiB before, {memory_most} at the most, {memory_after} afterwards"
        )?;
        write!(f, "  descriptors: {descriptors_before} before, {descriptors_after} afterwards")
    }
}

impl Part {
    /// What is not as it should be. Latencies are judged by whoever reads them: they depend on what else this machine
    /// has to do.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        if self.expelled.0 != self.expelled.1 {
            findings
                .push(format!("{}: {} of {} are still there", self.what, self.expelled.0, self.expelled.1));
        }
        let [before, after] = self.descriptors;
        if after > before {
            findings.push(format!("{}: {} descriptors are left", self.what, after - before));
        }
        findings
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiegeError {
    /// The server could not be started, or did not end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// One who behaves cannot go on.
    #[error("a client that behaves: {0}")]
    Lost(#[from] Lost),
    /// A stranger cannot even connect, or the system cannot tell what the server uses.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A thread of ours panicked.
    #[error("a client's thread panicked")]
    Panicked,
    /// No kind of strangers is called so, but these are.
    #[error("no strangers {0:?}; there are those who {1}")]
    Nobody(String, String),
}

/// Lets each kind of strangers loose on the server, one after the other; those of whom there are none are left out.
///
/// # Errors
/// If the server cannot be run, or does not serve those who behave; what strangers cost is no error.
pub fn run(plan: &Plan) -> Result<Vec<Part>, SiegeError> {
    let mut found = Vec::new();
    if plan.silent_count > 0 {
        found.push(parts::silent(plan)?);
    }
    if plan.slow_count > 0 {
        found.push(parts::slow(plan)?);
    }
    if plan.reader_count > 0 {
        found.push(parts::unread(plan)?);
    }
    if plan.storm_count > 0 {
        found.push(parts::storm(plan)?);
    }
    Ok(found)
}
