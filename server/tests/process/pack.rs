//! Packs of a process that is told to stop, or killed.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::Client;
use crate::support::runzeo::{CONFIG, Runzeo, wait_for, write_config};
use bytes::Bytes;
use rustix::process::Signal;
use zeo_codec::call::{Pack, Storea, TxnId};
use zeo_codec::{Call, Method, Oid, Tid, Value};
use zeo_server::storage::file::{FileStorage, FileStorageOptions};
use zeo_server::storage::{NewRecord, NewTransaction, Storage as _};

/// A configuration whose storage holds a few revisions of the root, and a pack that waits for the commit lock.
fn packing(directory: &Path) -> (Runzeo, Client, Client) {
    write_config(directory, CONFIG);
    let runzeo = Runzeo::start(directory, &["-C", "zeo.conf"]);
    let address = runzeo.address.parse().unwrap();
    let (mut holder, mut caller) = (Client::connect(address), Client::connect(address));
    holder.register();
    caller.register();
    caller.commit(1, 0);
    caller.commit(2, 1);
    holder.store(7, 2, Tid::ZERO, b"data");
    assert_eq!(holder.transaction(Method::Vote, 7), "Voted([])");
    let pack = Call::Pack(Pack { time: 5e9, wait: Some(Value::Bool(false)) });
    assert_eq!(caller.call(&pack), "None");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !caller.plain(Method::ServerStatus).contains("\"waiting\"), Int(1)") {
        assert!(Instant::now() < deadline, "{}", caller.plain(Method::ServerStatus));
    }
    assert!(directory.join("Data.fs.pack").exists());
    (runzeo, holder, caller)
}

#[test]
fn sigterm_gives_a_pack_up() {
    let directory = tempfile::tempdir().unwrap();
    let (mut runzeo, _holder, _caller) = packing(directory.path());
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
    assert!(!directory.path().join("Data.fs.pack").exists());
    let log = fs::read_to_string(directory.path().join("stderr.log")).unwrap();
    assert!(log.contains("the pack was cancelled"), "{log}");
}

#[test]
fn what_a_killed_pack_left_is_removed_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let (mut runzeo, _holder, _caller) = packing(directory.path());
    let before = fs::read(directory.path().join("Data.fs")).unwrap();
    runzeo.signal(Signal::KILL);
    assert_eq!(runzeo.end(), None);
    assert!(directory.path().join("Data.fs.pack").exists());
    let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    assert!(!directory.path().join("Data.fs.pack").exists());
    assert_eq!(fs::read(directory.path().join("Data.fs")).unwrap(), before);
    wait_for(&directory.path().join("stderr.log"), "removed what a broken-off pack left");
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
}

/// `guarantees.md` 2, points 1 and 19: a pack and commits go on, and the process is killed at any moment.
#[test]
fn killed_while_it_packs_nothing_acknowledged_is_lost() {
    const ROUND_COUNT: u64 = 16;
    let directory = tempfile::tempdir().unwrap();
    // Nobody refers to these objects.
    write_config(directory.path(), &CONFIG.replace("  path Data.fs\n", "  path Data.fs\n  pack-gc false\n"));
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..ROUND_COUNT {
        let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
        let address = runzeo.address.parse().unwrap();
        let acknowledging = Arc::clone(&acknowledged);
        let committer = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            client.register();
            for number in 0.. {
                // A new object, and a new revision of the root, so that there is always something to be packed.
                let (id, oid) = (number + 1, (round + 1) << 32 | number);
                let root = client.current(0);
                client.store(id, 0, root, b"data");
                let (oid_stored, data) = (Oid::from_u64(oid), b"data"[..].into());
                client.send(&Call::Storea(Storea {
                    oid: oid_stored,
                    serial: Tid::ZERO,
                    data,
                    id: TxnId(id),
                }));
                assert_eq!(client.transaction(Method::Vote, id), "Voted([])");
                assert!(client.transaction(Method::TpcFinish, id).starts_with("Tid"));
                acknowledging.lock().unwrap().push(oid);
            }
        });
        let packer = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            client.register();
            loop {
                client.call(&Call::Pack(Pack { time: 5e9, wait: Some(Value::Bool(true)) }));
            }
        });
        // From the first acknowledged commit on, a little longer in each round.
        let deadline = Instant::now() + Duration::from_secs(10);
        let count = acknowledged.lock().unwrap().len();
        while acknowledged.lock().unwrap().len() <= count {
            assert!(Instant::now() < deadline, "no commit in round {round}");
            std::thread::yield_now();
        }
        std::thread::park_timeout(Duration::from_millis(round * 7 % 50));
        runzeo.signal(Signal::KILL);
        assert_eq!(runzeo.end(), None);
        // They end by failing.
        assert!(committer.join().is_err() && packer.join().is_err());
    }
    let storage = FileStorage::open(directory.path().join("Data.fs"), FileStorageOptions::default()).unwrap();
    let view = storage.view();
    for oid in &*acknowledged.lock().unwrap() {
        assert!(view.current(Oid::from_u64(*oid)).unwrap().is_some(), "{oid:#x} is lost");
    }
}

/// Also a pack that is over in no time says what it costs, and when it will have ended.
#[test]
fn the_log_tells_when_a_pack_will_have_ended() {
    let directory = tempfile::tempdir().unwrap();
    // 12 MB, of which the root stays.
    let storage = FileStorage::open(directory.path().join("Data.fs"), FileStorageOptions::default()).unwrap();
    for tid in 1..=4 {
        let record =
            |oid| NewRecord::with_data(Oid::from_u64(oid), [b"N.N.", &[b'.'; 3_000][..]].concat().into());
        let transaction = NewTransaction {
            tid: Tid::from_u64(tid),
            status: b' ',
            user: Bytes::new(),
            description: Bytes::new(),
            extension: Bytes::new(),
            records: (0..1_000).map(record).collect(),
        };
        storage.vote(transaction).unwrap().finish().unwrap();
    }
    storage.close().unwrap();
    write_config(directory.path(), CONFIG);
    let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let mut client = Client::register_at(runzeo.address.parse().unwrap());
    let pack = Call::Pack(Pack { time: 5e9, wait: Some(Value::Bool(true)) });
    assert_eq!(client.call(&pack), "None");
    let log = wait_for(&directory.path().join("stderr.log"), "pack: finished; commits were stopped for");
    for part in [
        r"pack: looking for undone transactions behind the pack time: 100 %, ",
        r"pack: marking what can be reached: 100 %, ",
    ] {
        let line = log.lines().find_map(|line| line.split(part).nth(1)).unwrap_or_else(|| panic!("{log}"));
        let (rate, end) = line.split_once("; the pack ends about 2").unwrap_or_else(|| panic!("{log}"));
        assert!(rate.ends_with("/s") && end.contains(", in ") && end.contains(" what is usual"), "{log}");
    }
}
