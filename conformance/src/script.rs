//! One Python script as a client, and the conversation with it.
//!
//! A script of `python/` says one JSON object a line on standard output: `{"step": NAME, ...}` whenever it has
//! come to a place where the test must do something, and `{"result": true, ...}` at its end. Where it waits
//! for an answer it reads one line.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::peers::Peer;
use crate::process::{Process, ProcessError};

/// Longest time between two lines of a script. The scripts have limits of their own, which are shorter and say
/// more.
const LINE_LIMIT: Duration = Duration::from_secs(120);

/// Where the scripts lie.
#[must_use]
pub fn scripts_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// A running script. Dropping it kills it.
#[derive(Debug)]
pub struct Script {
    process: Process,
    lines: Receiver<String>,
    stdin: Option<ChildStdin>,
}

impl Script {
    /// Starts `python/NAME.py` with the interpreter of `peer`, in `dir`, its errors in `dir/LABEL.log`.
    ///
    /// # Errors
    /// [`ProcessError::Spawn`] if it cannot be started.
    pub fn start<S: AsRef<str>>(
        peer: &Peer,
        name: &str,
        label: &str,
        args: &[S],
        dir: &Path,
    ) -> Result<Self, ProcessError> {
        let mut command = peer.python();
        command.arg(scripts_dir().join(format!("{name}.py"))).args(args.iter().map(AsRef::as_ref));
        command.current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(label, &mut command, dir.join(format!("{label}.log")))?;
        let stdin = process.take_stdin();
        let stdout = process.take_stdout();
        let (sender, lines) = channel();
        // The thread ends with the script: at the latest when it is killed, standard output ends.
        std::thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, lines, stdin })
    }

    /// The number of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the script comes to `step`, and returns what it says there.
    ///
    /// # Errors
    /// [`ProcessError`] if it says something else, nothing, or ends.
    pub fn expect_step(&mut self, step: &str) -> Result<Value, ProcessError> {
        let value = self.next_value()?;
        if value.get("step").and_then(Value::as_str) == Some(step) {
            return Ok(value);
        }
        Err(self.unexpected(format!("said {value}, expected step {step:?}")))
    }

    /// What the script says next: a step, or its result.
    ///
    /// # Errors
    /// [`ProcessError`] if it says nothing in time, no JSON, or ends.
    pub fn next_step(&mut self) -> Result<Value, ProcessError> {
        self.next_value()
    }

    /// Answers the script, which waits for a line.
    ///
    /// # Errors
    /// [`ProcessError::Io`] if it does not listen any more.
    pub fn tell(&mut self, answer: &str) -> Result<(), ProcessError> {
        let name = self.process.name();
        let Some(stdin) = self.stdin.as_mut() else {
            return Err(self.unexpected("has no standard input".to_owned()));
        };
        writeln!(stdin, "{answer}")
            .and_then(|()| stdin.flush())
            .map_err(|source| ProcessError::Io { name: name.to_owned(), source })
    }

    /// Waits for the result and for the end of the script.
    ///
    /// # Errors
    /// [`ProcessError`] if there is no result, or the exit status is not 0.
    pub fn finish(mut self) -> Result<Value, ProcessError> {
        let value = self.next_value()?;
        self.expect_end()?;
        if value.get("result").and_then(Value::as_bool) == Some(true) {
            return Ok(value);
        }
        Err(self.unexpected(format!("said {value}, expected its result")))
    }

    /// Waits for the end of the script, which has said its result.
    ///
    /// # Errors
    /// [`ProcessError`] if it goes on, or its exit status is not 0.
    pub fn expect_end(&mut self) -> Result<(), ProcessError> {
        let status = self.process.wait(LINE_LIMIT)?;
        if status.success() {
            return Ok(());
        }
        let name = self.process.name().to_owned();
        Err(ProcessError::Exit { name, what: "exit status".to_owned(), status })
    }

    fn next_value(&mut self) -> Result<Value, ProcessError> {
        match self.lines.recv_timeout(LINE_LIMIT) {
            Ok(line) => serde_json::from_str(&line)
                .map_err(|error| self.unexpected(format!("said {line:?}, which is no JSON: {error}"))),
            Err(RecvTimeoutError::Timeout) => Err(ProcessError::Deadline {
                name: self.process.name().to_owned(),
                what: "its next line".to_owned(),
                limit: LINE_LIMIT,
            }),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.process.wait(LINE_LIMIT)?;
                let name = self.process.name().to_owned();
                Err(ProcessError::Exit { name, what: "it ended without a result".to_owned(), status })
            }
        }
    }

    fn unexpected(&self, what: String) -> ProcessError {
        ProcessError::Unexpected { name: self.process.name().to_owned(), what }
    }
}
