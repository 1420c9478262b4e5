//! How far a pack has come: lines in the log, and the question whether to go on.
//!
//! There is a line every few seconds, and one at the end of each part, so that also a short pack says what it costs:
//!
//! ```text
//! pack: copying up to the pack time: 40 %, 210 MB/s; the pack ends about 2026-11-26 10:00:00, in 12 s
//! ```

use std::time::{Duration, Instant};

use super::super::super::pack::pace::{Pace, Ticker, clock_in};
use super::super::super::{PackHost, StorageError};
use super::estimate::{Estimate, Part};

/// Steps between two looks at the clock, which costs more than a small record.
const STEPS: u32 = 64;

/// Reads the time; a test has one of its own.
pub(super) type Clock<'p> = &'p (dyn Fn() -> Instant + Sync);

/// The progress of a pack.
pub(super) struct Progress<'p> {
    host: &'p dyn PackHost,
    file: &'p str,
    clock: Clock<'p>,
    estimate: Estimate,
    part: Part,
    /// What of the part is being done.
    phase: &'static str,
    /// When the part began.
    started: Instant,
    /// So much of so much of the part.
    done: (u64, u64),
    ticker: Ticker,
    step_count: u32,
}

impl<'p> Progress<'p> {
    pub(super) fn new(host: &'p dyn PackHost, file: &'p str, is_collecting: bool, clock: Clock<'p>) -> Self {
        let now = clock();
        Self {
            host,
            file,
            clock,
            estimate: Estimate::new(is_collecting),
            part: Part::Read,
            phase: "",
            started: now,
            done: (0, 0),
            ticker: Ticker::new(now),
            step_count: 0,
        }
    }

    /// Begins a phase of a part.
    pub(super) fn begin(&mut self, part: Part, phase: &'static str) {
        if part != self.part {
            let now = (self.clock)();
            // There may have been less to do than was known.
            self.done.1 = self.done.0;
            self.tell(now);
            (self.part, self.started, self.done) = (part, now, (0, 0));
        }
        tracing::debug!(target: "ZODB.FileStorage", file = self.file, "pack: {phase}");
        self.phase = phase;
    }

    /// To be called after every small step: `done` of `total` are done in this part.
    ///
    /// # Errors
    /// [`StorageError::Cancelled`].
    pub(super) fn step(&mut self, done: u64, total: u64) -> Result<(), StorageError> {
        self.check()?;
        self.done = (done, total);
        self.step_count = self.step_count.wrapping_add(1);
        if self.step_count.is_multiple_of(STEPS) {
            let now = (self.clock)();
            if self.ticker.is_due(now) {
                self.tell(now);
            }
        }
        Ok(())
    }

    /// Only the question whether to go on.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        if self.host.is_cancelled() { Err(StorageError::Cancelled) } else { Ok(()) }
    }

    fn tell(&mut self, now: Instant) {
        let (done, total) = self.done;
        let pace = Pace { done, total, spent: now.saturating_duration_since(self.started) };
        self.estimate.note(self.part, pace);
        let rate = match self.part {
            Part::Read | Part::Copy => format!("{} MB/s", pace.per_second() / 1_000_000),
            Part::Mark => format!("{} objects/s", pace.per_second()),
        };
        let (file, phase, percent) = (self.file, self.phase, pace.percent());
        let end = self.estimate.left().map(|left| self.end(left)).unwrap_or_default();
        tracing::info!(target: "ZODB.FileStorage", file, "pack: {phase}: {percent} %, {rate}{end}");
    }

    fn end(&self, left: Duration) -> String {
        let (clock, seconds, guess) = (clock_in(left), left.as_secs(), self.estimate.guess());
        let blobs = if self.host.wants_removed_blobs() { "; then the files of blobs that went" } else { "" };
        format!("; the pack ends about {clock}, in {seconds} s{guess}{blobs}")
    }
}

#[cfg(test)]
mod tests;
