//! Our server, our client, and the program between them.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use zeo_client::{Builder, Client, Metadata, Oid, Tid};
use zeo_conformance::config::{Framing, ServerConfig};
use zeo_conformance::process::{Process, poll_until};
use zeo_conformance::server::{Ready, Server, ServerCommand};

use crate::SERVE_ARGUMENT;

pub(crate) type Error = Box<dyn std::error::Error>;
pub(crate) type Result<T = ()> = std::result::Result<T, Error>;

/// The longest wait for something that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// One trial.
pub(crate) struct World(TempDir);

impl World {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(TempDir::with_prefix("zeo-recorder-")?))
    }

    /// A path in the directory of the trial.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Everything by default.
    pub(crate) fn config(&self) -> ServerConfig {
        ServerConfig::new(Framing::Msgpack, self.path("Data.fs"))
    }

    pub(crate) fn server(&self, config: &ServerConfig) -> Result<Server> {
        let template =
            vec![std::env::current_exe()?.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
        let command = ServerCommand { template, ready: Ready::Line, is_python: false };
        Ok(Server::start("server", &command, config, self.0.path())?)
    }

    /// A server at a Unix socket. Dropping it kills it.
    pub(crate) fn server_at(&self, socket: &Path) -> Result<Process> {
        let path = self.path("socket.conf");
        let address = format!("address {}", socket.display());
        std::fs::write(&path, self.config().text(0).replace("address 127.0.0.1:0", &address))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([SERVE_ARGUMENT, "-C"]).arg(path);
        command.current_dir(self.0.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::spawn("server", &mut command, self.path("socket.log"))?;
        poll_until(SOON, || UnixStream::connect(socket).ok()).ok_or("no socket")?;
        Ok(process)
    }

    /// Starts the program.
    pub(crate) fn tool(&self, args: &[&str]) -> Result<Tool> {
        let mut command = program(args);
        command.current_dir(self.0.path()).stdout(Stdio::piped());
        let process = Process::spawn("zeo-conformance", &mut command, self.path("tool.log"))?;
        Ok(Tool { process, lines: None, said: Vec::new() })
    }

    /// What the program prints that ends by itself, and well.
    pub(crate) fn printed(&self, args: &[&str]) -> Result<String> {
        let said = self.run(args)?;
        if said.is_good { Ok(said.out) } else { Err(said.complaint.into()) }
    }

    /// What the program says that ends by itself.
    pub(crate) fn run(&self, args: &[&str]) -> Result<Said> {
        let output = program(args).current_dir(self.0.path()).output()?;
        Ok(Said {
            out: String::from_utf8(output.stdout)?,
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
            is_good: output.status.success(),
        })
    }
}

/// What a program said, and whether it ended well.
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) complaint: String,
    pub(crate) is_good: bool,
}

pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zeo-conformance"));
    command.args(args).stdin(Stdio::null());
    command
}

/// The program while it runs.
pub(crate) struct Tool {
    pub(crate) process: Process,
    lines: Option<Receiver<String>>,
    /// Its lines so far.
    pub(crate) said: Vec<String>,
}

impl Tool {
    /// Where it listens, as it says on standard error or output.
    pub(crate) fn address(&mut self, is_on_stdout: bool) -> Result<String> {
        const READY: &str = "ready: listening on ";
        let line = if is_on_stdout {
            self.line_with(READY)?
        } else {
            let line = poll_until(SOON, || {
                let log = self.process.log_text();
                let is_over = matches!(self.process.try_wait(), Ok(Some(_)));
                let line = log.lines().find(|line| line.starts_with(READY)).map(str::to_owned);
                line.filter(|_| log.ends_with('\n')).map(Ok).or_else(|| is_over.then_some(Err(log)))
            });
            line.ok_or("no address")??
        };
        Ok(line.strip_prefix(READY).ok_or("no address")?.to_owned())
    }

    /// Reads on until a line has this in it.
    pub(crate) fn line_with(&mut self, text: &str) -> Result<String> {
        self.read();
        let lines = self.lines.as_ref().ok_or("nothing is read")?;
        loop {
            let line = lines.recv_timeout(SOON).map_err(|error| {
                format!("no {text:?}: {error}: {}\n{}", self.said.join("\n"), self.process.log_text())
            })?;
            self.said.push(line.clone());
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Reads on to the end.
    pub(crate) fn rest(&mut self) {
        self.read();
        self.said.extend(self.lines.iter().flatten());
    }

    fn read(&mut self) {
        let Some(stdout) = self.process.take_stdout() else { return };
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if line.is_err() || sender.send(line.unwrap_or_default()).is_err() {
                    break;
                }
            }
        });
        self.lines = Some(receiver);
    }

    /// Sends SIGINT or SIGTERM, reads what it says until its end, and how it ended.
    pub(crate) fn stop(&mut self, signal: Signal) -> Result<ExitStatus> {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).ok_or("no process")?;
        kill_process(pid, signal)?;
        self.rest();
        Ok(self.process.wait(SOON)?)
    }

    /// All its lines so far.
    pub(crate) fn text(&self) -> String {
        self.said.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Runs what is asynchronous; fails if it takes too long.
pub(crate) fn run<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(2 * SOON, future).await? })
}

/// A client of whatever listens there.
pub(crate) fn builder(address: &str) -> Result<Builder> {
    Ok(Builder::new(address.parse::<zeo_client::Address>()?).no_cache().wait_timeout(SOON))
}

/// Commits a new object of this length.
pub(crate) async fn commit(client: &Client, len: usize) -> Result<(Oid, Tid)> {
    let oid = client.new_oid().await?;
    let mut transaction = client.begin(Metadata::new("somebody", "a commit")).await?;
    transaction.store(oid, Tid::ZERO, vec![b'N'; len]).await?;
    Ok((oid, transaction.vote().await?.finish().await?))
}

/// Commits a small object, loads it, and hangs up.
pub(crate) async fn visit(builder: Builder) -> Result<Oid> {
    let client = builder.connect().await?;
    let (oid, tid) = commit(&client, 100).await?;
    let found = client.load_before(oid, Tid::MAX).await?.ok_or("not found")?;
    assert_eq!((found.serial, found.data.len()), (tid, 100));
    client.close();
    Ok(oid)
}
