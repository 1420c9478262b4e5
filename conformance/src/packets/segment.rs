//! TCP segments out of packets.
//!
//! etherparse takes the headers apart, and its lax half reads packets of which only the beginning was captured. It is
//! maintained, knows VLANs and the extension headers of IPv6, and writes headers with their checksums, too.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::Linktype;

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub target: SocketAddr,
    /// Sequence number of its first byte, or of its SYN.
    pub sequence: u32,
    /// What the sender expects next, if it says so.
    pub acknowledged: Option<u32>,
    /// It begins a connection.
    pub is_syn: bool,
    /// The sender sends no more.
    pub is_fin: bool,
    /// The connection is broken.
    pub is_reset: bool,
    /// Its bytes, as far as they were captured.
    pub data: &'a [u8],
    /// How many of its bytes were not captured.
    pub cut_len: usize,
}

/// Why there is no segment in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// It is no TCP, or damaged.
    Other,
    /// A kind of link that is not known.
    Link(i32),
    /// A part of a packet that was divided on its way.
    Fragment,
}

const RAW_BSD: i32 = 12;
const RAW_OPENBSD: i32 = 14;

/// The segment in a packet.
///
/// # Errors
/// [`Leftover`], if there is none.
pub fn segment(linktype: Linktype, packet: &[u8]) -> Result<Segment<'_>, Leftover> {
    let sliced = match linktype {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(packet).map_err(|_| Leftover::Other)?,
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(RAW_BSD | RAW_OPENBSD) => ip(packet)?,
        // Four bytes that tell the family in somebody's byte order, which the packet tells as well.
        Linktype::NULL | Linktype::LOOP => ip(packet.get(4..).ok_or(Leftover::Other)?)?,
        Linktype::LINUX_SLL => behind_ether_type(packet, 14, 16)?,
        Linktype::LINUX_SLL2 => behind_ether_type(packet, 0, 20)?,
        Linktype(other) => return Err(Leftover::Link(other)),
    };
    let (source, target, len_declared, payload) = match sliced.net.as_ref().ok_or(Leftover::Other)? {
        LaxNetSlice::Ipv4(packet) => {
            let header = packet.header();
            let declared = usize::from(header.total_len()).checked_sub(header.slice().len());
            let (source, target) = (header.source_addr(), header.destination_addr());
            (IpAddr::V4(source), IpAddr::V4(target), declared, packet.payload())
        }
        LaxNetSlice::Ipv6(packet) => {
            let header = packet.header();
            let extensions_len = packet.extensions().slice().len();
            let declared = usize::from(header.payload_length()).checked_sub(extensions_len);
            let (source, target) = (header.source_addr(), header.destination_addr());
            (IpAddr::V6(source), IpAddr::V6(target), declared, packet.payload())
        }
        LaxNetSlice::Arp(_) => return Err(Leftover::Other),
    };
    if payload.fragmented {
        return Err(Leftover::Fragment);
    }
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return Err(Leftover::Other) };
    // Only then: where segmentation is left to the network card, the header may tell no length.
    let cut_len = match payload.incomplete {
        true => len_declared.map_or(0, |len| len.saturating_sub(payload.payload.len())),
        false => 0,
    };
    Ok(Segment {
        source: SocketAddr::new(source, tcp.source_port()),
        target: SocketAddr::new(target, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        acknowledged: tcp.ack().then(|| tcp.acknowledgment_number()),
        is_syn: tcp.syn(),
        is_fin: tcp.fin(),
        is_reset: tcp.rst(),
        data: tcp.payload(),
        cut_len,
    })
}

fn ip(packet: &[u8]) -> Result<LaxSlicedPacket<'_>, Leftover> {
    LaxSlicedPacket::from_ip(packet).map_err(|_| Leftover::Other)
}

/// A header of Linux's "any" device, in which an EtherType stands.
fn behind_ether_type(packet: &[u8], at: usize, header_len: usize) -> Result<LaxSlicedPacket<'_>, Leftover> {
    let ether_type = packet.get(at..).and_then(<[u8]>::first_chunk).ok_or(Leftover::Other)?;
    let rest = packet.get(header_len..).ok_or(Leftover::Other)?;
    Ok(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(*ether_type)), rest))
}
