//! The reference ZEO server: a drop-in for Python's `runzeo`.
//!
//! The layers, strictly downward: [`net`] drives connections, [`engine`] knows what ZEO means, [`storage`]
//! keeps transactions and objects and has never heard of ZEO.
//! Beside them stands what a process needs before it can serve: [`cli`] and [`config`] say what to do,
//! [`zconfig`] is the syntax in which they are told, [`logging`] is how the server tells what it does, and [`limits`] is what it
//! does not do.

pub mod auth;
mod background;
pub mod cli;
pub mod config;
pub mod engine;
pub mod limits;
pub mod logging;
pub mod net;
pub mod process;
pub mod storage;

pub use zeo_client::zconfig;
