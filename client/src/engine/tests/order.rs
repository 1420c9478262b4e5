//! C1 to C5, one test for each at least; what C6 has to do with failures.

use zeo_codec::call::{Invalidations, Loaded, TxnId};
use zeo_codec::{Limits, Method, Oid, Reply, Tid};

use super::model::{Model, data};
use super::{Pair, changed, everything, registered};
use crate::engine::{Answer, Changes, Engine, Origin};
use crate::error::ConnectionError;

fn loaded(serial: u64, end: Option<u64>) -> Reply<'static> {
    let data = data(serial).to_vec().into();
    Reply::Loaded(Loaded { data, serial: Tid::from_u64(serial), end: end.map(Tid::from_u64) })
}

impl Pair {
    fn load(&mut self, oid: u64, before: u64, token: u32) {
        self.engine.load(Oid::from_u64(oid), Tid::from_u64(before), token).unwrap();
    }

    fn cached(&mut self, oid: u64, before: u64) -> Option<u64> {
        let found = self.engine.cached(Oid::from_u64(oid), Tid::from_u64(before));
        found.map(|revision| revision.serial.to_u64())
    }
}

/// C1: reply and invalidation in one segment; had the reply entered the cache later, it would count as current for
/// ever.
#[test]
fn a_load_enters_the_cache_before_the_invalidation_behind_it() {
    let mut pair = Pair::ready(10);
    pair.load(1, 11, 5);
    let asked = pair.asked_one();
    assert_eq!(asked.args, "(h'0000000000000001', h'000000000000000b')");
    pair.server.reply(&asked, &loaded(7, None)).invalidate(11, &[1]);
    pair.deliver().unwrap();
    assert_eq!(pair.cache.content(), [(1, 7, Some(11))]);
    assert_eq!(pair.cached(1, 11), Some(7));
    assert_eq!(pair.cached(1, 12), None);
    // And the other way round.
    pair.load(2, 12, 6);
    let asked = pair.asked_one();
    pair.server.invalidate(12, &[2]).reply(&asked, &loaded(7, Some(12)));
    pair.deliver().unwrap();
    assert_eq!(pair.cache.content(), [(1, 7, Some(11)), (2, 7, Some(12))]);
}

/// A server may have committed what it answers with, and announces it next.
#[test]
fn a_load_may_be_ahead_of_its_invalidation() {
    let mut pair = Pair::ready(10);
    pair.load(1, 100, 5);
    let asked = pair.asked_one();
    pair.server.reply(&asked, &loaded(11, None)).invalidate(11, &[1]);
    pair.deliver().unwrap();
    assert_eq!(pair.cache.content(), [(1, 11, None)]);
}

/// C2: whoever sees a last transaction has its invalidation in hand, and the cache has it before.
#[test]
fn last_transaction_moves_after_cache_and_application() {
    let mut pair = Pair::new(Model::filled(10, &[(1, 7, None), (2, 8, None)]));
    pair.connect(10).unwrap();
    pair.describe();
    let mut feed = pair.engine.subscribe();
    assert_eq!(feed.start(), Some(Tid::from_u64(10)));
    pair.server.invalidate(11, &[1, 2]).invalidate(12, &[]).invalidate(15, &[2]);
    // Byte by byte: there is no moment in which the last transaction is ahead of the feed.
    let mut seen = 10;
    for byte in pair.server.said() {
        pair.engine.session().unwrap().receive(&[byte]);
        pair.engine.advance().unwrap();
        while let Some(invalidation) = feed.try_next() {
            assert!(invalidation.tid().to_u64() > seen);
            seen = invalidation.tid().to_u64();
        }
        assert_eq!(pair.last(), seen);
    }
    assert_eq!(seen, 15);
    let log = ["invalidate 1", "invalidate 2", "last 11", "last 12", "invalidate 2", "last 15"];
    assert_eq!(pair.cache.log(), log);
    assert_eq!(pair.cache.content(), [(1, 7, Some(11)), (2, 8, Some(11))]);
}

/// C3: the reply of `tpc_finish` stands in the order like an invalidation.
#[test]
fn an_own_commit_is_applied_in_the_step_that_receives_its_reply() {
    let mut pair = Pair::new(Model::filled(10, &[(1, 7, None), (3, 7, None)]));
    pair.connect(10).unwrap();
    pair.describe();
    let mut feed = pair.engine.subscribe();
    let mut changes = Changes::default();
    changes.store(Oid::from_u64(1), data(12));
    changes.touch(Oid::from_u64(3));
    pair.engine.finish(TxnId(4), changes, 9).unwrap();
    let finish = pair.asked_one();
    assert_eq!((finish.method, finish.args.as_str()), (Method::TpcFinish, "(4,)"));
    pair.server.invalidate(11, &[5]).reply(&finish, &Reply::Tid(Tid::from_u64(12))).invalidate(13, &[1]);
    pair.deliver().unwrap();
    assert_eq!(feed.try_next(), Some(changed(11, &[5], Origin::Other)));
    let Some(crate::engine::Invalidation::Changed { tid, oids, origin }) = feed.try_next() else { panic!() };
    let mut oids = oids.to_vec();
    oids.sort();
    assert_eq!((tid.to_u64(), origin), (12, Origin::Own));
    assert_eq!(oids, [Oid::from_u64(1), Oid::from_u64(3)]);
    assert_eq!(feed.try_next(), Some(changed(13, &[1], Origin::Other)));
    assert_eq!(pair.last(), 13);
    // What was stored is known, what was only touched is not; and the next commit has ended it.
    assert_eq!(pair.cache.content(), [(1, 7, Some(12)), (1, 12, Some(13)), (3, 7, Some(12))]);
    let done = pair.done();
    assert!(matches!(&done[..], [(9, Ok(Answer::Reply(Reply::Tid(tid))))] if tid.to_u64() == 12), "{done:?}");
}

/// A transaction that is copied under a tid older than what is known does not move anything back.
#[test]
fn a_late_copy_does_not_move_back() {
    let mut pair = Pair::new(Model::filled(10, &[(1, 7, None)]));
    pair.connect(10).unwrap();
    pair.describe();
    let mut feed = pair.engine.subscribe();
    let mut changes = Changes::of(b"", b"", Some(Tid::from_u64(1)));
    changes.store(Oid::from_u64(1), data(5));
    pair.engine.finish(TxnId(4), changes, 9).unwrap();
    let finish = pair.asked_one();
    pair.server.reply(&finish, &Reply::Tid(Tid::from_u64(5)));
    pair.deliver().unwrap();
    assert_eq!((pair.last(), pair.cache.content()), (10, Vec::new()));
    assert_eq!(feed.try_next(), Some(changed(10, &[1], Origin::Own)));
}

/// C4: a server whose database is older than what is known is refused, loudly, before anything is done.
#[test]
fn a_server_behind_the_cache_is_refused() {
    let content = [(1, 7, None)];
    let mut pair = Pair::new(Model::filled(10, &content));
    let refused = pair.connect(9).unwrap_err();
    assert!(matches!(*refused, ConnectionError::ServerBehind { server, known }
        if server.to_u64() == 9 && known.to_u64() == 10));
    assert!(refused.to_string().contains("remove the cache file"), "{refused}");
    assert!(!pair.engine.is_ready() && pair.engine.session().is_none());
    assert_eq!((pair.cache.content(), pair.last()), (content.to_vec(), 10));
    // Also without a cache, for one that was seen before.
    let mut pair = Pair::ready(10);
    pair.engine.disconnect(&ConnectionError::Ended.into());
    assert!(matches!(*pair.connect(9).unwrap_err(), ConnectionError::ServerBehind { .. }));
}

/// C4: one that is ahead tells what has changed.
#[test]
fn a_server_ahead_is_asked_what_has_changed() {
    for changes in [&[1, 5][..], &[]] {
        let mut pair = Pair::new(Model::filled(10, &[(1, 7, None), (2, 7, None)]));
        let mut feed = pair.engine.subscribe();
        pair.connect(20).unwrap();
        let asked = pair.asked_one();
        assert_eq!((asked.method, &*asked.args), (Method::GetInvalidations, "(h'000000000000000a',)"));
        let oids = changes.iter().copied().map(Oid::from_u64).collect();
        pair.server.reply(&asked, &Reply::Invalidations(Invalidations { tid: Tid::from_u64(21), oids }));
        pair.deliver().unwrap();
        // The application learns of the new tid even where nothing has changed.
        assert_eq!(feed.try_next(), Some(changed(21, changes, Origin::Other)));
        pair.describe();
        assert_eq!((pair.last(), pair.cache.last()), (21, Some(21)));
        let kept = if changes.is_empty() { vec![(1, 7, None), (2, 7, None)] } else { vec![(2, 7, None)] };
        assert_eq!(pair.cache.content(), kept);
    }
}

/// C4: where the server cannot tell, the cache is dropped, and the application told.
#[test]
fn a_server_that_cannot_tell_empties_the_cache() {
    let mut pair = Pair::new(Model::filled(10, &[(1, 7, None)]));
    let mut feed = pair.engine.subscribe();
    pair.connect(20).unwrap();
    let asked = pair.asked_one();
    pair.server.reply(&asked, &Reply::None);
    pair.deliver().unwrap();
    pair.describe();
    assert_eq!(pair.cache.content(), []);
    assert_eq!(feed.try_next(), Some(everything(20)));
    assert_eq!((pair.last(), pair.cache.last()), (20, Some(20)));
}

/// An application that subscribes before the first connection learns where it begins.
#[test]
fn the_first_connection_announces_its_tid() {
    let mut pair = Pair::new(Model::default());
    let mut feed = pair.engine.subscribe();
    pair.connect(10).unwrap();
    assert_eq!(feed.try_next(), Some(everything(10)));
    assert_eq!(feed.try_next(), None);
}

/// C5: what comes between registration and verification waits with its connection, and follows in order; what
/// verification has told of already is left out.
#[test]
fn early_invalidations_wait_until_the_connection_is_verified() {
    let mut pair = Pair::new(Model::filled(10, &[(1, 7, None), (2, 7, None), (3, 7, None)]));
    let mut feed = pair.engine.subscribe();
    // Two servers are tried; both register the client, and announce different things.
    let mut other = super::Server::new();
    let mut unused = registered(&mut other, 20);
    other.invalidate(21, &[3]);
    pair.server = super::Server::new();
    let mut link = registered(&mut pair.server, 20);
    unused.session().receive(&other.said());
    // Registered in the middle of a segment: what is behind the reply is not lost.
    pair.server.invalidate(21, &[1]);
    link.session().receive(&pair.server.said());
    pair.engine.adopt(link, Tid::from_u64(20)).unwrap();
    pair.engine.advance().unwrap();
    let asked = pair.asked_one();
    pair.server.invalidate(22, &[2]);
    let found = Invalidations { tid: Tid::from_u64(21), oids: vec![Oid::from_u64(1)] };
    pair.server.reply(&asked, &Reply::Invalidations(found)).invalidate(23, &[]);
    pair.deliver().unwrap();
    drop(unused);
    let told =
        [changed(21, &[1], Origin::Other), changed(22, &[2], Origin::Other), changed(23, &[], Origin::Other)];
    assert_eq!(std::iter::from_fn(|| feed.try_next()).collect::<Vec<_>>(), told);
    assert_eq!(pair.cache.content(), [(2, 7, Some(22)), (3, 7, None)]);
    pair.describe();
    assert_eq!(pair.last(), 23);
}

/// Beside C6: a cache that fails is not used any more, rather than believed without the invalidation that it lost.
#[test]
fn a_cache_that_fails_is_given_up() {
    let mut pair = Pair::ready(10);
    pair.load(1, 11, 5);
    let asked = pair.asked_one();
    pair.server.reply(&asked, &loaded(7, None));
    pair.deliver().unwrap();
    assert_eq!(pair.cached(1, 11), Some(7));
    pair.cache.fail();
    pair.server.invalidate(11, &[1]);
    pair.deliver().unwrap();
    assert_eq!((pair.last(), pair.cached(1, 11), pair.cached(1, 12)), (11, None, None));
    // What is on the disk says for itself how old it is.
    assert_eq!(pair.cache.last(), Some(10));
}

#[test]
fn a_cache_without_a_transaction_is_not_believed() {
    let model = Model::filled_without_tid(&[(1, 7, None)]);
    let mut engine = Engine::<u32>::new(Limits::DEFAULT, None, Some(Box::new(model.clone())));
    assert_eq!(engine.last_transaction(), None);
    assert_eq!(engine.cached(Oid::from_u64(1), Tid::MAX), None);
    assert_eq!(model.log(), ["clear"]);
}

/// Requests for the same revision join; each is answered (protocol reference 3.1).
#[test]
fn loads_of_the_same_revision_are_asked_once() {
    let mut pair = Pair::ready(10);
    pair.load(1, 11, 5);
    pair.load(1, 11, 6);
    pair.load(1, 12, 7);
    let asked = pair.asked();
    assert_eq!(asked.len(), 2);
    pair.server.reply(&asked[1], &Reply::None).reply(&asked[0], &loaded(7, None));
    pair.deliver().unwrap();
    let done = pair.done();
    assert!(matches!(&done[0], (7, Ok(Answer::Loaded(None)))), "{done:?}");
    for (token, (told, outcome)) in [5, 6].into_iter().zip(&done[1..]) {
        let Ok(Answer::Loaded(Some(revision))) = outcome else { panic!("{done:?}") };
        assert_eq!((*told, &revision.data), (token, &data(7)));
    }
}
