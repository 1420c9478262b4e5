//! The process: ready line, signals, exit codes, files, and what the log says (`guarantees.md` 3).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use support::{Client, payloads};
use zeo_codec::call::{Pack, SetClientLabel, Storea, TransactionRef, TxnId};
use zeo_codec::{Call, Method, Oid, Tid, Value};
use zeo_server::storage::file::{FileStorage, FileStorageOptions};
use zeo_server::storage::{NewRecord, NewTransaction, Storage};

/// `runzeo` in a directory of its own, killed when dropped.
struct Runzeo {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

fn command(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runzeo"));
    command.args(args).current_dir(directory).stdin(Stdio::null());
    for variable in ["ZEO_MSGPACK", "INSTANCE_HOME", "NOTIFY_SOCKET"] {
        command.env_remove(variable);
    }
    command
}

fn run(directory: &Path, args: &[&str]) -> Output {
    command(directory, args).output().unwrap()
}

impl Runzeo {
    fn start(directory: &Path, args: &[&str]) -> Self {
        Self::spawn(directory, command(directory, args))
    }

    fn spawn(directory: &Path, mut command: Command) -> Self {
        let log = fs::File::create(directory.join("stderr.log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let log = || fs::read_to_string(directory.join("stderr.log")).unwrap();
        let address = line.trim().strip_prefix("ready: listening on ");
        let address = address.unwrap_or_else(|| panic!("{line:?}\n{}", log())).to_owned();
        Self { child, out, address }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; the exit code, `None` after a signal.
    fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Runzeo {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until the file contains the text.
fn wait_for(path: &Path, text: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let content = fs::read_to_string(path).unwrap_or_default();
        if content.contains(text) {
            return content;
        }
        assert!(Instant::now() < deadline, "no {text:?} in {content}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn write_config(directory: &Path, text: &str) {
    fs::write(directory.join("zeo.conf"), text).unwrap();
}

const CONFIG: &str =
    "<zeo>\n  address 127.0.0.1:0\n</zeo>\n<filestorage 1>\n  path Data.fs\n</filestorage>\n";

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

/// Two limits that can be set, each seen to be obeyed.
#[test]
fn configured_limits_are_obeyed() {
    let directory = tempfile::tempdir().unwrap();
    let limits = "<zeo>\n  frame-size-limit 128KB\n  handshake-timeout 1s\n";
    write_config(directory.path(), &CONFIG.replace("<zeo>\n", limits));
    let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
    let log = directory.path().join("stderr.log");
    let mut client = TcpStream::connect(&runzeo.address).unwrap();
    let register = b"\0\0\0\x02M5\0\0\0\x10\x94\x01\xc2\xa8register\x92\xa11\xc2";
    client.write_all(register).unwrap();
    client.write_all(b"\0\x02\0\x01").unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    wait_for(&log, "frame of 131073 bytes at byte 26 of the stream exceeds the limit of 131072");
    let mut silent = TcpStream::connect(&runzeo.address).unwrap();
    silent.read_to_end(&mut Vec::new()).unwrap();
    wait_for(&log, "no handshake in time");
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

/// What strangers cost.
#[cfg(target_os = "linux")]
mod resources {
    use super::*;

    /// Greatest memory in use so far, in KiB.
    fn peak_kib(runzeo: &Runzeo) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", runzeo.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    fn descriptor_count(runzeo: &Runzeo) -> usize {
        fs::read_dir(format!("/proc/{}/fd", runzeo.child.id())).unwrap().count()
    }

    /// Sends what announces a frame of 4 GiB, and then `len` bytes of it if they are taken.
    fn announce_too_much(runzeo: &Runzeo, len: usize) {
        let mut client = TcpStream::connect(&runzeo.address).unwrap();
        client.write_all(b"\0\0\0\x02Z5\xff\xff\xff\xff").unwrap();
        let _refused = client.write_all(&vec![0; len]);
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        if let Err(error) = client.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "not closed at the limit");
        }
    }

    /// `guarantees.md` 2, point 10.
    #[test]
    fn an_announcement_costs_no_memory() {
        let directory = tempfile::tempdir().unwrap();
        write_config(directory.path(), CONFIG);
        let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
        // Whatever is needed once.
        (0..10).for_each(|_| announce_too_much(&runzeo, 0));
        let before = peak_kib(&runzeo);
        (0..10).for_each(|_| announce_too_much(&runzeo, 16 << 20));
        let grown_kib = peak_kib(&runzeo) - before;
        assert!(grown_kib < 1024, "{grown_kib} KiB more");
    }

    /// `guarantees.md` 2, point 7.
    #[test]
    fn without_descriptors_who_is_there_is_served() {
        use rustix::process::{Resource, getrlimit, prlimit};

        let directory = tempfile::tempdir().unwrap();
        write_config(directory.path(), CONFIG);
        let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
        let address = runzeo.address.parse().unwrap();
        let mut client = Client::register_at(address);
        let mut limits = getrlimit(Resource::Nofile);
        limits.current = Some(descriptor_count(&runzeo) as u64 + 3);
        prlimit(Some(Pid::from_child(&runzeo.child)), Resource::Nofile, limits).unwrap();
        let strangers: Vec<TcpStream> =
            (0..10).map(|_| TcpStream::connect(&runzeo.address).unwrap()).collect();
        wait_for(&directory.path().join("stderr.log"), "cannot accept a connection");
        client.commit(1, 1);
        drop(strangers);
        Client::register_at(address).commit(1, 2);
        client.commit(2, 3);
    }

    /// Refused: the server hangs up, or the answer is an error.
    fn assert_refused(client: &mut Client, what: &str) {
        let mut prefix = [0; 4];
        match client.stream.read_exact(&mut prefix) {
            Ok(()) => {
                let mut answer = vec![0; u32::from_be_bytes(prefix) as usize];
                client.stream.read_exact(&mut answer).unwrap();
                let class = b"builtins.TypeError";
                assert!(answer.windows(class.len()).any(|window| window == class), "{what}: {answer:?}");
            }
            Err(error) => {
                let is_end = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
                assert!(is_end, "{what}: neither an answer nor the end: {error}");
            }
        }
    }

    /// `guarantees.md` 2, point 14 (CVE-2009-0668): they are refused before the client's patience ends, and what they
    /// announce is never allocated. The largest frame here has 4 MB.
    #[test]
    fn hostile_messages_cost_little_memory() {
        for msgpack in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            write_config(directory.path(), &CONFIG.replace("<zeo>", &format!("<zeo>\n  msgpack {msgpack}")));
            let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
            let address = runzeo.address.parse().unwrap();
            // Whatever a frame of this size needs.
            for _ in 0..4 {
                Client::register_at(address).send_frame(&vec![b'N'; 4 << 20]);
            }
            Client::register_at(address).plain(Method::Ping);
            let before = peak_kib(&runzeo);
            let payloads = if msgpack { payloads::msgpack() } else { payloads::pickle() };
            for (what, payload) in payloads {
                assert!(payload.len() <= 4 << 20, "{what}");
                // As the first message, and behind `register`.
                let mut client = Client::connect(address);
                if payload.len() < 60_000 {
                    client.send_frame(&payload);
                    client.assert_closed(what);
                }
                let mut client = Client::register_at(address);
                client.send_frame(&payload);
                assert_refused(&mut client, what);
            }
            assert_eq!(Client::register_at(address).plain(Method::Ping), "None");
            let grown_kib = peak_kib(&runzeo) - before;
            assert!(grown_kib < 64 << 10, "{grown_kib} KiB more");
        }
    }

    /// `guarantees.md` 2, point 13 (CVE-2010-3495).
    #[test]
    fn clients_that_come_and_go_leave_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        write_config(directory.path(), CONFIG);
        let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
        let before = descriptor_count(&runzeo);
        // Few at once: how much memory many take, and in whose arena of the allocator, would be chance.
        let come_and_go = || {
            for number in 0..20 {
                let mut client = TcpStream::connect(&runzeo.address).unwrap();
                match number % 3 {
                    0 => {}
                    1 => client.write_all(b"\0\0\0\x02Z5").unwrap(),
                    _ => rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap(),
                }
            }
            let deadline = Instant::now() + Duration::from_secs(10);
            while descriptor_count(&runzeo) != before {
                let count = descriptor_count(&runzeo);
                assert!(Instant::now() < deadline, "{count} descriptors, {before} before");
                std::thread::park_timeout(Duration::from_micros(500));
            }
        };
        // It takes thousands until the allocator has spread what it keeps for them.
        (0..1_000).for_each(|_| come_and_go());
        let peak = peak_kib(&runzeo);
        (0..2_500).for_each(|_| come_and_go());
        // The allocator's own unrest is less than 1 MiB. Of fifty thousand clients this would be 42 bytes each, and the
        // least that one can leave behind, its task, is more.
        let grown_kib = peak_kib(&runzeo) - peak;
        assert!(grown_kib < 2048, "{grown_kib} KiB more");
        let mut greeting = [0; 6];
        TcpStream::connect(&runzeo.address).unwrap().read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"\0\0\0\x02Z5");
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
