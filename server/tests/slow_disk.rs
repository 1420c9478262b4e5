//! A commit that waits for the disk keeps nobody else from reading, not even the other threads of the same
//! client, which share its connection.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use support::{TestServer, begin, transaction};
use zeo_codec::call::LoadBefore;
use zeo_codec::{Call, Method, Oid, Tid};
use zeo_server::engine::EngineOptions;
use zeo_server::net::ConnectionOptions;
use zeo_server::storage::memory::MemoryStorage;
use zeo_server::storage::{
    Features, NewTransaction, PackHost, PackOutcome, PackRequest, Storage, StorageError, View, Voted,
};

/// A storage whose commits end when the test says so.
#[derive(Debug)]
struct SlowStorage {
    memory: MemoryStorage,
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
        Ok(Box::new(SlowVoted { voted: self.memory.vote(transaction)?, disk: Arc::clone(&self.disk) }))
    }

    fn pack(&self, request: PackRequest, host: &dyn PackHost) -> Result<PackOutcome, StorageError> {
        self.memory.pack(request, host)
    }

    fn close(&self) -> Result<(), StorageError> {
        self.memory.close()
    }
}

fn start() -> (TestServer, SyncSender<Result<(), ()>>) {
    let (sender, receiver) = sync_channel(10);
    let storage = SlowStorage { memory: MemoryStorage::new("slow"), disk: Arc::new(Mutex::new(receiver)) };
    (TestServer::serving(Arc::new(storage), EngineOptions::default(), ConnectionOptions::default()), sender)
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
