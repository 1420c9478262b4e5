//! Rules S1 to S4 and S8 of the ordering, checked on what real connections receive while all of them
//! commit and load at once.
//!
//! Each client keeps a record of its stream: where it registered, invalidations, its own commits, and what
//! loads of current revisions returned. Afterwards all commits are known, and every record must be what a
//! client sees that walks through them one by one. Clients of ZEO 4 look on, which ask for current revisions only: to them
//! nothing may come of a commit before its invalidation (S2).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Client, TestServer, begin, transaction};
use zeo_codec::call::{LoadBefore, Register, Storea, TxnId};
use zeo_codec::handshake::Version;
use zeo_codec::session::Incoming;
use zeo_codec::{Call, Limits, Method, MsgId, Oid, Reply, Tid, Value, VoteItem};

const CLIENT_COUNT: u64 = 4;
const COMMIT_COUNT: u64 = 150;
const OBJECT_COUNT: u64 = 12;
/// How often each object is asked for while commits go on.
const ROUND_COUNT: u64 = 5;

/// Something in a client's stream, in the order of arrival.
#[derive(Debug, Clone)]
enum Event {
    /// `register` returned this tid.
    Registered(Tid),
    Invalidated(Tid, Vec<Oid>),
    /// The reply of `tpc_finish`.
    Committed(Tid, Vec<Oid>),
    /// An object's current revision; `None` if there was no such object yet.
    Loaded(Oid, Option<Tid>),
}

/// Pseudo-random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

struct Recorder {
    client: Client,
    events: Vec<Event>,
    storing: Vec<Oid>,
    /// Loads of a client of ZEO 4 that are not answered yet.
    loading: BTreeMap<i64, Oid>,
    /// Serials as far as this client knows.
    serials: BTreeMap<Oid, Tid>,
}

impl Recorder {
    fn new(server: &TestServer) -> Self {
        let mut client = server.connect();
        let register = Register { storage: "1".into(), read_only: Value::Bool(false), credentials: None };
        client.send(&Call::Register(register));
        let mut recorder = Self::of(client);
        recorder.until_replies(1);
        recorder
    }

    fn of(client: Client) -> Self {
        Self { client, events: vec![], storing: vec![], loading: BTreeMap::new(), serials: BTreeMap::new() }
    }

    /// A client of ZEO 4, which asks where it is.
    fn of_zeo4(server: &TestServer) -> Self {
        let mut client = Client::connect_as(server.address, Version::V4);
        let register = Register { storage: "1".into(), read_only: Value::Bool(false), credentials: None };
        client.send(&Call::Register(register));
        client.send(&Call::Plain(Method::LastTransaction));
        let mut recorder = Self::of(client);
        recorder.until_replies(2);
        recorder
    }

    /// Looks on until there is nothing more to see.
    fn watch(mut self, is_over: &AtomicBool) -> Vec<Event> {
        while !is_over.load(Ordering::Relaxed) {
            for number in 0..OBJECT_COUNT {
                let oid = Oid::from_u64(number);
                let args = Value::Tuple(vec![oid.into()]);
                let id = self.client.session.call(&Call::Untyped(Method::LoadEx, args)).unwrap();
                let MsgId::Int(id) = id else { panic!("unexpected id") };
                self.loading.insert(id, oid);
            }
            self.client.flush();
            self.until_replies(OBJECT_COUNT as usize);
        }
        self.events
    }

    /// Receives frame by frame, so that calls and replies keep their order.
    fn until_replies(&mut self, mut count: usize) -> Vec<Reply<'static>> {
        let mut last = Vec::new();
        while count > 0 {
            assert!(self.client.poll_one(), "the server hung up");
            for message in std::mem::take(&mut self.client.calls) {
                self.on_call(&message);
            }
            for reply in std::mem::take(&mut self.client.replies) {
                count -= 1;
                last.extend(self.on_reply(&reply));
            }
        }
        last
    }

    fn on_call(&mut self, message: &zeo_codec::session::Message) {
        let Ok(Incoming::Call(envelope)) = message.parse(&Limits::DEFAULT) else { panic!("no call") };
        let method = Method::from_name(&envelope.name).unwrap();
        if let Call::InvalidateTransaction(args) =
            Call::parse(method, envelope.args, &Limits::DEFAULT).unwrap()
        {
            for oid in &args.oids {
                self.serials.insert(*oid, args.tid);
            }
            self.events.push(Event::Invalidated(args.tid, args.oids));
        }
    }

    fn on_reply(&mut self, reply: &zeo_codec::session::ClientReply) -> Option<Reply<'static>> {
        let result = reply.result(&Limits::DEFAULT).unwrap();
        match (reply.method, result) {
            (Some(Method::Register), Ok(Reply::Tid(tid))) => self.events.push(Event::Registered(tid)),
            (Some(Method::LastTransaction), Ok(Reply::Tid(tid))) => {
                // What came before is in it.
                self.events = vec![Event::Registered(tid)];
            }
            (Some(Method::LoadEx), loaded) => {
                let MsgId::Int(id) = reply.id else { panic!("unexpected id") };
                let oid = self.loading.remove(&id).unwrap();
                let serial = loaded.map_or(None, |loaded| {
                    let Reply::Value(Value::Tuple(items)) = loaded else { panic!("{loaded:?}") };
                    items[1].as_bytes().and_then(Tid::from_slice)
                });
                self.events.push(Event::Loaded(oid, serial));
            }
            (Some(Method::TpcFinish), Ok(Reply::Tid(tid))) => {
                let oids = std::mem::take(&mut self.storing);
                for oid in &oids {
                    self.serials.insert(*oid, tid);
                }
                self.events.push(Event::Committed(tid, oids));
            }
            (Some(Method::LoadBefore), loaded) => {
                let MsgId::Load(oid, _) = reply.id else { panic!("unexpected id") };
                let serial = match loaded {
                    Ok(Reply::Loaded(loaded)) => Some(loaded.serial),
                    Ok(other) => panic!("unexpected reply {other:?}"),
                    Err(error) => {
                        assert_eq!(error.class, "ZODB.POSException.POSKeyError");
                        None
                    }
                };
                if let Some(serial) = serial {
                    self.serials.insert(oid, serial);
                }
                self.events.push(Event::Loaded(oid, serial));
            }
            (Some(Method::Vote), Ok(Reply::Voted(items))) => {
                return Some(Reply::Voted(items.into_iter().map(owned).collect()));
            }
            (_, Ok(Reply::None)) => {}
            other => panic!("unexpected reply {other:?}"),
        }
        None
    }

    /// Asks for the current revisions of all objects, again and again, without waiting.
    fn load_all(&mut self) -> usize {
        for number in 0..OBJECT_COUNT * ROUND_COUNT {
            let oid = Oid::from_u64(number % OBJECT_COUNT);
            self.client.session.call(&Call::LoadBefore(LoadBefore { oid, before: Tid::MAX })).unwrap();
        }
        self.client.flush();
        (OBJECT_COUNT * ROUND_COUNT) as usize
    }

    /// Commits some objects, with loads in flight at every step; a conflict aborts.
    fn commit(&mut self, id: u64, dice: &mut Dice) {
        self.client.send(&begin(id));
        let mut oids: Vec<Oid> = (0..=dice.roll(2)).map(|_| Oid::from_u64(dice.roll(OBJECT_COUNT))).collect();
        oids.sort_unstable();
        oids.dedup();
        for oid in &oids {
            let serial = self.serials.get(oid).copied().unwrap_or(Tid::ZERO);
            let data = id.to_be_bytes().to_vec().into();
            self.client.send(&Call::Storea(Storea { oid: *oid, serial, data, id: TxnId(id) }));
        }
        let load_count = self.load_all();
        self.client.send(&transaction(Method::Vote, id));
        let voted = self.until_replies(load_count + 1);
        let end = if matches!(voted.as_slice(), [Reply::Voted(items)] if items.is_empty()) {
            self.storing = oids;
            Method::TpcFinish
        } else {
            Method::TpcAbort
        };
        self.client.send(&transaction(end, id));
        let load_count = self.load_all();
        self.until_replies(load_count + 1);
    }
}

fn owned(item: VoteItem<'_>) -> VoteItem<'static> {
    match item {
        VoteItem::Resolved(oid) => VoteItem::Resolved(oid),
        VoteItem::Conflict(conflict) => VoteItem::Resolved(conflict.oid),
    }
}

#[test]
fn every_client_walks_through_the_commits_one_by_one() {
    walk_through_commits(&TestServer::start());
}

/// Where transactions of different objects are voted on beside each other.
#[test]
fn every_client_walks_through_the_commits_to_a_file_one_by_one() {
    walk_through_commits(&TestServer::with_file());
}

fn walk_through_commits(server: &TestServer) {
    let is_over = AtomicBool::new(false);
    let (records, watched) = std::thread::scope(|scope| {
        let watchers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| Recorder::of_zeo4(server).watch(&is_over))).collect();
        let threads: Vec<_> = (1..=CLIENT_COUNT)
            .map(|number| {
                scope.spawn(move || {
                    let mut dice = Dice(number);
                    let mut record = Vec::new();
                    let mut recorder = Recorder::new(server);
                    for id in 1..=COMMIT_COUNT {
                        recorder.commit(id, &mut dice);
                        if dice.roll(40) == 0 {
                            // Go, and come back in the middle of everything.
                            record.push(std::mem::take(&mut recorder.events));
                            recorder = Recorder::new(server);
                        }
                    }
                    record.push(recorder.events);
                    record
                })
            })
            .collect();
        let records: Vec<Vec<Event>> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        is_over.store(true, Ordering::Relaxed);
        let watched: Vec<Vec<Event>> = watchers.into_iter().map(|thread| thread.join().unwrap()).collect();
        (records, watched)
    });

    let commits = all_commits(&records);
    assert!(commits.len() as u64 > COMMIT_COUNT, "too few commits to mean anything: {}", commits.len());
    for record in records.iter().chain(&watched) {
        check(record, &commits);
    }
    for record in watched {
        let told = record.iter().filter(|event| matches!(event, Event::Invalidated(..))).count();
        let loaded = record.iter().filter(|event| matches!(event, Event::Loaded(_, Some(_)))).count();
        assert!(told as u64 > COMMIT_COUNT && loaded as u64 > COMMIT_COUNT, "{told} {loaded}");
    }
}

fn all_commits(records: &[Vec<Event>]) -> BTreeMap<Tid, Vec<Oid>> {
    let own = records.iter().flatten().filter_map(|event| match event {
        Event::Committed(tid, oids) => Some((*tid, oids.clone())),
        _ => None,
    });
    own.collect()
}

fn check(record: &[Event], commits: &BTreeMap<Tid, Vec<Oid>>) {
    let mut seen = None;
    for event in record {
        match event {
            Event::Registered(tid) => seen = Some(*tid),
            Event::Invalidated(tid, oids) | Event::Committed(tid, oids) => {
                // S3 and S4: the very next commit, nothing left out, nothing twice.
                let before = seen.expect("registered first");
                let next = commits.range(before..).find(|(tid, _)| **tid > before);
                assert_eq!(next, Some((tid, oids)), "after {before}");
                seen = Some(*tid);
            }
            Event::Loaded(oid, serial) => {
                // S1 and S8: exactly the state of the last commit that this client was told about.
                let seen = seen.expect("registered first");
                let newest = commits.range(..=seen).rev().find(|(_, oids)| oids.contains(oid));
                assert_eq!(*serial, newest.map(|(tid, _)| *tid), "{oid} as of {seen}");
            }
        }
    }
}

/// Protocol reference 8 and 9.3: first the numbers, then the reply.
#[test]
fn the_committer_gets_info_before_its_reply_and_nobody_else_does() {
    let server = TestServer::start();
    let (mut committer, mut other) = (server.register(), server.register());
    committer.take_lock();
    committer.send(&transaction(Method::TpcFinish, 7));
    assert!(committer.poll_one() && committer.replies.is_empty(), "a call first");
    assert!(committer.poll_one() && committer.replies.len() == 1, "then the reply");
    let names = |client: &Client| -> Vec<String> {
        let name = |message: &zeo_codec::session::Message| match message.parse(&Limits::DEFAULT).unwrap() {
            Incoming::Call(envelope) => String::from_utf8_lossy(&envelope.name).into_owned(),
            other => panic!("{other:?}"),
        };
        client.calls.iter().map(name).collect()
    };
    assert_eq!(names(&committer), ["info"]);
    assert_eq!(other.plain(Method::Ping), "None");
    assert_eq!(names(&other), ["invalidateTransaction"]);
}
