//! Workers that start together, and a window of time in which their work counts.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::BenchError;
use super::usage::{cpu_time, machine_cpu_time};

/// The longest latency that is told from longer ones, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Where a measurement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Work does not count yet.
    Warming,
    /// Work counts.
    Measuring,
    /// Workers are to end.
    Over,
}

/// What the workers of one measurement share.
#[derive(Debug)]
pub struct Window(AtomicU8);

impl Window {
    fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// The phase now. Workers look before they count, at least every few milliseconds.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::Warming,
            1 => Phase::Measuring,
            _ => Phase::Over,
        }
    }

    fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a worker did within the window.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Operations that ended.
    pub op_count: u64,
    /// How long each took, in nanoseconds.
    pub latency_ns: Histogram<u64>,
}

impl Tally {
    /// Nothing yet.
    ///
    /// # Panics
    /// Never: the bounds are valid.
    #[must_use]
    #[expect(clippy::expect_used, reason = "constant bounds")]
    pub fn new() -> Self {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("valid bounds");
        Self { op_count: 0, latency_ns }
    }

    /// Counts `op_count` operations that began at `began`.
    pub fn add(&mut self, op_count: u64, latency: Duration) {
        self.op_count += op_count;
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(LATENCY_NS_MAX);
        self.latency_ns.saturating_record_n(nanoseconds, op_count);
    }

    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.op_count += other.op_count;
        // Both have the same bounds.
        let _ = self.latency_ns.add(&other.latency_ns);
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a measurement takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time before work counts.
    pub warm_up: Duration,
    /// Time in which it counts.
    pub window: Duration,
}

/// One measurement.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What all workers did.
    pub tally: Tally,
    /// How long the window really was.
    pub elapsed: Duration,
    /// Processor time of the measured process in the window.
    pub server_cpu: Duration,
    /// Processor time of this process in the window.
    pub own_cpu: Duration,
    /// Processor time of everything else on the machine in the window.
    pub other_cpu: Duration,
}

/// Processor times at one moment.
struct Times {
    at: Instant,
    server: Duration,
    own: Duration,
    machine: Duration,
}

impl Times {
    fn now(pid: u32) -> Result<Self, BenchError> {
        let own_pid = std::process::id();
        let own = cpu_time(own_pid)?;
        let server = if pid == own_pid { Duration::ZERO } else { cpu_time(pid)? };
        Ok(Self { at: Instant::now(), server, own, machine: machine_cpu_time()? })
    }
}

/// Runs all workers at once, each in a thread of its own, beside the process `pid`.
///
/// # Errors
/// The first worker's error.
pub fn measure<W>(workers: Vec<W>, pace: Pace, pid: u32) -> Result<Sample, BenchError>
where
    W: FnOnce(&Window) -> Result<Tally, BenchError> + Send,
{
    let window = &Window::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || worker(window))).collect();
        std::thread::sleep(pace.warm_up);
        let before = Times::now(pid);
        window.advance();
        std::thread::sleep(pace.window);
        window.advance();
        let after = Times::now(pid);
        let mut tally = Tally::new();
        for thread in threads {
            let result = thread.join().map_err(|_| BenchError::Missing("a worker panicked".to_owned()))?;
            tally.merge(&result?);
        }
        let (before, after) = (before?, after?);
        let server_cpu = after.server.saturating_sub(before.server);
        let own_cpu = after.own.saturating_sub(before.own);
        let machine_cpu = after.machine.saturating_sub(before.machine);
        Ok(Sample {
            tally,
            elapsed: after.at.saturating_duration_since(before.at),
            server_cpu,
            own_cpu,
            other_cpu: machine_cpu.saturating_sub(server_cpu + own_cpu),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_in_the_window_counts() {
        let worker = |window: &Window| {
            let mut tally = Tally::new();
            let mut early_count = 0;
            loop {
                std::thread::sleep(Duration::from_millis(1));
                match window.phase() {
                    Phase::Warming => early_count += 1,
                    Phase::Measuring => tally.add(1, Duration::from_micros(3)),
                    Phase::Over => break,
                }
            }
            assert!(early_count > 0);
            Ok(tally)
        };
        let pace = Pace { warm_up: Duration::from_millis(30), window: Duration::from_millis(50) };
        let sample = measure(vec![worker, worker], pace, std::process::id()).unwrap();
        assert!((2..=120).contains(&sample.tally.op_count), "{}", sample.tally.op_count);
        assert_eq!(sample.tally.latency_ns.len(), sample.tally.op_count);
        assert!(sample.elapsed >= pace.window);
    }

    #[test]
    fn an_error_of_a_worker_is_the_result() {
        let worker = |_: &Window| Err(BenchError::Wrong("no".to_owned()));
        let pace = Pace { warm_up: Duration::ZERO, window: Duration::ZERO };
        assert!(measure(vec![worker], pace, std::process::id()).is_err());
    }
}
