//! The client for threads.

use zeo_client::blocking::Vote;
use zeo_client::{BlobOptions, Metadata, Oid, Tid};
use zeo_conformance::config::{ServerConfig, blob_dir, file_section};
use zeo_conformance::server::free_port;

use crate::world::{Result, World, builder, record};

/// The database record of a blob.
const BLOB_RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x01.\x80\x03N.";

/// Threads share one client, and increment one object; everybody tries again until it is done.
pub(crate) fn from_threads(world: &World) -> Result {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 10;
    let server = world.server(&world.config())?;
    let client = builder(&server).connect_blocking()?;
    let oid = client.new_oid()?;
    let mut transaction = client.begin(Metadata::default())?;
    transaction.store(oid, Tid::ZERO, record("0"))?;
    let first = transaction.vote()?.finish()?;
    let invalidations = client.invalidations();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..ROUNDS).for_each(|_| increment(&client, oid)));
        }
    });
    let revision = client.load_current(oid)?;
    assert_eq!(number(&revision.data), THREADS * ROUNDS);

    let tids: Vec<Tid> = client
        .iterate(None, None)?
        .map(|found| found.map(|found| found.info.tid))
        .collect::<std::result::Result<_, _>>()?;
    assert_eq!(tids.len() as u64, THREADS * ROUNDS + 1);
    assert_eq!((tids[0], *tids.last().unwrap()), (first, revision.serial));
    let mut transactions = client.iterate(None, Some(first))?;
    let found = transactions.next().unwrap()?;
    let records: Vec<Oid> = transactions
        .records(&found)?
        .map(|found| found.map(|found| found.oid))
        .collect::<std::result::Result<_, _>>()?;
    assert_eq!(records, [oid]);
    assert_eq!(client.prefetch([oid], Tid::MAX).count(), 1);
    // The stream has each of them, and ends with the client.
    client.close();
    let announced: Vec<Tid> = invalidations.map(|change| change.tid()).collect();
    assert_eq!(announced, tids[1..]);
    Ok(server.stop()?)
}

fn increment(client: &zeo_client::blocking::Client, oid: Oid) {
    loop {
        let revision = client.load_current(oid).unwrap();
        let mut transaction = client.begin(Metadata::default()).unwrap();
        let text = (number(&revision.data) + 1).to_string();
        transaction.store(oid, revision.serial, record(&text)).unwrap();
        match transaction.vote() {
            Ok(transaction) => {
                transaction.finish().unwrap();
                return;
            }
            Err(error) => assert!(error.is_transient() && error.conflict().is_some(), "{error}"),
        }
    }
}

/// The number that a record holds as text.
fn number(data: &[u8]) -> u64 {
    let digits: String = data
        .iter()
        .rev()
        .skip(3)
        .map_while(|byte| byte.is_ascii_digit().then_some(char::from(*byte)))
        .collect();
    digits.chars().rev().collect::<String>().parse().unwrap()
}

/// What else a thread can do: a blob in two halves, a vote whose conflicts come back, and waiting for the next
/// connection.
pub(crate) fn from_a_thread(world: &World) -> Result {
    let config = world.config();
    let section = file_section("1", &config.storage_path, &blob_dir(&world.path("server-blobs")));
    let config = ServerConfig { storage_section: Some(section), port: Some(free_port()), ..config };
    let server = world.server(&config)?;
    let client = builder(&server).blobs(BlobOptions::new(world.path("blobs"))).start_blocking()?;
    client.wait()?;
    let [oid, blob, ..] = client.new_oids()?[..] else { return Err("too few object ids".into()) };
    let file = world.path("file");
    std::fs::write(&file, "content")?;
    let mut transaction = client.begin(Metadata::default())?;
    transaction.store(oid, Tid::ZERO, record("0"))?;
    transaction.store(blob, Tid::ZERO, BLOB_RECORD)?;
    transaction.attach_blob(blob, Tid::ZERO, BLOB_RECORD, &file)?;
    let Vote::Done(transaction) = transaction.vote_once()? else { return Err("a conflict".into()) };
    let first = transaction.finish()?;
    assert_eq!(std::fs::read(client.load_blob(blob, first)?.path())?, b"content");

    let number = client.connection_number();
    std::thread::scope(|scope| -> Result {
        let waiting = scope.spawn(|| client.next_connection(number));
        server.stop()?;
        let server = world.server(&config)?;
        let next = waiting.join().unwrap();
        assert_eq!(next, Some(client.connection_number()));
        assert_ne!(next, Some(number));
        Ok(server.stop()?)
    })
}

/// Conflicts that a server leaves to its clients come back to the thread that has voted.
pub(crate) fn conflict_to_a_thread(world: &World) -> Result {
    let config = ServerConfig { client_conflict_resolution: true, ..world.config() };
    let server = world.server(&config)?;
    let client = builder(&server).connect_blocking()?;
    let oid = client.new_oid()?;
    let commit = |serial: Tid, text: &str| -> Result<Tid> {
        let mut transaction = client.begin(Metadata::default())?;
        transaction.store(oid, serial, record(text))?;
        Ok(transaction.vote()?.finish()?)
    };
    let first = commit(Tid::ZERO, "0")?;
    let second = commit(first, "1")?;
    let mut transaction = client.begin(Metadata::default())?;
    transaction.store(oid, first, record("2"))?;
    let Vote::Conflicts(mut transaction, conflicts) = transaction.vote_once()? else {
        return Err("no conflict".into());
    };
    let [(conflict, data)] = &conflicts[..] else { return Err(format!("{conflicts:?}").into()) };
    assert_eq!((conflict.oid, conflict.committed, conflict.read), (oid, second, first));
    assert_eq!(*data, record("2"));
    transaction.store(oid, second, record("3"))?;
    let Vote::Done(transaction) = transaction.vote_once()? else { return Err("a conflict".into()) };
    let third = transaction.finish()?;
    assert_eq!(client.load_current(oid)?.serial, third);
    Ok(server.stop()?)
}
