//! What holds for a server session with engine and storage behind it, whatever the client sends. Run on stable
//! by `server_session.rs`; `fuzz/` includes the same file.
#![allow(dead_code, unreachable_pub, reason = "the fuzz target uses a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a property fails by panicking")]

pub mod configuration;
pub mod conversations;
pub mod data_file;
pub mod index_file;

use std::collections::VecDeque;
use std::sync::Arc;

use zeo_codec::Limits;
use zeo_codec::handshake::{Protocol, Version};
use zeo_codec::session::{ServerEvent, ServerSession};
use zeo_server::auth::{DigestScheme, PasswordDatabase, Scheme};
use zeo_server::engine::{Engine, EngineOptions, Flow, Job, Peer};
use zeo_server::storage::Storage;
use zeo_server::storage::memory::MemoryStorage;

const LIMITS: Limits =
    Limits { frame_bytes: 1 << 16, frame_bytes_before_register: 1 << 12, ..Limits::DEFAULT };

/// The first byte picks the chunks, the rest is what a client sends. When it is gone, nothing of it is left:
/// no lock, no open transaction, no connection; and the storage still takes the next client's commits.
pub fn server_session(input: &[u8]) {
    let [seed, stream @ ..] = input else { return };
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new("fuzz"));
    // To some of them a client of ZEO 4 has to show who it is.
    let scheme: Option<Arc<dyn Scheme>> = (*seed > 127).then(|| Arc::new(scheme()) as _);
    let storages = [("1".to_owned(), storage)];
    let engine = Engine::with_authentication(storages, EngineOptions::default(), "now", scheme).unwrap();
    let mut peer = engine.connect("stranger".to_owned(), Box::new(|| {}));
    peer.set_limits(LIMITS);
    let mut session = ServerSession::new(Protocol::Z5, LIMITS);
    session.set_oldest(Version::V308);
    let mut packs = VecDeque::new();
    for chunk in stream.chunks(usize::from(*seed) + 1) {
        session.receive(chunk);
        if !drain(&mut session, &mut peer, &mut packs) {
            break;
        }
    }
    assert!(session.output().starts_with(b"\0\0\0\x02Z5"), "the greeting comes first");
    drop(peer);
    let status: serde_json::Value = serde_json::from_str(&engine.ruok()).unwrap();
    assert_eq!(status["1"]["connections"], 0);
    assert_eq!(status["1"]["active_txns"], 0);
    assert_eq!(status["1"]["waiting"], 0);
    // Those that were left over; nobody holds the lock any more.
    packs.into_iter().for_each(run);
    // Finishes what was under way; then the lock is free.
    engine.close().unwrap();
    let status: serde_json::Value = serde_json::from_str(&engine.ruok()).unwrap();
    assert_eq!(status["1"]["lock_time"], serde_json::Value::Null);
}

fn scheme() -> DigestScheme {
    let mut database = PasswordDatabase::open("/nowhere/that/exists", Some("realm")).unwrap();
    database.add("user", "password").unwrap();
    DigestScheme::new(database).unwrap()
}

/// Handles all whole messages; `false` when the session has ended. Packs wait while the client holds the commit lock, for
/// which they would wait: a driver has a thread for them, and here there is one for all.
fn drain(session: &mut ServerSession, peer: &mut Peer, packs: &mut VecDeque<Job>) -> bool {
    loop {
        let message = match session.poll_event() {
            Ok(Some(ServerEvent::Message(message))) => message,
            Ok(Some(_)) => continue,
            Ok(None) => return true,
            Err(_) => return false,
        };
        match peer.on_message(&message, session) {
            Ok(Flow::Done) => {}
            Ok(Flow::Blocked) if !packs.is_empty() => return false,
            Ok(Flow::Blocked) => panic!("no commit is under way"),
            Err(_) => return false,
        }
        while let Some(job) = peer.take_job() {
            let is_pack = match &job {
                Job::Pack(_) => true,
                Job::Ask(job) => job.is_pack(),
                Job::Commit(_) | Job::Sync(_) => false,
            };
            if is_pack { packs.push_back(job) } else { run(job) }
        }
        if peer.on_wake(session).is_err() {
            return false;
        }
        while !peer.holds_commit_lock()
            && let Some(pack) = packs.pop_front()
        {
            run(pack);
            if peer.on_wake(session).is_err() {
                return false;
            }
        }
    }
}

/// Does what a driver would do elsewhere.
fn run(job: Job) {
    match job {
        Job::Commit(job) => job.run(),
        Job::Ask(job) => job.run(),
        Job::Pack(job) => job.run(),
        Job::Sync(job) => job.run(),
    }
}

/// The greetings of servers that clients answer in all the ways that there are.
pub const GREETINGS: [(&str, &[u8]); 4] =
    [("z5", b"\0\0\0\x02Z5"), ("m5", b"\0\0\0\x02M5"), ("z4", b"\0\0\0\x02Z4"), ("z308", b"\0\0\0\x04Z308")];

/// A client that registers, loads, commits and goes, as it does with a server that greets so: seeds.
pub fn conversation(greeting: &[u8]) -> Vec<u8> {
    use zeo_codec::call::*;
    use zeo_codec::session::ClientSession;
    use zeo_codec::{Call, Method, Oid, Tid, Value};

    let id = TxnId(7);
    let store = |oid: u64| {
        let (oid, data) = (Oid::from_u64(oid), b"data"[..].into());
        Call::Storea(Storea { oid, serial: Tid::ZERO, data, id })
    };
    let begin = Call::TpcBegin(TpcBegin {
        id,
        user: Value::Bytes(b"u"[..].into()),
        description: Value::Bytes(b"d"[..].into()),
        extension: Value::Dict(vec![("a".into(), Value::Int(1))]),
        tid: None,
        status: " ".into(),
    });
    let transaction = |method| Call::Transaction(method, TransactionRef { id });
    let register = Register { storage: "1".into(), read_only: Value::Bool(false), credentials: None };
    let verify = Verify { oid: Oid::from_u64(1), serial: Tid::ZERO.into() };
    let calls = [
        Call::Register(register),
        Call::Plain(Method::GetInfo),
        begin.clone(),
        store(1),
        Call::NewOids(NewOids { count: None }),
        transaction(Method::Vote),
        transaction(Method::TpcFinish),
        begin,
        store(1),
        store(2),
        transaction(Method::Vote),
        transaction(Method::TpcAbort),
        Call::LoadBefore(LoadBefore { oid: Oid::from_u64(1), before: Tid::MAX }),
        Call::GetInvalidations(GetInvalidations { tid: Tid::ZERO }),
        Call::CheckCurrentSerial(CheckCurrentSerial { oid: Oid::ZERO, serial: Tid::ZERO, id }),
    ];
    let old_calls = [
        Call::Plain(Method::GetAuthProtocol),
        Call::Plain(Method::AuthGetChallenge),
        Call::Untyped(
            Method::AuthResponse,
            Value::Tuple(vec![Value::Tuple(vec!["u".into(), "c".into(), "r".into()])]),
        ),
        calls[0].clone(),
        Call::Verify(Method::Verify, verify.clone()),
        Call::Verify(Method::ZeoVerify, verify),
        Call::Plain(Method::EndZeoVerify),
        Call::Untyped(Method::LoadEx, Value::Tuple(vec![Oid::from_u64(1).into()])),
    ];
    let mut session = ClientSession::with_versions(LIMITS, &Version::ALL);
    session.receive(greeting);
    session.poll_event().unwrap();
    let is_old = session.dialect().version < Version::V5;
    for call in old_calls.iter().filter(|_| is_old).chain(&calls) {
        session.call(call).unwrap();
    }
    [&[100][..], session.output()].concat()
}
