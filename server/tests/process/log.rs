//! What the log says, where it goes, and that nothing waits for it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::support::Client;
use crate::support::runzeo::{CONFIG, Runzeo, command, wait_for, write_config};
use rustix::process::Signal;
use zeo_codec::call::{SetClientLabel, TransactionRef, TxnId};
use zeo_codec::{Call, Method, Tid, Value};

#[test]
fn logs_are_reopened_under_their_name() {
    let directory = tempfile::tempdir().unwrap();
    let eventlog = "<eventlog>\n  <logfile>\n    path zeo.log\n  </logfile>\n</eventlog>\n";
    write_config(directory.path(), &format!("{CONFIG}{eventlog}"));
    let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let (log, old) = (directory.path().join("zeo.log"), directory.path().join("zeo.log.1"));
    wait_for(&log, "listening on");
    fs::rename(&log, &old).unwrap();
    let before = fs::read_to_string(&old).unwrap();
    runzeo.signal(Signal::USR2);
    wait_for(&log, "Log files reopened successfully");
    assert_eq!(fs::read_to_string(&old).unwrap(), before, "nothing more is written to the old one");
}

#[test]
fn events_go_to_syslog() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = std::os::unix::net::UnixDatagram::bind(directory.path().join("log")).unwrap();
    let eventlog =
        "<eventlog>\n  <syslog>\n    address ./log\n    facility daemon\n  </syslog>\n</eventlog>\n";
    write_config(directory.path(), &format!("{CONFIG}{eventlog}"));
    let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let mut datagram = [0; 1000];
    let len = daemon.recv(&mut datagram).unwrap();
    let expected = format!("<30>ZEO.runzeo ({}) opening storage '1' using FileStorage\0", runzeo.child.id());
    assert_eq!(String::from_utf8_lossy(&datagram[..len]), expected);
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
}

/// Every write to `/dev/full` fails as one to a full disk. The server serves on, and its log comes back with the room.
#[test]
#[cfg(target_os = "linux")]
fn a_log_on_a_full_disk_stops_nothing_but_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("zeo.log");
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let eventlog = "<eventlog>\n  level TRACE\n  <logfile>\n    path zeo.log\n  </logfile>\n</eventlog>\n";
    write_config(directory.path(), &format!("{CONFIG}{eventlog}"));
    let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    for id in 1..=3 {
        let mut client = Client::register_at(runzeo.address.parse().unwrap());
        client.commit(id, id);
        assert_ne!(client.current(id), Tid::ZERO);
    }
    // Told once, to whoever looks there.
    let told = fs::read_to_string(directory.path().join("stderr.log")).unwrap();
    assert_eq!(told.matches("cannot write to the log").count(), 1, "{told}");
    assert!(told.contains("zeo.log") && told.contains("No space left on device"), "{told}");

    fs::remove_file(&log).unwrap();
    runzeo.signal(Signal::USR2);
    wait_for(&log, "Log files reopened successfully");
    Client::register_at(runzeo.address.parse().unwrap()).commit(4, 4);
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("closing storage '1'") && log.contains("terminated by SIGTERM"), "{log}");
}

/// The same for the terminal, or whatever stands for it.
#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_error_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = command(directory.path(), &["-C", "zeo.conf"]);
    let mut child = command.stdout(Stdio::piped()).stderr(full.try_clone().unwrap()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("ready: listening on ").unwrap().to_owned();
    let mut runzeo = Runzeo { child, out, address };
    Client::register_at(runzeo.address.parse().unwrap()).commit(1, 1);
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));

    // Who cannot start says so with the status at least.
    fs::create_dir(directory.path().join("taken")).unwrap();
    write_config(directory.path(), &CONFIG.replace("Data.fs", "taken"));
    let status = self::command(directory.path(), &["-C", "zeo.conf"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn without_log_files_there_is_nothing_to_reopen() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    runzeo.signal(Signal::USR2);
    let log = wait_for(&directory.path().join("stderr.log"), "received SIGUSR2, but it was not handled!");
    assert!(log.contains("WARNING ZEO.runzeo ("), "{log}");
}

#[test]
fn a_bad_message_is_logged_with_its_place_and_reason() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let mut client = TcpStream::connect(&runzeo.address).unwrap();
    client.write_all(b"\0\0\0\x02Z5\0\0\0\x05(K\x01\xff.").unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let log = wait_for(&directory.path().join("stderr.log"), "unknown pickle opcode 0xff");
    assert!(log.contains("at byte 3 of the message"), "{log}");
    assert!(log.contains("before byte 15 of its input"), "{log}");
    let mut client = TcpStream::connect(&runzeo.address).unwrap();
    client.write_all(b"\0\0\0\x02Z5\xff\xff\xff\xff").unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    wait_for(&directory.path().join("stderr.log"), "frame of 4294967295 bytes at byte 6 of the stream");
}

#[test]
fn lines_about_a_client_begin_with_its_label() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let mut client = Client::register_at(runzeo.address.parse().unwrap());
    let address = client.stream.local_addr().unwrap();
    client.send(&Call::SetClientLabel(SetClientLabel { label: "test-label-1".into() }));
    client.plain(Method::LastTransaction);
    drop(client);
    let log = wait_for(&directory.path().join("stderr.log"), "test-label-1");
    let line = log.lines().find(|line| line.contains("test-label-1")).unwrap();
    // What `client_labels` in ZEO's suite looks at: the words after the time.
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    assert_eq!(words, ["INFO", "ZEO.StorageServer", "(test-label-1", &format!("{address})"), "disconnected"]);
}

/// A label cannot make up lines of the log, nor fill it.
#[test]
fn labels_stay_within_their_line() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), CONFIG);
    let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let forged = "\n2026-11-26T00:00:00 CRITICAL root forged\r\u{1b}[2J";
    let long = "x".repeat(1_000_000);
    for label in [forged, long.as_str()] {
        let mut client = Client::register_at(runzeo.address.parse().unwrap());
        client.send(&Call::SetClientLabel(SetClientLabel { label: label.into() }));
        // Named in an error, and by a method that does not exist.
        let unknown = Call::Other { name: label.as_bytes().into(), args: Value::Tuple(vec![]) };
        client.send(&unknown);
        client.assert_closed("unknown method");
        let register = |storage: String| zeo_codec::call::Register {
            storage: storage.into(),
            read_only: Value::Bool(false),
            credentials: None,
        };
        // Fits into a frame before `register`.
        let name = label.chars().take(60_000).collect();
        let mut client = Client::connect(runzeo.address.parse().unwrap());
        assert_eq!(client.call(&Call::Register(register(name))), "builtins.ValueError");
    }
    let log = wait_for(&directory.path().join("stderr.log"), "raised: unknown storage: xxx");
    assert!(log.lines().all(|line| !line.starts_with("2026-11-26T00:00:00") && line.len() < 3_000), "{log}");
    assert!(log.lines().all(|line| line.chars().all(|character| !character.is_control())), "{log}");
    assert!(
        log.contains("(\\u{a}2026-11-26T00:00:00 CRITICAL root forged\\u{d}\\u{1b}[2J 127.0.0.1:"),
        "{log}"
    );
}

#[test]
fn the_log_follows_the_commit_lock_and_is_the_louder_the_more_commits_wait() {
    let directory = tempfile::tempdir().unwrap();
    let eventlog = "<eventlog>\n  level debug\n  <logfile>\n    path zeo.log\n  </logfile>\n</eventlog>\n";
    write_config(directory.path(), &format!("{CONFIG}{eventlog}"));
    let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let address = runzeo.address.parse().unwrap();
    let mut holder = Client::register_at(address);
    holder.take_lock();
    let log = directory.path().join("zeo.log");
    let mut waiting = Vec::new();
    // As StorageServer.py:LockManager._log_waiting (ZEO 6.2) has it: more than 3, more than 9.
    for (count, level) in (1..=10).map(|count| match count {
        0..=3 => (count, "DEBUG"),
        4..=9 => (count, "WARNING"),
        _ => (count, "CRITICAL"),
    }) {
        let mut client = Client::register_at(address);
        // What the holder has stored, too, or it would not have to wait.
        client.store(1, 1, Tid::ZERO, b"data");
        client.send(&Call::Transaction(Method::Vote, TransactionRef { id: TxnId(1) }));
        waiting.push(client);
        let text = wait_for(&log, &format!("('1') queue lock: transactions waiting: {count}\n"));
        let line = text.lines().find(|line| line.ends_with(&format!("waiting: {count}"))).unwrap();
        assert!(line.contains(&format!(" {level} ZEO.StorageServer (127.0.0.1:")), "{line}");
    }
    drop(waiting.pop());
    wait_for(&log, "('1') dequeue lock: transactions waiting: 9\n");
    drop(holder);
    wait_for(&log, "('1') unlock: transactions waiting: 9\n");
    let text = wait_for(&log, "('1') lock: transactions waiting: 8\n");
    assert_eq!(text.matches("('1') lock: transactions waiting: 0\n").count(), 1, "the first holder's");
}
