//! A client of any generation, a process that does what it is told (`python/generations.py`), and our server for it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use zeo_conformance::peers::{OldVersion, Peer, PeerVersion};
use zeo_conformance::script::scripts_dir;
use zeo_conformance::server::{Ready, Server, ServerCommand, Startup};

use crate::SERVE_ARGUMENT;

pub(super) const ZEO4: OldVersion = OldVersion::Zeo431;
pub(super) const ZEO4_PYTHON2: OldVersion = OldVersion::Zeo431Python2;
pub(super) const ZEO5_PYTHON2: OldVersion = OldVersion::Zeo541Python2;
pub(super) const ZEO51_PYTHON2: OldVersion = OldVersion::Zeo510Python2;

/// The serial of what is new.
pub(super) const NEW: &str = "0000000000000000";

/// A client's program.
#[derive(Clone, Copy)]
pub(super) enum Who {
    New,
    Old(OldVersion),
}

impl Who {
    pub(super) fn all() -> Vec<Self> {
        [ZEO4, ZEO4_PYTHON2, ZEO51_PYTHON2, ZEO5_PYTHON2]
            .map(Self::Old)
            .into_iter()
            .chain([Self::New])
            .collect()
    }

    /// As in the names of logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old(version) => version.name(),
        }
    }

    pub(super) fn peer(self) -> Result<Peer, String> {
        match self {
            Self::New => Peer::ensure(PeerVersion::Zeo62),
            Self::Old(version) => Peer::ensure_old(version),
        }
        .map_err(|error| error.to_string())
    }
}

pub(super) fn server(dir: &Path, keys: &str, port: Option<u16>) -> Result<Server, Failed> {
    let dir_name = dir.display();
    let storage =
        format!("<filestorage 1>\n  path {dir_name}/Data.fs\n  blob-dir {dir_name}/blobs\n</filestorage>\n");
    server_of(dir, "server", keys, port, &storage)
}

pub(super) fn server_of(
    dir: &Path,
    name: &str,
    keys: &str,
    port: Option<u16>,
    storage: &str,
) -> Result<Server, Failed> {
    let exe = std::env::current_exe()?;
    let template = vec![exe.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
    let command = ServerCommand { template, ready: Ready::Line, is_python: false };
    let text = |port| format!("<zeo>\n  address 127.0.0.1:{port}\n{keys}</zeo>\n{storage}");
    Ok(Server::start_with(name, &command, &Startup { text: &text, port, greeting: None }, dir)?)
}

/// A client that does what it is told.
pub(super) struct Client {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    pub(super) fn start(who: Who, name: &str, dir: &Path) -> Result<Self, Failed> {
        let mut python = who.peer()?.python();
        python.arg(scripts_dir().join("generations.py")).current_dir(dir);
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        python.stderr(File::create(dir.join(format!("{name}.log")))?);
        let mut process = python.spawn()?;
        let input = process.stdin.take().ok_or("no input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no output")?);
        Ok(Self { process, input, output })
    }

    pub(super) fn connected(who: Who, name: &str, dir: &Path, server: SocketAddr) -> Result<Self, Failed> {
        let mut client = Self::start(who, name, dir)?;
        client.open(server, json!({}))?;
        Ok(client)
    }

    pub(super) fn open(&mut self, server: SocketAddr, options: Value) -> Result<Value, Failed> {
        self.ask(json!(["open", "127.0.0.1", server.port(), options]))
    }

    /// What it answers, or the exception as `Err((class, text))`.
    pub(super) fn try_ask(&mut self, command: Value) -> Result<Result<Value, (String, String)>, Failed> {
        writeln!(self.input, "{command}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let answer: Value =
            serde_json::from_str(&line).map_err(|_| format!("{command} is answered by {line:?}"))?;
        if let Some(error) = answer.get("error") {
            let part = |at: usize| error.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
            return Ok(Err((part(0), part(1))));
        }
        Ok(Ok(answer.get("ok").cloned().unwrap_or_default()))
    }

    pub(super) fn ask(&mut self, command: Value) -> Result<Value, Failed> {
        let shown = command.to_string();
        self.try_ask(command)?.map_err(|(class, text)| format!("{shown}: {class}: {text}").into())
    }

    /// The name of the exception.
    pub(super) fn fails(&mut self, command: Value) -> Result<String, Failed> {
        match self.try_ask(command.clone())? {
            Ok(answer) => Err(format!("{command} does not fail: {answer}").into()),
            Err((class, _)) => Ok(class),
        }
    }

    /// Commits one object; gives the tid.
    pub(super) fn commit(&mut self, number: u64, serial: &str, data: &str) -> Result<String, Failed> {
        self.ask(json!(["begin"]))?;
        self.ask(json!(["put", number, serial, data]))?;
        let tid = self.ask(json!(["end"]))?;
        Ok(tid.as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
