//! A long run at half load, and whether the server's memory or descriptors grow with it (`guarantees.md` 2, point 29).
//!
//! The clients are those of the other runs, with everything that they do, hanging up included; they only rest as long
//! as they work. Now and then the database is packed, so that the file does not grow either. In the first half of the
//! run the server is killed, or ended in order, and started again; afterwards it is left alone, and looked at all the time:
//! a straight line is put through what it has in use, from the second quarter of that life on, as caches and queues fill
//! before. In the end the file is read from its beginning.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zeo_codec::call::Pack;
use zeo_codec::{Call, Tid};

use super::connection::{Answer, Connection};
use super::record::{Layout, Serials};
use super::verify::{Verified, verify};
use super::worker::Worker;
use super::{StressError, look_back, set_up};
use crate::bench::usage::{descriptor_count, memory};
use crate::config::{Framing, ServerConfig};
use crate::process::ProcessError;
use crate::server::{Server, ServerCommand, free_port};

/// Growth of memory over the run beyond which it is a finding: what the allocator may do with pages that are free.
const GROWTH_KIB_MAX: f64 = 8.0 * 1024.0;
/// The same in parts of what there is.
const GROWTH_PART_MAX: f64 = 0.05;
/// The same of descriptors: connections that are just being made, or being closed.
const GROWTH_DESCRIPTORS_MAX: f64 = 4.0;

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub server: ServerCommand,
    /// How messages are encoded.
    pub framing: Framing,
    /// Where its files go.
    pub dir: PathBuf,
    /// Number of clients.
    pub client_count: u64,
    /// Number of objects that they fight for.
    pub object_count: u64,
    /// How long it takes.
    pub time: Duration,
    /// The time between two looks at what the server has in use.
    pub look_interval: Duration,
    /// The time between two packs.
    pub pack_interval: Duration,
    /// How often the server is killed, or ended, in the first half, one after the other.
    pub restart_count: u32,
    /// The same number gives the same dice, though not the same run.
    pub seed: u64,
}

/// What the server has in use at some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Seconds since the beginning.
    pub seconds: f64,
    /// Resident memory.
    pub resident_kib: u64,
    /// Descriptors.
    pub descriptor_count: usize,
}

/// What came of a run.
#[derive(Debug)]
pub struct Soak {
    /// What the server had in use in its last life.
    pub samples: Vec<Sample>,
    /// Transactions that were committed.
    pub commit_count: u64,
    /// Packs that went through.
    pub pack_count: u64,
    /// How often the server was started again.
    pub restart_count: u32,
    /// What is on the disk afterwards.
    pub verified: Verified,
    /// The last transaction as the server named it before its end.
    pub last_tid: Tid,
}

/// What the lines through the samples gain from their first to their last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Of memory.
    pub resident_kib: f64,
    /// Of descriptors.
    pub descriptors: f64,
}

impl Soak {
    /// The samples that count.
    fn settled(&self) -> &[Sample] {
        self.samples.get(self.samples.len() / 4..).unwrap_or_default()
    }

    /// What grew.
    #[must_use]
    pub fn growth(&self) -> Growth {
        let line =
            |of: fn(&Sample) -> f64| growth(self.settled().iter().map(|sample| (sample.seconds, of(sample))));
        Growth {
            resident_kib: line(|sample| sample.resident_kib as f64),
            descriptors: line(|sample| sample.descriptor_count as f64),
        }
    }

    /// What grew by too much.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        let Growth { resident_kib, descriptors } = self.growth();
        let mut findings = Vec::new();
        let first_kib = self.settled().first().map_or(0, |sample| sample.resident_kib) as f64;
        if resident_kib > GROWTH_KIB_MAX.max(first_kib * GROWTH_PART_MAX) {
            findings.push(format!("memory grew by {resident_kib:.0} KiB"));
        }
        if descriptors > GROWTH_DESCRIPTORS_MAX {
            findings.push(format!("descriptors grew by {descriptors:.1}"));
        }
        let found = self.verified.last_tid;
        if found != self.last_tid {
            findings.push(format!("the last transaction in the file is {found}, and was {}", self.last_tid));
        }
        findings
    }
}

impl fmt::Display for Soak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.samples.last().map_or(0.0, |sample| sample.seconds);
        let memory = || self.settled().iter().map(|sample| sample.resident_kib);
        let [least, most] = [memory().min(), memory().max()].map(Option::unwrap_or_default);
        let Growth { resident_kib, descriptors } = self.growth();
        write!(
            f,
            "{} commits, {} packs, {} restarts; in the last {seconds:.0} s memory {least} to {most} KiB, slope {resident_kib:+.0} KiB and \
             {descriptors:+.1} descriptors over three quarters of that; the file is \
             whole: {} transactions, {} records",
            self.commit_count,
            self.pack_count,
            self.restart_count,
            self.verified.transaction_count,
            self.verified.record_count,
        )
    }
}

/// What the straight line gains that lies nearest to the points (least squares), from the first one to the last.
fn growth(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count() as f64;
    let mean = |of: fn((f64, f64)) -> f64| points.clone().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|(x, _)| x), mean(|(_, y)| y));
    let (mut with_y, mut with_x, mut first, mut last) = (0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for (x, y) in points {
        with_y += (x - mean_x) * (y - mean_y);
        with_x += (x - mean_x) * (x - mean_x);
        (first, last) = (first.min(x), last.max(x));
    }
    if with_x > 0.0 { with_y / with_x * (last - first) } else { 0.0 }
}

/// Runs a server and clients.
///
/// # Errors
/// If the server cannot be run, or breaks the protocol; growth is no error.
pub fn run(plan: &Plan) -> Result<Soak, StressError> {
    let config = ServerConfig {
        invalidation_queue_size: Some(1_000),
        port: Some(free_port()),
        ..ServerConfig::new(plan.framing, plan.dir.join("Data.fs"))
    };
    let start = |number: u32| Server::start(&format!("server-{number}"), &plan.server, &config, &plan.dir);
    let mut server = start(0)?;
    let address = server.address();
    let layout = Layout { client_count: plan.client_count, shared_count: plan.object_count };
    set_up(address, layout)?;
    let commit_count = Arc::new(AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let (samples, pack_count, server) = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=plan.client_count)
            .map(|number| {
                let mut worker = Worker::new(number, layout, address, plan.seed, Arc::clone(&commit_count));
                let is_over = &is_over;
                scope.spawn(move || worker.work_at_half_load(is_over))
            })
            .collect();
        let watched = (|| {
            let life = plan.time / 2 / (plan.restart_count + 1);
            let (mut packs, mut samples) = (Packs::default(), Vec::new());
            for number in 1..=plan.restart_count {
                watch(plan, life, &server, &mut packs)?;
                // The next one needs its port. Dropping kills.
                if number % 2 == 0 {
                    server.stop()?
                } else {
                    drop(server)
                }
                server = start(number)?;
            }
            let rest = if plan.restart_count == 0 { plan.time } else { plan.time / 2 };
            samples.extend(watch(plan, rest, &server, &mut packs)?);
            Ok::<_, StressError>((samples, packs.count, server))
        })();
        is_over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| StressError::Panicked)??;
        }
        watched
    })?;
    let (_, last_tid) = look_back(address, layout)?;
    server.stop()?;
    let (commit_count, restart_count) = (commit_count.load(Ordering::Relaxed), plan.restart_count);
    let verified = verify(&config.storage_path)?;
    Ok(Soak { samples, commit_count, pack_count, restart_count, verified, last_tid })
}

/// Packs of a run.
struct Packs {
    last: Instant,
    /// Those that went through.
    count: u64,
}

impl Default for Packs {
    fn default() -> Self {
        Self { last: Instant::now(), count: 0 }
    }
}

/// Looks at the server for this time, and packs now and then.
fn watch(
    plan: &Plan,
    time: Duration,
    server: &Server,
    packs: &mut Packs,
) -> Result<Vec<Sample>, StressError> {
    let io = |source: io::Error| ProcessError::Io { name: "server".to_owned(), source };
    let began = Instant::now();
    let mut samples = Vec::new();
    while began.elapsed() < time {
        samples.push(Sample {
            seconds: began.elapsed().as_secs_f64(),
            resident_kib: memory(server.id()).map_err(io)?.resident_kib,
            descriptor_count: descriptor_count(server.id()).map_err(io)?,
        });
        if packs.last.elapsed() >= plan.pack_interval {
            packs.last = Instant::now();
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let call = Call::Pack(Pack { time, wait: Some(true.into()) });
            let answer = Connection::open(server.address(), None, Serials::new())
                .and_then(|mut connection| connection.call(&call));
            // One that somebody has got in the way of by an undo is tried again the next time.
            packs.count += u64::from(matches!(answer, Ok(Answer::Done)));
        }
        std::thread::sleep(plan.look_interval);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_found_and_noise_is_none() {
        let soak = |resident: fn(u64) -> u64, descriptors: fn(usize) -> usize| Soak {
            samples: (0..400)
                .map(|number| Sample {
                    seconds: f64::from(number),
                    resident_kib: resident(u64::try_from(number).unwrap()),
                    descriptor_count: descriptors(usize::try_from(number).unwrap()),
                })
                .collect(),
            commit_count: 0,
            pack_count: 0,
            restart_count: 0,
            verified: Verified::default(),
            last_tid: Tid::ZERO,
        };
        // Filling at first, and going up and down afterwards.
        let steady = soak(|number| number.min(50) * 1000 + number * 7919 % 2000, |number| 20 + number % 3);
        assert_eq!(steady.findings(), Vec::<String>::new(), "{steady}");
        let growing = soak(|number| 100_000 + number * 40 + number * 7919 % 2000, |number| 20 + number / 30);
        assert_eq!(growing.findings().len(), 2, "{growing}");
        assert!((growing.growth().resident_kib - 40.0 * 299.0).abs() < 500.0, "{growing}");
        assert!((growing.growth().descriptors - 10.0).abs() < 1.0, "{growing}");
        assert_eq!(growth(std::iter::once((1.0, 2.0))), 0.0);
    }
}
