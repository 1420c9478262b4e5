//! `zeo`, on servers of Python and ours.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::Value;
use zeo_client::{Oid, Tid};
use zeo_conformance::config::ServerConfig;
use zeo_conformance::server::free_port;

use super::{Said, nowhere, revise, said};
use crate::world::{Result, World, builder, record};

fn zeo(world: &World, args: &[&str]) -> Result<Said> {
    said(world.tool("zeo")?.args(args))
}

/// The counters are those that the server tells to anybody, and to its clients.
pub(crate) fn status(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let address = server.address().to_string();
    let client = builder(&server).connect_blocking()?;
    revise(&client, 2)?;
    let json = zeo(world, &["status", "--json", "-a", &address])?;
    let status: Value = serde_json::from_str(&json.stdout)?;
    assert_eq!(json.code, Some(0));
    assert_eq!((&status["1"]["commits"], &status["1"]["connections"]), (&2.into(), &1.into()));
    assert_eq!(status["1"]["last-transaction"], client.last_transaction().to_string());

    let table = zeo(world, &["status", "-a", &address])?;
    let lines: Vec<Vec<&str>> = table.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 3, "{table:?}");
    assert_eq!(&lines[0][..2], [&*address, "speaks"]);
    assert_eq!(&lines[1][..4], ["storage", "clients", "waiting", "active"]);
    assert_eq!(&lines[2][..4], ["1", "1", "0", "0"]);
    let last = client.last_transaction().to_string();
    assert_eq!((lines[2][6], lines[2][10]), ("2", &*last));

    let one = zeo(world, &["status", "-a", &address, "-S", "1"])?;
    assert_eq!((one.code, one.stdout.lines().count()), (Some(0), 3), "{one:?}");
    for args in
        [&["status", "-a", &address, "-S", "nope"][..], &["status", "-a", &address, "-S", "nope", "--json"]]
    {
        let absent = zeo(world, args)?;
        assert!(absent.code == Some(1) && absent.stdout.is_empty(), "{absent:?}");
        assert!(absent.stderr.contains("there is no storage nope"), "{absent:?}");
    }
    let nowhere = zeo(world, &["status", "-a", &nowhere()?])?;
    assert!(nowhere.code == Some(1) && nowhere.stdout.is_empty(), "{nowhere:?}");
    assert!(nowhere.stderr.contains("Connection refused"), "{nowhere:?}");
    assert_eq!(zeo(world, &["status", "--jason"])?.code, Some(2));
    client.close();
    server.stop()?;
    if world.is_zeo4() { Ok(()) } else { over_tls(world) }
}

/// The same over TLS, as a file of `<clientstorage>` tells.
fn over_tls(world: &World) -> Result {
    let directory = world.path("tls");
    let name = directory.display().to_string();
    world.script("tls_files", &["--directory", &name])?;
    let ssl =
        format!("certificate {name}/server.pem\nkey {name}/server_key.pem\nauthenticate {name}/client.pem\n");
    let path = world.path("Secret.fs");
    let server = world.server(&ServerConfig { ssl, storage_path: path, ..world.config() })?;
    let config = format!(
        "<clientstorage>\nserver {}\n<ssl>\ncertificate {name}/client.pem\nkey {name}/client_key.pem\n\
         authenticate {name}/server.pem\nserver-hostname zodb.org\n</ssl>\n</clientstorage>\n",
        server.address()
    );
    std::fs::write(world.path("secret.conf"), config)?;
    assert_eq!(zeo(world, &["check", "-C", "secret.conf"])?.code, Some(0));
    let status = zeo(world, &["status", "--json", "-C", "secret.conf"])?;
    let status: Value = serde_json::from_str(&status.stdout)?;
    assert!(status["1"]["commits"].as_u64().is_some_and(|count| count > 0), "{status}");
    let plain = server.address().to_string();
    assert_eq!(zeo(world, &["status", "--timeout", "1", "-a", &plain])?.code, Some(1));
    Ok(server.stop()?)
}

/// Waits no longer than it was told, and returns as soon as the server is there.
pub(crate) fn wait(world: &World) -> Result {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let start = Instant::now();
    let late = zeo(world, &["wait", "--timeout", "0.7", "-a", &address])?;
    let elapsed = start.elapsed();
    assert!((Duration::from_millis(700)..Duration::from_secs(10)).contains(&elapsed), "{elapsed:?}");
    assert!(late.code == Some(1) && late.stdout.is_empty(), "{late:?}");
    assert!(late.stderr.contains("Connection refused"), "{late:?}");

    let mut waiting = world.tool("zeo")?.args(["wait", "--timeout", "60", "-q", "-a", &address]).spawn()?;
    // It has met nobody at least once, whatever the machine does meanwhile.
    std::thread::sleep(Duration::from_millis(500));
    assert!(waiting.try_wait()?.is_none());
    let config = ServerConfig { port: Some(port), read_only: true, ..world.config() };
    // A storage that cannot be written to has to be there before.
    world.server(&ServerConfig { read_only: false, port: None, ..config.clone() })?.stop()?;
    let server = world.server(&config)?;
    assert_eq!(waiting.wait()?.code(), Some(0));

    let ready = zeo(world, &["wait", "-a", &address])?;
    assert!(ready.code == Some(0) && ready.stdout.starts_with(&format!("storage 1 at {address} is ready")));
    let read_only = zeo(world, &["wait", "--writable", "--timeout", "0.5", "-a", &address])?;
    assert!(read_only.code == Some(1) && read_only.stderr.contains("ReadOnlyError"), "{read_only:?}");
    let unknown = zeo(world, &["wait", "-S", "other", "--timeout", "0.5", "-a", &address])?;
    assert!(unknown.code == Some(1) && unknown.stderr.contains("unknown storage"), "{unknown:?}");
    Ok(server.stop()?)
}

/// What is written comes back, and does not stay; what cannot be written is told.
pub(crate) fn check(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let address = server.address().to_string();
    let client = builder(&server).connect_blocking()?;
    let no_root = zeo(world, &["check", "--nowrite", "-a", &address])?;
    assert!(no_root.code == Some(1) && no_root.stderr.contains("POSKeyError"), "{no_root:?}");
    let checked = zeo(world, &["check", "-a", &address])?;
    assert_eq!((checked.code, &*checked.stderr), (Some(0), ""), "{checked:?}");
    let (first, second) = checked.stdout.split_once('\n').ok_or("one line")?;
    assert!(second.starts_with("Elapsed time: "), "{checked:?}");
    let words: Vec<&str> = first.split(' ').collect();
    assert_eq!((words[0], words[1], words[3]), ("wrote", "object", "in"));
    assert!(first.ends_with(" and read it back, and deleted it"), "{first}");
    let tid = Tid::from_u64(u64::from_str_radix(words[5], 16)?);
    let oid = Oid::from_u64(u64::from_str_radix(words[2], 16)?);
    // It was there, of the class that it says, and is gone.
    let revision = client.load_before(oid, tid.next().ok_or("no next")?)?.ok_or("no revision")?;
    assert_eq!(revision.serial, tid);
    assert!(client.load_current(oid).is_err_and(|error| error.is_no_such_object()));
    let found: Vec<_> = client.iterate(None, None)?.collect::<std::result::Result<_, _>>()?;
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|found| &*found.info.user == b"zeo check"));

    revise(&client, 1)?;
    client.close();
    server.stop()?;
    let server = world.server(&ServerConfig { read_only: true, ..world.config() })?;
    let address = server.address().to_string();
    let refused = zeo(world, &["check", "--timeout", "1", "-a", &address])?;
    assert!(refused.code == Some(1) && refused.stderr.contains("ReadOnlyError"), "{refused:?}");
    let root = zeo(world, &["check", "--nowrite", "-a", &address])?;
    assert!(root.code == Some(0) && root.stdout.starts_with("read the root object: "), "{root:?}");
    Ok(server.stop()?)
}

/// The current revision, an older one, one by its serial; as text and as bytes.
pub(crate) fn load(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let address = server.address().to_string();
    let client = builder(&server).connect_blocking()?;
    revise(&client, 2)?;
    let history = client.history(Oid::ZERO, 10)?;
    let (second, first) = (history[0].tid.to_string(), history[1].tid.to_string());
    let load = |args: &[&str]| zeo(world, &[&["load", "-a", &address], args].concat());
    let text = load(&["0"])?;
    let line = |said: &Said, name: &str| {
        let line = said.stdout.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    assert!(line(&text, "serial").starts_with(&second) && line(&text, "superseded") == "never", "{text:?}");
    assert_eq!(line(&text, "class"), "<persistent.mapping.PersistentMapping>");
    assert_eq!(line(&text, "state"), r#"{"data": {"k": "1"}}"#);
    for args in [["0x0", "--before", &second], ["00", "--serial", &first]] {
        let text = load(&args)?;
        assert_eq!(line(&text, "state"), r#"{"data": {"k": "0"}}"#, "{text:?}");
        assert!(line(&text, "superseded").starts_with(&second), "{text:?}");
    }
    let raw = load(&["0", "--raw"])?;
    assert_eq!(raw.code, Some(0));
    assert_eq!(raw.bytes, record("1"));
    for (args, expected) in [
        (&["7"][..], "POSKeyError"),
        (&["0", "--before", &first], "did not exist before"),
        (&["0", "--serial", "0000000000000001"], "did not write object"),
    ] {
        let failed = load(args)?;
        assert!(failed.code == Some(1) && failed.stderr.contains(expected), "{failed:?}");
    }
    assert_eq!(load(&["root"])?.code, Some(2));
    // A server that never answers: its answer is held back on the way.
    let mut recorder = Command::new(env!("CARGO_BIN_EXE_zeo-conformance"));
    recorder.args(["record", "127.0.0.1:0", &address, "--fault", "swap server:loadBefore", "-o"]);
    let mut recorder = recorder.arg(world.path("held.zeocap")).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(recorder.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let held = line.trim().strip_prefix("ready: listening on ").ok_or_else(|| line.clone())?;
    let late = zeo(world, &["load", "0", "--timeout", "0.5", "-a", held]);
    recorder.kill()?;
    recorder.wait()?;
    let late = late?;
    assert!(late.code == Some(1) && late.stderr.contains("has not answered within 500ms"), "{late:?}");
    client.close();
    Ok(server.stop()?)
}

/// The transactions that are asked for; with `--follow` those that come, also after the server was started again.
pub(crate) fn log(world: &World) -> Result {
    let config = ServerConfig { port: Some(free_port()), ..world.config() };
    let server = world.server(&config)?;
    let address = server.address().to_string();
    let log = |args: &[&str]| zeo(world, &[&["log", "-a", &address], args].concat());
    assert_eq!(log(&[])?, Said { code: Some(0), ..Said::default() });

    let client = builder(&server).connect_blocking()?;
    revise(&client, 12)?;
    let tids: Vec<String> = client
        .iterate(None, None)?
        .map(|found| found.map(|found| found.info.tid.to_string()))
        .collect::<std::result::Result<_, _>>()?;
    let shown = |args: &[&str]| -> Result<Vec<String>> {
        let said = log(args)?;
        assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{args:?}");
        Ok(said.stdout.lines().map(|line| line.split_whitespace().next().unwrap_or("-").to_owned()).collect())
    };
    assert_eq!(shown(&[])?, tids[2..]);
    assert_eq!(shown(&["-n", "3"])?, tids[9..]);
    assert_eq!(shown(&["-n", "100"])?, tids);
    assert_eq!(shown(&["-n", "0"])?, tids[..0]);
    assert_eq!(shown(&["--since", &tids[4]])?, tids[4..]);
    assert_eq!(shown(&["--since", "2020-01-01", "--until", &tids[4]])?, tids[..5]);
    assert_eq!(shown(&["-n", "2", "--until", &tids[4]])?, tids[3..5]);
    assert_eq!(shown(&["--since", "2120-01-01"])?, tids[..0]);
    let line = log(&["-n", "1"])?.stdout;
    assert!(line.ends_with("Z  rust  revises\n"), "{line}");

    // Records, in lines and in JSON.
    let len = record("0").len();
    let records = log(&["-n", "1", "--records"])?.stdout;
    let expected = format!("    0000000000000000  {} bytes", len + 1);
    assert_eq!(records.lines().nth(1), Some(&*expected));
    let lines = log(&["--since", &tids[0], "--until", &tids[0], "-r", "--json"])?.stdout;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
    assert_eq!((&lines[0]["tid"], &lines[0]["user"]), (&tids[0].as_str().into(), &"rust".into()));
    assert_eq!(lines[0]["extension"], serde_json::json!({}));
    assert_eq!(lines[1], serde_json::json!({"oid": "0000000000000000", "data_len": len, "data_txn": null}));

    let mut following = world.tool("zeo")?;
    following.args(["log", "-f", "-n", "1", "-a", &address]).stdout(Stdio::piped());
    let mut following = following.spawn()?;
    let stdout = following.stdout.take().ok_or("no output")?;
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(|line| line.ok()).try_for_each(|line| sender.send(line))
    });
    let next = || -> Result<String> {
        let line = lines.recv_timeout(Duration::from_secs(20))?;
        Ok(line.split(' ').next().unwrap_or_default().to_owned())
    };
    assert_eq!(next()?, tids[11]);
    for _ in 0..2 {
        revise(&client, 1)?;
        assert_eq!(next()?, client.last_transaction().to_string());
    }
    server.stop()?;
    let server = world.server(&config)?;
    // What is committed while it is away is not missed, and nothing comes twice.
    revise(&client, 1)?;
    assert_eq!(next()?, client.last_transaction().to_string());
    revise(&client, 1)?;
    assert_eq!(next()?, client.last_transaction().to_string());
    assert!(lines.try_recv().is_err());
    following.kill()?;
    following.wait()?;
    client.close();
    Ok(server.stop()?)
}
