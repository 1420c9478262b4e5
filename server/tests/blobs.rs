//! Uploads and downloads of blobs at the socket: order of the messages (rule S10), what stays behind, turns.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{Client, TestServer, begin, transaction};
use tempfile::TempDir;
use zeo_codec::call::{SendBlob, StoreBlobChunk, StoreBlobEnd, StoreBlobShared, Storea, TxnId};
use zeo_codec::handshake::Protocol;
use zeo_codec::{Call, Method, Oid, Tid};
use zeo_server::engine::EngineOptions;
use zeo_server::net::ConnectionOptions;
use zeo_server::storage::blob::{BlobDirectory, BlobDirectoryOptions, BlobStorage};
use zeo_server::storage::memory::MemoryStorage;

const OID: Oid = Oid::from_u64(1);

fn start() -> (TempDir, TestServer) {
    let dir = TempDir::new().unwrap();
    let directory = BlobDirectory::open(dir.path(), BlobDirectoryOptions::default()).unwrap();
    let storage = BlobStorage::new(Arc::new(MemoryStorage::new("test")), directory).unwrap();
    let server =
        TestServer::serving(Arc::new(storage), EngineOptions::default(), ConnectionOptions::default());
    (dir, server)
}

fn chunk(bytes: &[u8]) -> Call<'_> {
    Call::StoreBlobChunk(StoreBlobChunk { chunk: bytes.into() })
}

fn end(id: u64) -> Call<'static> {
    let data = b"record"[..].into();
    Call::StoreBlobEnd(StoreBlobEnd { oid: OID, serial: Tid::ZERO, data, id: TxnId(id) })
}

const START: Call<'static> = Call::Plain(Method::StoreBlobStart);

fn staged(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("tmp")).unwrap().count()
}

/// Waits until nothing is staged: the server removes files when it hears that they are not wanted.
fn wait_until_clean(dir: &Path, why: &str) {
    let patience = Instant::now() + Duration::from_secs(10);
    while staged(dir) > 0 {
        assert!(Instant::now() < patience, "{why}: {} files stay", staged(dir));
        std::thread::yield_now();
    }
}

/// Commits a blob.
fn upload(client: &mut Client, content: &[u8]) {
    client.send(&begin(1));
    let (data, id) = (b"record"[..].into(), TxnId(1));
    client.send(&Call::Storea(Storea { oid: OID, serial: Tid::ZERO, data, id }));
    client.send(&START);
    content.chunks(59_000).for_each(|piece| client.send(&chunk(piece)));
    client.send(&end(1));
    assert_eq!(client.transaction(Method::Vote, 1), "Voted([])");
    assert!(client.transaction(Method::TpcFinish, 1).starts_with("Tid"));
}

#[test]
fn messages_out_of_order_fail_the_vote_and_nothing_else() {
    let (dir, server) = start();
    let cases: [(&str, Vec<Call<'_>>); 4] = [
        ("start in start", vec![START, chunk(b"x"), START, chunk(b"y"), end(7)]),
        ("chunk without start", vec![chunk(b"x")]),
        ("end without start", vec![end(7)]),
        ("end twice", vec![START, end(7), end(7)]),
    ];
    for (why, calls) in cases {
        let mut client = server.register();
        client.send(&begin(7));
        calls.iter().for_each(|call| client.send(call));
        assert_eq!(client.transaction(Method::Vote, 7), "builtins.AssertionError", "{why}");
        wait_until_clean(dir.path(), why);
        // The connection lives, and so does its next upload.
        client.send(&begin(8));
        client.send(&START);
        client.send(&end(8));
        assert_eq!(client.transaction(Method::Vote, 8), "Voted([])", "{why}");
        assert_eq!(client.transaction(Method::TpcAbort, 8), "None");
    }
}

#[test]
fn an_upload_broken_off_at_any_message_leaves_nothing() {
    let (dir, server) = start();
    let messages = [START, chunk(b"some"), chunk(b"more"), end(7), transaction(Method::Vote, 7)];
    for count in 1..=messages.len() {
        let mut client = server.register();
        client.send(&begin(7));
        messages[..count].iter().for_each(|message| client.send(message));
        // Any answer: what came before is handled. The vote's may come later, when the file is durable.
        client.plain(Method::Ping);
        drop(client);
        server.wait_for_status("connections", 0);
        wait_until_clean(dir.path(), &format!("after {count} messages"));
    }
    let mut client = server.register();
    client.send(&begin(7));
    messages[..2].iter().for_each(|message| client.send(message));
    assert_eq!(client.transaction(Method::TpcAbort, 7), "None");
    wait_until_clean(dir.path(), "abort");
}

/// Everything below a directory: content of files, targets of links.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            all.extend(snapshot(&path));
        } else if kind.is_symlink() {
            all.insert(path.clone(), std::fs::read_link(&path).unwrap().into_os_string().into_vec());
        } else {
            all.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    all
}

/// `guarantees.md` 2, point 15 (CVE-2009-2701).
#[test]
fn hostile_shared_names_fail_the_vote_and_touch_nothing() {
    for announced in [Protocol::Z5, Protocol::M5] {
        let outer = TempDir::new().unwrap();
        let secret = outer.path().join("secret.tmp");
        std::fs::write(&secret, b"secret").unwrap();
        let directory =
            BlobDirectory::open(&outer.path().join("blobs"), BlobDirectoryOptions::default()).unwrap();
        let of = |oid: u64| {
            let path = directory.revision_path(Oid::from_u64(oid), Tid::ZERO).parent().unwrap().to_owned();
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let (own, other) = (of(1), of(2));
        std::fs::write(other.join("theirs.tmp"), b"theirs").unwrap();
        std::fs::write(own.join("own.tmp"), b"own").unwrap();
        std::fs::create_dir(own.join("dir.tmp")).unwrap();
        symlink(&secret, own.join("link.tmp")).unwrap();
        std::fs::hard_link(&secret, own.join("hard.tmp")).unwrap();
        let absolute = own.join("own.tmp").display().to_string();
        let up = format!("{}/secret.tmp", "../".repeat(12));
        let storage = BlobStorage::new(Arc::new(MemoryStorage::new("test")), directory).unwrap();
        let connections = ConnectionOptions { announced, ..ConnectionOptions::default() };
        let server = TestServer::serving(Arc::new(storage), EngineOptions::default(), connections);
        let mut client = server.register();
        let before = snapshot(outer.path());
        let mut claim = |name: &str| {
            client.send(&begin(7));
            let (data, id) = (b"record"[..].into(), TxnId(7));
            let shared = StoreBlobShared { oid: OID, serial: Tid::ZERO, data, file_name: name.into(), id };
            client.send(&Call::StoreBlobShared(shared));
            let answer = client.transaction(Method::Vote, 7);
            assert_eq!(client.transaction(Method::TpcAbort, 7), "None");
            answer
        };
        let long = format!("{}.tmp", "x".repeat(100_000));
        let names = [
            "",
            ".",
            "..",
            "x",
            "0x00.blob",
            "../0x02/theirs.tmp",
            &up,
            "/etc/passwd.tmp",
            &absolute,
            "x\0.tmp",
            "own.tmp\0",
            "\0own.tmp",
            "sub/own.tmp",
            "./own.tmp",
            "link.tmp",
            "hard.tmp",
            "dir.tmp",
        ];
        for name in names {
            assert_eq!(claim(name), "builtins.ValueError", "{name:?}");
        }
        // Names that Python's server takes, of files that are not there.
        for name in ["theirs.tmp", long.as_str()] {
            assert_eq!(claim(name), "builtins.OSError", "{:?}", &name[..10]);
        }
        assert_eq!(snapshot(outer.path()), before, "{announced}");
        assert_eq!(client.plain(Method::Ping), "None");
    }
}

#[test]
fn other_requests_are_answered_during_a_download() {
    let (_dir, server) = start();
    let mut client = server.register();
    let content: Vec<u8> = (0..20_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    upload(&mut client, &content);
    // The `info` of the commit.
    client.calls.clear();
    let hex = server.status("last-transaction");
    let serial = Tid::from_u64(u64::from_str_radix(hex.as_str().unwrap(), 16).unwrap());
    client.send(&Call::SendBlob(SendBlob { oid: OID, serial }));
    client.send(&Call::SendBlob(SendBlob { oid: OID, serial }));
    // Far less than the blobs has been read when the answer comes: it did not wait for them.
    assert_eq!(client.plain(Method::Ping), "None");
    assert!(client.calls.len() < 300, "{} messages before the answer", client.calls.len());
    assert_eq!((client.next_reply(), client.next_reply()), ("None".to_owned(), "None".to_owned()));
    // Two starts, two stops, and 339 chunks of each.
    assert_eq!(client.calls.len(), 2 * (2 + 339));
    let missing = SendBlob { oid: Oid::from_u64(2), serial };
    assert_eq!(client.call(&Call::SendBlob(missing)), "ZODB.POSException.POSKeyError");
}

#[test]
fn without_a_blob_directory_there_are_no_blobs() {
    let server = TestServer::start();
    let mut client = server.register();
    client.send(&begin(7));
    client.send(&START);
    assert_eq!(client.transaction(Method::Vote, 7), "builtins.TypeError");
    assert_eq!(client.call(&Call::SendBlob(SendBlob { oid: OID, serial: Tid::ZERO })), "builtins.TypeError");
}
