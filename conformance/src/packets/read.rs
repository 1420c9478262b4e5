//! Packets out of pcap and pcapng files.
//!
//! pcap-parser reads the blocks: it is the parser that is maintained for both formats, borrows from the buffer, is built
//! on nom as the codec is, and leaves it to its caller where the bytes come from.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use pcap_parser::nom;
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, Linktype, PcapHeader};
use pcap_parser::{parse_block_be, parse_block_le, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_header};

use super::error::PacketError;

/// Longest block that is read. Packets have at most 64 KiB, or 256 KiB with segmentation left to the network card.
const BLOCK_LEN_MAX: usize = 4 << 20;
const BUFFER_LEN: usize = 512 * 1024;
/// A section with more interfaces is not believed.
const INTERFACE_COUNT_MAX: usize = 10_000;

/// A packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// When it was captured, since 1970.
    pub time: Duration,
    /// What it was captured on.
    pub linktype: Linktype,
    /// Its bytes, as far as they were captured.
    pub data: &'a [u8],
    /// The comment on the section that it is in.
    pub comment: Option<&'a str>,
}

/// Whether a file that begins so holds packets.
#[must_use]
pub fn is_packets(start: &[u8]) -> bool {
    matches!(
        start,
        [0x0a, 0x0d, 0x0d, 0x0a, ..]
            | [0xd4, 0xc3, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0xc3, 0xd4, ..]
            | [0x4d, 0x3c, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0x3c, 0x4d, ..]
    )
}

/// Reads packets, in the memory of the largest.
#[derive(Debug)]
pub struct PacketReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// The part of the buffer that was read and not yet used.
    start: usize,
    end: usize,
    /// Place of `start` in the file.
    offset: u64,
    format: Format,
    comment: Option<String>,
}

#[derive(Debug)]
enum Format {
    /// Nothing was read yet.
    Unknown,
    Pcap {
        linktype: Linktype,
        is_big_endian: bool,
        is_in_nanoseconds: bool,
    },
    PcapNg {
        is_big_endian: bool,
        interfaces: Vec<Interface>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    linktype: Linktype,
    resolution: Resolution,
    /// Seconds to add.
    offset_s: i64,
}

/// Units of time, of which a second has so many.
#[derive(Debug, Clone, Copy)]
enum Resolution {
    PowerOfTen(u32),
    PowerOfTwo(u32),
}

/// What became of the bytes at hand.
enum Parsed {
    Used(usize),
    Incomplete,
    Damaged,
}

impl<R: Read> PacketReader<R> {
    /// Reads a file from its first byte on.
    #[must_use]
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER_LEN],
            start: 0,
            end: 0,
            offset: 0,
            format: Format::Unknown,
            comment: None,
        }
    }

    /// How many bytes of the file were used.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Hands on the packets of the next block: none or one. False at the end of the file.
    ///
    /// # Errors
    /// [`PacketError`]; what `take` gives is its own.
    pub fn next_block<E>(
        &mut self,
        take: &mut dyn FnMut(Packet<'_>) -> Result<(), E>,
    ) -> Result<Result<bool, E>, PacketError> {
        loop {
            let mut taken = Ok(());
            let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
            let parsed = self.format.parse(bytes, &mut self.comment, &mut |packet| taken = take(packet));
            match parsed {
                Parsed::Used(len) => {
                    self.start += len;
                    self.offset += len as u64;
                    return Ok(taken.map(|()| true));
                }
                Parsed::Damaged if !bytes.is_empty() => {
                    return Err(PacketError::Damaged { offset: self.offset });
                }
                Parsed::Damaged | Parsed::Incomplete => {}
            }
            if !self.fill()? {
                return match self.end - self.start {
                    0 => Ok(Ok(false)),
                    _ => Err(PacketError::Cut { offset: self.offset }),
                };
            }
        }
    }

    /// Reads more. False at the end of the file.
    fn fill(&mut self) -> Result<bool, PacketError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            if self.buffer.len() >= BLOCK_LEN_MAX {
                return Err(PacketError::TooLong { offset: self.offset, limit_len: BLOCK_LEN_MAX });
            }
            self.buffer.resize((self.buffer.len() * 2).min(BLOCK_LEN_MAX), 0);
        }
        loop {
            let space = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.source.read(space) {
                Ok(len) => {
                    self.end += len;
                    return Ok(len > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // So a decompressor says that its file was cut.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                Err(source) => return Err(PacketError::Io { offset: self.offset, source }),
            }
        }
    }
}

impl Format {
    fn parse(
        &mut self,
        bytes: &[u8],
        comment: &mut Option<String>,
        take: &mut dyn FnMut(Packet<'_>),
    ) -> Parsed {
        match self {
            Self::Unknown if bytes.len() < 4 => Parsed::Incomplete,
            Self::Unknown if bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) => {
                *self = Self::PcapNg { is_big_endian: false, interfaces: Vec::new() };
                self.parse(bytes, comment, take)
            }
            Self::Unknown => match parse_pcap_header(bytes) {
                Ok((rest, header)) => {
                    *self = Self::from_header(&header);
                    Parsed::Used(bytes.len() - rest.len())
                }
                Err(error) => failed(&error),
            },
            Self::Pcap { linktype, is_big_endian, is_in_nanoseconds } => {
                let parse = if *is_big_endian { parse_pcap_frame_be } else { parse_pcap_frame };
                match parse(bytes) {
                    Ok((rest, frame)) => {
                        let unit = if *is_in_nanoseconds { 1 } else { 1000 };
                        // A damaged fraction may be more than a second.
                        let fraction = Duration::from_nanos(u64::from(frame.ts_usec) * unit);
                        let time = Duration::from_secs(frame.ts_sec.into()) + fraction;
                        take(Packet { time, linktype: *linktype, data: frame.data, comment: None });
                        Parsed::Used(bytes.len() - rest.len())
                    }
                    Err(error) => failed(&error),
                }
            }
            Self::PcapNg { is_big_endian, interfaces } => {
                let parse = if *is_big_endian { parse_block_be } else { parse_block_le };
                match parse(bytes) {
                    Ok((rest, block)) => {
                        take_block(&block, is_big_endian, interfaces, comment, take);
                        Parsed::Used(bytes.len() - rest.len())
                    }
                    Err(error) => failed(&error),
                }
            }
        }
    }

    fn from_header(header: &PcapHeader) -> Self {
        Self::Pcap {
            // The upper bits tell of checksums in the frames, which nobody reads.
            linktype: Linktype(header.network.0 & 0x0fff_ffff),
            is_big_endian: header.is_bigendian(),
            is_in_nanoseconds: header.is_nanosecond_precision(),
        }
    }
}

fn failed<E>(error: &nom::Err<E>) -> Parsed {
    if matches!(error, nom::Err::Incomplete(_)) { Parsed::Incomplete } else { Parsed::Damaged }
}

fn take_block(
    block: &Block<'_>,
    is_big_endian: &mut bool,
    interfaces: &mut Vec<Interface>,
    comment: &mut Option<String>,
    take: &mut dyn FnMut(Packet<'_>),
) {
    match block {
        Block::SectionHeader(section) => {
            *is_big_endian = section.big_endian();
            interfaces.clear();
            let mut comments =
                section.options.iter().filter(|option| option.code == pcap_parser::OptionCode::Comment);
            *comment = comments.next_back().map(|option| {
                let len = usize::from(option.len).min(option.value.len());
                String::from_utf8_lossy(option.value.get(..len).unwrap_or_default()).into_owned()
            });
        }
        Block::InterfaceDescription(interface) if interfaces.len() < INTERFACE_COUNT_MAX => {
            let exponent = u32::from(interface.if_tsresol & 0x7f);
            let is_binary = interface.if_tsresol & 0x80 != 0;
            interfaces.push(Interface {
                linktype: interface.linktype,
                resolution: match is_binary {
                    true => Resolution::PowerOfTwo(exponent),
                    false => Resolution::PowerOfTen(exponent),
                },
                offset_s: interface.if_tsoffset,
            });
        }
        Block::EnhancedPacket(packet) => {
            let index = usize::try_from(packet.if_id).unwrap_or(usize::MAX);
            let Some(interface) = interfaces.get(index) else { return };
            let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            let time = interface.time(units);
            take(Packet {
                time,
                linktype: interface.linktype,
                data: packet.packet_data(),
                comment: comment.as_deref(),
            });
        }
        // Without a time.
        Block::SimplePacket(packet) => {
            let Some(interface) = interfaces.first() else { return };
            let data = packet.packet_data();
            take(Packet {
                time: Duration::ZERO,
                linktype: interface.linktype,
                data,
                comment: comment.as_deref(),
            });
        }
        // Statistics, names, and whatever else programs put there.
        _ => {}
    }
}

impl Interface {
    fn time(&self, units: u64) -> Duration {
        let nanos = match self.resolution {
            Resolution::PowerOfTen(exponent @ 0..=9) => u128::from(units) * 10_u128.pow(9 - exponent),
            Resolution::PowerOfTen(exponent) => {
                10_u128.checked_pow(exponent - 9).map_or(0, |divisor| u128::from(units) / divisor)
            }
            Resolution::PowerOfTwo(exponent) => (u128::from(units) * 1_000_000_000) >> exponent.min(127),
        };
        let offset = Duration::from_secs(self.offset_s.unsigned_abs());
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        match self.offset_s {
            0.. => time.saturating_add(offset),
            _ => time.saturating_sub(offset),
        }
    }
}
