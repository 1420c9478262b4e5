//! What a load costs inside the client: from the call to its outcome, without sockets, tasks and a server.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]
#![allow(clippy::unwrap_used, reason = "benches fail by panicking")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use zeo_client::cache::{Cache, FileCache};
use zeo_client::engine::{Access, Engine, Link, Registration};
use zeo_codec::call::Loaded;
use zeo_codec::handshake::Protocol;
use zeo_codec::session::{Incoming, ServerEvent, ServerSession};
use zeo_codec::{Limits, MsgId, Oid, Reply, Tid, Value};

/// Loads that are under way together, as in a batch.
const BATCH: u64 = 10_000;

/// A client that is ready, and the server that it talks to.
struct Pair {
    engine: Engine<u64>,
    server: ServerSession,
}

impl Pair {
    fn ready(protocol: Protocol, cache: Option<Box<dyn Cache>>) -> Self {
        let mut engine = Engine::new(Limits::DEFAULT, None, cache);
        let mut server = ServerSession::new(protocol, Limits::DEFAULT);
        let registration =
            Registration { storage: "1".to_owned(), access: Access::ReadWrite, credentials: None };
        let mut link = Link::new(registration, Limits::DEFAULT);
        let tid = loop {
            link.session().receive(&said(&mut server));
            if let Some(tid) = link.register().unwrap() {
                break tid;
            }
            let asked = link.session().output().to_vec();
            link.session().consume_output(asked.len());
            answer(&mut server, &asked, &Reply::Tid(Tid::from_u64(1)));
        };
        engine.adopt(link, tid).unwrap();
        let mut pair = Self { engine, server };
        let asked = pair.asked();
        answer(&mut pair.server, &asked, &Reply::Value(Value::Dict(Vec::new())));
        let info = said(&mut pair.server);
        pair.deliver(&info);
        assert!(pair.engine.is_ready());
        pair
    }

    fn asked(&mut self) -> Vec<u8> {
        let session = self.engine.session().unwrap();
        let asked = session.output().to_vec();
        session.consume_output(asked.len());
        asked
    }

    fn deliver(&mut self, bytes: &[u8]) {
        self.engine.session().unwrap().receive(bytes);
        self.engine.advance().unwrap();
    }

    /// The replies to loads of these objects. With ZEO 5 the id of a load is what it asks for, so they are the same in
    /// each round.
    fn replies(&mut self, oids: std::ops::Range<u64>) -> Vec<u8> {
        let data = [7; 256];
        for oid in oids {
            let id = MsgId::Load(Oid::from_u64(oid), Tid::MAX);
            let loaded = Loaded { data: (&data[..]).into(), serial: Tid::from_u64(1), end: None };
            self.server.reply(&id, &Reply::Loaded(loaded)).unwrap();
        }
        said(&mut self.server)
    }

    /// Loads these objects, whose replies these are, together.
    fn load(&mut self, oids: std::ops::Range<u64>, replies: &[u8]) {
        for oid in oids.clone() {
            let number = Oid::from_u64(oid);
            assert!(self.engine.cached(number, Tid::MAX).is_none());
            self.engine.load(number, Tid::MAX, oid).unwrap();
        }
        let session = self.engine.session().unwrap();
        let len = session.output_len();
        session.consume_output(len);
        // As sockets give them.
        for part in replies.chunks(64 * 1024) {
            self.deliver(part);
        }
        for oid in oids {
            let (token, outcome) = self.engine.poll_done().unwrap();
            assert_eq!(token, oid);
            black_box(outcome.unwrap());
        }
        self.engine.flush_cache();
    }
}

fn said(server: &mut ServerSession) -> Vec<u8> {
    let said = server.output().to_vec();
    server.consume_output(said.len());
    said
}

/// Answers everything that is asked with this.
fn answer(server: &mut ServerSession, asked: &[u8], reply: &Reply<'_>) {
    server.receive(asked);
    while let Some(event) = server.poll_event().unwrap() {
        if let ServerEvent::Message(message) = event
            && let Incoming::Call(envelope) = message.parse(&Limits::DEFAULT).unwrap()
        {
            let id = envelope.id.into_owned();
            server.reply(&id, reply).unwrap();
        }
    }
}

fn file_cache() -> Option<Box<dyn Cache>> {
    Some(Box::new(FileCache::temporary(FileCache::SIZE_DEFAULT).unwrap()))
}

fn loads(c: &mut Criterion) {
    for (framing, protocol) in [("pickle", Protocol::Z5), ("msgpack", Protocol::M5)] {
        let mut group = c.benchmark_group(format!("loads {framing}"));
        group.throughput(Throughput::Elements(1));
        group.bench_function("one at a time, no cache", |b| {
            let mut pair = Pair::ready(protocol, None);
            let replies = pair.replies(0..1);
            b.iter(|| pair.load(0..1, &replies));
        });
        group.throughput(Throughput::Elements(BATCH));
        group.sample_size(20);
        group.bench_function("a batch, no cache", |b| {
            let mut pair = Pair::ready(protocol, None);
            let replies = pair.replies(0..BATCH);
            b.iter(|| pair.load(0..BATCH, &replies));
        });
        group.bench_function("a batch, empty cache file", |b| {
            let replies = Pair::ready(protocol, None).replies(0..BATCH);
            b.iter_batched_ref(
                || Pair::ready(protocol, file_cache()),
                |pair| pair.load(0..BATCH, &replies),
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, loads);
criterion_main!(benches);
