//! Several commits at once, on a disk that waits for the test.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use super::super::EngineOptions;
use super::super::commit_lock::Scope;
use super::super::journal::{Cursor, Event};
use super::*;
use crate::storage::file::disk::{Change, Disk, MemoryDisk};
use crate::storage::file::{FileStorage, FileStorageOptions};
use crate::storage::{NewRecord, Storage};

/// How long one side waits for the other before the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
enum Sync {
    Works,
    Fails,
    Panics,
}

/// A disk that tells when it is to sync, and waits for what is to come of it.
#[derive(Debug)]
struct TestDisk {
    memory: MemoryDisk,
    asked: Sender<()>,
    answers: Mutex<Receiver<Sync>>,
}

impl Disk for TestDisk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()> {
        self.memory.read_exact_at(buffer, pos)
    }

    fn write_all_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        self.memory.write_all_at(bytes, pos)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.asked.send(()).unwrap();
        match self.answers.lock().unwrap().recv_timeout(PATIENCE).unwrap() {
            Sync::Works => self.memory.sync_data(),
            Sync::Fails => Err(io::Error::other("broken")),
            Sync::Panics => panic!("as the test wants"),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn reserve(&self, pos: u64, len: u64) -> io::Result<()> {
        self.memory.reserve(pos, len)
    }
}

/// A storage, its disk, and somebody who hears of everything.
struct World {
    disk: Arc<TestDisk>,
    asked: Receiver<()>,
    answers: Sender<Sync>,
    served: Arc<Served>,
    cursor: Cursor,
}

impl World {
    fn new() -> Self {
        let (asked_sender, asked) = channel();
        let (answers, answers_receiver) = channel();
        let memory = MemoryDisk::default();
        let disk = Arc::new(TestDisk { memory, asked: asked_sender, answers: Mutex::new(answers_receiver) });
        // The new file's.
        answers.send(Sync::Works).unwrap();
        let options = FileStorageOptions::default();
        let storage = FileStorage::open_disk(Arc::clone(&disk) as _, "test", options).unwrap();
        asked.recv_timeout(PATIENCE).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let served = Served::start("1".into(), storage, &EngineOptions::default(), "now".into()).unwrap();
        let cursor = served.attach(PeerId(100), &Mailbox::new(Box::new(|| {})));
        Self { disk, asked, answers, served, cursor }
    }

    /// A commit of one object, after its vote.
    fn job(&self, oid: u64) -> (CommitJob, Arc<Mailbox>) {
        let (served, oid, peer) = (Arc::clone(&self.served), Oid::from_u64(oid), PeerId(oid));
        let mailbox = Mailbox::new(Box::new(|| {}));
        let scope = Scope::Objects { written: [oid].into(), read: [].into() };
        let (ticket, is_held) = served.lock.acquire(&mailbox, SystemTime::now(), "test", scope);
        assert!(is_held, "{oid}");
        let transaction = NewTransaction {
            tid: Tid::ZERO,
            status: b' ',
            user: "user".into(),
            description: "description".into(),
            extension: "".into(),
            records: vec![NewRecord::with_data(oid, "data".into())],
        };
        let room = served.storage.reserve(&transaction).unwrap();
        let ready = Ready::Promised { transaction: Box::new(transaction), room };
        let (mailbox_kept, asked) = (Arc::clone(&mailbox), Instant::now());
        (CommitJob { served, ready, oids: vec![oid], peer, mailbox, ticket, asked }, mailbox_kept)
    }

    /// What has been announced since the last time: objects, in the order of rising tids.
    fn announced(&mut self) -> Vec<u64> {
        let mut found = Vec::new();
        let mut last = Tid::ZERO;
        while let Some(event) = self.cursor.advance() {
            let Event::Committed(commit) = event else { panic!("{event:?}") };
            assert!(commit.tid > last);
            assert_eq!(commit.view.last_tid(), commit.tid);
            last = commit.tid;
            found.extend(commit.oids.iter().map(|oid| oid.to_u64()));
        }
        found
    }

    /// Commits object 1, and the others while it waits for the disk; then these. The letters of the others.
    fn commit_during_a_sync(
        &mut self,
        others: std::ops::RangeInclusive<u64>,
        syncs: &[Sync],
    ) -> Vec<Vec<Mail>> {
        let (first, _) = self.job(1);
        let leader = std::thread::spawn(move || first.run());
        self.asked.recv_timeout(PATIENCE).unwrap();
        let mailboxes: Vec<_> = others
            .map(|oid| {
                let (job, mailbox) = self.job(oid);
                job.run();
                mailbox
            })
            .collect();
        assert_eq!(self.announced(), [0; 0]);
        self.answers.send(Sync::Works).unwrap();
        self.asked.recv_timeout(PATIENCE).unwrap();
        // They are written, but not durable, and so nobody knows of them.
        assert_eq!(self.announced(), [1]);
        assert_eq!(self.served.lock.waiting_count(), 0);
        syncs.iter().for_each(|sync| self.answers.send(*sync).unwrap());
        leader.join().unwrap();
        mailboxes.iter().map(|mailbox| mailbox.take()).collect()
    }

    fn sync_count(&self) -> usize {
        self.disk.memory.changes().iter().filter(|change| matches!(change, Change::Sync)).count()
    }
}

#[test]
fn commits_that_come_during_a_sync_share_the_next_one() {
    let mut world = World::new();
    let before = world.sync_count();
    let letters = world.commit_during_a_sync(2..=6, &[Sync::Works]);
    assert!(letters.iter().all(Vec::is_empty), "{letters:?}");
    assert_eq!(world.announced(), [2, 3, 4, 5, 6]);
    assert_eq!(world.sync_count() - before, 2);
    assert_eq!(world.served.lock.held_since(), None);
}

#[test]
fn no_more_share_one_than_a_start_can_tell_apart() {
    let mut world = World::new();
    let before = world.sync_count();
    let last = 1 + 2 * TOGETHER_MAX as u64;
    world.commit_during_a_sync(2..=last, &[Sync::Works; 2]);
    assert_eq!(world.announced(), (2..=last).collect::<Vec<_>>());
    assert_eq!(world.sync_count() - before, 3);
}

#[test]
fn when_the_sync_fails_everybody_hears_it_and_nobody_of_the_commits() {
    for sync in [Sync::Fails, Sync::Panics] {
        let mut world = World::new();
        let letters = world.commit_during_a_sync(2..=4, &[sync]);
        assert_eq!(letters.len(), 3);
        for letters in letters {
            assert!(matches!(letters.as_slice(), [Mail::FinishFailed(_)]), "{sync:?}: {letters:?}");
        }
        assert_eq!(world.announced(), [0; 0]);
        assert_eq!(world.served.lock.held_since(), None, "{sync:?}");
    }
}
