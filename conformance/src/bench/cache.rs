//! Cache files, ours and Python's: what a hit costs, and how much memory an object.
//!
//! Both are filled with the same objects, and then read in turns. Before the file is full nothing is moved in it; in a
//! full one what is read and has fallen far behind is written again, which drops other objects.

use std::fmt::Write as _;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zeo_client::cache::{Cache as _, FileCache, Revision};
use zeo_codec::{Oid, Tid};

use super::BenchError;
use super::data::Random;
use super::usage::{Machine, memory, own_cpu_time};
use crate::peers::Peer;
use crate::script::Script;

/// One of so many hits is compared.
const CHECK_INTERVAL: usize = 509;
/// Objects that Python stores without an answer: it is not waited for without end.
const FILL_COUNT: u64 = 500_000;
/// The revision that all objects have.
const SERIAL: Tid = Tid::from_u64(1);
/// What a record takes in the file beside its data (protocol reference 16).
const OVERHEAD: u64 = 43;

/// What to do.
#[derive(Debug, Clone)]
pub struct CachePlan {
    /// Of the cache, in bytes.
    pub size: u64,
    /// Of the objects, in bytes; a multiple of eight. One size for each process: what one cache has left to the allocator
    /// would count for the next one.
    pub data_len: u64,
    /// Turns that each cache has.
    pub round_count: usize,
    /// Loads of a turn.
    pub load_count: usize,
    /// Where the files go; it is not removed.
    pub dir: PathBuf,
    /// Whose Python has the other cache.
    pub python: Peer,
}

/// What was found of one cache.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Objects in it.
    pub object_count: u64,
    /// Resident memory for each, in bytes.
    pub memory: f64,
    /// Time for storing one, in microseconds.
    pub store_us: f64,
    /// Time for a load in each round, in microseconds, rising.
    pub load_us: Vec<f64>,
    /// Processor time for a load, in microseconds.
    pub cpu_us: f64,
    /// Of all loads.
    pub hit_share: f64,
}

/// The same objects in both caches.
#[derive(Debug, Clone)]
pub struct Row {
    /// Length of each, in bytes.
    pub data_len: u64,
    /// Whether there were more than have room.
    pub is_full: bool,
    /// Python's.
    pub python: Figures,
    /// Ours.
    pub ours: Figures,
    /// Reading as many bytes at a random place of the file, in microseconds: the fastest round.
    pub read_us: f64,
}

/// A number of loads.
#[derive(Debug, Clone, Copy)]
struct Loads {
    time: Duration,
    cpu: Duration,
    hit_count: u64,
}

/// A cache that is measured.
trait Contestant {
    fn pid(&self) -> u32;
    /// Stores these objects; how long that took, and how many objects there are now.
    fn fill(&mut self, oids: Range<u64>, data_len: u64) -> Result<(Duration, u64), BenchError>;
    /// Loads random ones of these.
    fn load(&mut self, oids: Range<u64>, data_len: u64, count: usize) -> Result<Loads, BenchError>;
}

struct Ours {
    cache: FileCache,
    path: PathBuf,
    random: Random,
}

/// The data of an object: its oid again and again.
fn data_of(oid: Oid, data_len: u64) -> Vec<u8> {
    oid.as_bytes().repeat(usize::try_from(data_len / 8).unwrap_or_default())
}

/// Reads as much as a record takes, as often, anywhere in the file.
fn read_barely(path: &Path, data_len: u64, count: usize) -> Result<Duration, BenchError> {
    let file = File::open(path)?;
    let len = data_len + OVERHEAD;
    let mut buffer = vec![0; usize::try_from(len).unwrap_or_default()];
    let (room, mut random) = (file.metadata()?.len().saturating_sub(len), Random::new(9));
    let began = Instant::now();
    for _ in 0..count {
        file.read_exact_at(&mut buffer, random.below(room))?;
    }
    Ok(began.elapsed())
}

impl Contestant for Ours {
    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn fill(&mut self, oids: Range<u64>, data_len: u64) -> Result<(Duration, u64), BenchError> {
        let began = Instant::now();
        for oid in oids.map(Oid::from_u64) {
            let revision = Revision { data: data_of(oid, data_len).into(), serial: SERIAL, end: None };
            self.cache.store(oid, &revision)?;
        }
        let time = began.elapsed();
        // What is to be written is not written meanwhile.
        File::open(&self.path)?.sync_all()?;
        Ok((time, self.cache.len() as u64))
    }

    fn load(&mut self, oids: Range<u64>, data_len: u64, count: usize) -> Result<Loads, BenchError> {
        let len = oids.end - oids.start;
        let chosen: Vec<_> = (0..count).map(|_| Oid::from_u64(oids.start + self.random.below(len))).collect();
        let mut hit_count = 0;
        let (began, cpu) = (Instant::now(), own_cpu_time());
        for (number, &oid) in chosen.iter().enumerate() {
            let Some(found) = self.cache.load_before(oid, Tid::MAX)? else { continue };
            hit_count += 1;
            if number.is_multiple_of(CHECK_INTERVAL)
                && (found.data != data_of(oid, data_len) || found.serial != SERIAL || found.end.is_some())
            {
                return Err(BenchError::Wrong(format!("the cache has something else for {oid}")));
            }
        }
        Ok(Loads { time: began.elapsed(), cpu: own_cpu_time().saturating_sub(cpu), hit_count })
    }
}

struct Theirs<'s>(&'s mut Script);

impl Theirs<'_> {
    fn ask(&mut self, what: &Value) -> Result<Value, BenchError> {
        self.0.tell(&what.to_string())?;
        let step = what.get(0).and_then(Value::as_str).unwrap_or_default();
        Ok(self.0.expect_step(step)?)
    }
}

fn seconds(said: &Value, name: &str) -> Duration {
    Duration::from_secs_f64(said.get(name).and_then(Value::as_f64).unwrap_or_default())
}

fn count(said: &Value, name: &str) -> u64 {
    said.get(name).and_then(Value::as_u64).unwrap_or_default()
}

impl Contestant for Theirs<'_> {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn fill(&mut self, oids: Range<u64>, data_len: u64) -> Result<(Duration, u64), BenchError> {
        let (mut time, mut object_count, mut next) = (Duration::ZERO, 0, oids.start);
        while next < oids.end {
            let behind = oids.end.min(next + FILL_COUNT);
            let said = self.ask(&json!(["fill", next, behind, data_len]))?;
            time += seconds(&said, "seconds");
            object_count = count(&said, "count");
            next = behind;
        }
        Ok((time, object_count))
    }

    fn load(&mut self, oids: Range<u64>, data_len: u64, load_count: usize) -> Result<Loads, BenchError> {
        let said = self.ask(&json!(["hits", oids.start, oids.end, data_len, load_count]))?;
        Ok(Loads {
            time: seconds(&said, "seconds"),
            cpu: seconds(&said, "cpu"),
            hit_count: count(&said, "hits"),
        })
    }
}

/// Measures both; `progress` is told what is being done.
///
/// # Errors
/// What the disk or Python says, and a wrong answer.
pub fn run(plan: &CachePlan, progress: &mut dyn FnMut(&str)) -> Result<Vec<Row>, BenchError> {
    let mut script = Script::start::<&str>(&plan.python, "cache_speed", "cache_speed", &[], &plan.dir)?;
    script.expect_step("ready")?;
    let rows = rows_of(plan, &mut script, progress)?;
    script.tell(&json!(["end"]).to_string())?;
    script.finish()?;
    Ok(rows)
}

fn rows_of(
    plan: &CachePlan,
    script: &mut Script,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Row>, BenchError> {
    let data_len = plan.data_len;
    let (their_path, path) = (plan.dir.join("python.zec"), plan.dir.join("ours.zec"));
    let before = [script.id(), std::process::id()].map(memory);
    let mut theirs = Theirs(script);
    theirs.ask(&json!(["open", their_path, plan.size]))?;
    let mut ours =
        Ours { cache: FileCache::open(&path, plan.size)?, path: path.clone(), random: Random::new(7) };
    let room = plan.size / (data_len + OVERHEAD);
    let mut rows: Vec<Row> = Vec::new();
    // Three quarters of it, and then a tenth more than it holds.
    for (stored, behind) in [(0, room * 3 / 4), (room * 3 / 4, room * 11 / 10)] {
        let is_full = behind > room;
        let present = behind.saturating_sub(room)..behind;
        let mut all = [Figures::default(), Figures::default()];
        let contestants: [&mut dyn Contestant; 2] = [&mut theirs, &mut ours];
        for ((contestant, figures), before) in contestants.into_iter().zip(&mut all).zip(&before) {
            progress(&format!("{} objects of {data_len} bytes", behind - stored));
            let (time, object_count) = contestant.fill(stored..behind, data_len)?;
            let before = before.as_ref().map_or(0, |memory| memory.resident_kib);
            let taken = memory(contestant.pid())?.resident_kib.saturating_sub(before) * 1024;
            figures.object_count = object_count;
            figures.memory = taken as f64 / object_count as f64;
            figures.store_us = time.as_secs_f64() * 1e6 / (behind - stored) as f64;
        }
        let (mut cpu, mut hit_count, mut read_us) = ([Duration::ZERO; 2], [0; 2], f64::MAX);
        for round in 0..plan.round_count {
            progress(&format!("loads, round {}", round + 1));
            let contestants: [&mut dyn Contestant; 2] = [&mut theirs, &mut ours];
            let sums = cpu.iter_mut().zip(&mut hit_count);
            for ((contestant, figures), (cpu, hit_count)) in contestants.into_iter().zip(&mut all).zip(sums) {
                let loads = contestant.load(present.clone(), data_len, plan.load_count)?;
                figures.load_us.push(loads.time.as_secs_f64() * 1e6 / plan.load_count as f64);
                *cpu += loads.cpu;
                *hit_count += loads.hit_count;
            }
            let read = read_barely(&path, data_len, plan.load_count)?;
            read_us = read_us.min(read.as_secs_f64() * 1e6 / plan.load_count as f64);
        }
        let load_count = (plan.round_count * plan.load_count) as f64;
        for ((figures, cpu), hit_count) in all.iter_mut().zip(cpu).zip(hit_count) {
            figures.load_us.sort_by(f64::total_cmp);
            figures.cpu_us = cpu.as_secs_f64() * 1e6 / load_count;
            figures.hit_share = hit_count as f64 / load_count;
        }
        let [python, ours] = all;
        rows.push(Row { data_len, is_full, python, ours, read_us });
    }
    theirs.ask(&json!(["close"]))?;
    drop(ours);
    for path in [their_path, path] {
        std::fs::remove_file(path)?;
    }
    Ok(rows)
}

impl Figures {
    fn fastest(&self) -> f64 {
        self.load_us.first().copied().unwrap_or_default()
    }

    fn slowest(&self) -> f64 {
        self.load_us.last().copied().unwrap_or_default()
    }
}

/// Two tables.
#[must_use]
pub fn markdown(plan: &CachePlan, rows: &[Row], dir: &Path) -> String {
    let machine = Machine::describe(dir);
    let mut text = format!(
        "{}, {} cores, {} MiB, Linux {}, {}. A cache of {} bytes; {} rounds of {} loads.\n\n",
        machine.cpu,
        machine.core_count,
        machine.memory_mib,
        machine.kernel,
        machine.file_system,
        plan.size,
        plan.round_count,
        plan.load_count
    );
    text += "| objects | cache | µs a load, fastest round: Python | ours | times as fast | ours, slowest round | \
             ours, CPU µs | a bare read | hits: Python | ours |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for row in rows {
        let Row { python, ours, .. } = row;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} B | {} | {:.2} | {:.2} | **{:.1}** | {:.2} | {:.2} | {:.2} | {:.1}% | {:.1}% |",
            row.data_len,
            fullness(row),
            python.fastest(),
            ours.fastest(),
            python.fastest() / ours.fastest(),
            ours.slowest(),
            ours.cpu_us,
            row.read_us,
            python.hit_share * 100.0,
            ours.hit_share * 100.0,
        );
    }
    text += "\n| objects | cache | how many: Python | ours | bytes of memory for each: Python | ours | \
             µs a store: Python | ours |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for row in rows {
        let Row { python, ours, .. } = row;
        let _ = writeln!(
            text,
            "| {} B | {} | {} | {} | {:.1} | {:.1} | {:.2} | {:.2} |",
            row.data_len,
            fullness(row),
            python.object_count,
            ours.object_count,
            python.memory,
            ours.memory,
            python.store_us,
            ours.store_us,
        );
    }
    text
}

fn fullness(row: &Row) -> &'static str {
    if row.is_full { "full" } else { "three quarters full" }
}
