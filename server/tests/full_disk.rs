//! No room for a blob or a record: the commit fails, nothing stays behind, and everything works again once there is room
//! (`guarantees.md` 2.6).
//!
//! The disk of the test machine is not filled: the process may write no file beyond a limit (`RLIMIT_FSIZE`), which
//! reaches it on the same path as a full disk, as an error of the write.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use support::{Client, begin};
use zeo_codec::call::{SendBlob, StoreBlobChunk, StoreBlobEnd, Storea, TxnId};
use zeo_codec::{Call, Method, Oid, Tid};

/// No file may become larger than this while there is no room.
const ROOM_LEN: u64 = 1_000_000;
const CONTENT_LEN: usize = 3_000_000;
const OID: Oid = Oid::from_u64(1);

/// `runzeo` in a directory of its own, killed when dropped.
struct Runzeo {
    child: Child,
    client: Client,
}

impl Runzeo {
    fn start(directory: &Path) -> Self {
        let config = "<zeo>\n  address 127.0.0.1:0\n</zeo>\n<filestorage 1>\n  path Data.fs\n  blob-dir blobs\n\
                      </filestorage>\n";
        fs::write(directory.join("zeo.conf"), config).unwrap();
        let log = fs::File::create(directory.join("stderr.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_runzeo"));
        command.args(["-C", "zeo.conf"]).current_dir(directory).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("ready: listening on ").unwrap().parse().unwrap();
        Self { child, client: Client::register_at(address) }
    }

    /// Lets files grow up to `len` bytes; without it, as far as there is room.
    fn limit_files(&self, len: Option<u64>) {
        let limit = Rlimit { current: len, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    /// Sends a transaction with one blob, and returns what the vote says.
    fn vote_on_blob(&mut self, id: u64) -> String {
        let client = &mut self.client;
        client.store(id, 1, Tid::ZERO, b"record");
        client.send(&Call::Plain(Method::StoreBlobStart));
        for piece in content().chunks(59_000) {
            client.send(&Call::StoreBlobChunk(StoreBlobChunk { chunk: piece.into() }));
        }
        let data = b"record"[..].into();
        client.send(&Call::StoreBlobEnd(StoreBlobEnd { oid: OID, serial: Tid::ZERO, data, id: TxnId(id) }));
        client.transaction(Method::Vote, id)
    }
}

impl Drop for Runzeo {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn content() -> Vec<u8> {
    (0..CONTENT_LEN).map(|number| number.to_le_bytes()[1]).collect()
}

/// All files below.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path.display().to_string()) }
    }
    found
}

#[test]
fn a_blob_without_room_fails_its_vote_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut runzeo = Runzeo::start(dir.path());
    let blobs = dir.path().join("blobs");
    let before = files(&blobs);
    runzeo.limit_files(Some(ROOM_LEN));
    assert_eq!(runzeo.vote_on_blob(1), "builtins.OSError");
    assert_eq!(files(&blobs), before, "nothing stays of it, even before the abort");
    assert_eq!(runzeo.client.transaction(Method::TpcAbort, 1), "None");
    // What there is room for goes on, on the same connection.
    runzeo.client.commit(2, 2);

    runzeo.limit_files(None);
    assert_eq!(runzeo.vote_on_blob(3), "Voted([])");
    assert!(runzeo.client.transaction(Method::TpcFinish, 3).starts_with("Tid"));
    let serial = runzeo.client.current(1);
    runzeo.client.calls.clear();
    assert_eq!(runzeo.client.call(&Call::SendBlob(SendBlob { oid: OID, serial })), "None");
    assert_eq!(runzeo.client.calls.len(), 2 + CONTENT_LEN.div_ceil(59_000));
    assert_eq!(files(&blobs).len(), before.len() + 1);
}

#[test]
fn a_record_that_cannot_be_written_fails_its_commit_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut runzeo = Runzeo::start(dir.path());
    runzeo.client.commit(1, 2);
    let before = fs::read(dir.path().join("Data.fs")).unwrap();
    runzeo.limit_files(Some(ROOM_LEN));
    // Room that is reserved beyond the end of the file does not count for this limit: the vote goes well.
    let vote = |client: &mut Client, id| {
        client.send(&begin(id));
        let data = content().into();
        client.send(&Call::Storea(Storea { oid: OID, serial: Tid::ZERO, data, id: TxnId(id) }));
        assert_eq!(client.transaction(Method::Vote, id), "Voted([])");
    };
    vote(&mut runzeo.client, 2);
    assert_eq!(runzeo.client.transaction(Method::TpcFinish, 2), "builtins.OSError");
    assert_eq!(fs::read(dir.path().join("Data.fs")).unwrap(), before);
    runzeo.client.commit(3, 3);

    runzeo.limit_files(None);
    vote(&mut runzeo.client, 4);
    assert!(runzeo.client.transaction(Method::TpcFinish, 4).starts_with("Tid"));
}
