//! Captures as conversations: message by message instead of chunk by chunk, and each message written again.
//!
//! [`each_message`] puts the bytes of a capture through one observer for each connection; [`rewrite()`] reads a message
//! as far as the codec has types for it, and writes it from these. A [`Transcript`] is a
//! conversation as text, in which two recordings of the same are equal.

mod names;
mod rewrite;
mod runs;
mod transcript;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use zeo_codec::frame::{LENGTH_LEN, MAC_BIT, MAC_LEN};
use zeo_codec::session::{Direction, Observed, Observer};
use zeo_codec::{Dialect, Limits};

use crate::capture::file::FileReader;
use crate::capture::{CaptureError, End, Endpoints, Event};

pub(crate) use names::Names;
pub use rewrite::{RewriteError, rewrite};
pub use transcript::Transcript;

/// Something that a capture tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A client has connected.
    Opened(Box<Endpoints>),
    /// A message, or bytes that are none.
    Message {
        /// Which way it went.
        direction: Direction,
        /// What the observer makes of it.
        observed: Observed,
        /// The message as it came, without its length and MAC; of bytes that are none, those that have come.
        payload: Bytes,
    },
    /// Nothing more comes from this side.
    Ended {
        /// The bytes of whom.
        direction: Direction,
        /// How.
        end: End<'static>,
        /// How many bytes of an unfinished message were the last.
        rest_len: usize,
    },
    /// A remark of the recorder.
    Note(String),
}

/// One connection.
pub(crate) struct Watch {
    observer: Observer,
    client: Side,
    server: Side,
}

/// What came from one side.
#[derive(Default)]
struct Side {
    /// Of it, what is not part of a message that was told: never more than one message, which is bounded.
    rest: BytesMut,
    /// There are no messages any more.
    is_lost: bool,
    has_ended: bool,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { observer: Observer::new(Limits::DEFAULT), client: Side::default(), server: Side::default() }
    }

    /// The rules of the session, as far as they are known.
    pub(crate) const fn dialect(&self) -> Option<&Dialect> {
        self.observer.dialect()
    }

    const fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::FromClient => &mut self.client,
            Direction::FromServer => &mut self.server,
        }
    }

    /// Takes bytes, and tells the messages that they complete.
    pub(crate) fn receive(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        mut tell: impl FnMut(Option<&Dialect>, Told),
    ) {
        let side = self.side(direction);
        if side.is_lost {
            return;
        }
        side.rest.extend_from_slice(bytes);
        self.observer.receive(direction, bytes);
        // The client's first: its greeting tells how the server's messages are to be read.
        for direction in [Direction::FromClient, Direction::FromServer] {
            while let Some(observed) = self.observer.poll_event(direction) {
                let side = self.side(direction);
                let payload = match observed {
                    // The message itself comes next.
                    Observed::BadMac => Bytes::new(),
                    Observed::Lost(_) => {
                        side.is_lost = true;
                        std::mem::take(&mut side.rest).freeze()
                    }
                    _ => first_message(&mut side.rest),
                };
                tell(self.observer.dialect(), Told::Message { direction, observed, payload });
            }
        }
    }
}

/// Tells everything that is in a capture, with the number of the connection and its rules as far as they are known.
/// It takes the memory of a message for each side of each connection that is open.
///
/// # Errors
/// [`CaptureError`] if it is damaged; what came before it was told.
pub fn each_message(
    reader: &mut FileReader,
    mut tell: impl FnMut(u32, Option<&Dialect>, Told),
) -> Result<(), CaptureError> {
    let mut watches = BTreeMap::<u32, Watch>::new();
    while let Some(record) = reader.next_record()? {
        let number = record.connection;
        match record.event {
            Event::Opened(endpoints) => tell(number, None, Told::Opened(endpoints)),
            Event::Note(text) => tell(number, None, Told::Note(text.into_owned())),
            Event::Bytes { direction, bytes } => {
                let watch = watches.entry(number).or_insert_with(Watch::new);
                watch.receive(direction, &bytes, |dialect, told| tell(number, dialect, told));
            }
            Event::Ended { direction, end } => {
                let end = end.into_owned();
                let watch = watches.entry(number).or_insert_with(Watch::new);
                let side = watch.side(direction);
                side.has_ended = true;
                let rest_len = side.rest.len();
                tell(number, None, Told::Ended { direction, end, rest_len });
                if watch.client.has_ended && watch.server.has_ended {
                    watches.remove(&number);
                }
            }
        }
    }
    Ok(())
}

/// Takes the first message off a stream. The observer has found it there, so that it is whole.
fn first_message(stream: &mut BytesMut) -> Bytes {
    let Some(prefix) = stream.first_chunk::<LENGTH_LEN>() else { return Bytes::new() };
    let announced = u32::from_be_bytes(*prefix);
    let mac_len = if announced & MAC_BIT == 0 { 0 } else { MAC_LEN };
    let payload_len = usize::try_from(announced & !MAC_BIT).unwrap_or(usize::MAX);
    let end = (LENGTH_LEN + mac_len).saturating_add(payload_len).min(stream.len());
    stream.split_to(end).freeze().split_off((LENGTH_LEN + mac_len).min(end))
}

#[cfg(test)]
mod tests;
