//! `zeo-conformance replay`: plays captured clients to a live server, or captured servers to live clients, and compares
//! what these say.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use crate::capture::file;
use crate::replay::ours::{Played, can_be_ours, play_ours};
use crate::replay::start::start_and_play;
use crate::replay::{Explained, Report, play, serve};
use crate::scenarios::Program;
use crate::scenarios::guest::{can_be_guests, entertain};
use crate::server::ServerCommand;

/// Plays the clients of captures to a server, and compares what it says with what was said then.
///
/// With --listen or --client it is the other way round: plays the server of captures to clients, and compares what these
/// say. The status is a failure if anything differs.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Captures.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A running server, HOST:PORT, whose storage is as that of the capture was: mostly empty.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "server")]
    to: Option<SocketAddr>,
    /// Starts this server anew for each capture: words with {config} where the path of the configuration goes [default:
    /// runzeo beside this program].
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
    /// Plays the server here, HOST:PORT, to any client that does what those of the capture did.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["server", "to"])]
    listen: Option<SocketAddr>,
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

/// Runs the command.
///
/// # Errors
/// If a capture cannot be read, or a server not be started or reached.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> Outcome {
    let command = ServerCommand::chosen(arguments.server.as_deref())?;
    let patience = Duration::from_secs(arguments.patience);
    let mut is_same = true;
    for path in &arguments.files {
        let report = match arguments {
            Arguments { to: Some(address), .. } => Ok(play(path, *address, patience)?),
            Arguments { listen: Some(address), .. } => {
                let listener = TcpListener::bind(address)?;
                writeln!(out, "{}: ready: listening on {}", path.display(), listener.local_addr()?)?;
                out.flush()?;
                Ok(serve(path, &listener, patience)?)
            }
            Arguments { client: Some(Guests::Ours), .. } => match can_be_ours(file::open(path)?.metadata()) {
                Ok(()) => {
                    let Played { report, excuses } = play_ours(path, patience)?;
                    for excuse in excuses {
                        writeln!(out, "{}: as it should, {excuse}", path.display())?;
                    }
                    Ok(report)
                }
                Err(reason) => Err(reason),
            },
            Arguments { client: Some(Guests::Python(program)), .. } => {
                let scenario = file::open(path)?.metadata().scenario.clone();
                match can_be_guests(&scenario, *program) {
                    Ok(()) => Ok(entertain(&program.ensure()?, &scenario, path, patience)?),
                    Err(reason) => Err(reason),
                }
            }
            _ => start_and_play(path, &command, patience)?,
        };
        let report = match report {
            Ok(report) => report,
            Err(reason) => {
                writeln!(out, "{}: not played: {reason}", path.display())?;
                continue;
            }
        };
        let Report { said_count, compared_count, differences } = &report;
        let verdict = if differences.is_empty() { "the same" } else { "differs" };
        writeln!(out, "{}: {verdict} ({said_count} said, {compared_count} compared)", path.display())?;
        for difference in differences {
            is_same = false;
            if arguments.explain {
                write!(out, "{}", Explained(difference))?;
            } else {
                writeln!(out, "{difference}")?;
            }
        }
    }
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn guests(name: &str) -> Result<Guests, String> {
    if name == "ours" {
        return Ok(Guests::Ours);
    }
    let found = Program::ALL.into_iter().find(|program| program.name() == name);
    let names = || Program::ALL.map(Program::name).join(", ");
    found.map(Guests::Python).ok_or_else(|| format!("ours, or one of {}", names()))
}
