//! Servers that do what they must not: a clear error, a closed connection, and nothing of it in the cache.

use zeo_codec::call::{GetTid, Invalidations, LoadSerial, Loaded, TxnId};
use zeo_codec::{Call, Limits, Method, MsgId, Oid, Reply, Tid, Value};

use super::model::Model;
use super::{Pair, Server, registration};
use crate::engine::{Access, Answer, Changes, Link};
use crate::error::{ConnectionError, Error};

/// The connection must end with this error, the call in flight fail, and the cache stay as it was.
fn ends(pair: &mut Pair, is_expected: impl Fn(&ConnectionError) -> bool) {
    let content = pair.cache.content();
    let error = pair.deliver().unwrap_err();
    assert!(is_expected(&error), "{error:?}");
    assert!(pair.engine.session().is_none() && !pair.engine.is_ready());
    for (token, outcome) in pair.done() {
        assert!(
            matches!(outcome, Err(Error::Disconnected(_) | Error::OutcomeUnknown(_))),
            "{token}: {outcome:?}"
        );
    }
    assert_eq!(pair.cache.content(), content);
}

#[test]
fn replies_to_unknown_ids() {
    for id in [MsgId::Int(77), MsgId::Load(Oid::ZERO, Tid::MAX), MsgId::Other(Value::from("id"))] {
        let mut pair = Pair::ready(10);
        pair.engine.call(&Call::Plain(Method::Ping), 1).unwrap();
        pair.server.0.reply(&id, &Reply::None).unwrap();
        ends(&mut pair, |error| matches!(error, ConnectionError::Session(_)));
    }
}

#[test]
fn tids_that_do_not_rise() {
    for tid in [9, 10] {
        let mut pair = Pair::ready(10);
        pair.server.invalidate(tid, &[1]);
        ends(&mut pair, |error| matches!(error, ConnectionError::TidsGoBack { .. }));
        assert_eq!(pair.last(), 10);
        // Of a commit.
        let mut pair = Pair::ready(10);
        pair.engine.finish(TxnId(1), Changes::default(), 1).unwrap();
        let asked = pair.asked_one();
        pair.server.reply(&asked, &Reply::Tid(Tid::from_u64(tid)));
        ends(&mut pair, |error| matches!(error, ConnectionError::TidsGoBack { .. }));
    }
    // Before the connection is in use.
    let mut pair = Pair::new(Model::filled(10, &[(1, 7, None)]));
    pair.connect(20).unwrap();
    let asked = pair.asked_one();
    pair.server.invalidate(23, &[2]).invalidate(22, &[2]);
    let found = Invalidations { tid: Tid::from_u64(21), oids: Vec::new() };
    pair.server.reply(&asked, &Reply::Invalidations(found));
    ends(&mut pair, |error| matches!(error, ConnectionError::TidsGoBack { .. }));
    // A verification that knows less than the client does, or of changes after what it knows up to just that.
    for (tid, oids) in [(9, vec![]), (9, vec![Oid::from_u64(1)]), (10, vec![Oid::from_u64(1)])] {
        let mut pair = Pair::new(Model::filled(10, &[(1, 7, None)]));
        pair.connect(20).unwrap();
        let asked = pair.asked_one();
        let found = Invalidations { tid: Tid::from_u64(tid), oids };
        pair.server.reply(&asked, &Reply::Invalidations(found));
        ends(&mut pair, |error| matches!(error, ConnectionError::TidsGoBack { .. }));
    }
}

/// No misdeed, but looks like one: a server of Python's registers with the tid of a transaction that a crash has cut off.
#[test]
fn a_registration_with_what_was_cut_off() {
    for (tid, oids) in [(10, vec![]), (15, vec![Oid::from_u64(1)])] {
        let mut pair = Pair::new(Model::filled(10, &[(1, 7, None)]));
        let mut invalidations = pair.engine.subscribe();
        pair.connect(20).unwrap();
        let asked = pair.asked_one();
        let found = Invalidations { tid: Tid::from_u64(tid), oids: oids.clone() };
        pair.server.reply(&asked, &Reply::Invalidations(found));
        pair.deliver().unwrap();
        pair.describe();
        assert_eq!(pair.last(), tid);
        let told = invalidations.try_next();
        assert_eq!(told.map(|change| change.tid().to_u64()), (tid > 10).then_some(tid));
        pair.server.invalidate(tid + 1, &[2]);
        pair.deliver().unwrap();
        assert_eq!(pair.last(), tid + 1);
    }
}

#[test]
fn revisions_that_were_not_asked_for() {
    for (serial, end) in [(11, None), (12, Some(20)), (7, Some(10)), (7, Some(6))] {
        let mut pair = Pair::ready(10);
        pair.engine.load(Oid::from_u64(1), Tid::from_u64(11), 1).unwrap();
        let asked = pair.asked_one();
        let end = end.map(Tid::from_u64);
        let loaded = Loaded { data: b"poison".into(), serial: Tid::from_u64(serial), end };
        pair.server.reply(&asked, &Reply::Loaded(loaded));
        ends(&mut pair, |error| matches!(error, ConnectionError::BadRevision { .. }));
    }
}

#[test]
fn results_of_the_wrong_type() {
    let calls = [
        Call::GetTid(GetTid { oid: Oid::ZERO }),
        Call::LoadSerial(LoadSerial { oid: Oid::ZERO, serial: Tid::ZERO }),
    ];
    for call in calls {
        for wrong in [Value::None, Value::Int(7), Value::Tuple(vec![Value::None])] {
            let mut pair = Pair::ready(10);
            pair.engine.call(&call, 1).unwrap();
            let asked = pair.asked_one();
            pair.server.reply(&asked, &wrong);
            let expected_none = wrong == Value::None;
            ends(&mut pair, |error| match error {
                ConnectionError::NoResult(_) => expected_none,
                ConnectionError::Malformed { .. } => !expected_none,
                _ => false,
            });
        }
    }
    let mut pair = Pair::ready(10);
    pair.engine.load(Oid::from_u64(1), Tid::from_u64(11), 1).unwrap();
    let asked = pair.asked_one();
    pair.server.reply(&asked, &Value::from("data"));
    ends(&mut pair, |error| matches!(error, ConnectionError::Malformed { what: "loadBefore", .. }));
    // What the server says about itself.
    for wrong in [Value::Int(7), Value::List(Vec::new())] {
        let mut pair = Pair::new(Model::default());
        pair.connect(10).unwrap();
        let asked = pair.asked_one();
        assert_eq!(asked.method, Method::GetInfo);
        pair.server.reply(&asked, &wrong);
        ends(&mut pair, |error| matches!(error, ConnectionError::NotADict(Method::GetInfo)));
    }
}

#[test]
fn calls_with_wrong_arguments() {
    let mut pair = Pair::ready(10);
    let short = Value::Tuple(vec![Value::Bytes(b"short".into()), Value::List(Vec::new())]);
    pair.server.0.notify(Method::InvalidateTransaction, &short).unwrap();
    ends(&mut pair, |error| {
        matches!(error, ConnectionError::Malformed { what: "invalidateTransaction", .. })
    });
}

/// A method that we do not know is no reason to hang up; Python's clients go on, too.
#[test]
fn unknown_calls_are_ignored() {
    let mut pair = Pair::ready(10);
    pair.server.0.notify(Method::Ping, &Value::Tuple(Vec::new())).unwrap();
    pair.server.0.notify(Method::EndVerify, &Value::Tuple(Vec::new())).unwrap();
    pair.deliver().unwrap();
    assert!(pair.engine.is_ready());
}

#[test]
fn frames_beyond_the_limit() {
    let mut pair = Pair::ready(10);
    pair.engine.session().unwrap().receive(b"\xff\xff\xff\xff");
    ends(&mut pair, |error| matches!(error, ConnectionError::Session(_)));
    // Before the greeting, where little is expected.
    let mut link = Link::<u32>::new(registration(Access::ReadWrite), Limits::DEFAULT);
    link.session().receive(b"\0\x01\0\x01");
    assert!(matches!(link.register(), Err(ConnectionError::Session(_))));
}

#[test]
fn more_than_can_be_kept_before_the_connection_is_in_use() {
    let mut server = Server::new();
    let mut link = super::registered(&mut server, 10);
    let many: Vec<u64> = (0..100_000).collect();
    let mut ended = None;
    for tid in 11..30 {
        server.invalidate(tid, &many);
        link.session().receive(&server.said());
        let Some(crate::engine::link::Happened::Called(message)) = link.poll().unwrap() else { panic!() };
        if let Err(error) = link.keep_early(&message) {
            ended = Some((tid, error));
            break;
        }
    }
    let (tid, error) = ended.unwrap();
    assert!(matches!(error, ConnectionError::TooManyEarly(1_000_000)));
    assert_eq!(tid, 20);
}

/// A tid that comes for a method without one is kept as it came: nobody asked for its type.
#[test]
fn results_where_none_is_due_are_kept() {
    let mut pair = Pair::ready(10);
    pair.engine.call(&Call::Plain(Method::Ping), 1).unwrap();
    let asked = pair.asked_one();
    pair.server.reply(&asked, &Value::Int(7));
    pair.deliver().unwrap();
    let done = pair.done();
    assert!(matches!(&done[..], [(1, Ok(Answer::Reply(Reply::Value(Value::Int(7)))))]), "{done:?}");
}
