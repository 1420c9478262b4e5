//! Blob directories of a client: its own cache of files, or the server's directory, shared.
//!
//! | module | owns |
//! |---|---|
//! | [`mod@layout`] | names: oid and tid to path and back, no I/O |
//! | `directory` | the directory: opening it, the files in it, which of them are in use |
//! | `shrink` | removing what was not used for long |
//! | `reader` | [`Blob`] and [`BlobReader`]: a file that stays while it is read |
//!
//! Knows neither messages nor sockets; all of it may block, and is called where that is allowed. A directory may be
//! used by several processes, Python's and ours: names, locks and what is done under them are Python's
//! (`ClientStorage.py` of ZEO 6.2, `ZODB/blob.py` of ZODB 6.4; protocol reference 15).

mod directory;
pub mod layout;
mod reader;
mod shrink;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub(crate) use directory::{BlobDirectory, Incoming, Taken};
pub use reader::{Blob, BlobReader};

/// Where a client keeps blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobOptions {
    /// The directory (`blob-dir`). It is created if it is not there, unless it is shared.
    pub path: PathBuf,
    /// Whether it is the server's own directory, which the client can reach, too (`shared-blob-dir`).
    pub is_shared: bool,
    /// Bytes that the files take together, about; without a bound nothing is ever removed (`blob-cache-size`). A
    /// shared directory has none.
    pub len_max: Option<u64>,
    /// The size is looked at when this share of it has come in, in percent; 99 at most, or the client does
    /// not start (`blob-cache-size-check`).
    pub check_percent: u8,
    /// The longest blob that is accepted from a server, in bytes. Not among ZEO's options: the protocol does not tell
    /// how long a blob will be.
    pub blob_len_max: u64,
}

impl BlobOptions {
    /// A cache of the client's own, without a bound.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_shared: false, len_max: None, check_percent: 10, blob_len_max: 64 << 30 }
    }
}
