//! Undo, iteration, copies.

use zeo_client::{Metadata, ServerErrorKind, Tid, Value};
use zeo_conformance::config::ServerConfig;

use crate::world::{Result, World, builder, commit_all, next_tid_and_oids, record, run};

/// A transaction is undone, and announced like any other.
pub(crate) fn undo(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let client = builder(&server).connect().await?;
        let other = builder(&server).connect().await?;
        let oid = client.new_oid().await?;
        let first = commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        commit_all(&client, &[(oid, first, "second")]).await?;
        let log = client.undo_log(0, 10).await?;
        assert_eq!(log.len(), 2);
        assert_eq!((&*log[0].user, &*log[0].description), (&b"rust"[..], &b"commits"[..]));
        let wanted = Value::Dict(vec![("user_name".into(), Value::Bytes(b"nobody".into()))]);
        assert_eq!(client.undo_info(0, 10, wanted).await?, []);

        let mut invalidations = other.invalidations();
        let mut transaction = client.begin(Metadata::new("rust", "undo")).await?;
        transaction.undo(&log[0].id).await?;
        let transaction = transaction.vote().await?;
        assert_eq!(transaction.resolved(), [oid]);
        let tid = transaction.finish().await?;
        // What came before the undo may still be under way.
        let told = loop {
            let told = next_tid_and_oids(&mut invalidations).await?;
            if told.0 >= tid {
                break told;
            }
        };
        assert_eq!(told, (tid, vec![oid]));
        for client in [&client, &other] {
            let revision = client.load_current(oid).await?;
            assert_eq!((&*revision.data, revision.serial), (&*record("first"), tid));
        }

        let mut transaction = client.begin(Metadata::default()).await?;
        transaction.undo(&log[0].id).await?;
        transaction.store(oid, tid, record("third")).await?;
        let error = transaction.vote().await.unwrap_err();
        let kind = error.server().map(zeo_client::ServerError::kind);
        assert!(matches!(kind, Some(ServerErrorKind::Undo)), "{error}");
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// All transactions with all their records, and all current records.
pub(crate) fn iterate(world: &World) -> Result {
    let server = world.server(&world.config())?;
    run(async {
        let client = builder(&server).connect().await?;
        let (one, two) = (client.new_oid().await?, client.new_oid().await?);
        let first = commit_all(&client, &[(one, Tid::ZERO, "one"), (two, Tid::ZERO, "two")]).await?;
        let second = commit_all(&client, &[(one, first, "new")]).await?;
        for (start, expected) in [(None, &[first, second][..]), (Some(second), &[second])] {
            let mut transactions = client.iterate(start, None).await?;
            let mut found = Vec::new();
            while let Some(transaction) = transactions.next().await? {
                assert_eq!((&*transaction.info.user, &*transaction.info.status), (&b"rust"[..], " "));
                found.push(transaction.info.tid);
                let mut records = transactions.records(&transaction).await?;
                let mut count = 0;
                while let Some(record) = records.next().await? {
                    assert_eq!(record.tid, transaction.info.tid);
                    count += 1;
                }
                assert_eq!(count, if transaction.info.tid == first { 2 } else { 1 });
                // One that is given up is given back to the server.
                drop(transactions.records(&transaction).await?);
            }
            assert_eq!(found, expected);
            assert!(transactions.next().await?.is_none());
        }
        let record_one = client.record_iternext(None).await?;
        assert_eq!((record_one.oid, record_one.serial, &*record_one.data), (one, second, &*record("new")));
        let record_two = client.record_iternext(record_one.next).await?;
        assert_eq!((record_two.oid, record_two.serial, record_two.next), (two, first, None));
        Ok(())
    })?;
    Ok(server.stop()?)
}

/// Transactions copied from one server to another keep tids, metadata and records; deletions too.
pub(crate) fn copy(world: &World) -> Result {
    let source = world.server(&world.config())?;
    let target_path = world.config().storage_path.with_file_name("Copy.fs");
    let target = world.server(&ServerConfig { storage_path: target_path, ..world.config() })?;
    run(async {
        let client = builder(&source).connect().await?;
        let oid = client.new_oid().await?;
        let first = commit_all(&client, &[(oid, Tid::ZERO, "first")]).await?;
        let extension = Value::Dict(vec![("reason".into(), "a test".into())]);
        let metadata = Metadata { extension: extension.clone(), ..Metadata::new("me", "changes") };
        let mut transaction = client.begin(metadata).await?;
        transaction.store(oid, first, record("second")).await?;
        let second = transaction.vote().await?.finish().await?;
        let mut transaction = client.begin(Metadata::new("me", "deletes")).await?;
        transaction.delete(oid, second).await?;
        let third = transaction.vote().await?.finish().await?;
        assert!(client.load_current(oid).await.is_err_and(|error| error.is_no_such_object()));

        let copy = builder(&target).connect().await?;
        let mut transactions = client.iterate(None, None).await?;
        while let Some(found) = transactions.next().await? {
            let metadata = Metadata {
                user: found.info.user.to_vec(),
                description: found.info.description.to_vec(),
                extension: found.info.extension.clone(),
            };
            let mut transaction = copy.begin_copy(metadata, found.info.tid, &found.info.status).await?;
            let mut records = transactions.records(&found).await?;
            while let Some(record) = records.next().await? {
                let data = record.data.map(|data| data.into_owned().into());
                transaction.restore(record.oid, record.tid, data, record.data_txn).await?;
            }
            assert_eq!(transaction.vote().await?.finish().await?, found.info.tid);
        }
        assert_eq!(copy.last_transaction(), third);
        let revision = copy.load_before(oid, third).await?.ok_or("no revision")?;
        assert_eq!(
            (&*revision.data, revision.serial, revision.end),
            (&*record("second"), second, Some(third))
        );
        let mut copied = copy.iterate(Some(second), Some(second)).await?;
        let found = copied.next().await?.ok_or("no transaction")?;
        assert_eq!((&*found.info.user, &found.info.extension), (&b"me"[..], &extension));
        assert!(copied.next().await?.is_none());
        Ok(())
    })?;
    target.stop()?;
    Ok(source.stop()?)
}
