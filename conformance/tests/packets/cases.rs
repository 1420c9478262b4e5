//! What the dissector does with single captures, and with packets that no capture has.

use std::fs::File;
use std::time::Duration;

use zeo_codec::session::Direction;
use zeo_conformance::capture::{End, Endpoints, Event, Metadata, Record};
use zeo_conformance::packets::PacketWriter;

use crate::dissected::{difference, dissected, sniffed, tshark};
use crate::fixtures::{HEURISTICS_FIRST, convert, convert_joined};
use crate::root;

/// Without the beginning, which only the port tells then.
pub(crate) fn a_conversation_is_joined_within_a_message() {
    let directory = tempfile::tempdir().unwrap();
    let packets = directory.path().join("joined.pcapng");
    let ports = ["-o", "zeo.ports:1024-65535"];
    for (name, passed_len) in [
        ("6.2-6.2-msgpack/commit", 3),
        ("6.2-6.2-msgpack/undo", 200),
        ("6.2-6.2-msgpack/big_objects", 2000),
        ("6.2-6.2-pickle/commit", 50),
        ("6.2-6.2-pickle/blobs", 1999),
        // The packet with the first beginning ends within that message.
        ("6.2-6.2-pickle/blobs", 30000),
        ("5.4.1-py2-5.4.1-py2-msgpack/commit", 100),
        ("5.4.1-py2-5.4.1-py2-pickle/commit", 500),
    ] {
        convert_joined(&root().join(format!("fixtures/{name}.zeocap.gz")), &packets, passed_len);
        let (told, lost) = sniffed(&packets);
        assert!(lost.iter().any(|text| text.contains("before the next message")), "{name}: {lost:?}");
        assert!(told.len() > 10, "{name}: {}", told.len());
        // Two passes, as the window of Wireshark makes: what the first has found has to be found again.
        let twice = [&["-2"], &ports[..]].concat();
        assert_eq!(difference(&dissected(&packets, &twice), &told), None, "{name}");
        // Without the port a packet has to begin with a message, as most do where they are short.
        if name.ends_with("/commit") {
            let recognised = dissected(&packets, &[]);
            assert!(recognised.len() > told.len() / 2, "{name}: {} of {}", recognised.len(), told.len());
        }
        let fields = ["-Y", "zeo.skipped_len", "-T", "fields", "-e", "tcp.stream", "-e", "tcp.srcport"];
        let text = tshark(&packets, &[&ports[..], &fields].concat());
        let mut directions: Vec<_> = text.lines().collect();
        directions.sort_unstable();
        directions.dedup();
        assert_eq!(text.lines().count(), directions.len(), "{name}: once in a direction: {text}");
    }
}

/// Connection 3 is from port 44818, which is EtherNet/IP's.
pub(crate) fn a_client_port_of_another_protocol_costs_the_beginning_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let packets = directory.path().join("fallback.pcapng");
    convert(&[root().join("fixtures/6.2-6.2-pickle/fallback.zeocap.gz")], &packets);
    let told = sniffed(&packets).0;
    assert_eq!(difference(&dissected(&packets, &HEURISTICS_FIRST), &told), None);
    let text = tshark(&packets, &["-Y", "tcp.port == 44818 && zeo.kind"]);
    for expected in ["| register(storage", "| vote(", "| tpc_finish(", "| tpc_finish -> 040d4f1ef885c7bb"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

/// What the column says of texts, errors and keep-alives, and of packets with more than one message.
pub(crate) fn lines_read_well() {
    let directory = tempfile::tempdir().unwrap();
    let packets = directory.path().join("lines.pcapng");
    let names = [
        "6.2-6.2-msgpack/metadata",
        "6.2-6.2-msgpack/blobs",
        "6.2-6.2-pickle/big_objects",
        "4.3.1-4.3.1-pickle/commit",
        "4.3.1-py2-4.3.1-py2-pickle/heartbeat",
    ];
    convert(&names.map(|name| root().join(format!("fixtures/{name}.zeocap.gz"))), &packets);
    let text = tshark(&packets, &["-Y", "zeo", "-T", "fields", "-e", "_ws.col.Info"]);
    for expected in [
        "user=\"Jörg ☃\" description=\"",
        "description=\"initial database creation\"",
        "| new_oids -> (0000000000000001, 0000000000000002, ",
        "| loadBefore error ZODB.POSException.POSKeyError (0000000000000000)",
        "| keep-alive",
        "| register(storage=\"1\" ",
        "| storeBlobChunk() | storeBlobEnd(",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    for line in text.lines() {
        assert_eq!(line.matches(" > ").count(), 1, "ports once in {line}");
    }
}

/// Every form in which msgpack writes long lists and dicts; the captures have but the first.
pub(crate) fn long_lists_and_dicts_of_msgpack_are_read() {
    let forms: [(u8, usize); 4] = [(0xdc, 300), (0xdd, 70_000), (0xde, 20), (0xdf, 70_000)];
    let mut bytes = b"\0\0\0\x02M5".to_vec();
    for (code, count) in forms {
        // The call `info`, one-way, with one argument.
        let mut payload = b"\x94\0\xc3\xa4info\x91".to_vec();
        payload.push(code);
        let count_bytes = u32::try_from(count).unwrap().to_be_bytes();
        payload.extend(if code % 2 == 0 { &count_bytes[2..] } else { &count_bytes[..] });
        payload.extend(if code < 0xde { &b"\x07"[..] } else { b"\xa1k\x07" }.repeat(count));
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
    }
    let directory = tempfile::tempdir().unwrap();
    let packets = directory.path().join("long.pcapng");
    let mut writer = PacketWriter::new(File::create(&packets).unwrap(), &Metadata::default()).unwrap();
    let client = b"\0\0\0\x02M5".to_vec();
    for event in [
        Event::Opened(Box::default()),
        Event::Bytes { direction: Direction::FromClient, bytes: client.into() },
        Event::Bytes { direction: Direction::FromServer, bytes: bytes.into() },
    ] {
        writer.write(&Record { time: Duration::ZERO, connection: 1, event }).unwrap();
    }
    writer.finish().unwrap();
    let told = sniffed(&packets).0;
    assert_eq!(told.iter().filter(|seen| seen.kind == "one-way" && seen.method == "info").count(), 4);
    assert_eq!(difference(&dissected(&packets, &[]), &told), None);
    let text = tshark(&packets, &["-Y", "zeo"]);
    for (_, count) in forms {
        assert!(text.contains(&format!("7, ... {count} in all")), "{count}: {text}");
    }
}

/// The window of Wireshark reads a file for the first time without making any tree, and shows what a second pass finds.
pub(crate) fn a_second_pass_shows_what_one_shows() {
    let directory = tempfile::tempdir().unwrap();
    let packets = directory.path().join("twice.pcapng");
    let names = ["6.2-6.2-pickle/commit", "4.3.1-4.3.1-pickle/digest", "6.2-6.2-msgpack/blobs"];
    convert(&names.map(|name| root().join(format!("fixtures/{name}.zeocap.gz"))), &packets);
    let lines = |options: &[&str]| -> Vec<String> {
        let text = tshark(&packets, options);
        text.lines().filter(|line| line.contains(" ZEO ")).map(ToOwned::to_owned).collect()
    };
    let once = lines(&[]);
    assert!(once.len() > 100, "{}", once.len());
    assert!(!once.iter().any(|line| line.contains("? ->")), "{once:?}");
    assert_eq!(lines(&["-2"]), once);
}

/// A call that was never answered is not answered on the next connection from the same port.
pub(crate) fn ports_are_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let packets = directory.path().join("again.pcapng");
    let mut writer = PacketWriter::new(File::create(&packets).unwrap(), &Metadata::default()).unwrap();
    let mut write = |connection: u32, event| {
        let time = Duration::from_secs(connection.into());
        writer.write(&Record { time, connection, event }).unwrap();
    };
    for (connection, call) in
        [(1, &b"\0\0\0\x09\x94\x01\xc2\xa4vote\x90"[..]), (2, b"\0\0\0\x09\x94\x01\xc2\xa4ping\x90")]
    {
        let endpoints = Endpoints {
            client: "127.0.0.1:40000".into(),
            server: "127.0.0.1:9000".into(),
            ..Endpoints::default()
        };
        write(connection, Event::Opened(Box::new(endpoints)));
        let greeting = &b"\0\0\0\x02M5"[..];
        write(connection, Event::Bytes { direction: Direction::FromServer, bytes: greeting.into() });
        let bytes = [greeting, call].concat().into();
        write(connection, Event::Bytes { direction: Direction::FromClient, bytes });
        for direction in [Direction::FromClient, Direction::FromServer] {
            if connection == 1 {
                write(connection, Event::Ended { direction, end: End::Closed });
            }
        }
    }
    let reply = &b"\0\0\0\x0b\x94\x01\0\xa6.reply\xc0"[..];
    write(2, Event::Bytes { direction: Direction::FromServer, bytes: reply.into() });
    writer.finish().unwrap();
    let told = sniffed(&packets).0;
    assert_eq!(told.last().map(|seen| (&*seen.kind, &*seen.method)), Some(("reply", "ping")));
    assert_eq!(difference(&dissected(&packets, &[]), &told), None);
    assert_eq!(difference(&dissected(&packets, &["-2"]), &told), None);
}
