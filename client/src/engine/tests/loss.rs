//! C7 and C8: what a lost connection means for those who wait.

use std::sync::Arc;

use zeo_codec::call::{TransactionRef, TxnId};
use zeo_codec::{Call, Limits, Method, Oid, Reply, Tid};

use super::Pair;
use crate::engine::{Changes, Engine};
use crate::error::{ConnectionError, Error};

/// C7: between `tpc_finish` and its reply nobody knows.
#[test]
fn a_lost_finish_has_an_unknown_outcome() {
    let mut pair = Pair::ready(10);
    let mut changes = Changes::default();
    let [large, small, deleted] = [1, 2, 3].map(Oid::from_u64);
    changes.store(large, "larger".into());
    changes.store(small, "small".into());
    changes.touch(deleted);
    pair.engine.finish(TxnId(1), changes, 1).unwrap();
    pair.asked_one();
    pair.engine.disconnect(&Arc::new(ConnectionError::Ended));
    let done = pair.done();
    let [(1, Err(Error::OutcomeUnknown(lost)))] = &done[..] else { panic!("{done:?}") };
    let mut oids = lost.oids.clone();
    oids.sort();
    assert_eq!((oids, lost.since), (vec![large, small, deleted], Tid::from_u64(10)));
    assert_eq!(lost.sample, Some((small, "small".into())));
    assert_eq!(pair.last(), 10);
}

/// C7: so does an error in its place. The cache cannot know what holds, so the connection goes, as in Python.
#[test]
fn a_failed_finish_has_an_unknown_outcome_and_ends_the_connection() {
    let mut pair = Pair::ready(10);
    pair.engine.finish(TxnId(1), Changes::default(), 1).unwrap();
    let asked = pair.asked_one();
    pair.server.refuse(&asked, "builtins.OSError", Vec::new());
    assert!(matches!(*pair.deliver().unwrap_err(), ConnectionError::FinishFailed(_)));
    let done = pair.done();
    assert!(matches!(&done[..], [(1, Err(Error::OutcomeUnknown(_)))]), "{done:?}");
    assert!(pair.engine.session().is_none());
}

/// A server that has forgotten the transaction says so by `None` (protocol reference 7.5).
#[test]
fn a_forgotten_transaction_was_not_committed() {
    let mut pair = Pair::ready(10);
    pair.engine.finish(TxnId(1), Changes::default(), 1).unwrap();
    let asked = pair.asked_one();
    pair.server.reply(&asked, &Reply::None);
    pair.deliver().unwrap();
    let done = pair.done();
    assert!(matches!(&done[..], [(1, Err(Error::NoTransaction))]), "{done:?}");
    assert_eq!(pair.last(), 10);
}

/// C8: everything in flight fails as transient, loads that have joined included; the next connection is another one.
#[test]
fn calls_in_flight_fail_and_may_be_tried_again() {
    let mut pair = Pair::ready(10);
    let before = pair.engine.generation();
    let vote = Call::Transaction(Method::Vote, TransactionRef { id: TxnId(1) });
    pair.engine.call(&vote, 1).unwrap();
    for token in [2, 3] {
        pair.engine.load(Oid::from_u64(1), Tid::from_u64(11), token).unwrap();
    }
    pair.engine.disconnect(&Arc::new(ConnectionError::Ended));
    assert!(!pair.engine.is_ready());
    let mut done = pair.done();
    done.sort_by_key(|(token, _)| *token);
    assert_eq!(done.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 2, 3]);
    for (token, outcome) in done {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Disconnected(_)) && error.is_transient(), "{token}: {error}");
    }
    let error = pair.engine.call(&vote, 4).unwrap_err();
    assert!(error.is_transient(), "{error}");
    pair.connect(10).unwrap();
    pair.describe();
    assert_ne!(pair.engine.generation(), before);
}

/// A connection that takes the place of another one fails what was in flight there.
#[test]
fn a_replaced_connection_fails_what_was_in_flight() {
    let mut pair = Pair::ready(10);
    pair.engine.call(&Call::Plain(Method::Ping), 1).unwrap();
    pair.connect(10).unwrap();
    let done = pair.done();
    let [(1, Err(Error::Disconnected(why)))] = &done[..] else { panic!("{done:?}") };
    assert!(matches!(**why, ConnectionError::Replaced));
    pair.describe();
}

#[test]
fn calls_in_flight_are_bounded_but_a_transaction_can_always_be_ended() {
    let mut pair = Pair::ready(10);
    let limits = Limits { pending_count: 2, ..Limits::DEFAULT };
    pair.engine = Engine::new(limits, None, None);
    pair.server = super::Server::new();
    let mut link = super::Link::new(super::registration(super::Access::ReadWrite), limits);
    link.session().receive(&pair.server.said());
    link.register().unwrap();
    let register = pair.server.take(&super::sent(&mut link)).remove(0);
    pair.server.reply(&register, &Reply::Tid(Tid::from_u64(10)));
    link.session().receive(&pair.server.said());
    let tid = link.register().unwrap().unwrap();
    pair.engine.adopt(link, tid).unwrap();
    pair.describe();
    pair.engine.call(&Call::Plain(Method::Ping), 1).unwrap();
    pair.engine.load(Oid::ZERO, Tid::MAX, 2).unwrap();
    assert!(matches!(pair.engine.call(&Call::Plain(Method::Ping), 3), Err(Error::TooManyCalls)));
    assert!(matches!(pair.engine.load(Oid::ZERO, Tid::ZERO, 4), Err(Error::TooManyCalls)));
    let abort = Call::Transaction(Method::TpcAbort, TransactionRef { id: TxnId(1) });
    pair.engine.call_unheard(&abort).unwrap();
    pair.engine.finish(TxnId(1), Changes::default(), 5).unwrap();
}
