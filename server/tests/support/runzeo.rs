//! The program itself, in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// `runzeo` in a directory of its own, killed when dropped.
pub(crate) struct Runzeo {
    pub(crate) child: Child,
    pub(crate) out: BufReader<ChildStdout>,
    pub(crate) address: String,
}

pub(crate) fn command(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runzeo"));
    command.args(args).current_dir(directory).stdin(Stdio::null());
    for variable in ["ZEO_MSGPACK", "INSTANCE_HOME", "NOTIFY_SOCKET"] {
        command.env_remove(variable);
    }
    command
}

pub(crate) fn run(directory: &Path, args: &[&str]) -> Output {
    command(directory, args).output().unwrap()
}

impl Runzeo {
    pub(crate) fn start(directory: &Path, args: &[&str]) -> Self {
        Self::spawn(directory, command(directory, args))
    }

    pub(crate) fn spawn(directory: &Path, mut command: Command) -> Self {
        let log = fs::File::create(directory.join("stderr.log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let log = || fs::read_to_string(directory.join("stderr.log")).unwrap();
        let address = line.trim().strip_prefix("ready: listening on ");
        let address = address.unwrap_or_else(|| panic!("{line:?}\n{}", log())).to_owned();
        Self { child, out, address }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; the exit code, `None` after a signal.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Runzeo {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until the file contains the text.
pub(crate) fn wait_for(path: &Path, text: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let content = fs::read_to_string(path).unwrap_or_default();
        if content.contains(text) {
            return content;
        }
        assert!(Instant::now() < deadline, "no {text:?} in {content}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn write_config(directory: &Path, text: &str) {
    fs::write(directory.join("zeo.conf"), text).unwrap();
}

pub(crate) const CONFIG: &str =
    "<zeo>\n  address 127.0.0.1:0\n</zeo>\n<filestorage 1>\n  path Data.fs\n</filestorage>\n";
