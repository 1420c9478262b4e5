//! What a pack costs those who go on reading and committing meanwhile: the same clients at the same work, first on a
//! server that does nothing else, then until a pack has ended.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zeo_codec::Oid;

use super::BenchError;
use super::client::Client;
use super::data::{Entry, Random};
use super::run::Scratch;
use super::target::{ServerSpec, StorageKind, Target};
use super::window::Tally;
use crate::config::Framing;
use crate::stress::data::{record_of, root_of};
use crate::stress::record::Value;

/// Objects of one transaction of the preparation.
const PREPARE_COUNT: usize = 1_000;
/// Objects that are committed, one in each transaction.
const COMMITTED_COUNT: u64 = 100;

/// What to do.
#[derive(Debug, Clone)]
pub struct PackPlan {
    /// The servers.
    pub servers: Vec<ServerSpec>,
    /// How messages are encoded.
    pub framing: Framing,
    /// Number of objects.
    pub object_count: u64,
    /// Revisions of each, of which the pack leaves one.
    pub revision_count: u64,
    /// Connections that load random objects, one load at a time each.
    pub reader_count: usize,
    /// How long the idle server is measured.
    pub idle: Duration,
    /// A directory for everything, removed in the end.
    pub dir: PathBuf,
}

/// What was found about a server.
#[derive(Debug)]
pub struct PackFigures {
    /// What the tables call it.
    pub name: String,
    /// Length of the file before and after the pack, in bytes.
    pub file_len: (u64, u64),
    /// On the idle server.
    pub idle: Work,
    /// During the pack.
    pub packing: Work,
}

/// What the clients did in one phase.
#[derive(Debug, Default)]
pub struct Work {
    /// How long the phase was.
    pub elapsed: Duration,
    /// Loads.
    pub loads: Tally,
    /// Commits.
    pub commits: Tally,
    /// The longest time between the ends of two commits that follow each other.
    pub longest_gap: Duration,
}

/// Measures all servers, one after the other.
///
/// # Errors
/// The first failure or wrong answer: there are no figures then.
pub fn run(plan: &PackPlan, progress: &mut dyn FnMut(&str)) -> Result<Vec<PackFigures>, BenchError> {
    let scratch = Scratch::new(&plan.dir)?;
    let mut figures = Vec::new();
    for (index, spec) in plan.servers.iter().enumerate() {
        let dir = scratch.0.join(format!("pack{index}"));
        let result = measure(plan, spec, dir.clone(), progress);
        // What cannot be removed lies below the build's directory and hurts nobody.
        let _ = fs::remove_dir_all(&dir);
        figures.push(result?);
    }
    Ok(figures)
}

fn measure(
    plan: &PackPlan,
    spec: &ServerSpec,
    dir: PathBuf,
    progress: &mut dyn FnMut(&str),
) -> Result<PackFigures, BenchError> {
    progress(&format!("{}: preparing", spec.name));
    let mut target = Target::new(spec, dir, plan.framing, StorageKind::File)?;
    let (mut client, _) = target.start()?;
    let committed = prepare(plan, &mut client)?;
    let path = target.file_path();
    let old_len = fs::metadata(&path)?.len();

    let phase = AtomicU8::new(IDLE);
    let address = target.address()?;
    let (mut works, times) = std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for seed in 0..plan.reader_count {
            let (reader, phase) = (Client::connect(address)?, &phase);
            readers.push(scope.spawn(move || read(reader, plan.object_count, seed as u64, phase)));
        }
        let committer = Client::connect(address)?;
        let committer = scope.spawn(|| commit(committer, committed, &phase));
        progress(&format!("{}: idle", spec.name));
        let began = Instant::now();
        std::thread::sleep(plan.idle);
        progress(&format!("{}: packing", spec.name));
        let pack_began = Instant::now();
        phase.store(PACKING, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let packed = client.pack(now.as_secs_f64());
        let pack_ended = Instant::now();
        phase.store(OVER, Ordering::Relaxed);
        let panicked = |_| BenchError::Missing("a worker panicked".to_owned());
        let mut works = committer.join().map_err(panicked)??;
        for reader in readers {
            for (work, loads) in works.iter_mut().zip(reader.join().map_err(panicked)??) {
                work.loads.merge(&loads);
            }
        }
        packed?;
        Ok::<_, BenchError>((works, [pack_began - began, pack_ended - pack_began]))
    })?;
    for (work, elapsed) in works.iter_mut().zip(times) {
        work.elapsed = elapsed;
    }
    let new_len = fs::metadata(&path)?.len();
    drop(client);
    target.stop()?;
    let [idle, packing] = works;
    Ok(PackFigures { name: spec.name.clone(), file_len: (old_len, new_len), idle, packing })
}

const IDLE: u8 = 0;
const PACKING: u8 = 1;
const OVER: u8 = 2;

/// Commits the root, and all revisions of all objects; returns those that go on to be committed.
fn prepare(plan: &PackPlan, client: &mut Client) -> Result<Vec<Entry>, BenchError> {
    let oids = || (1..=plan.object_count).map(Oid::from_u64);
    client.commit_records(&mut [Entry::new(Oid::ZERO)], |_, _| root_of(oids()))?;
    let mut entries: Vec<Entry> = oids().map(Entry::new).collect();
    for _ in 0..plan.revision_count {
        for entries in entries.chunks_mut(PREPARE_COUNT) {
            client.commit_records(entries, record)?;
        }
    }
    entries.truncate(usize::try_from(COMMITTED_COUNT).unwrap_or_default());
    Ok(entries)
}

fn record(oid: Oid, stamp: u64) -> Vec<u8> {
    record_of(Value(oid.to_u64() << 24 | stamp))
}

/// Loads random objects until the pack is over.
fn read(
    mut client: Client,
    object_count: u64,
    seed: u64,
    phase: &AtomicU8,
) -> Result<[Tally; 2], BenchError> {
    let mut tallies = [Tally::new(), Tally::new()];
    let mut random = Random::new(seed);
    loop {
        let oid = Oid::from_u64(1 + random.below(object_count));
        let began = Instant::now();
        client.load(oid)?;
        let taken = began.elapsed();
        match tallies.get_mut(usize::from(phase.load(Ordering::Relaxed))) {
            Some(tally) => tally.add(1, taken),
            None => return Ok(tallies),
        }
    }
}

/// Commits one object after the other until the pack is over.
fn commit(mut client: Client, mut entries: Vec<Entry>, phase: &AtomicU8) -> Result<[Work; 2], BenchError> {
    let mut works = [Work::default(), Work::default()];
    let mut last_end = Instant::now();
    loop {
        for entry in &mut entries {
            let began = Instant::now();
            client.commit_records(std::slice::from_mut(entry), record)?;
            let end = Instant::now();
            let Some(work) = works.get_mut(usize::from(phase.load(Ordering::Relaxed))) else {
                return Ok(works);
            };
            work.commits.add(1, end - began);
            work.longest_gap = work.longest_gap.max(end - last_end);
            last_end = end;
        }
    }
}

/// The tables' rows in Markdown.
#[must_use]
pub fn markdown(figures: &[PackFigures]) -> String {
    let mut text = String::from(
        "| server | | seconds | loads/s | load p50 ms | load p99 ms | load max ms | commits/s | commit p99 ms \
         | longest commit gap ms |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for server in figures {
        for (phase, work) in [("idle", &server.idle), ("packing", &server.packing)] {
            let seconds = work.elapsed.as_secs_f64();
            let rate = |tally: &Tally| {
                // Counts are far below 2^53.
                #[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
                let count = tally.op_count as f64;
                count / seconds.max(1e-9)
            };
            let ms = |tally: &Tally, quantile| {
                Duration::from_nanos(tally.latency_ns.value_at_quantile(quantile)).as_secs_f64() * 1e3
            };
            text += &format!(
                "| {} | {phase} | {seconds:.2} | {:.0} | {:.3} | {:.3} | {:.2} | {:.0} | {:.2} | {:.1} |\n",
                server.name,
                rate(&work.loads),
                ms(&work.loads, 0.5),
                ms(&work.loads, 0.99),
                ms(&work.loads, 1.0),
                rate(&work.commits),
                ms(&work.commits, 0.99),
                work.longest_gap.as_secs_f64() * 1e3,
            );
        }
    }
    for server in figures {
        let (old_len, new_len) = server.file_len;
        text += &format!("\n{}: from {} to {} MB", server.name, old_len >> 20, new_len >> 20);
    }
    text
}
