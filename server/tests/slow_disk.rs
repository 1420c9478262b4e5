//! A commit that waits for the disk keeps nobody else from reading, not even the other threads of the same
//! client, which share its connection. A load that waits for the disk keeps its own connection, and no other one. Nor does a
//! vote on much data, though it waits for nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use support::{Client, TestServer, begin, transaction};
use zeo_codec::call::{History, LoadBefore};
use zeo_codec::{Call, Method, Oid, Tid, Value};
use zeo_server::engine::EngineOptions;
use zeo_server::net::ConnectionOptions;
use zeo_server::storage::file::disk::{Disk, MemoryDisk};
use zeo_server::storage::file::{FileStorage, FileStorageOptions};
use zeo_server::storage::memory::MemoryStorage;
use zeo_server::storage::{
    Features, NewTransaction, PackHost, PackOutcome, PackRequest, Storage, StorageError, View, Voted, wait,
};

/// A storage whose votes and commits end when the test says so.
#[derive(Debug)]
struct SlowStorage {
    memory: MemoryStorage,
    votes: Arc<Gate>,
    disk: Arc<Mutex<Receiver<Result<(), ()>>>>,
}

#[derive(Debug)]
struct SlowVoted {
    voted: Box<dyn Voted>,
    disk: Arc<Mutex<Receiver<Result<(), ()>>>>,
}

impl Voted for SlowVoted {
    fn transaction_len(&self) -> u64 {
        self.voted.transaction_len()
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn View>, StorageError> {
        match self.disk.lock().unwrap().recv().unwrap() {
            Ok(()) => self.voted.finish(),
            Err(()) => Err(StorageError::Failed("the disk is broken".into())),
        }
    }
}

impl Storage for SlowStorage {
    fn name(&self) -> &str {
        self.memory.name()
    }

    fn features(&self) -> Features {
        self.memory.features()
    }

    fn interfaces(&self) -> &'static [(&'static str, &'static str)] {
        self.memory.interfaces()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn view(&self) -> Arc<dyn View> {
        self.memory.view()
    }

    fn new_oids(&self, count: u32) -> Result<Oid, StorageError> {
        self.memory.new_oids(count)
    }

    fn vote(&self, transaction: NewTransaction) -> Result<Box<dyn Voted>, StorageError> {
        self.votes.pass();
        Ok(Box::new(SlowVoted { voted: self.memory.vote(transaction)?, disk: Arc::clone(&self.disk) }))
    }

    fn pack(&self, request: PackRequest, host: &dyn PackHost) -> Result<PackOutcome, StorageError> {
        self.memory.pack(request, host)
    }

    fn close(&self) -> Result<(), StorageError> {
        self.memory.close()
    }
}

fn slow_storage() -> (SlowStorage, SyncSender<Result<(), ()>>) {
    let (sender, receiver) = sync_channel(10);
    let disk = Arc::new(Mutex::new(receiver));
    (SlowStorage { memory: MemoryStorage::new("slow"), votes: Arc::default(), disk }, sender)
}

fn start() -> (TestServer, SyncSender<Result<(), ()>>) {
    let (storage, disk) = slow_storage();
    (TestServer::serving(Arc::new(storage), EngineOptions::default(), ConnectionOptions::default()), disk)
}

fn load(oid: u64) -> Call<'static> {
    Call::LoadBefore(LoadBefore { oid: Oid::from_u64(oid), before: Tid::MAX })
}

#[test]
fn readers_do_not_wait_for_the_disk() {
    let (server, disk) = start();
    let (mut committer, mut reader) = (server.register(), server.register());
    disk.send(Ok(())).unwrap();
    committer.commit(1, 1);
    committer.store(2, 2, Tid::ZERO, b"new");
    assert_eq!(committer.transaction(Method::Vote, 2), "Voted([])");
    committer.send(&transaction(Method::TpcFinish, 2));
    for _ in 0..100 {
        for client in [&mut reader, &mut committer] {
            assert!(client.call(&load(1)).starts_with("Loaded"));
            assert_eq!(client.call(&load(2)), "ZODB.POSException.POSKeyError", "not committed yet");
            assert_eq!(client.plain(Method::Ping), "None");
        }
    }
    // What concerns the transaction has to wait for it: this begins the next one.
    committer.send(&begin(3));
    committer.send(&transaction(Method::Vote, 3));
    disk.send(Ok(())).unwrap();
    assert!(committer.next_reply().starts_with("Tid"));
    assert_eq!(committer.next_reply(), "Voted([])");
    assert!(reader.call(&load(2)).starts_with("Loaded"));
}

#[test]
fn readers_do_not_wait_for_a_vote_on_much_data() {
    let (storage, disk) = slow_storage();
    let votes = Arc::clone(&storage.votes);
    // The thread that votes is the one that reads.
    let (options, connections) = (EngineOptions::default(), ConnectionOptions::default());
    let server = TestServer::on_threads(1, Arc::new(storage), options, connections, None);
    let (mut committer, mut reader) = (server.register(), server.register());
    disk.send(Ok(())).unwrap();
    committer.commit(1, 1);
    committer.store(2, 2, Tid::ZERO, &[b'x'; 1 << 20]);
    votes.set_shut(true);
    committer.send(&transaction(Method::Vote, 2));
    votes.wait_for_waiting(1);
    assert!(reader.call(&load(1)).starts_with("Loaded"));
    votes.set_shut(false);
    assert_eq!(committer.next_reply(), "Voted([])");
}

#[test]
fn a_failing_disk_is_an_error_and_the_lock_is_free() {
    let (server, disk) = start();
    let (mut committer, mut next) = (server.register(), server.register());
    committer.store(1, 1, Tid::ZERO, b"data");
    assert_eq!(committer.transaction(Method::Vote, 1), "Voted([])");
    next.store(1, 2, Tid::ZERO, b"data");
    next.send(&transaction(Method::Vote, 1));
    disk.send(Err(())).unwrap();
    assert_eq!(committer.transaction(Method::TpcFinish, 1), "ZODB.POSException.StorageError");
    assert_eq!(next.next_reply(), "Voted([])");
    assert_eq!(committer.call(&load(1)), "ZODB.POSException.POSKeyError");
    assert_eq!(next.transaction(Method::TpcAbort, 1), "None");
    // The connection can go on: the failed transaction is forgotten.
    disk.send(Ok(())).unwrap();
    committer.commit(2, 1);
    assert_eq!(server.status("active_txns"), 0);
}

#[test]
fn a_client_that_goes_while_its_commit_waits_has_committed() {
    let (server, disk) = start();
    let mut committer = server.register();
    committer.store(1, 1, Tid::ZERO, b"data");
    assert_eq!(committer.transaction(Method::Vote, 1), "Voted([])");
    committer.send(&transaction(Method::TpcFinish, 1));
    // The server has read the request when it answers this one.
    assert_eq!(committer.plain(Method::Ping), "None");
    drop(committer);
    disk.send(Ok(())).unwrap();
    server.wait_for_status("connections", 0);
    server.wait_for_status("commits", 1);
    assert!(server.register().call(&load(1)).starts_with("Loaded"));
    assert_eq!(server.status("lock_time"), serde_json::Value::Null);
}

/// A disk that moves when the test says so.
#[derive(Debug, Default)]
struct GatedDisk {
    memory: MemoryDisk,
    reads: Gate,
    syncs: Gate,
}

/// Lets through, or collects.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_shut: bool,
    waiting_count: usize,
}

impl Gate {
    fn set_shut(&self, is_shut: bool) {
        self.state.lock().unwrap().is_shut = is_shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting_count += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.is_shut).unwrap();
        state.waiting_count -= 1;
        self.changed.notify_all();
    }

    fn waiting_count(&self) -> usize {
        self.state.lock().unwrap().waiting_count
    }

    fn wait_for_waiting(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let missing = |state: &mut GateState| state.waiting_count != count;
        let (state, waited) =
            self.changed.wait_timeout_while(state, Duration::from_secs(10), missing).unwrap();
        assert!(!waited.timed_out(), "{} are waiting instead of {count}", state.waiting_count);
    }
}

impl Disk for GatedDisk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()> {
        wait(&mut || self.reads.pass());
        self.memory.read_exact_at(buffer, pos)
    }

    fn write_all_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        self.memory.write_all_at(bytes, pos)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.pass();
        self.memory.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn reserve(&self, pos: u64, len: u64) -> io::Result<()> {
        self.memory.reserve(pos, len)
    }
}

/// More than the server has threads to run connections on.
const CLIENT_COUNT: u64 = 6;

/// The disk of a test. When the test ends, whichever way, everything passes: a server that waits for the disk could
/// not end.
struct Gates(Arc<GatedDisk>);

impl std::ops::Deref for Gates {
    type Target = GatedDisk;

    fn deref(&self) -> &GatedDisk {
        &self.0
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        self.0.reads.set_shut(false);
        self.0.syncs.set_shut(false);
    }
}

/// A server, and its disk, which is dropped first.
fn start_gated() -> (TestServer, Gates) {
    let disk = Gates(Arc::new(GatedDisk::default()));
    let storage =
        FileStorage::open_disk(Arc::clone(&disk.0) as _, "test", FileStorageOptions::default()).unwrap();
    let server =
        TestServer::serving(Arc::new(storage), EngineOptions::default(), ConnectionOptions::default());
    server.register().commit(1, 1);
    (server, disk)
}

#[test]
fn loads_that_wait_for_the_disk_keep_no_other_client() {
    let (server, disk) = start_gated();
    let mut clients: Vec<Client> = (0..CLIENT_COUNT).map(|_| server.register()).collect();
    let mut other = server.register();
    disk.reads.set_shut(true);
    for client in &mut clients {
        client.send(&load(1));
    }
    disk.reads.wait_for_waiting(clients.len());
    for _ in 0..100 {
        assert_eq!(other.plain(Method::Ping), "None");
    }
    // Nor do they keep newcomers.
    assert_eq!(server.register().plain(Method::Ping), "None");
    disk.reads.set_shut(false);
    for client in &mut clients {
        assert!(client.next_reply().starts_with("Loaded"));
    }
}

/// Each commit ends while a load of the same connection waits for the disk, so that its reply has to wait, too.
#[test]
fn replies_that_wait_for_such_loads_keep_no_other_client() {
    let (server, disk) = start_gated();
    let mut clients: Vec<Client> = (0..CLIENT_COUNT).map(|_| server.register()).collect();
    let mut other = server.register();
    for (number, client) in (2..).zip(&mut clients) {
        client.store(number, number, Tid::ZERO, b"data");
        assert_eq!(client.transaction(Method::Vote, number), "Voted([])");
        disk.syncs.set_shut(true);
        client.send(&transaction(Method::TpcFinish, number));
        disk.syncs.wait_for_waiting(1);
        disk.reads.set_shut(true);
        client.send(&load(1));
        disk.reads.wait_for_waiting(usize::try_from(number - 1).unwrap());
        disk.syncs.set_shut(false);
        server.wait_for_status("commits", number);
        assert_eq!(other.plain(Method::Ping), "None");
    }
    for _ in 0..100 {
        assert_eq!(other.plain(Method::Ping), "None");
    }
    disk.reads.set_shut(false);
    for client in &mut clients {
        let replies = [client.next_reply(), client.next_reply()];
        assert!(replies.iter().any(|reply| reply.starts_with("Loaded")), "{replies:?}");
        assert!(replies.iter().any(|reply| reply.starts_with("Tid")), "{replies:?}");
    }
}

/// Four long questions of each connection may be under way; of all connections together no more than leave threads for
/// those who commit and load.
#[test]
fn long_questions_of_many_clients_do_not_take_all_threads() {
    const LONG_MAX: usize = 64;
    let (server, disk) = start_gated();
    let mut clients: Vec<Client> = (0..50).map(|_| server.register()).collect();
    let mut other = server.register();
    disk.reads.set_shut(true);
    let oid = Value::Bytes(Oid::from_u64(1).as_bytes().to_vec().into());
    for client in &mut clients {
        for _ in 0..4 {
            client.send(&Call::History(History { oid: oid.clone(), size: None }));
        }
    }
    disk.reads.wait_for_waiting(LONG_MAX);
    // All of them have been asked by now.
    for client in &mut clients {
        assert_eq!(client.plain(Method::Ping), "None");
    }
    other.commit(2, 2);
    assert_eq!(disk.reads.waiting_count(), LONG_MAX);
    disk.reads.set_shut(false);
    for client in &mut clients {
        for _ in 0..4 {
            assert!(client.next_reply().starts_with("Value"));
        }
    }
}
