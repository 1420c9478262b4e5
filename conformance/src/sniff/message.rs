use std::fmt;
use std::time::Duration;

use zeo_codec::Method;
use zeo_codec::session::{Direction, Observed};
use zeo_codec::{Dialect, MsgId};

use super::facts::Facts;

/// One thing that was seen on a connection.
#[derive(Debug)]
pub struct Message<'a> {
    /// When its last byte came, since the start of the capture.
    pub time: Duration,
    /// The connection's number.
    pub connection: u32,
    /// Who sent it; `None` for what concerns both.
    pub direction: Option<Direction>,
    /// What it is.
    pub kind: Kind,
    /// Its id; of one-way calls 0.
    pub id: Option<MsgId<'static>>,
    /// Its method; of a reply, that of its call if it was seen.
    pub method: Option<Method>,
    /// Name of a method that is not known, without characters that steer terminals.
    pub other_name: Option<String>,
    /// Where its frame begins in the stream of that direction, as far as that was seen.
    pub offset: u64,
    /// Length of the frame, with its header.
    pub len: u64,
    /// Of a reply, the time since its call.
    pub latency: Option<Duration>,
    /// What it is about.
    pub facts: &'a Facts,
    /// What was observed, to be shown in whole; `None` for what is no message.
    pub seen: Option<&'a Observed>,
    /// How it is to be read.
    pub dialect: Option<Dialect>,
    /// What there is to say of what is no message.
    pub remark: Option<&'a str>,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The connection was made.
    Opened,
    /// A greeting, or a `ruok` probe and its answer.
    Hello,
    /// A call that expects a reply.
    Call,
    /// A call that expects none.
    OneWay,
    /// A result.
    Reply,
    /// An error in place of a result.
    Error,
    /// A keep-alive.
    KeepAlive,
    /// A frame that is no message.
    Undecodable,
    /// Bytes that belong to no message, or were not captured, or do not look like ZEO.
    Lost,
    /// A remark, of the recorder or on what follows.
    Note,
    /// One side has ended its stream.
    Ended,
}

impl Kind {
    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Hello => "hello",
            Self::Call => "call",
            Self::OneWay => "one-way",
            Self::Reply => "reply",
            Self::Error => "error",
            Self::KeepAlive => "keep-alive",
            Self::Undecodable => "undecodable",
            Self::Lost => "lost",
            Self::Note => "note",
            Self::Ended => "ended",
        }
    }
}

impl Message<'_> {
    /// The name of its method; empty if there is none, or it is not known.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.method {
            Some(method) => method.name(),
            None => self.other_name.as_deref().unwrap_or_default(),
        }
    }
}

/// A note in a capture that says that bytes of a direction are missing at this place: `missing client:1448`, or
/// `missing client` if nobody knows how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingNote {
    /// Whose bytes.
    pub direction: Direction,
    /// How many, if that is known.
    pub len: Option<u64>,
}

impl MissingNote {
    /// From the text of a note, if it is one of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("missing ")?;
        let (who, len) = match rest.split_once(':') {
            Some((who, len)) => (who, Some(len.parse().ok()?)),
            None => (rest, None),
        };
        let direction = match who {
            "client" => Direction::FromClient,
            "server" => Direction::FromServer,
            _ => return None,
        };
        Some(Self { direction, len })
    }
}

impl fmt::Display for MissingNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.direction {
            Direction::FromClient => "client",
            Direction::FromServer => "server",
        };
        match self.len {
            Some(len) => write!(f, "missing {who}:{len}"),
            None => write!(f, "missing {who}"),
        }
    }
}
