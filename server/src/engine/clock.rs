//! Notices when the time of day jumps.
//!
//! Tids are made of it, and rise whatever it does ([`next_tid`](crate::storage::tid::next_tid)); but behind a clock that
//! was put back they tell another time than the clock, which operators should know.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the clocks may drift apart without a word: a second, and a thousandth of the time that has passed, for
/// what NTP corrects little by little.
const TOLERANCE: Duration = Duration::from_secs(1);
const TOLERANCE_DIVISOR: u32 = 1000;

/// Microseconds since 1970, UTC; a clock far off gives the nearest there is, and tids rise nevertheless.
pub(crate) fn unix_micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Compares the time of day with a clock that nobody sets.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    last: Mutex<Option<(SystemTime, Instant)>>,
}

/// A jump of the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jump {
    Back(Duration),
    Forward(Duration),
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Back(by) => {
                let seconds = by.as_secs();
                write!(
                    f,
                    "the clock was put back by {seconds} seconds: until it has caught up, transaction ids "
                )?;
                write!(f, "go on rising from the last one, and are ahead of the time of day")
            }
            Self::Forward(by) => {
                let seconds = by.as_secs();
                write!(
                    f,
                    "the clock was put forward by {seconds} seconds: all later transaction ids will be "
                )?;
                write!(f, "greater than those of that time, even if it is put back")
            }
        }
    }
}

impl ClockWatch {
    /// Tells whether the time of day has jumped since this was asked last.
    pub(crate) fn look(&self, time: SystemTime, now: Instant) -> Option<Jump> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (last_time, last_now) = last.replace((time, now))?;
        let passed = now.saturating_duration_since(last_now);
        let expected = last_time.checked_add(passed)?;
        let tolerance = TOLERANCE + passed / TOLERANCE_DIVISOR;
        match time.duration_since(expected) {
            Ok(ahead) => Some(Jump::Forward(ahead)).filter(|_| ahead > tolerance),
            Err(behind) => Some(Jump::Back(behind.duration())).filter(|_| behind.duration() > tolerance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn jumps_are_told_once_and_drift_is_not() {
        let watch = ClockWatch::default();
        let (mut time, mut now) = (SystemTime::UNIX_EPOCH + 1000 * DAY, Instant::now());
        assert_eq!(watch.look(time, now), None, "nothing to compare with");
        let mut after = |passed: Duration, time_passed: Duration, back: Duration| {
            now += passed;
            time = time + time_passed - back;
            watch.look(time, now)
        };
        assert_eq!(after(DAY, DAY + Duration::from_secs(80), Duration::ZERO), None, "slewed by NTP");
        assert_eq!(after(Duration::ZERO, Duration::from_millis(900), Duration::ZERO), None);
        assert_eq!(after(Duration::from_secs(5), Duration::from_secs(5), DAY), Some(Jump::Back(DAY)));
        assert_eq!(after(Duration::from_secs(5), Duration::from_secs(5), Duration::ZERO), None, "once");
        assert_eq!(after(Duration::ZERO, 365 * DAY, Duration::ZERO), Some(Jump::Forward(365 * DAY)));
        assert_eq!(
            after(Duration::ZERO, Duration::ZERO, Duration::from_secs(2)),
            Some(Jump::Back(Duration::from_secs(2)))
        );
    }
}
