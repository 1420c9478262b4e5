use std::borrow::Cow;
use std::time::Duration;

use zeo_codec::session::Direction;

use super::metadata::Endpoints;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// Since the start of the capture.
    pub time: Duration,
    /// On which connection; 0 if it concerns all.
    pub connection: u32,
    /// What.
    pub event: Event<'a>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The client has connected.
    Opened(Box<Endpoints>),
    /// Bytes went this way, as one read brought them.
    Bytes {
        /// Which way.
        direction: Direction,
        /// They.
        bytes: Cow<'a, [u8]>,
    },
    /// Nothing more comes from this side. The first of the two in a capture tells who closed the connection.
    Ended {
        /// The bytes of whom.
        direction: Direction,
        /// How.
        end: End<'a>,
    },
    /// A remark of the recorder.
    Note(Cow<'a, str>),
}

/// How the stream of one side ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<'a> {
    /// It was closed.
    Closed,
    /// The connection was reset by that side.
    Reset,
    /// The recorder has cut it, because it was told to: not the peer's doing.
    Cut,
    /// Another reason, in somebody's words.
    Other(Cow<'a, str>),
}

impl<'a> End<'a> {
    /// As it stands in the file.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Closed => "",
            Self::Reset => "reset",
            Self::Cut => "cut",
            Self::Other(text) => text,
        }
    }

    /// The same, on its own.
    #[must_use]
    pub fn into_owned(self) -> End<'static> {
        match self {
            Self::Closed => End::Closed,
            Self::Reset => End::Reset,
            Self::Cut => End::Cut,
            Self::Other(text) => End::Other(Cow::Owned(text.into_owned())),
        }
    }

    /// From how it stands in the file.
    #[must_use]
    pub fn from_text(text: &'a str) -> Self {
        match text {
            "" => Self::Closed,
            "reset" => Self::Reset,
            "cut" => Self::Cut,
            other => Self::Other(Cow::Borrowed(other)),
        }
    }
}

impl Event<'_> {
    /// The same, on its own.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::Opened(endpoints) => Event::Opened(endpoints),
            Self::Bytes { direction, bytes } => {
                Event::Bytes { direction, bytes: Cow::Owned(bytes.into_owned()) }
            }
            Self::Ended { direction, end } => Event::Ended { direction, end: end.into_owned() },
            Self::Note(text) => Event::Note(Cow::Owned(text.into_owned())),
        }
    }
}

impl Record<'_> {
    /// How many bytes of a stream it holds.
    #[must_use]
    pub fn byte_count(&self) -> u64 {
        match &self.event {
            Event::Bytes { bytes, .. } => bytes.len() as u64,
            _ => 0,
        }
    }

    /// The same, on its own.
    #[must_use]
    pub fn into_owned(self) -> Record<'static> {
        let Self { time, connection, event } = self;
        Record { time, connection, event: event.into_owned() }
    }
}
