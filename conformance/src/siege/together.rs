//! All strangers at once, for as long as is wanted, and what becomes of a client that loads and commits meanwhile.
//!
//! The server is measured twice with that client: alone, and under siege. When the strangers have gone it must have
//! given back what they took (`guarantees.md` 2, points 8 to 13, 16).

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zeo_codec::call::{LoadBefore, Storea, TransactionRef, TxnId};
use zeo_codec::{Call, Method, Oid, Tid};

use super::kinds::{Bout, KINDS, Kind, LARGE, LARGE_LEN};
use super::{SiegeError, guests};
use crate::bench::usage::{descriptor_count, memory};
use crate::config::{Framing, ServerConfig, blob_dir, file_section};
use crate::process::poll_until;
use crate::server::{Server, ServerCommand};
use crate::stress::connection::Connection;
use crate::stress::record::Serials;

/// Each limit that strangers are to meet, within seconds.
const KEYS: &str = "  handshake-timeout 2s\n  transaction-timeout 2\n  <limits>\n    read-timeout 5s\n    \
                    lock-holder-read-timeout 2s\n  </limits>\n";
/// How much more memory than before the server may keep.
const KEPT_KIB_MAX: u64 = 32 * 1024;
/// How much longer those who behave may have to wait.
const SLOWER_MAX: u32 = 3;
/// How long the server may take to be rid of everything.
const PATIENCE: Duration = Duration::from_secs(30);
/// Loads of the one who behaves, for each of its commits.
const LOADS_PER_COMMIT: u64 = 20;
/// There is nothing behind it.
const NICE_MAX: i32 = 19;
/// Between two of its calls: a client of its kind does something with what it gets.
const REST: Duration = Duration::from_millis(1);

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server: its words with `{config}` in them.
    pub server: ServerCommand,
    /// Where its files go.
    pub dir: PathBuf,
    /// How long the client is alone.
    pub alone: Duration,
    /// How long the siege lasts.
    pub siege: Duration,
    /// Only strangers whose description contains one of these; all of them if there is none.
    pub only: Vec<String>,
}

impl Plan {
    /// Who comes.
    ///
    /// # Errors
    /// If nobody is called so.
    fn kinds(&self) -> Result<Vec<&'static Kind>, SiegeError> {
        let is_chosen = |kind: &&Kind| self.only.iter().any(|text| kind.name.contains(text.as_str()));
        let chosen: Vec<_> = KINDS.iter().filter(|kind| self.only.is_empty() || is_chosen(kind)).collect();
        if chosen.is_empty() {
            let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
            return Err(SiegeError::Nobody(self.only.join(", "), names.join("; ")));
        }
        Ok(chosen)
    }
}

/// What one who behaves has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// For objects.
    pub loads: guests::Latency,
    /// From `tpc_begin` to the reply of `tpc_finish`.
    pub commits: guests::Latency,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the client had to wait while it was alone, and under siege.
    pub waits: [Waits; 2],
    /// Resident memory before, at the most meanwhile, and afterwards, in KiB.
    pub resident_kib: [u64; 3],
    /// Descriptors before, at the most meanwhile, and afterwards.
    pub descriptors: [usize; 3],
    /// Bouts of each kind of stranger, and those that the server broke off or refused.
    pub bouts: Vec<(&'static str, u64, u64)>,
}

impl Outcome {
    /// What the server kept, or who never came: this does not depend on what else the machine does.
    #[must_use]
    pub fn kept(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let [before, _, after] = self.resident_kib;
        if after > before + KEPT_KIB_MAX {
            findings.push(format!("{} MiB of memory are left", (after - before) / 1024));
        }
        let [before, _, after] = self.descriptors;
        if after > before {
            findings.push(format!("{} descriptors are left", after - before));
        }
        for (name, count, _) in self.bouts.iter().filter(|(_, count, _)| *count == 0) {
            findings.push(format!("{count} strangers who {name}"));
        }
        findings
    }

    /// What is not as it should be, waits included.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        let mut findings = self.kept();
        let [alone, meanwhile] = self.waits;
        let both = [("loads", alone.loads, meanwhile.loads), ("commits", alone.commits, meanwhile.commits)];
        for (what, alone, meanwhile) in both {
            if meanwhile.p99 > alone.p99 * SLOWER_MAX {
                findings.push(format!(
                    "the p99 of {what} is {:.1} times that without strangers",
                    meanwhile.p99.as_secs_f64() / alone.p99.as_secs_f64()
                ));
            }
        }
        findings
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count, refused) in &self.bouts {
            writeln!(f, "{count:>8} strangers who {name}; {refused} bouts cut short by the server")?;
        }
        for (when, Waits { loads, commits }) in ["alone", "under siege"].into_iter().zip(&self.waits) {
            writeln!(f, "{when}: p50 and p99 of loads {loads}, of commits {commits}")?;
        }
        let [before, most, after] = self.resident_kib.map(|kib| kib / 1024);
        writeln!(f, "memory: {before} MiB before, {most} at the most, {after} afterwards")?;
        let [before, most, after] = self.descriptors;
        write!(f, "descriptors: {before} before, {most} at the most, {after} afterwards")
    }
}

/// Besieges a server.
///
/// # Errors
/// If the server cannot be run, or does not serve the client that behaves; slowness is no error.
pub fn run(plan: &Plan) -> Result<Outcome, SiegeError> {
    let kinds = plan.kinds()?;
    let data = plan.dir.join("Data.fs");
    let config = ServerConfig {
        storage_section: Some(file_section("1", &data, &blob_dir(&plan.dir.join("blobs")))),
        keys: KEYS.to_owned(),
        ..ServerConfig::new(Framing::Pickle, data)
    };
    let server = Server::start("besieged", &plan.server, &config, &plan.dir)?;
    let address = server.address();
    set_up(address)?;
    let alone = behave(address, plan.alone)?;
    let resident_kib = memory(server.id())?.resident_kib;
    // That client's connection may not be over yet.
    let mut descriptors = descriptor_count(server.id())?;
    poll_until(Duration::from_secs(1), || {
        descriptors = descriptor_count(server.id()).ok()?.min(descriptors);
        None::<()>
    });

    let is_over = AtomicBool::new(false);
    let counts: Vec<_> = kinds.iter().map(|_| (AtomicU64::new(0), AtomicU64::new(0))).collect();
    let (meanwhile, most) = std::thread::scope(|scope| {
        for (kind, counts) in kinds.iter().zip(&counts) {
            let is_over = &is_over;
            scope.spawn(move || besiege(kind, address, is_over, counts));
        }
        let watching = scope.spawn(|| watch(server.id(), &is_over));
        let meanwhile = behave(address, plan.siege);
        is_over.store(true, Ordering::Relaxed);
        let most = watching.join().map_err(|_| SiegeError::Panicked)?;
        Ok::<_, SiegeError>((meanwhile?, most?))
    })?;

    let mut left = (memory(server.id())?.resident_kib, descriptor_count(server.id())?);
    poll_until(PATIENCE, || {
        left = (memory(server.id()).ok()?.resident_kib, descriptor_count(server.id()).ok()?);
        (left.0 <= resident_kib + KEPT_KIB_MAX && left.1 <= descriptors).then_some(())
    });
    // Newcomers are served as before.
    behave(address, Duration::ZERO)?;
    server.stop()?;
    let bouts = kinds.iter().zip(&counts).map(|(kind, (count, refused))| {
        (kind.name, count.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
    });
    Ok(Outcome {
        waits: [alone, meanwhile],
        resident_kib: [resident_kib, most.0, left.0],
        descriptors: [descriptors, most.1, left.1],
        bouts: bouts.collect(),
    })
}

/// The objects that are loaded.
fn set_up(address: SocketAddr) -> Result<(), SiegeError> {
    guests::set_up(address)?;
    let mut connection = Connection::open(address, None, Serials::new())?;
    let id = TxnId(1);
    connection.send(&guests::begin(id))?;
    let data = vec![b'x'; LARGE_LEN].into();
    connection.send(&Call::Storea(Storea { oid: LARGE, serial: Tid::ZERO, data, id }))?;
    connection.call(&Call::Transaction(Method::Vote, TransactionRef { id }))?;
    connection.call(&Call::Transaction(Method::TpcFinish, TransactionRef { id }))?;
    Ok(())
}

/// Sends one kind of strangers until the siege is over.
fn besiege(
    kind: &Kind,
    address: SocketAddr,
    is_over: &AtomicBool,
    (count, refused): &(AtomicU64, AtomicU64),
) {
    // On another machine they would not take the processors of those who behave.
    step_back();
    let interval = Duration::from_secs(1).checked_div(kind.rate).unwrap_or_default();
    let mut kept = VecDeque::new();
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let number = count.fetch_add(1, Ordering::Relaxed);
        // The server defends itself as it likes.
        if (kind.act)(&Bout { address, number }, &mut kept).is_err() {
            refused.fetch_add(1, Ordering::Relaxed);
        }
        while kept.len() > kind.kept_max {
            kept.pop_front();
        }
        std::thread::sleep(interval.saturating_sub(began.elapsed()));
    }
}

/// This thread goes behind all others, as far as one can. If it may not, the figures are worse than they need to be.
fn step_back() {
    let _ = rustix::process::setpriority_process(None, NICE_MAX);
}

/// The most memory and descriptors that the server takes.
fn watch(pid: u32, is_over: &AtomicBool) -> std::io::Result<(u64, usize)> {
    let mut most = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        most = (memory(pid)?.resident_kib.max(most.0), descriptor_count(pid)?.max(most.1));
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(most)
}

/// Loads and commits for this time, once at least.
fn behave(address: SocketAddr, time: Duration) -> Result<Waits, SiegeError> {
    let end = Instant::now() + time;
    let mut connection = Connection::open(address, None, Serials::new())?;
    let (mut loads, mut commits) = (guests::histogram()?, guests::histogram()?);
    let micros = |since: Instant| u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    for number in 0.. {
        if number % (LOADS_PER_COMMIT + 1) == LOADS_PER_COMMIT {
            let oid = Oid::from_u64(number % guests::OBJECT_COUNT);
            // Its serial.
            connection.call(&Call::LoadBefore(LoadBefore { oid, before: Tid::MAX }))?;
            let since = Instant::now();
            let tid = guests::commit(&mut connection, number, std::iter::once(oid))?;
            commits.saturating_record(micros(since));
            connection.serials.insert(oid, tid);
        } else {
            let oid = Oid::from_u64(number % guests::OBJECT_COUNT);
            let since = Instant::now();
            connection.call(&Call::LoadBefore(LoadBefore { oid, before: Tid::MAX }))?;
            loads.saturating_record(micros(since));
        }
        connection.events.clear();
        if Instant::now() >= end && number > LOADS_PER_COMMIT {
            break;
        }
        std::thread::sleep(REST);
    }
    Ok(Waits { loads: guests::Latency::of(&loads), commits: guests::Latency::of(&commits) })
}
