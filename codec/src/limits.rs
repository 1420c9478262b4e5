//! Every bound that protects a decoder or a session from its peer, in one place.

/// Bounds on what a peer can make us hold. [`Limits::default`] fits a server on a trusted network.
///
/// Memory for a frame is taken as its bytes arrive, never because a length was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Greatest payload of a frame, in bytes, before the client has registered (handshake included).
    pub frame_bytes_before_register: usize,
    /// Greatest payload of a frame, in bytes, afterwards. Python ZEO has no limit below 2^32 - 1
    /// (protocol reference 1).
    pub frame_bytes: usize,
    /// Greatest nesting of tuples, lists, dicts and objects inside one message.
    pub depth: usize,
    /// Greatest number of values that one message may build as a [`Value`](crate::Value) tree. Typed calls
    /// and replies that hold only byte strings, numbers and lists of oids are not built as trees and do
    /// not count. Each takes up to 150 bytes of memory, and less than 64 MiB all of them together by default.
    pub value_count: usize,
    /// Greatest number of calls of one connection that wait for their replies.
    pub pending_count: usize,
    /// Greatest length of the id of a call that is kept until its reply comes, pickled. Python's are numbers and pairs of
    /// an oid and a tid, and may be anything (protocol reference 3).
    pub id_bytes: usize,
}

impl Limits {
    /// The defaults as a constant.
    pub const DEFAULT: Self = Self {
        frame_bytes_before_register: 64 * 1024,
        frame_bytes: 1024 * 1024 * 1024,
        depth: 100,
        value_count: 500_000,
        pending_count: 100_000,
        id_bytes: 256,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
