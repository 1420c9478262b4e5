//! The real disk is asked to make durable what has to be (`guarantees.md` 1, S8; 2, points 2, 3 and 5): the server's
//! system calls are traced by strace.
//!
//! Where strace is missing or may not trace, the trials are *ignored*, with the reason; with `ZEO_TEST_REQUIRE` they fail.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;
mod trace;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rustix::process::Signal;
use support::runzeo::{Runzeo, command, write_config};
use support::{Client, begin};
use trace::Event;
use zeo_codec::call::{Pack, StoreBlobChunk, StoreBlobEnd, TxnId};
use zeo_codec::{Call, Method, Oid, Tid, Value};

const CONFIG: &str = "<zeo>\n  address 127.0.0.1:0\n</zeo>\n\
    <filestorage 1>\n  path Data.fs\n  blob-dir blobs\n  pack-gc false\n</filestorage>\n";

type Play = fn(&Path) -> Vec<Event>;

fn main() -> ExitCode {
    let trials: [(&str, Play); 5] = [
        ("a_new_file_and_its_commits", a_new_file_and_its_commits),
        ("the_index_at_the_end", the_index_at_the_end),
        ("a_torn_tail_set_aside", a_torn_tail_set_aside),
        ("a_pack", a_pack),
        ("a_blob", a_blob),
    ];
    let trials = trials.map(|(name, play)| Trial::ignorable_test(name, move || run(play)));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn run(play: Play) -> Result<Completion, Failed> {
    let probe = Command::new("strace")
        .args(["-f", "-y", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let reason = match probe {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("strace may not trace here: {status}")),
        Err(error) => Some(format!("strace: {error}")),
    };
    if let Some(reason) = reason {
        return match std::env::var_os("ZEO_TEST_REQUIRE") {
            None => Ok(Completion::ignored_with(reason)),
            Some(_) => Err(reason.into()),
        };
    }
    let directory = tempfile::tempdir()?;
    write_config(directory.path(), CONFIG);
    let events = play(directory.path());
    let broken = trace::broken_rules(&events);
    if broken.is_empty() {
        Ok(Completion::Completed)
    } else {
        Err(format!("{broken:#?}\n{events:#?}").into())
    }
}

/// Runs the server under strace for as long as `work` lasts, ends it by SIGTERM, and reads the trace.
fn traced(directory: &Path, work: impl FnOnce(&mut Client)) -> Vec<Event> {
    // As `-y` shows it.
    let directory = directory.canonicalize().unwrap();
    let server = command(&directory, &["-C", "zeo.conf"]);
    let mut strace = Command::new("strace");
    // `-D`: the server is our child, and the one that gets our signals.
    strace.args(["-D", "-f", "-y", "-q", "-s", "0", "-o", "trace", "-e"]);
    strace.arg(format!("trace={}", trace::CALLS)).arg(server.get_program()).args(server.get_args());
    strace.current_dir(&directory).stdin(Stdio::null());
    let mut runzeo = Runzeo::spawn(&directory, strace);
    let mut client = Client::register_at(runzeo.address.parse().unwrap());
    work(&mut client);
    runzeo.signal(Signal::TERM);
    assert_eq!(runzeo.end(), Some(0));
    let trace = directory.join("trace");
    // strace writes this line when the process is gone already; threads of the process have such lines, too.
    let id = runzeo.child.id().to_string();
    let is_end = |line: &str| line.split_whitespace().take(3).eq([&*id, "+++", "exited"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fs::read_to_string(&trace).unwrap_or_default().lines().any(is_end) {
        assert!(Instant::now() < deadline, "the trace does not end");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    trace::parse(&fs::read_to_string(trace).unwrap(), &directory)
}

/// Commits the next revision of an object.
fn commit(client: &mut Client, id: u64, oid: u64) {
    let serial = if id == oid { Tid::ZERO } else { client.current(oid) };
    client.store(id, oid, serial, b"data");
    assert_eq!(client.transaction(Method::Vote, id), "Voted([])");
    assert!(client.transaction(Method::TpcFinish, id).starts_with("Tid"));
}

/// The file in the trial's directory, as the events name it.
fn at(directory: &Path, name: &str) -> PathBuf {
    directory.canonicalize().unwrap().join(name)
}

fn count(events: &[Event], wanted: &Event) -> usize {
    events.iter().filter(|event| *event == wanted).count()
}

/// The place of the last event of this kind.
fn last(events: &[Event], wanted: &Event) -> usize {
    events.iter().rposition(|event| event == wanted).unwrap_or_else(|| panic!("no {wanted:?} in {events:#?}"))
}

fn a_new_file_and_its_commits(directory: &Path) -> Vec<Event> {
    let events = traced(directory, |client| (1..=5).for_each(|id| client.commit(id, id)));
    // One write and one sync for each, and one of both for the beginning of the file.
    let data = at(directory, "Data.fs");
    assert_eq!(count(&events, &Event::Write(data.clone())), 6, "{events:#?}");
    assert_eq!(count(&events, &Event::Sync(data)), 6, "{events:#?}");
    events
}

fn the_index_at_the_end(directory: &Path) -> Vec<Event> {
    let events = traced(directory, |client| client.commit(1, 1));
    let (new, index) = (at(directory, "Data.fs.index.index_tmp"), at(directory, "Data.fs.index"));
    let renamed = last(&events, &Event::Name { from: Some(new.clone()), to: index });
    assert!(last(&events, &Event::Write(new.clone())) < last(&events, &Event::Sync(new.clone())));
    assert!(last(&events, &Event::Sync(new)) < renamed);
    events
}

fn a_torn_tail_set_aside(directory: &Path) -> Vec<Event> {
    let mut events = traced(directory, |client| client.commit(1, 1));
    let data = at(directory, "Data.fs");
    // The first half of the same transaction once more.
    let whole = fs::read(&data).unwrap();
    let torn = &whole[4..4 + (whole.len() - 4) / 2];
    fs::OpenOptions::new().append(true).open(&data).unwrap().write_all(torn).unwrap();
    events.extend(traced(directory, |client| commit(client, 2, 1)));
    assert_eq!(fs::read(at(directory, "Data.fs.tr0")).unwrap(), torn);
    let aside = last(&events, &Event::Sync(at(directory, "Data.fs.tr0")));
    assert!(aside < last(&events, &Event::Resize(data)));
    events
}

fn a_pack(directory: &Path) -> Vec<Event> {
    let events = traced(directory, |client| {
        (1..=3).for_each(|id| commit(client, id, 1));
        let pack = Call::Pack(Pack { time: 5e9, wait: Some(Value::Bool(true)) });
        assert_eq!(client.call(&pack), "None");
        commit(client, 4, 1);
    });
    let (new, data) = (at(directory, "Data.fs.pack"), at(directory, "Data.fs"));
    let switched = last(&events, &Event::Name { from: Some(new.clone()), to: data });
    assert!(last(&events, &Event::Sync(new)) < switched);
    events
}

fn a_blob(directory: &Path) -> Vec<Event> {
    let events = traced(directory, |client| {
        for (id, oid) in [(1, 1), (2, 2), (3, 0x1234_5678)] {
            client.send(&begin(id));
            client.send(&Call::Plain(Method::StoreBlobStart));
            client.send(&Call::StoreBlobChunk(StoreBlobChunk { chunk: b"content"[..].into() }));
            let (oid, data, id_of) = (Oid::from_u64(oid), b"record"[..].into(), TxnId(id));
            client.send(&Call::StoreBlobEnd(StoreBlobEnd { oid, serial: Tid::ZERO, data, id: id_of }));
            assert_eq!(client.transaction(Method::Vote, id), "Voted([])");
            assert!(client.transaction(Method::TpcFinish, id).starts_with("Tid"));
        }
    });
    let named = |event: &&Event| matches!(event, Event::Name { to, .. } if to.extension().is_some_and(|end| end == "blob"));
    assert_eq!(events.iter().filter(named).count(), 3, "{events:#?}");
    events
}
