//! Several clients of one server at once, as the input says: what they may see of each other.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::run;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeo_codec::call::{
    CheckCurrentSerial, DeleteObject, GetInvalidations, LoadBefore, Register, Storea, TpcBegin,
    TransactionRef, TxnId, Undoa,
};
use zeo_codec::handshake::{Protocol, Version};
use zeo_codec::session::{
    ClientEvent, ClientReply, ClientSession, Incoming, Message, ServerEvent, ServerSession,
};
use zeo_codec::{Call, Limits, Method, MsgId, Oid, Reply, Tid, Value, VoteItem};
use zeo_server::engine::{Engine, EngineOptions, Flow, Job, Peer};
use zeo_server::storage::file::disk::MemoryDisk;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};
use zeo_server::storage::memory::MemoryStorage;
use zeo_server::storage::{LoadedRevision, Storage, View};

const LIMITS: Limits = Limits::DEFAULT;
const CLIENT_COUNT: usize = 3;
const OID_COUNT: u64 = 5;

/// The first byte picks the storage, then two bytes are a step: who does what, and to which object. Whatever they do:
///
/// * every client hears of each commit of the others once, in rising order, its own in its place among them (S3);
/// * nobody gets data of a transaction before it has heard of it (S1, S2), and nobody gets older data than it has heard
///   of (S1);
/// * all data that was read is what somebody committed under that serial, and all that was committed stays;
/// * in the end no transaction, lock or connection is left (S9), and a file opens again with the same content.
pub fn conversations(input: &[u8]) {
    let [kind, steps @ ..] = input else { return };
    let disk = Arc::new(MemoryDisk::default());
    let storage: Arc<dyn Storage> = match kind % 2 {
        0 => Arc::new(FileStorage::open_disk(disk.clone(), "fuzz", FileStorageOptions::default()).unwrap()),
        _ => Arc::new(MemoryStorage::new("fuzz")),
    };
    let engine = Engine::new([("1".to_owned(), storage.clone())], EngineOptions::default(), "now").unwrap();
    let mut world =
        World { engine, data: BTreeMap::new(), read: Vec::new(), lost: Vec::new(), clients: Vec::new() };
    for number in 0..CLIENT_COUNT {
        let client = Client::connect(&world.engine, number);
        world.clients.push(client);
    }
    for step in steps.chunks_exact(2) {
        world.step(step[0], step[1]);
    }
    world.end();
    world.compare(&*storage.view());
    if kind.is_multiple_of(2) {
        let disk = Arc::new(MemoryDisk::new(disk.bytes()));
        let again = FileStorage::open_disk(disk, "fuzz", FileStorageOptions::default()).unwrap();
        world.compare(&*again.view());
    }
}

/// What a transaction makes of an object.
#[derive(Debug, Clone, Default)]
struct Write {
    /// The revision that it follows; unknown of an undo.
    base: Option<Tid>,
    /// Unknown of an undo; none of a deletion.
    content: Option<Vec<u8>>,
}

impl Write {
    fn may_be(&self, content: &[u8]) -> bool {
        self.content.as_ref().is_none_or(|own| own == content)
    }
}

type Writes = BTreeMap<Oid, Write>;
type Committed = BTreeMap<(Oid, Tid), Write>;

struct World {
    engine: Arc<Engine>,
    clients: Vec<Client>,
    /// What clients wrote that went before they heard what became of it.
    lost: Vec<Writes>,
    /// What was acknowledged.
    data: Committed,
    read: Vec<(Oid, Tid, Vec<u8>)>,
}

struct Client {
    peer: Peer,
    server: ServerSession,
    session: ClientSession,
    is_woken: Arc<AtomicBool>,
    blocked: Option<Message>,
    jobs: VecDeque<Job>,
    asked: Vec<(MsgId<'static>, Asked)>,
    transaction: Option<Transaction>,
    next_txn: u64,
    /// The newest serial of each object that this client knows.
    known: HashMap<Oid, Tid>,
    /// Heard of all commits up to this one.
    last_tid: Tid,
    /// When each object changed last, as far as was heard since the registration.
    changed: HashMap<Oid, Tid>,
}

struct Transaction {
    id: TxnId,
    stage: Stage,
    /// What it makes of objects, if it is committed.
    writes: Writes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It may store: also after conflicts, which are its to resolve.
    Open,
    Voting,
    Voted,
    Finishing,
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Register,
    Load(Oid, Tid),
    Vote(TxnId),
    Finish,
    Other,
}

impl Client {
    fn connect(engine: &Arc<Engine>, number: usize) -> Self {
        let is_woken = Arc::new(AtomicBool::new(false));
        let bell = Arc::clone(&is_woken);
        let mut peer =
            engine.connect(format!("client {number}"), Box::new(move || bell.store(true, Ordering::SeqCst)));
        peer.set_limits(LIMITS);
        let protocol = if number == 0 { Protocol::M5 } else { Protocol::Z5 };
        let mut client = Self {
            peer,
            server: ServerSession::new(protocol, LIMITS),
            session: ClientSession::with_versions(LIMITS, &Version::ALL),
            is_woken,
            blocked: None,
            jobs: VecDeque::new(),
            asked: Vec::new(),
            transaction: None,
            next_txn: 1,
            known: HashMap::new(),
            last_tid: Tid::ZERO,
            changed: HashMap::new(),
        };
        client.listen(&mut Vec::new(), &mut BTreeMap::new());
        let register = Register { storage: "1".into(), read_only: Value::Bool(false), credentials: None };
        client.call(&Call::Register(register), Asked::Register);
        client
    }

    fn call(&mut self, call: &Call<'_>, asked: Asked) {
        let id = self.session.call(call).unwrap();
        if id != MsgId::ONE_WAY {
            assert!(self.asked.iter().all(|(other, _)| *other != id), "no question is asked twice at a time");
            self.asked.push((id, asked));
        }
        self.server.receive(self.session.output());
        self.session.consume_output(self.session.output().len());
        self.serve();
    }

    /// Lets the server note what others did. A wake-up may be late: not before each message.
    fn wake(&mut self) {
        if self.is_woken.swap(false, Ordering::SeqCst) {
            self.peer.on_wake(&mut self.server).unwrap();
        }
        self.serve();
    }

    /// Lets the server handle what has come.
    fn serve(&mut self) {
        loop {
            let message = match self.blocked.take() {
                Some(message) => message,
                None => match self.server.poll_event().unwrap() {
                    Some(ServerEvent::Message(message)) => message,
                    Some(_) => continue,
                    None => break,
                },
            };
            match self.peer.on_message(&message, &mut self.server).unwrap() {
                Flow::Done => {}
                Flow::Blocked => {
                    self.blocked = Some(message);
                    break;
                }
            }
            self.take_jobs();
        }
        self.take_jobs();
    }

    fn take_jobs(&mut self) {
        while let Some(job) = self.peer.take_job() {
            self.jobs.push_back(job);
        }
    }

    fn run_job(&mut self) {
        let Some(job) = self.jobs.pop_front() else { return };
        run(job);
        self.peer.on_wake(&mut self.server).unwrap();
        self.serve();
    }

    /// Lets the client read all that the server has sent.
    fn listen(&mut self, read: &mut Vec<(Oid, Tid, Vec<u8>)>, data: &mut Committed) {
        self.session.receive(self.server.output());
        self.server.consume_output(self.server.output().len());
        while let Some(event) = self.session.poll_event().unwrap() {
            match event {
                ClientEvent::Connected(_) => {}
                ClientEvent::Call(message) => self.on_call(&message),
                ClientEvent::Reply(reply) => self.on_reply(&reply, read, data),
            }
        }
    }

    fn on_call(&mut self, message: &Message) {
        let Incoming::Call(envelope) = message.parse(&LIMITS).unwrap() else { panic!("no call") };
        let method = Method::from_name(&envelope.name).unwrap();
        if let Call::InvalidateTransaction(commit) = Call::parse(method, envelope.args, &LIMITS).unwrap() {
            self.hear(commit.tid, commit.oids);
        }
    }

    fn hear(&mut self, tid: Tid, oids: impl IntoIterator<Item = Oid>) {
        assert!(tid > self.last_tid, "{tid} after {}", self.last_tid);
        self.last_tid = tid;
        self.changed.extend(oids.into_iter().map(|oid| (oid, tid)));
    }

    fn on_reply(&mut self, reply: &ClientReply, read: &mut Vec<(Oid, Tid, Vec<u8>)>, data: &mut Committed) {
        let place = self.asked.iter().position(|(id, _)| *id == reply.id);
        let (_, asked) = self.asked.remove(place.expect("an answer to a call, and only one"));
        let result = reply.result(&LIMITS).unwrap();
        match (asked, result) {
            (Asked::Register, Ok(Reply::Tid(tid))) => self.last_tid = tid,
            (Asked::Register, other) => panic!("{other:?}"),
            (Asked::Load(oid, before), Ok(Reply::Loaded(loaded))) => {
                let known = self.known.entry(oid).or_insert(loaded.serial);
                *known = loaded.serial.max(*known);
                assert!(loaded.serial <= self.last_tid, "of {}, not heard of", loaded.serial);
                assert!(loaded.serial < before);
                if let Some(&changed) = self.changed.get(&oid)
                    && changed < before
                {
                    assert!(loaded.serial >= changed, "{}, but {changed} was heard of", loaded.serial);
                }
                assert!(loaded.end.is_none_or(|end| loaded.serial < end && end <= self.last_tid));
                read.push((oid, loaded.serial, loaded.data.to_vec()));
            }
            (Asked::Vote(id), result) => {
                let Some(transaction) = self.transaction.as_mut().filter(|transaction| transaction.id == id)
                else {
                    return;
                };
                match result {
                    Ok(Reply::Voted(items)) => {
                        let is_handed_back = items.iter().any(|item| matches!(item, VoteItem::Conflict(_)));
                        transaction.stage = if is_handed_back { Stage::Open } else { Stage::Voted };
                        for item in items {
                            match item {
                                // What an undo writes the client does not know.
                                VoteItem::Resolved(oid) => {
                                    _ = transaction.writes.insert(oid, Write::default())
                                }
                                VoteItem::Conflict(conflict) => {
                                    self.known.insert(conflict.oid, conflict.committed);
                                }
                            }
                        }
                    }
                    // The server has forgotten it.
                    Err(_) => self.transaction = None,
                    Ok(other) => panic!("{other:?}"),
                }
            }
            (Asked::Finish, Ok(Reply::Tid(tid))) => {
                let Transaction { writes, .. } = self.transaction.take().expect("a transaction of ours");
                self.hear(tid, writes.keys().copied());
                self.known.extend(writes.keys().map(|oid| (*oid, tid)));
                data.extend(writes.into_iter().map(|(oid, content)| ((oid, tid), content)));
            }
            (Asked::Finish, other) => panic!("a commit that was voted on fails: {other:?}"),
            (Asked::Load(..) | Asked::Other, _) => {}
        }
    }

    /// The transaction, which begins if there is none; but not while it cannot take stores.
    fn may_store(&mut self) -> Option<&mut Transaction> {
        if self.transaction.is_none() {
            let id = TxnId(self.next_txn);
            self.next_txn += 1;
            self.transaction = Some(Transaction { id, stage: Stage::Open, writes: BTreeMap::new() });
            let begin = TpcBegin {
                id,
                user: Value::Bytes(b"u"[..].into()),
                description: Value::Bytes(b""[..].into()),
                extension: Value::Dict(Vec::new()),
                tid: None,
                status: " ".into(),
            };
            self.call(&Call::TpcBegin(begin), Asked::Other);
        }
        self.transaction.as_mut().filter(|transaction| transaction.stage == Stage::Open)
    }
}

impl World {
    /// What the client `first % CLIENT_COUNT` does; `second` says to what.
    fn step(&mut self, first: u8, second: u8) {
        let engine = Arc::clone(&self.engine);
        let Self { clients, read, data, lost, .. } = self;
        let number = usize::from(first) % CLIENT_COUNT;
        let client = &mut clients[number];
        let oid = Oid::from_u64(u64::from(second) % OID_COUNT);
        // Mostly what the client knows.
        let known = client.known.get(&oid).copied().unwrap_or(Tid::ZERO);
        let serial = if second >= 240 { Tid::ZERO } else { known };
        match usize::from(first) / CLIENT_COUNT % 16 {
            0 => {
                client.wake();
                client.listen(read, data);
            }
            1 | 2 => client.run_job(),
            3..=6 => {
                let Some(transaction) = client.may_store() else { return };
                let content = [first, second, u8::try_from(transaction.writes.len()).unwrap()];
                let data = content.repeat(1 + usize::from(second));
                let store = Storea { oid, serial, data: data.clone().into(), id: transaction.id };
                transaction.writes.insert(oid, Write { base: Some(serial), content: Some(data) });
                client.call(&Call::Storea(store), Asked::Other);
            }
            7 => {
                let Some(transaction) = client.may_store() else { return };
                let id = transaction.id;
                match second % 4 {
                    0 => {
                        transaction.writes.insert(oid, Write { base: Some(serial), content: None });
                        client.call(&Call::DeleteObject(DeleteObject { oid, serial, id }), Asked::Other);
                    }
                    1 => {
                        let undo_id = STANDARD.encode(client.last_tid.as_bytes()).into_bytes().into();
                        client.call(&Call::Undoa(Undoa { undo_id, id }), Asked::Other);
                    }
                    _ => {
                        let check = CheckCurrentSerial { oid, serial, id };
                        client.call(&Call::CheckCurrentSerial(check), Asked::Other);
                    }
                }
            }
            8 | 9 => {
                let Some(transaction) = client.may_store() else { return };
                transaction.stage = Stage::Voting;
                let id = transaction.id;
                client.call(&Call::Transaction(Method::Vote, TransactionRef { id }), Asked::Vote(id));
            }
            10 | 11 => {
                client.listen(read, data);
                let Some(transaction) = &mut client.transaction else { return };
                if transaction.stage == Stage::Voted {
                    transaction.stage = Stage::Finishing;
                    let finish = TransactionRef { id: transaction.id };
                    client.call(&Call::Transaction(Method::TpcFinish, finish), Asked::Finish);
                }
            }
            12 if second < 50 => {
                let is_finishing = |transaction: &mut Transaction| transaction.stage == Stage::Finishing;
                let Some(Transaction { id, .. }) =
                    client.transaction.take_if(|transaction| !is_finishing(transaction))
                else {
                    return;
                };
                client.call(&Call::Transaction(Method::TpcAbort, TransactionRef { id }), Asked::Other);
            }
            12 if second >= 250 => {
                // Its commit, if one is under way, may go on without it.
                let gone = std::mem::replace(client, Client::connect(&engine, number));
                let Client { peer, jobs, transaction, .. } = gone;
                drop(peer);
                if second.is_multiple_of(2) {
                    jobs.into_iter().for_each(run);
                }
                lost.extend(transaction.map(|transaction| transaction.writes));
            }
            12 => {
                let since = GetInvalidations { tid: serial };
                client.call(&Call::GetInvalidations(since), Asked::Other);
            }
            13..=15 => {
                let before = if second.is_multiple_of(3) { known } else { Tid::MAX };
                let is_asked = |asked: &Asked| matches!(asked, Asked::Load(other, _) if *other == oid);
                if client.asked.iter().any(|(_, asked)| is_asked(asked)) {
                    client.listen(read, data);
                }
                if !client.asked.iter().any(|(_, asked)| is_asked(asked)) {
                    client.call(&Call::LoadBefore(LoadBefore { oid, before }), Asked::Load(oid, before));
                }
            }
            _ => {}
        }
    }

    /// All that is under way ends, and all clients go.
    fn end(&mut self) {
        for _ in 0..3 {
            for client in &mut self.clients {
                client.wake();
                while !client.jobs.is_empty() {
                    client.run_job();
                }
                client.listen(&mut self.read, &mut self.data);
            }
        }
        let heard: Vec<Tid> = self.clients.iter().map(|client| client.last_tid).collect();
        assert!(heard.iter().all(|tid| *tid == heard[0]), "{heard:?}");
        self.clients.clear();
        let status: serde_json::Value = serde_json::from_str(&self.engine.ruok()).unwrap();
        assert_eq!(status["1"]["connections"], 0);
        assert_eq!(status["1"]["active_txns"], 0);
        assert_eq!(status["1"]["waiting"], 0);
        assert_eq!(status["1"]["lock_time"], serde_json::Value::Null);
        self.assert_no_lost_update();
        for (oid, serial, content) in &self.read {
            let is_committed = match self.data.get(&(*oid, *serial)) {
                Some(committed) => committed.may_be(content),
                None => {
                    self.lost.iter().any(|writes| writes.get(oid).is_some_and(|write| write.may_be(content)))
                }
            };
            assert!(is_committed, "nobody committed these {} bytes as {oid} in {serial}", content.len());
        }
    }

    /// Each commit follows the one before it, of the same object.
    fn assert_no_lost_update(&self) {
        let mut last = HashMap::new();
        for ((oid, tid), write) in &self.data {
            let before = last.insert(oid, *tid).unwrap_or(Tid::ZERO);
            let is_known = self.lost.iter().all(|writes| !writes.contains_key(oid));
            if let Some(base) = write.base
                && is_known
            {
                assert_eq!(base, before, "{oid} in {tid} follows something else than its last revision");
            }
        }
    }

    fn compare(&self, view: &dyn View) {
        for ((oid, serial), committed) in &self.data {
            let Some(content) = &committed.content else { continue };
            let mut found = LoadedRevision::default();
            view.load_serial(*oid, *serial, &mut found).unwrap();
            assert_eq!(&found.data, content);
        }
    }
}
