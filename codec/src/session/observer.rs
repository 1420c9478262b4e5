//! Both directions of a connection at once, for sniffers and proxies. An observer never ends a session: it
//! reports what it cannot read and goes on with the next frame, as long as frames can be told apart.

use bytes::Bytes;

use super::PendingCalls;
use crate::call::Method;
use crate::dialect::{Dialect, ErrorShape};
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
    /// Frames cannot be told apart any more in this direction. Reported once.
    Lost(FrameError),
}

/// A state machine: `receive`, then drain `poll_event` of that direction.
#[derive(Debug)]
pub struct Observer {
    client: Half,
    server: Half,
    dialect: Option<Dialect>,
    is_probe: bool,
    pending: PendingCalls,
    limits: Limits,
}

#[derive(Debug)]
struct Half {
    deframer: Deframer,
    has_greeted: bool,
    is_lost: bool,
}

impl Half {
    fn new(limits: &Limits) -> Self {
        let deframer = Deframer::new(limits.frame_bytes, MacBit::Announces);
        Self { deframer, has_greeted: false, is_lost: false }
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
            is_probe: false,
            pending: PendingCalls::new(limits.pending_count),
            limits,
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
        let has_dialect = self.dialect.is_some() || self.is_probe;
        let half = self.half(direction);
        if half.is_lost || (half.has_greeted && !has_dialect) {
            return None;
        }
        match half.deframer.next_frame() {
            Ok(None) => None,
            Err(error) => {
                half.is_lost = true;
                Some(Observed::Lost(error))
            }
            Ok(Some(frame)) if half.has_greeted => Some(self.message(direction, frame)),
            Ok(Some(frame)) => {
                half.has_greeted = true;
                if direction == Direction::FromClient {
                    self.client_greeted(&frame.payload);
                }
                Some(Observed::Hello(frame.payload))
            }
        }
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
                // At the bound replies go untyped; nothing else is lost.
                let _ = self.pending.insert(&id, method);
            }
            Observed::Call { payload, method }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{FromClient, FromServer};

    #[test]
    fn types_replies_and_survives_garbage() {
        let mut observer = Observer::new(Limits::DEFAULT);
        observer.receive(FromServer, b"\0\0\0\x02Z5\0\0\0\x0b\x94\x01\x00\xa6.reply\xc0");
        assert!(matches!(observer.poll_event(FromServer), Some(Observed::Hello(_))));
        assert_eq!(observer.poll_event(FromServer), None, "the framing is not known yet");
        observer.receive(FromClient, b"\0\0\0\x02M5\0\0\0\x09\x94\x01\xc2\xa4ping\x90\0\0\0\x01\xc1");
        assert!(matches!(observer.poll_event(FromClient), Some(Observed::Hello(_))));
        let call = observer.poll_event(FromClient);
        assert!(matches!(call, Some(Observed::Call { method: Some(Method::Ping), .. })));
        assert!(matches!(observer.poll_event(FromClient), Some(Observed::Undecodable { .. })));
        let reply = observer.poll_event(FromServer);
        assert!(matches!(reply, Some(Observed::Reply { method: Some(Method::Ping), is_error: false, .. })));
    }
}
