//! Clients of ZEO 4 and of Python 2 beside those of ZEO 6 on one of our servers: what one commits the others are told of
//! and see, whatever generation each is of. No released server of Python's serves them together.

#![allow(clippy::indexing_slicing, reason = "a trial that panics has failed as it should")]

mod access;
mod client;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};
use serde_json::json;
use zeo_conformance::peers::OldVersion;
use zeo_conformance::process::poll_until;
use zeo_conformance::server::free_port;

use crate::is_required;
use client::{Client, NEW, Who, ZEO4, ZEO4_PYTHON2, ZEO5_PYTHON2, ZEO51_PYTHON2, server, server_of};

type Run = Box<dyn FnOnce(&Path) -> Result<(), Failed> + Send>;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut trial = |name: String, run: Run, peers: Vec<Who>| {
        trials.push(Trial::ignorable_test(format!("live::generations::{name}"), move || {
            for peer in peers {
                match peer.peer() {
                    Ok(_) => {}
                    Err(reason) if is_required() => return Err(reason.into()),
                    Err(reason) => return Ok(Completion::ignored_with(reason)),
                }
            }
            let dir = tempfile::TempDir::with_prefix("zeo-generations-")?;
            run(dir.path()).map_err(|error| with_logs(&error, dir.path()))?;
            Ok(Completion::Completed)
        }));
    };
    for old in [ZEO4, ZEO4_PYTHON2, ZEO51_PYTHON2, ZEO5_PYTHON2] {
        let peers = vec![Who::Old(old), Who::New];
        trial(format!("beside_6.2::{}", old.name()), Box::new(move |dir| together(dir, old)), peers);
        trial(
            format!("blobs::{}", old.name()),
            Box::new(move |dir| blobs(dir, old)),
            vec![Who::Old(old), Who::New],
        );
        trial(
            format!("restarted::{}", old.name()),
            Box::new(move |dir| restarted(dir, old)),
            vec![Who::Old(old), Who::New],
        );
    }
    for old in [ZEO4, ZEO4_PYTHON2] {
        trial(
            format!("relayed::{}", old.name()),
            Box::new(move |dir| relayed(dir, old)),
            vec![Who::Old(old), Who::New],
        );
        trial(
            format!("digest::{}", old.name()),
            Box::new(move |dir| access::digest(dir, old)),
            vec![Who::Old(old), Who::New],
        );
    }
    trial("all_at_once".to_owned(), Box::new(all_at_once), Who::all());
    trial("from_z5_on".to_owned(), Box::new(access::from_z5_on), vec![Who::Old(ZEO4), Who::New]);
    trial("monitor".to_owned(), Box::new(monitor), vec![Who::Old(ZEO4)]);
    trial("scheme".to_owned(), Box::new(access::scheme), vec![Who::Old(ZEO4), Who::Old(ZEO4_PYTHON2)]);
    trial("zeopasswd".to_owned(), Box::new(access::zeopasswd), vec![Who::Old(ZEO4), Who::Old(ZEO4_PYTHON2)]);
    trials
}

fn with_logs(error: &Failed, dir: &Path) -> Failed {
    let mut text = error.message().unwrap_or_default().to_owned();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let start = log.floor_char_boundary(log.len().saturating_sub(4000));
            text.push_str(&format!("\n--- {}\n{}", path.display(), log.get(start..).unwrap_or_default()));
        }
    }
    text.into()
}

/// Each sees the other's commits, and is told of changes of what it has in its cache. The last two tids.
fn see_each_other(new: &mut Client, old: &mut Client) -> Result<(String, String), Failed> {
    let first = old.commit(7, NEW, "old 1")?;
    assert_eq!(new.ask(json!(["load", 7]))?, json!(["old 1", first]));
    assert_eq!(old.ask(json!(["load", 7]))?, json!(["old 1", first]));
    let second = new.commit(7, &first, "new 2")?;
    old.ask(json!(["told", 7, second]))?;
    assert_eq!(old.ask(json!(["load", 7]))?, json!(["new 2", second]));
    let third = old.commit(7, &second, "old 3")?;
    new.ask(json!(["told", 7, third]))?;
    assert_eq!(new.ask(json!(["load", 7]))?, json!(["old 3", third]));
    // Its own commits are in its cache with the right serial: the next one builds on it.
    assert_eq!(old.ask(json!(["load", 7]))?, json!(["old 3", third]));
    Ok((second, third))
}

/// By one who has read object 7 at `outdated`, and commits over it, or relies on it.
fn conflicts_are_raised(client: &mut Client, outdated: &str) -> Result<(), Failed> {
    client.ask(json!(["begin"]))?;
    client.ask(json!(["put", 7, outdated, "late"]))?;
    assert_eq!(client.fails(json!(["end"]))?, "ConflictError");
    client.ask(json!(["begin"]))?;
    client.ask(json!(["put", 8, NEW, "never"]))?;
    client.ask(json!(["check", 7, outdated]))?;
    assert_eq!(client.fails(json!(["end"]))?, "ReadConflictError");
    assert_eq!(client.fails(json!(["load", 8]))?, "POSKeyError");
    Ok(())
}

/// Two clients of two generations.
fn together(dir: &Path, old: OldVersion) -> Result<(), Failed> {
    let server = server(dir, "", None)?;
    let mut new = Client::connected(Who::New, "new", dir, server.address())?;
    let mut old = Client::connected(Who::Old(old), "old", dir, server.address())?;

    let (second, third) = see_each_other(&mut new, &mut old)?;
    // Conflicts are raised at both, and neither leaves the lock behind.
    for client in [&mut old, &mut new] {
        conflicts_are_raised(client, &second)?;
    }
    old.ask(json!(["begin"]))?;
    old.ask(json!(["put", 8, NEW, "checked"]))?;
    old.ask(json!(["check", 7, third]))?;
    old.ask(json!(["end"]))?;

    // What one undoes the other sees undone.
    let undone = old.ask(json!(["undo", 1]))?;
    new.ask(json!(["told", 7, undone]))?;
    assert_eq!(new.ask(json!(["load", 7]))?, json!(["new 2", undone]));
    assert_eq!(old.ask(json!(["load", 7]))?, json!(["new 2", undone]));
    new.ask(json!(["begin", "/ somebody"]))?;
    new.ask(json!(["put", 9, NEW, "by somebody"]))?;
    new.ask(json!(["end"]))?;
    for client in [&mut old, &mut new] {
        assert_eq!(client.ask(json!(["undoable", "/ somebody"]))?, 1);
        assert_eq!(client.ask(json!(["history", 7]))?.as_array().map(Vec::len), Some(4));
        assert_eq!(client.ask(json!(["count"]))?, 6);
    }
    let last = new.ask(json!(["last"]))?;
    old.ask(json!(["await_last", last]))?;
    server.stop()?;
    Ok(())
}

/// A blob of each is read by the other, over what the other had made of it, too.
fn blobs(dir: &Path, old: OldVersion) -> Result<(), Failed> {
    let server = server(dir, "", None)?;
    let mut clients = Vec::new();
    for (who, name) in [(Who::New, "new"), (Who::Old(old), "old")] {
        let mut client = Client::start(who, name, dir)?;
        client.open(server.address(), json!({"blob_dir": dir.join(format!("{name}-blobs"))}))?;
        clients.push(client);
    }
    let (mut serials, mut contents) = ([NEW.to_owned(), NEW.to_owned()], [String::new(), String::new()]);
    for round in 0..4 {
        let writer = round % 2;
        clients[writer].ask(json!(["begin"]))?;
        for (number, content) in contents.iter_mut().enumerate() {
            // More than one piece of a download.
            *content = format!("round {round} of blob {number} ").repeat(10_000);
            clients[writer].ask(json!(["put_blob", 20 + number, serials[number], content]))?;
        }
        let tid = clients[writer].ask(json!(["end"]))?;
        for (number, serial) in serials.iter_mut().enumerate() {
            tid.as_str().unwrap_or_default().clone_into(serial);
            for client in &mut clients {
                let blob = client.ask(json!(["blob", 20 + number, serial]))?;
                assert!(blob == contents[number], "round {round}, blob {number}");
            }
        }
    }
    // The serial of a commit is right in the cache of who made it, too.
    for client in &mut clients {
        client.ask(json!(["begin"]))?;
        client.ask(json!(["put_blob", 20, NEW, "late"]))?;
        assert_eq!(client.fails(json!(["end"]))?, "ConflictError");
    }
    server.stop()?;
    Ok(())
}

/// A cache in a file, in each form of its verification.
fn restarted(dir: &Path, old: OldVersion) -> Result<(), Failed> {
    let port = free_port();
    let keys = "  invalidation-queue-size 3\n";
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let first_server = server(dir, keys, Some(port))?;
    let var = dir.join("var");
    std::fs::create_dir(&var)?;
    let options = json!({"client": "cache", "var": var});
    let mut new = Client::connected(Who::New, "new", dir, address)?;
    let mut serials = BTreeMap::new();
    for number in 1..=5 {
        serials.insert(number, new.commit(number, NEW, "1")?);
    }
    // And how many of them come from the server, not from the cache: `new` asks it.
    type Expected<'e> = (&'e str, [&'e str; 5], u64);
    let read_all = |old: &mut Client,
                    new: &mut Client,
                    expected: Expected<'_>,
                    serials: &BTreeMap<u64, String>| {
        let before = new.ask(json!(["loads"]))?.as_u64().ok_or("no number")?;
        for (number, data) in (1_u64..).zip(expected.1) {
            assert_eq!(old.ask(json!(["load", number]))?, json!([data, serials[&number]]), "object {number}");
        }
        assert_eq!(new.ask(json!(["loads"]))?, before + expected.2, "loads of {expected:?}");
        Ok::<(), Failed>(())
    };
    let mut old_client = Client::start(Who::Old(old), "old", dir)?;
    old_client.open(address, options.clone())?;
    read_all(&mut old_client, &mut new, ("filled", ["1"; 5], 5), &serials)?;
    old_client.ask(json!(["close"]))?;

    // Quick: the queue reaches back, and the file after a restart, too.
    serials.insert(1, new.commit(1, &serials[&1].clone(), "2")?);
    first_server.stop()?;
    let second_server = server(dir, keys, Some(port))?;
    let mut new = Client::connected(Who::New, "new2", dir, address)?;
    old_client.open(address, options.clone())?;
    read_all(&mut old_client, &mut new, ("quick", ["2", "1", "1", "1", "1"], 1), &serials)?;
    old_client.ask(json!(["close"]))?;

    // Full: more was committed than the queue holds, of this server or the next. ZEO 4 asks for each object, or drops its
    // cache if it is told so; ZEO 5 drops it. Each time with another cache: a file of 4.3.1 loses objects when it is used
    // for the third time, with Python's server, too.
    let asked = if old.is_zeo4() { 1 } else { 5 };
    let mut second_server = second_server;
    for (name, is_restarted, is_dropped, loads) in
        [("full", false, false, asked), ("restarted", true, false, asked), ("dropped", false, true, 5)]
    {
        if is_dropped && !old.is_zeo4() {
            continue;
        }
        let mut options = options.clone();
        options["client"] = name.into();
        serials.insert(2, new.commit(2, &serials[&2].clone(), "before")?);
        old_client.open(address, options.clone())?;
        read_all(&mut old_client, &mut new, (name, ["2", "before", "1", "1", "1"], 5), &serials)?;
        old_client.ask(json!(["close"]))?;
        for round in 0..6 {
            serials.insert(2, new.commit(2, &serials[&2].clone(), &format!("2.{round}"))?);
        }
        if is_restarted {
            second_server.stop()?;
            second_server = server(dir, keys, Some(port))?;
            new = Client::connected(Who::New, "new3", dir, address)?;
        }
        if is_dropped {
            options["drop_cache_rather_verify"] = true.into();
        }
        old_client.open(address, options)?;
        read_all(&mut old_client, &mut new, (name, ["2", "2.5", "1", "1", "1"], loads), &serials)?;
        old_client.ask(json!(["close"]))?;
    }
    old_client.open(address, json!({"client": "killed", "var": var}))?;
    read_all(&mut old_client, &mut new, ("killed", ["2", "2.5", "1", "1", "1"], 5), &serials)?;

    // In the middle: the server goes and comes again while the client is there.
    second_server.kill();
    let third_server = server(dir, keys, Some(port))?;
    let mut new = Client::connected(Who::New, "new4", dir, address)?;
    let tid = new.commit(3, &serials[&3].clone(), "after")?;
    serials.insert(3, tid.clone());
    old_client.ask(json!(["await_last", tid]))?;
    read_all(&mut old_client, &mut new, ("killed", ["2", "2.5", "after", "1", "1"], 1), &serials)?;
    serials.insert(4, old_client.commit(4, &serials[&4].clone(), "by old")?);
    assert_eq!(new.ask(json!(["load", 4]))?, json!(["by old", serials[&4]]));
    third_server.stop()?;
    Ok(())
}

/// A client of ZEO 4 in front of a server of ours whose storage is another server's: it learns the serials of what it
/// commits when it loads it again.
fn relayed(dir: &Path, old: OldVersion) -> Result<(), Failed> {
    let behind = server(dir, "", None)?;
    let section =
        format!("<clientstorage 1>\n  server {}\n  wait-timeout 20\n</clientstorage>\n", behind.address());
    let front = server_of(dir, "front", "", None, &section)?;
    let mut new = Client::connected(Who::New, "new", dir, behind.address())?;
    let mut old = Client::connected(Who::Old(old), "old", dir, front.address())?;

    let (second, _) = see_each_other(&mut new, &mut old)?;
    // The locks of both servers are free after a conflict.
    conflicts_are_raised(&mut old, &second)?;
    new.commit(9, NEW, "new, behind")?;
    old.commit(10, NEW, "old, in front")?;

    let undone = old.ask(json!(["undo", 2]))?;
    new.ask(json!(["told", 7, undone]))?;
    assert_eq!(new.ask(json!(["load", 7]))?, json!(["new 2", undone]));
    assert_eq!(old.ask(json!(["load", 7]))?, json!(["new 2", undone]));
    front.stop()?;
    behind.stop()?;
    Ok(())
}

/// Every generation commits to one object, again and again, until all have done so often enough.
fn all_at_once(dir: &Path) -> Result<(), Failed> {
    const ROUNDS: usize = 15;
    let server = server(dir, "", None)?;
    let address = server.address();
    let mut first = Client::connected(Who::New, "first", dir, address)?;
    first.commit(5, NEW, "0")?;
    let counts = std::thread::scope(|scope| {
        let run = |who: Who| -> Result<(usize, usize), Failed> {
            let name = who.name();
            let mut client = Client::connected(who, name, dir, address)?;
            let (mut committed, mut conflicts) = (0, 0);
            while committed < ROUNDS {
                let loaded = client.ask(json!(["load", 5]))?;
                let number: usize = loaded[0].as_str().unwrap_or_default().parse()?;
                client.ask(json!(["begin"]))?;
                client.ask(json!(["put", 5, loaded[1], (number + 1).to_string()]))?;
                match client.try_ask(json!(["end"]))? {
                    Ok(_) => committed += 1,
                    Err((class, _)) if class == "ConflictError" => conflicts += 1,
                    Err(error) => return Err(format!("{name}: {error:?}").into()),
                }
            }
            Ok((committed, conflicts))
        };
        let running: Vec<_> = Who::all()
            .into_iter()
            .map(|who| scope.spawn(move || run(who).map_err(|error| format!("{error:?}"))))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "panicked".to_owned())?)
            .collect::<Result<Vec<_>, _>>()
    })?;
    let committed: usize = counts.iter().map(|(committed, _)| committed).sum();
    let mut last = Client::connected(Who::Old(ZEO4), "last", dir, address)?;
    assert_eq!(last.ask(json!(["load", 5]))?[0], committed.to_string(), "no update was lost: {counts:?}");
    server.stop()?;
    Ok(())
}

/// The monitor's report, as Python's own client side of it reads it.
fn monitor(dir: &Path) -> Result<(), Failed> {
    let port = free_port();
    let server = server(dir, &format!("  monitor-address 127.0.0.1:{port}\n"), None)?;
    let mut client = Client::connected(Who::Old(ZEO4), "client", dir, server.address())?;
    client.commit(1, NEW, "x")?;
    client.ask(json!(["begin"]))?;
    let ask = || {
        let mut report = String::new();
        TcpStream::connect(("127.0.0.1", port)).ok()?.read_to_string(&mut report).ok()?;
        Some(report)
    };
    // Nobody answers the beginning of a transaction, so it may still be on its way.
    let has_begun = |report: &String| report.contains("Active transactions: 1\n");
    let report = poll_until(Duration::from_secs(10), || ask().filter(has_begun));
    let report = report.or_else(ask).ok_or("no report")?;
    let (head, storage) = report.split_once("\n\n").ok_or_else(|| report.clone())?;
    assert!(head.starts_with("ZEO monitor server version ") && head.lines().count() == 2, "{report}");
    let mut lines = storage.lines();
    assert_eq!(lines.next(), Some("Storage: 1"));
    let found: Vec<(&str, &str)> = lines.by_ref().map_while(|line| line.split_once(": ")).collect();
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let expected = [
        "Server started",
        "Clients",
        "Clients verifying",
        "Active transactions",
        "Commits",
        "Aborts",
        "Loads",
        "Stores",
        "Conflicts",
        "Conflicts resolved",
    ];
    assert_eq!(names, expected, "the lines of the report in the how-to");
    let values: Vec<&str> = found.iter().skip(1).map(|(_, value)| *value).collect();
    assert_eq!(values, ["1", "0", "1", "1", "0", "0", "1", "0", "0"], "{report}");
    let parse = "import sys\nfrom ZEO.monitor import StorageStats\nstats = StorageStats([])\n\
                 stats.parse(sys.stdin.read().strip())\nprint(stats.commits, stats.stores, stats.clients)\n";
    let mut python = Who::Old(ZEO4).peer()?.python();
    let mut python = python.args(["-c", parse]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let body: String = found.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    python.stdin.take().ok_or("no input")?.write_all(body.as_bytes())?;
    let output = python.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1 1 1");
    server.stop()?;
    Ok(())
}
