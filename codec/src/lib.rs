//! ZEO, byte for byte: the protocol with which Python's ZODB object database is shared, as a zero-copy codec
//! that knows no sockets, files, clocks or threads.
//!
//! # The tour, from bytes to meaning
//!
//! 1. [`frame`] cuts a byte stream into frames, and writes them.
//! 2. [`handshake`] reads the first frame of each side and decides on a [`Dialect`]: everything that differs
//!    between versions, as data.
//! 3. [`Envelope`] reads as much of a message as is needed to route it: id, flag and name.
//! 4. [`Args`] takes the arguments one by one; [`Call`] and [`Reply`] are the typed forms of every method.
//! 5. [`pickle`] and [`msgpack`] are the two framings. Neither has heard of ZEO, and both make the same
//!    [`Value`]. [`Emit`] is the one way to write, whatever the framing.
//! 6. [`session`] puts it together: servers, clients and observers as state machines.
//! 7. [`digest`] is the authentication of ZEO 4.
//! 8. [`show`] is how all of this is written for people.
//!
//! Views borrow from the frame. Plain messages (byte strings, text, numbers, lists of oids) are read straight
//! from it, without an allocation; anything else becomes a [`Value`].
//!
//! # What is refused
//!
//! Bytes come from strangers: [`Limits`] has every bound in one place, errors are small values that name the
//! cause and its offset, and nothing here panics on input or executes any of it. Unknown methods, greetings
//! and message ids stay representable; refusing them is a server's business.
//!
//! "Protocol reference" in the documentation means the numbered facts in `codec/PROTOCOL.md` and the sections
//! that they name.
#![no_std]

extern crate alloc;

mod abandoned;
mod args;
pub mod call;
mod dialect;
pub mod digest;
mod emit;
mod envelope;
mod error;
mod exception;
pub mod frame;
pub mod handshake;
mod id;
mod limits;
pub mod msgpack;
pub mod pickle;
pub mod record;
mod reply;
pub mod session;
mod share;
pub mod show;
mod value;

pub use abandoned::Abandoned;
pub use args::{Args, Count, PlainItems, RawArgs};
pub use call::{Call, Method};
pub use dialect::{Dialect, ErrorShape, Generation};
pub use emit::{Emit, EncodeError};
pub use envelope::{Body, Envelope, Flag, MsgId, REPLY, write_message, write_message_behind};
pub use error::{DecodeError, DecodeErrorKind, Expected, MessageError, ShapeError};
pub use exception::Serialno;
pub use id::{Oid, Tid};
pub use limits::Limits;
pub use reply::{Conflict, RemoteError, Reply, VoteItem};
pub use value::{Construction, Global, Object, Value};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
