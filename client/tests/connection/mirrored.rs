//! Scenarios of Python's own tests, which each names, that need a server of the test's own.

use std::task::{Context, Poll, Waker};

use zeo_client::{Error, Metadata, Oid, Tid};
use zeo_codec::{Method, Reply};

use crate::pair;
use crate::support::Listener;

/// A server that does not read holds up who writes, and neither has to keep it all. Python test:
/// `ClientTests.test_flow_control`.
#[tokio::test]
async fn what_is_not_read_is_not_written_without_end() {
    const RECORD_LEN: usize = 32 << 10;
    const COUNT: u64 = 2_000;
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    let mut transaction = client.begin(Metadata::default()).await.unwrap();
    let mut accepted = 0;
    // Nobody reads.
    loop {
        let store = transaction.store(Oid::from_u64(accepted), Tid::ZERO, vec![b'x'; RECORD_LEN]);
        match std::pin::pin!(store).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(stored) => stored.unwrap(),
            Poll::Pending => break,
        }
        accepted += 1;
        // 4 MiB, what the socket holds, and a record that goes beyond.
        assert!(accepted < COUNT / 4, "{accepted} records are kept");
    }
    assert!(accepted > 0);
    // As soon as somebody does it goes on.
    let store = async {
        for oid in accepted..COUNT {
            transaction.store(Oid::from_u64(oid), Tid::ZERO, vec![b'x'; RECORD_LEN]).await.unwrap();
        }
        transaction.vote().await.unwrap()
    };
    let (voted, ()) = tokio::join!(store, async {
        connection.expect(Method::TpcBegin).await;
        for _ in 0..COUNT {
            connection.expect(Method::Storea).await;
        }
        let id = connection.expect(Method::Vote).await;
        connection.reply(&id, &Reply::Voted(Vec::new())).await;
    });
    drop(voted);
    connection.expect(Method::TpcAbort).await;
}

/// Whoever is about to commit, and whoever waits for that, learns that the client was closed. Python tests:
/// `ThreadTests.checkDisconnectedOnThread2Close`, `checkSecondBeginFails`.
#[tokio::test]
async fn closing_ends_a_transaction_and_the_next_one() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    let transaction = client.begin(Metadata::default()).await.unwrap();
    let (voted, ()) = tokio::join!(transaction.vote(), async {
        connection.expect(Method::TpcBegin).await;
        let id = connection.expect(Method::Vote).await;
        connection.reply(&id, &Reply::Voted(Vec::new())).await;
    });
    let voted = voted.unwrap();
    let mut second = std::pin::pin!(client.begin(Metadata::default()));
    assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    client.close();
    let finished = voted.finish().await;
    assert!(matches!(finished, Err(Error::Closed)), "{finished:?}");
    let begun = second.await;
    assert!(matches!(begun, Err(Error::Closed)), "{begun:?}");
    assert!(connection.next().await.is_none());
}

/// A server forgets an iterator that has come to its end by itself; of one that is given up it is told. Python tests:
/// `IterationTests.checkIteratorGCProtocol`, `checkIteratorExhaustionStorage`, `checkIteratorGCStorageCommitting`,
/// `checkIteratorGCStorageTPCAborting`.
#[tokio::test]
async fn iterators_are_given_back_once() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    for is_exhausted in [true, false] {
        let (iterator, ()) = tokio::join!(client.iterate(None, None), async {
            let id = connection.expect(Method::IteratorStart).await;
            connection.reply(&id, &Reply::IteratorId(3)).await;
        });
        let mut iterator = iterator.unwrap();
        if is_exhausted {
            let (next, ()) = tokio::join!(iterator.next(), async {
                let id = connection.expect(Method::IteratorNext).await;
                connection.reply(&id, &Reply::None).await;
            });
            assert_eq!(next.unwrap(), None);
            // Nobody answers.
            assert_eq!(iterator.next().await.unwrap(), None);
        }
        drop(iterator);
        if !is_exhausted {
            connection.expect(Method::IteratorGc).await;
        }
        let (answered, ()) = tokio::join!(client.ping(), async {
            let id = connection.expect(Method::Ping).await;
            connection.reply(&id, &Reply::None).await;
        });
        answered.unwrap();
    }
}

/// Iterators go with their connection, and the next one hears nothing of them. Python tests:
/// `IterationTests.checkIteratorGCStorageDisconnect`, `iterator_sane_after_reconnect`.
#[tokio::test]
async fn iterators_end_with_their_connection() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    let (iterator, ()) = tokio::join!(client.iterate(None, None), async {
        let id = connection.expect(Method::IteratorStart).await;
        connection.reply(&id, &Reply::IteratorId(3)).await;
    });
    let mut iterator = iterator.unwrap();
    drop(connection);
    let mut connection = listener.accept_ready(7).await;
    client.wait().await.unwrap();
    let next = iterator.next().await;
    assert!(matches!(next, Err(Error::Disconnected(_))), "{next:?}");
    drop(iterator);
    let (answered, ()) = tokio::join!(client.ping(), async {
        let id = connection.expect(Method::Ping).await;
        connection.reply(&id, &Reply::None).await;
    });
    answered.unwrap();
}
