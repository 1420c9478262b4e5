//! Conformance tools for ZEO: live Python peers.
//!
//! The live tests (`tests/live/`) put real Python clients in front of a server and let Python itself say what
//! is right. This library holds what they stand on, from the bottom up:
//!
//! - [`process`]: a child process that cannot outlive its owner or its deadline;
//! - [`peers`]: Python environments with pinned versions of ZEO, made once and kept in the target directory;
//! - [`config`]: what a server is told, in the language of `runzeo`;
//! - [`server`]: a server under test, started by command;
//! - [`script`]: one Python script as a client, and the conversation with it.
//!
//! None of these knows the protocol; that is the peers' business.
//!
//! [`suite`] runs the test suites that come with Python's ZEO against a server, likewise without knowing the protocol.
//!
//! [`bench`](mod@bench) measures servers against each other and against the machine; it speaks the protocol
//! through the codec. So does [`stress`], which lets many clients loose on a server and judges what they saw.

pub mod bench;
pub mod config;
pub mod peers;
pub mod process;
pub mod script;
pub mod server;
pub mod stress;
pub mod suite;
