use super::*;
use crate::{Flag, Value};
use Direction::{FromClient, FromServer};
use alloc::vec::Vec;

#[test]
fn types_replies_and_survives_garbage() {
    let mut observer = Observer::new(Limits::DEFAULT);
    observer.receive(FromServer, b"\0\0\0\x02Z5\0\0\0\x0b\x94\x01\x00\xa6.reply\xc0");
    assert!(matches!(observer.poll_event(FromServer), Some(Observed::Hello(_))));
    assert_eq!(observer.poll_event(FromServer), None, "the framing is not known yet");
    observer.receive(FromClient, b"\0\0\0\x02M5\0\0\0\x09\x94\x01\xc2\xa4ping\x90\0\0\0\x01\xc1");
    assert!(matches!(observer.poll_event(FromClient), Some(Observed::Hello(_))));
    let call = observer.poll_event(FromClient);
    assert!(matches!(call, Some(Observed::Call { method: Some(Method::Ping), .. })));
    assert!(matches!(observer.poll_event(FromClient), Some(Observed::Undecodable { .. })));
    let reply = observer.poll_event(FromServer);
    assert!(matches!(reply, Some(Observed::Reply { method: Some(Method::Ping), is_error: false, .. })));
}

#[test]
fn a_call_with_a_long_id_is_seen_and_its_reply_goes_untyped() {
    let long = "n".repeat(Limits::DEFAULT.id_bytes + 1);
    for (id, method) in [("short", Some(Method::Ping)), (long.as_str(), None)] {
        let id = MsgId::Other(id.into());
        let (mut call, mut reply) = (b"\0\0\0\x02M5".to_vec(), b"\0\0\0\x02M5".to_vec());
        let dialect = Dialect::M5;
        crate::write_message(&mut call, &dialect, &id, Flag::Bool(false), "ping", &Value::Tuple([].into()))
            .unwrap();
        crate::write_message(&mut reply, &dialect, &id, Flag::RESULT, crate::REPLY, &Value::None).unwrap();
        let mut observer = Observer::new(Limits::DEFAULT);
        observer.receive(FromClient, &call);
        observer.receive(FromServer, &reply);
        assert!(matches!(observer.poll_event(FromClient), Some(Observed::Hello(_))));
        let call = observer.poll_event(FromClient);
        assert!(matches!(call, Some(Observed::Call { method: Some(Method::Ping), .. })), "{call:?}");
        assert!(matches!(observer.poll_event(FromServer), Some(Observed::Hello(_))));
        match observer.poll_event(FromServer) {
            Some(Observed::Reply { method: found, .. }) => assert_eq!(found, method),
            other => panic!("{other:?}"),
        }
    }
}

/// Call and reply of a `ping`, under msgpack.
const CALL: &[u8] = b"\0\0\0\x09\x94\x01\xc2\xa4ping\x90";
const REPLY: &[u8] = b"\0\0\0\x0b\x94\x01\x00\xa6.reply\xc0";

fn is_ping_reply(seen: Option<Observed>) -> bool {
    matches!(seen, Some(Observed::Reply { method: Some(Method::Ping), .. }))
}

#[test]
fn macs_are_checked_with_a_key_and_passed_over_without() {
    let key = crate::digest::Secret::new("foo", "zeo realm", "secret pw").session_key("nonce");
    let mut macs = key.macs();
    let mut frame = |flip| {
        let payload = b"(K\x01K\0U\x06.replyNt.";
        let mut mac = macs.next(payload);
        mac[0] ^= flip;
        let mut frame = b"\x80\0\0\x10".to_vec();
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(payload);
        frame
    };
    let frames = [frame(0), frame(1), frame(0)].concat();
    for is_keyed in [false, true] {
        let mut observer = Observer::new(Limits::DEFAULT);
        observer.receive(FromClient, b"\0\0\0\x02Z4");
        observer.receive(FromServer, b"\0\0\0\x02Z4");
        for direction in [FromClient, FromServer] {
            assert!(matches!(observer.poll_event(direction), Some(Observed::Hello(_))));
        }
        if is_keyed {
            observer.set_key(&key);
        }
        observer.receive(FromServer, &frames);
        let seen: Vec<_> = core::iter::from_fn(|| observer.poll_event(FromServer)).collect();
        let bad_at = seen.iter().position(|event| *event == Observed::BadMac);
        let reply_count = seen.iter().filter(|event| matches!(event, Observed::Reply { .. })).count();
        assert_eq!((reply_count, bad_at), (3, is_keyed.then_some(1)), "{seen:?}");
    }
}

#[test]
fn a_conversation_is_joined_in_the_middle() {
    let mut observer = Observer::joined(Limits::DEFAULT);
    observer.receive(FromClient, b"\0\0\x02end of a record");
    assert_eq!(observer.poll_event(FromClient), None);
    observer.receive(FromClient, CALL);
    assert_eq!(observer.poll_event(FromClient), Some(Observed::Skipped(18)));
    assert!(matches!(
        observer.poll_event(FromClient),
        Some(Observed::Call { method: Some(Method::Ping), .. })
    ));
    assert_eq!(observer.dialect(), Some(&Dialect::M5));
    observer.receive(FromServer, REPLY);
    assert!(is_ping_reply(observer.poll_event(FromServer)), "nothing to pass over");
}

/// The messages of ZEO 4 before the authentication look like those of ZEO 5.
#[test]
fn what_was_passed_over_so_far_is_known_while_the_next_message_is_searched_for() {
    let mut observer = Observer::joined(Limits::DEFAULT);
    assert_eq!(observer.searched_len(FromClient), Some(0));
    observer.receive(FromClient, &[1; 100]);
    assert_eq!(observer.poll_event(FromClient), None);
    let passed_len = observer.searched_len(FromClient).unwrap() + observer.buffered_len(FromClient) as u64;
    assert_eq!((passed_len, observer.searched_len(FromServer)), (100, Some(0)));
    observer.receive(FromClient, b"\0\0\0\x09\x94\x01\xc2\xa4ping\x90");
    assert_eq!(observer.poll_event(FromClient), Some(Observed::Skipped(100)));
    assert_eq!(observer.searched_len(FromClient), None);
}

#[test]
fn a_conversation_is_joined_before_its_first_mac() {
    let reply = b"\0\0\0\x10(K\x01K\0U\x06.replyNt.";
    let mut with_mac = b"\x80\0\0\x10".to_vec();
    with_mac.extend_from_slice(&[7; 20]);
    with_mac.extend_from_slice(&reply[4..]);
    let mut observer = Observer::joined(Limits::DEFAULT);
    observer.receive(FromServer, b"the rest of something");
    observer.receive(FromServer, reply);
    observer.receive(FromServer, &with_mac);
    observer.receive(FromServer, reply);
    assert_eq!(observer.poll_event(FromServer), Some(Observed::Skipped(21)));
    assert!(matches!(observer.poll_event(FromServer), Some(Observed::Reply { .. })));
    assert_eq!(observer.dialect(), Some(&Dialect::Z5));
    for _ in 0..2 {
        assert!(matches!(observer.poll_event(FromServer), Some(Observed::Reply { .. })));
        assert_eq!(observer.dialect(), Some(&Dialect::Z4));
    }
    assert_eq!(observer.poll_event(FromServer), None);
}

#[test]
fn the_greetings_of_a_joined_conversation_count() {
    let mut observer = Observer::joined(Limits::DEFAULT);
    observer.receive(FromServer, b"\0\0\0\x02M5");
    assert!(matches!(observer.poll_event(FromServer), Some(Observed::Hello(_))));
    assert_eq!(observer.dialect(), None);
    observer.receive(FromClient, b"\0\0\0\x02Z4");
    assert!(matches!(observer.poll_event(FromClient), Some(Observed::Hello(_))));
    assert_eq!(observer.dialect(), Some(&Dialect::Z4), "the client's decides");
}

#[test]
fn goes_on_behind_a_gap() {
    let mut observer = Observer::new(Limits::DEFAULT);
    observer.receive(FromServer, b"\0\0\0\x02M5");
    observer.receive(FromServer, &REPLY[..7]);
    assert!(matches!(observer.poll_event(FromServer), Some(Observed::Hello(_))));
    assert_eq!(observer.poll_event(FromServer), None);
    // The client's greeting is lost, and a part of the server's reply.
    observer.skip(FromClient);
    observer.skip(FromServer);
    observer.receive(FromClient, CALL);
    observer.receive(FromServer, &[&REPLY[9..], REPLY].concat());
    assert!(matches!(
        observer.poll_event(FromClient),
        Some(Observed::Call { method: Some(Method::Ping), .. })
    ));
    assert_eq!(observer.buffered_len(FromServer), 6 + REPLY.len());
    assert_eq!(observer.poll_event(FromServer), Some(Observed::Skipped(7 + 6)));
    assert!(is_ping_reply(observer.poll_event(FromServer)));
    assert_eq!(observer.buffered_len(FromServer), 0);
}

#[test]
fn the_server_alone_tells_enough() {
    let mut observer = Observer::new(Limits::DEFAULT);
    observer.receive(FromServer, b"\0\0\0\x02M5");
    observer.receive(FromServer, REPLY);
    assert!(matches!(observer.poll_event(FromServer), Some(Observed::Hello(_))));
    assert_eq!(observer.poll_event(FromServer), None);
    observer.skip(FromClient);
    assert!(matches!(observer.poll_event(FromServer), Some(Observed::Reply { method: None, .. })));
}

#[test]
fn a_direction_that_was_lost_is_found_again() {
    let mut observer = Observer::new(Limits { frame_bytes: 1000, ..Limits::DEFAULT });
    observer.receive(FromClient, b"\0\0\0\x02M5\0\0\x7f\xff a record beyond the limit");
    assert!(matches!(observer.poll_event(FromClient), Some(Observed::Hello(_))));
    assert!(matches!(observer.poll_event(FromClient), Some(Observed::Lost(_))));
    observer.receive(FromClient, CALL);
    assert_eq!(observer.poll_event(FromClient), None, "until told to go on");
    observer.skip(FromClient);
    observer.receive(FromClient, CALL);
    assert!(matches!(observer.poll_event(FromClient), Some(Observed::Skipped(_))));
    assert!(matches!(observer.poll_event(FromClient), Some(Observed::Call { .. })));
}
