//! Clients of ZEO 4 that misbehave, and what only they are told. Well-behaved ones are Python's, in the live trials
//! `generations` and the replayed captures.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed as it should"
)]

mod support;

use std::io::Write as _;
use std::sync::Arc;

use support::{Client, TestServer, begin, transaction};
use zeo_codec::call::{Register, Storea, TxnId, Verify};
use zeo_codec::digest::Secret;
use zeo_codec::handshake::Version;
use zeo_codec::{Call, Limits, Method, Oid, Tid, Value};
use zeo_server::auth::{DigestScheme, PasswordDatabase};
use zeo_server::engine::EngineOptions;
use zeo_server::net::ConnectionOptions;
use zeo_server::storage::memory::MemoryStorage;

fn connect(server: &TestServer) -> Client {
    Client::connect_as(server.address, Version::V4)
}

fn register() -> Call<'static> {
    Call::Register(Register { storage: "1".into(), read_only: Value::Bool(false), credentials: None })
}

fn registered(server: &TestServer) -> Client {
    let mut client = connect(server);
    assert_eq!(client.call(&register()), "None");
    client
}

fn guarded() -> TestServer {
    let mut database = PasswordDatabase::open("/nowhere/that/exists", Some("zeo realm")).unwrap();
    database.add("foo", "secret pw").unwrap();
    let scheme = Arc::new(DigestScheme::new(database).unwrap());
    let storage = Arc::new(MemoryStorage::new("test"));
    TestServer::authenticating(storage, EngineOptions::default(), ConnectionOptions::default(), Some(scheme))
}

/// Any call, with too few arguments or none: what matters is the method.
fn bare(method: Method) -> Call<'static> {
    Call::Other { name: method.name().as_bytes().into(), args: Value::Tuple(Vec::new()) }
}

/// `guarantees.md` 2, point 27, in the dialects of ZEO 4 (CVE-2009-0669).
#[test]
fn nothing_but_registration_is_possible_before_it() {
    let (open, guarded) = (TestServer::start(), guarded());
    for version in [Version::V308, Version::V309, Version::V310, Version::V3101, Version::V4] {
        for method in Method::ALL {
            for server in [&open, &guarded] {
                let is_schemes = matches!(method, Method::AuthGetChallenge | Method::AuthResponse);
                if matches!(method, Method::Register | Method::GetAuthProtocol)
                    || (is_schemes && std::ptr::eq(server, &guarded))
                {
                    continue;
                }
                let mut client = Client::connect_as(server.address, version);
                client.send(&bare(*method));
                client.assert_closed(method.name());
            }
        }
    }
    let mut client = connect(&guarded);
    assert_eq!(client.call(&register()), "ZEO.Exceptions.AuthError");
    assert_eq!(client.plain(Method::GetAuthProtocol), "Value(Text(\"digest\"))");
    assert_eq!(guarded.status("connections"), 0);
}

/// The challenge and the nonce of the key.
fn challenge(client: &mut Client) -> (String, String) {
    client.send(&Call::Plain(Method::AuthGetChallenge));
    let reply = client.next_result();
    let Value::Tuple(items) = reply else { panic!("{reply:?}") };
    let text = |at: usize| items[at].as_text().unwrap().to_owned();
    assert_eq!(text(0), "zeo realm");
    (text(1), text(2))
}

fn respond(client: &mut Client, user: &str, challenge: &str, response: &str) -> String {
    let items = [user, challenge, response].map(|item| Value::from(item.to_owned()));
    let args = Value::Tuple(vec![Value::Tuple(items.to_vec())]);
    client.call(&Call::Untyped(Method::AuthResponse, args))
}

fn secret() -> Secret {
    Secret::new("foo", "zeo realm", "secret pw")
}

const PASSED: &str = "Value(Bool(true))";
const REFUSED: &str = "Value(Bool(false))";

#[test]
fn who_knows_the_password_comes_in_and_each_message_has_its_mac() {
    let server = guarded();
    let mut client = connect(&server);
    let (challenge, key_nonce) = challenge(&mut client);
    assert_eq!(respond(&mut client, "foo", &challenge, &secret().response(&challenge)), PASSED);
    client.session.set_key(&secret().session_key(&key_nonce));
    assert_eq!(client.call(&register()), "None");
    assert_eq!(client.plain(Method::LastTransaction), format!("Tid({:?})", Tid::ZERO));
    // The right message, but the MAC of another key.
    client.session.set_key(&secret().session_key("another"));
    client.send(&Call::Plain(Method::LastTransaction));
    client.assert_closed("wrong MAC");
}

#[test]
fn a_message_without_a_mac_ends_the_connection() {
    let server = guarded();
    let mut client = connect(&server);
    let (challenge, _) = challenge(&mut client);
    assert_eq!(respond(&mut client, "foo", &challenge, &secret().response(&challenge)), PASSED);
    client.send(&register());
    client.assert_closed("no MAC");
    assert_eq!(server.status("connections"), 0);
}

#[test]
fn a_response_is_good_once_and_nobody_tries_for_ever() {
    let server = guarded();
    let mut client = connect(&server);
    let (first, _) = challenge(&mut client);
    let response = secret().response(&first);
    let (second, _) = challenge(&mut client);
    assert_ne!(first, second);
    // What was heard earlier is of no use, neither here nor on another connection.
    assert_eq!(respond(&mut client, "foo", &first, &response), "builtins.ValueError");
    let mut other = connect(&server);
    challenge(&mut other);
    assert_eq!(respond(&mut other, "foo", &first, &response), "builtins.ValueError");
    // A wrong password and an unknown user are answered alike.
    for user in ["foo", "nobody"] {
        let mut client = connect(&server);
        let (sent, _) = challenge(&mut client);
        assert_eq!(respond(&mut client, user, &sent, &"0".repeat(40)), REFUSED);
        assert_eq!(client.call(&register()), "ZEO.Exceptions.AuthError");
    }
    let mut client = connect(&server);
    for _ in 0..3 {
        let (sent, _) = challenge(&mut client);
        assert_eq!(respond(&mut client, "foo", &sent, "wrong"), REFUSED);
    }
    client.assert_closed("refused too often");
}

/// ZEO 5 cannot authenticate, so that it is not let in where that is asked for.
#[test]
fn a_client_of_zeo5_is_not_let_in_by_the_back_door() {
    let server = guarded();
    let mut client = server.connect();
    assert_eq!(client.call(&register()), "ZEO.Exceptions.AuthError");
    let mut client = server.connect();
    client.send(&Call::Plain(Method::AuthGetChallenge));
    client.assert_closed("not a method of ZEO 5");
}

#[test]
fn the_min_protocol_is_the_oldest_that_is_spoken() {
    let options = ConnectionOptions { oldest: Version::V3101, ..ConnectionOptions::default() };
    let server = TestServer::with(EngineOptions::default(), options);
    for (version, is_spoken) in [(Version::V310, false), (Version::V3101, true), (Version::V4, true)] {
        let mut client = Client::connect_as(server.address, version);
        if is_spoken {
            assert_eq!(client.call(&register()), "None");
        } else {
            client.assert_closed("too old");
        }
    }
    server.register();
}

/// The serial of what failed comes by `serialnos`, the vote is answered, and the lock is free at once.
#[test]
fn a_failed_vote_leaves_no_lock_behind() {
    let server = TestServer::start();
    let mut client = registered(&server);
    let store = |serial| {
        Call::Storea(Storea { oid: Oid::from_u64(1), serial, data: b"data"[..].into(), id: TxnId(5) })
    };
    server.register().commit(1, 1);
    client.send(&begin(5));
    client.send(&store(Tid::from_u64(99)));
    assert_eq!(client.call(&transaction(Method::Vote, 5)), "None");
    let told: Vec<String> = client.calls.iter().map(name).collect();
    assert!(told.contains(&"serialnos".to_owned()), "{told:?}");
    assert_eq!(server.status("lock_time"), serde_json::Value::Null);
    assert_eq!(server.status("conflicts"), 1);
    let mut other = server.register();
    other.store(7, 2, Tid::ZERO, b"data");
    assert_eq!(
        other.call(&transaction(Method::Vote, 7)),
        "Voted([])",
        "the lock of the whole storage is free"
    );
    assert_eq!(client.call(&transaction(Method::TpcAbort, 5)), "None");
    assert_eq!(client.call(&transaction(Method::TpcFinish, 5)), "None");
    // A one-way call that fails does not end such a connection.
    client.send(&store(Tid::ZERO));
    assert_eq!(client.call(&register()), "builtins.ValueError");
    assert_eq!(client.plain(Method::GetAuthProtocol), "None");
}

fn name(message: &zeo_codec::session::Message) -> String {
    let envelope = zeo_codec::Envelope::parse(&message.payload, message.framing, &Limits::DEFAULT).unwrap();
    String::from_utf8_lossy(&envelope.name).into_owned()
}

/// Clients that verify are counted, and not for ever when they go.
#[test]
fn verification_is_answered_object_by_object() {
    let server = TestServer::start();
    let mut other = server.register();
    other.commit(1, 1);
    let serial = other.current(1);
    let mut client = registered(&server);
    let verify = |oid, serial: Tid| {
        Call::Verify(Method::ZeoVerify, Verify { oid: Oid::from_u64(oid), serial: serial.into() })
    };
    client.send(&verify(1, serial));
    client.send(&verify(1, Tid::ZERO));
    client.send(&verify(7, serial));
    let verifying = |client: &mut Client| {
        client.send(&Call::Plain(Method::ServerStatus));
        client.next_result().get("verifying_clients").unwrap().as_int()
    };
    assert_eq!(verifying(&mut client), Some(1));
    client.send(&Call::Plain(Method::EndZeoVerify));
    assert_eq!(verifying(&mut client), Some(0));
    let told: Vec<String> = client.calls.iter().map(name).collect();
    assert_eq!(
        told,
        ["invalidateVerify", "invalidateVerify", "endVerify"],
        "in this order, before later replies"
    );
    client.send(&verify(1, serial));
    assert_eq!(verifying(&mut client), Some(1));
    drop(client);
    server.wait_for_status("connections", 1);
    assert_eq!(verifying(&mut registered(&server)), Some(0));
}

/// Below `Z309` calls name a version, which has to be empty.
#[test]
fn versions_have_to_be_empty() {
    let server = TestServer::start();
    let mut client = Client::connect_as(server.address, Version::V308);
    assert_eq!(client.call(&register()), "None");
    let history = |version: &'static str| Call::Other {
        name: b"history"[..].into(),
        args: Value::Tuple(vec![Oid::ZERO.into(), version.into(), 1_i64.into()]),
    };
    assert_eq!(client.call(&history("a version")), "builtins.ValueError");
    assert_eq!(client.call(&history("")), "ZODB.POSException.POSKeyError");
    let missing = Call::Other { name: b"history"[..].into(), args: Value::Tuple(vec![Oid::ZERO.into()]) };
    assert_eq!(client.call(&missing), "builtins.TypeError");
    for method in [Method::CommitVersion, Method::AbortVersion, Method::Undo] {
        assert_eq!(client.call(&bare(method)), "builtins.NotImplementedError");
    }
    server.register().commit(1, 1);
    let serial = server.register().current(1);
    let on = |method: Method, args: &[Value<'static>]| Call::Other {
        name: method.name().as_bytes().into(),
        args: Value::Tuple(args.to_vec()),
    };
    // Protocol reference 7.7: no client of today calls them.
    let oid: Value<'static> = Oid::from_u64(1).into();
    let mut ask = |method, args: &[Value<'static>]| {
        client.send(&on(method, args));
        client.next_result()
    };
    assert_eq!(ask(Method::GetSerial, std::slice::from_ref(&oid)), serial.into());
    let loaded = ask(Method::ZeoLoad, std::slice::from_ref(&oid)).to_string();
    assert_eq!(loaded, format!("(h'64617461', h'{serial}', \"\", None, None)"));
    let loaded = ask(Method::LoadEx, &[oid.clone(), "".into()]).to_string();
    assert_eq!(loaded, format!("(h'64617461', h'{serial}', \"\")"));
    assert_eq!(ask(Method::ModifiedInVersion, std::slice::from_ref(&oid)), "".into());
    assert_eq!(ask(Method::Versions, &[]), Value::Tuple(vec![]));
    assert_eq!(ask(Method::VersionEmpty, &["a version".into()]), true.into());
    assert_eq!(ask(Method::AnswerToTheUltimateQuestion, &[]), 42_i64.into());
    // Newer ones do not have these.
    let mut client = registered(&server);
    client.send(&bare(Method::Versions));
    client.assert_closed("no such method");
}

/// A frame with a MAC where there is no key is read as any other (`ZEO/zrpc/smac.py:handle_read`, 4.3.1).
#[test]
fn a_mac_without_a_key_is_passed_over() {
    let server = TestServer::start();
    let mut client = connect(&server);
    let payload = b"(K\x03I00\nU\x0fgetAuthProtocol)t.";
    let mut frame = (u32::try_from(payload.len()).unwrap() | 0x8000_0000).to_be_bytes().to_vec();
    frame.extend_from_slice(&[7; 20]);
    frame.extend_from_slice(payload);
    client.stream.write_all(&frame).unwrap();
    let mut answer = [0; 4 + 16];
    std::io::Read::read_exact(&mut client.stream, &mut answer).unwrap();
    assert_eq!(&answer, b"\0\0\0\x10(K\x03K\0U\x06.replyNt.");
}
