//! What options mean at their ends.

use std::time::Duration;

use tokio::time::Instant;
use zeo_client::{Address, BlobOptions, Builder, Client, Error, Oid, Tid};
use zeo_codec::call::Loaded;
use zeo_codec::{Method, Reply};

use crate::pair;
use crate::support::{Connection, Listener};

/// Loads an object, of which the server is asked.
async fn ask(client: &Client, connection: &mut Connection) {
    let (loaded, ()) = tokio::join!(client.load_current(Oid::ZERO), async {
        let id = connection.expect(Method::LoadBefore).await;
        let loaded = Loaded { data: b"data".into(), serial: Tid::from_u64(5), end: None };
        connection.reply(&id, &Reply::Loaded(loaded)).await;
    });
    assert_eq!(loaded.unwrap().serial, Tid::from_u64(5));
}

/// As Python's client: 20 MB in a temporary file.
#[tokio::test]
async fn there_is_a_cache_unless_it_is_turned_off() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, Builder::new(listener.path())).await;
    ask(&client, &mut connection).await;
    // Nobody answers.
    assert_eq!(client.load_current(Oid::ZERO).await.unwrap().serial, Tid::from_u64(5));

    let (client, mut connection) = pair(&listener, Builder::new(listener.path()).no_cache()).await;
    for _ in 0..2 {
        ask(&client, &mut connection).await;
    }
}

#[tokio::test]
async fn a_blob_cache_that_would_keep_nothing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (check_percent, is_taken) in [(99, true), (100, false), (u8::MAX, false)] {
        let blobs = BlobOptions { check_percent, ..BlobOptions::new(directory.path().join("blobs")) };
        let started = Builder::new(1).blobs(blobs).start();
        assert_eq!(!matches!(started, Err(Error::Options(_))), is_taken, "{started:?}");
    }
}

/// Whoever has nowhere to go waits to be told.
#[tokio::test(start_paused = true)]
async fn without_addresses_no_attempt_is_made() {
    let listener = Listener::bind();
    let (client, connection) = pair(&listener, listener.client()).await;
    client.set_addresses([]);
    drop(connection);
    let error = client.ping().await.unwrap_err();
    assert!(matches!(error, Error::Disconnected(_)), "{error}");
    let error = client.ping().await.unwrap_err();
    assert!(matches!(error, Error::Disconnected(_)), "{error}");
    let attempt = tokio::time::timeout(Duration::from_secs(60), listener.accept_silently()).await;
    assert!(attempt.is_err(), "an attempt was made");
    client.set_addresses([Address::Unix(listener.path())]);
    let _connection = listener.accept_ready(7).await;
    client.wait().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_want_to_wait_does_not() {
    let listener = Listener::bind();
    let started = Instant::now();
    let error = listener.client().wait_timeout(Duration::ZERO).connect().await.unwrap_err();
    assert!(matches!(error, Error::Disconnected(_)), "{error}");
    assert_eq!(started.elapsed(), Duration::ZERO);
}
