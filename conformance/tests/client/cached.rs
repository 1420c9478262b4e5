//! A cache that outlives its client.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use zeo_client::cache::{Cache as _, FileCache};
use zeo_client::{Address, Client, Error, Metadata, Oid, Tid};
use zeo_conformance::config::ServerConfig;
use zeo_conformance::server::free_port;

use crate::tools::said;
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

/// The objects of the trial of the trace.
const TRACED: [Oid; 3] = [Oid::from_u64(7), Oid::from_u64(8), Oid::from_u64(9)];

/// The program of that trial: the arguments are an address and a cache file.
pub(crate) fn traced(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut next = || args.next().and_then(|arg| arg.into_string().ok()).unwrap();
    let (address, path): (Address, String) = (next().parse().unwrap(), next());
    let done = run(async {
        let client = at(address).cache_file(path, SIZE).connect().await?;
        // Each is loaded once, and is there four times.
        for _ in 0..5 {
            for oid in TRACED {
                client.load_current(oid).await?;
            }
        }
        let [oid, ..] = TRACED;
        let first = client.load_current(oid).await?.serial;
        let second = commit_all(&client, &[(oid, first, "changed")]).await?;
        let past = client.load_before(oid, second).await?;
        assert_eq!(past.map(|revision| (revision.serial, revision.end)), Some((first, Some(second))));
        Ok(())
    });
    done.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// Python's programs read what `ZEO_CACHE_TRACE` makes. Python test: `test_cache.py:cache_trace_analysis`.
pub(crate) fn trace(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let client = builder(&server).connect().await?;
        commit_all(&client, &TRACED.map(|oid| (oid, Tid::ZERO, "traced"))).await?;
        Ok(())
    })?;
    let python = |module: &str, options: &[&str], path: &Path| -> Result<String> {
        let found = said(world.python().args(["-m", module]).args(options).arg(path))?;
        assert_eq!(found.code, Some(0), "{module}: {}", found.stderr);
        Ok(found.stdout)
    };
    for number in 0.. {
        let path = world.path(&format!("traced{number}.zec"));
        let mut command = world.tool("traced")?;
        command.arg(server.address().to_string()).arg(&path).env("ZEO_CACHE_TRACE", "1");
        let ran = said(&mut command)?;
        assert_eq!((ran.code, &*ran.stderr), (Some(0), ""));
        let path = path.with_extension("zec.trace");
        let simulated = python("ZEO.scripts.cache_simul", &["-s", "1", "-i", "60"], &path)?;
        let mut rows = simulated.lines().skip_while(|line| !line.contains("START TIME")).skip(1);
        let hours: Vec<&str> = rows.by_ref().take_while(|line| !line.starts_with("---")).collect();
        // A new hour begins with an empty cache.
        if hours.len() > 1 {
            continue;
        }
        // Loads, hits, invalidations and writes, behind date, time and duration. Loads that find nothing are there for the
        // current revision and for the past ones, as Python traces them; past revisions are not simulated.
        for row in hours.into_iter().chain(rows) {
            let columns: Vec<&str> = row.split_whitespace().collect();
            assert_eq!(columns[4..9], ["20", "13", "1", "4", "65.0%"], "{simulated}");
        }
        let stats = python("ZEO.scripts.cache_stats", &[], &path)?;
        let is_found = |line: &str| stats.lines().any(|found| found.trim_start().starts_with(line));
        for line in [
            "Read 26 trace records",
            "Hit rate:   70.0%",
            "1  00  _setup_trace (initialization)",
            "1  1c  invalidate (hit, saving non-current)",
            "3  20  load (miss)",
            "13  22  load (hit)",
            "3  24  load (non-current, miss)",
            "1  26  load (non-current, hit)",
            "4  52  store (current, non-version)",
        ] {
            assert!(is_found(line), "{line}: {stats}");
        }
        break;
    }
    Ok(server.stop()?)
}

/// A cache that is wrong is corrected by the conflict that it leads to. Python test:
/// `testZEO.py:invalidate_client_cache_entry_on_server_commit_error`.
pub(crate) fn corrected(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let path = world.path("wrong.zec");
    run(async {
        let [oid, another] = [7, 8].map(Oid::from_u64);
        let other = builder(&server).connect().await?;
        let first = commit_all(&other, &[(oid, Tid::ZERO, "first")]).await?;
        let client = builder(&server).cache_file(&path, SIZE).connect().await?;
        client.load_current(oid).await?;
        client.close();
        let second = commit_all(&other, &[(oid, first, "second")]).await?;
        // As if it had heard of that.
        FileCache::open(&path, SIZE)?.set_last_tid(second)?;
        commit_all(&other, &[(another, Tid::ZERO, "another")]).await?;

        let client = builder(&server).cache_file(&path, SIZE).connect().await?;
        assert_eq!(client.load_current(oid).await?.serial, first);
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, first, record("late")).await?;
        let error = transaction.vote().await.unwrap_err();
        assert!(error.conflict().is_some_and(|conflict| conflict.committed == second), "{error}");
        assert_eq!(client.load_current(oid).await?.serial, second);
        commit_all(&client, &[(oid, second, "third")]).await?;
        Ok(())
    })?;
    Ok(server.stop()?)
}
