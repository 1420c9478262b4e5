//! The processes that are measured.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::BenchError;
use super::client::Client;
use super::usage::{Memory, memory};
use crate::config::{Framing, blob_dir, file_section};
use crate::process::{Process, ProcessError};
use crate::server::free_port;

/// Longest time from the start of a server until it answers: Python's reads ten million objects in some minutes.
const START_LIMIT: Duration = Duration::from_secs(240);
/// Pause between two attempts to connect while a server starts. Start-up times are not finer than this.
const START_PAUSE: Duration = Duration::from_micros(500);
/// Longest time from SIGTERM until a server has ended: it writes an index.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Which kind of storage servers keep the objects in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StorageKind {
    /// A file with its `fsync`s.
    File,
    /// The same with a directory for blobs.
    Blobs,
    /// Memory, as `<mappingstorage>`: what a server costs without its disk.
    Mapping,
}

/// A server by command.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    /// What the tables call it.
    pub name: String,
    /// Program and arguments. In them `{config}` stands for the path of the configuration, `{port}` for the port and
    /// `{data}` for the path of the data file, for servers that read no configuration.
    pub words: Vec<OsString>,
    /// Whether it has its objects again after a new start, where it keeps them in a file.
    pub is_lasting: bool,
}

/// The argument that makes this program the ceiling; the port follows, and the file for commits.
pub const CEILING_COMMAND: &str = "ceiling-server";

impl ServerSpec {
    /// A server that reads a configuration.
    #[must_use]
    pub fn new(name: &str, words: Vec<OsString>) -> Self {
        Self { name: name.to_owned(), words, is_lasting: true }
    }

    /// Reads `NAME=COMMAND`, words separated by blanks.
    ///
    /// # Errors
    /// What is missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("NAME=COMMAND is needed")?;
        if !command.contains("{config}") {
            return Err("the command needs {config}, which becomes the configuration's path".to_owned());
        }
        let words = command.split_whitespace().map(OsString::from).collect();
        Ok(Self::new(name, words))
    }

    /// The [ceiling](super::ceiling): a program that is it when called with [`CEILING_COMMAND`].
    #[must_use]
    pub fn ceiling(program: &Path, storage: StorageKind) -> Self {
        let mut words = vec![program.into(), CEILING_COMMAND.into(), "{port}".into()];
        if storage != StorageKind::Mapping {
            words.push("{data}".into());
        }
        Self { name: "ceiling".to_owned(), words, is_lasting: false }
    }
}

/// A server with its directory.
#[derive(Debug)]
pub struct Target {
    /// What the tables call it.
    pub name: String,
    spec: ServerSpec,
    dir: PathBuf,
    framing: Framing,
    storage: StorageKind,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    address: SocketAddr,
}

impl Target {
    /// A server whose files go to `dir`, which is made. Nothing is started.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn new(
        spec: &ServerSpec,
        dir: PathBuf,
        framing: Framing,
        storage: StorageKind,
    ) -> Result<Self, BenchError> {
        fs::create_dir_all(&dir)?;
        Ok(Self { name: spec.name.clone(), spec: spec.clone(), dir, framing, storage, running: None })
    }

    /// Starts the process and returns its first registered connection, with the time that this took.
    ///
    /// # Errors
    /// [`ProcessError::Exit`] and [`ProcessError::Deadline`], with the end of what it said.
    pub fn start(&mut self) -> Result<(Client, Duration), BenchError> {
        self.start_under(Vec::new())
    }

    /// The same by another program: `before` is put in front of the server's words.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_under(&mut self, before: Vec<OsString>) -> Result<(Client, Duration), BenchError> {
        let port = free_port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let config_path = self.dir.join("server.conf");
        fs::write(&config_path, self.config(port))?;
        let values = [
            ("{config}", config_path.display().to_string()),
            ("{port}", port.to_string()),
            ("{data}", self.file_path().display().to_string()),
        ];
        let words = self.spec.words.iter().map(|word| match word.to_str() {
            Some(text) => {
                let mut text = text.to_owned();
                values.iter().for_each(|(name, value)| text = text.replace(name, value));
                OsString::from(text)
            }
            None => word.clone(),
        });
        let (process, client, elapsed) =
            launch(&self.name, before.into_iter().chain(words), &self.dir, || Client::connect(address).ok())?;
        self.running = Some(Running { process, address });
        Ok((client, elapsed))
    }

    fn config(&self, port: u16) -> String {
        let msgpack = self.framing == Framing::Msgpack;
        let mut text = format!("<zeo>\n  address 127.0.0.1:{port}\n  msgpack {msgpack}\n</zeo>\n\n");
        // Writing to a string cannot fail.
        let _ = match self.storage {
            StorageKind::File => {
                let path = self.file_path();
                write!(text, "<filestorage 1>\n  path {}\n</filestorage>\n", path.display())
            }
            StorageKind::Blobs => {
                text += &file_section("1", &self.file_path(), &blob_dir(&self.dir.join("blobs")));
                Ok(())
            }
            StorageKind::Mapping => write!(text, "<mappingstorage 1>\n</mappingstorage>\n"),
        };
        // Both servers log the comings and goings of clients, which is part of their work.
        let log = self.dir.join("server.log");
        let _ = write!(
            text,
            "\n<eventlog>\n  level info\n  <logfile>\n    path {}\n  </logfile>\n</eventlog>\n",
            log.display()
        );
        text
    }

    /// Where its data file is, if it has one.
    #[must_use]
    pub fn file_path(&self) -> PathBuf {
        self.dir.join("Data.fs")
    }

    /// The directory of its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether its objects are there after a new start.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.storage != StorageKind::Mapping && self.spec.is_lasting
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If it does not run.
    pub fn address(&self) -> Result<SocketAddr, BenchError> {
        self.running().map(|running| running.address)
    }

    /// Its process.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pid(&self) -> Result<u32, BenchError> {
        self.running().map(|running| running.process.id())
    }

    /// Its memory.
    ///
    /// # Errors
    /// If it does not run.
    pub fn memory(&self) -> Result<Memory, BenchError> {
        Ok(memory(self.pid()?)?)
    }

    fn running(&self) -> Result<&Running, BenchError> {
        self.running.as_ref().ok_or_else(|| BenchError::Missing(format!("{} does not run", self.name)))
    }

    /// Ends it as an operator would.
    ///
    /// # Errors
    /// If it does not end in time; it is killed then.
    pub fn stop(&mut self) -> Result<(), BenchError> {
        if let Some(mut running) = self.running.take() {
            running.process.terminate()?;
            // Python's server loses a SIGTERM that arrives while it writes to its log.
            if running.process.wait(STOP_LIMIT / 3).is_err() {
                running.process.terminate()?;
                running.process.wait(STOP_LIMIT)?;
            }
        }
        Ok(())
    }
}

/// Starts a program and asks `is_ready` until it answers.
pub(super) fn launch<T>(
    name: &str,
    mut words: impl Iterator<Item = OsString>,
    dir: &Path,
    mut is_ready: impl FnMut() -> Option<T>,
) -> Result<(Process, T, Duration), BenchError> {
    let mut command = Command::new(words.next().unwrap_or_default());
    let stdout = File::create(dir.join("stdout"))?;
    command.args(words).current_dir(dir).stdin(Stdio::null()).stdout(stdout);
    let began = Instant::now();
    let mut process = Process::spawn(name, &mut command, dir.join("stderr"))?;
    loop {
        if let Some(answer) = is_ready() {
            return Ok((process, answer, began.elapsed()));
        }
        if let Some(status) = process.try_wait()? {
            let text = process.log_text();
            let last = text.lines().next_back().unwrap_or_default();
            let what = format!("it ended before it was ready ({last})");
            return Err(ProcessError::Exit { name: name.to_owned(), what, status }.into());
        }
        if began.elapsed() > START_LIMIT {
            let what = "getting ready".to_owned();
            return Err(ProcessError::Deadline { name: name.to_owned(), what, limit: START_LIMIT }.into());
        }
        std::thread::sleep(START_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_by_command_needs_a_name_and_a_configuration() {
        let spec = ServerSpec::parse("other=/bin/x -C {config}").unwrap();
        assert_eq!((spec.name.as_str(), spec.words.len()), ("other", 3));
        assert!(ServerSpec::parse("/bin/x {config}").is_err());
        assert!(ServerSpec::parse("other=/bin/x").is_err());
    }

    #[test]
    fn a_program_that_ends_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let words = ["sh", "-c", "echo broken >&2; exit 3"].map(OsString::from);
        let error = launch("x", words.into_iter(), dir.path(), || None::<()>).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }
}
