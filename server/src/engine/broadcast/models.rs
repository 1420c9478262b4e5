//! Commits, and who listens, in any order.

use shuttle::thread;

use super::*;
use crate::engine::mailbox::Mail;
use crate::engine::models::{Bell, in_every_order, in_many_orders};
use crate::engine::testing::StillView;
use zeo_codec::Tid;

fn broadcast() -> Arc<Broadcast> {
    Arc::new(Broadcast::new(Arc::new(StillView(Tid::ZERO))))
}

fn publish(broadcast: &Broadcast, count: u64) {
    for number in 1..=count {
        let tid = Tid::from_u64(number);
        let commit = Commit::new(tid, vec![], PeerId::NOBODY, Arc::new(StillView(tid)));
        broadcast.publish(commit, false);
    }
}

/// A connection that does nothing but listen.
struct Listener {
    bell: Arc<Bell>,
    cursor: Cursor,
}

impl Listener {
    fn attach(broadcast: &Broadcast, peer: u64) -> Self {
        let (bell, mailbox) = Bell::with_mailbox();
        Self { bell, cursor: broadcast.attach(PeerId(peer), &mailbox) }
    }

    /// Tells of what has come, which is the next commit and then the next, and the view goes with it; how much else it was.
    fn catch_up(&mut self) -> usize {
        let mut other_count = 0;
        loop {
            let before = self.cursor.view().last_tid();
            match self.cursor.advance() {
                Some(Event::Committed(commit)) => {
                    assert_eq!(Some(commit.tid), before.next(), "each once, in order");
                    assert_eq!(commit.view.last_tid(), commit.tid);
                }
                Some(_) => other_count += 1,
                None => return other_count,
            }
        }
    }

    /// Does nothing but wait for the bell until so many commits were told.
    fn listen(mut self, count: u64) {
        while self.cursor.view().last_tid() < Tid::from_u64(count) {
            self.bell.wait();
            self.catch_up();
        }
    }
}

/// Rules S1 and S3.
#[test]
fn who_listens_hears_of_a_commit() {
    in_every_order(|| {
        let broadcast = broadcast();
        let listener = Listener::attach(&broadcast, 1);
        let listening = thread::spawn(|| listener.listen(1));
        publish(&broadcast, 1);
        listening.join().unwrap();
    });
}

/// Rule S4: what comes after the tid that a registration returns, rings.
#[test]
fn who_registers_meanwhile_misses_nothing() {
    in_every_order(|| {
        let broadcast = broadcast();
        let registering = {
            let broadcast = Arc::clone(&broadcast);
            thread::spawn(move || Listener::attach(&broadcast, 1).listen(1))
        };
        publish(&broadcast, 1);
        registering.join().unwrap();
    });
}

/// Rule S6, and packs that find nothing to do, which tell so whenever they want.
#[test]
fn others_come_and_go_and_tell_of_other_things() {
    in_many_orders(|| {
        let broadcast = broadcast();
        let spawn = |act: fn(&Broadcast)| {
            let broadcast = Arc::clone(&broadcast);
            thread::spawn(move || act(&broadcast))
        };
        let listener = Listener::attach(&broadcast, 1);
        let mut watcher = Listener::attach(&broadcast, 2);
        let threads = [
            thread::spawn(|| listener.listen(2)),
            spawn(|broadcast| Listener::attach(broadcast, 3).listen(2)),
            spawn(|broadcast| {
                drop(Listener::attach(broadcast, 4));
                assert!(broadcast.detach(PeerId(4)));
            }),
            spawn(Broadcast::publish_unchanged),
        ];
        publish(&broadcast, 2);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(watcher.catch_up(), 1, "the pack");
        assert_eq!(watcher.cursor.view().last_tid(), Tid::from_u64(2));
    });
}

/// A letter rings after it lies in the box.
#[test]
fn no_letter_is_left_lying() {
    in_every_order(|| {
        let (bell, mailbox) = Bell::with_mailbox();
        let writing = Arc::clone(&mailbox);
        let writer = thread::spawn(move || writing.put(Mail::LockGranted));
        bell.wait();
        assert_eq!(mailbox.take().len(), 1);
        writer.join().unwrap();
    });
}
