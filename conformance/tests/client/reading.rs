//! Loads of all kinds.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use zeo_client::{Oid, Tid};

use crate::world::{Result, World, builder, commit_all, record, run};

/// Revisions by time and by serial; what is missing; the server itself.
pub(crate) fn reading(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let client = builder(&server).connect().await?;
        // The root: a pack keeps it.
        let oid = Oid::ZERO;
        let first = commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        let second = commit_all(&client, &[(oid, first, "second")]).await?;
        let after = |tid: Tid| Tid::from_u64(tid.to_u64() + 1);
        assert_eq!(client.load_before(oid, first).await?, None);
        for before in [after(first), second] {
            let revision = client.load_before(oid, before).await?.ok_or("no revision")?;
            assert_eq!((&*revision.data, revision.serial), (&*record("first"), first));
            assert_eq!(revision.end, Some(second));
        }
        let revision = client.load_before(oid, after(second)).await?.ok_or("no revision")?;
        assert_eq!((&*revision.data, revision.serial, revision.end), (&*record("second"), second, None));
        assert_eq!(client.load_serial(oid, first).await?, record("first"));
        assert_eq!(client.tid_of(oid).await?, second);
        let missing = Oid::from_u64(0x7777_7777);
        for error in [
            client.load_current(missing).await.map(drop),
            client.tid_of(missing).await.map(drop),
            client.load_serial(oid, after(second)).await.map(drop),
            client.history(missing, 1).await.map(drop),
        ] {
            assert!(error.as_ref().is_err_and(zeo_client::Error::is_no_such_object), "{error:?}");
        }

        let history = client.history(oid, 10).await?;
        assert_eq!(history.iter().map(|entry| entry.tid).collect::<Vec<_>>(), [second, first]);
        assert_eq!((&*history[0].user, &*history[0].description), (&b"rust"[..], &b"commits"[..]));
        assert_eq!(history[0].data_len, record("second").len() as u64);

        let status = client.server_status().await?;
        assert_eq!(status.get("commits").and_then(|value| value.as_int()), Some(2), "{status}");
        client.ping().await?;
        client.pack(SystemTime::now() + Duration::from_secs(5), true).await?;
        assert_eq!(client.load_current(oid).await?.serial, second);
        let gone = client.load_serial(oid, first).await;
        assert!(gone.as_ref().is_err_and(zeo_client::Error::is_no_such_object), "{gone:?}");
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// Many objects in one round trip, with what the server says about each.
pub(crate) fn prefetch(world: &World) -> Result {
    const COUNT: usize = 700;
    let server = world.server(&world.config())?;
    run(async {
        let client = builder(&server).connect().await?;
        let mut oids = Vec::new();
        for _ in 0..COUNT {
            oids.push(client.new_oid().await?);
        }
        // All are different, though they come by the hundred.
        let distinct: std::collections::HashSet<_> = oids.iter().collect();
        assert_eq!(distinct.len(), COUNT);
        let records: Vec<_> = oids.iter().map(|oid| (*oid, Tid::ZERO, "prefetched")).collect();
        let tid = commit_all(&client, &records).await?;
        let missing = Oid::from_u64(0x7777_7777);
        let mut answers = client.prefetch(oids.iter().copied().chain([missing]), Tid::MAX);
        let mut found = HashMap::new();
        while let Some((oid, answer)) = answers.next().await {
            assert!(found.insert(oid, answer).is_none(), "{oid} twice");
        }
        assert!(found.remove(&missing).is_some_and(|a| a.is_err_and(|error| error.is_no_such_object())));
        assert_eq!(found.len(), COUNT);
        for (oid, answer) in found {
            let revision = answer?.ok_or("no revision")?;
            assert_eq!((&*revision.data, revision.serial), (&*record("prefetched"), tid), "{oid}");
        }
        Ok(())
    })?;
    Ok(server.stop()?)
}
