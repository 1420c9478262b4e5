//! Whole sessions over any bytes: however the stream is chopped, the events are the same, and a session that
//! has ended stays ended.

use std::fmt::Debug;

use zeo_codec::call::LoadBefore;
use zeo_codec::handshake::{Protocol, Version};
use zeo_codec::session::{
    ClientEvent, ClientSession, Direction, Incoming, Observed, Observer, ServerEvent, ServerSession,
    SessionError,
};
use zeo_codec::{Call, Limits, Method, Oid, Tid};

const LIMITS: Limits =
    Limits { frame_bytes: 1 << 16, frame_bytes_before_register: 1 << 10, ..Limits::DEFAULT };

/// The first byte picks the side, the second the chunks; the rest is the stream.
pub fn session(input: &[u8]) {
    let [side, seed, stream @ ..] = input else { return };
    let run = match side % 4 {
        0 => server,
        1 => client,
        2 => observer,
        _ => return interrupted(stream, usize::from(*seed) + 1),
    };
    let whole = run(stream, stream.len().max(1));
    let cut = run(stream, usize::from(*seed) + 1);
    assert_eq!(whole, cut);
}

fn server(stream: &[u8], chunk_len: usize) -> Vec<String> {
    let mut session = ServerSession::new(Protocol::M5, LIMITS);
    let mut seen = Vec::new();
    for chunk in stream.chunks(chunk_len) {
        session.receive(chunk);
        loop {
            match session.poll_event() {
                Ok(None) => break,
                Ok(Some(ServerEvent::Message(message))) => {
                    session.set_registered();
                    let parsed = message.parse(&LIMITS);
                    let call = match &parsed {
                        Ok(Incoming::Call(envelope)) => Method::from_name(&envelope.name)
                            .map(|method| Call::parse(method, envelope.args.clone(), &LIMITS)),
                        _ => None,
                    };
                    note(&mut seen, &(&parsed, call));
                }
                Ok(Some(event)) => note(&mut seen, &event),
                Err(error) => return ended(seen, error, session.poll_event().is_err()),
            }
        }
    }
    seen
}

fn client(stream: &[u8], chunk_len: usize) -> Vec<String> {
    let mut session = ClientSession::with_versions(LIMITS, &[Version::V4, Version::V5]);
    let mut seen = Vec::new();
    for chunk in stream.chunks(chunk_len) {
        session.receive(chunk);
        loop {
            match session.poll_event() {
                Ok(None) => break,
                Ok(Some(ClientEvent::Connected(protocol))) => {
                    note(&mut seen, &protocol);
                    for number in 0..30 {
                        let load = LoadBefore { oid: Oid::from_u64(number), before: Tid::MAX };
                        session.call(&Call::LoadBefore(load)).unwrap();
                        session.call(&Call::Plain(Method::LastTransaction)).unwrap();
                    }
                }
                Ok(Some(ClientEvent::Reply(reply))) => note(&mut seen, &reply.result(&LIMITS)),
                Ok(Some(event)) => note(&mut seen, &event),
                Err(error) => return ended(seen, error, session.poll_event().is_err()),
            }
        }
    }
    seen
}

/// The first byte is how much of the stream, in 256ths, the server sent; it comes after the client's.
fn observer(stream: &[u8], chunk_len: usize) -> Vec<String> {
    let Some((share, stream)) = stream.split_first() else { return Vec::new() };
    let (from_server, from_client) = stream.split_at(stream.len() * usize::from(*share) / 256);
    let mut observer = Observer::new(LIMITS);
    let mut seen = Vec::new();
    for (direction, bytes) in [(Direction::FromClient, from_client), (Direction::FromServer, from_server)] {
        for chunk in bytes.chunks(chunk_len) {
            observer.receive(direction, chunk);
            while let Some(event) = observer.poll_event(direction) {
                note(&mut seen, &event);
            }
        }
    }
    seen
}

/// A conversation that is joined in the middle, and loses every eighth chunk: no more is passed over than there was.
fn interrupted(stream: &[u8], chunk_len: usize) {
    let mut observer = Observer::joined(LIMITS);
    let mut skipped_len = 0;
    for (index, chunk) in stream.chunks(chunk_len).enumerate() {
        let direction = if index % 2 == 0 { Direction::FromServer } else { Direction::FromClient };
        if index % 8 == 7 {
            observer.skip(direction);
        } else {
            observer.receive(direction, chunk);
        }
        for direction in [Direction::FromClient, Direction::FromServer] {
            while let Some(event) = observer.poll_event(direction) {
                if let Observed::Skipped(len) = event {
                    skipped_len += len;
                }
            }
        }
    }
    assert!(skipped_len <= stream.len() as u64, "{skipped_len} of {}", stream.len());
}

fn note(seen: &mut Vec<String>, event: &impl Debug) {
    seen.push(format!("{event:?}"));
}

fn ended(mut seen: Vec<String>, error: SessionError, stays_ended: bool) -> Vec<String> {
    assert!(stays_ended, "went on after {error}");
    note(&mut seen, &error);
    seen
}
