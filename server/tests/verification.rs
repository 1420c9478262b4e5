//! `getInvalidations`: what a client that comes back is told (rule S5, protocol reference 7.2).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::TestServer;
use zeo_codec::call::GetInvalidations;
use zeo_codec::{Call, Method, Tid};
use zeo_server::engine::{EngineOptions, QueueLimits};
use zeo_server::net::ConnectionOptions;
use zeo_server::storage::Storage;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};

fn ask(server: &TestServer, tid: Tid) -> String {
    server.register().call(&Call::GetInvalidations(GetInvalidations { tid }))
}

/// The last tid, from the debug form of the reply.
fn last_tid(server: &TestServer) -> Tid {
    let shown = server.register().plain(Method::LastTransaction);
    let digits: String = shown.chars().filter(char::is_ascii_hexdigit).collect();
    // "Tid(Tid(040d...))": the last sixteen digits are the number.
    Tid::from_u64(u64::from_str_radix(&digits[digits.len() - 16..], 16).unwrap())
}

fn serve(directory: &std::path::Path, invalidation_age: Option<Duration>) -> TestServer {
    let storage = FileStorage::open(directory.join("Data.fs"), FileStorageOptions::default()).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let options =
        EngineOptions { queue_limits: QueueLimits::exactly(2), invalidation_age, ..EngineOptions::default() };
    TestServer::serving(storage, options, ConnectionOptions::default())
}

#[test]
fn the_queue_answers_as_far_as_it_reaches_and_the_storage_if_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let mut tids = Vec::new();
    {
        let server = serve(directory.path(), None);
        for number in 1..=4 {
            server.register().commit(1, number);
            tids.push(last_tid(&server));
        }
        assert!(ask(&server, tids[3]).contains("oids: []"));
        assert!(ask(&server, tids[2]).contains("oids: [Oid(0000000000000004)]"));
        assert_eq!(ask(&server, tids[1]), "None");
    }
    // The queue is filled again at the start, from the storage.
    let server = serve(directory.path(), None);
    assert!(ask(&server, tids[2]).contains("oids: [Oid(0000000000000004)]"));
    assert_eq!(ask(&server, tids[0]), "None");
    drop(server);
    let server = serve(directory.path(), Some(Duration::from_secs(3600)));
    let told = ask(&server, tids[0]);
    for number in 2..=4 {
        assert!(told.contains(&format!("Oid(000000000000000{number})")), "{told}");
    }
    assert!(!told.contains("Oid(0000000000000001)"));
    assert_eq!(ask(&server, Tid::from_u64(1)), "None", "too long ago");
}

/// A client is not told more than memory is worth.
#[test]
fn who_has_missed_too_much_has_to_drop_its_cache() {
    let directory = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(directory.path().join("Data.fs"), FileStorageOptions::default()).unwrap();
    let options = EngineOptions {
        queue_limits: QueueLimits::exactly(1),
        invalidation_age: Some(Duration::from_secs(3600)),
        missed_oid_count: 3,
        ..EngineOptions::default()
    };
    let server = TestServer::serving(Arc::new(storage), options, ConnectionOptions::default());
    let mut tids = Vec::new();
    for number in 1..=5 {
        server.register().commit(1, number);
        tids.push(last_tid(&server));
    }
    assert_eq!(ask(&server, tids[1]).matches("Oid(").count(), 3);
    assert_eq!(ask(&server, tids[0]), "None");
    assert_eq!(server.status("limits-reached"), serde_json::json!({ "missed-objects": 1 }));
}

#[test]
fn a_checkpoint_saves_the_index_while_the_server_runs() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path(), None);
    let index = directory.path().join("Data.fs.index");
    server.register().commit(1, 1);
    server.engine.checkpoint();
    let first = std::fs::read(&index).unwrap();
    server.register().commit(1, 2);
    server.engine.checkpoint();
    assert_ne!(std::fs::read(&index).unwrap(), first);
}
