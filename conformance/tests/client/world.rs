//! What a trial has at hand: a server, a client in Python, a client in Rust.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use zeo_client::{Address, Builder, Client, Invalidation, Invalidations, Oid, Tid};
use zeo_conformance::config::{Framing, ServerConfig};
use zeo_conformance::peers::{OldVersion, Peer, PeerVersion};
use zeo_conformance::process::{Process, poll_until, read_lossy};
use zeo_conformance::script::Script;
use zeo_conformance::server::{Ready, Server, ServerCommand, Startup};

use crate::{SERVE_ARGUMENT, TOOL_ARGUMENT};

pub(crate) type Error = Box<dyn std::error::Error>;
pub(crate) type Result<T = ()> = std::result::Result<T, Error>;

/// The longest wait for something that should happen at once.
const SOON: Duration = Duration::from_secs(20);
/// How many lines of each log a failure shows.
const LOG_LINES: usize = 40;

/// The server that the client talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Ours: this program itself, started again.
    Ours,
    /// Python's, of this version.
    Python(PeerVersion),
    /// Python's, of ZEO 4, or on Python 2.
    Old(OldVersion),
}

impl Subject {
    pub(crate) const ALL: [Self; 7] = [
        Self::Ours,
        Self::Python(PeerVersion::Zeo62),
        Self::Python(PeerVersion::Zeo541),
        Self::Python(PeerVersion::Zeo523),
        Self::Old(OldVersion::Zeo541Python2),
        Self::Old(OldVersion::Zeo431),
        Self::Old(OldVersion::Zeo431Python2),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Python(version) => version.name(),
            Self::Old(version) => version.name(),
        }
    }
}

/// One trial.
pub(crate) struct World {
    subject: Subject,
    framing: Framing,
    peer: Peer,
    server_command: ServerCommand,
    own_command: ServerCommand,
    dir: TempDir,
    /// Number of programs started so far; makes the names of their logs.
    started: Cell<u32>,
}

impl World {
    pub(crate) fn new(subject: Subject, framing: Framing) -> std::result::Result<Self, String> {
        let peer = match subject {
            Subject::Ours => Peer::ensure(PeerVersion::Zeo62),
            Subject::Python(version) => Peer::ensure(version),
            Subject::Old(version) => Peer::ensure_old(version),
        };
        let peer = peer.map_err(|error| error.to_string())?;
        let exe = std::env::current_exe().map_err(|error| error.to_string())?;
        let template = vec![exe.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
        let own_command = ServerCommand { template, ready: Ready::Line, is_python: false };
        let server_command = match subject {
            Subject::Ours => own_command.clone(),
            Subject::Python(_) | Subject::Old(_) => {
                let template = vec![peer.runzeo().into(), "-C".into(), "{config}".into()];
                ServerCommand { template, ready: Ready::Greeting, is_python: true }
            }
        };
        let dir = TempDir::with_prefix("zeo-client-").map_err(|error| error.to_string())?;
        Ok(Self { subject, framing, peer, server_command, own_command, dir, started: Cell::new(0) })
    }

    /// Whether the server is Python's, of ZEO 4.
    pub(crate) fn is_zeo4(&self) -> bool {
        matches!(self.subject, Subject::Old(version) if version.is_zeo4())
    }

    /// What the server greets with.
    fn greeting(&self) -> &'static str {
        if self.is_zeo4() { "Z4" } else { self.framing.greeting() }
    }

    /// A new file storage, everything else by default.
    pub(crate) fn config(&self) -> ServerConfig {
        ServerConfig::new(self.framing, self.path("Data.fs"))
    }

    pub(crate) fn server(&self, config: &ServerConfig) -> Result<Server> {
        let (label, command, dir) = (self.label("server"), &self.server_command, self.dir.path());
        if !self.is_zeo4() {
            return Ok(Server::start(&label, command, config, dir)?);
        }
        let text = |port| config.text(port);
        let startup = Startup { text: &text, port: config.port, greeting: Some(self.greeting()) };
        Ok(Server::start_with(&label, command, &startup, dir)?)
    }

    /// A server of ours, whatever the other ones are.
    pub(crate) fn own_server(&self, config: &ServerConfig) -> Result<Server> {
        Ok(Server::start(&self.label("relay"), &self.own_command, config, self.dir.path())?)
    }

    /// A server at a Unix socket in the directory of the trial. Dropping it kills it.
    pub(crate) fn server_at_socket(&self, config: &ServerConfig, socket: &str) -> Result<Process> {
        let label = self.label("socket");
        let path = self.path(&format!("{label}.conf"));
        std::fs::write(&path, config.text(0).replace("address 127.0.0.1:0", &format!("address ./{socket}")))?;
        let mut words = self.server_command.template.iter();
        let mut command = Command::new(words.next().ok_or("no command")?);
        command.args(words.map(|word| if word == "{config}" { path.as_os_str() } else { word }));
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::spawn(&label, &mut command, self.path(&format!("{label}.log")))?;
        poll_until(SOON, || UnixStream::connect(self.path(socket)).ok()).ok_or("no socket")?;
        Ok(process)
    }

    /// Runs a script of Python that needs no server, and stops by itself.
    pub(crate) fn script(&self, name: &str, args: &[&str]) -> Result {
        Script::start(&self.peer, name, &self.label(name), args, self.dir.path())?.finish()?;
        Ok(())
    }

    /// The same for a script that says one thing.
    pub(crate) fn script_step(&self, name: &str, args: &[&str], step: &str) -> Result<Value> {
        let mut script = Script::start(&self.peer, name, &self.label(name), args, self.dir.path())?;
        let said = script.expect_step(step)?;
        script.finish()?;
        Ok(said)
    }

    /// One of the client's programs, which is this program itself, started again.
    pub(crate) fn tool(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([TOOL_ARGUMENT, name]).current_dir(self.dir.path()).stdin(Stdio::null());
        Ok(command)
    }

    /// The program of a server: Python's, or this one, started again.
    pub(crate) fn runzeo(&self) -> Result<PathBuf> {
        if !matches!(self.subject, Subject::Ours) {
            return Ok(self.peer.runzeo());
        }
        let path = self.path("runzeo");
        let exe = std::env::current_exe()?;
        std::fs::write(&path, format!("#!/bin/sh\nexec '{}' {SERVE_ARGUMENT} \"$@\"\n", exe.display()))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// A program that comes with Python's ZEO.
    pub(crate) fn python_tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.peer.program(name));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// A program of Python's standard library.
    pub(crate) fn python(&self) -> Command {
        let mut command = self.peer.python();
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// A path in the directory of the trial.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Python's client.
    pub(crate) fn peer(&self, server: &Server) -> Result<PythonClient> {
        self.peer_with(server, &[])
    }

    /// Python's client, with further options of the script.
    pub(crate) fn peer_with(&self, server: &Server, options: &[&str]) -> Result<PythonClient> {
        let address = server.address().to_string();
        let args = [&["--address", &address, "--greeting", self.greeting()], options].concat();
        let mut script =
            Script::start(&self.peer, "client_peer", &self.label("peer"), &args, self.dir.path())?;
        script.expect_step("ready")?;
        Ok(PythonClient(script))
    }

    fn label(&self, name: &str) -> String {
        let number = self.started.get() + 1;
        self.started.set(number);
        format!("{number:02}-{name}")
    }

    /// The ends of all logs, for the report of a failure.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        let entries = std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        paths.sort();
        for path in paths {
            let log = read_lossy(&path);
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
            let _ = writeln!(text, "--- {}\n{}", path.display(), tail.join("\n"));
        }
        text
    }
}

/// A client of this server, with everything by default but shorter waits, and without a cache: loads ask the server.
pub(crate) fn builder(server: &Server) -> Builder {
    at(server.address().into())
}

/// A client of whatever listens there.
pub(crate) fn at(address: Address) -> Builder {
    Builder::new(address).no_cache().wait_timeout(SOON).disconnect_poll(Duration::from_millis(50))
}

/// Runs what is asynchronous; fails if it takes too long.
pub(crate) fn run<F: Future<Output = Result>>(future: F) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(3 * SOON, future).await? })
}

/// The next change; fails if there is none soon.
pub(crate) async fn next(invalidations: &mut Invalidations) -> Result<Invalidation> {
    let next = tokio::time::timeout(SOON, invalidations.next()).await;
    next.map_err(|_| "no invalidation")?.ok_or_else(|| "the client is closed".into())
}

/// The changes that a transaction of another client made; fails if it is anything else.
pub(crate) async fn next_tid_and_oids(invalidations: &mut Invalidations) -> Result<(Tid, Vec<Oid>)> {
    match next(invalidations).await? {
        Invalidation::Changed { tid, oids, .. } => {
            let mut oids = oids.to_vec();
            oids.sort();
            Ok((tid, oids))
        }
        other => Err(format!("{other:?}").into()),
    }
}

/// Commits records over these revisions.
pub(crate) async fn commit_all(client: &Client, records: &[(Oid, Tid, &'static str)]) -> Result<Tid> {
    let metadata = zeo_client::Metadata::new("rust", "commits");
    let mut transaction = client.begin(metadata).await?;
    for (oid, serial, data) in records {
        transaction.store(*oid, *serial, record(data)).await?;
    }
    Ok(transaction.vote().await?.finish().await?)
}

/// A record as ZODB writes it, of a class that Python can load: a mapping that holds a text.
pub(crate) fn record(text: &str) -> Vec<u8> {
    let mut record =
        b"\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}X\x04\0\0\0data}X\x01\0\0\0k".to_vec();
    record.push(b'X');
    record.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
    record.extend_from_slice(text.as_bytes());
    record.extend_from_slice(b"ss.");
    record
}

/// A client in Python that does what it is told.
pub(crate) struct PythonClient(Script);

impl PythonClient {
    fn ask(&mut self, what: &str, line: &Value) -> Result<Value> {
        self.0.tell(&line.to_string())?;
        Ok(self.0.expect_step(what)?)
    }

    /// Commits objects, all with the same data: the tid, and the data.
    pub(crate) fn commit(&mut self, oids: &[Oid], text: &str) -> Result<(Tid, Vec<u8>)> {
        let oids: Vec<String> = oids.iter().map(Oid::to_string).collect();
        let said = self.ask("commit", &json!(["commit", oids, text]))?;
        Ok((tid(&said["tid"])?, bytes(&said["data"])?))
    }

    /// Commits a blob of this text, several times: the tid, and where its file lies.
    pub(crate) fn store_blob(&mut self, oid: Oid, text: &str, times: usize) -> Result<(Tid, PathBuf)> {
        let said = self.ask("store_blob", &json!(["store_blob", oid.to_string(), text, times]))?;
        Ok((tid(&said["tid"])?, said["path"].as_str().ok_or("no path")?.into()))
    }

    /// A blob: its content, its file, and whether that was there before.
    pub(crate) fn load_blob(&mut self, oid: Oid, serial: Tid) -> Result<(Vec<u8>, PathBuf, bool)> {
        let said = self.ask("load_blob", &json!(["load_blob", oid.to_string(), serial.to_string()]))?;
        let path = said["path"].as_str().ok_or("no path")?.into();
        Ok((bytes(&said["content"])?, path, said["was_there"] == json!(true)))
    }

    /// The current revision of an object.
    pub(crate) fn load(&mut self, oid: Oid) -> Result<(Vec<u8>, Tid)> {
        let said = self.ask("load", &json!(["load", oid.to_string()]))?;
        Ok((bytes(&said["data"])?, tid(&said["serial"])?))
    }

    /// What was announced to it up to a transaction: each with its objects.
    pub(crate) fn announced(&mut self, last: Tid) -> Result<Vec<(Tid, Vec<Oid>)>> {
        let said = self.ask("announced", &json!(["announced", last.to_string()]))?;
        let found = said["found"].as_array().ok_or("no list")?;
        let pair = |pair: &Value| {
            let oids = pair[1].as_array().ok_or("no list")?;
            let oids: Result<Vec<Oid>> = oids.iter().map(oid).collect();
            Ok((tid(&pair[0])?, oids?))
        };
        found.iter().map(pair).collect()
    }

    pub(crate) fn end(mut self) -> Result {
        self.0.tell("[\"end\"]")?;
        self.0.finish()?;
        Ok(())
    }
}

fn bytes(hex: &Value) -> Result<Vec<u8>> {
    let digits = hex.as_str().ok_or("no text")?.as_bytes();
    let pair = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    digits.chunks(2).map(pair).collect()
}

fn tid(hex: &Value) -> Result<Tid> {
    Tid::from_slice(&bytes(hex)?).ok_or_else(|| format!("{hex} is no tid").into())
}

fn oid(hex: &Value) -> Result<Oid> {
    Oid::from_slice(&bytes(hex)?).ok_or_else(|| format!("{hex} is no oid").into())
}
