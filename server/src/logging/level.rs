//! Python's levels: numbers, some of which have names.

use std::fmt;

use tracing_subscriber::filter::LevelFilter;

/// How grave an event is, or how grave it must be to be logged: 0 to 50.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// Everything is logged.
    pub const NOTSET: Self = Self(0);
    /// ZODB's level below DEBUG.
    pub const TRACE: Self = Self(5);
    /// For developers.
    pub const DEBUG: Self = Self(10);
    /// ZODB's level between DEBUG and INFO.
    pub const BLATHER: Self = Self(15);
    /// The life of a server.
    pub const INFO: Self = Self(20);
    /// Something that may need attention.
    pub const WARNING: Self = Self(30);
    /// Something did not work.
    pub const ERROR: Self = Self(40);
    /// Something needs attention now.
    pub const CRITICAL: Self = Self(50);

    /// The level that a configuration calls `name`, in any case
    /// (`ZConfig/components/logger/datatypes.py`).
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "critical" | "fatal" => Self::CRITICAL,
            "error" => Self::ERROR,
            "warn" | "warning" => Self::WARNING,
            "info" => Self::INFO,
            "blather" => Self::BLATHER,
            "debug" => Self::DEBUG,
            "trace" => Self::TRACE,
            "all" => Self(1),
            "notset" => Self::NOTSET,
            _ => return None,
        })
    }

    /// The level `number`, which must not be above 50.
    pub fn by_number(number: u8) -> Option<Self> {
        (number <= Self::CRITICAL.0).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// What `tracing` must let through so that nothing of this level gets lost.
    pub(super) fn filter(self) -> LevelFilter {
        match self.0 {
            0..=5 => LevelFilter::TRACE,
            6..=15 => LevelFilter::DEBUG,
            16..=20 => LevelFilter::INFO,
            21..=30 => LevelFilter::WARN,
            _ => LevelFilter::ERROR,
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::TRACE => Self::TRACE,
            tracing::Level::DEBUG => Self::DEBUG,
            tracing::Level::INFO => Self::INFO,
            tracing::Level::WARN => Self::WARNING,
            tracing::Level::ERROR => Self::ERROR,
        }
    }
}

impl fmt::Display for Level {
    /// Python's `levelname`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match *self {
            Self::TRACE => "TRACE",
            Self::DEBUG => "DEBUG",
            Self::BLATHER => "BLATHER",
            Self::INFO => "INFO",
            Self::WARNING => "WARNING",
            Self::ERROR => "ERROR",
            Self::CRITICAL => "CRITICAL",
            Self::NOTSET => "NOTSET",
            Self(number) => return write!(f, "Level {number}"),
        })
    }
}
