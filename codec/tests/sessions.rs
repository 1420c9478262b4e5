//! Whole sessions between Python peers, as an observer sees them: what each message says, that it is written again
//! to the same bytes, and that the chunks in which it came do not matter.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::fmt::Write as _;

use bytes::Bytes;
use common::fixture::unhex;
use proptest::prelude::*;
use zeo_codec::handshake::Protocol;
use zeo_codec::session::{
    ClientEvent, ClientSession, Direction, Observed, Observer, Output, ServerEvent, ServerSession,
};
use zeo_codec::{Call, Dialect, Envelope, Limits, Method, REPLY, RemoteError, Reply};

const LIMITS: Limits = Limits::DEFAULT;
const SESSIONS: [(&str, &str, Dialect); 2] = [
    ("z5", include_str!("../../fixtures/sessions/z5.txt"), Dialect::Z5),
    ("m5", include_str!("../../fixtures/sessions/m5.txt"), Dialect::M5),
];
const BOTH: [(Direction, char); 2] = [(Direction::FromClient, 'C'), (Direction::FromServer, 'S')];

/// What went over the wire, in its order.
fn capture(text: &str) -> Vec<(Direction, Vec<u8>)> {
    let chunks = text.lines().map(|line| match line.strip_prefix('\t') {
        Some(digits) => (Direction::FromServer, unhex(digits)),
        None => (Direction::FromClient, unhex(line)),
    });
    chunks.collect()
}

fn observe(capture: &[(Direction, Vec<u8>)], mut see: impl FnMut(Direction, char, &Observed, &Observer)) {
    let mut observer = Observer::new(LIMITS);
    for (direction, bytes) in capture {
        observer.receive(*direction, bytes);
        for (direction, side) in BOTH {
            while let Some(seen) = observer.poll_event(direction) {
                see(direction, side, &seen, &observer);
            }
        }
    }
}

/// One direction's part of the capture.
fn side(capture: &[(Direction, Vec<u8>)], from: Direction) -> Vec<u8> {
    capture.iter().filter(|(direction, _)| *direction == from).flat_map(|(_, bytes)| bytes.clone()).collect()
}

#[test]
fn say_what_the_peers_did() {
    for (name, text, _) in SESSIONS {
        let mut shown = String::new();
        observe(&capture(text), |_, side, seen, observer| {
            writeln!(shown, "{side} {:.16}", seen.show(observer.dialect())).unwrap();
        });
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("session-{name}"), shown);
        });
    }
}

/// A proxy that understands everything: each message is typed and written again.
#[test]
fn are_written_again_to_the_same_bytes() {
    for (name, text, dialect) in SESSIONS {
        let capture = capture(text);
        let (mut client, mut server) = (Output::default(), Output::default());
        let (mut call_count, mut reply_count) = (0, 0);
        observe(&capture, |direction, _, seen, _| {
            let output = if direction == Direction::FromClient { &mut client } else { &mut server };
            match seen {
                Observed::Hello(greeting) => output.frame(greeting),
                Observed::Call { payload, method } => {
                    call_count += 1;
                    write_call(output, &dialect, payload, method.unwrap());
                }
                Observed::Reply { payload, method, is_error } => {
                    reply_count += 1;
                    write_reply(output, &dialect, payload, method.unwrap(), *is_error);
                }
                other @ (Observed::KeepAlive
                | Observed::Undecodable { .. }
                | Observed::Lost(_)
                | Observed::BadMac
                | Observed::Skipped(_)) => {
                    panic!("{name}: {other:?}")
                }
            }
        });
        assert!(client.slices().eq([side(&capture, Direction::FromClient)]), "{name}");
        assert!(server.slices().eq([side(&capture, Direction::FromServer)]), "{name}");
        assert!(call_count > 50 && reply_count > 40, "{name}: {call_count} calls, {reply_count} replies");
    }
}

fn write_call(output: &mut Output, dialect: &Dialect, payload: &Bytes, method: Method) {
    let Envelope { id, flag, args, .. } = Envelope::parse(payload, dialect.framing, &LIMITS).unwrap();
    assert_eq!(method.is_one_way(), flag.is_set(), "{method}");
    let call = Call::parse(method, args, &LIMITS).unwrap();
    output.message(dialect, &id, flag, method.name(), &call).unwrap();
}

fn write_reply(output: &mut Output, dialect: &Dialect, payload: &Bytes, method: Method, is_error: bool) {
    let Envelope { id, flag, args, .. } = Envelope::parse(payload, dialect.framing, &LIMITS).unwrap();
    if is_error {
        let error = RemoteError::parse(args, &LIMITS).unwrap();
        output.message(dialect, &id, flag, REPLY, &error).unwrap();
    } else {
        let reply = Reply::parse(Some(method), args, &LIMITS).unwrap();
        output.message(dialect, &id, flag, REPLY, &reply).unwrap();
    }
}

/// The same calls through our client session give the client's bytes, and the server's are typed by them.
#[test]
fn our_client_stands_in_for_pythons() {
    for (name, text, dialect) in SESSIONS {
        let capture = capture(text);
        let mut client = ClientSession::new(LIMITS);
        let mut sent = Vec::new();
        let mut reply_count = 0;
        observe(&capture, |_, _, seen, _| {
            match seen {
                Observed::Hello(greeting) => {
                    let mut frame = Vec::new();
                    zeo_codec::frame::write_frame(&mut frame, greeting);
                    // The server's comes first; the client's is then at hand.
                    if client.output_len() == 0 && sent.is_empty() {
                        client.receive(&frame);
                        let connected = client.poll_event();
                        assert!(matches!(connected, Ok(Some(ClientEvent::Connected(_)))), "{name}");
                    }
                }
                Observed::Call { payload, method } => {
                    let Envelope { args, .. } = Envelope::parse(payload, dialect.framing, &LIMITS).unwrap();
                    let method = method.unwrap();
                    if method.is_from_server() {
                        return;
                    }
                    client.call(&Call::parse(method, args, &LIMITS).unwrap()).unwrap();
                }
                Observed::Reply { payload, is_error, .. } => {
                    let mut frame = Vec::new();
                    zeo_codec::frame::write_frame(&mut frame, payload);
                    client.receive(&frame);
                    let Ok(Some(ClientEvent::Reply(reply))) = client.poll_event() else { panic!("{name}") };
                    assert_eq!(reply.result(&LIMITS).unwrap().is_err(), *is_error, "{name}");
                    reply_count += 1;
                }
                other @ (Observed::KeepAlive
                | Observed::Undecodable { .. }
                | Observed::Lost(_)
                | Observed::BadMac
                | Observed::Skipped(_)) => {
                    panic!("{name}: {other:?}")
                }
            }
            sent.extend_from_slice(client.output());
            client.consume_output(client.output_len());
        });
        assert_eq!(sent, side(&capture, Direction::FromClient), "{name}");
        assert!(reply_count > 40, "{name}: {reply_count}");
    }
}

/// What an observer sees that joins at a place of the server's stream, after what the client has sent.
fn seen_from(server: &[u8], client: Option<&[u8]>) -> Vec<Observed> {
    let mut observer = Observer::joined(LIMITS);
    let mut seen = Vec::new();
    for (direction, bytes) in
        [(Direction::FromClient, client.unwrap_or_default()), (Direction::FromServer, server)]
    {
        observer.receive(direction, bytes);
        seen.clear();
        seen.extend(std::iter::from_fn(|| observer.poll_event(direction)));
    }
    seen
}

/// Wherever a conversation is joined, no whole message after that place is missed, and nothing else is seen.
#[test]
fn can_be_joined_anywhere() {
    for (name, text, _) in SESSIONS {
        let capture = capture(text);
        let (client, server) = (side(&capture, Direction::FromClient), side(&capture, Direction::FromServer));
        let mut frames = vec![0];
        while let Some(length) = server[*frames.last().unwrap()..].first_chunk::<4>() {
            frames.push(frames.last().unwrap() + 4 + usize::try_from(u32::from_be_bytes(*length)).unwrap());
        }
        // With the client's direction replies have their methods; without, they are the same messages.
        for client in [Some(&client[..]), None] {
            let all = seen_from(&server, client);
            assert_eq!(all.len(), frames.len() - 1, "{name}");
            for at in 0..=frames[frames.len() - 2].min(20_000) {
                let next = frames.iter().position(|frame| *frame >= at).unwrap();
                let mut seen = seen_from(&server[at..], client);
                if frames[next] > at {
                    let skipped = Observed::Skipped((frames[next] - at) as u64);
                    assert_eq!(seen.remove(0), skipped, "{name} from {at}");
                }
                assert_eq!(seen, all[next..], "{name} from {at}");
            }
        }
    }
}

/// What each kind of session makes of a stream, in chunks that end at `cuts`.
fn seen_by(direction: Direction, stream: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut server = ServerSession::new(Protocol::Z5, LIMITS);
    let mut client = ClientSession::new(LIMITS);
    let mut seen = Vec::new();
    for cut in cuts.windows(2) {
        let chunk = &stream[cut[0]..cut[1]];
        match direction {
            Direction::FromClient => {
                server.receive(chunk);
                while let Some(event) = server.poll_event().unwrap() {
                    if matches!(event, ServerEvent::Hello(_)) {
                        server.set_registered();
                    }
                    seen.push(format!("{event:?}"));
                }
            }
            Direction::FromServer => {
                client.receive(chunk);
                // Replies to calls that were never made end the session.
                while let Ok(Some(event)) = client.poll_event() {
                    seen.push(format!("{event:?}"));
                }
            }
        }
    }
    seen
}

fn cuts_of(cuts: &[prop::sample::Index], len: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    cuts.extend([0, len]);
    cuts.sort_unstable();
    cuts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// An observer sees the same events in each direction, however both streams are cut.
    #[test]
    fn any_chunks_are_observed_alike(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..60)) {
        for (_, text, _) in SESSIONS {
            let whole = capture(text);
            let mut expected = [Vec::new(), Vec::new()];
            observe(&whole, |direction, _, seen, _| {
                expected[usize::from(direction == Direction::FromServer)].push(format!("{seen:?}"));
            });
            let cut: Vec<(Direction, Vec<u8>)> = whole
                .iter()
                .flat_map(|(direction, bytes)| {
                    let cuts = cuts_of(&cuts, bytes.len());
                    let parts: Vec<_> =
                        cuts.windows(2).map(|cut| (*direction, bytes[cut[0]..cut[1]].to_vec())).collect();
                    parts
                })
                .collect();
            let mut seen_now = [Vec::new(), Vec::new()];
            observe(&cut, |direction, _, seen, _| {
                seen_now[usize::from(direction == Direction::FromServer)].push(format!("{seen:?}"));
            });
            prop_assert_eq!(&seen_now, &expected);
        }
    }

    /// So do servers and clients.
    #[test]
    fn any_chunks_are_received_alike(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..60)) {
        for (_, text, _) in SESSIONS {
            let whole = capture(text);
            for (direction, _) in BOTH {
                let stream = side(&whole, direction);
                let expected = seen_by(direction, &stream, &[0, stream.len()]);
                prop_assert_eq!(seen_by(direction, &stream, &cuts_of(&cuts, stream.len())), expected);
            }
        }
    }
}
