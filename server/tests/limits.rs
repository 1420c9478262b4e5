//! Each limit of `<limits>` that a client can reach at the socket: what it gets, that the others go on, and that it is
//! counted. Those that time brings about are beside the connection (`net/connection/tests.rs`), shared places beside the
//! gates (`net/gates.rs`), that of missed changes in `verification.rs`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::json;
use support::{Client, TestServer, begin, transaction};
use tempfile::TempDir;
use zeo_codec::call::{IteratorStart, SendBlob, StoreBlobChunk, StoreBlobEnd, Storea, TxnId, UndoLog};
use zeo_codec::{Call, Limits, Method, Oid, Tid};
use zeo_server::engine::EngineOptions;
use zeo_server::limits::LimitOptions;
use zeo_server::net::ConnectionOptions;
use zeo_server::storage::Storage;
use zeo_server::storage::blob::{BlobDirectory, BlobDirectoryOptions, BlobStorage};
use zeo_server::storage::file::disk::MemoryDisk;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};

const STORAGE_ERROR: &str = "ZODB.POSException.StorageError";
const KEY: &str = "limits-reached";

/// A server with these limits, and with blobs.
fn start(limits: &LimitOptions) -> (TempDir, TestServer) {
    start_with(limits, ConnectionOptions::with_limits(limits))
}

fn start_with(limits: &LimitOptions, connections: ConnectionOptions) -> (TempDir, TestServer) {
    let dir = TempDir::new().unwrap();
    let directory = BlobDirectory::open(dir.path(), BlobDirectoryOptions::default()).unwrap();
    let disk = Arc::new(MemoryDisk::default());
    let file = FileStorage::open_disk(disk, "test", FileStorageOptions::default()).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(BlobStorage::new(Arc::new(file), directory).unwrap());
    (dir, TestServer::serving(storage, EngineOptions::with_limits(limits), connections))
}

/// Where Python's clients look nothing has changed before anything was reached.
fn assert_reached(server: &TestServer, name: &str, count: u64) {
    server.wait_for_status(KEY, json!({ name: count }));
    assert!(server.engine.monitor_report().contains(&format!("Limit reached, {name}: {count}\n")));
    let shown = server.register().plain(Method::ServerStatus);
    assert!(shown.contains(KEY) && shown.contains(name), "{shown}");
}

/// Whoever connects there is hung up on, without a word.
fn is_turned_away(server: &TestServer) -> bool {
    let mut stream = TcpStream::connect(server.address).unwrap();
    match stream.read(&mut [0]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn nothing_is_told_of_limits_that_were_not_reached() {
    let (_dir, server) = start(&LimitOptions::default());
    assert_eq!(server.status(KEY), serde_json::Value::Null);
    assert!(!server.engine.monitor_report().contains("imit"));
    assert!(!server.register().plain(Method::ServerStatus).contains(KEY));
}

#[test]
fn connections() {
    let (_dir, server) = start(&LimitOptions { connection_count: 3, ..LimitOptions::default() });
    let first = server.register();
    let mut second = server.register();
    // Silent ones count as well.
    let third = TcpStream::connect(server.address).unwrap();
    (&third).read_exact(&mut [0]).unwrap();
    assert!(is_turned_away(&server) && is_turned_away(&server));
    assert_eq!(second.plain(Method::Ping), "None");
    drop(first);
    // Its place is free when the server has noticed.
    while is_turned_away(&server) {
        std::thread::yield_now();
    }
    let count = server.status(KEY)["connections"].as_u64().unwrap();
    assert!(count >= 2, "{count}");
    drop(third);
}

#[test]
fn frames() {
    let limits = LimitOptions { early_frame_bytes: 2048, ..LimitOptions::default() };
    let default = ConnectionOptions::with_limits(&limits);
    let connections = ConnectionOptions { limits: Limits { frame_bytes: 4096, ..default.limits }, ..default };
    let (_dir, server) = start_with(&limits, connections);
    let mut stranger = server.connect();
    stranger.stream.write_all(&2049_u32.to_be_bytes()).unwrap();
    stranger.assert_closed("before register");
    assert_reached(&server, "early-frame-size", 1);
    let mut client = server.register();
    client.stream.write_all(&4097_u32.to_be_bytes()).unwrap();
    client.assert_closed("afterwards");
    server.wait_for_status(KEY, json!({ "early-frame-size": 1, "frame-size-limit": 1 }));
}

#[test]
fn a_message_of_too_many_parts() {
    let (_dir, server) = start(&LimitOptions::default());
    let mut client = server.register();
    let payloads = support::payloads::pickle();
    let nested = payloads.iter().find(|(name, _)| *name == "a million tuples in each other").unwrap();
    client.send_frame(&nested.1);
    client.assert_closed("nested too deeply");
    assert_reached(&server, "message", 1);
}

#[test]
fn questions() {
    let (_dir, server) = start(&LimitOptions { question_count: 1, ..LimitOptions::default() });
    let mut client = server.register();
    client.commit(1, 1);
    // Both arrive at once: the second waits until the first is answered.
    let question = Call::UndoLog(UndoLog { first: 0, last: -20 });
    client.session.call(&question).unwrap();
    client.send(&question);
    for _ in 0..2 {
        assert!(client.next_reply().contains("description"));
    }
    assert_reached(&server, "questions", 1);
}

#[test]
fn iterators() {
    let (_dir, server) = start(&LimitOptions { iterator_count: 1, ..LimitOptions::default() });
    let mut client = server.register();
    client.commit(1, 1);
    let start = Call::IteratorStart(IteratorStart { start: None, stop: None });
    assert_eq!(client.call(&start), "IteratorId(0)");
    assert_eq!(client.call(&start), STORAGE_ERROR);
    assert_eq!(server.register().call(&start), "IteratorId(0)");
    assert_reached(&server, "iterators", 1);
}

#[test]
fn answers() {
    let (_dir, server) = start(&LimitOptions { answer_bytes: 1024, ..LimitOptions::default() });
    let mut client = server.register();
    for id in 1..=30 {
        client.commit(id, id);
    }
    assert_eq!(client.call(&Call::UndoLog(UndoLog { first: 0, last: -30 })), STORAGE_ERROR);
    assert_reached(&server, "answer-size", 1);
}

#[test]
fn data_of_a_transaction() {
    let (_dir, server) = start(&LimitOptions { transaction_bytes: 10_000, ..LimitOptions::default() });
    let mut client = server.register();
    client.store(1, 1, Tid::ZERO, &[0; 10_000]);
    assert_eq!(client.transaction(Method::Vote, 1), STORAGE_ERROR);
    assert_eq!(client.transaction(Method::TpcAbort, 1), "None");
    client.commit(2, 2);
    assert_reached(&server, "transaction-size", 1);
}

/// Sends a blob as part of transaction 1.
fn send_blob(client: &mut Client, oid: u64, len: usize) {
    let (oid, id) = (Oid::from_u64(oid), TxnId(1));
    client.send(&Call::Storea(Storea { oid, serial: Tid::ZERO, data: b"record"[..].into(), id }));
    client.send(&Call::Plain(Method::StoreBlobStart));
    for piece in vec![7; len].chunks(59_000) {
        client.send(&Call::StoreBlobChunk(StoreBlobChunk { chunk: piece.into() }));
    }
    client.send(&Call::StoreBlobEnd(StoreBlobEnd { oid, serial: Tid::ZERO, data: b"record"[..].into(), id }));
}

#[test]
fn blobs_of_a_transaction() {
    let (dir, server) = start(&LimitOptions { transaction_blob_bytes: 200_000, ..LimitOptions::default() });
    let mut client = server.register();
    client.send(&begin(1));
    send_blob(&mut client, 1, 150_000);
    send_blob(&mut client, 2, 50_001);
    assert_eq!(client.transaction(Method::Vote, 1), STORAGE_ERROR);
    let staged = std::fs::read_dir(dir.path().join("tmp")).unwrap().count();
    assert_eq!(staged, 0, "their files are gone before the client does anything");
    assert_eq!(client.transaction(Method::TpcAbort, 1), "None");
    // As much as is allowed, and in the next transaction anew.
    for (first, second) in [(3, 4), (5, 6)] {
        client.send(&begin(1));
        send_blob(&mut client, first, 150_000);
        send_blob(&mut client, second, 50_000);
        assert_eq!(client.transaction(Method::Vote, 1), "Voted([])");
        assert!(client.transaction(Method::TpcFinish, 1).starts_with("Tid"));
    }
    assert_reached(&server, "transaction-blob-size", 1);
}

#[test]
fn downloads() {
    let (_dir, server) = start(&LimitOptions { download_count: 1, ..LimitOptions::default() });
    let mut client = server.register();
    client.send(&begin(1));
    send_blob(&mut client, 1, 600_000);
    assert_eq!(client.transaction(Method::Vote, 1), "Voted([])");
    assert!(client.call(&transaction(Method::TpcFinish, 1)).starts_with("Tid"));
    let call = Call::SendBlob(SendBlob { oid: Oid::from_u64(1), serial: client.current(1) });
    client.session.call(&call).unwrap();
    client.send(&call);
    for _ in 0..2 {
        assert_eq!(client.next_reply(), "None");
    }
    assert_reached(&server, "blob-downloads", 1);
}
