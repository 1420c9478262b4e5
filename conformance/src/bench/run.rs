//! A whole run: servers prepared, workloads in turn, everything verified at the end.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::BenchError;
use super::announce::{Listeners, announce_steadily};
use super::client::Client;
use super::commits::{commit_set, commit_steadily, mix};
use super::connects::connect_steadily;
use super::cores::{Pinned, pin_this_thread};
use super::data::{Entry, LARGE, SMALL};
use super::echo;
use super::limits::{Reads, append_steadily, connect_barely, positional_reads};
use super::loads::{Expect, Pipeline, Requests, reply_frame_len};
use super::plan::{Schedule, Workload};
use super::report::Figure;
use super::syncs::{SyncTrace, can_trace};
use super::target::{ServerSpec, StorageKind, Target, launch};
use super::usage::{Machine, Memory, allow_descriptors};
use super::window::{Pace, Sample, Tally, Window, measure};
use crate::config::Framing;
use crate::process::Process;
use crate::server::free_port;

/// The argument that makes this program the echo server; the port follows.
pub const ECHO_COMMAND: &str = "echo-server";
/// Announcements are measured for so many windows in each round.
const ANNOUNCEMENT_WINDOWS: u32 = 4;

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The servers; ratios are to the first.
    pub servers: Vec<ServerSpec>,
    /// The server without a storage that they are compared with, if any.
    pub ceiling: Option<ServerSpec>,
    /// How messages are encoded.
    pub framing: Framing,
    /// Where objects are kept.
    pub storage: StorageKind,
    /// How long.
    pub schedule: Schedule,
    /// What to measure.
    pub workloads: Vec<Workload>,
    /// A directory for everything, removed in the end.
    pub dir: PathBuf,
    /// A program that serves echoes when called with [`ECHO_COMMAND`].
    pub echo_program: PathBuf,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// How messages were encoded.
    pub framing: &'static str,
    /// Where it was.
    pub machine: Machine,
    /// The servers, in the order of the columns.
    pub servers: Vec<ServerFacts>,
    /// A row for each workload.
    pub rows: Vec<Row>,
    /// Reads of a cached file by one thread.
    pub reads: Vec<Reads>,
}

/// What was found about a server beside its speed.
#[derive(Debug, Clone, Serialize)]
pub struct ServerFacts {
    /// What the tables call it.
    pub name: String,
    /// From the start of the process to the reply to `register`: the median, in milliseconds.
    pub start_ms: f64,
    /// Memory after the start, with all objects in the storage.
    pub memory_at_start: Memory,
    /// Memory at the end.
    pub memory_at_end: Memory,
}

/// What was found about a workload.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The workload.
    pub workload: String,
    /// Whether it is about the time until others hear of a commit, and not about how many there are in a second.
    pub is_announcement: bool,
    /// One for each server.
    pub figures: Vec<Figure>,
    /// What a server reaches that has no storage.
    pub ceiling: Option<Figure>,
    /// What the machine can do.
    pub limit: Option<Figure>,
}

/// A server and what we know of its objects.
struct Contestant {
    target: Target,
    book: Vec<Entry>,
    start_ms: f64,
    memory_at_start: Memory,
}

/// Runs everything; `progress` is told what is being done.
///
/// # Errors
/// The first failure or wrong answer: there are no figures then.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(&str)) -> Result<Outcome, BenchError> {
    allow_descriptors()?;
    let scratch = Scratch::new(&plan.dir)?;
    let echo = Echo::start(&plan.echo_program, &scratch.0)?;
    let mut contestants = Vec::new();
    for (index, spec) in plan.servers.iter().chain(&plan.ceiling).enumerate() {
        progress(&format!("preparing {}", spec.name));
        let dir = scratch.0.join(format!("server{index}"));
        let target = Target::new(spec, dir, plan.framing, plan.storage)?;
        contestants.push(Contestant::prepare(target, plan.schedule.start_count)?);
    }
    let pace = plan.schedule.pace;
    progress("reading a file");
    let reads = positional_reads(&scratch.0, pace.window)?;
    let mut rows = Vec::new();
    for &workload in &plan.workloads {
        progress(&workload.to_string());
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); contestants.len()];
        let mut limits = Vec::new();
        for round in 0..plan.schedule.round_count {
            for (contestant, samples) in contestants.iter_mut().zip(&mut samples) {
                samples.push(contestant.measure(workload, pace, round)?);
            }
            // Where commits stay in memory, the disk is no limit.
            let is_limited =
                plan.storage != StorageKind::Mapping || !matches!(workload, Workload::Commits { .. });
            if is_limited {
                limits.extend(limit(workload, pace, &echo, &scratch.0)?);
            }
        }
        let mut figures: Vec<Figure> = samples.iter().map(|samples| Figure::new(samples)).collect();
        let ceiling = plan.ceiling.as_ref().and_then(|_| figures.pop());
        rows.push(Row {
            workload: workload.to_string(),
            is_announcement: matches!(workload, Workload::Announcements { .. }),
            figures,
            ceiling,
            limit: (!limits.is_empty()).then(|| Figure::new(&limits)),
        });
    }
    let can_trace = plan.storage != StorageKind::Mapping && can_trace(&scratch.0);
    let mut servers = Vec::new();
    for (index, mut contestant) in contestants.into_iter().enumerate() {
        progress(&format!("verifying {}", contestant.target.name));
        servers.push(contestant.verify()?);
        if can_trace {
            progress(&format!("counting the syncs of {}", contestant.target.name));
            let counts = contestant.count_syncs(&plan.workloads, pace)?;
            for (row, count) in rows.iter_mut().zip(counts) {
                if let Some(figure) = row.figures.iter_mut().chain(&mut row.ceiling).nth(index) {
                    figure.syncs_each = count;
                }
            }
        }
        contestant.target.stop()?;
    }
    // Of the ceiling, neither how it starts nor its memory says anything.
    servers.truncate(plan.servers.len());
    let machine = Machine::describe(&scratch.0);
    Ok(Outcome { framing: plan.framing.name(), machine, servers, rows, reads })
}

impl Contestant {
    /// Starts the server, commits all objects, and times starts with them.
    fn prepare(mut target: Target, start_count: usize) -> Result<Self, BenchError> {
        let (mut client, first_start) = target.start()?;
        let book = commit_set(&mut client, SMALL)?;
        commit_set(&mut client, LARGE)?;
        drop(client);
        let mut starts = vec![first_start];
        if target.is_durable() {
            starts.clear();
            for _ in 0..start_count {
                target.stop()?;
                starts.push(target.start()?.1);
            }
        }
        starts.sort_unstable();
        let median = starts.get(starts.len() / 2).copied().unwrap_or_default();
        let memory_at_start = target.memory()?;
        Ok(Self { target, book, start_ms: median.as_secs_f64() * 1e3, memory_at_start })
    }

    /// One turn of this server at a workload.
    fn measure(&mut self, workload: Workload, pace: Pace, round: usize) -> Result<Sample, BenchError> {
        let (address, pid) = (self.target.address()?, self.target.pid()?);
        let part_len = self.book.len() / workload.connection_count().max(1);
        let clients = |count: usize| (0..count).map(|_| Client::connect(address));
        match workload {
            Workload::Loads { connection_count, depth, set, is_on_one_core } => {
                let mut workers = Vec::new();
                for (index, client) in clients(connection_count).enumerate() {
                    let client = client?;
                    let protocol = client.protocol();
                    let requests = Requests::new(protocol, set, seed(round, index))?;
                    let expect = Expect::Revisions(set, protocol.dialect());
                    let pipeline = Pipeline::new(client.into_stream(), requests, expect);
                    workers.push(load_worker(pipeline, depth, is_on_one_core));
                }
                let _pinned = is_on_one_core.then(|| Pinned::new(pid)).transpose()?;
                measure(workers, pace, pid)
            }
            Workload::Commits { client_count, object_count } => {
                let clients = clients(client_count).collect::<Result<Vec<_>, _>>()?;
                let workers = clients.into_iter().zip(self.book.chunks_mut(part_len));
                let workers = workers.map(|(mut client, entries)| {
                    move |window: &Window| commit_steadily(&mut client, entries, object_count, window)
                });
                measure(workers.collect(), pace, pid)
            }
            Workload::Mixture { connection_count } => {
                let clients = clients(connection_count).collect::<Result<Vec<_>, _>>()?;
                let workers = clients.into_iter().zip(self.book.chunks_mut(part_len)).enumerate();
                let workers = workers.map(|(index, (mut client, entries))| {
                    move |window: &Window| mix(&mut client, entries, seed(round, index), window)
                });
                measure(workers.collect(), pace, pid)
            }
            Workload::Announcements { listener_count } => {
                let mut listeners = Listeners::connect(address, listener_count)?;
                let mut client = Client::connect(address)?;
                let entries = &mut self.book;
                let worker =
                    |window: &Window| announce_steadily(&mut client, &mut listeners, entries, window);
                // Python's server takes so long for each that there are few of them.
                let pace = Pace { window: pace.window * ANNOUNCEMENT_WINDOWS, ..pace };
                measure(vec![worker], pace, pid)
            }
            Workload::Connects { client_count } => {
                let worker = move |window: &Window| connect_steadily(address, window);
                measure(vec![worker; client_count], pace, pid)
            }
        }
    }

    /// Syncs for each commit of the workloads that commit, with a server that is started anew for that.
    fn count_syncs(&mut self, workloads: &[Workload], pace: Pace) -> Result<Vec<Option<f64>>, BenchError> {
        let trace = SyncTrace::new(self.target.dir());
        self.target.stop()?;
        self.target.start_under(trace.words())?;
        let mut counts = Vec::new();
        for &workload in workloads {
            let object_count = match workload {
                Workload::Commits { object_count, .. } => object_count,
                // Of a server that has no longer its objects, none can be loaded.
                Workload::Mixture { .. } if self.target.is_durable() => 1,
                _ => {
                    counts.push(None);
                    continue;
                }
            };
            let stored_count = |book: &[Entry]| book.iter().map(|entry| entry.stamp).sum::<u64>();
            let (stored_before, syncs_before) = (stored_count(&self.book), trace.count()?);
            self.measure(workload, pace, 0)?;
            let commit_count = (stored_count(&self.book) - stored_before) / object_count as u64;
            let sync_count = trace.count()? - syncs_before;
            counts.push(Some(sync_count as f64 / commit_count.max(1) as f64));
        }
        Ok(counts)
    }

    /// Compares every object with what was committed last.
    fn verify(&self) -> Result<ServerFacts, BenchError> {
        let memory_at_end = self.target.memory()?;
        let mut client = Client::connect(self.target.address()?)?;
        for entry in &self.book {
            let found = client.load_entry(entry.oid, SMALL.data_len)?;
            if found != *entry {
                return Err(BenchError::Wrong(format!("{found:?} in the end, committed {entry:?}")));
            }
        }
        for oid in LARGE.oids() {
            client.load_entry(oid, LARGE.data_len)?;
        }
        Ok(ServerFacts {
            name: self.target.name.clone(),
            start_ms: self.start_ms,
            memory_at_start: self.memory_at_start,
            memory_at_end,
        })
    }
}

fn load_worker(
    pipeline: Pipeline,
    depth: usize,
    is_on_one_core: bool,
) -> impl FnOnce(&Window) -> Result<Tally, BenchError> + Send {
    move |window| {
        if is_on_one_core {
            pin_this_thread()?;
        }
        pipeline.run(depth, window)
    }
}

/// One turn of the machine itself.
fn limit(workload: Workload, pace: Pace, echo: &Echo, dir: &Path) -> Result<Option<Sample>, BenchError> {
    let (address, pid) = (echo.address, echo.process.id());
    let sample = match workload {
        Workload::Loads { connection_count, depth, set, is_on_one_core } => {
            let protocol = zeo_codec::handshake::Protocol::Z5;
            let reply_len = reply_frame_len(protocol, set)?;
            let mut workers = Vec::new();
            for index in 0..connection_count {
                let requests = Requests::new(protocol, set, seed(0, index))?;
                let stream = echo::connect(address, requests.frame_len(), reply_len)?;
                let pipeline = Pipeline::new(stream, requests, Expect::Frames(reply_len));
                workers.push(load_worker(pipeline, depth, is_on_one_core));
            }
            let _pinned = is_on_one_core.then(|| Pinned::new(pid)).transpose()?;
            measure(workers, pace, pid)?
        }
        Workload::Commits { object_count, .. } => {
            let worker = |window: &Window| append_steadily(dir, object_count, window);
            measure(vec![worker], pace, std::process::id())?
        }
        Workload::Connects { client_count } => {
            let worker = move |window: &Window| connect_barely(address, window);
            measure(vec![worker; client_count], pace, pid)?
        }
        Workload::Mixture { .. } | Workload::Announcements { .. } => return Ok(None),
    };
    Ok(Some(sample))
}

/// Different for each worker and round, the same for each server.
fn seed(round: usize, index: usize) -> u64 {
    (round * 1_000 + index) as u64
}

/// The echo server.
pub(super) struct Echo {
    process: Process,
    pub(super) address: SocketAddr,
}

impl Echo {
    pub(super) fn start(program: &Path, dir: &Path) -> Result<Self, BenchError> {
        let port = free_port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let words = [program.into(), OsString::from(ECHO_COMMAND), port.to_string().into()];
        let dir = dir.join("echo");
        fs::create_dir_all(&dir)?;
        let is_ready = || TcpStream::connect(address).ok();
        let (process, _, _) = launch("echo server", words.into_iter(), &dir, is_ready)?;
        Ok(Self { process, address })
    }
}

/// A directory that is removed in the end.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(dir: &Path) -> Result<Self, BenchError> {
        fs::create_dir_all(dir)?;
        Ok(Self(dir.canonicalize()?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed lies below the build's directory and hurts nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
