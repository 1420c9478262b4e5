//! A proxy that stands between clients and a server and writes down what they say to each other.
//!
//! From the bottom up:
//!
//! - [`address`]: where to listen, where to connect; TCP or a Unix socket, and the streams of both;
//! - [`tls`]: keys and certificates for either side;
//! - [`fault`]: what may be done to connections on purpose, and how it is written;
//! - [`shaper`]: one direction of a connection with its faults, without sockets;
//! - [`live`]: what is said, for another thread, in bounded memory;
//! - [`recording`]: the capture that all connections write to, and what is told live;
//! - [`proxy`]: the sockets, one task for each connection, or two threads (`threads`).
//!
//! Bytes are written down before they are passed on: so an answer cannot stand before its question.

pub mod address;
pub mod fault;
pub mod live;
pub mod proxy;
pub mod recording;
pub mod shaper;
mod threads;
pub mod tls;

/// An error with what it is about in front: an address, or a file.
fn named(what: impl std::fmt::Display, error: std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{what}: {error}"))
}
