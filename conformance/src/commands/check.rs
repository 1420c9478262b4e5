//! `zeo-conformance check`: which captured scenarios a server plays as Python's did.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use crate::check::{Plan, Target, html, json, junit, pairs, run as check};
use crate::scenarios::{Pair, all, fixtures_dir};
use crate::server::ServerCommand;
use crate::suite::expected::fits;

/// Plays all captured clients to a server, and reports which scenarios went as with Python's.
///
/// Each needs an empty storage: with an ADDRESS that of the server which runs there, emptied by --reset; otherwise a server
/// is started for each. The status is a failure if anything differs.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A running server, HOST:PORT, with a storage called 1. What needs something of its configuration is left out.
    address: Option<SocketAddr>,
    /// A command for the shell that empties the storage at ADDRESS: stops the server, removes its files, starts it. Without it
    /// one scenario is played if the storage is empty.
    #[arg(long, value_name = "COMMAND", requires = "address")]
    reset: Option<String>,
    /// The server: words with {config} where the path of the configuration goes [default: runzeo beside this program].
    #[arg(long, value_name = "COMMAND", conflicts_with = "address")]
    server: Option<String>,
    /// The directory of the captures [default: this repository's].
    #[arg(long, value_name = "DIRECTORY")]
    captures: Option<PathBuf>,
    /// Only those of pairs with such a name, as in 6.2-5.4.1-msgpack; * stands for anything. May be repeated. Without, all but
    /// those on Python 2. What the server does not speak is left out.
    #[arg(long, value_name = "PATTERN")]
    pair: Vec<String>,
    /// Only this scenario. May be repeated.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Writes the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the results as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Writes the results as one page of HTML.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How many servers run at the same time.
    #[arg(long, value_name = "NUMBER", default_value_t = 6)]
    jobs: usize,
    /// How long a message may keep us waiting, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    patience: u64,
}

impl Arguments {
    fn pairs(&self) -> Result<Vec<Pair>, String> {
        if self.pair.is_empty() {
            return Ok(pairs());
        }
        let mut chosen = Vec::new();
        for pattern in &self.pair {
            let all = Pair::all().into_iter().filter(|pair| pair.interoperates());
            let found: Vec<_> = all.filter(|pair| fits(pattern, &pair.to_string())).collect();
            if found.is_empty() {
                return Err(format!("no pair of peers that talk to each other is called {pattern:?}"));
            }
            chosen.extend(found);
        }
        Ok(chosen)
    }
}

/// Runs the command.
///
/// # Errors
/// If a report cannot be written, or a scenario is unknown.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> Outcome {
    if let Some(name) = arguments.scenario.iter().find(|name| all().iter().all(|known| known.name != **name))
    {
        return Err(format!("there is no scenario {name:?}").into());
    }
    let is_wanted =
        |name: &str| arguments.scenario.is_empty() || arguments.scenario.iter().any(|one| one == name);
    let server = match arguments.address {
        Some(address) => Target::Running { address, reset: arguments.reset.clone() },
        None => Target::Started(ServerCommand::chosen(arguments.server.as_deref())?),
    };
    let matrix = check(&Plan {
        server,
        captures: arguments.captures.clone().unwrap_or_else(fixtures_dir),
        pairs: arguments.pairs()?,
        scenarios: all().iter().filter(|scenario| is_wanted(scenario.name)).collect(),
        jobs: arguments.jobs,
        patience: Duration::from_secs(arguments.patience),
    });
    write!(out, "{}", matrix.text())?;
    if let Some(path) = &arguments.json {
        fs::write(path, format!("{:#}\n", json::value(&matrix)))?;
    }
    if let Some(path) = &arguments.junit {
        fs::write(path, junit::xml(&matrix)?)?;
    }
    if let Some(path) = &arguments.html {
        fs::write(path, html::page(&matrix))?;
    }
    Ok(if matrix.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
