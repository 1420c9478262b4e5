//! Servers of ZEO 4 (protocol reference 7, 8, 9 and 13).

use zeo_codec::call::{Invalidations, TpcBegin, TransactionRef, TxnId};
use zeo_codec::digest::Secret;
use zeo_codec::handshake::{Protocol, Version};
use zeo_codec::session::ServerSession;
use zeo_codec::{Body, Call, Limits, Method, Oid, RemoteError, Reply, Tid, Value, pickle};

use super::model::data;
use super::{Asked, Model, Pair, Server, changed, everything, info, registration, sent};
use crate::cache::{Cache as _, Revision};
use crate::credentials::Credentials;
use crate::engine::{Access, Answer, Changes, Link, Origin, Registration};
use crate::error::{Conflict, ConnectionError, Error};

/// Protocol reference A.6.
const CHALLENGE: &str = "ca16928a0dd98c7ed0b27d7e7f58508f45a045e1";
const RESPONSE: &str = "e4a0e1bf9b660cd98a6a436b4c44db1d4722102b";

fn zeo4() -> Server {
    let mut session = ServerSession::new(Protocol::Z4, Limits::DEFAULT);
    session.set_oldest(Version::V4);
    Server(session)
}

impl Server {
    /// Answers a call of a link that begins; what it asks next.
    fn go_on(&mut self, link: &mut Link<u32>, asked: &Asked, result: &impl Body) -> Asked {
        self.reply(asked, result);
        link.session().receive(&self.said());
        assert_eq!(link.register().unwrap(), None);
        let mut asked = self.take(&sent(link));
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }

    fn tell(&mut self, method: Method, args: Vec<Value<'_>>) -> &mut Self {
        self.0.notify(method, &Value::Tuple(args)).unwrap();
        self
    }
}

/// A link whose server has said what it speaks, and was asked for its scheme.
fn greeted(server: &mut Server, credentials: Option<Credentials>) -> (Link<u32>, Asked) {
    let registration = Registration { credentials, ..registration(Access::ReadWrite) };
    let mut link = Link::new(registration, Limits::DEFAULT);
    link.session().receive(&server.said());
    assert_eq!(link.register().unwrap(), None);
    let mut asked = server.take(&sent(&mut link));
    (link, asked.remove(0))
}

/// Registers without authentication.
fn registered(server: &mut Server, tid: u64) -> Link<u32> {
    let (mut link, asked) = greeted(server, None);
    assert_eq!(asked.method, Method::GetAuthProtocol);
    let asked = server.go_on(&mut link, &asked, &Reply::None);
    assert_eq!((asked.method, &*asked.args), (Method::Register, "(\"1\", False)"));
    let asked = server.go_on(&mut link, &asked, &Reply::None);
    assert_eq!(asked.method, Method::LastTransaction);
    server.reply(&asked, &Reply::Tid(Tid::from_u64(tid)));
    link.session().receive(&server.said());
    assert_eq!(link.register().unwrap(), Some(Tid::from_u64(tid)));
    link
}

impl Pair {
    /// A new connection to a server of ZEO 4, up to the takeover.
    fn connect_zeo4(&mut self, tid: u64) {
        self.server = zeo4();
        let link = registered(&mut self.server, tid);
        self.engine.adopt(link, Tid::from_u64(tid)).unwrap();
    }

    fn zeo4(cache: Model, tid: u64) -> Self {
        let mut pair = Self::new(cache);
        pair.connect_zeo4(tid);
        pair
    }

    fn zeo4_ready(tid: u64) -> Self {
        let mut pair = Self::zeo4(Model::default(), tid);
        pair.describe();
        pair
    }

    /// Votes, and lets the server tell these `serialnos`; the vote is still to be answered.
    fn ask_for_vote(&mut self, serialnos: Vec<Value<'static>>) -> Asked {
        self.engine.call(&Call::Transaction(Method::Vote, TransactionRef { id: TxnId(1) }), 1).unwrap();
        let asked = self.asked_one();
        self.server.tell(Method::Serialnos, vec![Value::List(serialnos)]);
        asked
    }

    fn voted(&mut self) -> super::Outcome {
        self.deliver().unwrap();
        self.done().remove(0).1
    }

    fn vote(&mut self, serialnos: Vec<Value<'static>>) -> super::Outcome {
        let asked = self.ask_for_vote(serialnos);
        self.server.reply(&asked, &Reply::None);
        self.voted()
    }

    fn vote_refused(&mut self, serialnos: Vec<Value<'static>>, error: &RemoteError<'_>) -> Error {
        let asked = self.ask_for_vote(serialnos);
        self.server.0.reply_error(&asked.id, error).unwrap();
        self.voted().unwrap_err()
    }
}

/// Whoever waits for the lock has to have it before it can be given back.
#[test]
fn a_transaction_is_given_up_when_its_vote_is_answered() {
    let mut pair = Pair::zeo4_ready(7);
    let vote = pair.ask_for_vote(Vec::new());
    pair.engine.abort(TxnId(1), 2).unwrap();
    assert!(pair.asked().is_empty());
    pair.server.reply(&vote, &Reply::None);
    pair.deliver().unwrap();
    let asked = pair.asked_one();
    assert_eq!((asked.method, &*asked.args), (Method::TpcAbort, "(1,)"));
    assert_eq!(pair.done().len(), 1, "the vote");
    // Without a vote at once.
    pair.engine.abort(TxnId(2), 3).unwrap();
    assert_eq!(pair.asked_one().args, "(2,)");
    // An answer that is an error ends the vote as well.
    let vote = pair.ask_for_vote(Vec::new());
    pair.engine.abort(TxnId(1), 4).unwrap();
    pair.server.0.reply_error(&vote.id, &RemoteError::new("builtins.ValueError", vec![])).unwrap();
    pair.deliver().unwrap();
    assert_eq!(pair.asked_one().method, Method::TpcAbort);
}

/// The storage of a server of ZEO 4 makes no transaction of nothing; the server answers with the last one.
#[test]
fn a_commit_of_nothing_is_the_last_transaction() {
    let mut pair = Pair::zeo4_ready(7);
    let mut invalidations = pair.engine.subscribe();
    let mut finish = |changes: Changes, tid: u64| {
        pair.engine.finish(TxnId(1), changes, 2).unwrap();
        let asked = pair.asked_one();
        pair.server.reply(&asked, &Reply::Tid(Tid::from_u64(tid)));
        pair.deliver().map(|()| pair.done().remove(0).1.unwrap())
    };
    let is_the_last = |answer| answer == Answer::Reply(Reply::Tid(Tid::from_u64(7)));
    assert!(is_the_last(finish(Changes::default(), 7).unwrap()));
    assert_eq!(invalidations.try_next(), None);
    let mut changes = Changes::default();
    changes.touch(Oid::from_u64(1));
    let error = finish(changes, 7).unwrap_err();
    assert!(matches!(&*error, ConnectionError::TidsGoBack { .. }), "{error}");
}

#[test]
fn a_server_of_zeo_4_registers_the_client() {
    let mut pair = Pair::zeo4(Model::default(), 7);
    pair.describe();
    assert_eq!(pair.last(), 7);
}

/// With the values of a session of 4.3.1 (protocol reference A.6). The server's session refuses a message without its MAC.
#[test]
fn digest_authentication_goes_before_the_registration() {
    let mut server = zeo4();
    let (mut link, asked) = greeted(&mut server, Some(Credentials::new("foo", "secret pw")));
    let asked = server.go_on(&mut link, &asked, &Value::from("digest"));
    assert_eq!(asked.method, Method::AuthGetChallenge);
    let challenge = ["zeo realm", CHALLENGE, CHALLENGE].map(Value::from);
    let asked = server.go_on(&mut link, &asked, &Value::Tuple(challenge.to_vec()));
    assert_eq!(asked.method, Method::AuthResponse);
    assert_eq!(asked.args, format!("((\"foo\", \"{CHALLENGE}\", \"{RESPONSE}\"),)"));
    server.reply(&asked, &Value::Bool(true));
    link.session().receive(&server.said());
    server.0.set_key(&Secret::new("foo", "zeo realm", "secret pw").session_key(CHALLENGE));
    assert_eq!(link.register().unwrap(), None);
    let asked = server.take(&sent(&mut link)).remove(0);
    assert_eq!(asked.method, Method::Register);
    let asked = server.go_on(&mut link, &asked, &Reply::None);
    server.reply(&asked, &Reply::Tid(Tid::from_u64(3)));
    link.session().receive(&server.said());
    assert_eq!(link.register().unwrap(), Some(Tid::from_u64(3)));
}

#[test]
fn whoever_cannot_authenticate_says_why() {
    type Is = fn(&ConnectionError) -> bool;
    let user = || Some(Credentials::new("foo", "secret pw"));
    let challenge =
        |realm: &str| Value::Tuple([realm, CHALLENGE, CHALLENGE].map(|part| part.to_owned().into()).to_vec());
    let cases: [(Option<Credentials>, Vec<Value<'static>>, Is); 7] = [
        (None, vec!["digest".into()], |error| matches!(error, ConnectionError::NoCredentials)),
        (user(), vec!["srp".into()], |error| matches!(error, ConnectionError::UnknownScheme(_))),
        (user(), vec![7_u64.into()], |error| matches!(error, ConnectionError::UnknownScheme(_))),
        (user(), vec!["digest".into(), "x".into()], |error| matches!(error, ConnectionError::BadChallenge)),
        (user(), vec!["digest".into(), Value::None], |error| matches!(error, ConnectionError::NoResult(_))),
        (user().map(|user| user.realm("ours")), vec!["digest".into(), challenge("theirs")], |error| {
            matches!(error, ConnectionError::OtherRealm { .. })
        }),
        (user(), vec!["digest".into(), challenge("any"), Value::Bool(false)], |error| {
            matches!(error, ConnectionError::NotAccepted)
        }),
    ];
    for (credentials, mut answers, is_expected) in cases {
        let mut server = zeo4();
        let (mut link, mut asked) = greeted(&mut server, credentials);
        let last = answers.pop().unwrap();
        for answer in answers {
            asked = server.go_on(&mut link, &asked, &answer);
        }
        server.reply(&asked, &last);
        link.session().receive(&server.said());
        let error = link.register().unwrap_err();
        assert!(is_expected(&error), "{error}");
        assert!(sent(&mut link).is_empty());
    }
}

/// Users and descriptions are text, and there is no `ping`.
#[test]
fn calls_are_said_as_zeo_4_has_them() {
    let mut pair = Pair::zeo4_ready(7);
    let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec().into());
    let begin = Call::TpcBegin(TpcBegin {
        id: TxnId(1),
        user: bytes("M\u{fc}ller"),
        description: Value::Bytes(b"\xff".as_slice().into()),
        extension: Value::Dict(Vec::new()),
        tid: None,
        status: " ".into(),
    });
    pair.engine.send(&begin, &bytes::Bytes::new()).unwrap();
    assert_eq!(pair.asked_one().args, "(1, \"M\\u00fcller\", h'ff', {}, None, \" \")");
    pair.engine.call(&Call::Plain(Method::Ping), 1).unwrap();
    let asked = pair.asked_one();
    assert_eq!(asked.method, Method::LastTransaction);
    pair.server.reply(&asked, &Reply::Tid(Tid::from_u64(7)));
    pair.deliver().unwrap();
    assert!(pair.done()[0].1.is_ok());
}

fn pair_of(oid: u64, result: Value<'static>) -> Value<'static> {
    Value::Tuple(vec![Oid::from_u64(oid).into(), result])
}

#[test]
fn serialnos_are_the_result_of_the_vote() {
    let mut pair = Pair::zeo4_ready(7);
    let stored = pair_of(1, Tid::from_u64(9).into());
    let resolved = pair_of(2, Value::Bytes(b"rs".as_slice().into()));
    let voted = pair.vote(vec![stored.clone(), resolved]).unwrap();
    let resolved = vec![zeo_codec::VoteItem::Resolved(Oid::from_u64(2))];
    assert_eq!(voted, Answer::Reply(Reply::Voted(resolved)));
    // Nothing of one vote goes over to the next.
    assert_eq!(pair.vote(vec![stored.clone()]).unwrap(), Answer::Reply(Reply::Voted(Vec::new())));
    // As ZODB 4.4.5 pickles it, without the keys that do not matter here.
    let conflict = b"\x80\x03cZODB.POSException\n_recon\ncZODB.POSException\nConflictError\n}(X\x03\0\0\0oid\
        C\x08\0\0\0\0\0\0\0\x05X\x07\0\0\0serialsC\x08\0\0\0\0\0\0\0\x06C\x08\0\0\0\0\0\0\0\x04\x86\
        X\x04\0\0\0args)u\x86R.";
    let conflict = pickle::decode(conflict, &Limits::DEFAULT).unwrap().into_owned();
    let error = pair.vote(vec![stored.clone(), pair_of(5, conflict)]).unwrap_err();
    let (committed, read) = (Tid::from_u64(6), Tid::from_u64(4));
    assert_eq!(error.conflict(), Some(Conflict { oid: Oid::from_u64(5), committed, read }));
    assert!(pair.vote(vec![stored.clone()]).is_ok());
    // The storage itself may refuse behind them, and is then the reason.
    let resolved = pair_of(2, Value::Bytes(b"rs".as_slice().into()));
    let error = RemoteError::new("builtins.OSError", vec!["no space".into()]);
    assert_eq!(pair.vote_refused(vec![resolved], &error).server().unwrap().class, "builtins.OSError");
    assert_eq!(pair.vote(vec![stored]).unwrap(), Answer::Reply(Reply::Voted(Vec::new())));
}

#[test]
fn malformed_serialnos_end_the_connection() {
    for args in [Vec::new(), vec![Value::None], vec![Value::List(vec![7_u64.into()])]] {
        let mut pair = Pair::zeo4_ready(7);
        pair.server.tell(Method::Serialnos, args);
        assert!(pair.deliver().is_err());
    }
}

/// Objects 1 to 3 are current, 4 is not.
fn cache() -> Model {
    Model::filled(10, &[(1, 5, None), (2, 6, None), (3, 7, None), (4, 5, Some(8))])
}

/// A client whose server does not know any more what has changed; what it asks.
fn unverified(drops_cache: bool) -> (Pair, Vec<Asked>) {
    let mut pair = Pair::new(cache());
    pair.engine.set_drops_cache(drops_cache);
    pair.connect_zeo4(20);
    let asked = pair.asked_one();
    assert_eq!(asked.method, Method::GetInvalidations);
    pair.server.reply(&asked, &Reply::None);
    pair.deliver().unwrap();
    let asked = pair.asked();
    (pair, asked)
}

/// The queue of the server ends before its last transaction, which only made objects.
#[test]
fn what_the_queue_of_a_server_of_zeo_4_leaves_out_is_no_step_back() {
    for queued in [8, 10, 15] {
        let mut pair = Pair::new(cache());
        pair.connect_zeo4(20);
        let asked = pair.asked_one();
        let oids = if queued > 10 { vec![Oid::from_u64(2)] } else { Vec::new() };
        let found = Invalidations { tid: Tid::from_u64(queued), oids: oids.clone() };
        pair.server.reply(&asked, &Reply::Invalidations(found)).invalidate(21, &[3]);
        pair.deliver().unwrap();
        assert_eq!(pair.last(), 21);
        assert!(pair.cache.content().contains(&(2, 6, None)) == oids.is_empty());
        pair.describe();
    }
}

#[test]
fn what_is_cached_is_verified_object_by_object() {
    let (mut pair, asked) = unverified(false);
    let mut feed = pair.engine.subscribe();
    let said: Vec<(Method, &str)> = asked.iter().map(|asked| (asked.method, &*asked.args)).collect();
    assert_eq!(
        said,
        [
            (Method::Verify, "(h'0000000000000001', h'0000000000000005')"),
            (Method::Verify, "(h'0000000000000002', h'0000000000000006')"),
            (Method::Verify, "(h'0000000000000003', h'0000000000000007')"),
            (Method::EndZeoVerify, "()"),
        ]
    );
    // 2 is out of date; 3 changes meanwhile.
    pair.server.tell(Method::InvalidateVerify, vec![Oid::from_u64(2).into()]).invalidate(21, &[3]);
    pair.deliver().unwrap();
    assert_eq!(pair.asked().len(), 0);
    assert_eq!((pair.last(), feed.try_next()), (10, None));
    pair.server.tell(Method::EndVerify, Vec::new());
    pair.deliver().unwrap();
    assert_eq!(feed.try_next(), Some(everything(20)));
    assert_eq!(feed.try_next(), Some(changed(21, &[3], Origin::Other)));
    assert_eq!(pair.cache.content(), [(1, 5, None), (3, 7, Some(21)), (4, 5, Some(8))]);
    assert_eq!(pair.last(), 21);
    pair.describe();
}

#[test]
fn what_is_cached_is_dropped_rather_than_verified_if_that_is_wanted() {
    let (mut pair, asked) = unverified(true);
    assert_eq!(asked[0].method, Method::GetInfo);
    assert_eq!(pair.cache.content(), []);
    pair.server.reply(&asked[0], &info());
    pair.deliver().unwrap();
    assert_eq!(pair.last(), 20);
}

#[test]
fn a_verification_of_nothing_ends_the_connection() {
    let (mut pair, _) = unverified(false);
    pair.server.tell(Method::InvalidateVerify, vec!["no oid".into()]);
    let error = pair.deliver().unwrap_err();
    assert!(matches!(*error, ConnectionError::BadVerification), "{error}");
}

/// The reply of a load of object 1, executed before `crossing` was committed, and told after it.
fn crossed(before: u64, crossing: &[u64]) -> Pair {
    let mut pair = Pair::zeo4_ready(7);
    pair.engine.load(Oid::from_u64(1), Tid::from_u64(before), 1).unwrap();
    let asked = pair.asked_one();
    for tid in crossing {
        pair.server.invalidate(*tid, &[1, 2]);
    }
    pair.server.reply(&asked, &loaded(5));
    pair.deliver().unwrap();
    pair
}

/// A revision that is current when the load is executed.
fn loaded(serial: u64) -> Reply<'static> {
    let data = data(serial).to_vec().into();
    Reply::Loaded(zeo_codec::call::Loaded { data, serial: Tid::from_u64(serial), end: None })
}

/// ZEO issue 209.
#[test]
fn a_load_that_an_invalidation_overtakes_is_not_current() {
    // Who reads as of the beginning of a transaction gets it, with its end.
    let mut pair = crossed(8, &[9, 12]);
    let end = Some(Tid::from_u64(9));
    let revision = Revision { data: data(5), serial: Tid::from_u64(5), end };
    assert_eq!(pair.done().remove(0).1.unwrap(), Answer::Loaded(Some(revision)));
    assert_eq!(pair.cache.content(), [(1, 5, Some(9))]);
    // Who wants the current one: the server is asked again, and this time nothing comes between.
    let mut pair = crossed(100, &[9]);
    assert_eq!(pair.done().len(), 0);
    assert_eq!(pair.cache.content(), []);
    let asked = pair.asked_one();
    assert_eq!(asked.method, Method::LoadBefore);
    pair.server.reply(&asked, &loaded(9));
    pair.deliver().unwrap();
    assert_eq!(pair.cache.clone().current().unwrap(), [(Oid::from_u64(1), Tid::from_u64(9))]);
    assert_eq!(pair.done().len(), 1);
    // What was executed behind the change is not touched.
    let mut pair = Pair::zeo4_ready(7);
    pair.engine.load(Oid::from_u64(1), Tid::MAX, 1).unwrap();
    let asked = pair.asked_one();
    pair.server.invalidate(9, &[1]).reply(&asked, &loaded(9));
    pair.deliver().unwrap();
    assert_eq!(pair.cache.content(), [(1, 9, None)]);
    assert_eq!(pair.done().len(), 1);
}

/// The ids of ZEO 4's loads are numbers.
#[test]
fn loads_in_flight_end_with_the_connection_once() {
    let mut pair = Pair::zeo4_ready(7);
    for token in 1..4 {
        pair.engine.load(Oid::from_u64(1), Tid::MAX, token).unwrap();
    }
    assert_eq!(pair.asked().len(), 1);
    pair.engine.disconnect(&std::sync::Arc::new(ConnectionError::Ended));
    let mut tokens: Vec<u32> = pair
        .done()
        .into_iter()
        .map(|(token, outcome)| {
            assert!(outcome.is_err());
            token
        })
        .collect();
    tokens.sort_unstable();
    assert_eq!(tokens, [1, 2, 3]);
}
