//! msgpack as ZEO uses it (protocol reference 5), on [`rmp`]'s markers and writers.
//!
//! Arrays are tuples: Python's reader makes no lists (`use_list=False`). Ext types and timestamps do not
//! occur. A hostile message cannot allocate by announcement: a header's count is checked against the bytes
//! that are left, nesting against [`Limits::depth`](crate::Limits::depth).
//!
//! This module has never heard of ZEO.

pub mod read;
pub mod write;

pub use read::{MsgpackReader, decode};
pub use write::MsgpackWriter;
