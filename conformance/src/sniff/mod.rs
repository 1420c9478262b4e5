//! What peers say to each other, message by message.
//!
//! From the bottom up:
//!
//! - [`Facts`]: the oids, tids and sizes in a message;
//! - [`Message`]: one thing that was seen, with its place and time;
//! - [`Conversation`](conversation::Conversation): one connection: bytes in, messages out; replies are matched to calls;
//! - [`Sniffer`]: all connections, in bounded memory;
//! - [`Filter`], [`text`], [`json`], [`Stats`]: which messages, and how they are shown;
//! - [`input`]: where bytes come from.
//!
//! A sniffer never gives up: what cannot be read is a message that says so, with its offset.

pub mod conversation;
mod facts;
pub mod filter;
pub mod input;
pub mod json;
mod keys;
mod lock;
mod message;
mod pending;
mod sniffer;
mod stats;
pub mod text;

pub use facts::{Facts, Role};
pub use filter::Filter;
pub use lock::{Lock, Locks};
pub use message::{Kind, Message, MissingNote};
pub use sniffer::{Bounds, Sniffer};
pub use stats::Stats;

/// Text of strangers, as a terminal may be given it: without control characters.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests;
