//! One TCP connection: segments in, records of a capture out.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use zeo_codec::session::{Direction, find_beginning};

use super::half::{Half, Piece};
use super::segment::Segment;
use crate::capture::{End, Endpoints, Event, Record};
use crate::sniff::MissingNote;

/// Takes records.
pub type Take<'t> = dyn FnMut(&Record<'_>) -> io::Result<()> + 't;

/// Bytes of a connection whose beginning is missing that are held until they tell who the client is.
const HELD_LEN_MAX: usize = 64 * 1024;
/// Longest message that is recognised then.
const MESSAGE_LEN_MAX: usize = 64 << 20;

/// One connection.
#[derive(Debug)]
pub struct Flow {
    number: u32,
    /// Both sides, each with what it sends.
    sides: [Side; 2],
    /// Which side is the client, once that is known.
    client: Option<usize>,
    /// The first of it was seen.
    is_whole: bool,
    held: Vec<Held>,
    held_len: usize,
    /// Sequence number of the client's SYN.
    syn: Option<u32>,
    last_seen: u64,
}

#[derive(Debug)]
struct Side {
    address: String,
    port: u16,
    half: Half,
}

/// What waits until the client is known.
#[derive(Debug)]
struct Held {
    time: Duration,
    side: usize,
    piece: HeldPiece,
}

#[derive(Debug)]
enum HeldPiece {
    Bytes(Vec<u8>),
    Missing(u64),
    End,
}

impl Flow {
    /// A connection that begins, or is joined, with this segment.
    #[must_use]
    pub fn new(number: u32, segment: &Segment<'_>, server_ports: &[u16]) -> Self {
        let side = |address: std::net::SocketAddr| Side {
            address: address.to_string(),
            port: address.port(),
            half: Half::default(),
        };
        let sides = [side(segment.source), side(segment.target)];
        let client = match (segment.is_syn, segment.acknowledged) {
            (true, None) => Some(0),
            (true, Some(_)) => Some(1),
            (false, _) => match [segment.source.port(), segment.target.port()]
                .map(|port| server_ports.contains(&port))
            {
                [true, false] => Some(1),
                [false, true] => Some(0),
                [true, true] | [false, false] => None,
            },
        };
        let syn = (segment.is_syn && segment.acknowledged.is_none()).then_some(segment.sequence);
        Self {
            number,
            sides,
            client,
            is_whole: segment.is_syn,
            held: Vec::new(),
            held_len: 0,
            syn,
            last_seen: 0,
        }
    }

    /// Has the sides change places.
    pub fn swap_sides(&mut self) {
        self.sides.reverse();
        self.client = self.client.map(|client| 1 - client);
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The tick at which it was seen last, for its owner.
    #[must_use]
    pub const fn last_seen(&self) -> u64 {
        self.last_seen
    }

    /// Notes that it was seen.
    pub const fn set_last_seen(&mut self, tick: u64) {
        self.last_seen = tick;
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held_len(&self) -> usize {
        self.held_len + self.sides.iter().map(|side| side.half.waiting_len()).sum::<usize>()
    }

    /// Whether a SYN begins another connection between the same ports.
    #[must_use]
    pub fn is_succeeded_by(&self, segment: &Segment<'_>) -> bool {
        let is_new = segment.acknowledged.is_none() && self.syn != Some(segment.sequence);
        segment.is_syn && (is_new || self.sides.iter().all(|side| side.half.has_ended()))
    }

    /// Says that the connection was made.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn open(&mut self, time: Duration, take: &mut Take<'_>) -> io::Result<()> {
        if self.client.is_some() { self.say_opened(time, take) } else { Ok(()) }
    }

    fn say_opened(&mut self, time: Duration, take: &mut Take<'_>) -> io::Result<()> {
        let [first, second] = &self.sides;
        let (client, server) = if self.client == Some(1) { (second, first) } else { (first, second) };
        let endpoints = Endpoints {
            client: client.address.clone(),
            server: server.address.clone(),
            ..Endpoints::default()
        };
        self.record(time, Event::Opened(Box::new(endpoints)), take)?;
        if !self.is_whole {
            for direction in [Direction::FromClient, Direction::FromServer] {
                let note = MissingNote { direction, len: None }.to_string();
                self.record(time, Event::Note(Cow::Owned(note)), take)?;
            }
        }
        Ok(())
    }

    fn record(&self, time: Duration, event: Event<'_>, take: &mut Take<'_>) -> io::Result<()> {
        take(&Record { time, connection: self.number, event })
    }

    /// Takes a segment. `sender` is 0 or 1, the side that sent it.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn segment(
        &mut self,
        time: Duration,
        sender: usize,
        segment: &Segment<'_>,
        take: &mut Take<'_>,
    ) -> io::Result<()> {
        let receiver = 1 - sender;
        let mut sequence = segment.sequence;
        if segment.is_syn {
            sequence = sequence.wrapping_add(1);
            self.begin(sender, sequence);
        }
        if let Some(acknowledged) = segment.acknowledged {
            self.begin(receiver, acknowledged);
            self.with_half(time, receiver, take, |half, give| half.acknowledged(acknowledged, give))?;
        }
        if !segment.data.is_empty() || segment.cut_len > 0 || segment.is_fin {
            self.with_half(time, sender, take, |half, give| {
                half.segment(sequence, segment.data, segment.cut_len, segment.is_fin, give)
            })?;
        }
        if segment.is_reset {
            self.reset(time, sender, take)?;
        }
        Ok(())
    }

    fn begin(&mut self, side: usize, sequence: u32) {
        if let Some(side) = self.sides.get_mut(side) {
            side.half.begin(sequence);
        }
    }

    fn reset(&mut self, time: Duration, sender: usize, take: &mut Take<'_>) -> io::Result<()> {
        for (side, end) in [
            (sender, End::Reset),
            (1 - sender, End::Other(Cow::Borrowed("the other side has reset the connection"))),
        ] {
            let has_ended = self.sides.get(side).is_none_or(|side| side.half.has_ended());
            self.with_half(time, side, take, Half::finish)?;
            let is_ended_now = self.sides.get(side).is_some_and(|side| side.half.has_ended());
            if has_ended || is_ended_now {
                continue;
            }
            self.orient(true, time, take)?;
            let direction = self.direction(side);
            self.record(time, Event::Ended { direction, end }, take)?;
            if let Some(side) = self.sides.get_mut(side) {
                side.half.close();
            }
        }
        Ok(())
    }

    /// Nothing more comes: gives out what is held.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn finish(&mut self, time: Duration, take: &mut Take<'_>) -> io::Result<()> {
        for side in [0, 1] {
            self.with_half(time, side, take, Half::finish)?;
        }
        if self.held.is_empty() { Ok(()) } else { self.orient(true, time, take) }
    }

    /// Gives out what is held now, with its holes, to be small again.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn give_up(&mut self, time: Duration, take: &mut Take<'_>) -> io::Result<()> {
        for side in [0, 1] {
            self.with_half(time, side, take, |half, give| {
                while half.waiting_len() > 0 {
                    half.give_up(give)?;
                }
                Ok(())
            })?;
        }
        if self.held.is_empty() { Ok(()) } else { self.orient(true, time, take) }
    }

    fn direction(&self, side: usize) -> Direction {
        if self.client == Some(side) { Direction::FromClient } else { Direction::FromServer }
    }

    /// Does something with one direction, whose pieces become records, or are held.
    fn with_half(
        &mut self,
        time: Duration,
        side: usize,
        take: &mut Take<'_>,
        act: impl FnOnce(&mut Half, &mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (number, direction, is_oriented) = (self.number, self.direction(side), self.client.is_some());
        let (held, held_len) = (&mut self.held, &mut self.held_len);
        let Some(half) = self.sides.get_mut(side).map(|side| &mut side.half) else { return Ok(()) };
        act(half, &mut |piece| {
            if is_oriented {
                return give(time, number, direction, piece, take);
            }
            let piece = match piece {
                Piece::Bytes(bytes) => {
                    *held_len += bytes.len();
                    HeldPiece::Bytes(bytes.to_vec())
                }
                Piece::Missing(len) => HeldPiece::Missing(len),
                Piece::End => HeldPiece::End,
            };
            held.push(Held { time, side, piece });
            Ok(())
        })?;
        if !is_oriented && !self.held.is_empty() { self.orient(false, time, take) } else { Ok(()) }
    }

    /// Finds out who the client is, and gives out what was held until then.
    fn orient(&mut self, is_urgent: bool, time: Duration, take: &mut Take<'_>) -> io::Result<()> {
        if self.client.is_some() {
            return Ok(());
        }
        let is_urgent = is_urgent || self.held_len > HELD_LEN_MAX || self.held.len() > 1000;
        let told = self.client_by_content();
        let Some(client) = told.or_else(|| is_urgent.then(|| self.client_by_port())) else { return Ok(()) };
        self.client = Some(client);
        let first = self.held.first().map_or(time, |held| held.time);
        self.say_opened(first, take)?;
        self.held_len = 0;
        for Held { time, side, piece } in std::mem::take(&mut self.held) {
            let piece = match &piece {
                HeldPiece::Bytes(bytes) => Piece::Bytes(bytes),
                HeldPiece::Missing(len) => Piece::Missing(*len),
                HeldPiece::End => Piece::End,
            };
            give(time, self.number, self.direction(side), piece, take)?;
        }
        Ok(())
    }

    fn client_by_content(&self) -> Option<usize> {
        [0, 1].into_iter().find_map(|side| {
            let pieces = self.held.iter().filter(|held| held.side == side);
            let bytes: Vec<u8> = pieces
                .filter_map(|held| match &held.piece {
                    HeldPiece::Bytes(bytes) => Some(bytes.as_slice()),
                    HeldPiece::Missing(_) | HeldPiece::End => None,
                })
                .flatten()
                .copied()
                .collect();
            let (_, beginning) = find_beginning(&bytes, None, MESSAGE_LEN_MAX).ok()?;
            match beginning.sender? {
                Direction::FromClient => Some(side),
                Direction::FromServer => Some(1 - side),
            }
        })
    }

    /// Servers have the lower port, mostly.
    fn client_by_port(&self) -> usize {
        let [first, second] = &self.sides;
        usize::from(first.port < second.port)
    }
}

fn give(
    time: Duration,
    connection: u32,
    direction: Direction,
    piece: Piece<'_>,
    take: &mut Take<'_>,
) -> io::Result<()> {
    let event = match piece {
        Piece::Bytes(bytes) => Event::Bytes { direction, bytes: Cow::Borrowed(bytes) },
        Piece::Missing(len) => Event::Note(Cow::Owned(MissingNote { direction, len: Some(len) }.to_string())),
        Piece::End => Event::Ended { direction, end: End::Closed },
    };
    take(&Record { time, connection, event })
}
