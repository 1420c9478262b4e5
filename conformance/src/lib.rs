//! Conformance tools for ZEO: live Python peers.
//!
//! The live tests (`tests/live/`) put real Python clients in front of a server and let Python itself say what
//! is right. This library holds what they stand on, from the bottom up:
//!
//! - [`process`]: a child process that cannot outlive its owner or its deadline;
//! - [`peers`]: Python environments with pinned versions of ZEO, made once and kept in the target directory;
//! - [`config`]: what a server is told, in the language of `runzeo`;
//! - [`ports`]: ports that no two tests are given;
//! - [`server`]: a server under test, started by command;
//! - [`script`]: one Python script as a client, and the conversation with it.
//!
//! None of these knows the protocol; that is the peers' business.
//!
//! [`suite`] runs the test suites that come with Python's ZEO against a server, likewise without knowing the protocol.
//!
//! [`differential`] does the same to a server and to Python's, and has both compared.
//!
//! [`bench`](mod@bench) measures servers against each other and against the machine; it speaks the protocol
//! through the codec. So do [`stress`], which lets many clients loose on a server and judges what they saw, and
//! [`siege`], which does the same with strangers. [`serial`] puts clients in Rust and in Python on one database, and judges
//! whether what they saw is one history.
//!
//! [`capture`] is a file format for what peers said to each other, [`record`](mod@record) a proxy that writes it;
//! [`scenarios`] are what Python's peers play for captures, and [`commands`] the subcommands of `zeo-conformance`, which
//! make captures and work on them. [`decode`] reads captures message by message,
//! [`sniff`] prints them, also from files of packets, which [`packets`] reads and writes.

pub mod bench;
pub mod capture;
pub mod check;
pub mod commands;
pub mod config;
pub mod decode;
pub mod differential;
pub mod packets;
pub mod peers;
pub mod ports;
pub mod process;
pub mod record;
pub mod replay;
pub mod scenarios;
pub mod script;
pub mod serial;
pub mod server;
pub mod siege;
pub mod sniff;
pub mod stress;
pub mod suite;
