//! Clients in Rust and in Python work on one database at once, while its server is killed again and again: is what they
//! see and do one history?
//!
//! All of them make random transactions on a few objects, and write down what each has read at its snapshot, what it
//! wrote, and what became of it ([`journal`]). In the end Python reads the file, and [`check`](mod@check) compares.
//! [`stress`](crate::stress) looks at the messages of a server; this looks at what applications get through their
//! clients, with caches in files, reconnection and all.

pub mod check;
pub mod journal;
pub mod record;
mod worker;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::check::Verdict;
use self::journal::{Entry, read_lines, write_lines};
use self::worker::{Owner, Worker};
use crate::config::{Framing, ServerConfig};
use crate::peers::Peer;
use crate::process::ProcessError;
use crate::script::Script;
use crate::server::{Server, ServerCommand, free_port};
use crate::stress::worker::Dice;

/// Threads that share a client.
const THREADS_OF_A_CLIENT: u64 = 2;
/// The cache of every other client, in bytes: it has no room for all objects.
const SMALL_CACHE: u64 = 3_000;
/// That of the others.
const LARGE_CACHE: u64 = 20 * 1024 * 1024;

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub server: ServerCommand,
    /// How messages are encoded.
    pub framing: Framing,
    /// The Python of the clients.
    pub peer: Peer,
    /// Where the files go.
    pub dir: PathBuf,
    /// Number of clients in Rust.
    pub rust_count: u64,
    /// Number of clients in Python.
    pub python_count: u64,
    /// Number of objects.
    pub object_count: u64,
    /// How long.
    pub time: Duration,
    /// How long the server lives, on average.
    pub server_life: Duration,
    /// The dice's seed.
    pub seed: u64,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the checker says.
    pub verdict: Verdict,
    /// How often the server was killed.
    pub kill_count: u64,
    /// How often clients were opened, in Rust and in Python.
    pub opened_counts: (u64, u64),
    /// Commits by clients in Rust, and in Python.
    pub commit_counts: (u64, u64),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, kill_count, opened_counts: opened, commit_counts: commits } = self;
        writeln!(f, "{} revisions read as of their snapshots", verdict.read_count)?;
        writeln!(
            f,
            "{} commits, {} of them known to Rust's clients and {} to Python's; {} had checked all that they read",
            verdict.commit_count, commits.0, commits.1, verdict.serializable_count,
        )?;
        writeln!(
            f,
            "{} only read, {} conflicts, {} lost before the end",
            verdict.reader_count, verdict.conflict_count, verdict.lost_count,
        )?;
        writeln!(
            f,
            "{} of unknown outcome, of which {} were committed; of {} the client had found out",
            verdict.unknown_count, verdict.unknown_committed_count, verdict.found_count,
        )?;
        write!(
            f,
            "{kill_count} kills of the server; clients opened {} times in Rust, {} in Python",
            opened.0, opened.1,
        )
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SerialError {
    /// A server or script could not be started, or did not end well.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A client in Rust met what it cannot go on with.
    #[error(transparent)]
    Client(#[from] zeo_client::Error),
    /// A client in Rust got what cannot be.
    #[error("{0}")]
    Wrong(String),
    /// A journal.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A thread of ours panicked.
    #[error("a client's thread panicked")]
    Panicked,
}

/// Runs a server and clients, and judges what these have written down. The journals stay in the directory.
///
/// # Errors
/// If a client meets something else than conflicts and lost connections, or the server cannot be run. What the checker
/// finds is no error but in the report.
pub fn run(plan: &Plan) -> Result<Report, SerialError> {
    let config = config_of(plan);
    let start = |number: u64| Server::start(&format!("server-{number}"), &plan.server, &config, &plan.dir);
    let mut server = start(0)?;
    let address = server.address();
    let client = zeo_client::Builder::new(address).no_cache().connect_blocking()?;
    let mut entries = vec![worker::set_up(&client, plan.object_count)?];
    client.close();

    let mut scripts = Vec::new();
    for number in 0..plan.python_count {
        scripts.push(start_script(plan, &server, number)?);
    }
    let is_over = AtomicBool::new(false);
    let mut dice = Dice(plan.seed);
    let mut kill_count = 0;
    let (server, owners) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.rust_count)
            .map(|number| {
                let owner = owner(plan, address, number);
                scope.spawn(|| owner.run(&is_over))
            })
            .collect();
        let end = Instant::now() + plan.time;
        let life_ms_max = u64::try_from(2 * plan.server_life.as_millis()).unwrap_or(u64::MAX);
        let result = loop {
            std::thread::sleep(Duration::from_millis(dice.roll(life_ms_max)));
            if Instant::now() >= end || threads.iter().any(|thread| thread.is_finished()) {
                break Ok(server);
            }
            server.kill();
            kill_count += 1;
            server = match start(kill_count) {
                Ok(server) => server,
                Err(error) => break Err(error),
            };
        };
        is_over.store(true, Ordering::Relaxed);
        let ends = threads.into_iter().map(|thread| thread.join().map_err(|_| SerialError::Panicked)?);
        let owners = ends.collect::<Result<Vec<_>, _>>();
        Ok::<_, SerialError>((result?, owners?))
    })?;
    let opened_in_rust = owners.iter().map(|(life_count, _)| life_count).sum();
    let rust: Vec<Entry> = owners.into_iter().flat_map(|(_, entries)| entries).collect();
    write_lines(&plan.dir.join("rust.journal"), &rust)?;
    let mut python = Vec::new();
    let mut opened_in_python = 0;
    for (mut script, journal) in scripts {
        script.tell("stop")?;
        let said = script.finish()?;
        opened_in_python += said.get("lives").and_then(serde_json::Value::as_u64).unwrap_or_default();
        python.extend(read_lines::<Entry>(&journal)?);
    }
    server.stop()?;
    let file = plan.dir.join("history");
    let args = ["--file", &config.storage_path.display().to_string(), "--to", &file.display().to_string()];
    Script::start(&plan.peer, "serial_history", "history", &args, &plan.dir)?.finish()?;

    let commit_counts = (commit_count(&rust), commit_count(&python));
    entries.extend(rust);
    entries.extend(python);
    let verdict = check::check(&entries, &read_lines(&file)?);
    Ok(Report { verdict, kill_count, opened_counts: (opened_in_rust, opened_in_python), commit_counts })
}

fn commit_count(entries: &[Entry]) -> u64 {
    entries.iter().filter(|entry| matches!(entry.outcome, journal::Outcome::Committed(_))).count() as u64
}

fn config_of(plan: &Plan) -> ServerConfig {
    ServerConfig { port: Some(free_port()), ..ServerConfig::new(plan.framing, plan.dir.join("Data.fs")) }
}

fn cache_size(number: u64) -> u64 {
    if number.is_multiple_of(2) { SMALL_CACHE } else { LARGE_CACHE }
}

fn owner(plan: &Plan, address: std::net::SocketAddr, number: u64) -> Owner {
    let first = 1 + number * THREADS_OF_A_CLIENT;
    let threads = first..first + THREADS_OF_A_CLIENT;
    Owner {
        address,
        cache_path: plan.dir.join(format!("rust-{number}.zec")),
        cache_size: cache_size(number),
        workers: threads.map(|thread| Worker::new(thread, plan.object_count, plan.seed)).collect(),
        dice: Dice(plan.seed.wrapping_add(number)),
    }
}

/// A client in Python, and where it leaves its journal.
fn start_script(plan: &Plan, server: &Server, number: u64) -> Result<(Script, PathBuf), ProcessError> {
    let name = format!("python-{number}");
    let journal = plan.dir.join(format!("{name}.journal"));
    let first = 1 + (plan.rust_count + number) * THREADS_OF_A_CLIENT;
    let options = [
        ("--address", server.address().to_string()),
        ("--greeting", plan.framing.greeting().to_owned()),
        ("--first-thread", first.to_string()),
        ("--threads", THREADS_OF_A_CLIENT.to_string()),
        ("--objects", plan.object_count.to_string()),
        ("--seed", plan.seed.to_string()),
        ("--seconds", plan.time.as_secs().to_string()),
        ("--cache", plan.dir.join(format!("{name}.zec")).display().to_string()),
        ("--cache-size", cache_size(number).to_string()),
        ("--journal", journal.display().to_string()),
    ];
    let args: Vec<String> = options.into_iter().flat_map(|(key, value)| [key.to_owned(), value]).collect();
    Ok((Script::start(&plan.peer, "serial_client", &name, &args, &plan.dir)?, journal))
}
