//! The process: ready line, signals, exit codes, files (`guarantees.md` 3).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

#[cfg(target_os = "linux")]
mod bounds;
mod log;
mod pack;
mod storage;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::Client;
use support::runzeo::{CONFIG, Runzeo, command, run, wait_for, write_config};
use zeo_codec::Oid;
use zeo_server::storage::Storage as _;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};

#[test]
fn without_configuration_it_serves_a_file_in_data_and_says_how_to_reach_it() {
    let directory = tempfile::tempdir().unwrap();
    // The port 8100 of the default may be taken on this machine; everything else is the default.
    let taken = std::net::TcpListener::bind("127.0.0.1:8100");
    if taken.is_err() {
        let output = run(directory.path(), &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("('127.0.0.1', 8100)"));
        return;
    }
    drop(taken);
    let mut runzeo = Runzeo::start(directory.path(), &[]);
    assert_eq!(runzeo.address, "127.0.0.1:8100");
    let mut help = String::new();
    for _ in 0..4 {
        runzeo.out.read_line(&mut help).unwrap();
    }
    assert!(help.contains("ZEO.DB(('127.0.0.1', 8100))"), "{help}");
    assert!(directory.path().join("data/Data.fs").exists());
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
}

#[test]
fn signals_end_it_in_order() {
    let signals = [
        (Signal::TERM, 0, "terminated by SIGTERM"),
        (Signal::INT, 0, "terminated by SIGINT"),
        (Signal::HUP, 1, "restarted by SIGHUP"),
    ];
    for (signal, code, said) in signals {
        let directory = tempfile::tempdir().unwrap();
        write_config(directory.path(), CONFIG);
        let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf", "--pid-file", "zeo.pid"]);
        let pid = fs::read_to_string(directory.path().join("zeo.pid")).unwrap();
        assert_eq!(pid, format!("{}\n", runzeo.child.id()));
        // A client that just stays must not keep it.
        let _client = TcpStream::connect(&runzeo.address).unwrap();
        runzeo.signal(signal);
        assert_eq!(runzeo.end(), Some(code), "{signal:?}");
        assert!(!directory.path().join("zeo.pid").exists());
        assert!(directory.path().join("Data.fs.index").exists(), "the index is saved");
        let log = fs::read_to_string(directory.path().join("stderr.log")).unwrap();
        assert!(log.contains("INFO ZEO.StorageServer closing storage '1'"), "{log}");
        // In the words of Python's server (ZEO 6.2, runzeo.py, handle_sigterm and so on).
        assert!(log.contains(&format!("INFO ZEO.runzeo ({}) {said}\n", pid.trim())), "{log}");
        assert!(log.contains(&format!("({}) removed PID file 'zeo.pid'", pid.trim())), "{log}");
    }
}

#[test]
fn the_limit_on_file_sizes_does_not_kill_it() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    runzeo.signal(Signal::XFSZ);
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
}

#[test]
fn systemd_learns_when_clients_can_come_and_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let path = directory.path().join("notify.sock");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut command = command(directory.path(), &["-C", "zeo.conf"]);
    command.env("NOTIFY_SOCKET", &path);
    let mut runzeo = Runzeo::spawn(directory.path(), command);
    let next = || {
        let mut state = [0; 256];
        let len = socket.recv(&mut state).unwrap();
        String::from_utf8_lossy(state.get(..len).unwrap()).trim().to_owned()
    };
    assert_eq!(next(), "READY=1");
    TcpStream::connect(&runzeo.address).unwrap();
    runzeo.signal(Signal::TERM);
    assert_eq!(next(), "STOPPING=1");
    assert_eq!(runzeo.end(), Some(0));
}

#[test]
fn a_service_manager_that_is_gone_is_no_reason_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let mut command = command(directory.path(), &["-C", "zeo.conf"]);
    command.env("NOTIFY_SOCKET", directory.path().join("nosuch.sock"));
    let mut runzeo = Runzeo::spawn(directory.path(), command);
    wait_for(&directory.path().join("stderr.log"), "cannot notify the service manager");
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
}

#[test]
fn the_pid_file_of_a_running_server_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let first = Runzeo::start(directory.path(), &["-C", "zeo.conf", "--pid-file", "zeo.pid"]);
    let output = run(directory.path(), &["-C", "zeo.conf", "--pid-file", "zeo.pid"]);
    assert_eq!(output.status.code(), Some(1));
    let pid = fs::read_to_string(directory.path().join("zeo.pid")).unwrap();
    assert_eq!(pid.trim(), first.child.id().to_string());
}

#[test]
fn a_pid_file_that_cannot_be_written_is_logged_only() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf", "--pid-file", "no/such/zeo.pid"]);
    let log = wait_for(&directory.path().join("stderr.log"), "PID file 'no/such/zeo.pid' cannot be opened");
    assert!(log.contains("ERROR ZEO.runzeo PID file"), "{log}");
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
}

#[test]
fn what_it_does_not_understand_it_refuses_by_name_and_line() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), "<zeo>\n  address 8100\n  adress 8101\n</zeo>\n<mappingstorage 1/>\n");
    let output = run(directory.path(), &["-C", "zeo.conf"]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("zeo.conf:3: unknown key \"adress\""), "{message}");
    let output = run(directory.path(), &["--no-such-option"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_second_server_on_the_same_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let _first = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let output = run(directory.path(), &["-C", "zeo.conf"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("Data.fs.lock is locked"), "{message}");
}

#[test]
fn a_test_run_starts_and_stops() {
    // As ZEO's own suite asks (`runzeo_without_configfile`).
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["-a:0", "-ft", "--test"]);
    assert_eq!(output.status.code(), Some(0));
    // Twice: the tests of ZEO 5.2.3 want it last, those of 5.4.1 and 6.2 before the storages are closed.
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "testing exit immediately\ntesting exit immediately\n"
    );
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    for line in [
        "INFO ZEO.runzeo (",
        "opening storage '1' using FileStorage",
        "INFO ZEO.StorageServer StorageServer created RW with storages: 1:RW:t",
        "listening on ",
        "closing storage '1'",
    ] {
        assert!(log.contains(line), "no {line:?} in {log}");
    }
}

#[test]
fn a_unix_socket_is_removed_at_the_end_and_taken_over_from_the_dead() {
    let directory = tempfile::tempdir().unwrap();
    let config = CONFIG.replace("127.0.0.1:0", "./zeo.sock");
    write_config(directory.path(), &config);
    let socket = directory.path().join("zeo.sock");
    let mut killed = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    killed.signal(Signal::KILL);
    assert_eq!(killed.end(), None);
    assert!(socket.exists());
    let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let mut greeting = [0; 6];
    std::os::unix::net::UnixStream::connect(&socket).unwrap().read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"\0\0\0\x02Z5");
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_file_in_the_place_of_the_socket_is_never_touched() {
    let directory = tempfile::tempdir().unwrap();
    let notes = directory.path().join("notes.txt");
    fs::write(&notes, "precious").unwrap();
    for storage in ["x.fs", "./notes.txt"] {
        let output = run(directory.path(), &["-a", "./notes.txt", "-f", storage, "--test"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(fs::read_to_string(&notes).unwrap(), "precious");
    }
}

/// `guarantees.md` 2, point 23: eight clients commit, and the server is told to stop.
#[test]
fn sigterm_among_committers_loses_nothing_that_was_acknowledged() {
    const COMMITTER_COUNT: u64 = 8;
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let address = runzeo.address.parse().unwrap();
    let (told, acknowledged) = std::sync::mpsc::channel();
    let committers: Vec<_> = (1..=COMMITTER_COUNT)
        .map(|committer| {
            let told = told.clone();
            std::thread::spawn(move || {
                let mut client = Client::register_at(address);
                for number in 1.. {
                    let oid = committer << 32 | number;
                    client.commit(number, oid);
                    told.send(oid).unwrap();
                }
            })
        })
        .collect();
    let mut oids: Vec<u64> = acknowledged.iter().take(200).collect();
    let since = Instant::now();
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    // They end by failing: a reply, or the end of the connection, but never a reply to what is not on the disk.
    assert!(committers.into_iter().all(|committer| committer.join().is_err()));
    drop(told);
    oids.extend(acknowledged);
    let log = fs::read_to_string(directory.path().join("stderr.log")).unwrap();
    assert!(!log.contains("CRITICAL") && !log.contains(" ERROR "), "{log}");
    assert!(directory.path().join("Data.fs.index").exists(), "the index is saved");
    let storage = FileStorage::open(directory.path().join("Data.fs"), FileStorageOptions::default()).unwrap();
    let view = storage.view();
    for oid in &oids {
        assert!(view.current(Oid::from_u64(*oid)).unwrap().is_some(), "{oid:#x} is lost");
    }
    let found_count = view.object_count();
    // One more of each may have been on its way to its client.
    assert!(
        (oids.len() as u64..=oids.len() as u64 + COMMITTER_COUNT).contains(&found_count),
        "{found_count}"
    );
}
