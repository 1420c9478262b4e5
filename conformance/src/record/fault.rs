//! What may be done to connections on purpose.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zeo_codec::Method;
use zeo_codec::session::Direction;

/// One fault. All but [`Delay`](Self::Delay) happen once, on the connection that comes to them first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends when so many of its bytes have gone this way.
    Cut {
        /// Which way.
        direction: Direction,
        /// How many.
        after_len: u64,
    },
    /// The connection ends at a message.
    Drop {
        /// Which way the message goes.
        direction: Direction,
        /// Which message.
        message: Pick,
        /// The message is still passed on.
        is_delivered: bool,
    },
    /// Everything that goes this way comes later.
    Delay {
        /// Which way.
        direction: Direction,
        /// How much later.
        time: Duration,
    },
    /// A message changes places with the one behind it.
    Swap {
        /// Which way they go.
        direction: Direction,
        /// The first of the two.
        message: Pick,
    },
    /// What one read brought changes places with what the next one brings.
    SwapChunks {
        /// Which way they go.
        direction: Direction,
        /// The first of the two, counted from 1.
        chunk: u64,
    },
}

/// One message of a direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// By its number, from 1; the greeting is the first.
    Number(u64),
    /// The first call of this method, or the first reply to one.
    Method(Method),
}

impl Fault {
    /// Which way the bytes go that it concerns.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        match self {
            Self::Cut { direction, .. }
            | Self::Drop { direction, .. }
            | Self::Delay { direction, .. }
            | Self::Swap { direction, .. }
            | Self::SwapChunks { direction, .. } => *direction,
        }
    }

    /// It needs to know where messages begin.
    #[must_use]
    pub const fn is_about_messages(&self) -> bool {
        matches!(self, Self::Drop { .. } | Self::Swap { .. })
    }
}

/// As options of the recorder: `cut client:100`, `drop client:vote`, `drop-after server:7`, `delay server:20ms`,
/// `swap server:3`, `swap-chunks client:2`.
impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, rest) = text.split_once(' ').ok_or("a fault is written KIND client:WHAT")?;
        let (side, what) = rest.split_once(':').ok_or("expected client:WHAT or server:WHAT")?;
        let direction = match side {
            "client" => Direction::FromClient,
            "server" => Direction::FromServer,
            other => return Err(format!("{other:?} is neither client nor server")),
        };
        let number = || what.parse().map_err(|_| format!("{what:?} is not a number"));
        let from_one = || match number()? {
            0 => Err("messages and reads are counted from 1".to_owned()),
            number => Ok(number),
        };
        let message = || match what.starts_with(|first: char| first.is_ascii_digit()) {
            true => from_one().map(Pick::Number),
            false => method(what).map(Pick::Method),
        };
        match kind {
            "cut" => Ok(Self::Cut { direction, after_len: number()? }),
            "drop" => Ok(Self::Drop { direction, message: message()?, is_delivered: false }),
            "drop-after" => Ok(Self::Drop { direction, message: message()?, is_delivered: true }),
            "swap" => Ok(Self::Swap { direction, message: message()? }),
            "swap-chunks" => Ok(Self::SwapChunks { direction, chunk: from_one()? }),
            "delay" => {
                let milliseconds = what.strip_suffix("ms").and_then(|number| number.parse().ok());
                let milliseconds = milliseconds.ok_or_else(|| format!("{what:?} is not like 20ms"))?;
                Ok(Self::Delay { direction, time: Duration::from_millis(milliseconds) })
            }
            other => Err(format!("no fault is called {other:?}")),
        }
    }
}

/// A method by its name in Python.
fn method(name: &str) -> Result<Method, String> {
    Method::from_name(name.as_bytes()).ok_or_else(|| {
        let all: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
        format!("no method is called {name:?}; there are {}", all.join(", "))
    })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.direction() {
            Direction::FromClient => "client",
            Direction::FromServer => "server",
        };
        match self {
            Self::Cut { after_len, .. } => write!(f, "cut {side}:{after_len}"),
            Self::Drop { message, is_delivered: false, .. } => write!(f, "drop {side}:{message}"),
            Self::Drop { message, is_delivered: true, .. } => write!(f, "drop-after {side}:{message}"),
            Self::Delay { time, .. } => write!(f, "delay {side}:{}ms", time.as_millis()),
            Self::Swap { message, .. } => write!(f, "swap {side}:{message}"),
            Self::SwapChunks { chunk, .. } => write!(f, "swap-chunks {side}:{chunk}"),
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Method(method) => f.write_str(method.name()),
        }
    }
}

/// The faults that are still to happen, shared by all connections.
#[derive(Debug, Clone, Default)]
pub struct Armed {
    faults: Arc<Mutex<Vec<Fault>>>,
}

impl Armed {
    /// These are to happen.
    #[must_use]
    pub fn new(faults: Vec<Fault>) -> Self {
        Self { faults: Arc::new(Mutex::new(faults)) }
    }

    /// One more is to happen.
    pub fn arm(&self, fault: Fault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Nothing is to happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What is to happen in this direction, in the order in which it was armed: the first that `is_due` is handed
    /// out, and will not happen again.
    pub fn take(&self, direction: Direction, mut is_due: impl FnMut(&Fault) -> bool) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let position = faults.iter().position(|fault| fault.direction() == direction && is_due(fault))?;
        Some(faults.remove(position))
    }

    /// The sum of the delays in this direction.
    #[must_use]
    pub fn delay(&self, direction: Direction) -> Duration {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let times = faults.iter().filter(|fault| fault.direction() == direction).map(|fault| match fault {
            Fault::Delay { time, .. } => *time,
            _ => Duration::ZERO,
        });
        times.sum()
    }

    /// How many bytes may go this way before a connection is cut that has passed on `passed_len`.
    #[must_use]
    pub fn len_until_cut(&self, direction: Direction, passed_len: u64) -> Option<u64> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let cuts = faults.iter().filter_map(|fault| match fault {
            Fault::Cut { direction: way, after_len } if *way == direction => Some(*after_len),
            _ => None,
        });
        cuts.min().map(|after_len| after_len.saturating_sub(passed_len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_shown_as_they_are_written() {
        let all = [
            "cut client:100",
            "drop client:vote",
            "drop server:7",
            "drop-after client:tpc_finish",
            "delay server:20ms",
            "swap server:3",
            "swap-chunks client:2",
        ];
        for text in all {
            assert_eq!(text.parse::<Fault>().map(|fault| fault.to_string()), Ok(text.to_owned()));
        }
        for (text, error) in [
            ("cut", "a fault is written KIND client:WHAT"),
            ("cut 7", "expected client:WHAT or server:WHAT"),
            ("cut proxy:7", "\"proxy\" is neither client nor server"),
            ("cut client:vote", "\"vote\" is not a number"),
            ("delay client:20", "\"20\" is not like 20ms"),
            ("kill client:20", "no fault is called \"kill\""),
            ("drop client:0", "messages and reads are counted from 1"),
            ("swap-chunks server:0", "messages and reads are counted from 1"),
            ("drop client:7th", "\"7th\" is not a number"),
        ] {
            assert_eq!(text.parse::<Fault>(), Err(error.to_owned()));
        }
        let unknown = "swap client:nonesuch".parse::<Fault>().unwrap_err();
        assert!(unknown.starts_with("no method is called \"nonesuch\"; there are "), "{unknown}");
        assert!(unknown.contains(" vote,") && unknown.contains(" tpc_finish,"), "{unknown}");
    }
}
