//! A play: the server, the proxy that records, and the script that tells what happens.
//!
//! The script says what it needs in lines of JSON, as in [`script`](crate::script), and goes on when it is told `ok`:
//!
//! | `step` | what is done |
//! |---|---|
//! | `start` | the server starts, with the lines in `zeo` and `storage` in its configuration |
//! | `stop`, `kill` | it ends, as by an operator or by a crash |
//! | `keep`, `restore` | while it is away: a copy of its data file is made; that copy takes the place of the file, and the
//! index goes |
//! | `faults` | the scenario's faults may happen from now on |
//! | `fault` | the fault in `fault` may happen from now on |

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::pair::{Pair, Program};
use super::table::Scenario;
use crate::capture::{Metadata, PeerInfo, ServerAct, ServerLines};
use crate::commands::between::recorder;
use crate::peers::Peer;
use crate::process::read_lossy;
use crate::record::address::Address;
use crate::record::fault::{Armed, Fault};
use crate::record::proxy::{Background, Proxy};
use crate::script::Script;
use crate::server::data::{keep, restore};
use crate::server::{Ready, Server, ServerCommand, Startup, free_port};

/// How long a client that comes while the server is away is kept waiting, so that it does not come again and again.
const SERVER_WAIT: Duration = Duration::from_secs(15);
/// How much of each log is shown when a play fails.
const LOG_LEN_MAX: usize = 3000;

/// The peers of a pair.
#[derive(Debug, Clone)]
pub struct Cast {
    pair: Pair,
    client: Peer,
    server: Peer,
}

impl Cast {
    /// Provides both environments.
    ///
    /// # Errors
    /// [`Unavailable`](crate::peers::Unavailable) if one of them cannot be made.
    pub fn of(pair: Pair) -> Result<Self, crate::peers::Unavailable> {
        Ok(Self { pair, client: pair.client.ensure()?, server: pair.server.ensure()? })
    }

    /// Who they are.
    #[must_use]
    pub const fn pair(&self) -> Pair {
        self.pair
    }

    /// Plays a scenario, and leaves its capture at `path`, in place of one that was there.
    ///
    /// # Errors
    /// Those of the peers, with the ends of their logs. The file stays as it was, then.
    pub fn play(&self, scenario: &Scenario, path: &Path) -> Result<(), Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let capture = dir.path().join("play.zeocap.gz");
        let mut stage = Stage::set(self, scenario, dir.path(), &capture)?;
        let played = stage.play(scenario);
        let recorded = stage.strike();
        match played.and(recorded) {
            Ok(()) => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                // Not a rename: it may be another file system.
                fs::copy(&capture, path)?;
                Ok(())
            }
            Err(error) => Err(format!("{error}\n{}", logs(dir.path())).into()),
        }
    }
}

/// What a script says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    pub(super) step: String,
    /// All is over, and well.
    pub(super) result: bool,
    fault: String,
    /// For the configuration of the server.
    #[serde(flatten)]
    pub(super) lines: ServerLines,
}

impl Said {
    /// What is to be done to the server, if that is what the script asks for.
    pub(super) fn act(&self) -> Option<ServerAct> {
        match self.step.as_str() {
            "start" => Some(ServerAct::Start(self.lines.clone())),
            "stop" => Some(ServerAct::Stop),
            "kill" => Some(ServerAct::Kill),
            "keep" => Some(ServerAct::Keep),
            "restore" => Some(ServerAct::Restore),
            _ => None,
        }
    }
}

/// Everything that a play takes.
struct Stage<'a> {
    cast: &'a Cast,
    dir: PathBuf,
    port: u16,
    faults: Armed,
    proxy: Background,
    server: Option<Server>,
}

impl<'a> Stage<'a> {
    fn set(cast: &'a Cast, scenario: &Scenario, dir: &Path, capture: &Path) -> Result<Self, Box<dyn Error>> {
        let port = free_port();
        let faults = Armed::default();
        let proxy = Proxy {
            server: Address::Tcp(format!("127.0.0.1:{port}")),
            client_tls: None,
            server_tls: None,
            faults: faults.clone(),
            is_by_message: !scenario.faults.is_empty(),
            // Faults are armed while it plays.
            is_by_threads: false,
            server_wait: SERVER_WAIT,
            // It is in the capture, too.
            complain: |_, _| {},
        };
        let listen = Address::Tcp("127.0.0.1:0".to_owned());
        let proxy = Background::start(proxy, listen, capture, metadata(cast, scenario))?;
        Ok(Self { cast, dir: dir.to_owned(), port, faults, proxy, server: None })
    }

    fn play(&mut self, scenario: &Scenario) -> Result<(), Box<dyn Error>> {
        let dir = self.dir.join("client");
        fs::create_dir(&dir)?;
        let args = [
            scenario.name.to_owned(),
            self.proxy.address().to_string(),
            format!("127.0.0.1:{}", self.port),
            self.dir.display().to_string(),
        ];
        let mut script = Script::start(&self.cast.client, "captures/play", "script", &args, &dir)?;
        loop {
            let said = Said::deserialize(script.next_step()?)?;
            if let Some(act) = said.act() {
                self.act(&act)?;
                script.tell("ok")?;
                continue;
            }
            match said.step.as_str() {
                "faults" => self.arm(scenario.faults.iter().copied())?,
                "fault" => self.arm([said.fault.as_str()])?,
                "" if said.result => break,
                _ => return Err(format!("the script says {said:?}").into()),
            }
            script.tell("ok")?;
        }
        script.expect_end()?;
        Ok(())
    }

    /// Does something to the server, and writes that down before.
    fn act(&mut self, act: &ServerAct) -> Result<(), Box<dyn Error>> {
        self.proxy.note(&act.to_string());
        match act {
            ServerAct::Start(lines) => self.start(lines)?,
            ServerAct::Stop => self.server.take().map_or(Ok(()), Server::stop)?,
            ServerAct::Kill => self.server.take().map_or((), Server::kill),
            ServerAct::Keep => keep(&self.dir)?,
            ServerAct::Restore => restore(&self.dir)?,
        }
        Ok(())
    }

    fn start(&mut self, asked: &ServerLines) -> Result<(), Box<dyn Error>> {
        let pair = self.cast.pair;
        let command = ServerCommand {
            template: vec![
                self.cast.server.runzeo().into(),
                OsString::from("-C"),
                OsString::from("{config}"),
            ],
            ready: Ready::Greeting,
            is_python: true,
        };
        let startup = Startup {
            text: &|port| super::config::text(pair, port, asked),
            port: Some(self.port),
            greeting: Some(pair.greeting()),
        };
        self.server = Some(Server::start_with("server", &command, &startup, &self.dir)?);
        Ok(())
    }

    fn arm<'f>(&self, faults: impl IntoIterator<Item = &'f str>) -> Result<(), String> {
        for fault in faults {
            self.faults.arm(fault.parse::<Fault>()?);
        }
        Ok(())
    }

    /// Ends the recording, then the server.
    fn strike(self) -> Result<(), Box<dyn Error>> {
        self.proxy.stop()?;
        self.server.map_or(Ok(()), Server::stop)?;
        Ok(())
    }
}

fn metadata(cast: &Cast, scenario: &Scenario) -> Metadata {
    let Cast { pair, client, server } = cast;
    let mut other = serde_json::Map::new();
    other.insert("about".to_owned(), Value::from(scenario.about));
    Metadata {
        scenario: scenario.name.to_owned(),
        client: Some(info(pair.client, client)),
        server: Some(info(pair.server, server)),
        framing: pair.framing.name().to_owned(),
        transport: "tcp".to_owned(),
        recorder: recorder(),
        made_by: format!("zeo-conformance capture-all --peer {pair} --scenario {}", scenario.name),
        faults: scenario.faults.iter().map(ToString::to_string).collect(),
        other,
        ..Metadata::default()
    }
}

fn info(program: Program, peer: &Peer) -> PeerInfo {
    PeerInfo {
        name: "ZEO".to_owned(),
        version: program.zeo_version().to_owned(),
        zodb: peer.pinned("ZODB").unwrap_or_default().to_owned(),
        python: peer.python_version().unwrap_or_default(),
    }
}

/// The ends of all logs of a play.
fn logs(dir: &Path) -> String {
    let mut text = String::new();
    for path in [dir.join("client/script.log"), dir.join("server.log")] {
        let log = read_lossy(&path);
        let start = log.len().saturating_sub(LOG_LEN_MAX);
        let end = log.get(log.ceil_char_boundary(start)..).unwrap_or_default();
        text.push_str(&format!("--- {}\n{end}\n", path.display()));
    }
    text
}
