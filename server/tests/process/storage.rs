//! Options of a storage in the configuration file.

use std::fs;

use crate::support::Client;
use crate::support::runzeo::{CONFIG, Runzeo, run, write_config};
use rustix::process::Signal;
use zeo_codec::call::Pack;
use zeo_codec::{Call, Method, Tid, Value};

fn commit_root(client: &mut Client, id: u64, data: &[u8]) -> String {
    let serial = client.current(0);
    client.store(id, 0, serial, data);
    let vote = client.transaction(Method::Vote, id);
    if vote != "Voted([])" {
        assert_eq!(client.transaction(Method::TpcAbort, id), "None");
        return vote;
    }
    client.transaction(Method::TpcFinish, id)
}

/// `quota` in the configuration: Python's error, and nothing is lost by it; a pack makes room.
#[test]
fn beyond_the_quota_commits_fail_until_there_is_room() {
    const QUOTA_ERROR: &str = "ZODB.FileStorage.FileStorage.FileStorageQuotaError";
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), &CONFIG.replace("path Data.fs", "path Data.fs\n  quota 4KB"));
    let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let mut client = Client::register_at(runzeo.address.parse().unwrap());
    let data = [&b"\x80\x03cmodule\nname\n.\x80\x03N."[..], &[b'x'; 400]].concat();
    let mut commits = (1..).map(|id| commit_root(&mut client, id, &data));
    let refused = commits.find(|answer| !answer.starts_with("Tid"));
    assert_eq!(refused.as_deref(), Some(QUOTA_ERROR));
    drop(commits);
    let len = fs::metadata(directory.path().join("Data.fs")).unwrap().len();
    // The next record would lie beyond it.
    assert!((3_500..=4_096).contains(&len), "{len}");
    // The lock is free, and what was there is there.
    let mut other = Client::register_at(runzeo.address.parse().unwrap());
    assert_eq!(commit_root(&mut other, 1_000, &data), QUOTA_ERROR);
    assert_ne!(other.current(0), Tid::ZERO);
    let pack = Call::Pack(Pack { time: 5e9, wait: Some(Value::Bool(true)) });
    assert_eq!(client.call(&pack), "None");
    assert!(commit_root(&mut client, 2_000, &data).starts_with("Tid"));
}

/// `create` in the configuration: an existing file is begun anew, as by Python's FileStorage (ZODB 6.4).
#[test]
fn create_begins_a_new_file_at_each_start() {
    let directory = tempfile::tempdir().unwrap();
    // Whether the start creates, and whether it finds what the one before it has left.
    for (create, is_found) in [(false, false), (false, true), (true, false), (true, false), (false, true)] {
        let key = format!("path Data.fs\n  create {create}");
        write_config(directory.path(), &CONFIG.replace("path Data.fs", &key));
        let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
        let mut client = Client::register_at(runzeo.address.parse().unwrap());
        assert_eq!(client.current(0) != Tid::ZERO, is_found, "create {create}");
        assert!(commit_root(&mut client, 1, b"data").starts_with("Tid"));
        drop(client);
        runzeo.signal(Signal::TERM);
        assert_eq!(runzeo.end(), Some(0));
    }
}

/// `read-only` of the storage: clients may only read, and no byte of the directory changes.
#[test]
fn a_read_only_storage_is_read_and_left_alone() {
    const READ_ONLY: &str = "ZODB.POSException.ReadOnlyError";
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let mut client = Client::register_at(runzeo.address.parse().unwrap());
    assert!(commit_root(&mut client, 1, b"data").starts_with("Tid"));
    drop(client);
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
    let files = || -> Vec<(String, Vec<u8>)> {
        let names = ["Data.fs", "Data.fs.index"];
        names.map(|name| (name.to_owned(), fs::read(directory.path().join(name)).unwrap())).into()
    };
    let before = files();

    write_config(directory.path(), &CONFIG.replace("path Data.fs", "path Data.fs\n  read-only true"));
    let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let register = |read_only| {
        Call::Register(zeo_codec::call::Register {
            storage: "1".into(),
            read_only: Value::Bool(read_only),
            credentials: None,
        })
    };
    let mut client = Client::connect(runzeo.address.parse().unwrap());
    assert_eq!(client.call(&register(false)), READ_ONLY);
    assert!(client.call(&register(true)).starts_with("Tid"));
    assert_ne!(client.current(0), Tid::ZERO);
    assert_eq!(client.transaction(Method::Vote, 1), READ_ONLY);
    let pack = Call::Pack(Pack { time: 5e9, wait: Some(Value::Bool(true)) });
    assert_eq!(client.call(&pack), READ_ONLY);
    // One that is not there is not made.
    drop(client);
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
    assert_eq!(files(), before);
    write_config(directory.path(), &CONFIG.replace("path Data.fs", "path None.fs\n  read-only true"));
    assert_eq!(run(directory.path(), &["-C", "zeo.conf"]).status.code(), Some(1));
    assert!(!directory.path().join("None.fs").exists());
}
