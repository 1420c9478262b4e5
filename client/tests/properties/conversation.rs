//! What a server says that does everything right, on the first connection.

use zeo_client::{Oid, Tid};
use zeo_codec::call::{
    InvalidateTransaction, Invalidations, Loaded, ReceiveBlobChunk, ReceiveBlobStart, ReceiveBlobStop,
};
use zeo_codec::handshake::Framing;
use zeo_codec::session::Output;
use zeo_codec::{Body, Dialect, Flag, Method, MsgId, REPLY, Reply, Value};

use super::BLOB;

/// The server's side, as far as it has been written.
struct Server {
    dialect: Dialect,
    out: Output,
    /// The last call that was answered by number.
    answered: i64,
}

impl Server {
    fn new(dialect: Dialect) -> Self {
        let answered = i64::from(dialect.first_message_id) - 1;
        Self { dialect, out: Output::default(), answered }
    }

    fn answer(&mut self, id: MsgId<'static>, result: &Reply<'_>) {
        self.out.message(&self.dialect, &id, Flag::RESULT, REPLY, result).unwrap();
    }

    /// Answers the next call that has a number.
    fn next(&mut self, result: &Reply<'_>) {
        self.answered += 1;
        self.answer(MsgId::Int(self.answered), result);
    }

    fn notify(&mut self, method: Method, args: &impl Body) {
        self.out.message(&self.dialect, &MsgId::ONE_WAY, Flag::Bool(true), method.name(), args).unwrap();
    }

    fn announce(&mut self, tid: u64, oid: u64) {
        let args = InvalidateTransaction { tid: Tid::from_u64(tid), oids: vec![Oid::from_u64(oid)] };
        self.notify(Method::InvalidateTransaction, &args);
    }

    fn info(&mut self) {
        let info = Value::Dict(vec![("length".into(), 2_u64.into()), ("name".into(), "Data.fs".into())]);
        self.next(&Reply::Value(info));
    }

    /// The calls behind the loads.
    fn rest(&mut self, ping: &Reply<'_>) {
        self.next(ping);
        self.next(&Reply::Oids(vec![Oid::from_u64(3)]));
        self.next(&Reply::Tid(Tid::from_u64(12)));
    }

    fn blob(&mut self) {
        let (oid, serial) = BLOB;
        self.notify(Method::ReceiveBlobStart, &ReceiveBlobStart { oid, serial });
        for chunk in [&b"blob"[..], b"!"] {
            let args = ReceiveBlobChunk { oid, serial, chunk: chunk.into() };
            self.notify(Method::ReceiveBlobChunk, &args);
        }
        self.notify(Method::ReceiveBlobStop, &ReceiveBlobStop { oid, serial });
        self.next(&Reply::None);
    }

    /// The input, with the size of its chunks and the greeting in front.
    fn input(self, greeting: &[u8; 2]) -> Vec<u8> {
        let mut input = vec![6, 0, 0, 0, 2];
        input.extend_from_slice(greeting);
        input.extend(self.out.slices().flatten());
        input
    }
}

fn loaded(serial: u64, end: Option<u64>) -> Reply<'static> {
    let data = format!("data of {serial}").into_bytes().into();
    Reply::Loaded(Loaded { data, serial: Tid::from_u64(serial), end: end.map(Tid::from_u64) })
}

fn changed() -> Reply<'static> {
    Reply::Invalidations(Invalidations { tid: Tid::from_u64(12), oids: vec![Oid::from_u64(2)] })
}

/// A server of ZEO 5.
pub fn conversation(framing: Framing) -> Vec<u8> {
    let mut server = Server::new(Dialect { framing, ..Dialect::Z5 });
    // register, getInvalidations, get_info
    server.next(&Reply::Tid(Tid::from_u64(11)));
    server.announce(12, 2);
    server.next(&changed());
    server.info();
    server.answer(MsgId::Load(Oid::from_u64(1), Tid::from_u64(11)), &loaded(5, Some(12)));
    server.answer(MsgId::Load(Oid::from_u64(1), Tid::from_u64(100)), &loaded(12, None));
    server.announce(13, 1);
    server.answer(MsgId::Load(Oid::from_u64(2), Tid::from_u64(100)), &Reply::None);
    server.rest(&Reply::None);
    server.next(&Reply::Voted(Vec::new()));
    server.next(&Reply::Tid(Tid::from_u64(14)));
    server.blob();
    server.input(&[framing.letter(), b'5'])
}

/// A server of ZEO 4, which knows what has changed, or has the client ask for each object.
pub fn conversation_of_zeo4(knows: bool) -> Vec<u8> {
    let mut server = Server::new(Dialect::Z4);
    // getAuthProtocol, register, lastTransaction, getInvalidations, get_info
    server.next(&Reply::None);
    server.next(&Reply::None);
    server.next(&Reply::Tid(Tid::from_u64(11)));
    server.announce(12, 2);
    if knows {
        server.next(&changed());
    } else {
        server.next(&Reply::None);
        server.notify(Method::InvalidateVerify, &Value::Tuple(vec![Oid::from_u64(1).into()]));
        server.notify(Method::EndVerify, &Value::Tuple(Vec::new()));
    }
    server.info();
    server.next(&loaded(5, Some(12)));
    server.next(&loaded(12, None));
    server.announce(13, 1);
    server.next(&Reply::None);
    server.rest(&Reply::Tid(Tid::from_u64(13)));
    let stored = Value::Tuple(vec![Oid::from_u64(1).into(), Tid::from_u64(14).into()]);
    server.notify(Method::Serialnos, &Value::Tuple(vec![Value::List(vec![stored])]));
    server.next(&Reply::None);
    server.next(&Reply::Tid(Tid::from_u64(14)));
    server.blob();
    server.input(b"Z4")
}
