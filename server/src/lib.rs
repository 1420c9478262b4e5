//! The reference ZEO server: a drop-in for Python's `runzeo`.
//!
//! The layers, strictly downward: [`storage`] keeps transactions and objects and has never heard of ZEO.

pub mod engine;
pub mod net;
pub mod storage;
