//! The engine against a scripted server, byte by byte, without a socket.

mod blobs;
mod hostile;
mod loss;
mod model;
mod older;
mod order;
mod registration;

use std::sync::Arc;

use zeo_codec::call::InvalidateTransaction;
use zeo_codec::handshake::Protocol;
use zeo_codec::session::{Incoming, ServerEvent, ServerSession};
use zeo_codec::{Body, Limits, Method, MsgId, Oid, RemoteError, Reply, Tid, Value};

use super::{Access, Engine, Invalidation, Link, Origin, Outcome, Registration};
use crate::error::ConnectionError;
use model::Model;

/// A call that the client has made.
#[derive(Debug)]
struct Asked {
    id: MsgId<'static>,
    method: Method,
    /// The arguments in the notation of `zeo_codec::show`.
    args: String,
}

/// The server's side of a connection, which says what the test tells it to.
struct Server(ServerSession);

impl Server {
    fn new() -> Self {
        Self(ServerSession::new(Protocol::M5, Limits::DEFAULT))
    }

    /// Takes what the client has sent.
    fn take(&mut self, sent: &[u8]) -> Vec<Asked> {
        self.0.receive(sent);
        let mut asked = Vec::new();
        while let Some(event) = self.0.poll_event().unwrap() {
            let ServerEvent::Message(message) = event else { continue };
            let Incoming::Call(envelope) = message.parse(&Limits::DEFAULT).unwrap() else { continue };
            let method = Method::from_name(&envelope.name).unwrap();
            let id = envelope.id.clone().into_owned();
            let args = envelope.args.into_value(&Limits::DEFAULT).unwrap().to_string();
            asked.push(Asked { id, method, args });
        }
        asked
    }

    fn reply(&mut self, asked: &Asked, result: &impl Body) -> &mut Self {
        self.0.reply(&asked.id, result).unwrap();
        self
    }

    fn refuse(&mut self, asked: &Asked, class: &str, args: Vec<Value<'_>>) -> &mut Self {
        self.0.reply_error(&asked.id, &RemoteError::new(class, args)).unwrap();
        self
    }

    fn invalidate(&mut self, tid: u64, oids: &[u64]) -> &mut Self {
        let oids = oids.iter().copied().map(Oid::from_u64).collect();
        let args = InvalidateTransaction { tid: Tid::from_u64(tid), oids };
        self.0.notify(Method::InvalidateTransaction, &args).unwrap();
        self
    }

    fn said(&mut self) -> Vec<u8> {
        let said = self.0.output().to_vec();
        self.0.consume_output(said.len());
        said
    }
}

/// A client and its server.
struct Pair {
    engine: Engine<u32>,
    server: Server,
    cache: Model,
}

fn registration(access: Access) -> Registration {
    Registration { storage: "1".to_owned(), access, credentials: None }
}

/// What a link has to say.
fn sent(link: &mut Link<u32>) -> Vec<u8> {
    let sent = link.session().output().to_vec();
    link.session().consume_output(sent.len());
    sent
}

/// Brings a link to where the server is asked to register it.
fn greet(server: &mut Server, access: Access) -> (Link<u32>, Asked) {
    let mut link = Link::new(registration(access), Limits::DEFAULT);
    link.session().receive(&server.said());
    assert!(link.register().unwrap().is_none());
    let mut asked = server.take(&sent(&mut link));
    assert_eq!(asked.len(), 1);
    (link, asked.remove(0))
}

/// A link that the server has registered at this transaction.
fn registered(server: &mut Server, tid: u64) -> Link<u32> {
    let (mut link, register) = greet(server, Access::ReadWrite);
    assert_eq!(register.method, Method::Register);
    server.reply(&register, &Reply::Tid(Tid::from_u64(tid)));
    link.session().receive(&server.said());
    assert_eq!(link.register().unwrap(), Some(Tid::from_u64(tid)));
    link
}

fn info() -> Reply<'static> {
    Reply::Value(Value::Dict(vec![("name".into(), "Data.fs".into()), ("length".into(), 7_u64.into())]))
}

impl Pair {
    /// A client that has never been connected.
    fn new(cache: Model) -> Self {
        let engine = Engine::new(Limits::DEFAULT, None, Some(Box::new(cache.clone())));
        Self { engine, server: Server::new(), cache }
    }

    /// A client that is ready, at this transaction.
    fn ready(tid: u64) -> Self {
        let mut pair = Self::new(Model::default());
        pair.connect(tid).unwrap();
        pair.describe();
        pair
    }

    /// A new connection, up to the takeover.
    fn connect(&mut self, tid: u64) -> Result<(), Arc<ConnectionError>> {
        self.server = Server::new();
        let link = registered(&mut self.server, tid);
        self.engine.adopt(link, Tid::from_u64(tid))
    }

    /// Answers `get_info`, which must be all that is asked.
    fn describe(&mut self) {
        let asked = self.asked();
        let [get_info] = asked.as_slice() else { panic!("{asked:?}") };
        assert_eq!(get_info.method, Method::GetInfo);
        assert!(!self.engine.is_ready());
        self.server.reply(get_info, &info());
        self.deliver().unwrap();
        assert!(self.engine.is_ready());
    }

    /// Hands the server what the client has sent.
    fn asked(&mut self) -> Vec<Asked> {
        let Some(session) = self.engine.session() else { return Vec::new() };
        let sent = session.output().to_vec();
        session.consume_output(sent.len());
        self.server.take(&sent)
    }

    /// The only thing that the client has asked.
    fn asked_one(&mut self) -> Asked {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }

    /// Hands the client what the server has said, all at once.
    fn deliver(&mut self) -> Result<(), Arc<ConnectionError>> {
        let said = self.server.said();
        self.engine.session().unwrap().receive(&said);
        self.engine.advance()
    }

    fn done(&mut self) -> Vec<(u32, Outcome)> {
        std::iter::from_fn(|| self.engine.poll_done()).collect()
    }

    fn last(&self) -> u64 {
        self.engine.last_transaction().unwrap().to_u64()
    }
}

fn changed(tid: u64, oids: &[u64], origin: Origin) -> Invalidation {
    let oids = oids.iter().copied().map(Oid::from_u64).collect();
    Invalidation::Changed { tid: Tid::from_u64(tid), oids, origin }
}

fn everything(tid: u64) -> Invalidation {
    Invalidation::Everything { tid: Tid::from_u64(tid) }
}
