//! What is said of servers, files and arguments that are not as they should be.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use zeo_codec::session::Direction;
use zeo_conformance::capture::{Endpoints, Event, Metadata, Record, file};

use crate::world::{Result, World};

pub(crate) fn a_server_that_is_away() -> Result {
    let world = World::new()?;
    let mut recorder = world.tool(&["record", "127.0.0.1:0", "127.0.0.1:1", "-o", "a.zeocap"])?;
    let address = recorder.address(true)?;
    let mut client = TcpStream::connect(address)?;
    // Its end may be a reset.
    let _ = client.read(&mut [0]);
    assert!(recorder.stop(Signal::TERM)?.success());
    let complaint = "connection 1: connecting to the server at 127.0.0.1:1: Connection refused";
    let log = recorder.process.log_text();
    assert!(log.contains(complaint), "{log}");
    let info = world.printed(&["info", "a.zeocap"])?;
    assert!(info.contains(", server not connected, client not connected"), "{info}");
    Ok(())
}

pub(crate) fn a_capture_is_not_overwritten() -> Result {
    let world = World::new()?;
    for name in ["a.zeocap", "1.zeocap"] {
        std::fs::write(world.path(name), "mine")?;
    }
    for (output, complaint) in [
        ("a.zeocap", "a.zeocap: File exists (os error 17); --force replaces it"),
        ("{connection}.zeocap", "1.zeocap: there is a file already; --force replaces it"),
        ("absent/a.zeocap", "absent/a.zeocap: No such file"),
    ] {
        for command in [&["record", "127.0.0.1:0", "127.0.0.1:1"][..], &SNIFF] {
            let output = world.run(&[command, &["-o", output]].concat())?;
            assert!(
                !output.is_good && output.complaint.contains(complaint),
                "{command:?}: {}",
                output.complaint
            );
        }
    }
    assert_eq!(std::fs::read_to_string(world.path("a.zeocap"))?, "mine");
    let peers = ["--client", "ZEO 6.2 python=3.13", "--server", "zeo-server 0.1"];
    let args = [&["record", "127.0.0.1:0", "127.0.0.1:1", "-o", "a.zeocap", "--force"][..], &peers].concat();
    let mut recorder = world.tool(&args)?;
    recorder.address(true)?;
    assert!(recorder.stop(Signal::TERM)?.success());
    let metadata = file::open(&world.path("a.zeocap"))?.metadata().clone();
    assert_eq!(metadata.client, "ZEO 6.2 python=3.13".parse().ok());
    assert_eq!(metadata.server, "zeo-server 0.1".parse().ok());
    Ok(())
}

pub(crate) fn converting_overwrites_nothing() -> Result {
    let world = World::new()?;
    capture(&world.path("a.zeocap"), true, b"\0\0\0\x02M5")?;
    for target in ["b.pcapng", "b.zeocap", "b.zeocap.gz"] {
        let path = world.path(target);
        std::fs::write(&path, "mine")?;
        let said = world.run(&["convert", "a.zeocap", target])?;
        assert!(!said.is_good && said.complaint.contains("--force replaces it"), "{}", said.complaint);
        assert_eq!(std::fs::read_to_string(&path)?, "mine");
        world.printed(&["convert", "--force", "a.zeocap", target])?;
        assert!(world.printed(&["info", target])?.contains("6 bytes of the client"), "{target}");
    }
    Ok(())
}

/// A capture may come from anybody.
pub(crate) fn what_is_shown_of_strangers() -> Result {
    let world = World::new()?;
    let mut writer = file::create(&world.path("a.zeocap"), &Metadata::default())?;
    let client = "\u{1b}[2J\u{7f}\u{9b}2J".to_owned();
    let endpoints = Endpoints { client, ..Endpoints::default() };
    let event = Event::Opened(Box::new(endpoints));
    writer.write(&Record { time: Duration::ZERO, connection: 1, event })?;
    writer.finish()?.close()?;
    for command in ["info", "sniff"] {
        let text = world.printed(&[command, "a.zeocap"])?;
        assert!(text.contains("from ?[2J??2J"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
    }
    Ok(())
}

const SNIFF: [&str; 5] = ["sniff", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1"];

pub(crate) fn addresses_and_names() -> Result {
    let world = World::new()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let in_use = format!("{address}: Address already in use");
    for (args, complaint) in [
        (&["record", &address, "127.0.0.1:1", "-o", "b.zeocap"][..], &*in_use),
        (&["sniff", "--listen", &address, "--to", "127.0.0.1:1"], &in_use),
        (&["sniff", "--method", "vote,nonesuch", "a.zeocap"], "'nonesuch'"),
        (&["sniff", "--method", "nonesuch", "a.zeocap"], "tpc_finish"),
        (&["record", "127.0.0.1:0", "127.0.0.1:1", "--fault", "drop client:nonesuch"], "tpc_finish"),
        (&["record", "127.0.0.1:0", "127.0.0.1:1", "--fault", "drop client:0"], "counted from 1"),
        (&["record", "127.0.0.1:0", "127.0.0.1:1", "--client", "ZEO os=linux"], "none of name, version"),
    ] {
        let output = world.run(args)?;
        assert!(!output.is_good && output.complaint.contains(complaint), "{args:?}: {}", output.complaint);
    }
    Ok(())
}

/// A capture of one connection, with these bytes of the client.
fn capture(path: &Path, is_opened: bool, bytes: &[u8]) -> Result {
    let mut writer = file::create(path, &Metadata::default())?;
    let mut write = |event| writer.write(&Record { time: Duration::ZERO, connection: 1, event });
    if is_opened {
        write(Event::Opened(Box::default()))?;
    }
    for chunk in bytes.chunks(64 * 1024) {
        write(Event::Bytes { direction: Direction::FromClient, bytes: chunk.into() })?;
    }
    Ok(writer.finish()?.close()?)
}

/// Something that was said, but no message is in it.
pub(crate) fn what_is_not_zeo() -> Result {
    let world = World::new()?;
    let random: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(1..)).take(100_000).collect();
    let zeros = vec![0; 8 << 20];
    for (is_opened, bytes, line) in [
        (false, &random, "no message in the last 100000 bytes"),
        (false, &zeros, "no message in the last 8388608 bytes"),
        (true, &random, "not ZEO: it begins with"),
        (true, &zeros, "not ZEO: it begins with 0000"),
    ] {
        capture(&world.path("a.zeocap"), is_opened, bytes)?;
        let said = world.run(&["sniff", "a.zeocap"])?;
        assert!(said.out.contains(line) && said.out.lines().count() <= 2, "{}", said.out);
        let complaint = format!("a.zeocap: offset 0: none of the {} bytes", bytes.len());
        assert!(said.complaint.contains(&complaint) && !said.is_good, "{}", said.complaint);
    }
    Ok(())
}

/// Zeros behind a greeting are empty frames, which would be two million lines.
pub(crate) fn zeros_are_passed_over() -> Result {
    let world = World::new()?;
    let bytes = [&b"\0\0\0\x02M5"[..], &vec![0; 8 << 20], b"\0\0\0\x09\x94\x01\xc2\xa4ping\x90"].concat();
    capture(&world.path("a.zeocap"), true, &bytes)?;
    let said = world.run(&["sniff", "a.zeocap"])?;
    assert!(said.is_good, "{}", said.complaint);
    let lines: Vec<&str> = said.out.lines().collect();
    let [_, hello, empty, skipped, ping] = lines[..] else { return Err(said.out.into()) };
    assert!(hello.contains("hello") && empty.contains("an empty frame"), "{}", said.out);
    assert!(
        skipped.contains("8388604 bytes before the next message") && ping.contains("ping"),
        "{}",
        said.out
    );
    Ok(())
}
