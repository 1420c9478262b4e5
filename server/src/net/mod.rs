//! Sockets: listens, and drives one [`Peer`](crate::engine::Peer) and session for each connection.
//!
//! This is the only layer that knows tokio. It moves bytes and wakes peers; it decides nothing.

mod blocking;
mod connection;
mod gates;
mod listener;
mod monitor;
mod tls;

pub use connection::{ConnectionOptions, serve};
pub use listener::{Bound, Listener};
pub use tls::{Tls, TlsError, TlsErrorKind};
