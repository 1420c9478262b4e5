//! How many syncs of the disk a server makes, by `strace`.
//!
//! The server stops at each sync until the tracer has written it down, and nowhere else. That takes a little time, and so a
//! group that shares a sync may get larger: these figures come from turns of their own, which count for nothing else.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::BenchError;

/// What asks the disk to keep what was written.
const CALLS: [&str; 2] = ["fsync", "fdatasync"];
/// Time for the tracer to write down what has happened.
const SETTLE: Duration = Duration::from_millis(50);

/// A file to which the syncs of a server are written down.
#[derive(Debug)]
pub struct SyncTrace(PathBuf);

impl SyncTrace {
    /// To a file in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self(dir.join("syncs"))
    }

    /// What to put in front of a server's words. The process that is started is the server, not the tracer.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let calls = format!("trace={}", CALLS.join(","));
        let options = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-e", &calls, "-e", "signal=none", "-o"];
        options.into_iter().map(OsString::from).chain([self.0.clone().into()]).collect()
    }

    /// How many syncs there were until now.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn count(&self) -> Result<u64, BenchError> {
        std::thread::sleep(SETTLE);
        Ok(fs::read_to_string(&self.0)?.lines().filter(|line| is_sync(line)).count() as u64)
    }
}

/// Whether a line of the tracer tells the beginning of a sync; if another thread comes between, its end has a line of its own.
fn is_sync(line: &str) -> bool {
    let call = line.trim_start().split_once(' ').map_or("", |(_, call)| call.trim_start());
    CALLS.iter().any(|name| call.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
}

/// Whether processes can be traced here.
#[must_use]
pub fn can_trace(dir: &Path) -> bool {
    let trace = SyncTrace::new(dir);
    let words = trace.words();
    let Some((program, arguments)) = words.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(arguments).arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_counts_once() {
        for (line, counts) in [
            ("23861 fsync(3)                          = 0", true),
            ("  861 fdatasync(3 <unfinished ...>", true),
            ("  861 <... fdatasync resumed>)          = 0", false),
            ("23861 +++ exited with 0 +++", false),
            ("", false),
        ] {
            assert_eq!(is_sync(line), counts, "{line}");
        }
    }
}
