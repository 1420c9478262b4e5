//! ZEO, byte for byte: a zero-copy, sans-IO codec.
#![no_std]

extern crate alloc;

mod id;

pub use id::{Oid, Tid};
