//! A client of ZEO servers: of this project's, and of Python's ZEO 4, 5 and 6.
//!
//! # Map
//!
//! Strictly downward: whatever stands lower knows nothing of what stands above it.
//!
//! | module | what it is | knows |
//! |---|---|---|
//! | `tools` | the programs, with the feature `tools` | everything below |
//! | [`blocking`] | the same for threads | everything below |
//! | [`Client`], `client/` | the methods of a storage, one file for each family | everything below |
//! | [`Transaction`], `transaction/` | a commit as a value that moves through its phases | |
//! | [`ClientConfig`], `config/` | the options in a ZConfig file | files |
//! | [`Builder`], [`Address`] | the options of ZEO 5's documentation | |
//! | `net/` | tokio: addresses, sockets, the task of a connection, the task that keeps one | sockets, clocks |
//! | [`engine`] | what being a ZEO client means, as a state machine: registration, verification, calls in flight, the order of replies and invalidations | neither sockets nor clocks |
//! | [`mod@blob`] | blob directories: the client's own, or the server's, shared | no messages |
//! | [`cache`] | revisions of objects, on the disk in the format of Python's `ClientCache` | no messages |
//! | [`Error`] | why a call failed, why a connection ended | |
//!
//! `client/README.md` has the same with file names, and the tests that show the promises.
//!
//! # Messages
//!
//! What no call is the cause of (a damaged cache that is set aside, a lost connection, a server that knows less than the cache)
//! is told as events of the crate `tracing`; a program that wants to see them has a subscriber.
//!
//! # Promises
//!
//! The order rules of the protocol (`guarantees.md` C1 to C8) hold by construction: one [`engine::Engine`], behind one
//! mutex, handles what arrives in the order in which it arrives, and finishes each message before it looks at the
//! next. A load enters the cache, and an invalidation the cache and every [`Invalidations`], in that very step;
//! [`Client::last_transaction`] moves at its end.

mod address;
pub mod blob;
pub mod blocking;
mod builder;
pub mod cache;
mod client;
pub mod config;
mod credentials;
pub mod engine;
mod error;
pub mod lock_file;
mod net;
pub mod tls;
#[cfg(feature = "tools")]
pub mod tools;
mod transaction;
pub mod zconfig;

pub use address::{Address, BadAddress};
pub use blob::{Blob, BlobOptions, BlobReader};
pub use builder::{Access, Builder};
pub use cache::Revision;
pub use client::{
    Client, Fate, HistoryEntry, Prefetch, RecordIteration, ServerInfo, TransactionIterator,
    TransactionRecord, UndoEntry,
};
pub use config::ClientConfig;
pub use credentials::Credentials;
pub use engine::{Invalidation, Invalidations, Origin};
pub use error::{Conflict, ConnectionError, Error, LostCommit, ServerError, ServerErrorKind};
pub use transaction::{Begun, Metadata, Transaction, Unresolved, Vote, Voted};
pub use zeo_codec::{Limits, Oid, Tid, Value};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
