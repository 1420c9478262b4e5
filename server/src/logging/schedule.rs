//! `when` and `interval`: log files that give way to new ones by the clock.
//!
//! After `TimedRotatingFileHandler` of Python's `logging/handlers.py`, without a time of day and in local time, as
//! ZConfig makes it. Python 3.11 takes every `interval` of days that end at midnight, and of weeks, for 1; here they are
//! what they are in Python 3.13. When clocks are put forward or back, such a day still ends at midnight, and names of
//! hours tell the hour.

use jiff::civil::Weekday;
use jiff::fmt::strtime;
use jiff::{SignedDuration, ToSpan, Zoned};

/// When a file has been in use for long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    when: When,
    interval: u16,
}

/// The units of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// `S`
    Seconds,
    /// `M`
    Minutes,
    /// `H`
    Hours,
    /// `D`: days that begin with the file.
    Days,
    /// `midnight`: days that end at midnight.
    Midnight,
    /// `W0` (Monday) to `W6`: weeks that end with this day.
    Week(Weekday),
}

impl When {
    /// What a configuration calls `name`, in any case.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_uppercase().as_str() {
            "S" => Self::Seconds,
            "M" => Self::Minutes,
            "H" => Self::Hours,
            "D" => Self::Days,
            "MIDNIGHT" => Self::Midnight,
            "W0" => Self::Week(Weekday::Monday),
            "W1" => Self::Week(Weekday::Tuesday),
            "W2" => Self::Week(Weekday::Wednesday),
            "W3" => Self::Week(Weekday::Thursday),
            "W4" => Self::Week(Weekday::Friday),
            "W5" => Self::Week(Weekday::Saturday),
            "W6" => Self::Week(Weekday::Sunday),
            _ => return None,
        })
    }

    /// How the time is written at the end of a name; `0` stands for a digit.
    fn shape(self) -> &'static str {
        match self {
            Self::Seconds => "0000-00-00_00-00-00",
            Self::Minutes => "0000-00-00_00-00",
            Self::Hours => "0000-00-00_00",
            Self::Days | Self::Midnight | Self::Week(_) => "0000-00-00",
        }
    }

    fn strftime(self) -> &'static str {
        match self {
            Self::Seconds => "%Y-%m-%d_%H-%M-%S",
            Self::Minutes => "%Y-%m-%d_%H-%M",
            Self::Hours => "%Y-%m-%d_%H",
            Self::Days | Self::Midnight | Self::Week(_) => "%Y-%m-%d",
        }
    }

    /// For those that do not ask for the calendar.
    fn length(self) -> Option<SignedDuration> {
        match self {
            Self::Seconds => Some(SignedDuration::from_secs(1)),
            Self::Minutes => Some(SignedDuration::from_mins(1)),
            Self::Hours => Some(SignedDuration::from_hours(1)),
            Self::Days => Some(SignedDuration::from_hours(24)),
            Self::Midnight | Self::Week(_) => None,
        }
    }
}

impl Schedule {
    /// Every `interval` of the units `when`; 0 is 1, as in ZConfig.
    pub fn new(when: When, interval: u16) -> Self {
        Self { when, interval: interval.max(1) }
    }

    /// When a file ends that was last written to at `since`, or is begun then.
    ///
    /// # Errors
    /// There is no such time: it is in a year beyond 9999.
    pub(super) fn end(self, since: &Zoned) -> Result<Zoned, jiff::Error> {
        if let Some(length) = self.when.length() {
            return since.checked_add(length * i32::from(self.interval));
        }
        let wait = match self.when {
            When::Week(day) => i64::from(day.since(since.date().weekday())),
            _ => 0,
        };
        let last_day = since.date().checked_add((wait + self.days() - self.unit_days()).days())?;
        last_day.tomorrow()?.to_zoned(since.time_zone().clone())
    }

    /// What the name of a file ends with that ends at `end`: when it should have begun.
    ///
    /// # Errors
    /// There is no such time.
    pub(super) fn suffix(self, end: &Zoned) -> Result<String, jiff::Error> {
        let begin = match self.when.length() {
            Some(length) => end.checked_sub(length * i32::from(self.interval))?,
            None => end.checked_sub(self.days().days())?,
        };
        strtime::format(self.when.strftime(), &begin)
    }

    /// Whether a name could end with `suffix`: a time as above, and perhaps one more word, as of a file that was
    /// compressed (`extMatch`).
    pub(super) fn is_suffix(self, suffix: &str) -> bool {
        let (time, word) = match suffix.split_once('.') {
            Some((time, word)) => (time, Some(word)),
            None => (suffix, None),
        };
        let shape = self.when.shape();
        let is_time = time.len() == shape.len()
            && time.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                mark => byte == mark,
            });
        let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_time && word.is_none_or(|word| !word.is_empty() && is_word(word))
    }

    /// Days of the calendar in one unit.
    fn unit_days(self) -> i64 {
        if matches!(self.when, When::Week(_)) { 7 } else { 1 }
    }

    fn days(self) -> i64 {
        self.unit_days() * i64::from(self.interval)
    }
}
