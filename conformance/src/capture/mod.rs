//! Captures: what the peers of one or several connections said to each other, byte by byte, with times.
//!
//! `conformance/CAPTURE.md` describes the file. From the bottom up:
//!
//! - [`Header`](format::Header), the kinds and the limits: how one record lies in the file;
//! - [`Metadata`]: who spoke, and how the capture was made;
//! - [`Record`] and [`Event`]: what happened, when, on which connection;
//! - [`ServerAct`]: what was done to the server meanwhile, as remarks;
//! - [`Writer`] and [`Reader`]: streams of records, in constant memory;
//! - [`file`](mod@file): captures as files, compressed if their name says so.
//!
//! Nothing here knows the protocol: a capture may hold any two streams of bytes.

mod act;
mod error;
pub mod file;
pub mod format;
mod metadata;
mod read;
mod record;
mod write;

pub use act::{NoServerAct, ServerAct, ServerLines};
pub use error::CaptureError;
pub use metadata::{Endpoints, Metadata, PeerInfo};
pub use read::Reader;
pub use record::{End, Event, Record};
pub use write::Writer;

#[cfg(test)]
mod tests;
