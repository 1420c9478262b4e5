//! Frames: a four-byte big-endian length, for ZEO 4 an optional MAC, and the payload
//! (protocol reference 1).
//!
//! ```text
//!  0        4                24 (4 without MAC)
//!  +--------+----------------+---------------------+
//!  | length | MAC, 20 bytes  | payload             |
//!  +--------+----------------+---------------------+
//!     |       only if the length's top bit is set and the session is one of ZEO 4
//!     +-- of the payload alone
//! ```

mod deframe;
mod enframe;

pub use deframe::{Deframer, MacBit};
pub use enframe::{FrameStart, begin, finish, write_frame};
pub(crate) use enframe::{LEN_MAX_BESIDE_MAC, finish_without};

use bytes::Bytes;

/// Bytes of the length prefix.
pub const LENGTH_LEN: usize = 4;
/// Bytes of a MAC (HMAC-SHA-1).
pub const MAC_LEN: usize = 20;
/// Top bit of the length prefix: a MAC follows (ZEO 4).
pub const MAC_BIT: u32 = 0x8000_0000;

/// A complete frame. The payload shares memory with the buffer into which it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The MAC that came with it, unverified.
    pub mac: Option<[u8; MAC_LEN]>,
    /// What was framed.
    pub payload: Bytes,
}

/// A frame that may not be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length prefix exceeds the limit in force. Nothing was reserved for it.
    #[error("frame of {payload_len} bytes at byte {offset} of the stream exceeds the limit of {limit_len}")]
    TooLong {
        /// Announced length of the payload, in bytes.
        payload_len: u32,
        /// The limit, in bytes.
        limit_len: usize,
        /// Position of the length prefix in the stream.
        offset: u64,
    },
}
