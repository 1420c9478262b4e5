//! Loads, several of them under way on each connection.
//!
//! Requests are encoded beforehand; the replies are only counted off by their lengths, but for one of
//! `CHECK_INTERVAL`, which is read as a client would.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use zeo_codec::call::{LoadBefore, Loaded};
use zeo_codec::frame::LENGTH_LEN;
use zeo_codec::handshake::Protocol;
use zeo_codec::{Dialect, Envelope, Flag, Limits, Method, MsgId, REPLY, Reply, Tid, write_message};

use super::BenchError;
use super::data::{Random, Set, check_record};
use super::window::{Phase, Tally, Window};

/// One of so many replies is compared byte for byte.
const CHECK_INTERVAL: u64 = 509;
/// Requests that are encoded beforehand; then they begin again.
const REQUEST_COUNT: usize = 4096;
/// Room for replies: a whole pipeline of large ones, twice.
const BUFFER_LEN: usize = 1024 * 1024;

/// Encoded requests for random objects of a set, one after the other, all of one length.
#[derive(Debug)]
pub struct Requests {
    bytes: Vec<u8>,
    frame_len: usize,
    oids: Vec<zeo_codec::Oid>,
}

impl Requests {
    /// Requests in the given protocol.
    ///
    /// # Errors
    /// Never, as loads can be expressed in every protocol.
    pub fn new(protocol: Protocol, set: Set, seed: u64) -> Result<Self, BenchError> {
        let mut random = Random::new(seed);
        let oids: Vec<_> = (0..REQUEST_COUNT).map(|_| set.pick(&mut random)).collect();
        let mut bytes = Vec::new();
        for &oid in &oids {
            let call = LoadBefore { oid, before: Tid::MAX };
            let id = MsgId::Load(oid, Tid::MAX);
            let name = Method::LoadBefore.name();
            write_message(&mut bytes, &protocol.dialect(), &id, Flag::Bool(false), name, &call)?;
        }
        Ok(Self { frame_len: bytes.len() / REQUEST_COUNT, bytes, oids })
    }

    /// Length of each request with its frame.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        self.frame_len
    }

    /// The requests from `first` on, at most `count`, up to the end of the table.
    fn frames(&self, first: usize, count: usize) -> &[u8] {
        let end = (first + count).min(self.oids.len());
        self.bytes.get(first * self.frame_len..end * self.frame_len).unwrap_or_default()
    }
}

/// Length of the reply to a load from `set`, with its frame, as our codec writes it. Python writes the same.
///
/// # Errors
/// Never, as replies can be expressed in every protocol.
pub fn reply_frame_len(protocol: Protocol, set: Set) -> Result<usize, BenchError> {
    let mut frame = Vec::new();
    let id = MsgId::Load(zeo_codec::Oid::ZERO, Tid::MAX);
    let loaded = Loaded { data: vec![0; set.data_len].into(), serial: Tid::MAX, end: None };
    write_message(&mut frame, &protocol.dialect(), &id, Flag::RESULT, REPLY, &loaded)?;
    Ok(frame.len())
}

/// What replies are.
#[derive(Debug, Clone, Copy)]
pub enum Expect {
    /// Those of a ZEO server to loads from this set; their common length is taken from the first.
    Revisions(Set, Dialect),
    /// Frames of this length without meaning, from the echo server.
    Frames(usize),
}

/// A connection with loads under way.
#[derive(Debug)]
pub struct Pipeline {
    stream: TcpStream,
    requests: Requests,
    expect: Expect,
    /// Length of every reply with its frame; 0 before the first.
    reply_len: usize,
    sent_count: u64,
    answered_count: u64,
    sent_at: VecDeque<Instant>,
    buffer: Vec<u8>,
    filled_len: usize,
}

impl Pipeline {
    /// Nothing is under way yet.
    #[must_use]
    pub fn new(stream: TcpStream, requests: Requests, expect: Expect) -> Self {
        let reply_len = if let Expect::Frames(frame_len) = expect { frame_len } else { 0 };
        Self {
            stream,
            requests,
            expect,
            reply_len,
            sent_count: 0,
            answered_count: 0,
            sent_at: VecDeque::new(),
            buffer: vec![0; BUFFER_LEN],
            filled_len: 0,
        }
    }

    /// Keeps `depth` loads under way until the window is over, and collects the last of them.
    ///
    /// # Errors
    /// A wrong answer, a hang-up, or silence.
    pub fn run(mut self, depth: usize, window: &Window) -> Result<Tally, BenchError> {
        let mut tally = Tally::new();
        self.send(depth)?;
        loop {
            let read_len = self.stream.read(self.buffer.get_mut(self.filled_len..).unwrap_or_default())?;
            if read_len == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.filled_len += read_len;
            let phase = window.phase();
            let answered = self.take_replies(phase, &mut tally)?;
            if phase != Phase::Over {
                self.send(answered)?;
            } else if self.sent_at.is_empty() {
                return Ok(tally);
            }
        }
    }

    fn send(&mut self, count: usize) -> Result<(), BenchError> {
        let now = Instant::now();
        let mut left = count;
        while left > 0 {
            let first = self.index(self.sent_count);
            let frames = self.requests.frames(first, left);
            self.stream.write_all(frames)?;
            let written = frames.len() / self.requests.frame_len.max(1);
            self.sent_count += written as u64;
            left -= written;
        }
        self.sent_at.extend(std::iter::repeat_n(now, count));
        Ok(())
    }

    /// Counts off all whole replies and keeps the rest.
    fn take_replies(&mut self, phase: Phase, tally: &mut Tally) -> Result<usize, BenchError> {
        let now = Instant::now();
        let mut answered = 0;
        let mut start = 0;
        while let Some(frame) = whole_frame(self.buffer.get(start..self.filled_len).unwrap_or_default()) {
            if self.reply_len == 0 {
                self.reply_len = frame.len();
                self.check(frame)?;
            }
            if frame.len() != self.reply_len {
                self.check(frame)?;
                let text = format!("a reply of {} bytes, expected {}", frame.len(), self.reply_len);
                return Err(BenchError::Wrong(text));
            }
            if self.answered_count.is_multiple_of(CHECK_INTERVAL) {
                self.check(frame)?;
            }
            start += frame.len();
            self.answered_count += 1;
            answered += 1;
            let sent_at = self.sent_at.pop_front();
            let sent_at = sent_at.ok_or_else(|| BenchError::Wrong("a reply to nothing".to_owned()))?;
            if phase == Phase::Measuring {
                tally.add(1, now.saturating_duration_since(sent_at));
            }
        }
        self.buffer.copy_within(start..self.filled_len, 0);
        self.filled_len -= start;
        Ok(answered)
    }

    fn index(&self, count: u64) -> usize {
        usize::try_from(count).unwrap_or_default() % self.requests.oids.len()
    }

    /// Reads a reply as a client would: it must answer the oldest request with the right data.
    fn check(&self, frame: &[u8]) -> Result<(), BenchError> {
        let Expect::Revisions(set, dialect) = self.expect else { return Ok(()) };
        let oid = self.requests.oids.get(self.index(self.answered_count)).copied().unwrap_or_default();
        let payload = frame.get(LENGTH_LEN..).unwrap_or_default();
        let envelope = Envelope::parse(payload, dialect.framing, &Limits::DEFAULT)?;
        if !envelope.is_reply() || envelope.flag.is_set() || envelope.id != MsgId::Load(oid, Tid::MAX) {
            let text = format!("{:?} {:?} to a load of {oid}", envelope.id, envelope.flag);
            return Err(BenchError::Wrong(text));
        }
        match Reply::parse(Some(Method::LoadBefore), envelope.args, &Limits::DEFAULT)? {
            Reply::Loaded(Loaded { data, end: None, .. }) => {
                check_record(oid, &data, set.data_len).map(|_| ())
            }
            _ => Err(BenchError::Wrong(format!("no current revision of {oid}"))),
        }
    }
}

/// The first frame, if it is all there.
fn whole_frame(bytes: &[u8]) -> Option<&[u8]> {
    let (length, _) = bytes.split_first_chunk::<LENGTH_LEN>()?;
    let payload_len = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    bytes.get(..LENGTH_LEN.checked_add(payload_len)?)
}

#[cfg(test)]
mod tests {
    use super::super::data::{LARGE, SMALL};
    use super::*;

    #[test]
    fn requests_have_one_length_in_each_protocol() {
        for protocol in [Protocol::Z5, Protocol::M5] {
            let requests = Requests::new(protocol, SMALL, 1).unwrap();
            let frames = requests.frames(REQUEST_COUNT - 2, 16);
            assert_eq!(frames.len(), 2 * requests.frame_len());
            assert_eq!(whole_frame(frames).unwrap().len(), requests.frame_len());
            assert!(reply_frame_len(protocol, LARGE).unwrap() > LARGE.data_len);
        }
    }

    #[test]
    fn a_frame_counts_when_it_is_whole() {
        assert_eq!(whole_frame(b"\0\0\0\x02ab\0"), Some(&b"\0\0\0\x02ab"[..]));
        assert_eq!(whole_frame(b"\0\0\0\x02a"), None);
        assert_eq!(whole_frame(b"\0\0\0"), None);
    }
}
