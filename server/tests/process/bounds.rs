//! What strangers cost.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::runzeo::{CONFIG, Runzeo, wait_for, write_config};
use crate::support::{Client, payloads};
use rustix::process::Pid;
use zeo_codec::Method;

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

/// Greatest memory in use so far, in KiB. Linux sums the counters of its processors up a little late, so that a later
/// reading can be smaller.
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
    let grown_kib = peak_kib(&runzeo).saturating_sub(before);
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
    let strangers: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(&runzeo.address).unwrap()).collect();
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
        let grown_kib = peak_kib(&runzeo).saturating_sub(before);
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
    // It takes thousands until the allocator has spread what it keeps for them: with jemalloc each thousand of the first four
    // adds up to 1.4 MiB, and each behind them at most 0.3 MiB.
    (0..4_000).for_each(|_| come_and_go());
    let peak = peak_kib(&runzeo);
    (0..2_500).for_each(|_| come_and_go());
    // The allocator's own unrest is less than 1 MiB. Of fifty thousand clients this would be 42 bytes each, and the
    // least that one can leave behind, its task, is more.
    let grown_kib = peak_kib(&runzeo).saturating_sub(peak);
    assert!(grown_kib < 2048, "{grown_kib} KiB more");
    let mut greeting = [0; 6];
    TcpStream::connect(&runzeo.address).unwrap().read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"\0\0\0\x02Z5");
}
