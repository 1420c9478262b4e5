//! The clients in Rust: threads that make random transactions, and write down each of them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use zeo_client::blocking::Client;
use zeo_client::{Builder, Error, Fate, LostCommit, Metadata, Oid, Revision, Tid};

use super::SerialError;
use super::journal::{Entry, ObjectNumber, Outcome, Read, Write};
use super::record::{record_of, value_of};
use crate::stress::worker::Dice;

/// The longest pause between two transactions.
const PAUSE_MS_MAX: u64 = 10;
/// A client is closed and opened again after this time at least.
const LIFE_MIN: Duration = Duration::from_secs(2);
/// And up to so much later.
const LIFE_MS_MORE: u64 = 4_000;

/// A client whose threads share it, with its cache file.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) address: std::net::SocketAddr,
    pub(super) cache_path: PathBuf,
    pub(super) cache_size: u64,
    pub(super) workers: Vec<Worker>,
    pub(super) dice: Dice,
}

impl Owner {
    /// Opens the client again and again until it is over; how often, and what was written down.
    pub(super) fn run(mut self, is_over: &AtomicBool) -> Result<(u64, Vec<Entry>), SerialError> {
        let mut life_count = 0;
        while !is_over.load(Ordering::Relaxed) {
            let client = Builder::new(self.address)
                .label("serial")
                .cache_file(&self.cache_path, self.cache_size)
                .disconnect_poll(Duration::from_millis(50))
                .disconnect_poll_max(Duration::from_millis(500))
                .wait_timeout(Duration::from_secs(60))
                .connect_blocking()?;
            let end = Instant::now() + LIFE_MIN + Duration::from_millis(self.dice.roll(LIFE_MS_MORE));
            let is_enough = || is_over.load(Ordering::Relaxed) || Instant::now() >= end;
            std::thread::scope(|scope| {
                let threads: Vec<_> = self
                    .workers
                    .iter_mut()
                    .map(|worker| scope.spawn(|| worker.work(&client, &is_enough)))
                    .collect();
                threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| SerialError::Panicked)?)
            })?;
            client.close();
            life_count += 1;
        }
        Ok((life_count, self.workers.into_iter().flat_map(|worker| worker.entries).collect()))
    }
}

/// One thread, over all lives of its client.
#[derive(Debug)]
pub(super) struct Worker {
    number: u64,
    object_count: u64,
    written_count: u64,
    dice: Dice,
    entries: Vec<Entry>,
}

impl Worker {
    pub(super) fn new(number: u64, object_count: u64, seed: u64) -> Self {
        let dice = Dice(seed.wrapping_mul(1_000).wrapping_add(number));
        Self { number, object_count, written_count: 0, dice, entries: Vec::new() }
    }

    fn work(&mut self, client: &Client, is_enough: &dyn Fn() -> bool) -> Result<(), SerialError> {
        while !is_enough() {
            match self.transaction(client) {
                // While it was reading: nothing has happened.
                Err(SerialError::Client(Error::Disconnected(_))) => {}
                done => done?,
            }
            std::thread::sleep(Duration::from_millis(self.dice.roll(PAUSE_MS_MAX)));
        }
        Ok(())
    }

    fn transaction(&mut self, client: &Client) -> Result<(), SerialError> {
        let snapshot = client.last_transaction();
        let oids = self.some_objects();
        let before = Tid::from_u64(snapshot.to_u64() + 1);
        let numbers = oids.iter().copied().map(Oid::from_u64);
        // One after the other, or all at once.
        let loaded: Vec<_> = match self.dice.roll(2) {
            0 => client.prefetch(numbers, before).collect(),
            _ => numbers.map(|oid| (oid, client.load_before(oid, before))).collect(),
        };
        let reads =
            loaded.into_iter().map(|(oid, loaded)| read(oid, loaded?)).collect::<Result<Vec<_>, _>>()?;
        let mut entry = Entry {
            thread: self.number,
            snapshot: snapshot.to_u64(),
            reads,
            checked: Vec::new(),
            writes: Vec::new(),
            outcome: Outcome::Read,
        };
        if self.dice.roll(4) > 0 {
            let count = 1 + usize::try_from(self.dice.roll(oids.len() as u64)).unwrap_or_default();
            let (written, others) = oids.split_at(count.min(oids.len()));
            entry.writes = written.iter().map(|oid| self.write(*oid)).collect();
            if self.dice.roll(2) == 0 {
                entry.checked = others.to_vec();
            }
            entry.outcome = match commit(client, &entry) {
                Ok(tid) => Outcome::Committed(tid.to_u64()),
                Err(error) if error.conflict().is_some() => Outcome::Refused,
                Err(Error::OutcomeUnknown(lost)) => self.find(client, &lost)?,
                Err(Error::Disconnected(_) | Error::NoTransaction) => Outcome::Lost,
                Err(error) => return Err(error.into()),
            };
        }
        self.entries.push(entry);
        Ok(())
    }

    /// One to four objects, each once.
    fn some_objects(&mut self) -> Vec<ObjectNumber> {
        let mut oids = Vec::new();
        for _ in 0..=self.dice.roll(4) {
            let oid = 1 + self.dice.roll(self.object_count);
            if !oids.contains(&oid) {
                oids.push(oid);
            }
        }
        oids
    }

    fn write(&mut self, oid: ObjectNumber) -> Write {
        self.written_count += 1;
        Write { oid, value: self.number << 40 | self.written_count }
    }

    /// Every other time what has become of a commit is asked for.
    fn find(&mut self, client: &Client, lost: &LostCommit) -> Result<Outcome, SerialError> {
        if self.dice.roll(2) == 0 {
            return Ok(Outcome::Unknown);
        }
        match client.fate_of(lost) {
            Ok(Fate::Committed(tid)) => Ok(Outcome::Found(Some(tid.to_u64()))),
            Ok(Fate::NotCommitted) => Ok(Outcome::Found(None)),
            // The server has gone once more.
            Err(Error::Disconnected(_) | Error::NoTransaction) => Ok(Outcome::Unknown),
            Err(error) => Err(error.into()),
        }
    }
}

fn read(oid: Oid, loaded: Option<Revision>) -> Result<Read, SerialError> {
    let revision = loaded.ok_or_else(|| SerialError::Wrong(format!("there is no {oid} so early")))?;
    let value = value_of(&revision.data);
    let value =
        value.ok_or_else(|| SerialError::Wrong(format!("{oid} of {} is damaged", revision.serial)))?;
    let end = revision.end.map(Tid::to_u64);
    Ok(Read { oid: oid.to_u64(), serial: revision.serial.to_u64(), value, end })
}

fn commit(client: &Client, entry: &Entry) -> Result<Tid, Error> {
    let serial = |oid| {
        let read = entry.reads.iter().find(|read| read.oid == oid);
        Tid::from_u64(read.map_or(0, |read| read.serial))
    };
    let mut transaction = client.begin(Metadata::new("serial", "a transaction"))?;
    for write in &entry.writes {
        transaction.store(Oid::from_u64(write.oid), serial(write.oid), record_of(write.value))?;
    }
    for oid in &entry.checked {
        transaction.check_current(Oid::from_u64(*oid), serial(*oid))?;
    }
    transaction.vote()?.finish()
}

/// Makes all objects: the first transaction of a run.
pub(super) fn set_up(client: &Client, object_count: u64) -> Result<Entry, SerialError> {
    let mut worker = Worker::new(0, object_count, 0);
    let mut entry = Entry {
        thread: 0,
        snapshot: client.last_transaction().to_u64(),
        reads: Vec::new(),
        checked: Vec::new(),
        writes: (1..=object_count).map(|oid| worker.write(oid)).collect(),
        outcome: Outcome::Read,
    };
    entry.outcome = Outcome::Committed(commit(client, &entry)?.to_u64());
    Ok(entry)
}
