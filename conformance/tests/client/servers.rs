//! Servers that come and go.

use std::time::Duration;

use zeo_client::{Access, Error, Invalidation, Metadata, ServerErrorKind, Tid};
use zeo_conformance::config::ServerConfig;
use zeo_conformance::server::free_port;

use crate::world::{Result, World, at, builder, commit_all, next, record, run};

/// A client outlives its server: calls wait for the next one, a transaction that was under way fails as transient, and
/// nothing that was committed meanwhile is missed.
pub(crate) fn restart(world: &World) -> Result {
    let config = ServerConfig { port: Some(free_port()), ..world.config() };
    let server = world.server(&config)?;
    run(async {
        let client = builder(&server).connect().await?;
        let oid = client.new_oid().await?;
        let first = commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, first, record("under way")).await?;
        let mut invalidations = client.invalidations();
        server.stop()?;

        let voted = transaction.vote().await;
        assert!(matches!(&voted, Err(Error::Disconnected(_))), "{voted:?}");
        // Calls wait for the connection.
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.load_current(oid).await }
        });
        let server = world.server(&config)?;
        assert_eq!(waiting.await??.serial, first);
        // The other client may commit before or after this one is back.
        let mut peer = world.peer(&server)?;
        let (second, _) = peer.commit(&[oid], "second")?;
        loop {
            match next(&mut invalidations).await? {
                Invalidation::Changed { tid, oids, .. } if tid == second => {
                    assert_eq!(*oids, [oid]);
                    break;
                }
                Invalidation::Everything { tid } if tid == second => break,
                other => assert!(other.tid() < second, "{other:?}"),
            }
        }
        assert_eq!(client.load_current(oid).await?.serial, second);
        let third = commit_all(&client, &[(oid, second, "third")]).await?;
        assert!(third > second);
        peer.end()?;

        // A killed one is noticed just as well, and without a server calls fail in the end.
        server.kill();
        let impatient = at(client_address(&config)).wait_timeout(Duration::from_millis(300));
        let error = impatient.connect().await.unwrap_err();
        assert!(matches!(error, Error::Disconnected(_)) && error.is_transient(), "{error}");
        client.close();
        assert!(matches!(client.ping().await, Err(Error::Closed)));
        while invalidations.next().await.is_some() {}
        Ok(())
    })
}

/// A crash has left half of a transaction that nobody was told of. A client with a cache comes back, learns what was committed
/// up to it, and goes on. Python's server of ZEO 6.2 registers it with the tid of the half transaction meanwhile.
pub(crate) fn torn_tail(world: &World) -> Result {
    let config = ServerConfig { port: Some(free_port()), ..world.config() };
    let path = world.path("torn.zec");
    let cached = || at(client_address(&config)).cache_file(&path, 1 << 20);
    let server = world.server(&config)?;
    run(async {
        let client = cached().connect().await?;
        let oid = client.new_oid().await?;
        let first = commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        assert_eq!(client.load_current(oid).await?.serial, first);
        client.close();
        let other = builder(&server).connect().await?;
        let second = commit_all(&other, &[(oid, first, "second")]).await?;
        commit_all(&other, &[(oid, second, "third")]).await?;
        other.close();
        server.kill();
        let file = std::fs::OpenOptions::new().write(true).open(&config.storage_path)?;
        file.set_len(file.metadata()?.len() - 5)?;
        let index = config.storage_path.with_extension("fs.index");
        if index.exists() {
            std::fs::remove_file(index)?;
        }
        let server = world.server(&config)?;

        let client = cached().connect().await?;
        // The queue of a server of ZEO 4 does not say what the last transaction is: the client takes the half one's tid.
        let last = client.last_transaction();
        assert!(if world.is_zeo4() { last >= second } else { last == second }, "{last} {second}");
        let current = client.load_current(oid).await?;
        assert_eq!((&*current.data, current.serial), (&*record("second"), second));
        let third = commit_all(&client, &[(oid, second, "third, again")]).await?;
        assert!(third > second);
        client.close();
        let client = cached().connect().await?;
        assert_eq!(client.load_current(oid).await?.serial, third);
        client.close();
        Ok(server.stop()?)
    })
}

fn client_address(config: &ServerConfig) -> zeo_client::Address {
    config.port.unwrap_or_default().into()
}

/// A client that prefers to write takes a read-only server while there is no other, and changes over later.
pub(crate) fn read_only_fallback(world: &World) -> Result {
    let writable = ServerConfig { port: Some(free_port()), ..world.config() };
    let copy_path = writable.storage_path.with_file_name("Copy.fs");
    let read_only = ServerConfig { storage_path: copy_path.clone(), read_only: true, ..world.config() };
    // Both serve the same data.
    let server = world.server(&writable)?;
    run(async {
        let client = builder(&server).connect().await?;
        let oid = client.new_oid().await?;
        commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        Ok(())
    })?;
    server.stop()?;
    std::fs::copy(&writable.storage_path, &copy_path)?;
    let fallback = world.server(&read_only)?;
    run(async {
        // Who insists on writing does not get in; the refusal is told.
        let impatient = builder(&fallback).wait_timeout(Duration::from_millis(300));
        let error = impatient.connect().await.unwrap_err();
        assert!(error.to_string().contains("ReadOnlyError"), "{error}");

        let both = builder(&fallback).and_address(client_address(&writable)).access(Access::PreferWrite);
        let client = both.connect().await?;
        assert!(client.is_read_only());
        let root = client.load_before(zeo_client::Oid::from_u64(1), Tid::MAX).await?.ok_or("no object")?;
        let refused = client.begin(Metadata::default()).await;
        assert!(matches!(&refused, Err(Error::ReadOnly)), "{refused:?}");
        assert!(matches!(client.new_oid().await, Err(Error::ReadOnly)));
        let server = world.server(&writable)?;
        // There is no event to wait for: the client looks for a better server by itself.
        let changed = async {
            while client.is_read_only() || !client.is_connected() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), changed).await?;
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(zeo_client::Oid::from_u64(1), root.serial, record("second")).await?;
        // Not finished: the read-only server would be behind, and refused.
        transaction.vote().await?.abort().await;
        server.stop()?;
        // And back.
        while !client.is_read_only() || !client.is_connected() {
            client.wait().await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    })?;
    Ok(fallback.stop()?)
}

/// What a server refuses is told at the end of the wait.
pub(crate) fn unknown_storage(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let builder = builder(&server).storage("nowhere").wait_timeout(Duration::from_millis(300));
        let Err(Error::Disconnected(why)) = builder.connect().await else { return Err("connected".into()) };
        let zeo_client::ConnectionError::Refused(error) = &*why else { return Err(why.to_string().into()) };
        // As Python 2 calls the module.
        let class = error.class.replace("exceptions.", "builtins.");
        assert_eq!((class.as_str(), error.kind()), ("builtins.ValueError", ServerErrorKind::Other));
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// A client that has much to write goes on reading: the server may be waiting for just that.
pub(crate) fn blocked_reader(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let client = builder(&server).connect().await?;
        let oid = client.new_oid().await?;
        let large = record(&"large ".repeat(300_000));
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, Tid::ZERO, large.clone()).await?;
        let tid = transaction.vote().await?.finish().await?;
        let mut transaction = client.begin(Metadata::default()).await?;
        let store = async {
            for number in 0..20 {
                transaction
                    .store(zeo_client::Oid::from_u64(1_000_000 + number), Tid::ZERO, large.clone())
                    .await?;
            }
            Ok::<_, Error>(())
        };
        let read = async {
            let mut tasks = Vec::new();
            for _ in 0..20 {
                let client = client.clone();
                tasks.push(tokio::spawn(async move { client.load_serial(oid, tid).await }));
            }
            for task in tasks {
                assert_eq!(task.await.unwrap()?, large);
            }
            Ok::<_, Error>(())
        };
        let (stored, loaded) = tokio::join!(store, read);
        stored?;
        loaded?;
        transaction.abort().await;
        Ok(())
    })?;
    Ok(server.stop()?)
}
