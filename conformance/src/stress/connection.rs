//! A client's connection, which writes down what comes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use zeo_codec::call::{GetInvalidations, Register};
use zeo_codec::session::{ClientEvent, ClientReply, ClientSession, Incoming, Message, SessionError};
use zeo_codec::{Call, Limits, MessageError, Method, MsgId, Oid, RemoteError, Reply, Tid, VoteItem};

use super::data::value_of;
use super::record::{Event, Loaded, Serials};

/// Longest wait for anything that a server has to say.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
const READ_LEN: usize = 64 * 1024;

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The server is gone, or was killed.
    #[error("the connection is lost: {0}")]
    Gone(io::Error),
    /// The server broke the protocol: the run has failed.
    #[error("{0}")]
    Wrong(String),
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Self::Wrong(format!("the server says nothing for {} s", SILENCE_LIMIT.as_secs()))
            }
            _ => Self::Gone(error),
        }
    }
}

impl From<SessionError> for Lost {
    fn from(error: SessionError) -> Self {
        Self::Wrong(format!("session: {error}"))
    }
}

impl From<MessageError> for Lost {
    fn from(error: MessageError) -> Self {
        Self::Wrong(format!("message: {error}"))
    }
}

/// A reply that decides how a client goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// `vote`: these objects conflict with the revision named.
    Voted(Vec<(Oid, Tid)>),
    /// A tid.
    Tid(Tid),
    /// Nothing to say.
    Done,
    /// An error's class.
    Refused(String),
}

/// A registered connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    session: ClientSession,
    scratch: Vec<u8>,
    /// What came so far.
    pub events: Vec<Event>,
    /// The newest serials known by what came.
    pub serials: Serials,
    /// Up to where this client knows the database.
    pub seen: Tid,
    /// What `getInvalidations` was asked with.
    asked_since: Tid,
}

impl Connection {
    /// Connects, registers, and catches up from `since`, if the client knows anything yet.
    ///
    /// # Errors
    /// If the server is not there, or wrong.
    pub fn open(address: SocketAddr, since: Option<Tid>, serials: Serials) -> Result<Self, Lost> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_LIMIT))?;
        stream.set_write_timeout(Some(SILENCE_LIMIT))?;
        let mut connection = Self {
            stream,
            session: ClientSession::new(Limits { pending_count: 100_000, ..Limits::DEFAULT }),
            scratch: vec![0; READ_LEN],
            events: Vec::new(),
            serials,
            seen: Tid::ZERO,
            asked_since: Tid::ZERO,
        };
        while !matches!(connection.session.poll_event()?, Some(ClientEvent::Connected(_))) {
            connection.fill()?;
        }
        let register = Register { storage: "1".into(), read_only: false.into(), credentials: None };
        connection.call(&Call::Register(register))?;
        if let Some(tid) = since.filter(|tid| *tid != Tid::ZERO) {
            connection.asked_since = tid;
            connection.call(&Call::GetInvalidations(GetInvalidations { tid }))?;
        }
        Ok(connection)
    }

    /// The socket, for somebody who looks at what comes in another way, or not at all.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Makes a call and leaves it under way.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn send(&mut self, call: &Call<'_>) -> Result<(), Lost> {
        self.session.call(call)?;
        Ok(())
    }

    /// Makes a call with a reply, and waits for it.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn call(&mut self, call: &Call<'_>) -> Result<Answer, Lost> {
        let id = self.session.call(call)?;
        self.wait_for(&id)
    }

    /// Sends what is due.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn flush(&mut self) -> Result<(), Lost> {
        self.stream.write_all(self.session.output())?;
        let sent_len = self.session.output().len();
        self.session.consume_output(sent_len);
        Ok(())
    }

    /// Writes down everything that comes until the reply to `id`.
    fn wait_for(&mut self, id: &MsgId<'_>) -> Result<Answer, Lost> {
        loop {
            match self.session.poll_event()? {
                Some(ClientEvent::Call(message)) => self.on_call(&message)?,
                Some(ClientEvent::Reply(reply)) => {
                    let answer = self.on_reply(&reply)?;
                    if reply.id == *id {
                        return Ok(answer);
                    }
                }
                Some(ClientEvent::Connected(_)) => {}
                None => self.fill()?,
            }
        }
    }

    fn fill(&mut self) -> Result<(), Lost> {
        self.flush()?;
        let read_len = self.stream.read(&mut self.scratch)?;
        if read_len == 0 {
            return Err(Lost::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        self.session.receive(self.scratch.get(..read_len).unwrap_or_default());
        Ok(())
    }

    fn on_call(&mut self, message: &Message) -> Result<(), Lost> {
        let Ok(Incoming::Call(envelope)) = message.parse(&Limits::DEFAULT) else {
            return Err(Lost::Wrong("a message that is no call".to_owned()));
        };
        let Some(method) = Method::from_name(&envelope.name) else {
            return Err(Lost::Wrong(format!("a call of {:?}", String::from_utf8_lossy(&envelope.name))));
        };
        if let Call::InvalidateTransaction(args) = Call::parse(method, envelope.args, &Limits::DEFAULT)? {
            self.learn(args.tid, args.oids.iter().copied());
            self.events.push(Event::Invalidated(args.tid, args.oids));
        }
        Ok(())
    }

    fn learn(&mut self, tid: Tid, oids: impl Iterator<Item = Oid>) {
        self.seen = tid;
        self.serials.extend(oids.map(|oid| (oid, tid)));
    }

    fn on_reply(&mut self, reply: &ClientReply) -> Result<Answer, Lost> {
        let result = reply.result(&Limits::DEFAULT)?;
        if let (Some(Method::LoadBefore), MsgId::Load(oid, before)) = (reply.method, &reply.id) {
            self.on_loaded(*oid, *before, result)?;
            return Ok(Answer::Done);
        }
        let reply_value = match result {
            Ok(reply_value) => reply_value,
            Err(error) => return Ok(Answer::Refused(error.class.into_owned())),
        };
        match (reply.method, reply_value) {
            (Some(Method::Register), Reply::Tid(tid)) => {
                self.seen = tid;
                self.events.push(Event::Registered(tid));
            }
            (Some(Method::LastTransaction), Reply::Tid(tid)) => {
                self.events.push(Event::LastTransaction(tid));
                return Ok(Answer::Tid(tid));
            }
            (Some(Method::TpcFinish), Reply::Tid(tid)) => {
                self.seen = tid;
                self.events.push(Event::Committed(tid));
                return Ok(Answer::Tid(tid));
            }
            (Some(Method::GetInvalidations), answer) => self.on_caught_up(answer)?,
            (Some(Method::Vote), Reply::Voted(items)) => {
                let conflicts = items.iter().filter_map(|item| match item {
                    VoteItem::Conflict(conflict) => Some((conflict.oid, conflict.committed)),
                    VoteItem::Resolved(_) => None,
                });
                return Ok(Answer::Voted(conflicts.collect()));
            }
            (_, Reply::None) => {}
            (method, other) => return Err(Lost::Wrong(format!("{method:?} answered {other:?}"))),
        }
        Ok(Answer::Done)
    }

    fn on_caught_up(&mut self, answer: Reply<'_>) -> Result<(), Lost> {
        let since = self.asked_since;
        let (until, oids) = match answer {
            Reply::Invalidations(answer) => (answer.tid, Some(answer.oids)),
            // The cache is worthless now: whatever was known may have changed.
            Reply::None => (self.seen, None),
            other => return Err(Lost::Wrong(format!("getInvalidations answered {other:?}"))),
        };
        for oid in oids.iter().flatten() {
            self.serials.remove(oid);
        }
        if oids.is_none() {
            self.serials.clear();
        }
        self.seen = until;
        self.events.push(Event::CaughtUp { since, until, oids });
        Ok(())
    }

    fn on_loaded(
        &mut self,
        oid: Oid,
        before: Tid,
        result: Result<Reply<'_>, RemoteError<'_>>,
    ) -> Result<(), Lost> {
        let loaded = match result {
            Ok(Reply::Loaded(loaded)) => {
                let value = value_of(&loaded.data)
                    .ok_or_else(|| Lost::Wrong(format!("foreign data of {oid}: {:?}", loaded.data)))?;
                if before == Tid::MAX {
                    self.serials.insert(oid, loaded.serial);
                }
                Loaded::Revision { value, serial: loaded.serial, end: loaded.end }
            }
            Ok(Reply::None) => Loaded::OnlyLater,
            Err(error) if error.class == "ZODB.POSException.POSKeyError" => Loaded::NoSuchObject,
            other => return Err(Lost::Wrong(format!("loadBefore({oid}) answered {other:?}"))),
        };
        self.events.push(Event::Loaded { oid, before, loaded });
        Ok(())
    }
}
