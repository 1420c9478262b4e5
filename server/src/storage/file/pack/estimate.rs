//! When a pack will have come to its end, as far as that can be known.
//!
//! A pack has three parts, each of which costs about the same for every unit:
//!
//! ```text
//!   Read    the whole file once, for the index and for back pointers    bytes
//!   Mark    the objects that can be reached, at most all                objects
//!   Copy    the whole file once more, what stays is written             bytes
//! ```
//!
//! What is done of a part says how long the rest of it takes; with that nothing is assumed but that it goes on at the
//! same speed. A part that has not begun is guessed from the reading, by what it cost on the machine of
//! `BENCHMARKS.md`, and the log says so.

use std::time::Duration;

use super::super::super::pack::pace::Pace;

/// A part of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Read,
    Mark,
    Copy,
}

/// How often the time of the reading the marking takes, before it has been seen.
const MARK_BY_READ: u32 = 2;
/// The same for copying.
const COPY_BY_READ: u32 = 4;

/// What is known of the parts.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    is_collecting: bool,
    part: Part,
    /// Of the present part.
    pace: Option<Pace>,
    /// The whole reading.
    reading: Duration,
}

impl Estimate {
    /// Before anything is done. Without collecting garbage nothing is marked.
    pub(super) const fn new(is_collecting: bool) -> Self {
        Self { is_collecting, part: Part::Read, pace: None, reading: Duration::ZERO }
    }

    /// Takes note that `pace` is how far `part` has come.
    pub(super) fn note(&mut self, part: Part, pace: Pace) {
        (self.part, self.pace) = (part, Some(pace));
        if part == Part::Read {
            self.reading = pace.whole().unwrap_or_default();
        }
    }

    /// How long it takes from now to the end of the pack; `None` if nothing has been done yet.
    pub(super) fn left(&self) -> Option<Duration> {
        let marking =
            if self.is_collecting { self.reading.saturating_mul(MARK_BY_READ) } else { Duration::ZERO };
        let copying = self.reading.saturating_mul(COPY_BY_READ);
        let later = match self.part {
            Part::Read => marking.saturating_add(copying),
            Part::Mark => copying,
            Part::Copy => Duration::ZERO,
        };
        Some(self.pace?.left()?.saturating_add(later))
    }

    /// What of it is no more than a guess, for the log.
    pub(super) const fn guess(&self) -> &'static str {
        match (self.part, self.is_collecting) {
            (Part::Read, true) => " if marking and copying take what is usual",
            (Part::Read, false) | (Part::Mark, _) => " if copying takes what is usual",
            (Part::Copy, _) => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of the three parts takes, in seconds, and of how many units it consists.
    type Course = [(Part, u64, u64); 3];

    /// Goes through a pack at a steady speed; what was estimated at each step to be left, and what was left.
    fn estimates(course: Course, is_collecting: bool) -> Vec<(Part, Duration, Duration)> {
        let mut estimate = Estimate::new(is_collecting);
        assert_eq!(estimate.left(), None);
        let course = course.into_iter().filter(|(part, ..)| is_collecting || *part != Part::Mark);
        let whole: u64 = course.clone().map(|(_, seconds, _)| seconds).sum();
        let (mut found, mut before) = (Vec::new(), 0);
        for (part, seconds, total) in course {
            for step in 1..=10 {
                let spent = Duration::from_secs(seconds) * step / 10;
                estimate.note(part, Pace { done: total * u64::from(step) / 10, total, spent });
                let left = Duration::from_secs(whole - before) - spent;
                found.push((part, estimate.left().unwrap(), left));
            }
            before += seconds;
        }
        found
    }

    fn off_by(one: Duration, other: Duration) -> Duration {
        one.abs_diff(other)
    }

    #[test]
    fn a_pack_of_the_usual_proportions_ends_when_the_first_estimate_says() {
        let course = [(Part::Read, 100, 1 << 40), (Part::Mark, 200, 1_000_000), (Part::Copy, 400, 1 << 40)];
        for is_collecting in [true, false] {
            for (part, estimated, left) in estimates(course, is_collecting) {
                assert!(
                    off_by(estimated, left) < Duration::from_millis(10),
                    "{part:?}: {estimated:?} {left:?}"
                );
            }
        }
    }

    #[test]
    fn what_has_been_seen_replaces_the_guess() {
        // Marking takes five times the usual, on a disk that has to move its head; copying half of it.
        let course = [(Part::Read, 100, 1 << 40), (Part::Mark, 1000, 1_000_000), (Part::Copy, 200, 1 << 40)];
        let off: Vec<_> = estimates(course, true)
            .into_iter()
            .map(|(part, estimated, left)| (part, off_by(estimated, left).as_secs()))
            .collect();
        // Reading: 800 s too little for marking, 200 too much for copying. Then only that; in the end nothing.
        for (part, off) in off {
            let expected = match part {
                Part::Read => 600,
                Part::Mark => 200,
                Part::Copy => 0,
            };
            assert_eq!(off, expected, "{part:?}");
        }
    }

    #[test]
    fn what_is_a_guess_is_said() {
        let mut estimate = Estimate::new(true);
        let pace = Pace { done: 1, total: 2, spent: Duration::from_secs(1) };
        let mut guess = |part| {
            estimate.note(part, pace);
            estimate.guess()
        };
        let [read, mark, copy] = [Part::Read, Part::Mark, Part::Copy].map(&mut guess);
        assert!(read.contains("marking and copying") && mark.contains("copying") && copy.is_empty());
        assert!(!mark.contains("marking") && !Estimate::new(false).guess().contains("marking"));
    }
}
