//! Both directions of a connection at once, for sniffers and proxies. An observer never ends a session: it
//! reports what it cannot read and goes on with the next frame, as long as frames can be told apart. Where bytes
//! are missing, at the beginning or later, it searches for the next message ([`Observer::joined`],
//! [`Observer::skip`]).

use bytes::Bytes;

use super::{Beginning, PendingCalls, find_beginning};
use crate::call::Method;
use crate::dialect::{Dialect, ErrorShape};
use crate::digest::{Macs, SessionKey};
use crate::envelope::{Envelope, MsgId};
use crate::error::DecodeError;
use crate::frame::{Deframer, Frame, FrameError, MacBit};
use crate::handshake::{Framing, Hello, Protocol, Version};
use crate::limits::Limits;

/// Who sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Client to server.
    FromClient,
    /// Server to client.
    FromServer,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// A greeting, or the answer to a `ruok` probe, as it came.
    Hello(Bytes),
    /// A call.
    Call {
        /// The message.
        payload: Bytes,
        /// Its method, if we know it.
        method: Option<Method>,
    },
    /// A reply.
    Reply {
        /// The message.
        payload: Bytes,
        /// The method of the call that it answers; `None` if the call was not seen or its method is unknown.
        method: Option<Method>,
        /// Whether it is an error, as far as the flag tells.
        is_error: bool,
    },
    /// A keep-alive.
    KeepAlive,
    /// A frame that is no message.
    Undecodable {
        /// The frame's payload.
        payload: Bytes,
        /// Why.
        error: DecodeError,
    },
    /// The next message has no MAC, or another one than the session's key gives
    /// ([`Observer::set_key`]): somebody changed what goes this way. Reported once; MACs are passed over from here on.
    BadMac,
    /// Frames cannot be told apart any more in this direction. Reported once; [`Observer::skip`] makes it go on.
    Lost(FrameError),
    /// So many bytes were passed over before the next message, since they are part of none that is whole.
    Skipped(u64),
}

/// A state machine: `receive`, then drain `poll_event` of that direction.
#[derive(Debug)]
pub struct Observer {
    client: Half,
    server: Half,
    dialect: Option<Dialect>,
    /// The dialect is the newest that a message without a MAC may be of: one with a MAC tells better.
    is_guessed: bool,
    is_probe: bool,
    pending: PendingCalls,
    limits: Limits,
}

#[derive(Debug)]
struct Half {
    deframer: Deframer,
    has_greeted: bool,
    is_lost: bool,
    /// While the next message is searched for: how much was passed over.
    searched_len: Option<u64>,
    macs: Option<Macs>,
    /// A message that is told behind something else.
    held: Option<Frame>,
}

impl Half {
    fn new(limits: &Limits) -> Self {
        let deframer = Deframer::new(limits.frame_bytes, MacBit::Announces);
        Self { deframer, has_greeted: false, is_lost: false, searched_len: None, macs: None, held: None }
    }

    /// Drops what is under way, and searches for the next message from here on.
    fn skip(&mut self) {
        self.has_greeted = true;
        self.is_lost = false;
        // What is missing is missing in all later MACs, too.
        self.macs = None;
        self.searched_len.get_or_insert(0);
        self.pass_over(self.deframer.buffered_len());
    }

    fn pass_over(&mut self, len: usize) {
        self.deframer.discard(len);
        self.searched_len = self.searched_len.map(|passed_len| passed_len.saturating_add(len as u64));
    }

    /// Goes on to the next message; `None` until it has come.
    fn find(&mut self, framing: Option<Framing>, limits: &Limits) -> Option<Beginning> {
        let found = find_beginning(self.deframer.buffered(), framing, limits.frame_bytes);
        let (Ok((len, _)) | Err(len)) = found;
        self.pass_over(len);
        let (_, beginning) = found.ok()?;
        self.has_greeted = !beginning.is_greeting;
        Some(beginning)
    }
}

impl Observer {
    /// Watches a connection from its first byte.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            client: Half::new(&limits),
            server: Half::new(&limits),
            dialect: None,
            is_guessed: false,
            is_probe: false,
            pending: PendingCalls::new(&limits),
            limits,
        }
    }

    /// Watches a connection whose beginning is missing, or may be: in each direction the first message is searched
    /// for, and tells how the others are to be read.
    #[must_use]
    pub fn joined(limits: Limits) -> Self {
        let mut observer = Self::new(limits);
        observer.client.skip();
        observer.server.skip();
        observer
    }

    /// Bytes that went this way are missing here, or what has come last cannot be read. The message under way is
    /// dropped, and the next one searched for.
    ///
    /// If the client's greeting is among what is missing, the next message of either side stands in for it.
    pub fn skip(&mut self, direction: Direction) {
        self.half(direction).skip();
    }

    /// Checks the MACs of a session of ZEO 4 that has this key, from the next message of each side on: call it when the
    /// server's answer to `auth_response` was seen. Without a key MACs are passed over.
    pub fn set_key(&mut self, key: &SessionKey) {
        self.client.macs = Some(key.macs());
        self.server.macs = Some(key.macs());
    }

    /// Bytes of messages in this direction that are not complete, or wait for the client's greeting.
    #[must_use]
    pub fn buffered_len(&self, direction: Direction) -> usize {
        match direction {
            Direction::FromClient => self.client.deframer.buffered_len(),
            Direction::FromServer => self.server.deframer.buffered_len(),
        }
    }

    /// While the next message is searched for in this direction: how many bytes were passed over so far. What is
    /// [buffered](Self::buffered_len) comes on top of it.
    #[must_use]
    pub const fn searched_len(&self, direction: Direction) -> Option<u64> {
        match direction {
            Direction::FromClient => self.client.searched_len,
            Direction::FromServer => self.server.searched_len,
        }
    }

    const fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::FromClient => &mut self.client,
            Direction::FromServer => &mut self.server,
        }
    }

    /// Takes bytes that went this way.
    pub fn receive(&mut self, direction: Direction, bytes: &[u8]) {
        let half = self.half(direction);
        if !half.is_lost {
            half.deframer.push(bytes);
        }
    }

    /// The rules of the session, once the client has chosen.
    #[must_use]
    pub const fn dialect(&self) -> Option<&Dialect> {
        self.dialect.as_ref()
    }

    /// The next thing seen in this direction; `None` until more bytes have come.
    ///
    /// Messages of the server wait until the client's greeting was polled: only that tells how they are
    /// encoded. Poll the client's direction first.
    pub fn poll_event(&mut self, direction: Direction) -> Option<Observed> {
        if self.dialect.is_none() && self.client.searched_len.is_some() && self.server.has_greeted {
            // The client's greeting may never come. If it has not by now, the server's message tells as much.
            self.server.searched_len.get_or_insert(0);
        }
        if self.half(direction).searched_len.is_some() {
            let searched_len = self.search(direction)?;
            if searched_len > 0 {
                return Some(Observed::Skipped(searched_len));
            }
        }
        let has_dialect = self.dialect.is_some() || self.is_probe;
        let half = self.half(direction);
        if half.is_lost || (half.has_greeted && !has_dialect) {
            return None;
        }
        if let Some(frame) = half.held.take() {
            return Some(self.message(direction, frame));
        }
        match half.deframer.next_frame() {
            Ok(None) => None,
            Err(error) => {
                half.is_lost = true;
                Some(Observed::Lost(error))
            }
            Ok(Some(frame)) if half.has_greeted => {
                if frame.mac.is_some() && self.is_guessed {
                    self.set_protocol(Protocol::Z4);
                }
                let half = self.half(direction);
                if let Some(macs) = &mut half.macs
                    && !frame.mac.is_some_and(|mac| macs.is_next(&frame.payload, &mac))
                {
                    half.macs = None;
                    half.held = Some(frame);
                    return Some(Observed::BadMac);
                }
                Some(self.message(direction, frame))
            }
            Ok(Some(frame)) => {
                half.has_greeted = true;
                if direction == Direction::FromClient {
                    self.client_greeted(&frame.payload);
                }
                Some(Observed::Hello(frame.payload))
            }
        }
    }

    /// Searches for the next message, and gives the length of what was passed over before it.
    fn search(&mut self, direction: Direction) -> Option<u64> {
        let framing = self.dialect.map(|dialect| dialect.framing);
        let limits = self.limits;
        let half = self.half(direction);
        let beginning = half.find(framing, &limits)?;
        let searched_len = half.searched_len.take();
        if !beginning.is_greeting && self.dialect.is_none() {
            // Messages of 2 GiB are not looked for: the top bit of a length goes on to announce a MAC.
            self.is_guessed = beginning.protocol == Protocol::Z5;
            self.dialect = Some(beginning.protocol.dialect());
        }
        searched_len
    }

    fn client_greeted(&mut self, payload: &[u8]) {
        let protocol = match Hello::parse(payload) {
            Hello::Zeo(protocol) => protocol,
            Hello::Ruok => {
                self.is_probe = true;
                return;
            }
            // Whatever follows is most likely read best as the oldest common form.
            Hello::Unknown(_) => Protocol::Z5,
        };
        self.set_protocol(protocol);
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        self.is_guessed = false;
        self.dialect = Some(protocol.dialect());
        if protocol.version == Version::V5 {
            self.client.deframer.set_mac_bit(MacBit::IsLength);
            self.server.deframer.set_mac_bit(MacBit::IsLength);
        }
    }

    fn message(&mut self, direction: Direction, frame: Frame) -> Observed {
        let payload = frame.payload;
        if self.is_probe {
            return Observed::Hello(payload);
        }
        let framing = self.dialect.map_or(Framing::Pickle, |dialect| dialect.framing);
        let (id, is_reply, is_set, method) = match Envelope::parse(&payload, framing, &self.limits) {
            Err(error) => return Observed::Undecodable { payload, error },
            Ok(envelope) => {
                let method = Method::from_name(&envelope.name);
                (envelope.id.clone().into_owned(), envelope.is_reply(), envelope.flag.is_set(), method)
            }
        };
        if id == MsgId::KEEP_ALIVE {
            Observed::KeepAlive
        } else if is_reply {
            let by_name = self.dialect.is_none_or(|dialect| dialect.errors == ErrorShape::ByName);
            Observed::Reply { payload, method: self.pending.take(&id).flatten(), is_error: is_set && by_name }
        } else {
            if !is_set && direction == Direction::FromClient {
                // At the bounds replies go untyped; nothing else is lost.
                let _ = self.pending.insert(&id, method);
            }
            Observed::Call { payload, method }
        }
    }
}

#[cfg(test)]
mod tests;
