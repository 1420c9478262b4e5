//! Our server in front of another one (`<clientstorage>`): clients of either see the same, in the same order.

use std::io::Read as _;
use std::time::Duration;

use zeo_client::{BlobOptions, Client, Conflict, Error, Invalidation, Metadata, Oid, Tid};
use zeo_conformance::config::{ServerConfig, blob_dir, file_section};
use zeo_conformance::server::{Server, free_port};

use crate::world::{Result, World, builder, commit_all, next, next_tid_and_oids, record, run};

/// The database record of a blob.
const RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x01.\x80\x03N.";

/// The server behind, with blobs.
fn behind(world: &World) -> ServerConfig {
    let config = world.config();
    let section = file_section("1", &config.storage_path, &blob_dir(&world.path("server-blobs")));
    ServerConfig { storage_section: Some(section), port: Some(free_port()), ..config }
}

/// The one in front of it.
fn in_front(world: &World, behind: &Server, number: u32) -> ServerConfig {
    let (address, blobs) = (behind.address(), world.path(&format!("relay-{number}")));
    let section = format!(
        "<clientstorage 1>\n  server {address}\n  blob-dir {}\n  wait-timeout 20\n</clientstorage>\n",
        blobs.display()
    );
    ServerConfig { storage_section: Some(section), ..world.config() }
}

async fn both(behind: &Server, front: &Server) -> Result<(Client, Client)> {
    Ok((builder(behind).connect().await?, builder(front).connect().await?))
}

/// Commits on both sides, their announcements, loads, conflicts and blobs. Python test: `zeo-fan-out.test`.
pub(crate) fn relay(world: &World) -> Result {
    let behind = world.server(&behind(world))?;
    let front = world.own_server(&in_front(world, &behind, 1))?;
    let mut peer = world.peer_with(&front, &["--blobs", &world.path("peer-blobs").display().to_string()])?;
    run(async {
        let (direct, client) = both(&behind, &front).await?;
        let (mut told_direct, mut told) = (direct.invalidations(), client.invalidations());
        let oid = client.new_oid().await?;
        assert_ne!(oid, direct.new_oid().await?);
        // Through the relay, and seen behind it.
        let first = commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        // ZEO 4 does not announce transactions that bring new objects only.
        if !world.is_zeo4() {
            assert_eq!(next_tid_and_oids(&mut told_direct).await?, (first, vec![oid]));
        }
        assert_eq!(next_tid_and_oids(&mut told).await?, (first, vec![oid]));
        assert_eq!(direct.load_current(oid).await?.data, record("first"));
        // Behind the relay, and seen through it.
        let second = commit_all(&direct, &[(oid, first, "second")]).await?;
        assert_eq!(next_tid_and_oids(&mut told).await?, (second, vec![oid]));
        assert_eq!(client.last_transaction(), second);
        let revision = client.load_current(oid).await?;
        assert_eq!((&*revision.data, revision.serial), (&*record("second"), second));
        let revision = client.load_before(oid, second).await?.ok_or("no revision")?;
        assert_eq!((revision.serial, revision.end), (first, Some(second)));
        assert_eq!(client.load_serial(oid, first).await?, record("first"));
        assert_eq!(client.tid_of(oid).await?, second);
        assert_eq!(client.history(oid, 10).await?.len(), 2);
        assert_eq!(client.undo_log(0, 10).await?.len(), 2);
        assert!(client.load_current(Oid::from_u64(0x7777)).await.is_err_and(|e| e.is_no_such_object()));
        // Conflicts are those of the server behind, whoever resolves them.
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, first, record("late")).await?;
        let error = transaction.vote().await.unwrap_err();
        assert_eq!(error.conflict(), Some(Conflict { oid, committed: second, read: first }), "{error}");
        // The lock is free, on both.
        let third = commit_all(&client, &[(oid, second, "third")]).await?;
        let fourth = commit_all(&direct, &[(oid, third, "fourth")]).await?;
        assert_eq!(next(&mut told).await?.tid(), third);
        assert_eq!(next(&mut told).await?.tid(), fourth);
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.check_current(oid, third).await?;
        assert!(transaction.vote().await.is_err_and(|error| error.is_transient()));
        // Undo.
        let log = client.undo_log(0, 1).await?;
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.undo(&log[0].id).await?;
        let transaction = transaction.vote().await?;
        assert_eq!(transaction.resolved(), [oid]);
        let fifth = transaction.finish().await?;
        assert_eq!(client.load_current(oid).await?.data, record("third"));
        // Python's client in front.
        let (sixth, data) = peer.commit(&[oid], "sixth")?;
        assert!(sixth > fifth);
        assert_eq!(direct.load_current(oid).await?.data, data);
        let blob = direct.new_oid().await?;
        let (tid, _) = peer.store_blob(blob, "blob ", 50_000)?;
        let loading = BlobOptions::new(world.path("blobs"));
        let loader = builder(&behind).blobs(loading).connect().await?;
        let mut content = Vec::new();
        loader.load_blob(blob, tid).await?.reader().read_to_end(&mut content)?;
        assert_eq!(content, b"blob ".repeat(50_000));
        // And stored behind, loaded through the relay.
        let file = world.path("file");
        std::fs::write(&file, b"other ".repeat(50_000))?;
        let mut transaction = loader.begin(Metadata::default()).await?;
        transaction.store_blob(blob, tid, RECORD, &file).await?;
        let tid = transaction.vote().await?.finish().await?;
        peer.announced(tid)?;
        assert_eq!(peer.load_blob(blob, tid)?.0, b"other ".repeat(50_000));
        Ok(())
    })?;
    peer.end()?;
    front.stop()?;
    Ok(behind.stop()?)
}

/// Conflicts that the server behind leaves to its clients reach those of the relay, are resolved by them, and voted on
/// again in the same transaction. Python test: `test_client_side_conflict_resolution.py`, through a relay.
pub(crate) fn conflict(world: &World) -> Result {
    let behind = world.server(&ServerConfig { client_conflict_resolution: true, ..behind(world) })?;
    let front = world.own_server(&in_front(world, &behind, 1))?;
    run(async {
        let (direct, client) = both(&behind, &front).await?;
        let (oid, untouched) = (client.new_oid().await?, client.new_oid().await?);
        let first =
            commit_all(&client, &[(oid, Tid::ZERO, "first"), (untouched, Tid::ZERO, "as it was")]).await?;
        let second = commit_all(&direct, &[(oid, first, "second")]).await?;
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, first, record("mine")).await?;
        transaction.store(untouched, first, record("changed")).await?;
        let mut asked = Vec::new();
        let transaction = transaction
            .vote_resolving(|unresolved| {
                asked.push(unresolved.clone());
                Some(record("merged").into())
            })
            .await?;
        let third = transaction.finish().await?;
        let [unresolved] = &asked[..] else { return Err(format!("{asked:?}").into()) };
        assert_eq!(unresolved.conflict, Conflict { oid, committed: second, read: first });
        assert_eq!((&*unresolved.old, &*unresolved.committed), (&*record("first"), &*record("second")));
        assert_eq!(unresolved.new, record("mine"));
        for (oid, text) in [(oid, "merged"), (untouched, "changed")] {
            let revision = direct.load_current(oid).await?;
            assert_eq!((&*revision.data, revision.serial), (&*record(text), third));
        }
        // Given up in the middle: the lock is free on both sides.
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, first, record("late")).await?;
        assert!(transaction.vote().await.is_err_and(|error| error.conflict().is_some()));
        let fourth = commit_all(&direct, &[(oid, third, "fourth")]).await?;
        commit_all(&client, &[(oid, fourth, "fifth")]).await?;
        Ok(())
    })?;
    front.stop()?;
    Ok(behind.stop()?)
}

/// Commits, again if the connection is lost meanwhile: when the server behind comes back, the clients of the relay have
/// to come back, too.
async fn commit_again(client: &Client, oid: Oid, serial: Tid, text: &'static str) -> Result<Tid> {
    loop {
        let mut transaction = client.begin(Metadata::default()).await?;
        let voted = async {
            transaction.store(oid, serial, record(text)).await?;
            transaction.vote().await
        };
        match voted.await {
            Ok(voted) => return Ok(voted.finish().await?),
            Err(Error::Disconnected(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The server behind goes and comes back, and others commit meanwhile: the clients of the relay learn of it, and go on.
pub(crate) fn restart(world: &World) -> Result {
    let config = ServerConfig { invalidation_queue_size: Some(2), ..behind(world) };
    let server = world.server(&config)?;
    let front = world.own_server(&in_front(world, &server, 1))?;
    let oid = Oid::from_u64(7);
    run(async {
        let client = builder(&front).connect().await?;
        let mut told = client.invalidations();
        let first = commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        assert_eq!(next(&mut told).await?.tid(), first);
        server.stop()?;
        // What is asked meanwhile waits.
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.load_serial(oid, first).await }
        });
        let server = world.server(&config)?;
        assert_eq!(waiting.await??, record("first"));
        let direct = builder(&server).connect().await?;
        let second = commit_all(&direct, &[(oid, first, "second")]).await?;
        while next(&mut told).await?.tid() < second {}
        let third = commit_again(&client, oid, second, "third").await?;
        while next(&mut told).await?.tid() < third {}

        // Too much for the server behind to tell: the clients of the relay have to come back.
        server.stop()?;
        let moved = ServerConfig { port: Some(free_port()), ..config.clone() };
        let hidden = world.server(&moved)?;
        let direct = builder(&hidden).connect().await?;
        let mut last = third;
        for text in ["4", "5", "6", "7"] {
            last = commit_all(&direct, &[(oid, last, text)]).await?;
        }
        hidden.stop()?;
        let server = world.server(&config)?;
        loop {
            match next(&mut told).await? {
                Invalidation::Everything { tid } => {
                    assert_eq!(tid, last);
                    break;
                }
                other => assert!(other.tid() <= last, "{other:?}"),
            }
        }
        assert_eq!(client.load_current(oid).await?.data, record("7"));
        let last = commit_again(&client, oid, last, "8").await?;
        // Without a server behind, calls fail in the end.
        server.stop()?;
        let error = tokio::time::timeout(Duration::from_secs(40), client.load_serial(oid, last)).await?;
        assert!(error.as_ref().is_err_and(|e| e.to_string().contains("ClientDisconnected")), "{error:?}");
        Ok(())
    })?;
    Ok(front.stop()?)
}
