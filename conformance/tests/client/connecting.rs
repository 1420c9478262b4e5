//! Which servers a client takes, and what it learns when it comes back. Each scenario says which tests of Python's client
//! it mirrors; `client/TESTS.md` has the list.

use std::time::Duration;

use zeo_client::{Access, Address, Builder, Client, Error, Invalidation, Metadata, Oid, Tid};
use zeo_conformance::config::{ServerConfig, file_section};
use zeo_conformance::server::{Server, free_port};

use crate::world::{Result, World, at, builder, commit_all, next, record, run};

/// Nobody listens there.
fn nowhere(world: &World) -> Address {
    Address::Unix(world.path("nobody.sock"))
}

/// Waits until the client is, or is not, connected. There is no event to wait for.
async fn until(client: &Client, is_reached: impl Fn(&Client) -> bool) -> Result {
    let reached = async {
        while !is_reached(client) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    Ok(tokio::time::timeout(Duration::from_secs(20), reached).await?)
}

/// Commits one object over whatever it is.
async fn store(client: &Client, oid: Oid) -> std::result::Result<Tid, Error> {
    let serial = match client.load_current(oid).await {
        Ok(revision) => revision.serial,
        Err(error) if error.is_no_such_object() => Tid::ZERO,
        Err(error) => return Err(error),
    };
    let mut transaction = client.begin(Metadata::default()).await?;
    transaction.store(oid, serial, record("stored")).await?;
    transaction.vote().await?.finish().await
}

/// Whether a client of this kind is registered, and may write.
async fn registered(server: &Server, access: Access) -> Result<Option<bool>> {
    let builder = builder(server).access(access).wait_timeout(Duration::from_millis(400));
    match builder.connect().await {
        Ok(client) => {
            let is_writer = !client.is_read_only();
            match store(&client, Oid::from_u64(7)).await {
                Ok(_) => assert!(is_writer),
                Err(Error::ReadOnly) => assert!(!is_writer),
                Err(error) => return Err(error.into()),
            }
            Ok(Some(is_writer))
        }
        Err(Error::Disconnected(why)) => {
            assert!(why.to_string().contains("ReadOnlyError"), "{why}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Every kind of client with every kind of server. Python tests: `ConnectionTests.checkReadOnlyClient`,
/// `checkReadOnlyServer`, `checkReadOnlyFallbackWritable`, `checkReadOnlyFallbackReadOnlyServer`, `checkReadOnlyStorage`,
/// `checkReadOnlyFallbackReadOnlyStorage`.
pub(crate) fn access(world: &World) -> Result {
    let config = world.config();
    let server = world.server(&config)?;
    run(async {
        for (access, is_writer) in
            [(Access::ReadWrite, true), (Access::ReadOnly, false), (Access::PreferWrite, true)]
        {
            assert_eq!(registered(&server, access).await?, Some(is_writer), "{access:?}");
        }
        Ok(())
    })?;
    server.stop()?;
    let storage = file_section("1", &config.storage_path, "  read-only true\n");
    for config in [
        ServerConfig { read_only: true, ..config.clone() },
        ServerConfig { storage_section: Some(storage), ..config },
    ] {
        let server = world.server(&config)?;
        run(async {
            for (access, expected) in [
                (Access::ReadWrite, None),
                (Access::ReadOnly, Some(false)),
                (Access::PreferWrite, Some(false)),
            ] {
                assert_eq!(registered(&server, access).await?, expected, "{access:?}");
            }
            Ok(())
        })?;
        server.stop()?;
    }
    Ok(())
}

/// A client whose server comes back in another mode. Python tests: `ReconnectionTests.checkReconnectWritable`,
/// `checkReconnectReadOnly`, `checkReconnectFallback`, `checkReconnectUpgrade`.
pub(crate) fn another_mode(world: &World) -> Result {
    let writable = ServerConfig { port: Some(free_port()), ..world.config() };
    let read_only = ServerConfig { read_only: true, ..writable.clone() };
    let address = || Address::from(writable.port.unwrap_or_default());
    let oid = Oid::from_u64(7);
    // What becomes of a client between two servers: whether it may write, to the first and to the second.
    for (first, second, access, before, after) in [
        (&writable, &writable, Access::ReadWrite, true, true),
        (&writable, &read_only, Access::ReadOnly, false, false),
        (&writable, &read_only, Access::PreferWrite, true, false),
        (&read_only, &writable, Access::PreferWrite, false, true),
    ] {
        let server = world.server(first)?;
        run(async {
            let client = at(address()).access(access).connect().await?;
            let may_write = async |expected: bool| -> Result {
                match store(&client, oid).await {
                    Ok(_) => assert!(expected),
                    Err(Error::ReadOnly) => assert!(!expected),
                    Err(error) => return Err(error.into()),
                }
                Ok(())
            };
            may_write(before).await?;
            server.stop()?;
            until(&client, |client| !client.is_connected()).await?;
            let server = world.server(second)?;
            until(&client, |client| client.is_connected() && client.is_read_only() != after).await?;
            may_write(after).await?;
            Ok(server.stop()?)
        })?;
    }
    Ok(())
}

/// Several servers of the same data, of which one goes and another one comes. Python tests:
/// `ConnectionTests.checkMultipleAddresses`, `ReconnectionTests.checkMultipleServers`.
pub(crate) fn several_servers(world: &World) -> Result {
    let first = ServerConfig { port: Some(free_port()), ..world.config() };
    let second = ServerConfig { port: Some(free_port()), ..world.config() };
    let server = world.server(&first)?;
    run(async {
        let builder = at(nowhere(world))
            .and_address(first.port.unwrap_or_default())
            .and_address(second.port.unwrap_or_default());
        let client = builder.connect().await?;
        let oid = Oid::from_u64(7);
        let tid = store(&client, oid).await?;
        server.stop()?;
        let server = world.server(&second)?;
        assert!(store(&client, oid).await? > tid);
        Ok(server.stop()?)
    })
}

/// A client is told where its server has gone. Python test: `new_addr.test`.
pub(crate) fn new_address(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let client = builder(&server).connect().await?;
        let oid = Oid::from_u64(7);
        let tid = store(&client, oid).await?;
        // While there is a connection nothing happens.
        client.set_addresses([nowhere(world)]);
        client.ping().await?;
        server.stop()?;
        until(&client, |client| !client.is_connected()).await?;
        let server = world.server(&world.config())?;
        let other = builder(&server).connect().await?;
        let next = store(&other, oid).await?;
        client.set_addresses([server.address().into()]);
        assert_eq!(client.load_current(oid).await?.serial, next);
        assert!(next > tid && client.last_transaction() == next);
        Ok(server.stop()?)
    })
}

/// What a client learns about the time when it was away: which objects have changed; or, if that was too much for the
/// server, that anything may have. Python tests: `ConnectionTests.checkQuickVerificationWith2Clients`,
/// `checkVerificationWith2ClientsInvqOverflow`, `ReconnectionTests.checkNoVerificationOnServerRestart`,
/// `testZEO.checkConnectionInvalidationOnReconnect`; `drop_cache_rather_than_verify.txt` for ZEO 5.
pub(crate) fn verification(world: &World) -> Result {
    for (queue_size, is_known) in [(100, true), (2, false)] {
        let config = ServerConfig {
            port: Some(free_port()),
            invalidation_queue_size: Some(queue_size),
            storage_path: world.path(&format!("{queue_size}.fs")),
            ..world.config()
        };
        let server = world.server(&config)?;
        run(async {
            let client = builder(&server).connect().await?;
            let mut invalidations = client.invalidations();
            let [one, two, three] = [7, 8, 9].map(Oid::from_u64);
            let first =
                commit_all(&client, &[(one, Tid::ZERO, "1"), (two, Tid::ZERO, "2"), (three, Tid::ZERO, "3")])
                    .await?;
            assert_eq!(next(&mut invalidations).await?.tid(), first);
            // Nothing has changed.
            server.stop()?;
            let server = world.server(&config)?;
            until(&client, Client::is_connected).await?;
            assert_eq!(client.last_transaction(), first);

            // Away, while another client commits.
            client.set_addresses([nowhere(world)]);
            server.stop()?;
            until(&client, |client| !client.is_connected()).await?;
            let server = world.server(&config)?;
            let other = builder(&server).connect().await?;
            let mut last = first;
            for oid in [one, one, two, one] {
                last = store(&other, oid).await?;
            }
            client.set_addresses([server.address().into()]);
            client.wait().await?;
            assert_eq!(client.last_transaction(), last);
            match next(&mut invalidations).await? {
                Invalidation::Changed { tid, oids, .. } if is_known => {
                    let mut oids = oids.to_vec();
                    oids.sort();
                    assert_eq!((tid, oids), (last, vec![one, two]));
                }
                Invalidation::Everything { tid } if !is_known => assert_eq!(tid, last),
                other => return Err(format!("{queue_size}: {other:?}").into()),
            }
            Ok(server.stop()?)
        })?;
    }
    Ok(())
}

/// With server-sync a client knows what was committed before, however late the announcements come; the server counts as
/// it is told to. Python tests: `test_sync.SyncTests.test_server_sync`; `testZEO.py:client_labels`.
pub(crate) fn sync(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let build = |builder: Builder| builder.server_sync(true).label("test-label-1");
        let client = build(builder(&server)).connect().await?;
        let other = builder(&server).connect().await?;
        for _ in 0..50 {
            let tid = store(&other, Oid::from_u64(7)).await?;
            client.sync().await?;
            assert!(client.last_transaction() >= tid);
        }
        // The log names who has gone.
        client.close();
        let connections = async || {
            let status = other.server_status().await?;
            Ok::<_, Error>(status.get("connections").and_then(|count| count.as_int()))
        };
        while connections().await? != Some(1) {}
        Ok(())
    })?;
    server.stop()?;
    let log = world.logs();
    assert!(log.contains("test-label-1"), "the server does not know the label");
    Ok(())
}
