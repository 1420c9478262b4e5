//! Clients that commit, on a storage that takes its time, in any order.

use std::collections::BTreeMap;
use std::time::SystemTime;

use shuttle::thread;

use super::super::EngineOptions;
use super::super::commit_lock::Scope;
use super::super::journal::{Cursor, Event};
use super::super::models::{Bell, in_many_orders};
use super::super::testing::StillView;
use super::*;
use crate::storage::{Features, NewRecord, PackHost, PackOutcome, PackRequest, Storage};

/// A storage that remembers what was committed, and finds out whether somebody wrote beside another one.
#[derive(Debug, Default)]
struct Model(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Committed>,
    /// Nothing is written any more: the disk has failed.
    is_broken: bool,
}

#[derive(Debug, Default)]
struct Committed {
    is_writing: bool,
    /// Everything that is durable, in the order in which it was written.
    tids: Vec<Tid>,
    serials: BTreeMap<Oid, Tid>,
    write_count: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Committed> {
        self.state.lock().unwrap()
    }

    /// Writes some transactions, and syncs once; others may do something in between.
    fn write(&self, transactions: &[NewTransaction]) -> Result<Vec<Arc<dyn View>>, StorageError> {
        assert!(!std::mem::replace(&mut self.state().is_writing, true), "one writes beside another one");
        let mut state = self.state();
        state.is_writing = false;
        if self.is_broken {
            return Err(StorageError::Failed("broken".into()));
        }
        state.write_count += 1;
        let mut views: Vec<Arc<dyn View>> = Vec::new();
        for NewTransaction { tid, records, .. } in transactions {
            assert!(state.tids.last().is_none_or(|last| last < tid), "tids rise");
            for NewRecord { oid, data, .. } in records {
                let serial = state.serials.insert(*oid, *tid).unwrap_or(Tid::ZERO);
                let read = data.new_data().and_then(|data| Tid::from_slice(data)).unwrap();
                assert_eq!(serial, read, "an update is lost");
            }
            state.tids.push(*tid);
            views.push(Arc::new(StillView(*tid)));
        }
        Ok(views)
    }
}

impl Storage for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    fn features(&self) -> Features {
        Features { concurrent_commits: true, ..Features::default() }
    }

    fn interfaces(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::new(StillView(self.0.state().tids.last().copied().unwrap_or(Tid::ZERO)))
    }

    fn new_oids(&self, _: u32) -> Result<Oid, StorageError> {
        Err(StorageError::OidsExhausted)
    }

    fn vote(&self, transaction: NewTransaction) -> Result<Box<dyn Voted>, StorageError> {
        Ok(Box::new(ModelVoted { shared: Arc::clone(&self.0), transaction }))
    }

    fn pack(&self, _: PackRequest, _: &dyn PackHost) -> Result<PackOutcome, StorageError> {
        Err(StorageError::Cancelled)
    }

    fn commit_together(&self, transactions: Vec<NewTransaction>) -> Result<Vec<Arc<dyn View>>, StorageError> {
        self.0.write(&transactions)
    }

    fn close(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[derive(Debug)]
struct ModelVoted {
    shared: Arc<Shared>,
    transaction: NewTransaction,
}

impl Voted for ModelVoted {
    fn transaction_len(&self) -> u64 {
        0
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn View>, StorageError> {
        self.shared.write(&[self.transaction])?.pop().ok_or(StorageError::Closed)
    }
}

/// A storage as it is served, and a look behind it.
#[derive(Clone)]
struct World {
    served: Arc<Served>,
    shared: Arc<Shared>,
}

impl World {
    fn new(is_broken: bool) -> Self {
        let shared = Arc::new(Shared { is_broken, ..Shared::default() });
        let storage = Arc::new(Model(Arc::clone(&shared)));
        let served = Served::start("1".into(), storage, &EngineOptions::default(), "now".into());
        Self { served: served.unwrap(), shared }
    }

    fn spawn(&self, act: impl FnOnce(Self) + Send + 'static) -> thread::JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || act(world))
    }
}

/// A connection: what it was told, and since when.
struct Client {
    world: World,
    peer: PeerId,
    bell: Arc<Bell>,
    mailbox: Arc<Mailbox>,
    cursor: Cursor,
    began: Tid,
    told: Vec<Tid>,
    /// Serials as far as this client was told.
    serials: BTreeMap<Oid, Tid>,
    letters: Vec<Mail>,
}

impl Client {
    fn attach(world: World, number: u64) -> Self {
        let (bell, mailbox) = Bell::with_mailbox();
        let peer = PeerId(number);
        let cursor = world.served.attach(peer, &mailbox);
        let (began, told) = (cursor.view().last_tid(), Vec::new());
        let serials = BTreeMap::new();
        Self { world, peer, bell, mailbox, cursor, began, told, serials, letters: Vec::new() }
    }

    /// Tells of what has come, as `Peer::on_wake` does; whether a commit of its own was among it.
    fn look(&mut self) -> Option<Tid> {
        self.letters.extend(self.mailbox.take());
        let mut own = None;
        while let Some(event) = self.cursor.advance() {
            let Event::Committed(commit) = event else { panic!("{event:?}") };
            assert!(self.told.last().is_none_or(|last| *last < commit.tid), "in order");
            assert_eq!(commit.view.last_tid(), commit.tid);
            assert!(self.world.shared.state().tids.contains(&commit.tid), "told before it is durable");
            self.told.push(commit.tid);
            self.serials.extend(commit.oids.iter().map(|oid| (*oid, commit.tid)));
            if commit.committer == self.peer {
                own = Some(commit.tid);
            }
        }
        own
    }

    /// The commit lock for an object.
    fn lock(&mut self, oid: Oid) -> Ticket {
        let scope = Scope::Objects { written: [oid].into(), read: [].into() };
        let lock = &self.world.served.lock;
        let (ticket, mut is_held) = lock.acquire(&self.mailbox, SystemTime::UNIX_EPOCH, "model", scope);
        self.look();
        while !is_held {
            self.bell.wait();
            self.look();
            is_held = self.letters.drain(..).any(|letter| matches!(letter, Mail::LockGranted));
        }
        ticket
    }

    /// Commits an object, and waits for what comes of it.
    fn commit(&mut self, number: u64) -> bool {
        let oid = Oid::from_u64(number);
        let ticket = self.lock(oid);
        let read = self.serials.get(&oid).copied().unwrap_or(Tid::ZERO);
        let transaction = NewTransaction {
            tid: Tid::ZERO,
            status: b' ',
            user: "".into(),
            description: "".into(),
            extension: "".into(),
            records: vec![NewRecord::with_data(oid, read.as_bytes().to_vec().into())],
        };
        let room = Reservation::default();
        let ready = Ready::Promised { transaction: Box::new(transaction), room };
        let (served, mailbox) = (Arc::clone(&self.world.served), Arc::clone(&self.mailbox));
        let job = CommitJob {
            served,
            ready,
            oids: vec![oid],
            peer: self.peer,
            mailbox,
            ticket,
            asked: Instant::now(),
        };
        job.run();
        loop {
            if self.look().is_some() {
                return true;
            }
            if matches!(self.letters.as_slice(), [Mail::FinishFailed(_)]) {
                return false;
            }
            self.bell.wait();
        }
    }

    /// All that is durable now and was not when it came, nothing left out.
    fn check(mut self) {
        self.look();
        let tids = self.world.shared.state().tids.clone();
        let expected: Vec<Tid> = tids.into_iter().filter(|tid| *tid > self.began).collect();
        assert_eq!(self.told, expected);
    }
}

#[test]
fn whoever_commits_is_told_in_one_order() {
    in_many_orders(|| {
        let world = World::new(false);
        let mut watcher = Client::attach(world.clone(), 100);
        // Two of them the same object; they came before the first commit, so that they know what there is.
        let threads: Vec<_> = [(1, 7), (2, 7), (3, 8)]
            .map(|(number, oid)| (Client::attach(world.clone(), number), oid))
            .into_iter()
            .map(|(mut client, oid)| {
                thread::spawn(move || {
                    assert!(client.commit(oid));
                    client
                })
            })
            .collect();
        while watcher.told.len() < threads.len() {
            watcher.bell.wait();
            watcher.look();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap().check());
        watcher.check();
        assert_eq!((world.served.lock.held_since(), world.served.lock.waiting_count()), (None, 0));
    });
}

/// Whoever registers meanwhile, or goes while it waits or holds, is in nobody's way.
#[test]
fn others_come_and_go_beside_commits() {
    in_many_orders(|| {
        let world = World::new(false);
        let mut watcher = Client::attach(world.clone(), 100);
        let mut committer = Client::attach(world.clone(), 1);
        let other = world.clone();
        let other = thread::spawn(move || {
            let mut client = Client::attach(other, 4);
            assert!(client.commit(8));
            client
        });
        let threads = [
            thread::spawn(move || assert!(committer.commit(7))),
            world.spawn(|world| {
                let mut client = Client::attach(world.clone(), 2);
                drop(client.lock(Oid::from_u64(7)));
                world.served.detach(PeerId(2));
            }),
            world.spawn(|world| {
                let scope = Scope::Objects { written: [Oid::from_u64(7)].into(), read: [].into() };
                let client = Client::attach(world.clone(), 3);
                drop(world.served.lock.acquire(&client.mailbox, SystemTime::UNIX_EPOCH, "model", scope));
            }),
        ];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        other.join().unwrap().check();
        watcher.look();
        assert_eq!(watcher.told.len(), 2);
        watcher.check();
        assert_eq!((world.served.lock.held_since(), world.served.lock.waiting_count()), (None, 0));
    });
}

#[test]
fn when_the_disk_fails_everybody_is_told_so() {
    in_many_orders(|| {
        let world = World::new(true);
        let clients = [1, 2, 3].map(|number| Client::attach(world.clone(), number));
        let threads = clients.map(|mut client| {
            thread::spawn(move || {
                assert!(!client.commit(7 + client.peer.0 / 2));
                client.check();
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((world.served.lock.held_since(), world.served.lock.waiting_count()), (None, 0));
    });
}

/// Commits that came together share a sync in some order, or the models above show nothing of that.
#[test]
fn some_commits_go_together() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static SHARED_COUNT: AtomicUsize = AtomicUsize::new(0);
    in_many_orders(|| {
        let world = World::new(false);
        let clients = [1, 2, 3].map(|number| Client::attach(world.clone(), number));
        let threads = clients.map(|mut client| thread::spawn(move || assert!(client.commit(client.peer.0))));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        if world.shared.state().write_count < 3 {
            SHARED_COUNT.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(SHARED_COUNT.load(Ordering::Relaxed) > 0);
}
