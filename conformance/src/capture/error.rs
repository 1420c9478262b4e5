use std::io;

use super::format::{DATA_LEN_MAX, MAGIC};

/// Why a capture cannot be read, or not any further. Offsets count the bytes of the capture itself, before
/// compression.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file could not be opened, read or written.
    #[error("offset {offset}: {source}")]
    Io {
        /// How far it went.
        offset: u64,
        /// What the system said, or the decompressor.
        source: io::Error,
    },
    /// The file does not begin as a capture does.
    #[error("offset 0: not a capture: it begins with {found:02x?}")]
    NotACapture {
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// A capture of another version.
    #[error("offset 6: a capture of version {:?}; this program reads version {:?}", char::from(*found), char::from(MAGIC[6]))]
    Version {
        /// The digit in its place.
        found: u8,
    },
    /// The file ends before its capture does: it was cut off, or its recorder was killed. Everything before
    /// `offset` was read.
    #[error("offset {offset}: the capture ends here without its last record")]
    Cut {
        /// Where the record begins that is missing or incomplete.
        offset: u64,
    },
    /// A record is longer than any can be. What follows cannot be told apart.
    #[error("offset {offset}: a record of {len} bytes, when {DATA_LEN_MAX} is the limit")]
    TooLong {
        /// Where the record begins.
        offset: u64,
        /// The length that it announces.
        len: u32,
    },
    /// The data of a record is not what its kind needs.
    #[error("offset {offset}: record {:?}: {reason}", char::from(*kind))]
    Malformed {
        /// Where the record begins.
        offset: u64,
        /// Its kind.
        kind: u8,
        /// What is wrong with it.
        reason: String,
    },
    /// Something follows the record that ends the capture.
    #[error("offset {offset}: more data after the end of the capture")]
    Trailing {
        /// Where it begins.
        offset: u64,
    },
}
