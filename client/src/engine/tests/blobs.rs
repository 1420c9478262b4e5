//! Blobs that come in: in pieces, several at the same time, and wrong in every way.

use zeo_codec::call::{ReceiveBlobChunk, ReceiveBlobStart, ReceiveBlobStop};
use zeo_codec::{Method, Oid, Reply, Tid, Value};

use super::Pair;
use crate::engine::Answer;
use crate::error::{ConnectionError, Error};

const SERIAL: Tid = Tid::from_u64(7);

impl Pair {
    fn begins(&mut self, oid: u64) {
        let args = ReceiveBlobStart { oid: Oid::from_u64(oid), serial: SERIAL };
        self.server.0.notify(Method::ReceiveBlobStart, &args).unwrap();
    }

    fn goes_on(&mut self, oid: u64, chunk: &[u8]) {
        let args = ReceiveBlobChunk { oid: Oid::from_u64(oid), serial: SERIAL, chunk: chunk.into() };
        self.server.0.notify(Method::ReceiveBlobChunk, &args).unwrap();
    }

    fn ends(&mut self, oid: u64) {
        let args = ReceiveBlobStop { oid: Oid::from_u64(oid), serial: SERIAL };
        self.server.0.notify(Method::ReceiveBlobStop, &args).unwrap();
    }

    fn pieces(&mut self) -> Vec<(u64, Vec<u8>)> {
        std::iter::from_fn(|| self.engine.poll_piece())
            .map(|piece| {
                assert_eq!(piece.serial, SERIAL);
                (piece.oid.to_u64(), piece.bytes.to_vec())
            })
            .collect()
    }
}

#[test]
fn pieces_come_before_the_outcome_and_blobs_may_take_turns() {
    let mut pair = Pair::ready(10);
    for oid in [1, 2] {
        pair.engine.load_blob(Oid::from_u64(oid), SERIAL, u32::try_from(oid).unwrap()).unwrap();
    }
    let asked = pair.asked();
    pair.begins(1);
    pair.begins(2);
    pair.goes_on(1, b"one");
    // Large enough to keep its frame.
    pair.goes_on(2, &[b'x'; 59_000]);
    pair.goes_on(1, b"!");
    pair.ends(2);
    pair.deliver().unwrap();
    let pieces = [(1, b"one".to_vec()), (2, vec![b'x'; 59_000]), (1, b"!".to_vec())];
    assert_eq!(pair.pieces(), pieces);
    assert!(pair.done().is_empty());
    pair.ends(1);
    pair.server.reply(&asked[1], &Reply::None).reply(&asked[0], &Reply::None);
    pair.deliver().unwrap();
    let done: Vec<u32> = pair
        .done()
        .into_iter()
        .map(|(token, outcome)| {
            assert!(matches!(outcome, Ok(Answer::Reply(Reply::None))));
            token
        })
        .collect();
    assert_eq!(done, [2, 1]);
    // The same may be asked for again, and be empty.
    pair.engine.load_blob(Oid::from_u64(1), SERIAL, 3).unwrap();
    let asked = pair.asked_one();
    pair.begins(1);
    pair.ends(1);
    pair.server.reply(&asked, &Reply::None);
    pair.deliver().unwrap();
    assert!(matches!(&pair.done()[..], [(3, Ok(_))]));
}

/// Python's server answers `sendBlob` with an error, or, where the file is missing, with nothing at all.
#[test]
fn blobs_that_are_not_there() {
    let mut pair = Pair::ready(10);
    pair.engine.load_blob(Oid::from_u64(1), SERIAL, 1).unwrap();
    let asked = pair.asked_one();
    pair.server.reply(&asked, &Reply::None);
    pair.deliver().unwrap();
    assert!(matches!(&pair.done()[..], [(1, Err(Error::NoBlob { .. }))]));
    pair.engine.load_blob(Oid::from_u64(1), SERIAL, 2).unwrap();
    let asked = pair.asked_one();
    // Broken off after its beginning.
    pair.begins(1);
    pair.goes_on(1, b"half");
    pair.server.refuse(&asked, "ZODB.POSException.POSKeyError", vec![Value::from("No blob file")]);
    pair.deliver().unwrap();
    let done = pair.done();
    let [(2, Err(error))] = &done[..] else { panic!("{done:?}") };
    assert!(error.is_no_such_object(), "{error}");
    assert!(pair.engine.is_ready());
}

#[test]
fn pieces_that_do_not_fit_end_the_connection() {
    let wrong: [fn(&mut Pair); 7] = [
        |pair| pair.begins(2),
        |pair| pair.goes_on(1, b"early"),
        |pair| pair.ends(1),
        |pair| {
            pair.begins(1);
            pair.begins(1);
        },
        |pair| {
            pair.begins(1);
            pair.ends(1);
            pair.goes_on(1, b"late");
        },
        |pair| {
            pair.begins(1);
            pair.goes_on(2, b"another one's");
        },
        |pair| {
            pair.begins(1);
            pair.ends(1);
            pair.ends(1);
        },
    ];
    for (number, wrong) in wrong.iter().enumerate() {
        let mut pair = Pair::ready(10);
        pair.engine.load_blob(Oid::from_u64(1), SERIAL, 1).unwrap();
        pair.asked_one();
        wrong(&mut pair);
        let error = pair.deliver().unwrap_err();
        assert!(matches!(*error, ConnectionError::BlobOutOfOrder { .. }), "{number}: {error}");
        let done = pair.done();
        assert!(matches!(&done[..], [(1, Err(Error::Disconnected(_)))]), "{number}: {done:?}");
    }
    // It ends before it ends.
    let mut pair = Pair::ready(10);
    pair.engine.load_blob(Oid::from_u64(1), SERIAL, 1).unwrap();
    let asked = pair.asked_one();
    pair.begins(1);
    pair.server.reply(&asked, &Reply::None);
    let error = pair.deliver().unwrap_err();
    assert!(matches!(*error, ConnectionError::BlobOutOfOrder { .. }), "{error}");
    assert!(matches!(&pair.done()[..], [(1, Err(Error::Disconnected(_)))]));
}

#[test]
fn a_blob_that_never_ends_ends_the_connection() {
    let mut pair = Pair::ready(10);
    pair.engine.set_blob_len_max(100);
    pair.engine.load_blob(Oid::from_u64(1), SERIAL, 1).unwrap();
    pair.asked_one();
    pair.begins(1);
    pair.goes_on(1, &[0; 60]);
    pair.goes_on(1, &[0; 40]);
    pair.deliver().unwrap();
    pair.goes_on(1, &[0]);
    let error = pair.deliver().unwrap_err();
    assert!(matches!(*error, ConnectionError::BlobTooLong { len_max: 100, .. }), "{error}");
    assert!(matches!(&pair.done()[..], [(1, Err(Error::Disconnected(_)))]));
}
