//! A conflict that is handed back: the client resolves it and votes again, and nobody commits in between
//! (`guarantees.md` 4, last point). The engine alone, step by step, so that "nobody" can be seen.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;

use zeo_codec::call::{Register, Storea, TpcBegin, TransactionRef, TxnId};
use zeo_codec::handshake::Protocol;
use zeo_codec::session::{ClientEvent, ClientSession, ServerEvent, ServerSession};
use zeo_codec::{Call, Limits, Method, Oid, Reply, Tid, Value};
use zeo_server::engine::{Engine, EngineOptions, Flow, Job, Peer};
use zeo_server::storage::Storage;
use zeo_server::storage::file::disk::MemoryDisk;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};
use zeo_server::storage::memory::MemoryStorage;

const ID: TxnId = TxnId(7);

/// What a reply says, as far as it matters here.
#[derive(Debug, PartialEq)]
enum Said {
    /// `register`, `tpc_finish`.
    Tid(Tid),
    /// `vote`, with so many conflicts.
    Conflicts(usize),
    /// `tpc_abort`.
    Nothing,
}

fn engine() -> Arc<Engine> {
    engine_of(Arc::new(MemoryStorage::new("test")))
}

fn engine_of(storage: Arc<dyn Storage>) -> Arc<Engine> {
    Engine::new([("1".to_owned(), storage)], EngineOptions::default(), "now").unwrap()
}

/// A client and its connection, without anything in between.
struct Pair {
    client: ClientSession,
    server: ServerSession,
    peer: Peer,
}

impl Pair {
    fn register(engine: &Arc<Engine>, name: &str) -> Self {
        let mut client = ClientSession::new(Limits::DEFAULT);
        let mut server = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
        client.receive(server.output());
        let greeting_len = server.output().len();
        server.consume_output(greeting_len);
        assert!(matches!(client.poll_event().unwrap(), Some(ClientEvent::Connected(_))));
        let mut pair = Self { client, server, peer: engine.connect(name.to_owned(), Box::new(|| {})) };
        let register = Register { storage: "1".into(), read_only: Value::Bool(false), credentials: None };
        assert!(matches!(pair.call(&Call::Register(register))[..], [Said::Tid(_)]));
        pair
    }

    /// Makes a call; the replies that have come when it has been handled.
    fn call(&mut self, call: &Call<'_>) -> Vec<Said> {
        self.client.call(call).unwrap();
        let output = self.client.output().to_vec();
        self.client.consume_output(output.len());
        self.server.receive(&output);
        while let Some(event) = self.server.poll_event().unwrap() {
            let ServerEvent::Message(message) = event else { continue };
            assert_eq!(self.peer.on_message(&message, &mut self.server).unwrap(), Flow::Done);
            while let Some(job) = self.peer.take_job() {
                let Job::Commit(job) = job else { panic!("{job:?}") };
                job.run();
            }
        }
        self.replies()
    }

    /// What the connection has to say once it has been woken.
    fn replies(&mut self) -> Vec<Said> {
        self.peer.on_wake(&mut self.server).unwrap();
        let output = self.server.output().to_vec();
        self.server.consume_output(output.len());
        self.client.receive(&output);
        let mut replies = Vec::new();
        while let Some(event) = self.client.poll_event().unwrap() {
            if let ClientEvent::Reply(reply) = event {
                replies.push(match reply.result(&Limits::DEFAULT).unwrap().unwrap() {
                    Reply::Tid(tid) => Said::Tid(tid),
                    Reply::Voted(items) => Said::Conflicts(items.len()),
                    Reply::None => Said::Nothing,
                    other => panic!("{other:?}"),
                });
            }
        }
        replies
    }

    fn begin(&mut self) {
        let begin = TpcBegin {
            id: ID,
            user: Value::Bytes(b""[..].into()),
            description: Value::Bytes(b""[..].into()),
            extension: Value::Dict(vec![]),
            tid: None,
            status: " ".into(),
        };
        assert_eq!(self.call(&Call::TpcBegin(begin)), []);
    }

    fn store(&mut self, oid: u64, serial: Tid) {
        let store = Storea { oid: Oid::from_u64(oid), serial, data: b"data"[..].into(), id: ID };
        assert_eq!(self.call(&Call::Storea(store)), []);
    }

    fn vote(&mut self) -> Vec<Said> {
        self.call(&Call::Transaction(Method::Vote, TransactionRef { id: ID }))
    }

    /// The tid under which the transaction has been committed.
    fn finish(&mut self) -> Tid {
        match self.call(&Call::Transaction(Method::TpcFinish, TransactionRef { id: ID }))[..] {
            [Said::Tid(tid)] => tid,
            ref other => panic!("{other:?}"),
        }
    }
}

const VOTED: [Said; 1] = [Said::Conflicts(0)];
const CONFLICT: [Said; 1] = [Said::Conflicts(1)];

/// Whoever waits goes on waiting, whether it queued before the conflict was found or after it.
#[test]
fn the_lock_stays_with_the_client_that_resolves() {
    let engine = engine();
    let [mut resolver, mut winner, mut early, mut late] =
        ["resolver", "winner", "early", "late"].map(|name| Pair::register(&engine, name));
    winner.begin();
    winner.store(1, Tid::ZERO);
    assert_eq!(winner.vote(), VOTED);
    for (pair, oid) in [(&mut resolver, 1), (&mut early, 2), (&mut late, 3)] {
        pair.begin();
        pair.store(oid, Tid::ZERO);
    }
    // In this order they queue for the lock.
    assert_eq!(resolver.vote(), []);
    assert_eq!(early.vote(), []);
    let committed = winner.finish();

    assert_eq!(resolver.replies(), CONFLICT);
    assert_eq!(late.vote(), []);
    assert_eq!((early.replies(), late.replies()), (vec![], vec![]));
    // A second round, as if the first resolution had not been enough.
    resolver.store(1, Tid::ZERO);
    assert_eq!(resolver.vote(), CONFLICT);
    assert_eq!((early.replies(), late.replies()), (vec![], vec![]));
    resolver.store(1, committed);
    assert_eq!(resolver.vote(), VOTED);
    assert_eq!((early.replies(), late.replies()), (vec![], vec![]));
    let mut tids = vec![committed, resolver.finish()];

    for pair in [&mut early, &mut late] {
        assert_eq!(pair.replies(), VOTED);
        tids.push(pair.finish());
    }
    assert!(tids.is_sorted() && tids.windows(2).all(|pair| pair[0] != pair[1]), "{tids:?}");
}

/// However the client goes that was to resolve, the next in line gets the lock.
#[test]
fn a_client_that_gives_the_resolution_up_gives_up_the_lock() {
    for is_aborting in [true, false] {
        let engine = engine();
        let [mut resolver, mut other] = ["resolver", "other"].map(|name| Pair::register(&engine, name));
        other.begin();
        other.store(1, Tid::ZERO);
        assert_eq!(other.vote(), VOTED);
        other.finish();
        resolver.begin();
        resolver.store(1, Tid::ZERO);
        assert_eq!(resolver.vote(), CONFLICT);
        other.begin();
        other.store(2, Tid::ZERO);
        assert_eq!(other.vote(), []);
        if is_aborting {
            let abort = Call::Transaction(Method::TpcAbort, TransactionRef { id: ID });
            assert_eq!(resolver.call(&abort), [Said::Nothing]);
        } else {
            drop(resolver);
        }
        assert_eq!(other.replies(), VOTED);
        other.finish();
    }
}

/// A file storage, where transactions of different objects go on beside each other. A resolution may store objects that the
/// first vote did not have: it keeps its place if nobody else wants them, and queues again if somebody does.
#[test]
fn a_resolution_may_store_more() {
    for wanted in [3, 2] {
        let engine = engine_of(Arc::new(
            FileStorage::open_disk(Arc::new(MemoryDisk::default()), "test", FileStorageOptions::default())
                .unwrap(),
        ));
        let [mut resolver, mut winner, mut holder, mut next] =
            ["resolver", "winner", "holder", "next"].map(|name| Pair::register(&engine, name));
        winner.begin();
        winner.store(1, Tid::ZERO);
        assert_eq!(winner.vote(), VOTED);
        let committed = winner.finish();
        holder.begin();
        holder.store(2, Tid::ZERO);
        assert_eq!(holder.vote(), VOTED);

        resolver.begin();
        resolver.store(1, Tid::ZERO);
        assert_eq!(resolver.vote(), CONFLICT);
        next.begin();
        next.store(1, committed);
        assert_eq!(next.vote(), []);
        resolver.store(1, committed);
        resolver.store(wanted, Tid::ZERO);
        if wanted == 3 {
            assert_eq!(resolver.vote(), VOTED);
            assert_eq!(next.replies(), []);
            resolver.finish();
            assert_eq!(next.replies(), CONFLICT);
        } else {
            // Behind those who have waited: for what the holder has, and for what was its own.
            assert_eq!(resolver.vote(), []);
            assert_eq!(next.replies(), VOTED);
            next.finish();
            assert_eq!(resolver.replies(), []);
            holder.finish();
            assert_eq!(resolver.replies(), [Said::Conflicts(2)]);
        }
    }
}
