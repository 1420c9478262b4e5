//! The process: ready line, signals, exit codes, files, and what the log says (`guarantees.md` 3).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// `runzeo` in a directory of its own, killed when dropped.
struct Runzeo {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

fn command(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runzeo"));
    command.args(args).current_dir(directory).stdin(Stdio::null()).env_remove("ZEO_MSGPACK");
    command
}

fn run(directory: &Path, args: &[&str]) -> Output {
    command(directory, args).output().unwrap()
}

impl Runzeo {
    fn start(directory: &Path, args: &[&str]) -> Self {
        let log = fs::File::create(directory.join("stderr.log")).unwrap();
        let mut child = command(directory, args).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
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
    for (signal, code) in [(Signal::TERM, 0), (Signal::INT, 0), (Signal::HUP, 1)] {
        let directory = tempfile::tempdir().unwrap();
        write_config(directory.path(), CONFIG);
        let mut runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf", "--pid-file", "zeo.pid"]);
        let pid = fs::read_to_string(directory.path().join("zeo.pid")).unwrap();
        assert_eq!(pid.trim(), runzeo.child.id().to_string());
        // A client that just stays must not keep it.
        let _client = TcpStream::connect(&runzeo.address).unwrap();
        runzeo.signal(signal);
        assert_eq!(runzeo.end(), Some(code), "{signal:?}");
        assert!(!directory.path().join("zeo.pid").exists());
        assert!(directory.path().join("Data.fs.index").exists(), "the index is saved");
        let log = fs::read_to_string(directory.path().join("stderr.log")).unwrap();
        assert!(log.contains("INFO ZEO.StorageServer closing storage '1'"), "{log}");
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
    runzeo.signal(Signal::USR2);
    wait_for(&log, "Log files ");
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

    /// `guarantees.md` 2, point 13 (CVE-2010-3495).
    #[test]
    fn clients_that_come_and_go_leave_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        write_config(directory.path(), CONFIG);
        let runzeo = Runzeo::start(directory.path(), &["-C", "zeo.conf"]);
        let before = descriptor_count(&runzeo);
        let come_and_go = || {
            for number in 0..1_000 {
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
                std::thread::park_timeout(Duration::from_millis(5));
            }
        };
        come_and_go();
        let peak = peak_kib(&runzeo);
        come_and_go();
        let grown_kib = peak_kib(&runzeo) - peak;
        assert!(grown_kib < 1024, "{grown_kib} KiB more");
        let mut greeting = [0; 6];
        TcpStream::connect(&runzeo.address).unwrap().read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"\0\0\0\x02Z5");
    }
}
