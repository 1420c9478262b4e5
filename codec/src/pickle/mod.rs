//! Pickle, all protocols from 0 to 5, read symbolically and written as Python's picklers write.
//!
//! * [`lex`] turns bytes into opcodes with their operands;
//! * [`machine`] runs the opcodes and builds a [`Value`](crate::Value);
//! * [`mod@write`] writes values and messages in the bytes of the Python writers of ZEO.
//!
//! # What a hostile pickle can and cannot do
//!
//! It cannot import, call or allocate by announcement: `GLOBAL`, `REDUCE` and their like only build
//! symbols, and lengths are checked against the bytes at hand. It can make the machine hold one node for
//! each opcode, up to [`Limits::value_count`](crate::Limits::value_count). Values that are shared through
//! the memo are copied when the tree is built; the tree may hold at most a few times as many values as the
//! message has bytes, so sharing cannot grow exponentially. Nesting is bounded by
//! [`Limits::depth`](crate::Limits::depth), and a list that contains itself is refused.
//!
//! This module has never heard of ZEO.

pub mod lex;
pub mod machine;
pub mod op;
pub mod write;

pub use lex::Lexer;
pub(crate) use machine::decode_above;
pub use machine::{decode, decode_pair, decode_prefix};
pub use op::Op;
pub use write::{PickleFlavor, PickleWriter};
