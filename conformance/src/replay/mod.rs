//! Captures, played again: their clients to a live server, or their server to live clients.
//!
//! [`play`] says what the clients of a capture said, on as many connections and in the same order, and compares what
//! comes back with what came back then. Before it says something it waits for what the server had said by then, on every
//! connection: what depends on an answer, or on another client's commit, comes after it.
//!
//! # What is the same
//!
//! * Messages are compared as the codec reads them, in the notation of the protocol reference: two ways to write one value
//!   are the same.
//! * Each reply is compared with the captured reply of the same id; notices (invalidations and such) with notices in their
//!   order. A notice may come before a reply or behind it, as far as the order rules allow: what a server says on a
//!   connection is checked against those that can be seen there, S1, S3 and S4, unless the captured server broke the same one
//!   there.
//! * Tids are others each time. The first that is met at a place stands for the one that was there, and from then on one
//!   goes for the other, in what is said and in what is compared: in ids of loads, as tids of undos in base64, and one more
//!   or less. So they are mapped one to one.
//! * New oids may be others: those of an answer to `new_oids` stand for those that were handed out in the same place, one to
//!   one, in messages and in what records refer to. How many there are has to be the same, and all other oids.
//! * Records are compared byte for byte.
//! * Times, dates, names of temporary files and digests count as equal. The time of a pack is put between the same
//!   transactions.
//! * JSON in the answer to a probe is compared as JSON.
//! * The objects of an invalidation are a set, and the data file and the directory of blobs may be others.
//! * A captured server of ZEO 4 says less: it tells nobody of new objects, and in `info` the size before the commit. What
//!   a newer one says in addition, and these numbers, do not count.
//! * Where the captured server was ended and started again, so is the live one, if it was started for the play; and files that
//!   a client had put into the shared directory of blobs are put there, with what other clients then fetched.
//! * How a connection ends counts if the server ended it. What the server said at the end of one that the recorder had
//!   ended is not known.

mod compare;
mod connection;
mod empty;
mod explain;
mod fields;
mod liberty;
mod live;
mod needs;
mod order;
pub mod ours;
mod plan;
pub mod provider;
mod serve;
mod shared;
pub mod start;
mod text;
mod tolerance;
mod translate;
mod wire;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;

use crate::capture::{CaptureError, ServerAct};
use crate::process::ProcessError;

pub use empty::is_empty;
pub use explain::Explained;
pub use needs::{Needs, can_be_played};
pub use plan::Plan;

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Messages that were said as in the capture.
    pub said_count: usize,
    /// Messages of the other side that were compared.
    pub compared_count: usize,
    /// What was not the same.
    pub differences: Vec<Difference>,
}

/// Something that was not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The connection, by its number in the capture.
    pub connection: u32,
    /// The message, counted from 1 on this connection in the capture, both directions; none if there was no such message.
    pub number: Option<usize>,
    /// Where in the message: `result[2]`, or what it concerns as a whole.
    pub field: String,
    /// What was said in the capture.
    pub expected: String,
    /// What was said now.
    pub got: String,
    /// Both messages, the captured one with the tids of this server; empty where there is none.
    pub bytes: (Bytes, Bytes),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}, ", self.connection)?;
        match self.number {
            Some(number) => write!(f, "message {number}, ")?,
            None => write!(f, "a message too many, ")?,
        }
        write!(f, "{}\n  expected {}\n  got      {}", self.field, self.expected, self.got)
    }
}

/// Why a capture cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The capture is damaged.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// It holds something that cannot be said again.
    #[error("connection {connection}: {what}")]
    Unsayable {
        /// The connection.
        connection: u32,
        /// What.
        what: String,
    },
    /// The server cannot be reached.
    #[error("{address}: {source}")]
    Connect {
        /// The server's address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server cannot be started, or ended.
    #[error(transparent)]
    Server(#[from] ProcessError),
    /// A thread could not be started, or a file not be copied.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Plays the clients of a capture to the server there, whose storage has to be as that of the capture was, and which has
/// to stay (see [`Needs::is_restarted`]). A message
/// that does not come within `patience` is missing.
///
/// # Errors
/// [`ReplayError`]; what the server does wrong is in the report.
pub fn play(capture: &Path, address: SocketAddr, patience: Duration) -> Result<Report, ReplayError> {
    live::play(&Plan::read(capture)?, address, patience, &mut live::Stranger)
}

/// Plays the server of a capture to live clients, which have to do what those of the capture did: the same scenario with
/// the same sort of client. It answers when they have said as much as was said before the answer in the capture.
///
/// # Errors
/// [`ReplayError`]; what the clients do otherwise is in the report.
pub fn serve(capture: &Path, listener: &TcpListener, patience: Duration) -> Result<Report, ReplayError> {
    serve::play(&Plan::read(capture)?, listener, patience, None, liberty::NoLiberty)
}

/// The same, with a script that tells what it wants to be done to the server: that is not done before.
///
/// # Errors
/// As for [`serve()`].
pub(crate) fn serve_script(
    capture: &Path,
    listener: &TcpListener,
    patience: Duration,
    acts: &Receiver<ServerAct>,
) -> Result<Report, ReplayError> {
    serve::play(&Plan::read(capture)?, listener, patience, Some(acts), liberty::NoLiberty)
}
