//! The client's side of a connection.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::{Incoming, MacCheck, Message, Output, PendingCalls, SessionError};
use crate::call::{Call, Method};
use crate::dialect::{Dialect, ErrorShape, Generation};
use crate::digest::SessionKey;
use crate::emit::EncodeError;
use crate::envelope::{Envelope, Flag, MsgId, REPLY};
use crate::error::MessageError;
use crate::frame::{Deframer, MacBit};
use crate::handshake::{Framing, Protocol, Version, client_choice};
use crate::limits::Limits;
use crate::pickle::PickleFlavor;
use crate::reply::{RemoteError, Reply};
use crate::value::Value;
use crate::{Oid, Tid};

/// What a server did.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// It greeted, and this protocol was chosen. Calls may be made now.
    Connected(Protocol),
    /// It answered a call.
    Reply(ClientReply),
    /// It made a one-way call.
    Call(Message),
}

/// The answer to a call. Owns its frame.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientReply {
    /// Which call it answers.
    pub id: MsgId<'static>,
    /// The call's method; `None` if it was made by name.
    pub method: Option<Method>,
    payload: Bytes,
    framing: Framing,
    errors: ErrorShape,
}

impl ClientReply {
    /// `data`, which [`result`](Self::result) lent, to keep: a large one shares the memory of the frame, a small one
    /// is copied.
    #[must_use]
    pub fn keep(&self, data: Cow<'_, [u8]>) -> Bytes {
        super::kept(&self.payload, data)
    }

    /// The result, typed by the call's method, or the server's error.
    ///
    /// # Errors
    /// If the reply is not what the method returns.
    pub fn result(&self, limits: &Limits) -> Result<Result<Reply<'_>, RemoteError<'_>>, MessageError> {
        let envelope = Envelope::parse(&self.payload, self.framing, limits)?;
        match self.errors {
            ErrorShape::ByName if envelope.flag.is_set() => {
                RemoteError::parse(envelope.args, limits).map(Err)
            }
            ErrorShape::ByName => Reply::parse(self.method, envelope.args, limits).map(Ok),
            ErrorShape::ByValue => {
                let value = envelope.args.into_value(limits).map_err(MessageError::Undecodable)?;
                match RemoteError::from_zeo4(&value) {
                    Some(error) => Ok(Err(error)),
                    None => Reply::parse(self.method, crate::args::RawArgs::Value(value), limits).map(Ok),
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The server's greeting is due.
    Greeting,
    Open,
    Closed,
}

/// A state machine; see the [module](super) for how to drive it.
#[derive(Debug)]
pub struct ClientSession {
    state: State,
    deframer: Deframer,
    output: Output,
    dialect: Dialect,
    limits: Limits,
    versions: Vec<Version>,
    pending: PendingCalls,
    next_id: i64,
    first_flavor: PickleFlavor,
    is_flavor_known: bool,
    mac_check: MacCheck,
}

impl ClientSession {
    /// A client of ZEO 5 and 6 servers.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_versions(limits, &[Version::V5])
    }

    /// A client that speaks these versions.
    #[must_use]
    pub fn with_versions(limits: Limits, versions: &[Version]) -> Self {
        Self {
            state: State::Greeting,
            deframer: Deframer::new(limits.frame_bytes_before_register, MacBit::Announces),
            output: Output::default(),
            dialect: Dialect::Z5,
            limits,
            versions: versions.to_vec(),
            pending: PendingCalls::new(&limits),
            next_id: 1,
            first_flavor: PickleFlavor::Python3,
            is_flavor_known: false,
            mac_check: MacCheck::default(),
        }
    }

    /// Begins so that a server of ZEO 4 on Python 2 can read it, which reads nothing newer; one on Python 3 does, too. By
    /// default a session begins as a client on Python 3 would.
    pub const fn begin_for_any_python(&mut self) {
        self.first_flavor = PickleFlavor::Python2Protocol1;
    }

    /// The server has accepted our response: from its next message on, and ours, each has a MAC. One that has none, or
    /// a wrong one, ends the session.
    pub fn set_key(&mut self, key: &SessionKey) {
        self.mac_check = MacCheck(Some(key.macs()));
        self.output.set_macs(key.macs());
    }

    /// Takes bytes from the server.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.deframer.push(bytes);
    }

    /// The buffer for bytes from the server, for a driver that reads straight into it. Only append.
    pub const fn receive_buffer(&mut self) -> &mut BytesMut {
        self.deframer.buffer()
    }

    /// Bytes that are missing until the frame at hand is complete, if that is known.
    #[must_use]
    pub fn missing_len(&self) -> Option<usize> {
        self.deframer.missing_len()
    }

    /// The rules of this session; not yet decided before [`ClientEvent::Connected`]. Whether the server runs Python 2 its
    /// first reply tells; from then on it is written to as it writes (protocol reference 4.1).
    #[must_use]
    pub const fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    fn close(&mut self, error: SessionError) -> SessionError {
        self.state = State::Closed;
        error
    }

    /// The next event; `None` until more bytes have come.
    ///
    /// # Errors
    /// What the server did wrong; the session is closed then. Once closed, [`SessionError::Closed`].
    pub fn poll_event(&mut self) -> Result<Option<ClientEvent>, SessionError> {
        if self.state == State::Closed {
            return Err(SessionError::Closed);
        }
        self.next_event().map_err(|error| self.close(error))
    }

    fn next_event(&mut self) -> Result<Option<ClientEvent>, SessionError> {
        loop {
            let Some(frame) = self.deframer.next_frame()? else { return Ok(None) };
            if self.state == State::Greeting {
                return self.greet(&frame.payload).map(Some);
            }
            self.mac_check.pass(&frame)?;
            let message = Message { payload: frame.payload, framing: self.dialect.framing };
            let id = match message.parse(&self.limits)? {
                Incoming::KeepAlive => continue,
                Incoming::Call(_) => None,
                Incoming::Reply(envelope) => {
                    if !self.is_flavor_known {
                        self.is_flavor_known = true;
                        self.dialect.pickle = envelope.flavor;
                    }
                    Some(of_load(envelope.id.into_owned()))
                }
            };
            let Some(id) = id else { return Ok(Some(ClientEvent::Call(message))) };
            let method = self.pending.take(&id).ok_or(SessionError::UnexpectedReply)?;
            return Ok(Some(ClientEvent::Reply(ClientReply {
                id,
                method,
                payload: message.payload,
                framing: message.framing,
                errors: self.dialect.errors,
            })));
        }
    }

    fn greet(&mut self, greeting: &[u8]) -> Result<ClientEvent, SessionError> {
        let protocol = client_choice(greeting, &self.versions).ok_or(SessionError::BadHandshake)?;
        let mut answer = Vec::new();
        protocol.write(&mut answer);
        self.output.frame(&answer);
        self.state = State::Open;
        self.dialect = protocol.dialect();
        if self.dialect.generation < Generation::Zeo5 {
            self.dialect.pickle = self.first_flavor;
        }
        self.next_id = i64::from(self.dialect.first_message_id);
        self.deframer.set_limit(self.limits.frame_bytes);
        if protocol.version == Version::V5 {
            self.deframer.set_mac_bit(MacBit::IsLength);
        }
        Ok(ClientEvent::Connected(protocol))
    }

    /// Makes a call and returns the id of its reply: one-way methods get none and share
    /// [`MsgId::ONE_WAY`].
    ///
    /// # Errors
    /// [`SessionError::TooManyPending`], [`SessionError::Unencodable`]; the session goes on, nothing was
    /// sent. [`SessionError::Closed`] before the server's greeting or after the end.
    pub fn call(&mut self, call: &Call<'_>) -> Result<MsgId<'static>, SessionError> {
        let (id, flag, name) = self.header(call)?;
        self.output.message(&self.dialect, &id, flag, name, call)?;
        Ok(self.called(id, call))
    }

    /// Makes a call whose large records lie in `memory`: they are not copied ([`Output::message_sharing`]).
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_sharing(&mut self, call: &Call<'_>, memory: &Bytes) -> Result<MsgId<'static>, SessionError> {
        let (id, flag, name) = self.header(call)?;
        self.output.message_sharing(&self.dialect, &id, flag, name, call, memory)?;
        Ok(self.called(id, call))
    }

    /// Id, flag and name of a call that may be made now.
    fn header<'c>(&self, call: &'c Call<'_>) -> Result<(MsgId<'static>, Flag, &'c str), SessionError> {
        if self.state != State::Open {
            return Err(SessionError::Closed);
        }
        let name = match (call, call.method()) {
            (Call::Other { name, .. }, _) => core::str::from_utf8(name).map_err(|_| EncodeError)?,
            (_, method) => method.map_or("", Method::name),
        };
        let is_one_way = call.method().is_some_and(Method::is_one_way);
        let id = if is_one_way {
            MsgId::ONE_WAY
        } else if self.pending.len() >= self.limits.pending_count {
            return Err(SessionError::TooManyPending);
        } else if let Call::LoadBefore(load) = call
            && self.dialect.load_ids_are_pairs
        {
            MsgId::Load(load.oid, load.before)
        } else {
            MsgId::Int(self.next_id)
        };
        Ok((id, self.dialect.call_flag(is_one_way), name))
    }

    /// Notes a call that was written.
    fn called(&mut self, id: MsgId<'static>, call: &Call<'_>) -> MsgId<'static> {
        if !call.method().is_some_and(Method::is_one_way) {
            // The bound was checked before anything was written.
            let _ = self.pending.insert(&id, call.method());
            if id == MsgId::Int(self.next_id) {
                self.next_id += 1;
            }
        }
        id
    }

    /// Sends a keep-alive.
    ///
    /// # Errors
    /// [`SessionError::Closed`].
    pub fn keep_alive(&mut self) -> Result<(), SessionError> {
        if self.state != State::Open {
            return Err(SessionError::Closed);
        }
        Ok(self.output.message(&self.dialect, &MsgId::KEEP_ALIVE, Flag::RESULT, REPLY, &Value::None)?)
    }

    /// Calls whose replies have not come.
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// What is to be sent to the server: the first contiguous part, empty only if there is nothing.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.unwritten()
    }

    /// All that is to be sent to the server, in contiguous parts, for vectored writes.
    pub fn output_slices(&self) -> impl Iterator<Item = &[u8]> {
        self.output.slices()
    }

    /// Number of bytes that are to be sent to the server.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Notes that the first `len` bytes of the output were sent.
    pub fn consume_output(&mut self, len: usize) {
        self.output.consume(len);
    }
}

/// The id of a load, also from a server on Python 2, which gives back the strings that it was given as its own.
fn of_load(id: MsgId<'static>) -> MsgId<'static> {
    if let MsgId::Other(Value::Tuple(items)) = &id
        && let [oid, before] = items.as_slice()
        && let Some(oid) = oid.as_bytes().and_then(Oid::from_slice)
        && let Some(before) = before.as_bytes().and_then(Tid::from_slice)
    {
        return MsgId::Load(oid, before);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{LoadBefore, LoadSerial};

    fn connected() -> ClientSession {
        let mut session = ClientSession::new(Limits::DEFAULT);
        session.receive(b"\0\0\0\x02Z5");
        assert_eq!(session.poll_event(), Ok(Some(ClientEvent::Connected(Protocol::Z5))));
        session.consume_output(6);
        session
    }

    #[test]
    fn types_replies_by_their_calls() {
        let mut session = connected();
        let load = Call::LoadBefore(LoadBefore { oid: Oid::ZERO, before: Tid::from_u64(1) });
        // Protocol reference A.2, "C loadBefore".
        let id = session.call(&load).unwrap();
        assert_eq!(id, MsgId::Load(Oid::ZERO, Tid::from_u64(1)));
        assert_eq!(session.call(&Call::Plain(Method::Ping)).unwrap(), MsgId::Int(1));
        // (1, 0, ".reply", None)
        session.receive(b"\0\0\0\x15\x80\x03(K\x01K\0X\x06\0\0\0.replyNt.");
        let Ok(Some(ClientEvent::Reply(reply))) = session.poll_event() else { panic!("no reply") };
        assert_eq!(reply.method, Some(Method::Ping));
        assert_eq!(reply.result(&Limits::DEFAULT), Ok(Ok(Reply::None)));
    }

    /// ZEO 5.4.1 on Python 2, as captured: in its reply the id is a pair of its own strings.
    #[test]
    fn loads_from_a_server_on_python_2() {
        let mut session = connected();
        session.call(&Call::Plain(Method::Ping)).unwrap();
        let dialect = Dialect::Z5.with_pickle(PickleFlavor::Python2Protocol3);
        let mut said = Vec::new();
        let mut reply = |id: &MsgId<'_>| {
            crate::write_message(&mut said, &dialect, id, Flag::RESULT, REPLY, &Value::None).unwrap();
            core::mem::take(&mut said)
        };
        session.receive(&reply(&MsgId::Int(1)));
        assert!(session.poll_event().unwrap().is_some());
        let load = Call::LoadBefore(LoadBefore { oid: Oid::ZERO, before: Tid::from_u64(1) });
        let id = session.call(&load).unwrap();
        let answer = reply(&id);
        assert_eq!(&answer[4..9], b"\x80\x03(U\x08");
        session.receive(&answer);
        let Ok(Some(ClientEvent::Reply(reply))) = session.poll_event() else { panic!("no reply") };
        assert_eq!((reply.id, reply.method), (id, Some(Method::LoadBefore)));
    }

    /// Protocol reference A.4 and A.5.1: a server of ZEO 4 on either Python reads the first call, and is written to as it
    /// writes.
    #[test]
    fn writes_as_the_server_of_zeo_4_does() {
        let python3: &[u8] = b"\0\0\0\x15\x80\x03(K\0K\0X\x06\0\0\0.replyNt.";
        let python2: &[u8] = b"\0\0\0\x10(K\0K\0U\x06.replyNt.";
        let ping3: &[u8] = b"\0\0\0\x1d\x80\x03(K\x01\x89X\x0f\0\0\0lastTransaction)t.";
        let ping2: &[u8] = b"\0\0\0\x1b(K\x01I00\nU\x0flastTransaction)t.";
        for (reply, next) in [(python3, ping3), (python2, ping2)] {
            let mut session = ClientSession::with_versions(Limits::DEFAULT, &[Version::V4, Version::V5]);
            session.begin_for_any_python();
            session.receive(b"\0\0\0\x02Z4");
            assert_eq!(session.poll_event(), Ok(Some(ClientEvent::Connected(Protocol::Z4))));
            assert_eq!(session.call(&Call::Plain(Method::GetAuthProtocol)), Ok(MsgId::Int(0)));
            assert_eq!(session.output(), b"\0\0\0\x02Z4\0\0\0\x1b(K\0I00\nU\x0fgetAuthProtocol)t.");
            session.consume_output(session.output_len());
            session.receive(reply);
            assert!(matches!(session.poll_event(), Ok(Some(ClientEvent::Reply(_)))));
            session.call(&Call::Plain(Method::LastTransaction)).unwrap();
            assert_eq!(session.output(), next);
        }
    }

    #[test]
    fn keeps_large_parts_where_they_lie_and_copies_small_ones() {
        for (data_len, is_shared) in [(20_000, true), (100, false)] {
            let mut session = ClientSession::new(Limits::DEFAULT);
            session.receive(b"\0\0\0\x02M5");
            session.poll_event().unwrap();
            session.call(&Call::LoadSerial(LoadSerial { oid: Oid::ZERO, serial: Tid::ZERO })).unwrap();
            let mut server = Output::default();
            let data = alloc::vec![7; data_len];
            let answer = Reply::Data(Cow::Borrowed(&data));
            server.message(session.dialect(), &MsgId::Int(1), Flag::RESULT, REPLY, &answer).unwrap();
            session.receive(server.unwritten());
            let Ok(Some(ClientEvent::Reply(reply))) = session.poll_event() else { panic!("no reply") };
            let Ok(Ok(Reply::Data(lent))) = reply.result(&Limits::DEFAULT) else { panic!("no data") };
            let place = lent.as_ptr();
            let kept = reply.keep(lent);
            assert_eq!(kept, data);
            assert_eq!(kept.as_ptr() == place, is_shared);
        }
    }

    #[test]
    fn a_reply_to_no_call_ends_the_session() {
        let mut session = connected();
        session.receive(b"\0\0\0\x15\x80\x03(K\x01K\0X\x06\0\0\0.replyNt.");
        assert_eq!(session.poll_event(), Err(SessionError::UnexpectedReply));
        assert_eq!(session.poll_event(), Err(SessionError::Closed));
        assert_eq!(session.call(&Call::Plain(Method::Ping)), Err(SessionError::Closed));
    }

    /// A newer server may have methods that we do not know.
    #[test]
    fn calls_by_name_and_keeps_whatever_comes() {
        let mut session = connected();
        let args = Value::Tuple(alloc::vec![Value::Int(7)]);
        let call = Call::Other { name: b"tomorrow".as_slice().into(), args };
        assert_eq!(session.call(&call), Ok(MsgId::Int(1)));
        assert_eq!(session.output(), b"\0\0\0\x18\x80\x03(K\x01\x89X\x08\0\0\0tomorrowK\x07\x85t.");
        // (1, 0, ".reply", (True,))
        session.receive(b"\0\0\0\x16\x80\x03(K\x01K\0X\x06\0\0\0.reply\x88\x85t.");
        let Ok(Some(ClientEvent::Reply(reply))) = session.poll_event() else { panic!("no reply") };
        assert_eq!(reply.method, None);
        let kept = Value::Tuple(alloc::vec![Value::Bool(true)]);
        assert_eq!(reply.result(&Limits::DEFAULT), Ok(Ok(Reply::Value(kept))));
        let malformed = Call::Other { name: b"\xff".as_slice().into(), args: Value::None };
        assert!(matches!(session.call(&malformed), Err(SessionError::Unencodable(_))));
    }

    #[test]
    fn calls_in_flight_are_bounded() {
        let mut session = ClientSession::new(Limits { pending_count: 1, ..Limits::DEFAULT });
        session.receive(b"\0\0\0\x02M5");
        session.poll_event().unwrap();
        session.call(&Call::Plain(Method::Ping)).unwrap();
        assert_eq!(session.call(&Call::Plain(Method::Ping)), Err(SessionError::TooManyPending));
    }
}
