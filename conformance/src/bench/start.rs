//! How a server starts that has many objects: until its first load is answered, and how much memory its index takes.
//!
//! All servers get the same file, committed through ours. With a good index file beside it a start should not depend on its
//! length; without one it has to be read once, and a plain read of the same file, moments before, tells how fast that can be:
//! from the system's page cache, and from the disk after the system has been told to forget the file.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use zeo_codec::Oid;

use super::BenchError;
use super::client::Client;
use super::data::{Entry, Random};
use super::run::Scratch;
use super::target::{ServerSpec, StorageKind, Target};
use super::usage::Machine;
use crate::config::Framing;

/// Bytes that a plain read takes at once.
const READ_LEN: usize = 1024 * 1024;

/// What to do.
#[derive(Debug, Clone)]
pub struct StartPlan {
    /// The servers.
    pub servers: Vec<ServerSpec>,
    /// Whose server makes the file.
    pub maker: ServerSpec,
    /// How messages are encoded.
    pub framing: Framing,
    /// Number of objects.
    pub object_count: u64,
    /// Bytes of each.
    pub data_len: usize,
    /// Objects of each transaction.
    pub transaction_count: u64,
    /// Starts of each kind; of times the median counts.
    pub round_count: usize,
    /// A directory for everything, removed in the end.
    pub dir: PathBuf,
}

/// In which state a server finds its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There are no objects.
    Empty,
    /// With the index that the server wrote when it ended.
    Indexed,
    /// Without index, the file being in the page cache.
    Cached,
    /// Without index, the file being on the disk only.
    OnDisk,
}

impl State {
    const ALL: [Self; 4] = [Self::Empty, Self::Indexed, Self::Cached, Self::OnDisk];

    fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty file",
            Self::Indexed => "with index",
            Self::Cached => "without index, cached",
            Self::OnDisk => "without index, from the disk",
        }
    }

    fn is_scan(self) -> bool {
        matches!(self, Self::Cached | Self::OnDisk)
    }
}

/// Starts of one server from one state.
#[derive(Debug, Clone)]
pub struct Starts {
    /// What the tables call the server.
    pub name: String,
    /// The state of the file.
    pub state: State,
    /// From the start of the process until its first load is answered (of an empty file: until it has registered a client),
    /// rising.
    pub times: Vec<Duration>,
    /// A plain read of the whole file before each start, rising.
    pub reads: Vec<Duration>,
    /// Resident memory then, in KiB: the median.
    pub resident_kib: u64,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Where it was.
    pub machine: Machine,
    /// Length of the file in bytes.
    pub file_len: u64,
    /// Number of objects in it.
    pub object_count: u64,
    /// By server and state.
    pub starts: Vec<Starts>,
}

fn median<T: Copy + Default>(sorted: &[T]) -> T {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Measures all servers, one after the other.
///
/// # Errors
/// The first failure or wrong answer: there are no figures then.
pub fn run(plan: &StartPlan, progress: &mut dyn FnMut(&str)) -> Result<Outcome, BenchError> {
    let scratch = Scratch::new(&plan.dir)?;
    progress(&format!("committing {} objects", plan.object_count));
    let made = make(plan, scratch.0.join("made"))?;
    let mut starts = Vec::new();
    for (index, spec) in plan.servers.iter().enumerate() {
        let dir = scratch.0.join(format!("start{index}"));
        let mut target = Target::new(spec, dir, plan.framing, StorageKind::File)?;
        for state in State::ALL {
            progress(&format!("{}: {}", spec.name, state.name()));
            starts.push(measure(plan, &mut target, state)?);
            if state == State::Empty {
                take_over(&made, &target.file_path())?;
                // Its own index, whoever made the file.
                target.start()?;
                target.stop()?;
            }
        }
    }
    let file_len = fs::metadata(&made)?.len();
    Ok(Outcome { machine: Machine::describe(&scratch.0), file_len, object_count: plan.object_count, starts })
}

/// Commits all objects; the path of the file.
fn make(plan: &StartPlan, dir: PathBuf) -> Result<PathBuf, BenchError> {
    let mut target = Target::new(&plan.maker, dir, plan.framing, StorageKind::File)?;
    let (mut client, _) = target.start()?;
    let mut next = 1;
    while next <= plan.object_count {
        let end = plan.object_count.min(next + plan.transaction_count.max(1) - 1);
        let mut entries: Vec<Entry> = (next..=end).map(|oid| Entry::new(Oid::from_u64(oid))).collect();
        client.commit(&mut entries, plan.data_len)?;
        next = end + 1;
    }
    drop(client);
    target.stop()?;
    Ok(target.file_path())
}

/// Where the index of a data file is.
fn index_path(file: &Path) -> PathBuf {
    file.with_added_extension("index")
}

fn remove_index(file: &Path) -> Result<(), BenchError> {
    match fs::remove_file(index_path(file)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Puts the file that was made in the place of a server's empty one. Nobody writes to it any more, so all have the same.
fn take_over(made: &Path, file: &Path) -> Result<(), BenchError> {
    remove_index(file)?;
    fs::remove_file(file)?;
    Ok(fs::hard_link(made, file)?)
}

fn measure(plan: &StartPlan, target: &mut Target, state: State) -> Result<Starts, BenchError> {
    let file = target.file_path();
    let (mut times, mut reads, mut resident) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.round_count.max(1) {
        if state.is_scan() {
            remove_index(&file)?;
            forget_if(state, &file)?;
            // Of a cached file the second read counts.
            if state == State::Cached {
                read_plainly(&file)?;
            }
            reads.push(read_plainly(&file)?);
            forget_if(state, &file)?;
        }
        let began = Instant::now();
        let (mut client, _) = target.start()?;
        if state != State::Empty {
            first_load(plan, &mut client, round)?;
        }
        times.push(began.elapsed());
        resident.push(target.memory()?.resident_kib);
        drop(client);
        target.stop()?;
    }
    times.sort_unstable();
    reads.sort_unstable();
    resident.sort_unstable();
    Ok(Starts { name: target.name.clone(), state, times, reads, resident_kib: median(&resident) })
}

/// Loads any object, and compares it.
fn first_load(plan: &StartPlan, client: &mut Client, round: usize) -> Result<(), BenchError> {
    let oid = Oid::from_u64(1 + Random::new(round as u64).below(plan.object_count));
    client.load_entry(oid, plan.data_len)?;
    Ok(())
}

fn read_plainly(path: &Path) -> Result<Duration, BenchError> {
    let mut buffer = vec![0; READ_LEN];
    let mut file = File::open(path)?;
    let began = Instant::now();
    while file.read(&mut buffer)? > 0 {}
    Ok(began.elapsed())
}

/// Has the system forget what it holds of a file that is to be read from the disk.
fn forget_if(state: State, path: &Path) -> Result<(), BenchError> {
    if state == State::OnDisk {
        let file = File::open(path)?;
        // What has not been written cannot be forgotten.
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed).map_err(std::io::Error::from)?;
    }
    Ok(())
}

/// The table.
#[must_use]
pub fn markdown(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, outcome);
    text
}

fn write_all(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let Outcome { machine, file_len, object_count, starts } = outcome;
    writeln!(
        text,
        "{}, {} cores, {} MiB, Linux {}, {}. {object_count} objects in a file of {} MB.\n",
        machine.cpu,
        machine.core_count,
        machine.memory_mib,
        machine.kernel,
        machine.file_system,
        file_len / 1_000_000,
    )?;
    writeln!(
        text,
        "| server | start | ms until the first load: fastest, median | MB/s | plain read, MB/s | share | resident, MiB | \
         bytes for each object |\n| --- | --- |{}",
        " ---: |".repeat(6)
    )?;
    for Starts { name, state, times, reads, resident_kib } in starts {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let rate = |time: Duration| *file_len as f64 / 1e6 / time.as_secs_f64();
        let fastest = times.first().copied().unwrap_or_default();
        let middle = median(times);
        write!(text, "| {name} | {} | {:.1}, {:.1} |", state.name(), ms(fastest), ms(middle))?;
        match state.is_scan() {
            true => {
                let plain = median(reads);
                let share = plain.as_secs_f64() / middle.as_secs_f64();
                write!(text, " {:.0} | {:.0} | {:.0}% |", rate(middle), rate(plain), 100.0 * share)?;
            }
            false => write!(text, " | | |")?,
        }
        write!(text, " {:.1} |", *resident_kib as f64 / 1024.0)?;
        let empty = starts.iter().find(|other| other.name == *name && other.state == State::Empty);
        match empty {
            Some(empty) if *state != State::Empty => {
                let bytes = resident_kib.saturating_sub(empty.resident_kib) * 1024;
                writeln!(text, " {:.1} |", bytes as f64 / *object_count as f64)?;
            }
            _ => writeln!(text, " |")?,
        }
    }
    Ok(())
}
