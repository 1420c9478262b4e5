//! `zeo-conformance check`: which captured scenarios a server plays as Python's did.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::place::Place;
use super::{Outcome, about};
use crate::check::{Plan, Target, html as page, json as values, junit as cases, pairs, run as check};
use crate::replay::provider::Provider;
use crate::scenarios::{Pair, all, fixtures_dir};
use crate::suite::expected::fits;

/// Plays all captured clients to a server, and reports which scenarios went as with Python's.
///
/// Each needs an empty storage: with an ADDRESS that of the server which runs there, emptied by --reset; otherwise a server
/// is started for each. The status is a failure if anything differs, or nothing could be played.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A running server, HOST:PORT, with a storage called 1. What needs something of its configuration is left out.
    address: Option<Place>,
    /// A command for the shell that empties the storage at ADDRESS: stops the server, removes its files, starts it. Without it
    /// one scenario is played if the storage is empty.
    #[arg(long, value_name = "COMMAND", requires = "address")]
    reset: Option<String>,
    /// The server: words with {config} where the path of the configuration goes [default: ours, inside of this program].
    #[arg(long, value_name = "COMMAND", conflicts_with = "address")]
    server: Option<String>,
    /// The server is that of this project: what it does otherwise than Python's on purpose is told with its reason, and no
    /// failure. So it is without ADDRESS and --server.
    #[arg(long)]
    ours: bool,
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

/// A file for a report. It is there before anything is played, so that nobody waits for what cannot be written.
struct Output<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Output<'a> {
    /// What was in the file stays until there is something to write.
    fn open(path: Option<&'a PathBuf>) -> Result<Option<Self>, Box<dyn Error>> {
        let Some(path) = path else { return Ok(None) };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| about(path.display(), error))?;
        Ok(Some(Self { path, file }))
    }

    fn write(mut self, text: &str) -> Result<(), Box<dyn Error>> {
        let mut write = || -> io::Result<()> {
            // It may be a pipe or a terminal.
            if self.file.metadata()?.is_file() {
                self.file.set_len(0)?;
            }
            self.file.write_all(text.as_bytes())
        };
        write().map_err(|error| about(self.path.display(), error))
    }
}

/// Runs the command.
///
/// # Errors
/// If a report cannot be written, a scenario is unknown, or a server or the captures are not there.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> Outcome {
    if let Some(name) = arguments.scenario.iter().find(|name| all().iter().all(|known| known.name != **name))
    {
        return Err(format!("there is no scenario {name:?}").into());
    }
    let is_wanted =
        |name: &str| arguments.scenario.is_empty() || arguments.scenario.iter().any(|one| one == name);
    let captures = arguments.captures.clone().unwrap_or_else(fixtures_dir);
    if !captures.is_dir() {
        return Err(about(captures.display(), "no directory, which that of the captures should be"));
    }
    let pairs = arguments.pairs()?;
    let [json, junit, html] =
        [&arguments.json, &arguments.junit, &arguments.html].map(|path| Output::open(path.as_ref()));
    let (json, junit, html) = (json?, junit?, html?);
    let server = match &arguments.address {
        Some(place) => Target::Running { address: place.reach()?, reset: arguments.reset.clone() },
        None => Target::Started(Provider::chosen(arguments.server.as_deref())?),
    };
    let matrix = check(&Plan {
        server,
        is_ours: arguments.ours || (arguments.address.is_none() && arguments.server.is_none()),
        captures,
        pairs,
        scenarios: all().iter().filter(|scenario| is_wanted(scenario.name)).collect(),
        jobs: arguments.jobs,
        patience: Duration::from_secs(arguments.patience),
    });
    write!(out, "{}", matrix.text())?;
    json.map_or(Ok(()), |output| output.write(&format!("{:#}\n", values::value(&matrix))))?;
    if let Some(output) = junit {
        output.write(&cases::xml(&matrix)?)?;
    }
    html.map_or(Ok(()), |output| output.write(&page::page(&matrix)))?;
    Ok(if matrix.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
