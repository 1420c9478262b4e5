//! How fast servers are, beside each other and beside what the machine can do.
//!
//! One run starts all servers, gives each the same objects through ZEO, and then takes turns: for each
//! workload, round by round, every server and the workload's limit have the machine to themselves for a
//! moment. So a busy minute of the machine meets all of them.
//!
//! From the bottom up:
//!
//! - [`usage`]: processor time and memory, from `/proc`;
//! - [`data`]: the objects, whose bytes can be checked without remembering them;
//! - [`window`]: starting workers together and counting only while the system is in full swing;
//! - [`client`]: a plain blocking client over the codec's session;
//! - [`loads`], [`commits`], [`connects`], [`announce`]: the workloads;
//! - [`limits`], [`echo`]: what the machine does without a server of ours or Python's;
//! - [`ceiling`]: a server that speaks the protocol without a storage;
//! - [`cores`]: everything on one processor;
//! - [`target`]: server processes; [`syncs`]: how often they sync;
//! - [`pack`], [`latency`]: what a pack costs the others, and what commits cost those who load; [`start`]: starts with many
//!   objects; runs of their own;
//! - [`cache`], [`clients`]: our client's cache and our client beside Python's, runs of their own;
//! - [`plan`]: which workloads, how long; [`run`]: the whole run; [`report`]: its tables.
//!
//! A reply counts only if its frame has the right length; one of some hundred is read through the codec and
//! its data compared. In the end every object is loaded and compared with what was committed last.

pub mod announce;
pub mod cache;
pub mod ceiling;
pub mod client;
pub mod clients;
pub mod commits;
pub mod connects;
pub mod cores;
pub mod data;
pub mod echo;
pub mod latency;
pub mod limits;
pub mod loads;
pub mod pack;
pub mod plan;
pub mod report;
pub mod run;
pub mod start;
pub mod syncs;
pub mod target;
pub mod usage;
pub mod window;

use std::io;

use zeo_codec::session::SessionError;
use zeo_codec::{DecodeError, EncodeError, MessageError};

use crate::process::ProcessError;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A server could not be started, or ended.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A socket or file.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server broke the protocol.
    #[error("session: {0}")]
    Session(#[from] SessionError),
    /// A reply that the codec does not understand.
    #[error("reply: {0}")]
    Message(#[from] MessageError),
    /// What our client says.
    #[error("client: {0}")]
    Client(#[from] zeo_client::Error),
    /// A request that cannot be encoded.
    #[error("{0}")]
    Encode(#[from] EncodeError),
    /// The server answered, but wrongly.
    #[error("wrong answer: {0}")]
    Wrong(String),
    /// Something that the run depends on is missing.
    #[error("{0}")]
    Missing(String),
}

impl From<DecodeError> for BenchError {
    fn from(error: DecodeError) -> Self {
        Self::Message(MessageError::Undecodable(error))
    }
}
