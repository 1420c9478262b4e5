//! The server's side of a connection.

use core::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{MacCheck, Message, Output, SessionError};
use crate::call::Method;
use crate::dialect::{Dialect, ErrorShape};
use crate::digest::SessionKey;
use crate::emit::EncodeError;
use crate::envelope::{Body, Flag, MsgId, REPLY};
use crate::frame::{Deframer, MacBit};
use crate::handshake::{Hello, Protocol, Version, server_accepts};
use crate::limits::Limits;
use crate::pickle::PickleFlavor;
use crate::reply::RemoteError;

/// What a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerEvent {
    /// It chose this protocol.
    Hello(Protocol),
    /// It asks for the server's status and nothing else: answer with [`ServerSession::finish_ruok`].
    Ruok,
    /// It sent a message.
    Message(Message),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Our greeting is out, the client's is due.
    Greeting,
    /// The client has greeted; it must register.
    Greeted,
    Registered,
    Closed,
}

/// A state machine; see the [module](super) for how to drive it.
#[derive(Debug)]
pub struct ServerSession {
    state: State,
    deframer: Deframer,
    output: Output,
    dialect: Dialect,
    limits: Limits,
    handshake_deadline: Option<Duration>,
    oldest: Version,
    is_flavor_known: bool,
    mac_check: MacCheck,
}

impl ServerSession {
    /// Begins by announcing `protocol`. The client decides the framing.
    #[must_use]
    pub fn new(protocol: Protocol, limits: Limits) -> Self {
        let mut session = Self {
            state: State::Greeting,
            deframer: Deframer::new(limits.frame_bytes_before_register, MacBit::Announces),
            output: Output::default(),
            dialect: protocol.dialect(),
            limits,
            handshake_deadline: None,
            oldest: Version::V5,
            is_flavor_known: false,
            mac_check: MacCheck::default(),
        };
        let mut greeting = alloc::vec::Vec::new();
        protocol.write(&mut greeting);
        session.output.frame(&greeting);
        session
    }

    /// Accepts clients down to this version, which is `Z5` otherwise. There are none of msgpack below that.
    pub const fn set_oldest(&mut self, oldest: Version) {
        self.oldest = oldest;
    }

    /// Writes from now on as the client's pickler does, if this is its first call: whether that runs Python 2 shows in
    /// its messages only, and a Python 2 peer cannot read everything that Python 3 writes (protocol reference 4.1).
    pub const fn adopt(&mut self, flavor: PickleFlavor) {
        if !self.is_flavor_known {
            self.is_flavor_known = true;
            self.dialect.pickle = flavor;
        }
    }

    /// The client has shown that it knows this key: from its next message on, and ours, each has a MAC. One that has
    /// none, or a wrong one, ends the session.
    pub fn set_key(&mut self, key: &SessionKey) {
        self.mac_check = MacCheck(Some(key.macs()));
        self.output.set_macs(key.macs());
    }

    /// Sets when the client must have greeted and [registered](Self::set_registered) at the latest, counted from
    /// the beginning of the session.
    pub const fn set_handshake_deadline(&mut self, deadline: Duration) {
        self.handshake_deadline = Some(deadline);
    }

    /// When [`on_time`](Self::on_time) must be called, if at all.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.handshake_deadline.filter(|_| matches!(self.state, State::Greeting | State::Greeted))
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// [`SessionError::HandshakeTimeout`], [`SessionError::RegistrationTimeout`]; the session is closed then.
    pub fn on_time(&mut self, now: Duration) -> Result<(), SessionError> {
        let is_late = self.handshake_deadline.is_some_and(|deadline| now >= deadline);
        match self.state {
            State::Greeting if is_late => Err(self.close(SessionError::HandshakeTimeout)),
            State::Greeted if is_late => Err(self.close(SessionError::RegistrationTimeout)),
            State::Greeting | State::Greeted | State::Registered | State::Closed => Ok(()),
        }
    }

    /// Takes bytes from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.deframer.push(bytes);
    }

    /// The buffer for bytes from the client, for a driver that reads straight into it. Only append.
    pub const fn receive_buffer(&mut self) -> &mut BytesMut {
        self.deframer.buffer()
    }

    /// Bytes that are missing until the frame at hand is complete, if that is known.
    #[must_use]
    pub fn missing_len(&self) -> Option<usize> {
        self.deframer.missing_len()
    }

    /// Position in the stream of the next frame, for error messages.
    #[must_use]
    pub const fn stream_offset(&self) -> u64 {
        self.deframer.offset()
    }

    /// The rules of this session.
    #[must_use]
    pub const fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// Lifts the limits that hold until the client has registered: on frames, and on time.
    pub const fn set_registered(&mut self) {
        self.deframer.set_limit(self.limits.frame_bytes);
        if matches!(self.state, State::Greeted) {
            self.state = State::Registered;
        }
    }

    fn close(&mut self, error: SessionError) -> SessionError {
        self.state = State::Closed;
        error
    }

    /// The next event; `None` until more bytes have come.
    ///
    /// # Errors
    /// [`SessionError::Frame`], [`SessionError::BadHandshake`], [`SessionError::BadMac`]; the session is closed then.
    /// Once closed, [`SessionError::Closed`].
    pub fn poll_event(&mut self) -> Result<Option<ServerEvent>, SessionError> {
        if self.state == State::Closed {
            return Err(SessionError::Closed);
        }
        let frame = match self.deframer.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.close(error.into())),
        };
        if matches!(self.state, State::Greeted | State::Registered) {
            self.mac_check.pass(&frame).map_err(|error| self.close(error))?;
            let message = Message { payload: frame.payload, framing: self.dialect.framing };
            return Ok(Some(ServerEvent::Message(message)));
        }
        let hello = Hello::parse(&frame.payload);
        if hello == Hello::Ruok {
            self.state = State::Closed;
            return Ok(Some(ServerEvent::Ruok));
        }
        let Some(protocol) = server_accepts(hello, self.oldest.and_newer()) else {
            return Err(self.close(SessionError::BadHandshake));
        };
        self.state = State::Greeted;
        self.dialect = protocol.dialect();
        if protocol.version == Version::V5 {
            self.deframer.set_mac_bit(MacBit::IsLength);
        }
        Ok(Some(ServerEvent::Hello(protocol)))
    }

    /// Answers a `ruok` probe with JSON. The session is over; write out the output and hang up.
    pub fn finish_ruok(&mut self, json: &str) {
        self.output.frame(json.as_bytes());
    }

    /// Answers a call.
    ///
    /// # Errors
    /// [`EncodeError`] if the framing cannot express the result; nothing was written.
    pub fn reply(&mut self, id: &MsgId<'_>, result: &impl Body) -> Result<(), EncodeError> {
        self.output.message(&self.dialect, id, Flag::RESULT, REPLY, result)
    }

    /// Answers a call with a result whose large records lie in `memory`: they are not copied
    /// ([`Output::message_sharing`]).
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub fn reply_sharing(
        &mut self,
        id: &MsgId<'_>,
        result: &impl Body,
        memory: &Bytes,
    ) -> Result<(), EncodeError> {
        self.output.message_sharing(&self.dialect, id, Flag::RESULT, REPLY, result, memory)
    }

    /// Answers a call with an error. To a client of ZEO 4 its detail has to be the pickled instance of the class.
    ///
    /// # Errors
    /// [`EncodeError`] if the framing cannot express the detail; nothing was written.
    pub fn reply_error(&mut self, id: &MsgId<'_>, error: &RemoteError<'_>) -> Result<(), EncodeError> {
        match self.dialect.errors {
            ErrorShape::ByName => self.output.message(&self.dialect, id, Flag::ERROR, REPLY, error),
            ErrorShape::ByValue => {
                let pair = error.by_value().ok_or(EncodeError)?;
                self.output.message(&self.dialect, id, Flag::RESULT, REPLY, &pair)
            }
        }
    }

    /// Makes a one-way call.
    ///
    /// # Errors
    /// [`EncodeError`] if the framing cannot express an argument; nothing was written.
    pub fn notify(&mut self, method: Method, args: &impl Body) -> Result<(), EncodeError> {
        let flag = self.dialect.call_flag(true);
        self.output.message(&self.dialect, &MsgId::ONE_WAY, flag, method.name(), args)
    }

    /// Makes a one-way call whose large records lie in `memory`, as pieces of blobs do: they are not copied
    /// ([`Output::message_sharing`]).
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn notify_sharing(
        &mut self,
        method: Method,
        args: &impl Body,
        memory: &Bytes,
    ) -> Result<(), EncodeError> {
        let flag = self.dialect.call_flag(true);
        self.output.message_sharing(&self.dialect, &MsgId::ONE_WAY, flag, method.name(), args, memory)
    }

    /// Appends frames that were encoded before, in this session's dialect.
    pub fn send_frames(&mut self, frames: &[u8]) {
        self.output.frames(frames);
    }

    /// The output, for replies that are written around their data ([`Output::message_around`]).
    pub const fn output_mut(&mut self) -> &mut Output {
        &mut self.output
    }

    /// What is to be sent to the client: the first contiguous part, empty only if there is nothing.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.unwritten()
    }

    /// All that is to be sent to the client, in contiguous parts, for vectored writes.
    pub fn output_slices(&self) -> impl Iterator<Item = &[u8]> {
        self.output.slices()
    }

    /// Number of bytes that are to be sent to the client.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Notes that the first `len` bytes of the output were sent.
    pub fn consume_output(&mut self, len: usize) {
        self.output.consume(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_first_and_follows_the_clients_framing() {
        let mut session = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
        assert_eq!(session.output(), b"\0\0\0\x02Z5");
        session.consume_output(6);
        assert!(session.output().is_empty());
        session.receive(b"\0\0\0\x02M5");
        assert_eq!(session.poll_event(), Ok(Some(ServerEvent::Hello(Protocol::M5))));
        assert_eq!(session.dialect().framing, crate::handshake::Framing::Msgpack);
    }

    #[test]
    fn ends_on_a_bad_handshake_and_stays_ended() {
        for hello in [&b"\0\0\0\x02Z4"[..], b"\0\0\0\x02X5", b"\0\0\0\0", b"\0\0\0\x04HTTP"] {
            let mut session = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
            session.receive(hello);
            assert_eq!(session.poll_event(), Err(SessionError::BadHandshake));
            session.receive(b"\0\0\0\x02Z5");
            assert_eq!(session.poll_event(), Err(SessionError::Closed));
        }
    }

    #[test]
    fn speaks_older_versions_if_it_may() {
        let hello = |oldest, hello: &[u8]| {
            let mut session = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
            session.set_oldest(oldest);
            session.receive(hello);
            session.poll_event().map(|event| (event, session.dialect().version))
        };
        let z3101 = Protocol { framing: crate::handshake::Framing::Pickle, version: Version::V3101 };
        for (oldest, greeting, accepted) in [
            (Version::V4, &b"\0\0\0\x02Z4"[..], Some(Protocol::Z4)),
            (Version::V4, b"\0\0\0\x05Z3101", None),
            (Version::V308, b"\0\0\0\x05Z3101", Some(z3101)),
            (Version::V308, b"\0\0\0\x04Z303", None),
            (Version::V308, b"\0\0\0\x02M4", None),
            (Version::V308, b"\0\0\0\x02M5", Some(Protocol::M5)),
        ] {
            let expected = accepted
                .map(|protocol| (Some(ServerEvent::Hello(protocol)), protocol.version))
                .ok_or(SessionError::BadHandshake);
            assert_eq!(hello(oldest, greeting), expected);
        }
    }

    /// Protocol reference A.6.
    #[test]
    fn with_a_key_every_message_needs_its_mac() {
        const REGISTER: &[u8] = b"\x80\x03(K\x03\x89X\x08\0\0\0registerX\x01\0\0\x001K\0\x86t.";
        const MAC: [u8; 20] = [
            0x54, 0x5b, 0xc8, 0x87, 0xb2, 0x25, 0x66, 0xe7, 0x97, 0x9e, 0x81, 0x3b, 0xfc, 0x3b, 0x77, 0x14,
            0x89, 0xe0, 0x3f, 0xbb,
        ];
        let secret = crate::digest::Secret::new("foo", "zeo realm", "secret pw");
        let key = secret.session_key("ca16928a0dd98c7ed0b27d7e7f58508f45a045e1");
        let session = |input: &[&[u8]]| {
            let mut session = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
            session.set_oldest(Version::V4);
            session.receive(b"\0\0\0\x02Z4");
            session.poll_event().unwrap();
            session.consume_output(6);
            session.set_key(&key);
            session.receive(&input.concat());
            session
        };
        let mut good = session(&[b"\x80\0\0\x1e", &MAC, REGISTER]);
        assert!(matches!(good.poll_event(), Ok(Some(ServerEvent::Message(_)))));
        good.reply(&MsgId::Int(3), &crate::Value::None).unwrap();
        let answer = b"\x80\0\0\x15\xe1\xd2\x52\x9e\x1b\x50\xde\x88\x63\x83\x81\x04\x85\xc1\x70\xad\x13\x8a\xa6\xc1\x80\x03(K\x03K\0X\x06\0\0\0.replyNt.";
        assert_eq!(good.output(), answer);

        let mut wrong = MAC;
        wrong[19] ^= 1;
        let bad: [&[&[u8]]; 3] = [
            &[b"\0\0\0\x1e", REGISTER],
            &[b"\x80\0\0\x1e", &wrong, REGISTER],
            &[b"\x80\0\0\x1e", &MAC, &REGISTER[..29], b"!"],
        ];
        for input in bad {
            let mut session = session(input);
            assert_eq!(session.poll_event(), Err(SessionError::BadMac));
            assert_eq!(session.poll_event(), Err(SessionError::Closed));
        }
    }

    #[test]
    fn waits_for_greeting_and_registration_only_so_long() {
        const DEADLINE: Duration = Duration::from_secs(10);
        const BEFORE: Duration = Duration::from_secs(9);
        let session = |input: &[u8]| {
            let mut session = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
            session.set_handshake_deadline(DEADLINE);
            session.receive(input);
            while session.poll_event().unwrap().is_some() {}
            assert_eq!((session.on_time(BEFORE), session.deadline()), (Ok(()), Some(DEADLINE)));
            session
        };
        let expect_end = |mut session: ServerSession, error| {
            assert_eq!(session.on_time(DEADLINE), Err(error));
            assert_eq!((session.on_time(DEADLINE), session.deadline()), (Ok(()), None));
            session.receive(b"\0\0\0\x02Z5");
            session.set_registered();
            assert_eq!(session.poll_event(), Err(SessionError::Closed));
        };
        expect_end(session(b"\0\0\0\x02Z"), SessionError::HandshakeTimeout);
        // Neither a greeting nor whatever comes after it is a registration.
        expect_end(session(b"\0\0\0\x02Z5"), SessionError::RegistrationTimeout);
        expect_end(session(b"\0\0\0\x02Z5\0\0\0\x01x\0\0\0\x09half"), SessionError::RegistrationTimeout);

        let mut registered = session(b"\0\0\0\x02Z5");
        registered.set_registered();
        assert_eq!((registered.on_time(Duration::MAX), registered.deadline()), (Ok(()), None));
        registered.receive(b"\0\0\0\x01x");
        assert!(matches!(registered.poll_event(), Ok(Some(ServerEvent::Message(_)))));
    }

    #[test]
    fn answers_a_probe_and_closes() {
        let mut session = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
        session.receive(b"\0\0\0\x04ruok");
        assert_eq!(session.poll_event(), Ok(Some(ServerEvent::Ruok)));
        session.finish_ruok("{}");
        assert_eq!(session.output(), b"\0\0\0\x02Z5\0\0\0\x02{}");
        assert_eq!(session.poll_event(), Err(SessionError::Closed));
    }

    #[test]
    fn small_frames_only_before_register() {
        let mut session = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
        session.receive(b"\0\0\0\x02Z5\0\x01\0\x01");
        assert!(session.poll_event().unwrap().is_some());
        assert!(matches!(session.poll_event(), Err(SessionError::Frame(_))));
        let mut session = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
        session.receive(b"\0\0\0\x02Z5\0\x01\0\x01");
        assert!(session.poll_event().unwrap().is_some());
        session.set_registered();
        assert_eq!(session.poll_event(), Ok(None));
    }
}
