//! The client for threads.

use zeo_client::{Metadata, Oid, Tid};

use crate::world::{Result, World, builder, record};

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
