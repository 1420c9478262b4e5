//! Captures of packets, as Wireshark, tshark and tcpdump make and read them.
//!
//! From the bottom up:
//!
//! - [`PacketReader`]: packets of pcap and pcapng files, in the memory of one;
//! - [`Segment`]: a TCP segment out of a packet, whatever it was captured on;
//! - [`Half`](half::Half), [`Flow`](flow::Flow), [`Flows`]: segments put in order again, and made into records of a capture
//!   ([`crate::capture`]), in bounded memory;
//! - [`PacketWriter`]: records of a capture as the packets that may have carried them.
//!
//! What is missing in a file of packets becomes a note in the records, [`crate::sniff::MissingNote`].

mod error;
pub mod flow;
mod flows;
pub mod half;
mod read;
mod segment;
mod write;

pub use error::PacketError;
pub use flows::{Flows, Options};
pub use read::{Packet, PacketReader, is_packets};
pub use segment::{Leftover, Segment, segment};
pub use write::{METADATA_MARK, PacketWriter};

#[cfg(test)]
mod tests;
