//! One Python process that runs tests of the installed ZEO, one at a time, and the conversation with it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SuiteError;
use crate::config::Framing;
use crate::peers::Peer;
use crate::process::Process;
use crate::script::scripts_dir;

/// Longest time for a driver to end what it is doing when nobody asks any more.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should.
    Pass,
    /// With a failed assertion.
    Fail,
    /// With an exception.
    Error,
    /// It left itself out.
    Skip,
    /// It was ended after the limit of time.
    Timeout,
}

/// What came of one test.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct TestResult {
    /// What `unittest` calls the test; with `@` and the name of the layer if that is not unique.
    pub test: String,
    /// How it ended.
    pub status: Status,
    /// Whether it started the server under test at all; the others test Python only, and do not count.
    pub external: bool,
    /// How long it took.
    pub seconds: f64,
    /// What went wrong, in one line.
    pub error: String,
    /// What the server did that no test looks at: ending by itself, or not on SIGTERM.
    pub warnings: Vec<String>,
    /// Where the report and the logs of the servers are, unless all is well.
    pub logs: String,
}

/// What a driver needs to know.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    /// Whose ZEO, with its tests and its client.
    pub(super) peer: &'a Peer,
    /// The words of the server's command, with `{config}` among them.
    pub(super) server: &'a [String],
    /// The framing of all tests that do not choose one.
    pub(super) framing: Framing,
    /// The longest time for one test.
    pub(super) limit: Duration,
    /// Where reports and logs go.
    pub(super) logs: &'a Path,
}

/// A running driver. Dropping it ends it, together with the test that runs.
#[derive(Debug)]
pub(super) struct Driver {
    process: Process,
    /// `None` only while it is dropped.
    stdin: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// The tests it has found.
    pub(super) tests: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Greeting {
    tests: BTreeSet<String>,
}

impl Driver {
    /// Starts driver number `number`, and waits until it has found the tests.
    pub(super) fn start(setup: &Setup<'_>, number: usize) -> Result<Self, SuiteError> {
        let name = format!("driver-{number}");
        let mut command = setup.peer.python();
        command.arg(scripts_dir().join("suite").join("driver.py"));
        command.arg("--server").arg(serde_json::to_string(setup.server)?);
        command.arg("--logs").arg(setup.logs);
        command.arg("--first-port").arg(first_port(number).to_string());
        command.arg("--limit").arg(setup.limit.as_secs_f64().to_string());
        if setup.framing == Framing::Msgpack {
            command.arg("--msgpack");
        }
        command.current_dir(setup.logs).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(&name, &mut command, setup.logs.join(format!("{name}.txt")))?;
        let stdin = process.take_stdin();
        let stdout = process.take_stdout().ok_or(SuiteError::Driver { log: String::new() })?;
        let mut driver = Self { process, stdin, answers: BufReader::new(stdout), tests: BTreeSet::new() };
        let Greeting { tests } = driver.answer()?;
        driver.tests = tests;
        Ok(driver)
    }

    /// Runs one test to its end, or to its limit of time.
    pub(super) fn run(&mut self, test: &str) -> Result<TestResult, SuiteError> {
        if let Some(stdin) = &mut self.stdin {
            writeln!(stdin, "{test}")?;
        }
        self.answer()
    }

    fn answer<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T, SuiteError> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(SuiteError::Driver { log: self.process.log_text() });
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // At the end of its input the driver ends the test that runs, and its servers, and then itself. If it does
        // not, it is killed.
        self.stdin = None;
        let _ = self.process.wait(END_LIMIT);
    }
}

/// The first of 1,000 ports for driver `number`, below those from which systems and ZEO's own tests choose.
/// Programs that run at the same time mostly get different ones; that nobody listens there is looked at as well.
fn first_port(number: usize) -> usize {
    let process = usize::try_from(std::process::id()).unwrap_or_default();
    10_000 + process.wrapping_mul(3).wrapping_add(number) % 10 * 1_000
}
