//! Packs through real connections: who is told what, who waits for whom, and what ends one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{Client, TestServer};
use zeo_codec::call::{GetInvalidations, LoadBefore, Pack, Register};
use zeo_codec::session::Incoming;
use zeo_codec::{Call, Limits, Method, Oid, Tid, Value};
use zeo_server::engine::EngineOptions;
use zeo_server::net::ConnectionOptions;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// A pack time behind everything, in the year 2128.
const LATER: f64 = 5e9;

struct Served {
    server: TestServer,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn serve(discard_old: bool) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    let options = FileStorageOptions { discard_old, ..FileStorageOptions::default() };
    let storage = Arc::new(FileStorage::open(&path, options).unwrap());
    let server = TestServer::serving(storage, EngineOptions::default(), ConnectionOptions::default());
    Served { server, path, _folder: folder }
}

/// A record that refers to nothing.
const RECORD: &[u8] = b"\x80\x03cmodule\nname\n.\x80\x03N.";

/// Writes the root again and again; its last serial.
fn write_root(client: &mut Client, times: u64) -> Tid {
    let mut serial = Tid::ZERO;
    for id in 1..=times {
        client.store(id, 0, serial, RECORD);
        assert_eq!(client.transaction(Method::Vote, id), "Voted([])");
        assert!(client.transaction(Method::TpcFinish, id).starts_with("Tid"));
        serial = client.current(0);
    }
    serial
}

fn pack(time: f64, wait: bool) -> Call<'static> {
    Call::Pack(Pack { time, wait: Some(Value::Bool(wait)) })
}

/// The names of the calls that have come, and with them of `info` the size.
fn take_calls(client: &mut Client) -> Vec<(String, Option<u64>)> {
    let calls = std::mem::take(&mut client.calls);
    let named = calls.iter().map(|message| {
        let Incoming::Call(envelope) = message.parse(&Limits::DEFAULT).unwrap() else { panic!() };
        let name = String::from_utf8_lossy(&envelope.name).into_owned();
        let shown = format!(
            "{:?}",
            Call::parse(Method::from_name(&envelope.name).unwrap(), envelope.args, &Limits::DEFAULT)
        );
        let size = shown.split("\"size\"").nth(1).map(|rest| {
            let digits = rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit);
            digits.collect::<String>().parse().unwrap()
        });
        (name, size)
    });
    named.collect()
}

/// Receives frame by frame until a reply has come; what was called before it.
fn calls_before_reply(client: &mut Client) -> Vec<(String, Option<u64>)> {
    while client.replies.is_empty() {
        assert!(client.poll_one(), "the server hung up");
    }
    take_calls(client)
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// Waits until something is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// Whether this process has a removed file open that had this name.
fn is_removed_file_open(path: &Path) -> bool {
    let removed = format!("{} (deleted)", path.display());
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| fs::read_link(entry.path()));
    links.flatten().any(|link| link.display().to_string() == removed)
}

#[test]
fn everybody_is_told_the_size_the_caller_before_its_reply() {
    let served = serve(true);
    let (mut caller, mut other) = (served.server.register(), served.server.register());
    write_root(&mut caller, 5);
    let old_len = len(&served.path);
    take_calls(&mut caller);
    assert_eq!(other.plain(Method::Ping), "None");
    take_calls(&mut other);

    caller.send(&pack(LATER, true));
    let calls = calls_before_reply(&mut caller);
    assert_eq!(caller.next_reply(), "None");
    let new_len = len(&served.path);
    assert!(new_len < old_len / 2);
    assert_eq!(calls, [("info".to_owned(), Some(new_len))]);
    // The other one says nothing and is told nevertheless; then nobody needs the old file any more.
    while other.calls.is_empty() {
        assert!(other.poll_one());
    }
    assert_eq!(take_calls(&mut other), [("info".to_owned(), Some(new_len))]);
    wait_until("the old file is closed", || !is_removed_file_open(&served.path));

    // Nothing to do, and the same messages.
    caller.send(&pack(LATER, true));
    assert_eq!(calls_before_reply(&mut caller), [("info".to_owned(), Some(new_len))]);
    assert_eq!(caller.next_reply(), "None");
    assert_eq!(len(&served.path), new_len);

    // Reading, writing and invalidations go on.
    let serial = other.current(0);
    other.store(1, 0, serial, RECORD);
    assert_eq!(other.transaction(Method::Vote, 1), "Voted([])");
    assert!(other.transaction(Method::TpcFinish, 1).starts_with("Tid"));
    assert_ne!(caller.current(0), serial);
    assert_eq!(take_calls(&mut caller)[0].0, "invalidateTransaction");
}

/// Rule S11: what a client has in its cache it may go on to serve. (ZEO#162; the README says so.)
#[test]
fn nobody_is_told_to_forget_what_a_pack_removes() {
    let served = serve(true);
    let (mut caller, mut reader) = (served.server.register(), served.server.register());
    let last = write_root(&mut caller, 3);
    let old = Call::LoadBefore(LoadBefore { oid: Oid::ZERO, before: last });
    assert!(reader.call(&old).starts_with("Loaded"));
    take_calls(&mut reader);
    assert_eq!(caller.call(&pack(LATER, true)), "None");
    // Of three revisions the last one is left, and all that the other client hears of it is the size.
    assert_eq!(reader.call(&old), "None");
    assert!(take_calls(&mut reader).iter().all(|(name, _)| name == "info"));
    // Nor does one that comes back.
    let asked = Call::GetInvalidations(GetInvalidations { tid: last });
    assert_eq!(reader.call(&asked), format!("Invalidations(Invalidations {{ tid: {last:?}, oids: [] }})"));
    assert!(take_calls(&mut reader).iter().all(|(name, _)| name == "info"));
}

#[test]
fn read_only_clients_may_pack_and_empty_storages_are_left_alone() {
    let served = serve(false);
    let mut reader = served.server.connect();
    let register = Register { storage: "1".into(), read_only: Value::Bool(true), credentials: None };
    assert!(reader.call(&Call::Register(register)).starts_with("Tid"));
    assert_eq!(reader.call(&pack(LATER, true)), "None");
    write_root(&mut served.server.register(), 3);
    let old_len = len(&served.path);
    assert_eq!(reader.call(&Call::Pack(Pack { time: LATER, wait: None })), "None");
    assert!(len(&served.path) < old_len);
    assert_eq!(len(&served.path.with_extension("fs.old")), old_len);
}

#[test]
fn impossible_times_are_python_s_errors() {
    let served = serve(false);
    let mut client = served.server.register();
    write_root(&mut client, 1);
    // As FileStorage.pack of ZODB 6.4 on Python 3.11 answers.
    for (time, class) in [
        (f64::NAN, "builtins.ValueError"),
        (f64::INFINITY, "builtins.OverflowError"),
        (1e18, "builtins.OSError"),
        (-3e9, "builtins.ValueError"),
        (-2_208_988_800.0, "ZODB.FileStorage.FileStorage.FileStorageError"),
    ] {
        assert_eq!(client.call(&pack(time, true)), class, "{time}");
    }
    assert_eq!(client.call(&pack(0.0, true)), "None");
}

/// A second connection holds the commit lock, so that a pack has to wait at its end.
fn with_lock_held() -> (Served, Client, Client) {
    let served = serve(false);
    let (mut holder, mut caller) = (served.server.register(), served.server.register());
    let serial = write_root(&mut caller, 4);
    holder.store(7, 0, serial, RECORD);
    assert_eq!(holder.transaction(Method::Vote, 7), "Voted([])");
    (served, holder, caller)
}

fn wait_for_pack_in_queue(served: &Served) {
    served.server.wait_for_status("waiting", 1);
    assert!(served.path.with_extension("fs.pack").exists());
}

#[test]
fn the_holder_of_the_commit_lock_delays_the_switch_and_nothing_else() {
    let (served, mut holder, mut caller) = with_lock_held();
    let old_len = len(&served.path);
    caller.send(&pack(LATER, true));
    wait_for_pack_in_queue(&served);
    // Its own connection goes on, and so do all others, but for commits.
    let load = Call::LoadBefore(LoadBefore { oid: Oid::from_u64(0), before: Tid::MAX });
    caller.send(&load);
    assert!(caller.next_reply().starts_with("Loaded"));
    let mut second = served.server.register();
    assert!(second.call(&load).starts_with("Loaded"));
    assert_eq!(second.call(&pack(LATER, true)), "ZODB.FileStorage.FileStorage.FileStorageError");

    assert!(holder.transaction(Method::TpcFinish, 7).starts_with("Tid"));
    assert_eq!(caller.next_reply(), "None");
    assert!(len(&served.path) < old_len);
    assert!(second.call(&load).starts_with("Loaded"));
    // What the holder committed is there.
    assert_eq!(second.current(0), holder.current(0));
}

#[test]
fn who_waits_and_goes_has_the_pack_given_up() {
    let (served, mut holder, mut caller) = with_lock_held();
    let before = fs::read(&served.path).unwrap();
    caller.send(&pack(LATER, true));
    wait_for_pack_in_queue(&served);
    drop(caller);
    wait_until("the unfinished file is removed", || !served.path.with_extension("fs.pack").exists());
    served.server.wait_for_status("waiting", 0);
    assert_eq!(fs::read(&served.path).unwrap(), before);
    assert!(holder.transaction(Method::TpcFinish, 7).starts_with("Tid"));
    assert_eq!(holder.call(&pack(LATER, true)), "None");
}

#[test]
fn a_pack_for_which_nobody_waits_goes_on_by_itself() {
    let (served, mut holder, mut caller) = with_lock_held();
    let old_len = len(&served.path);
    assert_eq!(caller.call(&pack(LATER, false)), "None");
    wait_for_pack_in_queue(&served);
    drop(caller);
    assert_eq!(holder.transaction(Method::TpcAbort, 7), "None");
    wait_until("the file is packed", || len(&served.path) < old_len);
    served.server.wait_for_status("lock_time", serde_json::Value::Null);
}

#[test]
fn a_server_that_stops_gives_packs_up() {
    let (served, holder, mut caller) = with_lock_held();
    assert_eq!(caller.call(&pack(LATER, false)), "None");
    wait_for_pack_in_queue(&served);
    served.server.engine.stop_packs();
    wait_until("the unfinished file is removed", || !served.path.with_extension("fs.pack").exists());
    drop(holder);
}

/// Whoever holds the commit lock while it has a pack under way keeps nobody from anything but for that long: the pack
/// waits for the lock, and the client goes on. (Found by the fuzz target `server_session`, which had one thread for both.)
#[test]
fn a_pack_waits_for_the_commit_of_its_own_client() {
    let Served { server, _folder, .. } = serve(true);
    let mut client = server.register();
    let serial = write_root(&mut client, 3);
    client.store(9, 0, serial, RECORD);
    assert_eq!(client.transaction(Method::Vote, 9), "Voted([])");
    client.send(&pack(LATER, true));
    assert!(client.transaction(Method::TpcFinish, 9).starts_with("Tid"), "the pack is not answered first");
    assert_eq!(client.next_reply(), "None", "the pack");
}
