//! Sockets: listens, and drives one [`Peer`](crate::engine::Peer) and session for each connection.
//!
//! This is the only layer that knows tokio. It moves bytes and wakes peers; it decides nothing.
//!
//! # Whose turn it is
//!
//! The threads of the runtime take turns at looking for input: one waits for all sockets, and wakes another one when there is
//! more to do than it can begin with. While it serves the only client that has sent something, nobody looks, even if all the
//! others sleep. So nothing that takes longer than about a tenth of a millisecond is done in one piece there:
//!
//! ```text
//!   a connection's turn: 64 messages, or half a megabyte in or out    then others, and somebody looks for input
//!   a vote on more than that, waiting for a disk, blobs              block_in_place: another thread takes over
//!   a commit                                                         a task of its own, which blocks
//!   long questions (gates)                                           threads that stand back (nice)
//!   packs (gates)                                                    a thread that stands back
//! ```

mod blocking;
mod connection;
mod gates;
mod listener;
mod monitor;
mod tls;

pub use connection::{ConnectionOptions, serve};
pub use listener::{Bound, Listener};
pub use tls::{Tls, TlsError, TlsErrorKind};
