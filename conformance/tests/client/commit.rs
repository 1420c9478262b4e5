//! Transactions.

use zeo_client::{Builder, Client, Conflict, Error, Invalidation, Metadata, Origin, ServerErrorKind, Tid};

use crate::world::{Result, World, builder, commit_all, next, next_tid_and_oids, record, run};

/// Each side sees what the other one commits: announced in order, with exactly its objects, and the same bytes.
pub(crate) fn commit(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let mut peer = world.peer(&server)?;
    run(async {
        let client = builder(&server).label("rust").connect().await?;
        let mut invalidations = client.invalidations();
        assert_eq!(invalidations.start(), Some(client.last_transaction()));
        let (first, second) = (client.new_oid().await?, client.new_oid().await?);
        assert!(first < second, "{first} {second}");

        let mut transaction = client.begin(Metadata::new("rust", "first")).await?;
        transaction.store(first, Tid::ZERO, record("one")).await?;
        // More than fits into the buffers of a socket.
        let large = record(&"large ".repeat(200_000));
        transaction.store(second, Tid::ZERO, large.clone()).await?;
        let transaction = transaction.vote().await?;
        assert_eq!(transaction.resolved(), []);
        let tid = transaction.finish().await?;
        assert_eq!(client.last_transaction(), tid);
        let Invalidation::Changed { tid: told, oids, origin } = next(&mut invalidations).await? else {
            return Err("everything has changed".into());
        };
        assert_eq!((told, oids.len(), origin), (tid, 2, Origin::Own));

        // ZEO 4 does not announce transactions that bring new objects only.
        if !world.is_zeo4() {
            assert_eq!(peer.announced(tid)?, [(tid, vec![first, second])]);
        }
        assert_eq!(peer.load(first)?, (record("one"), tid));
        assert_eq!(peer.load(second)?, (large, tid));

        let (next_tid, data) = peer.commit(&[first, second], "two")?;
        assert!(next_tid > tid);
        assert_eq!(next_tid_and_oids(&mut invalidations).await?, (next_tid, vec![first, second]));
        assert_eq!(client.last_transaction(), next_tid);
        for oid in [first, second] {
            let revision = client.load_current(oid).await?;
            assert_eq!((&*revision.data, revision.serial, revision.end), (&*data, next_tid, None));
        }
        if !world.is_zeo4() {
            assert_eq!(client.server_info().object_count, 2, "as of the own commit");
        }
        Ok(())
    })?;
    peer.end()?;
    Ok(server.stop()?)
}

/// Two clients of one server.
async fn two(builder: impl Fn() -> Builder) -> Result<(Client, Client)> {
    Ok((builder().connect().await?, builder().connect().await?))
}

/// Whoever is second has a conflict, and may go on with a new transaction.
pub(crate) fn conflict(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let (client, other) = two(|| builder(&server)).await?;
        let oid = client.new_oid().await?;
        let first = commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        let second = commit_all(&other, &[(oid, first, "second")]).await?;
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, first, record("late")).await?;
        let error = transaction.vote().await.unwrap_err();
        assert_eq!(error.conflict(), Some(Conflict { oid, committed: second, read: first }), "{error}");
        assert!(error.is_transient());
        // The commit lock is free again, for both.
        let third = commit_all(&client, &[(oid, second, "third")]).await?;
        commit_all(&other, &[(oid, third, "fourth")]).await?;
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// A conflict that the server leaves to the client: the resolver gets all three states, and what it makes of them is
/// committed.
pub(crate) fn conflict_resolved(world: &World) -> Result {
    let config = zeo_conformance::config::ServerConfig { client_conflict_resolution: true, ..world.config() };
    let server = world.server(&config)?;
    run(async {
        let (client, other) = two(|| builder(&server)).await?;
        let (oid, untouched) = (client.new_oid().await?, client.new_oid().await?);
        let first =
            commit_all(&client, &[(oid, Tid::ZERO, "first"), (untouched, Tid::ZERO, "as it was")]).await?;
        let second = commit_all(&other, &[(oid, first, "second")]).await?;

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
        assert_eq!(transaction.resolved(), [oid]);
        let third = transaction.finish().await?;
        let [unresolved] = &asked[..] else { return Err(format!("{asked:?}").into()) };
        assert_eq!(unresolved.conflict, Conflict { oid, committed: second, read: first });
        assert_eq!(unresolved.old, record("first"));
        assert_eq!(unresolved.committed, record("second"));
        assert_eq!(unresolved.new, record("mine"));
        for (oid, text) in [(oid, "merged"), (untouched, "changed")] {
            let revision = other.load_current(oid).await?;
            assert_eq!((&*revision.data, revision.serial), (&*record(text), third));
        }

        // A resolver that gives up leaves nothing behind.
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, first, record("late")).await?;
        let error = transaction.vote().await.unwrap_err();
        assert!(matches!(error, Error::Conflict(conflict) if conflict.committed == third), "{error}");
        // Nor does one that makes nothing of it: a record without data would end a file of Python's.
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, first, record("late")).await?;
        let error = transaction.vote_resolving(|_| Some(Default::default())).await.unwrap_err();
        assert!(matches!(error, Error::EmptyRecord(empty) if empty == oid), "{error}");
        let mut transaction = client.begin(Metadata::default()).await?;
        let error = transaction.store(oid, third, "").await.unwrap_err();
        assert!(matches!(error, Error::EmptyRecord(_)), "{error}");
        transaction.abort().await;
        commit_all(&other, &[(oid, third, "fourth")]).await?;
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// What a transaction depends on must not have changed.
pub(crate) fn check_current(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let (client, other) = two(|| builder(&server)).await?;
        let (read, written) = (client.new_oid().await?, client.new_oid().await?);
        let first =
            commit_all(&client, &[(read, Tid::ZERO, "read"), (written, Tid::ZERO, "written")]).await?;
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.check_current(read, first).await?;
        transaction.store(written, first, record("still good")).await?;
        let second = transaction.vote().await?.finish().await?;
        commit_all(&other, &[(read, first, "changed")]).await?;
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.check_current(read, first).await?;
        transaction.store(written, second, record("not good")).await?;
        let error = transaction.vote().await.unwrap_err();
        let kind = error.server().map(zeo_client::ServerError::kind);
        assert!(matches!(kind, Some(ServerErrorKind::ReadConflict(Some(conflict))) if conflict.oid == read));
        assert_eq!(client.load_current(written).await?.serial, second);
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// Dropped transactions are aborted, in any phase, and the next one begins; a commit goes on without its future.
pub(crate) fn dropped(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let (client, other) = two(|| builder(&server)).await?;
        let oid = client.new_oid().await?;
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, Tid::ZERO, record("dropped")).await?;
        drop(transaction);
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, Tid::ZERO, record("dropped after the vote")).await?;
        drop(transaction.vote().await?);
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, Tid::ZERO, record("aborted")).await?;
        transaction.vote().await?.abort().await;
        // The lock is free: another client votes while this one waits for it, and gives up waiting.
        let mut held = other.begin(Metadata::default()).await?;
        held.store(oid, Tid::ZERO, record("held")).await?;
        let holder = held.vote().await?;
        // It wants the same object, or it would not have to wait for all servers.
        let mut waiting = client.begin(Metadata::default()).await?;
        waiting.store(oid, Tid::ZERO, record("waiting")).await?;
        let waiting = waiting.vote();
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), waiting).await.is_err());
        holder.abort().await;
        assert!(client.load_before(oid, Tid::MAX).await.is_err_and(|error| error.is_no_such_object()));

        let mut invalidations = client.invalidations();
        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.store(oid, Tid::ZERO, record("committed")).await?;
        let transaction = transaction.vote().await?;
        let mut finish = Box::pin(transaction.finish());
        assert!(
            Future::poll(finish.as_mut(), &mut std::task::Context::from_waker(std::task::Waker::noop()))
                .is_pending()
        );
        drop(finish);
        let (tid, oids) = next_tid_and_oids(&mut invalidations).await?;
        assert_eq!(oids, [oid]);
        commit_all(&client, &[(oid, tid, "after it")]).await?;
        Ok(())
    })?;
    Ok(server.stop()?)
}
