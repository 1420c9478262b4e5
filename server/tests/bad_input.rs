//! What a server does with input that no good client sends: protocol reference 11, column of ZEO 5.2.3,
//! within our limits, and `guarantees.md` 2, points 8 to 10. More is in `hostile.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use support::{Client, TestServer, base64, begin, transaction};
use zeo_codec::call::{LoadBefore, Storea, TxnId};
use zeo_codec::handshake::Protocol;
use zeo_codec::{Body, Call, Dialect, Flag, Limits, Method, MsgId, Oid, Tid, Value, write_message};
use zeo_server::engine::EngineOptions;
use zeo_server::net::ConnectionOptions;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};

/// A message as no typed call would make it.
fn message(id: i64, one_way: bool, name: &str, args: &impl Body) -> Vec<u8> {
    let mut frame = Vec::new();
    write_message(&mut frame, &Dialect::Z5, &MsgId::Int(id), Flag::Bool(one_way), name, args).unwrap();
    frame
}

fn send_raw(client: &mut Client, frame: &[u8]) {
    client.stream.write_all(frame).unwrap();
}

fn args(items: &[Value<'static>]) -> Value<'static> {
    Value::Tuple(items.to_vec())
}

#[test]
fn methods_that_a_server_does_not_have_end_the_connection() {
    let server = TestServer::start();
    for name in
        ["register", "no_such_method", "_private", "__init__", "getAuthProtocol", "invalidateTransaction"]
    {
        for one_way in [false, true] {
            let mut client = server.register();
            send_raw(&mut client, &message(9, one_way, name, &args(&[])));
            client.assert_closed(name);
        }
    }
    server.wait_for_status("connections", 0);
}

#[test]
fn wrong_arguments_are_type_errors_and_the_session_goes_on() {
    let server = TestServer::start();
    let mut client = server.register();
    let eight = Value::Bytes(vec![0; 8].into());
    let wrong: [(Method, Vec<Value<'static>>); 8] = [
        (Method::LoadBefore, vec![]),
        (Method::LoadBefore, vec![eight.clone()]),
        (Method::LoadBefore, vec![eight.clone(), eight.clone(), eight.clone()]),
        (Method::LoadBefore, vec![eight.clone(), Value::Int(1)]),
        (Method::LoadBefore, vec![Value::Bytes(vec![0; 7].into()), eight.clone()]),
        (Method::Ping, vec![Value::None]),
        (Method::Vote, vec![Value::from("x")]),
        (Method::GetTid, vec![Value::Dict(vec![])]),
    ];
    for (method, wrong) in wrong {
        let named = Call::Other { name: method.name().as_bytes().into(), args: args(&wrong) };
        assert_eq!(client.call(&named), "builtins.TypeError", "{method} {wrong:?}");
    }
    assert_eq!(client.plain(Method::Ping), "None");
}

#[test]
fn a_one_way_call_that_fails_ends_the_connection() {
    let server = TestServer::start();
    let store = Storea { oid: Oid::ZERO, serial: Tid::ZERO, data: b"x"[..].into(), id: TxnId(1) };
    let frames = [
        ("store without a transaction", message(0, true, "storea", &Call::Storea(store))),
        ("wrong arity", message(0, true, "storea", &args(&[Value::None]))),
        (
            "oid of the wrong size",
            message(
                0,
                true,
                "storea",
                &args(&[
                    Value::Bytes(b"short"[..].into()),
                    Value::Bytes(vec![0; 8].into()),
                    Value::Bytes(b"x"[..].into()),
                    Value::Int(1),
                ]),
            ),
        ),
    ];
    for (why, frame) in frames {
        let mut client = server.register();
        send_raw(&mut client, &frame);
        client.assert_closed(why);
    }
}

/// Python's server keeps a record until the vote, whatever it is, and its storage raises the error there. Clients of
/// ZEO's own tests go on after such a store.
#[test]
fn a_record_that_is_text_fails_the_vote_and_nothing_else() {
    let server = TestServer::start();
    let mut client = server.register();
    let store = args(&[
        Value::Bytes(vec![0; 8].into()),
        Value::Bytes(vec![0; 8].into()),
        Value::from("foo"),
        Value::Int(1),
    ]);
    client.send(&begin(1));
    client.store(1, 1, Tid::ZERO, b"x");
    send_raw(&mut client, &message(0, true, "storea", &store));
    client.store(1, 2, Tid::ZERO, b"x");
    assert_eq!(client.transaction(Method::Vote, 1), "builtins.TypeError");
    assert_eq!(client.transaction(Method::TpcAbort, 1), "None");
    client.commit(2, 1);
    send_raw(&mut client, &message(0, true, "storea", &store));
    client.assert_closed("without a transaction");
}

#[test]
fn a_one_way_call_of_a_method_with_a_result_is_ignored() {
    let server = TestServer::start();
    let mut client = server.register();
    let load = Call::LoadBefore(LoadBefore { oid: Oid::ZERO, before: Tid::MAX });
    send_raw(&mut client, &message(0, true, "lastTransaction", &args(&[])));
    client.commit(1, 0);
    send_raw(&mut client, &message(0, true, "loadBefore", &load));
    for method in Method::ALL.iter().filter(|method| method.is_only_asking()) {
        if !matches!(method, Method::GetAuthProtocol | Method::GetExtensionMethods | Method::AuthGetChallenge)
            && !matches!(method, Method::Load | Method::LoadEx | Method::Undo | Method::GetSizeInfo)
            && !matches!(method, Method::GetSerial | Method::ZeoLoad | Method::ModifiedInVersion)
            && !matches!(method, Method::Versions | Method::VersionEmpty | Method::CommitVersion)
            && !matches!(method, Method::AbortVersion | Method::AnswerToTheUltimateQuestion)
        {
            send_raw(&mut client, &message(0, true, method.name(), &args(&[])));
        }
    }
    assert_eq!(client.plain(Method::Ping), "None");
    assert!(client.replies.is_empty());
}

/// The status byte is written to the file, where `c` marks an unfinished transaction.
#[test]
fn a_status_that_would_damage_the_file_is_refused() {
    let server = TestServer::start();
    for status in ["c", "u", "x", "\0", "", "  "] {
        let mut client = server.register();
        let Value::Tuple(mut items) = begin_args(1) else { panic!("a tuple") };
        items[5] = status.into();
        send_raw(&mut client, &message(0, true, "tpc_begin", &args(&items)));
        client.assert_closed(status);
    }
    server.register().commit(1, 1);
}

/// Operations count as well as data.
#[test]
fn a_transaction_beyond_the_limit_fails_at_the_vote() {
    let options = EngineOptions { transaction_bytes: 100_000, ..EngineOptions::default() };
    let server = TestServer::with(options, ConnectionOptions::default());
    let mut client = server.register();
    let check = zeo_codec::call::CheckCurrentSerial { oid: Oid::ZERO, serial: Tid::ZERO, id: TxnId(1) };
    for call in [
        Call::CheckCurrentSerial(check),
        Call::Storea(Storea { oid: Oid::ZERO, serial: Tid::ZERO, data: b"x"[..].into(), id: TxnId(1) }),
    ] {
        client.send(&begin(1));
        for _ in 0..1_000 {
            client.session.call(&call).unwrap();
        }
        client.flush();
        assert_eq!(client.transaction(Method::Vote, 1), "ZODB.POSException.StorageError");
    }
    client.commit(2, 1);
}

/// So do undos, and the records that they take back.
#[test]
fn undos_beyond_the_limit_fail_at_the_vote() {
    const OBJECTS: u64 = 700;
    let folder = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(folder.path().join("Data.fs"), FileStorageOptions::default()).unwrap();
    let options = EngineOptions { transaction_bytes: 100_000, ..EngineOptions::default() };
    let server = TestServer::serving(Arc::new(storage), options, ConnectionOptions::default());
    let mut client = server.register();
    let mut tids = Vec::new();
    // 700 objects are 89,600 bytes, and come through; 1,000 are too many to be undone at once.
    for (id, oids) in [(1, 0..OBJECTS), (2, OBJECTS..1_000)] {
        oids.clone().for_each(|oid| client.store(id, oid, Tid::ZERO, b"x"));
        assert_eq!(client.transaction(Method::Vote, id), "Voted([])");
        assert!(client.transaction(Method::TpcFinish, id).starts_with("Tid"));
        tids.push(client.current(oids.start));
    }
    let vote = |client: &mut Client, undone: &mut dyn Iterator<Item = Tid>| {
        client.send(&begin(3));
        for tid in undone {
            let undo_id = base64(tid.as_bytes());
            let undo = zeo_codec::call::Undoa { undo_id: undo_id.as_slice().into(), id: TxnId(3) };
            client.session.call(&Call::Undoa(undo)).unwrap();
        }
        client.flush();
        let answer = client.transaction(Method::Vote, 3);
        assert_eq!(client.transaction(Method::TpcAbort, 3), "None");
        answer
    };
    // There is no such transaction, but nobody looks for it any more.
    let mut many = std::iter::repeat_n(Tid::from_u64(1), 1_000);
    assert_eq!(vote(&mut client, &mut many), "ZODB.POSException.StorageError");
    assert_eq!(vote(&mut client, &mut tids.iter().copied()), "ZODB.POSException.StorageError");
    for tid in tids {
        assert!(vote(&mut client, &mut [tid].into_iter()).starts_with("Voted([Resolved("));
    }
    assert_eq!(server.status("active_txns"), 0);
}

/// All later tids have to be greater (`guarantees.md` 5).
#[test]
fn a_tid_far_ahead_is_refused() {
    let server = TestServer::start();
    for tid in [0x7fff_ffff_ffff_ff00, u64::MAX, 0x0500_0000_0000_0000] {
        let mut client = server.register();
        let Value::Tuple(mut items) = begin_args(1) else { panic!("a tuple") };
        items[4] = Tid::from_u64(tid).into();
        send_raw(&mut client, &message(0, true, "tpc_begin", &args(&items)));
        assert_eq!(client.transaction(Method::Vote, 1), "ZODB.POSException.StorageTransactionError");
    }
    server.register().commit(1, 1);
}

#[test]
fn what_is_no_message_ends_the_connection() {
    let server = TestServer::start();
    let payloads: [&[u8]; 9] = [
        b"",
        b"garbage",
        b"\x80\x03N.",
        b"\x80\x03(K\x01K\x02K\x03t.",
        b"\x80\x03(K\x01\x89X\x04\0\0\0ping",
        // A class that would be imported, a call that would be made.
        b"\x80\x03cos\nsystem\nX\x04\0\0\0true\x85R.",
        b"\x80\x03(K\x01\x89cos\nsystem\n)t.",
        b"\x80\x03(K\x05K\x00X\x06\0\0\0.replyNt.",
        b"\x80\x03(NNNNt.",
    ];
    for payload in payloads {
        let mut client = server.register();
        client.send_frame(payload);
        client.assert_closed(&format!("{payload:?}"));
    }
}

#[test]
fn keep_alives_are_ignored() {
    let server = TestServer::start();
    let mut client = server.register();
    client.session.keep_alive().unwrap();
    // The constant of ZEO 4 clients, a Python 2 pickle (protocol reference 3.1).
    client.send_frame(b"(J\xff\xff\xff\xffK\0U\x06.replyNt.");
    assert_eq!(client.plain(Method::Ping), "None");
}

#[test]
fn handshakes_that_lead_nowhere_end_the_connection() {
    let server = TestServer::start();
    for hello in [&b"Z303"[..], b"M4", b"X5", b"", b"Z6", b"GET / HTTP/1.1"] {
        let mut client = raw(&server);
        client.send_frame(hello);
        client.assert_closed(&format!("{hello:?}"));
    }
}

/// A connection that says nothing by itself.
fn raw(server: &TestServer) -> Client {
    let mut client = server.connect();
    client.stream = std::net::TcpStream::connect(server.address).unwrap();
    client.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.session = zeo_codec::session::ClientSession::with_versions(Limits::DEFAULT, &[]);
    let mut greeting = [0; 6];
    std::io::Read::read_exact(&mut client.stream, &mut greeting).unwrap();
    assert_eq!(&greeting, b"\0\0\0\x02Z5");
    client
}

#[test]
fn frames_beyond_the_limit_end_the_connection_at_the_length_prefix() {
    let limits = Limits { frame_bytes: 100_000, ..Limits::DEFAULT };
    let options = ConnectionOptions { limits, ..ConnectionOptions::default() };
    let server = TestServer::with(EngineOptions::default(), options);
    let mut client = server.connect();
    send_raw(&mut client, &0xffff_ffff_u32.to_be_bytes());
    client.assert_closed("4 GiB before register");
    let mut client = server.connect();
    send_raw(&mut client, &65_537_u32.to_be_bytes());
    client.assert_closed("64 KiB + 1 before register");
    let mut client = server.register();
    send_raw(&mut client, &100_001_u32.to_be_bytes());
    client.assert_closed("more than configured after register");
    let mut client = server.register();
    client.commit(1, 1);
    let big = vec![b'x'; 90_000];
    client.store(2, 2, Tid::ZERO, &big);
    assert_eq!(client.transaction(Method::Vote, 2), "Voted([])");
}

/// `net/connection/tests.rs` looks closer, in simulated time.
#[test]
fn who_does_not_greet_and_register_is_expelled() {
    let options =
        ConnectionOptions { handshake_timeout: Duration::from_millis(50), ..ConnectionOptions::default() };
    let server = TestServer::with(EngineOptions::default(), options);
    raw(&server).assert_closed("no greeting");
    server.connect().assert_closed("no registration");
}

#[test]
fn chunks_do_not_matter() {
    let server = TestServer::start();
    let mut client = server.register();
    // Many requests in one segment, then one byte a segment.
    for _ in 0..100 {
        client.session.call(&Call::Plain(Method::Ping)).unwrap();
    }
    client.flush();
    for _ in 0..100 {
        assert_eq!(client.next_reply(), "None");
    }
    client.session.call(&Call::Plain(Method::LastTransaction)).unwrap();
    let bytes = client.session.output().to_vec();
    client.session.consume_output(bytes.len());
    for byte in bytes {
        client.stream.write_all(&[byte]).unwrap();
    }
    assert!(client.next_reply().starts_with("Tid"));
}

/// Ends the connection without a goodbye.
fn reset(client: &mut Client) {
    rustix::net::sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap();
    // Closing is what sends it.
    client.stream = std::net::TcpStream::connect(client.stream.peer_addr().unwrap()).unwrap();
}

/// Every way in which a connection can end gives up the commit lock, and the next in line proceeds
/// (rule S9).
#[test]
fn the_commit_lock_is_released_however_its_holder_ends() {
    let server = TestServer::start();
    type Way = (&'static str, fn(&mut Client));
    let ways: [Way; 9] = [
        ("undecodable frame", |client| client.send_frame(b"garbage")),
        ("unknown method", |client| send_raw(client, &message(3, false, "nonsense", &args(&[])))),
        ("failing one-way call", |client| send_raw(client, &message(0, true, "storea", &args(&[])))),
        ("second register", |client| send_raw(client, &message(3, false, "register", &args(&["1".into()])))),
        ("oversized frame", |client| send_raw(client, &u32::MAX.to_be_bytes())),
        ("half close", |client| client.stream.shutdown(Shutdown::Write).unwrap()),
        ("close", |client| client.stream.shutdown(Shutdown::Both).unwrap()),
        ("reset", reset),
        ("end inside a frame", |client| {
            send_raw(client, b"\0\0\0\x10half");
            client.stream.shutdown(Shutdown::Write).unwrap();
        }),
    ];
    for (why, end) in ways {
        let mut holder = server.register();
        holder.take_lock();
        let mut next = server.register();
        next.store(1, 2, Tid::ZERO, b"data");
        next.send(&transaction(Method::Vote, 1));
        server.wait_for_status("waiting", 1);
        let mut third = server.register();
        third.store(1, 3, Tid::ZERO, b"data");
        third.send(&transaction(Method::Vote, 1));
        server.wait_for_status("waiting", 2);
        end(&mut holder);
        assert_eq!(next.next_reply(), "Voted([])", "{why}");
        assert!(third.replies.is_empty());
        assert_eq!(next.current(1), Tid::ZERO, "{why}: what the holder had stored is gone");
        assert_eq!(next.transaction(Method::TpcAbort, 1), "None");
        assert_eq!(third.next_reply(), "Voted([])", "{why}");
        drop((holder, next, third));
        server.wait_for_status("connections", 0);
        assert_eq!(server.status("lock_time"), serde_json::Value::Null, "{why}");
        assert_eq!(server.status("active_txns"), 0, "{why}");
    }
    assert_eq!(server.status("commits"), 0);
}

#[test]
fn who_waits_for_the_lock_and_goes_is_forgotten() {
    let server = TestServer::start();
    let mut holder = server.register();
    holder.take_lock();
    let mut waiting = server.register();
    waiting.store(1, 2, Tid::ZERO, b"data");
    waiting.send(&transaction(Method::Vote, 1));
    server.wait_for_status("waiting", 1);
    assert_eq!(waiting.transaction(Method::TpcAbort, 1), "None");
    assert_eq!(server.status("waiting"), 0);
    waiting.store(2, 2, Tid::ZERO, b"data");
    waiting.send(&transaction(Method::Vote, 2));
    server.wait_for_status("waiting", 1);
    drop(waiting);
    server.wait_for_status("waiting", 0);
    assert!(holder.transaction(Method::TpcFinish, 7).starts_with("Tid"));
}

#[test]
fn a_holder_that_takes_too_long_is_expelled() {
    let options =
        EngineOptions { transaction_timeout: Some(Duration::from_millis(50)), ..EngineOptions::default() };
    let server = TestServer::with(options, ConnectionOptions::default());
    let mut holder = server.register();
    holder.take_lock();
    let mut next = server.register();
    next.store(1, 2, Tid::ZERO, b"data");
    assert_eq!(next.transaction(Method::Vote, 1), "Voted([])");
    holder.assert_closed("transaction timeout");
    assert_eq!(server.status("timeout-thread-is-alive"), true);
    drop(next);
    server.wait_for_status("connections", 0);
    assert_eq!(server.status("active_txns"), 0);
    assert_eq!(server.status("lock_time"), serde_json::Value::Null);
}

/// While its output is stuck a client is not read, so whatever it does next goes unseen: only time tells.
#[test]
fn a_holder_that_does_not_read_is_expelled() {
    let holder_write_timeout = Duration::from_millis(50);
    let connections = ConnectionOptions { holder_write_timeout, ..ConnectionOptions::default() };
    let server = TestServer::with(EngineOptions::default(), connections);
    let mut holder = server.register();
    holder.store(1, 9, Tid::ZERO, &vec![0; 4 << 20]);
    assert_eq!(holder.transaction(Method::Vote, 1), "Voted([])");
    assert!(holder.transaction(Method::TpcFinish, 1).starts_with("Tid"));
    holder.take_lock();
    for number in 0..10 {
        // Ids differ, or the session would join them.
        let before = Tid::from_u64(Tid::MAX.to_u64() - number);
        holder.send(&Call::LoadBefore(LoadBefore { oid: Oid::from_u64(9), before }));
    }
    let mut next = server.register();
    next.store(1, 2, Tid::ZERO, b"data");
    assert_eq!(next.transaction(Method::Vote, 1), "Voted([])");
}

#[test]
fn phases_out_of_order_are_errors_as_pythons() {
    let server = TestServer::start();
    let mut client = server.register();
    const WRONG: &str = "ZODB.POSException.StorageTransactionError";
    assert_eq!(client.transaction(Method::Vote, 7), WRONG);
    assert_eq!(client.transaction(Method::TpcFinish, 7), "None");
    assert_eq!(client.transaction(Method::TpcAbort, 7), "None");
    client.send(&begin(7));
    assert_eq!(client.transaction(Method::TpcFinish, 7), "builtins.AssertionError");
    assert_eq!(client.transaction(Method::Vote, 8), WRONG);
    assert_eq!(client.transaction(Method::Vote, 7), "Voted([])");
    assert_eq!(client.transaction(Method::Vote, 7), WRONG);
    client.send(&begin(7));
    assert_eq!(client.plain(Method::Ping), "None", "repeating tpc_begin is harmless");
    let other = Call::Other { name: b"tpc_begin"[..].into(), args: begin_args(8) };
    assert_eq!(client.call(&other), WRONG);
    assert!(client.transaction(Method::TpcFinish, 7).starts_with("Tid"));
}

/// The arguments of `tpc_begin` for a call that waits for its answer.
fn begin_args(id: i128) -> Value<'static> {
    args(&[
        Value::Int(id),
        Value::Bytes(b""[..].into()),
        Value::Bytes(b""[..].into()),
        Value::Dict(vec![]),
        Value::None,
        " ".into(),
    ])
}

#[test]
fn an_empty_record_is_refused_and_nothing_is_lost() {
    let server = TestServer::start();
    let mut client = server.register();
    client.store(1, 1, Tid::ZERO, b"");
    assert_eq!(client.transaction(Method::Vote, 1), "builtins.ValueError");
    client.commit(2, 1);
}

/// ZEO's own tests do this (`ConnectionTests.py:ZERO`, 6.2), and Python's servers take it.
#[test]
fn the_serial_of_a_new_object_may_be_text() {
    let server = TestServer::start();
    let mut client = server.register();
    client.send(&begin(1));
    let store = args(&[
        Value::Bytes(vec![1; 8].into()),
        "\0\0\0\0\0\0\0\0".into(),
        Value::Bytes(b"x"[..].into()),
        Value::Int(1),
    ]);
    send_raw(&mut client, &message(0, true, "storea", &store));
    assert_eq!(client.transaction(Method::Vote, 1), "Voted([])");
    assert!(client.transaction(Method::TpcFinish, 1).starts_with("Tid"));
}

#[test]
fn what_a_storage_cannot_do_is_an_error_at_the_vote() {
    let server = TestServer::start();
    let mut client = server.register();
    let log = Call::UndoLog(zeo_codec::call::UndoLog { first: 0, last: -20 });
    assert_eq!(client.call(&log), "Value(Tuple([]))");
    let id = TxnId(1);
    let undo = Call::Undoa(zeo_codec::call::Undoa { undo_id: b"AAAAAAAAAAA="[..].into(), id });
    let restore = Call::Restorea(zeo_codec::call::Restorea {
        oid: Oid::ZERO,
        serial: Tid::from_u64(1),
        data: None,
        prev_txn: None,
        id,
    });
    for operation in [undo, restore] {
        client.send(&begin(1));
        client.send(&operation);
        assert_eq!(client.transaction(Method::Vote, 1), "builtins.AttributeError");
    }
    client.commit(2, 1);
}

#[test]
fn a_probe_gets_its_answer_in_any_framing() {
    let options = ConnectionOptions { announced: Protocol::M5, ..ConnectionOptions::default() };
    let server = TestServer::with(EngineOptions::default(), options);
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    stream.write_all(b"\0\0\0\x04ruok").unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&answer[10..]).unwrap();
    assert_eq!(answer[..6], *b"\0\0\0\x02M5");
    assert_eq!(json["1"]["connections"], 0);
}
