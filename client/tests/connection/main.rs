//! Connections that come and go, under a clock of the test's own. What needs no clock and no socket is tested in the
//! engine.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod blobs;
mod mirrored;
mod options;
mod prefetch;
mod support;
mod threads;

use std::time::Duration;

use support::Listener;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use zeo_client::cache::{Cache, Revision};
use zeo_client::{Access, Address, Builder, Client, ConnectionError, Error, Metadata, Oid, Tid};
use zeo_codec::call::Loaded;
use zeo_codec::{Method, Reply};

/// Connects both sides.
async fn pair(listener: &Listener, builder: Builder) -> (Client, support::Connection) {
    let (client, connection) = tokio::join!(builder.connect(), listener.accept_ready(7));
    (client.unwrap(), connection)
}

/// Protocol reference 3.1: every 60 s, idle or not. The bytes are those of `(-1, 0, ".reply", None)` in the protocol's
/// pickles.
#[tokio::test]
async fn the_server_hears_from_an_idle_client_every_minute() {
    let listener = Listener::bind();
    let (_client, mut connection) = pair(&listener, listener.client()).await;
    tokio::time::pause();
    let started = Instant::now();
    for minute in [1.0, 2.0, 3.0] {
        let mut frame = [0; 28];
        connection.stream.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame, b"\0\0\0\x18\x80\x03(J\xff\xff\xff\xffK\0X\x06\0\0\0.replyNt.");
        // The connection is a moment older than the stopped clock.
        assert_eq!(started.elapsed().as_secs_f64().round(), minute * 60.0);
    }
}

/// C8: what is in flight fails at once, what is new waits for a connection, and no longer than it should.
#[tokio::test]
async fn new_calls_wait_for_the_next_connection() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    let (lost, ()) = tokio::join!(client.ping(), async {
        connection.expect(Method::Ping).await;
        drop(connection);
    });
    let Err(Error::Disconnected(why)) = lost else { panic!("{lost:?}") };
    assert!(matches!(*why, ConnectionError::Ended | ConnectionError::Io(_)), "{why}");

    let (answered, ()) = tokio::join!(client.ping(), async {
        let mut connection = listener.accept_ready(7).await;
        let id = connection.expect(Method::Ping).await;
        connection.reply(&id, &Reply::None).await;
        drop(connection);
    });
    answered.unwrap();

    // Nobody accepts any more.
    drop(listener);
    tokio::time::pause();
    let started = Instant::now();
    let error = client.ping().await.unwrap_err();
    assert!(matches!(error, Error::Disconnected(_)) && error.is_transient(), "{error}");
    assert_eq!(started.elapsed().as_secs(), 30);
}

/// A transaction does not go over to the next connection.
#[tokio::test]
async fn a_transaction_ends_with_its_connection() {
    let listener = Listener::bind();
    let (client, connection) = pair(&listener, listener.client()).await;
    let mut transaction = client.begin(Metadata::default()).await.unwrap();
    drop(connection);
    let mut connection = listener.accept_ready(7).await;
    client.wait().await.unwrap();
    let stored = transaction.store(Oid::ZERO, Tid::ZERO, "data").await;
    assert!(matches!(stored, Err(Error::Disconnected(_))), "{stored:?}");
    let voted = transaction.vote().await;
    assert!(matches!(voted, Err(Error::Disconnected(_))), "{voted:?}");
    // Nothing of it was sent, not even its abort; and the next one begins.
    let next = client.begin(Metadata::default()).await.unwrap();
    let (voted, ()) = tokio::join!(next.vote(), async {
        connection.expect(Method::TpcBegin).await;
        let id = connection.expect(Method::Vote).await;
        connection.reply(&id, &Reply::Voted(Vec::new())).await;
    });
    drop(voted.unwrap());
    connection.expect(Method::TpcAbort).await;
}

/// Oids that one connection handed out are not used in the next: its server may hand them out again.
#[tokio::test]
async fn oids_end_with_their_connection() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    let serve = async |connection: &mut support::Connection, oids: [u64; 2]| {
        let id = connection.expect(Method::NewOids).await;
        connection.reply(&id, &Reply::Oids(oids.map(Oid::from_u64).to_vec())).await;
    };
    let (oid, ()) = tokio::join!(client.new_oid(), serve(&mut connection, [1, 2]));
    assert_eq!(oid.unwrap(), Oid::from_u64(1));
    drop(connection);
    let mut connection = listener.accept_ready(7).await;
    client.wait().await.unwrap();
    let (oid, ()) = tokio::join!(client.new_oid(), serve(&mut connection, [8, 9]));
    assert_eq!(oid.unwrap(), Oid::from_u64(8));
    assert_eq!(client.new_oid().await.unwrap(), Oid::from_u64(9));
}

/// One of several servers will do, and what is wrong with the last one is told if none does.
#[tokio::test]
async fn the_first_server_that_registers_the_client_is_used() {
    let listener = Listener::bind();
    let silent = Listener::bind();
    let nobody = Address::Unix(listener.path().with_extension("nobody"));
    let builder = Builder::new(nobody.clone()).and_address(silent.path()).and_address(listener.path());
    let (client, mut connection) = pair(&listener, builder).await;
    let (answered, ()) = tokio::join!(client.ping(), async {
        let id = connection.expect(Method::Ping).await;
        connection.reply(&id, &Reply::None).await;
    });
    answered.unwrap();

    let error = Builder::new(nobody).wait_timeout(Duration::from_millis(20)).connect().await.unwrap_err();
    let Error::Disconnected(why) = error else { panic!("{error}") };
    assert!(
        matches!(&*why, ConnectionError::Io(error) if error.kind() == std::io::ErrorKind::NotFound),
        "{why}"
    );
}

/// A server that says nothing is given up, and another attempt is made.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_greet_is_given_up() {
    let listener = Listener::bind();
    let builder =
        listener.client().handshake_timeout(Duration::from_secs(5)).wait_timeout(Duration::from_secs(12));
    let attempts = async {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept_silently().await);
        }
    };
    let started = Instant::now();
    let error = tokio::select! {
        connected = builder.connect() => connected.unwrap_err(),
        () = attempts => unreachable!(),
    };
    assert_eq!(started.elapsed().as_secs(), 12);
    let Error::Disconnected(why) = error else { panic!("{error}") };
    assert!(matches!(*why, ConnectionError::HandshakeTimeout(limit) if limit.as_secs() == 5), "{why}");
}

/// C4, seen from the application.
#[tokio::test]
async fn a_server_behind_the_client_is_told() {
    let listener = Listener::bind();
    let (client, connection) =
        pair(&listener, listener.client().wait_timeout(Duration::from_millis(50))).await;
    drop(connection);
    let mut connection = listener.accept().await;
    connection.register(6).await;
    assert!(connection.next().await.is_none(), "it was not hung up on");
    let error = client.ping().await.unwrap_err();
    assert!(error.to_string().contains("is behind"), "{error}");
}

/// C4: of several servers, one that is behind does not keep the client from the others.
#[tokio::test]
async fn a_server_behind_the_client_leaves_the_place_to_others() {
    let (listener, behind) = (Listener::bind(), Listener::bind());
    let builder = listener.client().and_address(behind.path());
    let ((client, connection), _unregistered) =
        tokio::join!(pair(&listener, builder), behind.accept_silently());
    drop(connection);
    // The one that is behind answers first.
    let late = async {
        let mut connection = behind.accept().await;
        connection.register(6).await;
        assert!(connection.next().await.is_none(), "it was not hung up on");
        listener.accept_ready(7).await
    };
    let (waited, _connection) = tokio::join!(client.wait(), late);
    waited.unwrap();
}

/// A client that only reads need not ask anybody whether it may write.
#[tokio::test]
async fn who_only_reads_does_not_wait_to_be_refused() {
    let listener = Listener::bind();
    let client = listener.client().access(Access::ReadOnly).start().unwrap();
    assert!(client.is_read_only());
    assert!(matches!(client.begin(Metadata::default()).await, Err(Error::ReadOnly)));
    assert!(matches!(client.new_oid().await, Err(Error::ReadOnly)));
}

/// A frame that is announced with more than the limit ends the connection before memory is taken.
#[tokio::test]
async fn a_hostile_server_is_hung_up_on() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    connection.stream.write_all(b"\xff\xff\xff\xff").await.unwrap();
    assert!(connection.next().await.is_none(), "it was not hung up on");
    // And the next one may be better.
    let mut connection = listener.accept_ready(7).await;
    let (answered, ()) = tokio::join!(client.ping(), async {
        let id = connection.expect(Method::Ping).await;
        connection.reply(&id, &Reply::None).await;
    });
    answered.unwrap();
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    let mut invalidations = client.invalidations();
    let other = client.clone();
    drop(client);
    let (answered, ()) = tokio::join!(other.ping(), async {
        let id = connection.expect(Method::Ping).await;
        connection.reply(&id, &Reply::None).await;
    });
    answered.unwrap();
    drop(other);
    assert!(connection.next().await.is_none());
    assert_eq!(invalidations.next().await, None);
}

/// A transaction is a handle, too.
#[tokio::test]
async fn a_transaction_outlives_the_last_client() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    let transaction = client.begin(Metadata::default()).await.unwrap();
    drop(client);
    let finished = async { transaction.vote().await.unwrap().finish().await };
    let (finished, ()) = tokio::join!(finished, async {
        connection.expect(Method::TpcBegin).await;
        let id = connection.expect(Method::Vote).await;
        connection.reply(&id, &Reply::Voted(Vec::new())).await;
        let id = connection.expect(Method::TpcFinish).await;
        connection.reply(&id, &Reply::Tid(Tid::from_u64(8))).await;
    });
    assert_eq!(finished.unwrap(), Tid::from_u64(8));
    assert!(connection.next().await.is_none());
}

/// Python test: `test_sync.SyncTests.test_server_sync`.
#[tokio::test]
async fn only_with_server_sync_the_server_is_asked() {
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client()).await;
    client.sync().await.unwrap();
    let (answered, ()) = tokio::join!(client.server_status(), async {
        // It was not asked before.
        let id = connection.expect(Method::ServerStatus).await;
        connection.reply(&id, &Reply::Value(zeo_client::Value::Dict(Vec::new()))).await;
    });
    answered.unwrap();
    drop(client);
    let (client, mut connection) = pair(&listener, listener.client().server_sync(true)).await;
    let (synced, ()) = tokio::join!(client.sync(), async {
        let id = connection.expect(Method::Ping).await;
        connection.invalidate(9).await;
        connection.reply(&id, &Reply::None).await;
    });
    synced.unwrap();
    assert_eq!(client.last_transaction(), Tid::from_u64(9));
}

/// A revision of one object, in memory.
#[derive(Debug, Default)]
struct OneObject {
    revision: Option<Revision>,
    last: Option<Tid>,
}

impl Cache for OneObject {
    fn last_tid(&self) -> Option<Tid> {
        self.last
    }

    fn set_last_tid(&mut self, tid: Tid) -> std::io::Result<()> {
        self.last = Some(tid);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.revision.is_none()
    }

    fn load_before(&mut self, _: Oid, before: Tid) -> std::io::Result<Option<Revision>> {
        Ok(self.revision.clone().filter(|revision| revision.serial < before))
    }

    fn store(&mut self, _: Oid, revision: &Revision) -> std::io::Result<()> {
        self.revision = Some(revision.clone());
        Ok(())
    }

    fn invalidate(&mut self, _: Oid, _: Option<Tid>) -> std::io::Result<()> {
        self.revision = None;
        Ok(())
    }

    fn current(&mut self) -> std::io::Result<Vec<(Oid, Tid)>> {
        Ok(self.revision.iter().map(|revision| (Oid::ZERO, revision.serial)).collect())
    }

    fn clear(&mut self) -> std::io::Result<()> {
        self.revision = None;
        Ok(())
    }
}

/// Python tests: `ConnectionTests.checkDisconnectedCacheWorks`, `checkDisconnectedCacheFails`.
#[tokio::test]
async fn what_is_cached_is_served_without_a_server() {
    let listener = Listener::bind();
    let builder = listener.client().cache(OneObject::default()).wait_timeout(Duration::from_millis(50));
    let (client, mut connection) = pair(&listener, builder).await;
    let revision = Revision { data: "data".into(), serial: Tid::from_u64(5), end: None };
    let (loaded, ()) = tokio::join!(client.load_current(Oid::ZERO), async {
        let id = connection.expect(Method::LoadBefore).await;
        let loaded = Loaded { data: b"data".into(), serial: Tid::from_u64(5), end: None };
        connection.reply(&id, &Reply::Loaded(loaded)).await;
    });
    assert_eq!(loaded.unwrap(), revision);
    drop((connection, listener));
    assert_eq!(client.load_current(Oid::ZERO).await.unwrap(), revision);
    // What is not cached waits for a server, as long as it may.
    let error = client.load_before(Oid::ZERO, Tid::from_u64(4)).await.unwrap_err();
    assert!(matches!(error, Error::Disconnected(_)), "{error}");
}

/// A process that is killed leaves in its cache file what it has loaded, but for the last moment.
#[tokio::test(start_paused = true)]
async fn what_is_loaded_is_in_the_file_soon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client.zec");
    let listener = Listener::bind();
    let (client, mut connection) = pair(&listener, listener.client().cache_file(&path, 1000)).await;
    let (loaded, ()) = tokio::join!(client.load_current(Oid::ZERO), async {
        let id = connection.expect(Method::LoadBefore).await;
        let loaded = Loaded { data: b"what was loaded".into(), serial: Tid::from_u64(5), end: None };
        connection.reply(&id, &Reply::Loaded(loaded)).await;
    });
    loaded.unwrap();
    tokio::time::sleep(Duration::from_millis(21)).await;
    let file = std::fs::read(&path).unwrap();
    // Behind the head of the first block.
    assert_eq!((file.get(12), file.get(47..62)), (Some(&b'a'), Some(&b"what was loaded"[..])));
}

/// Addresses that change while there is no connection are tried at once.
#[tokio::test(start_paused = true)]
async fn new_addresses_are_tried_at_once() {
    let listener = Listener::bind();
    let nobody = Address::Unix(listener.path().with_extension("nobody"));
    let client = Builder::new(nobody).disconnect_poll(Duration::from_secs(1000)).start().unwrap();
    // The first attempt has failed when this time has passed: nothing else moves the clock.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    client.set_addresses([Address::Unix(listener.path())]);
    let _connection = listener.accept_ready(7).await;
    client.wait().await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 0);
}
