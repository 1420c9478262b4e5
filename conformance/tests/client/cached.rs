//! A cache that outlives its client.

use zeo_client::cache::{Cache as _, FileCache};
use zeo_client::{Client, Error, Oid, Tid};
use zeo_conformance::config::ServerConfig;
use zeo_conformance::server::free_port;

use crate::world::{Result, World, at, builder, commit_all, record, run};

const SIZE: u64 = 1 << 20;

/// A client begins with what another one has left: it serves that while there is no server, and learns from the server
/// what has changed meanwhile. When the server cannot tell, it forgets everything, or asks for each object, if the server is one of ZEO 4. Python tests: `ZEO/tests/test_cache.py`,
/// `ConnectionTests.py:checkNoVerificationOnServerRestart` and `InvqTests`.
pub(crate) fn cache_file(world: &World) -> Result {
    let config = ServerConfig { port: Some(free_port()), invalidation_queue_size: Some(5), ..world.config() };
    let path = world.path("client-1.zec");
    let server = world.server(&config)?;
    let cached = || at(config.port.unwrap_or_default().into()).cache_file(&path, SIZE);
    run(async {
        let client = cached().connect().await?;
        let busy = cached().start();
        assert!(matches!(&busy, Err(Error::File { path: named, .. }) if *named == path), "{busy:?}");
        let (kept, changed) = (client.new_oid().await?, client.new_oid().await?);
        let first = commit_all(&client, &[(kept, Tid::ZERO, "kept"), (changed, Tid::ZERO, "before")]).await?;
        for oid in [kept, changed] {
            assert_eq!(client.load_current(oid).await?.serial, first);
        }
        client.close();
        // Another one, without that cache.
        let other = builder(&server).connect().await?;
        commit_all(&other, &[(changed, first, "after")]).await?;
        server.stop()?;
        let loaded =
            async |client: &Client, oid: Oid| client.load_before(oid, Tid::MAX).await.map(Option::unwrap);
        // Nobody answers: what is there is as old as the last transaction that this cache knows of.
        let client = cached().start()?;
        assert_eq!(client.last_transaction(), first);
        for (oid, text) in [(kept, "kept"), (changed, "before")] {
            let revision = loaded(&client, oid).await?;
            assert_eq!((&*revision.data, revision.serial), (&*record(text), first));
        }
        assert!(!client.is_connected());
        let server = world.server(&config)?;
        client.wait().await?;
        let revision = loaded(&client, changed).await?;
        assert_eq!(&*revision.data, &*record("after"));
        assert_eq!(loaded(&client, kept).await?.serial, first);
        client.close();
        server.stop()?;
        let mut cache = FileCache::open(&path, SIZE)?;
        assert_eq!(cache.last_tid(), Some(revision.serial));
        assert_eq!(cache.load_before(changed, Tid::MAX)?.map(|found| found.serial), Some(revision.serial));
        // When the old one ended was not said: it is forgotten, as `ClientStorage.py:verify_cache` does (ZEO 6.2).
        assert_eq!(cache.load_before(changed, revision.serial)?, None);
        assert_eq!(cache.load_before(kept, Tid::MAX)?.map(|found| found.serial), Some(first));
        drop(cache);

        // More commits than the server remembers.
        let server = world.server(&config)?;
        let other = builder(&server).connect().await?;
        let mut serial = other.load_current(changed).await?.serial;
        for number in 0..20 {
            serial = commit_all(&other, &[(changed, serial, ["odd", "even"][number % 2])]).await?;
        }
        let client = cached().connect().await?;
        assert_eq!(client.load_current(changed).await?.serial, serial);
        client.close();
        let left = FileCache::open(&path, SIZE)?.load_before(kept, Tid::MAX)?.map(|found| found.serial);
        // Of ZEO 4 it has asked for each object.
        assert_eq!(left, world.is_zeo4().then_some(first), "all is forgotten");
        server.stop()?;
        Ok(())
    })
}
