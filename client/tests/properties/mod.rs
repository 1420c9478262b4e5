//! What holds for a client, whatever its server sends. `client_session.rs` runs this over a damaged conversation on
//! stable; `fuzz/` includes the same file.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "the fuzz target uses one of them")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a property fails by panicking")]

pub mod cache_file;
mod conversation;

pub use conversation::{conversation, conversation_of_zeo4};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use zeo_client::cache::{Cache, Revision};
use zeo_client::engine::{Access, Changes, Engine, Link, Registration};
use zeo_client::{ConnectionError, Limits, Oid, Tid};
use zeo_codec::call::{GetTid, NewOids, TransactionRef, TxnId};
use zeo_codec::{Call, Method};

/// What the client knew when it was connected last.
const KNOWN: Tid = Tid::from_u64(10);
/// The blob that is asked for, and how long it may be.
const BLOB: (Oid, Tid) = (Oid::from_u64(4), Tid::from_u64(9));
const BLOB_LEN_MAX: u64 = 8;
const LIMITS: Limits = Limits { frame_bytes: 1 << 20, ..Limits::DEFAULT };

/// The first byte picks the chunks, the rest is what the server sends on each of two connections. The client makes calls
/// as soon as it may. However it goes: invalidations rise, and the last transaction is that of the last one; every call is
/// answered once; the cache holds nothing that contradicts itself; pieces come of a blob that was asked for, as long as
/// it was not answered, and no more than may.
pub fn client_session(input: &[u8]) {
    success_count(input);
}

/// The same; how many calls were answered with a result.
pub fn success_count(input: &[u8]) -> usize {
    let Some((chunk_len, stream)) = input.split_first() else { return 0 };
    let cache = Contents::default();
    let mut client = Session::new(cache.clone());
    for _ in 0..2 {
        client.connection(stream, usize::from(*chunk_len) + 1);
    }
    cache.check();
    client.success_count
}

struct Session {
    engine: Engine<u32>,
    feed: zeo_client::Invalidations,
    last: Tid,
    waiting: BTreeSet<u32>,
    next_token: u32,
    success_count: usize,
    /// Who waits for the blob, and how much of it has come.
    blob: Option<(u32, u64)>,
}

impl Session {
    fn new(cache: Contents) -> Self {
        let mut engine = Engine::new(LIMITS, Some("fuzz".to_owned()), Some(Box::new(cache)));
        engine.set_blob_len_max(BLOB_LEN_MAX);
        let feed = engine.subscribe();
        let waiting = BTreeSet::new();
        Self { engine, feed, last: KNOWN, waiting, next_token: 0, success_count: 0, blob: None }
    }

    /// One connection, from its greeting to its end.
    fn connection(&mut self, stream: &[u8], chunk_len: usize) {
        let registration =
            Registration { storage: "1".to_owned(), access: Access::PreferWrite, credentials: None };
        let mut link = Some(Link::new(registration, LIMITS));
        let mut has_called = false;
        for chunk in stream.chunks(chunk_len) {
            if let Some(mut connecting) = link.take() {
                connecting.session().receive(chunk);
                match connecting.register() {
                    Ok(None) => link = Some(connecting),
                    Ok(Some(tid)) => {
                        if self.engine.adopt(connecting, tid).is_err() || self.engine.advance().is_err() {
                            break;
                        }
                    }
                    Err(_) => break,
                }
            } else {
                self.engine.session().unwrap().receive(chunk);
                if self.engine.advance().is_err() {
                    break;
                }
            }
            if self.engine.is_ready() && !has_called {
                has_called = true;
                self.make_calls();
            }
            self.look();
        }
        self.look();
        let is_lost = self.engine.session().is_none();
        self.engine.disconnect(&Arc::new(ConnectionError::Ended));
        assert!(self.engine.session().is_none() && !self.engine.is_ready());
        self.look();
        assert!(self.waiting.is_empty(), "unanswered {:?}, lost before: {is_lost}", self.waiting);
    }

    fn token(&mut self) -> u32 {
        self.next_token += 1;
        self.waiting.insert(self.next_token);
        self.next_token
    }

    fn make_calls(&mut self) {
        for (oid, before) in [(1, 11), (1, 100), (1, 100), (2, 100)] {
            let token = self.token();
            self.engine.load(Oid::from_u64(oid), Tid::from_u64(before), token).unwrap();
        }
        let calls = [
            Call::Plain(Method::Ping),
            Call::NewOids(NewOids { count: None }),
            Call::GetTid(GetTid { oid: Oid::ZERO }),
            Call::Transaction(Method::Vote, TransactionRef { id: TxnId(1) }),
        ];
        for call in calls {
            let token = self.token();
            self.engine.call(&call, token).unwrap();
        }
        let mut changes = Changes::default();
        changes.store(Oid::from_u64(1), "stored".into());
        let token = self.token();
        self.engine.finish(TxnId(1), changes, token).unwrap();
        let token = self.token();
        self.engine.load_blob(BLOB.0, BLOB.1, token).unwrap();
        self.blob = Some((token, 0));
    }

    fn look(&mut self) {
        while let Some(piece) = self.engine.poll_piece() {
            assert_eq!((piece.oid, piece.serial), BLOB);
            let (_, len) = self.blob.as_mut().expect("a piece of a blob that nobody waits for");
            *len += piece.bytes.len() as u64;
            assert!(*len <= BLOB_LEN_MAX);
        }
        while let Some((token, outcome)) = self.engine.poll_done() {
            self.blob = self.blob.filter(|(waiting, _)| *waiting != token);
            self.success_count += usize::from(outcome.is_ok());
            assert!(self.waiting.remove(&token), "{token} is answered twice");
        }
        while let Some(change) = self.feed.try_next() {
            assert!(change.tid() > self.last, "{change:?} after {}", self.last);
            self.last = change.tid();
        }
        assert_eq!(self.engine.last_transaction(), Some(self.last));
        if let Some(session) = self.engine.session() {
            session.consume_output(session.output_len());
        }
    }
}

/// A cache that forgets nothing.
#[derive(Debug, Clone, Default)]
struct Contents(Arc<Mutex<BTreeMap<(Oid, Tid), Revision>>>);

impl Contents {
    fn check(&self) {
        let revisions = self.0.lock().unwrap();
        let mut current = BTreeSet::new();
        for ((oid, serial), revision) in revisions.iter() {
            match revision.end {
                Some(end) => assert!(end > *serial, "{oid}: {serial} to {end}"),
                None => assert!(current.insert(*oid), "{oid} has two current revisions"),
            }
        }
    }

    fn current(revisions: &mut BTreeMap<(Oid, Tid), Revision>, oid: Oid) -> Option<&mut Revision> {
        let of_oid = revisions.range_mut((oid, Tid::ZERO)..=(oid, Tid::from_u64(u64::MAX)));
        of_oid.map(|(_, revision)| revision).find(|revision| revision.end.is_none())
    }
}

impl Cache for Contents {
    fn last_tid(&self) -> Option<Tid> {
        Some(KNOWN)
    }

    fn set_last_tid(&mut self, _: Tid) -> io::Result<()> {
        Ok(())
    }

    /// As if there were something whose verification matters.
    fn is_empty(&self) -> bool {
        false
    }

    fn load_before(&mut self, _: Oid, _: Tid) -> io::Result<Option<Revision>> {
        Ok(None)
    }

    fn store(&mut self, oid: Oid, revision: &Revision) -> io::Result<()> {
        let mut revisions = self.0.lock().unwrap();
        if revision.end.is_none()
            && let Some(other) = Self::current(&mut revisions, oid)
        {
            let serial = other.serial;
            if serial >= revision.serial {
                return Ok(());
            }
            revisions.remove(&(oid, serial));
        }
        revisions.insert((oid, revision.serial), revision.clone());
        Ok(())
    }

    fn invalidate(&mut self, oid: Oid, tid: Option<Tid>) -> io::Result<()> {
        let mut revisions = self.0.lock().unwrap();
        if let Some(current) = Self::current(&mut revisions, oid) {
            let serial = current.serial;
            match tid {
                Some(tid) if serial < tid => current.end = Some(tid),
                Some(_) => {}
                None => drop(revisions.remove(&(oid, serial))),
            }
        }
        Ok(())
    }

    fn current(&mut self) -> io::Result<Vec<(Oid, Tid)>> {
        let revisions = self.0.lock().unwrap();
        Ok(revisions.iter().filter(|(_, revision)| revision.end.is_none()).map(|(key, _)| *key).collect())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().clear();
        Ok(())
    }
}
