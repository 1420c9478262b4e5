//! What one trial has at hand: a Python, a directory, and a server that can be started in it.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde_json::Value;
use tempfile::TempDir;
use zeo_conformance::config::{Framing, ServerConfig};
use zeo_conformance::differential::{self, Plan};
use zeo_conformance::peers::{Application, Peer, PeerVersion};
use zeo_conformance::process::{ProcessError, read_lossy};
use zeo_conformance::script::{Script, scripts_dir};
use zeo_conformance::server::{self, Ready, Server, ServerCommand};

use crate::SERVE_ARGUMENT;

/// Chooses the server under test: `ours`, `runzeo`, `python`, `faults`, or a command with `{config}` in it.
const SERVER_VARIABLE: &str = "ZEO_TEST_SERVER";

/// How many lines of each log a failure shows.
const LOG_LINES: usize = 60;

/// The server under test.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// This program itself, started again.
    Ours,
    /// Ours as operators run it: the binary.
    Runzeo,
    /// `runzeo` of Python's ZEO 6.2: shows that the scenarios are right.
    Python,
    /// Python's, with the fault of this name: shows that the scenarios can fail.
    Broken(&'static str),
    /// Any command.
    Command(String),
}

impl Subject {
    /// The server that the environment asks for; `None` for all the broken ones.
    pub(crate) fn from_environment() -> Option<Self> {
        match std::env::var(SERVER_VARIABLE).as_deref() {
            Err(_) | Ok("" | "ours") => Some(Self::Ours),
            Ok("runzeo") => Some(Self::Runzeo),
            Ok("python") => Some(Self::Python),
            Ok("faults") => None,
            Ok(words) => Some(Self::Command(words.to_owned())),
        }
    }

    /// The start of the names of the trials.
    pub(crate) fn prefix(&self) -> &'static str {
        match self {
            Self::Ours => "live",
            Self::Runzeo => "live-runzeo",
            Self::Python => "live-python",
            Self::Broken(_) => "live-faults",
            Self::Command(_) => "live-command",
        }
    }

    fn server_command(&self) -> Result<ServerCommand, String> {
        match self {
            Self::Ours => {
                let exe = std::env::current_exe().map_err(|error| error.to_string())?;
                let template = vec![exe.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
                Ok(ServerCommand { template, ready: Ready::Line, is_python: false })
            }
            Self::Runzeo => {
                let template = vec![crate::runzeo::path()?.into(), "-C".into(), "{config}".into()];
                Ok(ServerCommand { template, ready: Ready::Line, is_python: false })
            }
            Self::Python => {
                let peer = Peer::ensure(PeerVersion::Zeo62).map_err(|error| error.to_string())?;
                let template = vec![peer.runzeo().into(), "-C".into(), "{config}".into()];
                Ok(ServerCommand { template, ready: Ready::Greeting, is_python: true })
            }
            Self::Broken(fault) => {
                let peer = Peer::ensure(PeerVersion::Zeo62).map_err(|error| error.to_string())?;
                let template = vec![
                    peer.interpreter().into(),
                    scripts_dir().join("broken_server.py").into(),
                    fault.into(),
                    "-C".into(),
                    "{config}".into(),
                ];
                Ok(ServerCommand { template, ready: Ready::Greeting, is_python: true })
            }
            Self::Command(words) => Ok(ServerCommand::from_words(words)),
        }
    }
}

/// What one trial has at hand.
pub(crate) struct Context {
    peer: Peer,
    framing: Framing,
    server_command: ServerCommand,
    /// The server under test is ours.
    is_ours: bool,
    dir: TempDir,
    /// Number of programs started so far; makes the names of their logs.
    started: Cell<u32>,
}

impl Context {
    /// Prepares a trial; the error is the reason why it cannot take place here.
    pub(crate) fn new(subject: &Subject, version: PeerVersion, framing: Framing) -> Result<Self, String> {
        let peer = Peer::ensure(version).map_err(|error| error.to_string())?;
        Self::with_peer(subject, peer, framing)
    }

    /// The same, with the Python of an application.
    pub(crate) fn of_application(
        subject: &Subject,
        application: Application,
        framing: Framing,
    ) -> Result<Self, String> {
        let peer = Peer::ensure_application(application).map_err(|error| error.to_string())?;
        Self::with_peer(subject, peer, framing)
    }

    fn with_peer(subject: &Subject, peer: Peer, framing: Framing) -> Result<Self, String> {
        let server_command = subject.server_command()?;
        let dir = TempDir::with_prefix("zeo-live-").map_err(|error| error.to_string())?;
        let is_ours = matches!(subject, Subject::Ours | Subject::Runzeo);
        Ok(Self { peer, framing, server_command, is_ours, dir, started: Cell::new(0) })
    }

    /// The server under test is Python's.
    pub(crate) fn on_python_server(&self) -> bool {
        self.server_command.is_python
    }

    /// How messages are encoded.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// A file of the trial.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The usual configuration: a new file storage, everything else by default.
    pub(crate) fn config(&self) -> ServerConfig {
        ServerConfig::new(self.framing, self.path("Data.fs"))
    }

    pub(crate) fn start_server(&self, config: &ServerConfig) -> Result<Server, ProcessError> {
        Server::start(&self.label("server"), &self.server_command, config, self.dir.path())
    }

    pub(crate) fn start_server_refused(&self, config: &ServerConfig) -> Result<ExitStatus, ProcessError> {
        server::start_refused(&self.label("refused"), &self.server_command, config, self.dir.path())
    }

    /// Starts a script as a client of `server`.
    pub(crate) fn start_client(
        &self,
        name: &str,
        server: &Server,
        args: &[&str],
    ) -> Result<Script, ProcessError> {
        let address = server.address().to_string();
        let mut all = vec!["--address", &address, "--greeting", self.framing.greeting()];
        all.extend(args);
        if self.on_python_server() {
            all.push("--python-server");
        }
        if self.is_ours {
            all.push("--our-server");
        }
        Script::start(&self.peer, name, &self.label(name), &all, self.dir.path())
    }

    /// Runs a script as a client of `server` to its end.
    pub(crate) fn run_client(
        &self,
        name: &str,
        server: &Server,
        args: &[&str],
    ) -> Result<Value, ProcessError> {
        self.start_client(name, server, args)?.finish()
    }

    /// Starts a script that needs no server.
    pub(crate) fn start_script(&self, name: &str, args: &[&str]) -> Result<Script, ProcessError> {
        Script::start(&self.peer, name, &self.label(name), args, self.dir.path())
    }

    /// Runs a script that needs no server to its end.
    pub(crate) fn run_script(&self, name: &str, args: &[&str]) -> Result<Value, ProcessError> {
        self.start_script(name, args)?.finish()
    }

    /// Copies a file that nobody is using.
    pub(crate) fn copy_file(&self, from: &Path, to: &Path) -> Result<(), ProcessError> {
        let name = to.display().to_string();
        fs::copy(from, to).map(drop).map_err(|source| ProcessError::Io { name, source })
    }

    /// One run of the same operations on the server under test and on Python's.
    pub(crate) fn differential(&self, seed: u64, step_count: u32) -> Result<(), ProcessError> {
        let dir = self.path(&format!("seed-{seed}"));
        fs::create_dir(&dir)
            .map_err(|source| ProcessError::Io { name: dir.display().to_string(), source })?;
        let plan = Plan {
            peer: &self.peer,
            framing: self.framing,
            server: &self.server_command,
            dir: &dir,
            seed,
            step_count,
        };
        differential::run(&plan).map(drop).map_err(|error| {
            let what = format!("{error}\n{}", logs(&dir));
            ProcessError::Unexpected { name: format!("seed {seed}"), what }
        })
    }

    /// Has Python check the file that a server has left: that it opens, `fstest`, `fsrefs`, and that it holds
    /// what the journal says, if there is one.
    pub(crate) fn check_file(
        &self,
        storage_path: &Path,
        journal: Option<&Path>,
    ) -> Result<Value, ProcessError> {
        let storage = storage_path.display().to_string();
        let journal = journal.map(|path| path.display().to_string());
        let mut args = vec!["--file", &storage];
        if let Some(journal) = &journal {
            args.extend(["--journal", journal]);
        }
        self.run_script("check_file", &args)
    }

    /// Has Python open the file and `blobs` beside it: all blobs of the file are there, and no other file.
    pub(crate) fn check_blobs(&self, storage_path: &Path, what: &str) -> Result<Value, ProcessError> {
        let (file, dir) = (storage_path.display().to_string(), self.path("blobs").display().to_string());
        self.run_script("blobs", &["--file", &file, "--blobs", &dir, "--do", what])
    }

    /// The ends of all logs, for the report of a failure.
    pub(crate) fn logs(&self) -> String {
        logs(self.dir.path())
    }

    fn label(&self, name: &str) -> String {
        let number = self.started.get() + 1;
        self.started.set(number);
        format!("{number:02}-{name}")
    }
}

/// The ends of all logs in a directory.
fn logs(dir: &Path) -> String {
    let mut text = String::new();
    let mut paths: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    for path in paths {
        let log = read_lossy(&path);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        let name = path.file_name().unwrap_or_default().display();
        // Writing to a String cannot fail.
        let _ =
            write!(text, "--- {name}, last {} of {} lines\n{}\n", tail.len(), lines.len(), tail.join("\n"));
    }
    text
}
