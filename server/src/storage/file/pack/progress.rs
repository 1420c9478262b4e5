//! How far a pack has come: a line in the log every few seconds, and the question whether to go on.

use std::time::{Duration, Instant};

use super::super::super::{PackHost, StorageError};

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(5);
/// Steps between two looks at the clock, which costs more than a small record.
const STEPS: u32 = 64;

/// The progress of one phase.
pub(super) struct Progress<'p> {
    host: &'p dyn PackHost,
    file: &'p str,
    phase: &'static str,
    /// What is counted: bytes, or objects.
    unit: Unit,
    started: Instant,
    told: Instant,
    step_count: u32,
}

/// What a phase counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Objects,
}

impl<'p> Progress<'p> {
    pub(super) fn new(host: &'p dyn PackHost, file: &'p str) -> Self {
        let now = Instant::now();
        Self { host, file, phase: "", unit: Unit::Bytes, started: now, told: now, step_count: 0 }
    }

    /// Begins a phase.
    pub(super) fn begin(&mut self, phase: &'static str, unit: Unit) {
        tracing::debug!(target: "ZODB.FileStorage", file = self.file, "pack: {phase}");
        (self.phase, self.unit, self.started) = (phase, unit, Instant::now());
    }

    /// To be called after every small step: `done` of `total` are done in this phase.
    ///
    /// # Errors
    /// [`StorageError::Cancelled`].
    pub(super) fn step(&mut self, done: u64, total: u64) -> Result<(), StorageError> {
        self.check()?;
        self.step_count = self.step_count.wrapping_add(1);
        if self.step_count.is_multiple_of(STEPS) && self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            self.tell(done, total);
        }
        Ok(())
    }

    /// Only the question whether to go on.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        if self.host.is_cancelled() { Err(StorageError::Cancelled) } else { Ok(()) }
    }

    fn tell(&self, done: u64, total: u64) {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let percent = done.saturating_mul(100) / total.max(1);
        let left = total.saturating_sub(done);
        let left_ms = u128::from(left) * u128::from(elapsed_ms) / u128::from(done.max(1));
        let left_seconds = u64::try_from(left_ms / 1000).unwrap_or(u64::MAX);
        let per_second = done.saturating_mul(1000) / elapsed_ms;
        let rate = match self.unit {
            Unit::Bytes => format!("{} MB/s", per_second / 1_000_000),
            Unit::Objects => format!("{per_second} objects/s"),
        };
        let (file, phase) = (self.file, self.phase);
        let ends = clock_in(left_seconds);
        tracing::info!(target: "ZODB.FileStorage", file, "pack: {phase}: {percent} %, {rate}, {left_seconds} s left, this step ends about {ends}");
    }
}

/// The local time in so many seconds.
fn clock_in(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let then = jiff::Zoned::now().checked_add(jiff::SignedDuration::from_secs(seconds));
    then.map_or_else(|_| "never".to_owned(), |then| then.strftime("%Y-%m-%d %H:%M:%S").to_string())
}
