//! `zeo-conformance replay`: plays captured clients to a live server, or captured servers to live clients, and compares
//! what these say.

use std::error::Error;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use super::place::Place;
use crate::capture::file;
use crate::replay::ours::{Played, can_be_ours, play_ours};
use crate::replay::provider::Provider;
use crate::replay::start::start_and_play;
use crate::replay::{Explained, Report, is_empty, play, serve};
use crate::scenarios::Program;
use crate::scenarios::guest::{can_be_guests, entertain};

/// Plays the clients of captures to a server, and compares what it says with what was said then.
///
/// With --listen or --client it is the other way round: plays the server of captures to clients, and compares what these
/// say. The status is a failure if anything differs, a capture or a server cannot be used, or nothing could be played.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Captures.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A running server, HOST:PORT, whose storage 1 is empty: what the clients of the capture write is written there.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "server")]
    to: Option<Place>,
    /// The storage of --to may have something in it: it is as that of the capture was.
    #[arg(long, requires = "to")]
    not_empty: bool,
    /// Starts this server anew for each capture: words with {config} where the path of the configuration goes [default: ours,
    /// inside of this program].
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
    /// Plays the server here, HOST:PORT, to any client that does what those of the capture did.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["server", "to"])]
    listen: Option<Place>,
    /// Plays the server to Python's client of this version, such as 6.2, which runs the scenario's script; or to `ours`,
    /// which is made to do what the captured one did.
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["server", "to", "listen"], value_parser = guests)]
    client: Option<Guests>,
    /// Shows the bytes of both messages, too.
    #[arg(long)]
    explain: bool,
    /// How long a message may keep us waiting, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    patience: u64,
}

/// Who comes to a played server.
#[derive(Debug, Clone, Copy)]
enum Guests {
    Ours,
    Python(Program),
}

/// Who plays against the captures.
enum Other {
    Started(Provider),
    Running { address: SocketAddr, is_empty: bool },
    Listener(TcpListener),
    Guests(Guests),
}

/// Runs the command.
///
/// # Errors
/// If a server is not there; those of `out`. What is wrong with one capture is told, and the others are played.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> Outcome {
    let mut other = arguments.other()?;
    let patience = Duration::from_secs(arguments.patience);
    let (mut is_same, mut is_any_played) = (true, false);
    for path in &arguments.files {
        let name = path.display();
        if let Other::Listener(listener) = &other {
            writeln!(out, "{name}: ready: listening on {}", listener.local_addr()?)?;
            out.flush()?;
        }
        let Played { report, excuses } = match other.play(path, patience) {
            Ok(Ok(played)) => played,
            Ok(Err(reason)) => {
                writeln!(out, "{name}: not played: {reason}")?;
                continue;
            }
            Err(error) => {
                is_same = false;
                writeln!(out, "{name}: failed: {error}")?;
                continue;
            }
        };
        is_any_played = true;
        for excuse in excuses {
            writeln!(out, "{name}: as it should, {excuse}")?;
        }
        let Report { said_count, compared_count, differences } = &report;
        let verdict = if differences.is_empty() { "the same" } else { "differs" };
        writeln!(out, "{name}: {verdict} ({said_count} said, {compared_count} compared)")?;
        for difference in differences {
            is_same = false;
            if arguments.explain {
                write!(out, "{}", Explained(difference))?;
            } else {
                writeln!(out, "{difference}")?;
            }
        }
    }
    Ok(if is_same && is_any_played { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Arguments {
    fn other(&self) -> Result<Other, Box<dyn Error>> {
        Ok(match self {
            Self { to: Some(place), not_empty, .. } => {
                Other::Running { address: place.reach()?, is_empty: !not_empty }
            }
            Self { listen: Some(place), .. } => Other::Listener(place.bind()?),
            Self { client: Some(guests), .. } => Other::Guests(*guests),
            Self { server, .. } => Other::Started(Provider::chosen(server.as_deref())?),
        })
    }
}

impl Other {
    /// Plays a capture, or says why it cannot be played.
    fn play(&mut self, path: &Path, patience: Duration) -> Result<Result<Played, String>, Box<dyn Error>> {
        let report = match self {
            Self::Started(command) => match start_and_play(path, command, patience)? {
                Ok(report) => report,
                Err(reason) => return Ok(Err(reason.to_owned())),
            },
            Self::Running { address, is_empty: true } if !is_empty(*address)? => {
                let what = "is not empty; --not-empty plays to it all the same, and writes there";
                return Err(format!("the storage at {address} {what}").into());
            }
            Self::Running { address, .. } => play(path, *address, patience)?,
            Self::Listener(listener) => serve(path, listener, patience)?,
            Self::Guests(Guests::Ours) => {
                return match can_be_ours(file::open(path)?.metadata()) {
                    Ok(()) => Ok(Ok(play_ours(path, patience)?)),
                    Err(reason) => Ok(Err(reason.to_owned())),
                };
            }
            Self::Guests(Guests::Python(program)) => {
                let scenario = file::open(path)?.metadata().scenario.clone();
                match can_be_guests(&scenario, *program) {
                    Ok(()) => entertain(&program.ensure()?, &scenario, path, patience)?,
                    Err(reason) => return Ok(Err(reason.to_owned())),
                }
            }
        };
        Ok(Ok(Played { report, excuses: Vec::new() }))
    }
}

fn guests(name: &str) -> Result<Guests, String> {
    if name == "ours" {
        return Ok(Guests::Ours);
    }
    let found = Program::ALL.into_iter().find(|program| program.name() == name);
    let names = || Program::ALL.map(Program::name).join(", ");
    found.map(Guests::Python).ok_or_else(|| format!("ours, or one of {}", names()))
}
