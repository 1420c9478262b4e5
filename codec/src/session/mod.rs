//! Whole sessions as state machines without sockets, clocks or threads.
//!
//! # The contract
//!
//! Feed one thing (`receive`, `call`, `reply`, `on_time`), then drain `poll_event` until it gives `None`,
//! then write out `output` and tell how much was written with `consume_output`, until `output` is empty;
//! repeat. (`output` is the first contiguous part of what is to be sent: large records may stay where they lie,
//! see [`Output::message_sharing`]. `output_slices` gives all parts for a vectored write.) Extra polls are
//! harmless. After an error the session is closed: it takes nothing more in, and gives out no more events;
//! what already stands in `output` may still be written. Events own their frame and lend borrowed views of
//! it, so a driver may hold one across an await. Time enters as the duration since the session began.
//!
//! ```
//! use zeo_codec::handshake::Protocol;
//! use zeo_codec::session::{ClientEvent, ClientSession, Incoming, ServerEvent, ServerSession};
//! use zeo_codec::{Call, Limits, Method, Reply, Tid};
//!
//! let limits = Limits::DEFAULT;
//! let mut server = ServerSession::new(Protocol::Z5, limits);
//! let mut client = ClientSession::new(limits);
//! let mut answer = None;
//! while answer.is_none() {
//!     // The network: whatever one side has to say, the other one receives.
//!     let sent = server.output().to_vec();
//!     server.consume_output(sent.len());
//!     client.receive(&sent);
//!     while let Some(event) = client.poll_event()? {
//!         match event {
//!             ClientEvent::Connected(_) => drop(client.call(&Call::Plain(Method::LastTransaction))?),
//!             ClientEvent::Reply(reply) => answer = Some(reply.result(&limits)? == Ok(Reply::Tid(Tid::MAX))),
//!             ClientEvent::Call(_) => {}
//!         }
//!     }
//!     let sent = client.output().to_vec();
//!     client.consume_output(sent.len());
//!     server.receive(&sent);
//!     while let Some(event) = server.poll_event()? {
//!         if let ServerEvent::Message(message) = event
//!             && let Incoming::Call(call) = message.parse(&limits)?
//!         {
//!             server.reply(&call.id, &Reply::Tid(Tid::MAX))?;
//!         }
//!     }
//! }
//! assert_eq!(answer, Some(true));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod beginning;
mod client;
mod observer;
mod output;
mod pending;
mod server;

pub use beginning::{Beginning, find_beginning};
pub use client::{ClientEvent, ClientReply, ClientSession};
pub use observer::{Direction, Observed, Observer};
pub use output::{Mark, Output};
pub use pending::{NotNoted, PendingCalls};
pub use server::{ServerEvent, ServerSession};

use alloc::borrow::Cow;

use bytes::Bytes;

use crate::digest::Macs;
use crate::envelope::Envelope;
use crate::error::DecodeError;
use crate::frame::{Frame, FrameError};
use crate::handshake::Framing;
use crate::limits::Limits;

/// Why a session ended itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A frame beyond the limit.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A first frame with which no session can be had.
    #[error("unacceptable protocol in the handshake")]
    BadHandshake,
    /// The peer sent no first frame in time.
    #[error("no handshake in time")]
    HandshakeTimeout,
    /// The client greeted, and then did not register in time.
    #[error("no registration in time")]
    RegistrationTimeout,
    /// A message that cannot be decoded.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// More calls in flight than [`Limits::pending_count`].
    #[error("too many calls without a reply")]
    TooManyPending,
    /// A reply to a call that was never made.
    #[error("reply to an unknown call")]
    UnexpectedReply,
    /// An argument that this framing cannot express.
    #[error(transparent)]
    Unencodable(#[from] crate::emit::EncodeError),
    /// A message without the MAC that it should have, or with another one: it is not from who it seems to be, or was
    /// changed on its way.
    #[error("missing or wrong MAC")]
    BadMac,
    /// The session was closed before.
    #[error("the session is closed")]
    Closed,
}

/// Checks the MACs of one direction: nothing before there is a key, then each.
#[derive(Debug, Default)]
struct MacCheck(Option<Macs>);

impl MacCheck {
    fn pass(&mut self, frame: &Frame) -> Result<(), SessionError> {
        // Without a key a MAC is passed over, as by Python's peers (`smac.py:handle_read`, 4.3.1).
        let Some(macs) = &mut self.0 else { return Ok(()) };
        match &frame.mac {
            Some(mac) if macs.is_next(&frame.payload, mac) => Ok(()),
            Some(_) | None => Err(SessionError::BadMac),
        }
    }
}

/// A frame that holds a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The payload of the frame.
    pub payload: Bytes,
    /// How it is encoded.
    pub framing: Framing,
}

/// What a message is.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming<'a> {
    /// A keep-alive, to be ignored.
    KeepAlive,
    /// A call, one-way or not.
    Call(Envelope<'a>),
    /// A reply.
    Reply(Envelope<'a>),
}

/// From this length on a part of a frame keeps the whole frame rather than being copied out of it: frames that
/// arrived together share their memory, and a small part must not keep all of it.
const SHARED_LEN_MIN: usize = 16 * 1024;

/// `data`, which is a part of `payload` or was made for it, to keep.
fn kept(payload: &Bytes, data: Cow<'_, [u8]>) -> Bytes {
    match data {
        Cow::Owned(data) => Bytes::from(data),
        Cow::Borrowed(data) => {
            let (frame, part) = (payload.as_ptr_range(), data.as_ptr_range());
            if data.len() >= SHARED_LEN_MIN && frame.start <= part.start && part.end <= frame.end {
                payload.slice_ref(data)
            } else {
                Bytes::copy_from_slice(data)
            }
        }
    }
}

impl Message {
    /// `data`, which was parsed from this message, to keep: a large one shares the memory of the frame, a small one
    /// is copied.
    #[must_use]
    pub fn keep(&self, data: Cow<'_, [u8]>) -> Bytes {
        kept(&self.payload, data)
    }

    /// Reads the message as far as is needed to route it.
    ///
    /// # Errors
    /// If it is no message.
    pub fn parse(&self, limits: &Limits) -> Result<Incoming<'_>, DecodeError> {
        let envelope = Envelope::parse(&self.payload, self.framing, limits)?;
        Ok(if envelope.is_keep_alive() {
            Incoming::KeepAlive
        } else if envelope.is_reply() {
            Incoming::Reply(envelope)
        } else {
            Incoming::Call(envelope)
        })
    }
}
