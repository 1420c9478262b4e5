//! Batches, and connections that are not there.

use zeo_client::cache::{Cache as _, FileCache, Revision};
use zeo_client::{Error, Oid, Tid};
use zeo_codec::call::Loaded;
use zeo_codec::{Method, Reply};

use crate::pair;
use crate::support::{Connection, Listener};

/// Answers loads with revisions of these data.
async fn answer(connection: &mut Connection, all: &[&'static [u8]]) {
    for data in all {
        let id = connection.expect(Method::LoadBefore).await;
        let loaded = Loaded { data: (*data).into(), serial: Tid::from_u64(5), end: None };
        connection.reply(&id, &Reply::Loaded(loaded)).await;
    }
}

/// C8 for a batch: what is cached comes at once, the rest waits as other new calls do, in its order.
#[tokio::test]
async fn a_batch_waits_for_a_connection() {
    let mut cache = FileCache::temporary(1000).unwrap();
    let kept = Revision { data: "kept".into(), serial: Tid::from_u64(5), end: None };
    cache.store(Oid::from_u64(2), &kept).unwrap();
    cache.set_last_tid(Tid::from_u64(7)).unwrap();
    let listener = Listener::bind();
    let client = listener.client().cache(cache).start().unwrap();
    let mut answers = client.prefetch([1, 2, 3].map(Oid::from_u64), Tid::MAX);
    let (oid, found) = answers.next().await.unwrap();
    assert_eq!((oid, found.unwrap()), (Oid::from_u64(2), Some(kept)));
    let (found, _connection) = tokio::join!(
        async {
            let mut found = Vec::new();
            while let Some((oid, answer)) = answers.next().await {
                found.push((oid.to_u64(), answer.unwrap().unwrap().data));
            }
            found
        },
        async {
            let mut connection = listener.accept_ready(7).await;
            answer(&mut connection, &[b"one", b"three"]).await;
            connection
        }
    );
    assert_eq!(found, [(1, "one".into()), (3, "three".into())]);
}

/// What is in flight fails with its connection; when there is none in time, so does what waits, each for itself.
#[tokio::test]
async fn a_batch_without_a_connection_fails_in_the_end() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    let mut answers = client.prefetch([1, 2].map(Oid::from_u64), Tid::MAX);
    answer(&mut connection, &[b"one"]).await;
    assert!(answers.next().await.unwrap().1.is_ok());
    drop((connection, listener));
    let lost = answers.next().await.unwrap().1;
    assert!(matches!(lost, Err(Error::Disconnected(_))), "{lost:?}");

    tokio::time::pause();
    let mut answers = client.prefetch([3, 4].map(Oid::from_u64), Tid::MAX);
    for oid in [3, 4] {
        let (failed, answer) = answers.next().await.unwrap();
        assert_eq!(failed, Oid::from_u64(oid));
        assert!(matches!(answer, Err(Error::Disconnected(_))), "{answer:?}");
    }
    assert!(answers.next().await.is_none());
    let mut answers = client.prefetch([Oid::from_u64(5)], Tid::MAX);
    client.close();
    assert!(matches!(answers.next().await, Some((_, Err(Error::Closed)))));
}
