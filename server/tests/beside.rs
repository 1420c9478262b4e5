//! Transactions of several clients at once: those that touch different objects go on beside each other, the others
//! wait for each other, and what comes first is decided by `tpc_finish`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fmt::Debug;

use support::{Client, TestServer, base64, begin, transaction};
use zeo_codec::call::TxnId;
use zeo_codec::call::{CheckCurrentSerial, Undoa};
use zeo_codec::session::Incoming;
use zeo_codec::{Call, Limits, Method, Oid, Tid};

/// Every client's transaction.
const ID: u64 = 7;

/// Four clients of a storage, in which objects 1, 2 and 3 are.
fn world() -> (TestServer, [Client; 4], Tid) {
    let server = TestServer::with_file();
    let mut clients = std::array::from_fn(|_| server.register());
    for oid in 1..=3 {
        clients[0].commit(ID, oid);
    }
    let last = clients[0].current(3);
    // They know of these commits now.
    for client in &mut clients {
        assert_eq!(client.plain(Method::Ping), "None");
        client.calls.clear();
    }
    (server, clients, last)
}

fn store(client: &mut Client, oid: u64) {
    let serial = client.current(oid);
    client.store(ID, oid, serial, b"new");
}

/// What the server told a client that changed, in order.
fn heard(client: &mut Client) -> Vec<(Tid, Vec<Oid>)> {
    assert_eq!(client.plain(Method::Ping), "None");
    let heard = client.calls.iter().filter_map(|message| {
        let Ok(Incoming::Call(envelope)) = message.parse(&Limits::DEFAULT) else { panic!("no call") };
        let method = Method::from_name(&envelope.name).unwrap();
        match Call::parse(method, envelope.args, &Limits::DEFAULT).unwrap() {
            Call::InvalidateTransaction(args) => Some((args.tid, args.oids)),
            _ => None,
        }
    });
    heard.collect()
}

fn finish(client: &mut Client) -> Tid {
    let reply = client.transaction(Method::TpcFinish, ID);
    let hex = reply.trim_start_matches("Tid(Tid(").trim_end_matches("))");
    Tid::from_u64(u64::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("{reply}")))
}

fn assert_waits(server: &TestServer, client: &mut Client, why: impl Debug) {
    client.send(&transaction(Method::Vote, ID));
    server.wait_for_status("waiting", 1);
    assert!(client.replies.is_empty(), "{why:?}");
}

#[test]
fn different_objects_are_voted_on_beside_each_other_and_finished_in_any_order() {
    let (server, [mut one, mut two, mut three, mut listener], last) = world();
    for (client, oid) in [(&mut one, 1), (&mut two, 2), (&mut three, 3)] {
        store(client, oid);
        assert_eq!(client.transaction(Method::Vote, ID), "Voted([])");
    }
    assert_eq!(server.status("waiting"), 0);
    let third = finish(&mut three);
    let first = finish(&mut one);
    assert_eq!(two.transaction(Method::TpcAbort, ID), "None");
    assert!(last < third && third < first, "{last} {third} {first}");
    let expected = vec![(third, vec![Oid::from_u64(3)]), (first, vec![Oid::from_u64(1)])];
    assert_eq!(heard(&mut listener), expected);
    // Not even about itself: who has voted hears of the others before its own.
    assert_eq!(heard(&mut one), expected[..1]);
    assert_eq!(heard(&mut two), expected);
    // Nothing is left of what was aborted.
    store(&mut listener, 2);
    assert_eq!(listener.transaction(Method::Vote, ID), "Voted([])");
    assert!(finish(&mut listener) > first);
}

#[test]
fn the_same_object_is_voted_on_when_the_other_is_done() {
    let (server, [mut one, mut two, ..], _) = world();
    store(&mut one, 1);
    store(&mut two, 1);
    assert_eq!(one.transaction(Method::Vote, ID), "Voted([])");
    assert_waits(&server, &mut two, "both store object 1");
    finish(&mut one);
    // In two's hands is now a conflict, and with it the lock.
    assert!(two.next_reply().starts_with("Voted([Conflict("));
    assert_eq!(two.transaction(Method::TpcAbort, ID), "None");
}

#[test]
fn what_is_only_checked_is_not_to_be_written_meanwhile() {
    let (server, [mut checker, mut other_checker, mut writer, _], _) = world();
    let check = |client: &mut Client, stored: u64, checked: u64| {
        let serial = client.current(checked);
        store(client, stored);
        let oid = Oid::from_u64(checked);
        client.send(&Call::CheckCurrentSerial(CheckCurrentSerial { oid, serial, id: TxnId(ID) }));
    };
    // Two that check it do not wait for each other; who writes it does.
    check(&mut checker, 1, 3);
    check(&mut other_checker, 2, 3);
    store(&mut writer, 3);
    for client in [&mut checker, &mut other_checker] {
        assert_eq!(client.transaction(Method::Vote, ID), "Voted([])");
    }
    assert_waits(&server, &mut writer, "object 3 is being checked");
    finish(&mut checker);
    assert_eq!(server.status("waiting"), 1);
    finish(&mut other_checker);
    assert_eq!(writer.next_reply(), "Voted([])");
    // The other way round: the check comes when the writer is done, and fails.
    check(&mut checker, 1, 3);
    assert_waits(&server, &mut checker, "object 3 is being written");
    finish(&mut writer);
    assert_eq!(checker.next_reply(), "ZODB.POSException.ReadConflictError");
}

#[test]
fn an_undo_has_the_storage_to_itself() {
    let (server, [mut one, mut two, mut three, _], last) = world();
    store(&mut one, 1);
    assert_eq!(one.transaction(Method::Vote, ID), "Voted([])");
    two.send(&begin(ID));
    let undo_id = base64(&last.to_u64().to_be_bytes()).into();
    two.send(&Call::Undoa(Undoa { undo_id, id: TxnId(ID) }));
    assert_waits(&server, &mut two, "undo");
    // Nobody overtakes it.
    store(&mut three, 2);
    three.send(&transaction(Method::Vote, ID));
    server.wait_for_status("waiting", 2);
    finish(&mut one);
    assert!(two.next_reply().starts_with("Voted(["));
    assert_eq!(server.status("waiting"), 1);
    finish(&mut two);
    assert_eq!(three.next_reply(), "Voted([])");
    finish(&mut three);
}

#[test]
fn who_goes_with_a_vote_behind_it_keeps_nobody() {
    let (server, [mut one, mut two, mut three, _], _) = world();
    store(&mut one, 1);
    store(&mut two, 2);
    for client in [&mut one, &mut two] {
        assert_eq!(client.transaction(Method::Vote, ID), "Voted([])");
    }
    store(&mut three, 1);
    assert_waits(&server, &mut three, "object 1");
    drop(one);
    assert_eq!(three.next_reply(), "Voted([])");
    assert!(finish(&mut two) < finish(&mut three));
}
