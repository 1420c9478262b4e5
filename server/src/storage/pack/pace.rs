//! How fast something goes, and when it ends if it goes on like that.

use std::time::{Duration, Instant};

/// So much of so much, in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) spent: Duration,
}

impl Pace {
    /// How long all of it takes; `None` if nothing has been done yet.
    pub(crate) fn whole(&self) -> Option<Duration> {
        let spent = self.spent.as_nanos();
        let nanos = spent.saturating_mul(u128::from(self.total)).checked_div(u128::from(self.done))?;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// How long the rest takes.
    pub(crate) fn left(&self) -> Option<Duration> {
        Some(self.whole()?.saturating_sub(self.spent))
    }

    /// How much of it in a second.
    pub(crate) fn per_second(&self) -> u64 {
        let per_second = u128::from(self.done) * 1_000_000_000 / self.spent.as_nanos().max(1);
        u64::try_from(per_second).unwrap_or(u64::MAX)
    }

    /// In hundredths.
    pub(crate) fn percent(&self) -> u64 {
        self.done.saturating_mul(100).checked_div(self.total).unwrap_or(100)
    }
}

/// Between two lines in the log.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Says when the next line is due.
#[derive(Debug)]
pub(crate) struct Ticker(Instant);

impl Ticker {
    pub(crate) const fn new(now: Instant) -> Self {
        Self(now)
    }

    /// Whether it is time again.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.0) >= INTERVAL;
        if is_due {
            self.0 = now;
        }
        is_due
    }
}

/// The local time in a while, for the log.
pub(crate) fn clock_in(left: Duration) -> String {
    let left = jiff::SignedDuration::try_from(left).unwrap_or(jiff::SignedDuration::MAX);
    let then = jiff::Zoned::now().checked_add(left);
    then.map_or_else(|_| "never".to_owned(), |then| then.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_is_done() {
        let seconds = Duration::from_secs;
        let pace = Pace { done: 25, total: 100, spent: seconds(5) };
        assert_eq!((pace.whole(), pace.left()), (Some(seconds(20)), Some(seconds(15))));
        assert_eq!((pace.percent(), pace.per_second()), (25, 5));
        // There may turn out to be less to do.
        let pace = Pace { done: 150, total: 100, spent: seconds(5) };
        assert_eq!(pace.left(), Some(Duration::ZERO));
        let nothing = Pace { done: 0, total: 0, spent: seconds(5) };
        assert_eq!((nothing.left(), nothing.percent(), nothing.per_second()), (None, 100, 0));
        let huge = Pace { done: 1, total: u64::MAX, spent: Duration::MAX };
        assert_eq!(huge.whole(), Some(Duration::from_nanos(u64::MAX)));
        assert_eq!(clock_in(Duration::MAX), "never");
    }

    #[test]
    fn a_line_is_due_now_and_then() {
        let start = Instant::now();
        let mut ticker = Ticker::new(start);
        let due: Vec<u64> =
            (0..17).filter(|second| ticker.is_due(start + Duration::from_secs(*second))).collect();
        assert_eq!(due, [5, 10, 15]);
    }
}
