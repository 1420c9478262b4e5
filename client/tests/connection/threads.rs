//! The client for threads, where there is no server.

use std::time::Duration;

use zeo_client::cache::{Cache as _, FileCache, Revision};
use zeo_client::{Address, Builder, Error, Oid, Tid};

/// A program of threads begins with what its cache file holds, while its server is away.
#[test]
fn a_thread_starts_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client.zec");
    let revision = Revision { data: "data".into(), serial: Tid::from_u64(5), end: None };
    let mut cache = FileCache::open(&path, 1000).unwrap();
    cache.store(Oid::ZERO, &revision).unwrap();
    cache.set_last_tid(Tid::from_u64(7)).unwrap();
    drop(cache);
    let builder = Builder::new(Address::Unix(dir.path().join("nobody.sock")))
        .cache_file(&path, 1000)
        .wait_timeout(Duration::from_millis(20));
    let client = builder.start_blocking().unwrap();
    assert_eq!(client.last_transaction(), Tid::from_u64(7));
    assert_eq!(client.load_current(Oid::ZERO).unwrap(), revision);
    assert_eq!(client.prefetch([Oid::ZERO], Tid::MAX).count(), 1);
    let error = client.new_oids().unwrap_err();
    assert!(matches!(error, Error::Disconnected(_)), "{error}");
    let number = client.connection_number();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.next_connection(number));
        client.close();
        assert_eq!(waiting.join().unwrap(), None);
    });
}
