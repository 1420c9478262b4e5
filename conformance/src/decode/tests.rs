use std::borrow::Cow;
use std::io::Cursor;
use std::time::Duration;

use zeo_codec::session::Direction::{FromClient, FromServer};

use super::*;
use crate::capture::{Metadata, Record, Writer, file};

/// What a capture of one connection tells, by `each_message`.
fn told(events: Vec<Event<'static>>) -> Vec<Told> {
    let mut writer = Writer::new(Vec::new(), &Metadata::default()).unwrap();
    for event in events {
        writer.write(&Record { time: Duration::ZERO, connection: 1, event }).unwrap();
    }
    let mut reader = file::read(Cursor::new(writer.finish().unwrap())).unwrap();
    let mut all = Vec::new();
    each_message(&mut reader, |connection, _, told| {
        assert_eq!(connection, 1);
        all.push(told);
    })
    .unwrap();
    all
}

fn bytes(direction: Direction, bytes: &'static [u8]) -> Event<'static> {
    Event::Bytes { direction, bytes: Cow::Borrowed(bytes) }
}

fn payloads(told: &[Told]) -> Vec<(Direction, &[u8])> {
    let messages = told.iter().filter_map(|told| match told {
        Told::Message { direction, payload, .. } => Some((*direction, &payload[..])),
        _ => None,
    });
    messages.collect()
}

#[test]
fn messages_are_told_whatever_the_chunks_and_the_rest_is_counted() {
    let all = told(vec![
        bytes(FromServer, b"\0\0\0\x02M5\0\0\0\x0b\x94\x01"),
        bytes(FromClient, b"\0\0\0\x02M5\0\0\0\x09\x94\x01\xc2\xa4ping\x90\0\0\0"),
        bytes(FromServer, b"\x00\xa6.reply\xc0"),
        Event::Ended { direction: FromClient, end: End::Cut },
    ]);
    let expected: [(_, &[u8]); 4] = [
        (FromClient, b"M5"),
        (FromClient, b"\x94\x01\xc2\xa4ping\x90"),
        (FromServer, b"M5"),
        (FromServer, b"\x94\x01\x00\xa6.reply\xc0"),
    ];
    let mut sorted = payloads(&all);
    sorted.sort_by_key(|(direction, _)| *direction == FromServer);
    assert_eq!(sorted, expected);
    assert_eq!(all.last(), Some(&Told::Ended { direction: FromClient, end: End::Cut, rest_len: 3 }));
}

#[test]
fn a_mac_is_no_part_of_the_message() {
    let all = told(vec![
        bytes(FromServer, b"\0\0\0\x02Z4"),
        bytes(FromClient, b"\0\0\0\x02Z4\x80\0\0\x0312345678901234567890(N."),
    ]);
    assert_eq!(payloads(&all).last(), Some(&(FromClient, &b"(N."[..])));
}

#[test]
fn of_bytes_without_messages_nothing_is_kept() {
    let mut events = vec![bytes(FromClient, b"\0\0\0\x02M5\x7f\xff\xff\xff and so on")];
    events.extend((0..5).map(|_| bytes(FromClient, b"anything")));
    events.push(Event::Ended { direction: FromClient, end: End::Closed });
    let all = told(events);
    assert!(matches!(&all[1], Told::Message { observed: Observed::Lost(_), .. }), "{:?}", all[1]);
    assert_eq!(all.len(), 3, "the loss is told once");
    assert!(matches!(all[2], Told::Ended { rest_len: 0, .. }), "{:?}", all[2]);
}

#[test]
fn unknown_methods_are_written_again_and_strangers_are_not() {
    let all = told(vec![
        bytes(FromServer, b"\0\0\0\x02M5"),
        bytes(FromClient, b"\0\0\0\x02M5\0\0\0\x09\x94\x01\xc2\xa4pong\x90\0\0\0\x01\xc1"),
    ]);
    let rewritten: Vec<_> = all
        .iter()
        .filter_map(|told| match told {
            Told::Message { observed, payload, .. } => Some(rewrite(payload, observed, Some(&Dialect::M5))),
            _ => None,
        })
        .collect();
    assert!(rewritten.contains(&Ok(b"\x94\x01\xc2\xa4pong\x90".to_vec())), "{rewritten:?}");
    assert!(matches!(rewritten.last(), Some(Err(RewriteError::Undecodable(_)))), "{rewritten:?}");
}

#[test]
fn a_transcript_does_not_depend_on_who_was_faster() {
    let call = b"\0\0\0\x09\x94\x01\xc2\xa4ping\x90";
    let (greeting, reply) = (&b"\0\0\0\x02M5"[..], &b"\0\0\0\x0b\x94\x01\x00\xa6.reply\xc0"[..]);
    let transcript = |events: Vec<Event<'static>>| {
        let mut transcript = Transcript::default();
        told(events).iter().for_each(|told| transcript.add(1, Some(&Dialect::M5), told));
        transcript
    };
    let early = [bytes(FromServer, greeting), bytes(FromClient, greeting), bytes(FromClient, call)];
    let keep_alive = bytes(FromClient, b"\0\0\0\x0b\x94\xff\x00\xa6.reply\xc0");
    let one = transcript([&early[..], &[keep_alive.clone(), bytes(FromServer, reply)]].concat());
    let other = transcript([&early[..], &[bytes(FromServer, reply), keep_alive]].concat());
    assert_ne!(one.text(), other.text());
    assert_eq!(one.essence(), other.essence());
    assert_eq!(one.text(), "1 S \"M5\"\n1 C \"M5\"\n1 C 1: ping()\n1 C keep-alive\n1 S 1: ping -> None\n");
}

#[test]
fn of_a_run_only_the_ends_are_shown() {
    let mut events = vec![bytes(FromServer, b"\0\0\0\x02M5"), bytes(FromClient, b"\0\0\0\x02M5")];
    for _ in 0..10 {
        events.push(bytes(FromClient, b"\0\0\0\x09\x94\x01\xc2\xa4ping\x90"));
    }
    let mut transcript = Transcript::default();
    told(events).iter().for_each(|told| transcript.add(1, Some(&Dialect::M5), told));
    let lines = transcript.text().lines().filter(|line| line.contains("ping")).count();
    assert_eq!(lines, 8);
    assert!(transcript.text().contains("... 2 more\n"), "{}", transcript.text());
    assert_eq!(transcript.essence().lines().count(), 12, "all of them");
}
