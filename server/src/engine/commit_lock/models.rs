//! Who holds, who waits, and who goes, in any order.

use std::sync::Mutex as Notes;

use shuttle::thread;

use super::*;
use crate::engine::models::{Bell, in_every_order, in_many_orders};

/// What a client does.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Waits until it holds, and gives the lock up.
    Holds,
    /// Goes without waiting: its connection has ended.
    Goes,
}

/// Whoever has asked and not gone: what it wants, and whether it knows that it holds it.
type Noted = Arc<Notes<BTreeMap<Number, (Scope, bool)>>>;

fn objects(written: &[u64], read: &[u64]) -> Scope {
    let set = |oids: &[u64]| oids.iter().copied().map(Oid::from_u64).collect();
    Scope::Objects { written: set(written), read: set(read) }
}

fn act(lock: &Arc<CommitLock>, noted: &Noted, scope: &Scope, way: Way) {
    let (bell, mailbox) = Bell::with_mailbox();
    let (ticket, mut is_held) = lock.acquire(&mailbox, SystemTime::UNIX_EPOCH, "model", scope.clone());
    noted.lock().unwrap().insert(ticket.number, (scope.clone(), false));
    if let Way::Holds = way {
        while !is_held {
            bell.wait();
            is_held = matches!(mailbox.take().as_slice(), [Mail::LockGranted]);
        }
        {
            let mut noted = noted.lock().unwrap();
            for (number, (other, other_holds)) in &*noted {
                if *number != ticket.number && tests::collide(scope, other) {
                    assert!(!other_holds, "two hold what collides");
                    assert!(*number > ticket.number, "one who came first still waits");
                }
            }
            noted.insert(ticket.number, (scope.clone(), true));
        }
        assert!(ticket.is_holder());
    }
    noted.lock().unwrap().remove(&ticket.number);
    drop(ticket);
}

fn model(clients: Vec<(Scope, Way)>) {
    let (lock, noted) = (CommitLock::new("1"), Noted::default());
    let threads: Vec<_> = clients
        .into_iter()
        .map(|(scope, way)| {
            let (lock, noted) = (Arc::clone(&lock), Arc::clone(&noted));
            thread::spawn(move || act(&lock, &noted, &scope, way))
        })
        .collect();
    // If one of them were not told the model would say that nobody can go on.
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!((lock.held_since(), lock.waiting_count()), (None, 0));
    let state = lock.state();
    assert!(state.nodes.is_empty() && state.by_object.is_empty() && state.wholes.is_empty());
}

#[test]
fn two_that_collide_have_it_one_after_the_other() {
    in_every_order(|| model(vec![(objects(&[1], &[]), Way::Holds), (objects(&[2], &[1]), Way::Holds)]));
}

#[test]
fn who_goes_keeps_nobody() {
    in_every_order(|| model(vec![(Scope::Whole, Way::Goes), (objects(&[1], &[]), Way::Holds)]));
}

#[test]
fn whoever_comes_and_goes_everybody_has_its_turn() {
    in_many_orders(|| {
        model(vec![
            (objects(&[1], &[]), Way::Holds),
            (objects(&[1, 2], &[]), Way::Holds),
            (Scope::Whole, Way::Holds),
            (objects(&[2], &[1]), Way::Goes),
            (objects(&[3], &[2]), Way::Holds),
        ]);
    });
}
