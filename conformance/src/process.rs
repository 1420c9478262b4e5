//! Child processes that cannot outlive their owner or their deadline.
//!
//! Owns: spawning, waiting with a limit, signals, and the file that catches what the child says. Knows nothing
//! of Python or ZEO. Everything that starts a program in this crate goes through [`Process`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The pause between two looks at a condition.
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// What went wrong with a child process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The program could not be started.
    #[error("{name}: cannot start: {source}")]
    Spawn {
        /// The process, as its owner calls it.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Talking to the process, or waiting for it, failed.
    #[error("{name}: {source}")]
    Io {
        /// The process, as its owner calls it.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something did not happen in time.
    #[error("{name}: {what} took longer than {} s", limit.as_secs())]
    Deadline {
        /// The process, as its owner calls it.
        name: String,
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// The process ended, but not as it should have.
    #[error("{name}: {what}: {status}")]
    Exit {
        /// The process, as its owner calls it.
        name: String,
        /// What was expected of it.
        what: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The process said something else than expected.
    #[error("{name}: {what}")]
    Unexpected {
        /// The process, as its owner calls it.
        name: String,
        /// What it said, and what was expected.
        what: String,
    },
}

/// Asks `condition` until it answers, or `limit` has passed (`None`).
pub fn poll_until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = condition() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(POLL_PAUSE);
    }
}

/// A running child with its standard error in a file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard error appended to the file `log`; the other streams are the caller's.
    ///
    /// # Errors
    /// [`ProcessError::Spawn`] if the log cannot be opened or the program not started.
    pub fn spawn(name: &str, command: &mut Command, log: PathBuf) -> Result<Self, ProcessError> {
        let mut spawn = || {
            let stderr = File::options().create(true).append(true).open(&log)?;
            command.stderr(stderr).spawn()
        };
        match spawn() {
            Ok(child) => Ok(Self { name: name.to_owned(), child, log }),
            Err(source) => Err(ProcessError::Spawn { name: name.to_owned(), source }),
        }
    }

    /// What the owner calls it; used in errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number in the system.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child's standard input, if it was piped and not taken before.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The child's standard output, if it was piped and not taken before.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Everything that the child has written to standard error so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        read_lossy(&self.log)
    }

    /// How the child ended; `None` while it runs.
    ///
    /// # Errors
    /// [`ProcessError::Io`] if the system cannot tell.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        self.child.try_wait().map_err(|source| ProcessError::Io { name: self.name.clone(), source })
    }

    /// Waits for the end of the child.
    ///
    /// # Errors
    /// [`ProcessError::Deadline`] if it is still running after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        match poll_until(limit, || self.try_wait().transpose()) {
            Some(result) => result,
            None => {
                Err(ProcessError::Deadline { name: self.name.clone(), what: "its end".to_owned(), limit })
            }
        }
    }

    /// Sends SIGTERM. A child that has ended already is no error.
    ///
    /// # Errors
    /// [`ProcessError::Io`] if the signal could not be sent.
    pub fn terminate(&mut self) -> Result<(), ProcessError> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .map_err(|errno| ProcessError::Io { name: self.name.clone(), source: errno.into() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that has been waited for: nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a file that may be missing or hold anything.
#[must_use]
pub fn read_lossy(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
