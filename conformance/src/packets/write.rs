//! Records of a capture as the packets that may have carried them: Ethernet, IP and TCP, as pcapng.
//!
//! The addresses are those of the capture where it has them; where it has none, or the path of a Unix socket, they are from
//! the range for documentation. Every segment is confirmed at once. Times are those of the capture.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder, TcpHeader};
use zeo_codec::session::Direction;

use crate::capture::{End, Endpoints, Event, Metadata, Record};
use crate::sniff::MissingNote;

/// Longest part of a stream in one packet.
const SEGMENT_LEN: usize = 16 * 1024;
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// How the comment on a section begins in which the metadata of a capture stand.
pub const METADATA_MARK: &str = "zeocap metadata ";
// Of the pcapng format: kinds of blocks and options, and the mark by which readers know the byte order.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;
const OPTION_COMMENT: u16 = 1;
const OPTION_RESOLUTION: u16 = 9;
/// An option has 16 bits for its length.
const COMMENT_LEN_MAX: usize = 60_000;

/// Writes packets.
#[derive(Debug)]
pub struct PacketWriter<W> {
    out: W,
    /// When time 0 was, since 1970.
    started: Duration,
    connections: HashMap<u32, Connection>,
}

#[derive(Debug)]
struct Connection {
    client: SocketAddr,
    server: SocketAddr,
    /// Sequence numbers of what each side sends next.
    client_next: u32,
    server_next: u32,
    /// The handshake is due, and belongs to this time.
    handshake: Option<Duration>,
}

/// What a segment is beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    Syn,
    SynAck,
    Data,
    Fin,
    Reset,
}

impl<W: Write> PacketWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, metadata: &Metadata) -> io::Result<Self> {
        let json = serde_json::to_string(metadata)?;
        let comment = format!("{METADATA_MARK}{json}");
        let comment = Some(comment.as_str()).filter(|text| text.len() <= COMMENT_LEN_MAX);
        // The byte order, version 1.0, and a section of unknown length.
        let section = [&BYTE_ORDER.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
        out.write_all(&block(
            SECTION_HEADER,
            &section,
            &options(OPTION_COMMENT, comment.map(str::as_bytes)),
        ))?;
        // Packets of any length.
        let interface = [LINKTYPE_ETHERNET.to_le_bytes(), [0; 2], [0; 2], [0; 2]].concat();
        // Powers of ten: nanoseconds.
        out.write_all(&block(INTERFACE, &interface, &options(OPTION_RESOLUTION, Some(&[9]))))?;
        let started = metadata.started.parse::<jiff::Timestamp>().ok();
        let started =
            started.and_then(|time| Duration::try_from(time.as_duration()).ok()).unwrap_or_default();
        Ok(Self { out, started, connections: HashMap::new() })
    }

    /// Writes the packets of one record.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let (time, number) = (record.time, record.connection);
        if number == 0 {
            return Ok(());
        }
        if let Event::Opened(endpoints) = &record.event {
            if let Some(mut old) = self.connections.insert(number, Connection::new(number, endpoints, time)) {
                self.shake_hands(&mut old)?;
            }
            return Ok(());
        }
        let mut connection = self.connections.remove(&number).unwrap_or_else(|| Connection {
            handshake: None,
            ..Connection::new(number, &Endpoints::default(), time)
        });
        let missing = match &record.event {
            Event::Note(text) => MissingNote::parse(text),
            Event::Opened(_) | Event::Bytes { .. } | Event::Ended { .. } => None,
        };
        if let Some(MissingNote { len: None, .. }) = missing {
            connection.handshake = None;
        }
        self.shake_hands(&mut connection)?;
        match &record.event {
            Event::Bytes { direction, bytes } => {
                for part in bytes.chunks(SEGMENT_LEN) {
                    self.send(time, &mut connection, *direction, Control::Data, part, None)?;
                    self.send(time, &mut connection, other(*direction), Control::Data, &[], None)?;
                }
            }
            Event::Ended { direction, end } => {
                let (control, text) = match end {
                    End::Closed => (Control::Fin, None),
                    End::Reset => (Control::Reset, None),
                    End::Cut | End::Other(_) => (Control::Fin, Some(end.text())),
                };
                self.send(time, &mut connection, *direction, control, &[], text)?;
            }
            Event::Note(text) => match missing {
                Some(MissingNote { direction, len }) => {
                    // As many as fit: sequence numbers come around.
                    let bytes = len.unwrap_or(0).to_be_bytes();
                    let [.., a, b, c, d] = bytes;
                    connection.advance(direction, u32::from_be_bytes([a, b, c, d]));
                }
                None => {
                    let text: &str = text;
                    self.send(time, &mut connection, Direction::FromClient, Control::Data, &[], Some(text))?;
                }
            },
            Event::Opened(_) => {}
        }
        self.connections.insert(number, connection);
        Ok(())
    }

    /// Ends the file, and gives back what it was written to.
    ///
    /// # Errors
    /// Those of the file.
    pub fn finish(mut self) -> io::Result<W> {
        for (_, mut connection) in std::mem::take(&mut self.connections) {
            self.shake_hands(&mut connection)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn shake_hands(&mut self, connection: &mut Connection) -> io::Result<()> {
        let Some(time) = connection.handshake.take() else { return Ok(()) };
        self.send(time, connection, Direction::FromClient, Control::Syn, &[], None)?;
        self.send(time, connection, Direction::FromServer, Control::SynAck, &[], None)?;
        self.send(time, connection, Direction::FromClient, Control::Data, &[], None)
    }

    fn send(
        &mut self,
        time: Duration,
        connection: &mut Connection,
        direction: Direction,
        control: Control,
        data: &[u8],
        text: Option<&str>,
    ) -> io::Result<()> {
        let frame = connection.frame(direction, control, data)?;
        let units = u64::try_from(self.started.saturating_add(time).as_nanos()).unwrap_or(u64::MAX);
        let [h0, h1, h2, h3, l0, l1, l2, l3] = units.to_be_bytes();
        let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let mut packet = Vec::with_capacity(frame.len() + 24);
        for field in [0, u32::from_be_bytes([h0, h1, h2, h3]), u32::from_be_bytes([l0, l1, l2, l3]), len, len]
        {
            packet.extend_from_slice(&field.to_le_bytes());
        }
        packet.extend_from_slice(&frame);
        let text = text.map(|text| text.get(..text.floor_char_boundary(COMMENT_LEN_MAX)).unwrap_or_default());
        self.out.write_all(&block(
            ENHANCED_PACKET,
            &packet,
            &options(OPTION_COMMENT, text.map(str::as_bytes)),
        ))
    }
}

impl Connection {
    fn new(number: u32, endpoints: &Endpoints, time: Duration) -> Self {
        let address = |text: &str| text.parse::<SocketAddr>().ok();
        let addresses = address(&endpoints.client).zip(address(&endpoints.server));
        let (client, server) =
            addresses.filter(|(client, server)| client.is_ipv4() == server.is_ipv4()).unwrap_or_else(|| {
                // The range for examples, and ports that nobody is given for good.
                let [.., high, low] = number.to_be_bytes();
                let port = u16::from_be_bytes([0xc0 | (high & 0x3f), low]);
                let address = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
                (SocketAddr::new(address(1), port), SocketAddr::new(address(2), 8100))
            });
        // Another connection between the same ports is known by another number.
        let first = number.wrapping_mul(0x0101_0101);
        Self { client, server, client_next: first, server_next: !first, handshake: Some(time) }
    }

    const fn advance(&mut self, direction: Direction, len: u32) {
        match direction {
            Direction::FromClient => self.client_next = self.client_next.wrapping_add(len),
            Direction::FromServer => self.server_next = self.server_next.wrapping_add(len),
        }
    }

    fn frame(&mut self, direction: Direction, control: Control, data: &[u8]) -> io::Result<Vec<u8>> {
        let (source, target, macs, next, confirmed) = match direction {
            Direction::FromClient => {
                (self.client, self.server, [CLIENT_MAC, SERVER_MAC], self.client_next, self.server_next)
            }
            Direction::FromServer => {
                (self.server, self.client, [SERVER_MAC, CLIENT_MAC], self.server_next, self.client_next)
            }
        };
        let mut tcp = TcpHeader::new(source.port(), target.port(), next, u16::MAX);
        tcp.syn = matches!(control, Control::Syn | Control::SynAck);
        tcp.ack = control != Control::Syn;
        tcp.acknowledgment_number = if tcp.ack { confirmed } else { 0 };
        tcp.psh = !data.is_empty();
        tcp.fin = control == Control::Fin;
        tcp.rst = control == Control::Reset;
        let ip = match (source.ip(), target.ip()) {
            (IpAddr::V6(source), IpAddr::V6(target)) => IpHeaders::Ipv6(
                Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: 0,
                    next_header: IpNumber::TCP,
                    hop_limit: 64,
                    source: source.octets(),
                    destination: target.octets(),
                },
                etherparse::Ipv6Extensions::default(),
            ),
            (source, target) => {
                let octets = |address| match address {
                    IpAddr::V4(address) => address.octets(),
                    // Both are of one family.
                    IpAddr::V6(_) => [0; 4],
                };
                let header = Ipv4Header::new(0, 64, IpNumber::TCP, octets(source), octets(target));
                IpHeaders::Ipv4(header.map_err(io::Error::other)?, etherparse::Ipv4Extensions::default())
            }
        };
        let [from, to] = macs;
        let builder = PacketBuilder::ethernet2(from, to).ip(ip).tcp_header(tcp);
        let mut frame = Vec::with_capacity(builder.size(data.len()));
        // The lengths and checksums are filled in there.
        builder.write(&mut frame, data).map_err(io::Error::other)?;
        let control_len = u32::from(!matches!(control, Control::Data | Control::Reset));
        let len = u32::try_from(data.len()).map_err(io::Error::other)?;
        self.advance(direction, len + control_len);
        Ok(frame)
    }
}

const fn other(direction: Direction) -> Direction {
    match direction {
        Direction::FromClient => Direction::FromServer,
        Direction::FromServer => Direction::FromClient,
    }
}

/// A block: type, length, body, options, and the length once more. Everything is filled up to four bytes.
fn block(kind: u32, body: &[u8], options: &[u8]) -> Vec<u8> {
    let len = 12 + body.len().next_multiple_of(4) + options.len();
    // Neither packets nor comments come near to what the field can hold.
    let len_field = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    let mut block = Vec::with_capacity(len);
    block.extend_from_slice(&kind.to_le_bytes());
    block.extend_from_slice(&len_field);
    block.extend_from_slice(body);
    block.resize(block.len().next_multiple_of(4), 0);
    block.extend_from_slice(options);
    block.extend_from_slice(&len_field);
    block
}

/// One option, and the end of the options; or none.
fn options(code: u16, value: Option<&[u8]>) -> Vec<u8> {
    let Some(value) = value else { return Vec::new() };
    let mut options = code.to_le_bytes().to_vec();
    options.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    options.extend_from_slice(value);
    options.resize(options.len().next_multiple_of(4), 0);
    options.extend_from_slice(&[0; 4]);
    options
}
