//! Several clients, and several threads of one, at the same objects at the same time.

use zeo_client::blocking::Client;
use zeo_client::cache::FileCache;
use zeo_client::{Metadata, Oid, Tid};
use zeo_conformance::server::Server;

use crate::world::{Result, World, builder, record};

/// What the tree consists of: the number of its keys, and where they lie.
const COUNT: Oid = Oid::from_u64(10);
const LEAVES: [Oid; 4] = [Oid::from_u64(11), Oid::from_u64(12), Oid::from_u64(13), Oid::from_u64(14)];
/// Of each thread.
const KEYS: usize = 6;

/// The text of a record.
fn text(data: &[u8]) -> String {
    let empty = record("").len();
    // It lies between its length and three bytes.
    String::from_utf8_lossy(&data[empty - 3..data.len() - 3]).into_owned()
}

/// The revisions of all objects of the tree as of the last transaction that the client knows: none may belong to another
/// moment.
fn tree(client: &Client) -> Result<Vec<(Oid, Tid, String)>> {
    let before = client.last_transaction().next().ok_or("no next")?;
    let mut found = Vec::new();
    for oid in std::iter::once(COUNT).chain(LEAVES) {
        let revision = client.load_before(oid, before)?.ok_or("no revision")?;
        found.push((oid, revision.serial, text(&revision.data)));
    }
    let keys: usize = found[1..].iter().map(|(_, _, keys)| keys.split_whitespace().count()).sum();
    assert_eq!(found[0].2.parse(), Ok(keys), "{found:?}");
    Ok(found)
}

/// Adds a key to one leaf, or one to each, and counts; again until nobody else was first.
fn add(client: &Client, key: &str, leaves: &[usize]) -> Result {
    loop {
        let tree = tree(client)?;
        let mut transaction = client.begin(Metadata::new("rust", key))?;
        let count: usize = tree[0].2.parse()?;
        transaction.store(COUNT, tree[0].1, record(&(count + leaves.len()).to_string()))?;
        for leaf in leaves {
            let (oid, serial, keys) = &tree[1 + leaf];
            transaction.store(*oid, *serial, record(&format!("{keys} {key}")))?;
        }
        match transaction.vote() {
            Ok(transaction) => {
                transaction.finish()?;
                return Ok(());
            }
            Err(error) => assert!(error.is_transient() && error.conflict().is_some(), "{error}"),
        }
    }
}

/// Waits until the client knows this transaction, which may still be on its way.
fn until(client: &Client, tid: Tid) {
    let mut changes = client.invalidations();
    while client.last_transaction() < tid && changes.next().is_some() {}
}

/// So many clients with so many threads each, all of which add keys and look at the whole; in the end all of it is there,
/// for those with a cache as for one without.
fn add_together(server: &Server, client_count: usize, thread_count: usize, is_large: bool) -> Result {
    let plain = builder(server).connect_blocking()?;
    let mut transaction = plain.begin(Metadata::default())?;
    for (oid, text) in std::iter::once((COUNT, "0")).chain(LEAVES.map(|oid| (oid, ""))) {
        let serial = plain.load_current(oid).map_or(Tid::ZERO, |revision| revision.serial);
        transaction.store(oid, serial, record(text))?;
    }
    let start = transaction.vote()?.finish()?;
    let clients: Vec<Client> = (0..client_count)
        .map(|_| builder(server).cache_size(FileCache::SIZE_DEFAULT).connect_blocking())
        .collect::<std::result::Result<_, _>>()?;
    std::thread::scope(|scope| {
        for (number, client) in clients.iter().enumerate() {
            for thread in 0..thread_count {
                scope.spawn(move || {
                    for key in 0..KEYS {
                        let leaf = (number + thread + key) % LEAVES.len();
                        let leaves = if is_large { vec![0, 1, 2, 3] } else { vec![leaf] };
                        add(client, &format!("{number}-{thread}-{key}"), &leaves).unwrap();
                        tree(client).unwrap();
                    }
                });
            }
        }
    });
    // From the server, which may be ahead of what it has announced.
    let last = plain.load_current(COUNT)?.serial;
    assert!(last > start);
    until(&plain, last);
    let expected = tree(&plain)?;
    let each = if is_large { LEAVES.len() } else { 1 };
    assert_eq!(expected[0].2.parse(), Ok(client_count * thread_count * KEYS * each));
    for client in &clients {
        until(client, last);
        assert_eq!(tree(client)?, expected);
    }
    Ok(())
}

/// Python tests: `InvalidationTests.checkConcurrentUpdates2Storages_emulated`, `checkConcurrentUpdates2Storages`,
/// `checkConcurrentUpdates19Storages`, `checkConcurrentUpdates1Storage`, `checkConcurrentUpdates2StoragesMT`,
/// `checkConcurrentLargeUpdates`.
pub(crate) fn concurrent_updates(world: &World) -> Result {
    let server = world.server(&world.config())?;
    for (client_count, thread_count, is_large) in
        [(2, 1, false), (19, 1, false), (1, 2, false), (2, 3, false), (2, 3, true)]
    {
        add_together(&server, client_count, thread_count, is_large)?;
    }
    Ok(server.stop()?)
}

/// Several clients vote while another one holds the commit lock: when it commits, aborts or goes, all of them get their turn,
/// but for one that has gone meanwhile. Python tests: `CommitLockVoteTests.checkCommitLockVoteFinish`,
/// `checkCommitLockVoteAbort`, `checkCommitLockVoteClose`.
pub(crate) fn commit_lock(world: &World) -> Result {
    const CLIENTS: usize = 5;
    let server = world.server(&world.config())?;
    for end in ["finish", "abort", "close"] {
        let holder = builder(&server).connect_blocking()?;
        let oid = holder.new_oid()?;
        let mut transaction = holder.begin(Metadata::new("rust", end))?;
        transaction.store(oid, Tid::ZERO, record("held"))?;
        let held = transaction.vote()?;
        let clients: Vec<Client> = (0..CLIENTS)
            .map(|_| builder(&server).connect_blocking())
            .collect::<std::result::Result<_, _>>()?;
        std::thread::scope(|scope| -> Result {
            let mut waiting = Vec::new();
            for client in &clients {
                let mut transaction = client.begin(Metadata::default())?;
                transaction.store(client.new_oid()?, Tid::ZERO, record("waits"))?;
                waiting.push(scope.spawn(move || transaction.vote()?.finish()));
            }
            clients[0].close();
            match end {
                "finish" => drop(held.finish()?),
                "abort" => held.abort(),
                _ => holder.close(),
            }
            for (number, waiting) in waiting.into_iter().enumerate() {
                let finished = waiting.join().unwrap();
                // Whether it was too late for the first one depends.
                assert!(finished.is_ok() || number == 0, "{end} {number}: {finished:?}");
            }
            Ok(())
        })?;
        let other = builder(&server).connect_blocking()?;
        assert_eq!(other.load_current(oid).is_ok(), end == "finish");
        let mut transaction = other.begin(Metadata::default())?;
        transaction.store(other.new_oid()?, Tid::ZERO, record("after it"))?;
        transaction.vote()?.finish()?;
    }
    Ok(server.stop()?)
}

/// Threads of one client store large and small objects. Python test: `ThreadTests.checkMTStores`.
pub(crate) fn threads_store(world: &World) -> Result {
    const THREADS: usize = 5;
    let server = world.server(&world.config())?;
    let client = builder(&server).connect_blocking()?;
    let [small, large] = [record("X"), record(&"X".repeat(200_000))];
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..10 {
                    for data in [&large, &small] {
                        let oid = client.new_oid().unwrap();
                        let mut transaction = client.begin(Metadata::default()).unwrap();
                        transaction.store(oid, Tid::ZERO, data.clone()).unwrap();
                        let tid = transaction.vote().unwrap().finish().unwrap();
                        let revision = client.load_current(oid).unwrap();
                        assert_eq!((revision.serial, &*revision.data), (tid, &**data));
                    }
                }
            });
        }
    });
    Ok(server.stop()?)
}

/// Two walks over all transactions at the same time, step by step; what is committed meanwhile disturbs neither. Python
/// tests: `IterationTests.checkIteratorParallel`, `checkIteratorGCSpanTransactions`.
pub(crate) fn iterate_in_parallel(world: &World) -> Result {
    let server = world.server(&world.config())?;
    let client = builder(&server).connect_blocking()?;
    let commit = || -> Result<Tid> {
        let mut transaction = client.begin(Metadata::default())?;
        transaction.store(client.new_oid()?, Tid::ZERO, record("iterated"))?;
        Ok(transaction.vote()?.finish()?)
    };
    let tids = [commit()?, commit()?];
    let mut walks = [client.iterate(None, Some(tids[1]))?, client.iterate(None, Some(tids[1]))?];
    commit()?;
    for tid in tids {
        for walk in &mut walks {
            assert_eq!(walk.next().ok_or("no transaction")??.info.tid, tid);
        }
    }
    assert!(walks.iter_mut().all(|walk| walk.next().is_none()));
    Ok(server.stop()?)
}
