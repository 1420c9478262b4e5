use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use pcap_parser::Linktype;
use proptest::prelude::*;

use super::half::{Half, Piece};
use super::*;
use crate::capture::{End, Event, Metadata, Record};
use crate::sniff::input::{self, InputError, Reading};
use zeo_codec::session::Direction::{self, FromClient, FromServer};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

/// Everything that was said, by connection and direction, and how it ended.
#[derive(Debug, Default, PartialEq, Clone)]
struct Said {
    streams: BTreeMap<(u32, bool), Vec<u8>>,
    opened: Vec<(u32, String, String)>,
    ended: Vec<(u32, bool)>,
    notes: Vec<String>,
}

impl Said {
    fn hear(&mut self, record: &Record<'_>) {
        let number = record.connection;
        let is_client = |direction: Direction| direction == FromClient;
        match &record.event {
            Event::Opened(ends) => self.opened.push((number, ends.client.clone(), ends.server.clone())),
            Event::Bytes { direction, bytes } => {
                self.streams.entry((number, is_client(*direction))).or_default().extend_from_slice(bytes);
            }
            Event::Ended { direction, .. } => self.ended.push((number, is_client(*direction))),
            Event::Note(text) => self.notes.push(text.to_string()),
        }
    }
}

/// What is in a file of any kind, and how reading it ended.
fn said(file: Vec<u8>) -> (Said, Metadata, Result<(), InputError>) {
    let (mut said, mut metadata) = (Said::default(), Metadata::default());
    let outcome = input::read(
        io::Cursor::new(file),
        &Reading::default(),
        &mut |told| {
            metadata = told.clone();
            Ok(())
        },
        &mut |record| {
            said.hear(record);
            Ok(())
        },
    );
    (said, metadata, outcome)
}

/// The packets of a capture.
fn packets_of(capture: &Path) -> Vec<u8> {
    let writer = std::cell::RefCell::new(None);
    input::read(
        input::open(capture, None).unwrap(),
        &Reading::default(),
        &mut |metadata| {
            *writer.borrow_mut() = Some(PacketWriter::new(Vec::new(), metadata)?);
            Ok(())
        },
        &mut |record| writer.borrow_mut().as_mut().unwrap().write(record),
    )
    .unwrap();
    writer.into_inner().unwrap().finish().unwrap()
}

#[test]
fn captures_of_pythons_peers_come_back_out_of_packets_as_they_were() {
    for name in ["6.2-6.2-msgpack/commit", "4.3.1-4.3.1-pickle/commit", "5.4.1-5.2.3-pickle/conflict"] {
        let path = fixture(&format!("{name}.zeocap.gz"));
        let (mut expected, metadata, outcome) = said(std::fs::read(&path).unwrap());
        outcome.unwrap();
        let (found, found_metadata, outcome) = said(packets_of(&path));
        outcome.unwrap();
        assert!(!expected.streams.is_empty() && expected.streams.values().all(|stream| stream.len() > 10));
        // Notes of the recorder are comments there.
        expected.notes.clear();
        assert_eq!(found, expected, "{name}");
        let started = metadata.started.parse::<jiff::Timestamp>().unwrap();
        assert!(found_metadata.started.parse::<jiff::Timestamp>().unwrap() >= started);
        assert_eq!(Metadata { started: metadata.started.clone(), ..found_metadata }, metadata);
    }
}

/// Every packet of a file.
fn each_packet(file: &[u8], take: &mut dyn FnMut(Linktype, &[u8])) {
    let mut reader = PacketReader::new(file);
    loop {
        let read = reader.next_block::<Infallible>(&mut |packet| {
            take(packet.linktype, packet.data);
            Ok(())
        });
        match read.unwrap() {
            Ok(true) => {}
            Ok(false) => return,
        }
    }
}

#[test]
fn segments_are_found_on_every_kind_of_link() {
    let mut count = 0;
    each_packet(&packets_of(&fixture("6.2-6.2-msgpack/commit.zeocap.gz")), &mut |linktype, packet| {
        let expected = segment(linktype, packet).unwrap();
        let ip = &packet[14..];
        let vlan = [&packet[..12], &[0x81, 0, 0, 7, 8, 0], ip].concat();
        let sll = [&[0; 14], &[8, 0][..], ip].concat();
        let sll2 = [&[8, 0], &[0; 18][..], ip].concat();
        let null = [&[2, 0, 0, 0], ip].concat();
        let padded = [packet, &[0xee; 40]].concat();
        for (linktype, packet) in [
            (Linktype::ETHERNET, vlan.as_slice()),
            (Linktype::ETHERNET, &padded),
            (Linktype::RAW, ip),
            (Linktype::IPV4, ip),
            (Linktype(12), ip),
            (Linktype::NULL, &null),
            (Linktype::LOOP, &null),
            (Linktype::LINUX_SLL, &sll),
            (Linktype::LINUX_SLL2, &sll2),
        ] {
            assert_eq!(segment(linktype, packet), Ok(expected), "{linktype}");
        }
        // As with a limit on the length of captured packets.
        for len in 54..packet.len() {
            let cut = segment(Linktype::ETHERNET, &packet[..len]).unwrap();
            assert_eq!(cut.data, &expected.data[..len - 54]);
            assert_eq!(cut.cut_len, packet.len() - len);
        }
        for len in 0..54 {
            assert_eq!(segment(Linktype::ETHERNET, &packet[..len]), Err(Leftover::Other), "{len}");
        }
        assert_eq!(segment(Linktype(147), packet), Err(Leftover::Link(147)));
        count += 1;
    });
    assert!(count > 50);
}

#[test]
fn ipv6_and_unix_sockets_have_packets_as_well() {
    let opened = |client: &str, server: &str| {
        let ends =
            crate::capture::Endpoints { client: client.into(), server: server.into(), ..Default::default() };
        Event::Opened(Box::new(ends))
    };
    let mut writer = PacketWriter::new(Vec::new(), &Metadata::default()).unwrap();
    for (connection, client, server) in
        [(1, "[::1]:40000", "[::1]:8100"), (2, "/run/zeo.sock", "/run/zeo.sock")]
    {
        let record = |event| Record { time: std::time::Duration::from_secs(1), connection, event };
        writer.write(&record(opened(client, server))).unwrap();
        let bytes = vec![7; 100_000].into();
        writer.write(&record(Event::Bytes { direction: FromServer, bytes })).unwrap();
        writer.write(&record(Event::Ended { direction: FromClient, end: End::Reset })).unwrap();
    }
    let (said, _, outcome) = said(writer.finish().unwrap());
    outcome.unwrap();
    assert_eq!(said.opened[0], (1, "[::1]:40000".to_owned(), "[::1]:8100".to_owned()));
    assert_eq!(said.opened[1], (2, "192.0.2.1:49154".to_owned(), "192.0.2.2:8100".to_owned()));
    assert!(said.streams.values().all(|stream| stream.len() == 100_000));
    assert_eq!(said.streams.len(), 2);
    assert_eq!(said.ended.len(), 4);
}

/// What a half gives out, and the holes in it.
#[derive(Debug, Default, PartialEq)]
struct Given {
    bytes: Vec<u8>,
    holes: Vec<(usize, u64)>,
    has_ended: bool,
}

impl Given {
    fn take(&mut self) -> impl FnMut(Piece<'_>) -> Result<(), Infallible> {
        |piece| {
            assert!(!self.has_ended);
            match piece {
                Piece::Bytes(bytes) => self.bytes.extend_from_slice(bytes),
                Piece::Missing(len) => self.holes.push((self.bytes.len(), len)),
                Piece::End => self.has_ended = true,
            }
            Ok(())
        }
    }
}

fn stream(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

proptest! {
    /// Segments come twice, in another order, and overlap; the numbers come around.
    #[test]
    fn the_stream_is_the_same_however_its_segments_come(
        first in any::<u32>(),
        len in 1_usize..5000,
        cuts in prop::collection::vec((0.0..1.0, 1_usize..600), 0..60),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let stream = stream(len);
        // What makes it whole, and what comes beside it.
        let mut segments: Vec<(usize, usize)> = (0..len).step_by(300).map(|at| (at, (at + 300).min(len))).collect();
        for (at, part_len) in cuts {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the length")]
            let at = (at * len as f64) as usize;
            segments.push((at, (at + part_len).min(len)));
        }
        for (at, index) in order.iter().enumerate() {
            let other = index.index(segments.len());
            let at = at % segments.len();
            segments.swap(at, other);
        }
        let (mut half, mut given) = (Half::default(), Given::default());
        half.begin(first);
        for (from, to) in segments {
            let sequence = first.wrapping_add(u32::try_from(from).unwrap());
            half.segment(sequence, &stream[from..to], 0, to == len, &mut given.take()).unwrap();
        }
        prop_assert_eq!(given, Given { bytes: stream, holes: Vec::new(), has_ended: true });
        prop_assert_eq!(half.waiting_len(), 0);
    }

    /// Whatever comes: positions only rise, memory is bounded, nothing panics.
    #[test]
    fn any_segments_at_all(
        segments in prop::collection::vec(
            (any::<u32>(), 0_usize..3000, 0_usize..100, any::<bool>(), any::<u32>()), 0..200),
    ) {
        let bytes = stream(3000);
        let (mut half, mut given) = (Half::default(), Given::default());
        for (sequence, len, cut_len, is_fin, acknowledged) in segments {
            half.segment(sequence, &bytes[..len], cut_len, is_fin, &mut given.take()).unwrap();
            half.acknowledged(acknowledged, &mut given.take()).unwrap();
            prop_assert!(half.waiting_len() <= 1 << 20);
        }
        half.finish(&mut given.take()).unwrap();
        prop_assert_eq!(half.waiting_len(), 0);
    }

    #[test]
    fn damaged_files_never_panic(at in any::<prop::sample::Index>(), bytes in any::<[u8; 4]>(), kind in 0..3_u8) {
        let mut file = small_file();
        let at = at.index(file.len());
        match kind {
            0 => file.truncate(at),
            1 => file[at..].iter_mut().zip(bytes).for_each(|(to, from)| *to = from),
            _ => drop(file.splice(at..at, bytes)),
        }
        let _ = said(file);
    }
}

fn small_file() -> Vec<u8> {
    use std::sync::OnceLock;
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| packets_of(&fixture("6.2-6.2-msgpack/commit.zeocap.gz"))).clone()
}

#[test]
fn a_hole_is_given_up_when_the_other_side_has_confirmed_it() {
    let (mut half, mut given) = (Half::default(), Given::default());
    half.begin(100);
    half.segment(100, b"one", 0, false, &mut given.take()).unwrap();
    half.segment(108, b"three", 0, false, &mut given.take()).unwrap();
    for _ in 0..32 {
        half.acknowledged(113, &mut given.take()).unwrap();
    }
    assert_eq!(half.waiting_len(), 5, "it may still come");
    half.acknowledged(113, &mut given.take()).unwrap();
    assert_eq!(half.waiting_len(), 0);
    half.segment(103, b"two.", 0, false, &mut given.take()).unwrap();
    assert_eq!(given, Given { bytes: b"onethree".to_vec(), holes: vec![(3, 5)], has_ended: false });
}

#[test]
fn what_a_limit_on_packets_has_cut_is_missing_at_once() {
    let (mut half, mut given) = (Half::default(), Given::default());
    half.segment(100, b"one", 10, false, &mut given.take()).unwrap();
    half.segment(113, b"two", 0, true, &mut given.take()).unwrap();
    assert_eq!(given, Given { bytes: b"onetwo".to_vec(), holes: vec![(3, 10)], has_ended: true });
}

#[test]
fn a_file_that_was_cut_or_damaged_gives_what_it_has_and_says_where_it_ends() {
    let file = small_file();
    let (whole, _, _) = said(file.clone());
    let mut told = Vec::new();
    for len in [file.len() / 2, file.len() - 1, 100, 20] {
        let (part, _, outcome) = said(file[..len].to_vec());
        for (key, stream) in &part.streams {
            assert!(whole.streams[key].starts_with(stream));
        }
        told.push(outcome.unwrap_err().to_string());
    }
    assert!(told.iter().all(|text| text.contains("the file ends within a packet or block")), "{told:?}");
    let mut damaged = file.clone();
    // The length of the block behind the section's.
    let section_len = usize::try_from(u32::from_le_bytes(file[4..8].try_into().unwrap())).unwrap();
    damaged[section_len + 4] = 3;
    let error = said(damaged).2.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("offset {section_len}: this is neither a packet nor a block of a pcap or pcapng file")
    );
    let error = said(b"GET / HTTP/1.0\r\n".to_vec()).2.unwrap_err().to_string();
    assert!(error.starts_with("offset 0: neither a capture nor a pcap or pcapng file"), "{error}");
    assert!(said(Vec::new()).2.is_err());
}

/// The packets as an old pcap file.
fn as_pcap(file: &[u8], is_big_endian: bool, is_in_nanoseconds: bool) -> Vec<u8> {
    let number = |number: u32| if is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let magic = if is_in_nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let version = if is_big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
    let mut pcap = [number(magic), version, [0; 4], [0; 4], number(65535), number(1)].concat();
    let mut time = 0;
    each_packet(file, &mut |_, packet| {
        time += 1;
        let len = u32::try_from(packet.len()).unwrap();
        pcap.extend([number(1_700_000_000), number(time), number(len), number(len)].concat());
        pcap.extend_from_slice(packet);
    });
    pcap
}

#[test]
fn old_pcap_files_are_read_in_both_orders_and_resolutions() {
    let file = small_file();
    let (expected, _, _) = said(file.clone());
    for (is_big_endian, is_in_nanoseconds) in [(false, false), (true, false), (false, true), (true, true)] {
        let (found, metadata, outcome) = said(as_pcap(&file, is_big_endian, is_in_nanoseconds));
        outcome.unwrap();
        assert_eq!(found, expected);
        let started =
            if is_in_nanoseconds { "2023-11-14T22:13:20.000000001Z" } else { "2023-11-14T22:13:20.000001Z" };
        assert_eq!(metadata.started, started);
    }
}

#[test]
fn a_connection_that_is_joined_in_the_middle_tells_who_its_client_is() {
    let file = small_file();
    let (whole, _, _) = said(file.clone());
    for skipped_count in [3, 6, 12, 20] {
        let mut flows = Flows::default();
        let mut found = Said::default();
        let mut count = 0;
        let mut take = |record: &Record<'_>| {
            found.hear(record);
            Ok(())
        };
        each_packet(&file, &mut |linktype, data| {
            count += 1;
            if count > skipped_count {
                let packet = Packet { time: std::time::Duration::ZERO, linktype, data, comment: None };
                flows.packet(packet, &mut take).unwrap();
            }
        });
        flows.finish(&mut take).unwrap();
        assert_eq!(found.notes[..2], ["missing client", "missing server"]);
        // One that is joined is told of when its client is known.
        found.opened.sort();
        assert_eq!(found.opened, whole.opened);
        for (key, stream) in &whole.streams {
            assert!(stream.ends_with(&found.streams[key]), "{key:?}");
        }
    }
}
