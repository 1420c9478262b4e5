//! The programs that come with the client, beside Python's.

pub(crate) mod copy;
pub(crate) mod zeo;

use std::ffi::OsString;
use std::net::TcpListener;
use std::process::{Command, ExitCode};

use zeo_client::blocking::Client;
use zeo_client::{Metadata, Oid, Tid};
use zeo_conformance::config::{ServerConfig, file_section};
use zeo_conformance::server::Server;

use crate::world::{Error, Result, World, at, builder, record};

/// Is the program of the first argument, for the others.
pub(crate) fn run(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(name) = args.next() else { return ExitCode::FAILURE };
    let words = |args| std::iter::once(name.clone()).chain(args);
    match name.to_str() {
        Some("zeopack") => zeo_client::tools::zeopack(words(args)),
        Some("zeo") => zeo_client::tools::zeo(words(args)),
        Some("traced") => crate::cached::traced(args),
        Some("zeo-nagios") => zeo_client::tools::zeo_nagios(words(args)),
        _ => ExitCode::FAILURE,
    }
}

/// What a program has said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    /// What is on the standard output stream.
    bytes: Vec<u8>,
    /// The same as text.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn said(command: &mut Command) -> Result<Said> {
    let output = command.output()?;
    Ok(Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        bytes: output.stdout,
        stderr: String::from_utf8(output.stderr)?,
    })
}

fn silent() -> Said {
    Said { code: Some(0), ..Said::default() }
}

/// An address where nobody listens.
fn nowhere() -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.to_string())
}

/// Commits so many revisions of the root object.
fn revise(client: &Client, count: u32) -> Result {
    let mut serial = client.load_current(Oid::ZERO).map_or(Tid::ZERO, |revision| revision.serial);
    for number in 0..count {
        let mut transaction = client.begin(Metadata::new("rust", "revises"))?;
        transaction.store(Oid::ZERO, serial, record(&number.to_string()))?;
        serial = transaction.vote()?.finish()?;
    }
    Ok(())
}

fn revision_count(client: &Client) -> Result<usize> {
    Ok(client.history(Oid::ZERO, 100)?.len())
}

/// `zeopack` packs, to the time that it is told; every way to name a server works; what is wrong is told in Python's
/// words and with its exit status.
pub(crate) fn zeopack(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let client = builder(&server).connect_blocking()?;
    let address = server.address().to_string();
    let port = server.address().port().to_string();
    revise(&client, 3)?;
    let pack = |args: &[&str]| said(world.tool("zeopack")?.args(args));

    // Of today nothing goes; of now, all but the newest.
    assert_eq!(pack(&["-d1", &address])?, silent());
    assert_eq!(pack(&["-d", "1", "-t", "23:59:59", &address])?, silent());
    assert_eq!(revision_count(&client)?, 3);
    assert_eq!(pack(&[&address])?, silent());
    assert_eq!(revision_count(&client)?, 1);
    // The last second of today has not come: everything goes.
    for args in [&["-t23:59:59", &format!("{address}:1")][..], &["-h", "127.0.0.1", "-p", &port, "-S", "1"]] {
        revise(&client, 2)?;
        assert_eq!(revision_count(&client)?, 3);
        assert_eq!(pack(args)?, silent());
        assert_eq!(revision_count(&client)?, 1, "{args:?}");
    }

    // One that is not there is told, and does not keep the others from being packed.
    let nowhere = nowhere()?;
    revise(&client, 1)?;
    let some = pack(&["--wait", "1", &nowhere, &address])?;
    assert_eq!((some.code, revision_count(&client)?), (Some(0), 1));
    assert!(some.stderr.starts_with("Couldn't connect to: (('127.0.0.1', "), "{some:?}");
    let end = "Error:\nCannot connect to any of the configured ZEO servers.\n";
    for args in [&[&*nowhere][..], &[&format!("{address}:other")], &["-U", "nowhere"], &["-u", "./nowhere:2"]]
    {
        let none = pack(&[&["--wait", "1"], args].concat())?;
        assert!(none.code == Some(1) && none.stderr.ends_with(end), "{args:?}: {none:?}");
    }

    // Mistakes, and no arguments at all: as Python's.
    for args in
        [&["-d3"][..], &["a:b:c:d"], &["a:b:2"], &["-t1:2:3:4", "a:1"], &["-d3", "-u", "a:b:c"], &["-h", "a"]]
    {
        let python = said(world.python_tool("zeopack").args(args))?;
        assert_eq!(pack(args)?, Said { code: Some(1), ..python }, "{args:?}");
    }
    assert_eq!(pack(&["--bogus"])?.code, said(world.python_tool("zeopack").arg("--bogus"))?.code);
    let help = pack(&[])?;
    assert!(help.code == Some(0) && help.stdout.contains("--days"), "{help:?}");

    // On a terminal there is a bar.
    revise(&client, 1)?;
    let mut terminal = world.python();
    terminal.args(["-c", "import os, pty, sys; sys.exit(os.WEXITSTATUS(pty.spawn(sys.argv[1:])))"]);
    let tool = world.tool("zeopack")?;
    terminal.arg(tool.get_program()).args(tool.get_args()).arg(&address).env("TERM", "xterm");
    let shown = said(&mut terminal)?;
    assert_eq!((shown.code, revision_count(&client)?), (Some(0), 1));
    assert!(shown.stdout.contains(&format!("packing 1 in {address} [")), "{shown:?}");
    assert!(shown.stdout.contains(&format!("packed 1 in {address}: ")), "{shown:?}");
    client.close();
    server.stop()?;
    unix_sockets(world)
}

/// Two storages of a server at a Unix socket, by the option and by the old ones.
fn unix_sockets(world: &World) -> Result {
    let section = |name| file_section(name, &world.path(&format!("{name}.fs")), "");
    let config = ServerConfig { storage_section: Some(section("one") + &section("two")), ..world.config() };
    let server = world.server_at_socket(&config, "sock")?;
    let clients = ["one", "two"].map(|name| at(world.path("sock").into()).storage(name).connect_blocking());
    let [one, two] = clients;
    let clients = [one?, two?];
    let counts = || Ok::<_, Error>([revision_count(&clients[0])?, revision_count(&clients[1])?]);
    for (args, expected) in [
        (&["-u./sock:one"][..], [1, 3]),
        (&["--unix", "sock:one", "-u", "./sock:two"], [1, 1]),
        (&["-U", "sock", "-S", "two"], [3, 1]),
    ] {
        for client in &clients {
            let count = 3_u32.saturating_sub(u32::try_from(revision_count(client).unwrap_or(0))?);
            revise(client, count)?;
        }
        assert_eq!(counts()?, [3, 3]);
        assert_eq!(said(world.tool("zeopack")?.args(args))?, silent());
        assert_eq!(counts()?, expected, "{args:?}");
    }
    drop(server);
    Ok(())
}

/// `zeo-nagios` says what Python's says, line by line, with the same exit status.
pub(crate) fn nagios(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let address = server.address().to_string();
    let both = |args: &[&str], status: Option<&str>| {
        // Each has a file of its own, so that both ask for the first time, or the next.
        let with = |mut command: Command, file: &str| {
            command.args(args);
            if let Some(status) = status {
                command.arg("-s").arg(format!("{status}.{file}"));
            }
            said(&mut command)
        };
        let python = with(world.python_tool("zeo-nagios"), "python")?;
        let ours = with(world.tool("zeo-nagios")?, "rust")?;
        assert_eq!(ours, python, "{args:?}");
        Ok::<Said, Error>(ours)
    };

    let empty = both(&[&address], None)?;
    assert_eq!((empty.code, &*empty.stdout), (Some(1), "Empty storage '1'\n"));
    both(&[&address, "-m"], None)?;
    let client = builder(&server).connect_blocking()?;
    revise(&client, 2)?;
    let fine = both(&[&address], None)?;
    assert_eq!((fine.code, &*fine.stdout), (Some(0), "OK\n"));
    let levels = both(&["-m", &address], Some("status"))?;
    assert_eq!(levels.stdout, "OK|active_txns=0\n| connections=1\n waiting=0\n");
    // Nothing happens between the two: rates are 0, and there is no noise in them.
    let rates = both(&["--output-metrics", "--time-units=seconds", &address], Some("status"))?;
    assert!(rates.stdout.ends_with(" conflicts_resolved=0.0\n loads=0.0\n stores=0.0\n"), "{rates:?}");

    // Each goes on with the file of the other. What happens in between is in the rates.
    for (mut command, file) in
        [(world.tool("zeo-nagios")?, "status.python"), (world.python_tool("zeo-nagios"), "status.rust")]
    {
        revise(&client, 3)?;
        let rates = said(command.args(["-m", "-u", "days", "-s", file, &address]))?;
        let rate = |name: &str| -> f64 {
            let line =
                rates.stdout.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_default();
            line.strip_prefix('=').and_then(|number| number.parse().ok()).unwrap_or(-1.0)
        };
        assert!(rate("commits") > 1000.0 && rate("aborts") == 0.0, "{rates:?}");
        assert!((rate("stores") / rate("commits") - 1.0).abs() < 1e-9, "{rates:?}");
    }

    client.close();
    server.stop()?;
    let gone = both(&[&address], None)?;
    assert_eq!((gone.code, &*gone.stdout), (Some(2), "Can't connect [Errno 111] Connection refused\n"));
    both(&["-m", "./no such socket"], None)?;
    // Several storages, one of them with a name that needs quotes.
    let sections = "<mappingstorage first>\n</mappingstorage>\n<mappingstorage second>\n</mappingstorage>\n";
    let config = ServerConfig { storage_section: Some(sections.to_owned()), ..world.config() };
    let server: Server = world.server(&config)?;
    let address = server.address().to_string();
    both(&["-m", &address], Some("several"))?;
    let rates = both(&["-m", &address], Some("several"))?;
    assert!(rates.stdout.starts_with("Empty storage 'first'|first:active_txns=0\nEmpty"), "{rates:?}");
    assert!(rates.stdout.ends_with("\n second:stores=0.0\n"), "{rates:?}");
    Ok(server.stop()?)
}
