//! Files that are still written, and files of packets of several servers.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use rustix::process::Signal;
use zeo_codec::frame::write_frame;
use zeo_codec::session::Direction;
use zeo_conformance::capture::{End, Endpoints, Event, Metadata, Record};
use zeo_conformance::packets::PacketWriter;

use crate::world::{Result, World, builder, run, visit};

/// A fixture, not compressed.
fn fixture(name: &str) -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name);
    let mut bytes = Vec::new();
    MultiGzDecoder::new(File::open(path)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file part by part, cut anywhere, and waits each time for the lines that can be known by then. At last what was
/// said, without the message of the end.
fn followed(world: &World, name: &str, bytes: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    let whole = world.path(&format!("whole-{name}"));
    std::fs::write(&whole, bytes)?;
    let expected: Vec<String> =
        world.printed(&["sniff", &whole.display().to_string()])?.lines().map(str::to_owned).collect();
    let mut file = File::create(world.path(name))?;
    // Less than the first bytes by which kinds of files are told apart.
    file.write_all(&bytes[..3])?;
    let mut tool = world.tool(&["sniff", "--follow", name])?;
    let mut written_len = 3;
    for part in 1..=5 {
        let len = bytes.len() * part / 5;
        file.write_all(&bytes[written_len..len])?;
        written_len = len;
        // What a part of the file says when it is all there is.
        let cut = world.path(&format!("cut-{name}"));
        std::fs::write(&cut, &bytes[..len])?;
        let output = crate::world::program(&["sniff", &cut.display().to_string()]).output()?;
        let known = String::from_utf8(output.stdout)?;
        // Of packets the end of the file tells that what is missing will not come.
        let known_count = known.lines().zip(&expected).take_while(|(known, line)| known == line).count();
        assert!(known_count > 0, "part {part}");
        if let Some(last) = expected.get(known_count - 1) {
            while tool.said.len() < known_count {
                tool.line_with("")?;
            }
            assert_eq!(tool.said.last(), Some(last));
        }
    }
    if name.ends_with("zeocap") {
        // A complete capture says that it is.
        tool.rest();
        let status = tool.process.wait(crate::world::SOON)?;
        assert!(status.success(), "{status}");
    } else {
        assert!(tool.process.try_wait()?.is_none(), "more may come");
        tool.stop(Signal::TERM)?;
    }
    Ok((tool.said, expected))
}

pub(crate) fn a_capture_is_followed() -> Result {
    let world = World::new()?;
    let (said, expected) = followed(&world, "a.zeocap", &fixture("6.2-6.2-msgpack/commit.zeocap.gz")?)?;
    assert_eq!(said, expected);
    Ok(())
}

pub(crate) fn packets_are_followed() -> Result {
    let world = World::new()?;
    for (name, source) in
        [("a.pcapng", "pcap/6.2-msgpack.pcapng.gz"), ("a.pcap", "pcap/5.4.1-pickle-any.pcap.gz")]
    {
        let (said, expected) = followed(&world, name, &fixture(source)?)?;
        assert_eq!(said, expected, "{name}");
    }
    Ok(())
}

/// The recorder writes it meanwhile.
pub(crate) fn a_recording_is_followed() -> Result {
    let world = World::new()?;
    let server = world.server(&world.config())?;
    let to = server.address().to_string();
    let mut recorder = world.tool(&["record", "127.0.0.1:0", &to, "-o", "a.zeocap"])?;
    let address = recorder.address(true)?;
    let mut sniffer = world.tool(&["sniff", "--follow", "a.zeocap"])?;
    for connection in 1..=2 {
        run(visit(builder(&address)?))?;
        sniffer.line_with(&format!(" {connection} < #5     tpc_finish"))?;
    }
    assert!(recorder.stop(Signal::TERM)?.success());
    sniffer.rest();
    assert!(sniffer.process.wait(crate::world::SOON)?.success());
    assert_eq!(sniffer.text(), world.printed(&["sniff", "a.zeocap"])?);
    Ok(server.stop()?)
}

/// Until somebody has seen enough.
pub(crate) fn figures_of_what_is_followed() -> Result {
    let world = World::new()?;
    let bytes = fixture("6.2-6.2-msgpack/commit.zeocap.gz")?;
    let path = world.path("a.zeocap");
    // It ends within a record, as what is still written may.
    let len = bytes.len() - 30;
    std::fs::write(&path, &bytes[..len])?;
    let mut tool = world.tool(&["sniff", "--follow", "--stats", "--json", "a.zeocap"])?;
    std::thread::sleep(Duration::from_millis(500));
    assert!(tool.process.try_wait()?.is_none(), "more may come: {}", tool.process.log_text());
    assert!(tool.stop(Signal::INT)?.success(), "{}", tool.process.log_text());
    let said = world.run(&["sniff", "--stats", "--json", "a.zeocap"])?;
    assert!(said.complaint.contains("the capture ends here") && !said.is_good, "{}", said.complaint);
    assert_eq!(tool.text(), said.out);
    assert!(said.out.contains("\"tpc_finish\""), "{}", said.out);
    Ok(())
}

/// It is killed after a moment.
pub(crate) fn a_compressed_recording_survives() -> Result {
    let world = World::new()?;
    let server = world.server(&world.config())?;
    let to = server.address().to_string();
    let mut recorder = world.tool(&["record", "127.0.0.1:0", &to, "-o", "a.zeocap.gz"])?;
    let address = recorder.address(true)?;
    run(visit(builder(&address)?))?;
    let is_written = || {
        let said = world.run(&["sniff", "a.zeocap.gz"]).ok()?;
        said.out.contains(" 1 < #5     tpc_finish").then_some(())
    };
    zeo_conformance::process::poll_until(crate::world::SOON, is_written).ok_or("nothing is written")?;
    recorder.stop(Signal::KILL)?;
    let said = world.run(&["sniff", "a.zeocap.gz"])?;
    assert!(said.out.contains(" 1 < #5     tpc_finish"), "{}", said.out);
    assert!(said.complaint.contains("the capture ends here"), "{}", said.complaint);
    Ok(server.stop()?)
}

/// Two servers, each with a client that greets.
fn two_servers(path: &Path) -> Result {
    let mut out = PacketWriter::new(File::create(path)?, &Metadata::default())?;
    let mut greeting = Vec::new();
    write_frame(&mut greeting, b"M5");
    let mut write = |connection, event| out.write(&Record { time: Duration::ZERO, connection, event });
    for (connection, port) in [(1, 8100), (2, 8200)] {
        let endpoints = Endpoints {
            client: format!("127.0.0.1:{}", 40_000 + connection),
            server: format!("127.0.0.1:{port}"),
            ..Endpoints::default()
        };
        write(connection, Event::Opened(Box::new(endpoints)))?;
    }
    for connection in [1, 2] {
        for direction in [Direction::FromServer, Direction::FromClient] {
            write(connection, Event::Bytes { direction, bytes: greeting.as_slice().into() })?;
        }
        for direction in [Direction::FromServer, Direction::FromClient] {
            write(connection, Event::Ended { direction, end: End::Closed })?;
        }
    }
    Ok(out.finish().map(drop)?)
}

pub(crate) fn of_packets_only_one_port() -> Result {
    let world = World::new()?;
    let path = world.path("two.pcapng");
    two_servers(&path)?;
    let path = path.display().to_string();
    for (ports, expected) in [
        (&[][..], &["8100", "8200"][..]),
        (&["8200"], &["8200"]),
        (&["8100"], &["8100"]),
        (&["8100", "8200"], &["8100", "8200"]),
    ] {
        let options = ports.iter().flat_map(|port| ["--port", port]);
        let args: Vec<&str> = ["sniff"].into_iter().chain(options).chain([path.as_str()]).collect();
        let text = world.printed(&args)?;
        let servers: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once(" to 127.0.0.1:"))
            .filter_map(|(_, rest)| rest.split_whitespace().next())
            .collect();
        assert_eq!(servers, expected, "{ports:?}: {text}");
        assert_eq!(text.matches("hello").count(), 2 * expected.len(), "{ports:?}: {text}");
    }
    let said = world.run(&["sniff", "--port", "8300", &path])?;
    assert!(!said.is_good && said.out.is_empty(), "{}", said.out);
    assert!(said.complaint.contains("nothing was said on connections to the ports"), "{}", said.complaint);
    Ok(())
}
