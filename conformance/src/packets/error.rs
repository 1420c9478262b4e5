use std::io;

/// Why a file of packets cannot be read, or not any further. Offsets count bytes before compression.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// What it is read from, or written to, has failed.
    #[error("offset {offset}: {source}")]
    Io {
        /// How far it went.
        offset: u64,
        /// What the system said, or the decompressor.
        source: io::Error,
    },
    /// The file ends within a block. Everything before `offset` was read.
    #[error("offset {offset}: the file ends within a packet or block that begins here")]
    Cut {
        /// Where the block begins.
        offset: u64,
    },
    /// A block cannot be read. What follows cannot be told apart.
    #[error("offset {offset}: this is neither a packet nor a block of a pcap or pcapng file")]
    Damaged {
        /// Where it begins.
        offset: u64,
    },
    /// A block is longer than any that is read.
    #[error("offset {offset}: a packet or block of more than {limit_len} bytes")]
    TooLong {
        /// Where it begins.
        offset: u64,
        /// What is read.
        limit_len: usize,
    },
}
