//! Our client beside Python's, on the same server of ours.
//!
//! Python's is used as ZODB uses it: by a thread that waits. Ours twice: by a thread that waits, whose connection lives
//! on another thread as Python's does; and as futures, with the connection on the same thread. All have a cache of
//! their default size. They take turns at each workload.

mod ours;
mod path;
mod python;
mod report;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeo_codec::Oid;

pub use path::Path;
pub use report::markdown;

use super::BenchError;
use super::client::Client;
use super::data::{Entry, Random, SMALL, check_record};
use super::loads::{Expect, Pipeline, Requests};
use super::run::{Echo, Scratch};
use super::target::{ServerSpec, StorageKind, Target};
use super::usage::Machine;
use super::window::{Pace, Window, measure};
use crate::config::Framing;
use crate::peers::Peer;

/// One of so many objects is compared byte for byte.
const CHECK_INTERVAL: usize = 509;
/// Loads that are under way at the same time in the limit of batches.
const LIMIT_DEPTH: usize = 1000;
const LIMIT_PACE: Pace = Pace { warm_up: Duration::from_millis(50), window: Duration::from_millis(200) };
/// Objects of a transaction of the preparation.
const PREPARE_COUNT: usize = 1000;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Loads of objects that are not in the cache, one after the other.
    Cold,
    /// The same, all asked for at once: `prefetch`.
    Batch,
    /// Loads of objects that are in the cache.
    Warm,
    /// Commits of so many objects.
    Commits(usize),
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cold, Self::Batch, Self::Warm, Self::Commits(1), Self::Commits(10)];
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cold => f.write_str("cold loads, one at a time"),
            Self::Batch => f.write_str("cold loads, in a batch"),
            Self::Warm => f.write_str("cache hits"),
            Self::Commits(count) => write!(f, "commits of {count}"),
        }
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub struct ClientPlan {
    /// The server.
    pub server: ServerSpec,
    /// Whose Python has the other client.
    pub python: Peer,
    /// How messages are encoded.
    pub framing: Framing,
    /// What to measure.
    pub workloads: Vec<Workload>,
    /// Whether to measure the way of a call, too.
    pub paths: bool,
    /// Turns of each client at each workload.
    pub round_count: usize,
    /// Objects that are loaded in a turn; at most [`SMALL`]'s.
    pub load_count: usize,
    /// Commits of a turn.
    pub commit_count: usize,
    /// A directory for everything, removed in the end.
    pub dir: PathBuf,
    /// A program that serves echoes when called with [`ECHO_COMMAND`](super::run::ECHO_COMMAND).
    pub echo_program: PathBuf,
}

/// What a client did in a turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    /// Loads or commits.
    pub op_count: usize,
    /// How long all took.
    pub time: Duration,
    /// Processor time of the client's process.
    pub cpu: Duration,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Where it was.
    pub machine: Machine,
    /// How messages were encoded.
    pub framing: Framing,
    /// The workloads.
    pub rows: Vec<Row>,
    /// Loads one at a time beside bare round trips, neither with a cache.
    pub paths: Vec<(Path, Vec<Turn>)>,
}

/// What was found about a workload.
#[derive(Debug, Clone)]
pub struct Row {
    /// The workload.
    pub workload: Workload,
    /// Those of each of [`NAMES`].
    pub turns: [Vec<Turn>; 3],
    /// What a client that does nothing with the answers gets from the same server, if there is such a thing.
    pub limit: Vec<Turn>,
}

/// The clients, in the order of the columns.
pub const NAMES: [&str; 3] = ["Python", "ours, blocking", "ours, async"];

/// A client that is measured.
trait Contestant {
    /// Connects anew with an empty cache, does everything once, and tells how long that took without the preparation.
    fn turn(&mut self, workload: Workload, oids: &[Oid], count: usize) -> Result<Turn, BenchError>;
}

/// Runs everything; `progress` is told what is being done.
///
/// # Errors
/// The first failure or wrong answer: there are no figures then.
pub fn run(plan: &ClientPlan, progress: &mut dyn FnMut(&str)) -> Result<Outcome, BenchError> {
    let scratch = Scratch::new(&plan.dir)?;
    let echo = Echo::start(&plan.echo_program, &scratch.0)?;
    progress("preparing");
    let mut target = Target::new(&plan.server, scratch.0.join("server"), plan.framing, StorageKind::File)?;
    let (mut client, _) = target.start()?;
    let mut entries: Vec<Entry> = SMALL.oids().map(Entry::new).collect();
    for entries in entries.chunks_mut(PREPARE_COUNT) {
        client.commit(entries, SMALL.data_len)?;
    }
    drop(client);
    let address = target.address()?;
    let mut python = python::Python::start(&plan.python, address, &scratch.0)?;
    let mut rows = Vec::new();
    for &workload in &plan.workloads {
        let (mut turns, mut limit) = ([Vec::new(), Vec::new(), Vec::new()], Vec::new());
        for round in 0..plan.round_count {
            progress(&format!("{workload}, round {}", round + 1));
            let (oids, count) = choose(plan, workload, round);
            let (mut blocking, mut futures) = (ours::Blocking(address), ours::Futures(address));
            let contestants: [&mut dyn Contestant; 3] = [&mut python, &mut blocking, &mut futures];
            for (contestant, turns) in contestants.into_iter().zip(&mut turns) {
                turns.push(contestant.turn(workload, &oids, count)?);
            }
            limit.extend(limit_of(workload, &target, round)?);
        }
        rows.push(Row { workload, turns, limit });
    }
    python.end()?;
    let mut paths: Vec<(Path, Vec<Turn>)> = Path::ALL.map(|path| (path, Vec::new())).into();
    for round in 0..if plan.paths { plan.round_count } else { 0 } {
        progress(&format!("call path, round {}", round + 1));
        let (oids, _) = choose(plan, Workload::Cold, round);
        for (path, turns) in &mut paths {
            turns.push(named(&format!("{path:?}"), || {
                path.measure(address, echo.address, plan.framing, &oids)
            })?);
        }
    }
    // The objects are as they should be.
    let mut client = Client::connect(address)?;
    for oid in SMALL.oids() {
        client.load_entry(oid, SMALL.data_len)?;
    }
    drop(client);
    target.stop()?;
    Ok(Outcome { machine: Machine::describe(&scratch.0), framing: plan.framing, rows, paths })
}

/// Encoded requests, and answers that are only counted off by their lengths.
fn limit_of(workload: Workload, target: &Target, round: usize) -> Result<Option<Turn>, BenchError> {
    let depth = match workload {
        Workload::Cold => 1,
        Workload::Batch => LIMIT_DEPTH,
        Workload::Warm | Workload::Commits(_) => return Ok(None),
    };
    let client = Client::connect(target.address()?)?;
    let protocol = client.protocol();
    let requests = Requests::new(protocol, SMALL, round as u64)?;
    let expect = Expect::Revisions(SMALL, protocol.dialect());
    let pipeline = Pipeline::new(client.into_stream(), requests, expect);
    let sample =
        measure(vec![move |window: &Window| pipeline.run(depth, window)], LIMIT_PACE, target.pid()?)?;
    let op_count = usize::try_from(sample.tally.op_count).unwrap_or_default();
    Ok(Some(Turn { op_count, time: sample.elapsed, cpu: sample.own_cpu }))
}

/// Does something in a thread of this name, for profilers.
fn named<R: Send>(name: &str, work: impl FnOnce() -> Result<R, BenchError> + Send) -> Result<R, BenchError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(BenchError::Missing(format!("{name} panicked"))))
    })
}

/// The objects of a round, in no order, and how often something is done with them.
fn choose(plan: &ClientPlan, workload: Workload, round: usize) -> (Vec<Oid>, usize) {
    let mut random = Random::new(round as u64);
    let mut oids: Vec<Oid> = SMALL.oids().collect();
    for last in (1..oids.len()).rev() {
        let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or_default();
        oids.swap(last, other);
    }
    match workload {
        Workload::Commits(object_count) => {
            oids.truncate(object_count);
            (oids, plan.commit_count)
        }
        _ => {
            oids.truncate(plan.load_count);
            (oids, plan.load_count)
        }
    }
}

/// Compares one of some hundred objects.
fn check(number: usize, oid: Oid, data: &[u8]) -> Result<(), BenchError> {
    if number.is_multiple_of(CHECK_INTERVAL) {
        check_record(oid, data, SMALL.data_len)?;
    }
    Ok(())
}
