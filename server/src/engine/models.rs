//! The core of the engine under [shuttle]: what holds in whatever order its threads run.
//!
//! A model is a test that shuttle runs again and again. It decides at each lock, and at each look at what threads share (see
//! the `sync` module), who goes on; if nobody can, the model has failed, so that a bell that does not ring or a lock
//! that is not handed on shows itself without any waiting. Small models are run in *every* order; those of more threads
//! in many random ones, half of them with few switches at rare places, where mistakes are that need a certain order.
//!
//! The threads are looked at as on a machine with one order of all that happens. This leaves nothing out here: the core
//! shares no atomics of its own, only locks, cells and pointers, and whoever finds something in one of these finds
//! everything that was done before it was put there.
//!
//! | model of | what it shows |
//! |---|---|
//! | `broadcast` | who listens walks through all commits, each once and in order, and hears a bell for each; registration has no gap (S1, S3, S4, S6) |
//! | `commit_lock` | who collide do not hold at once, nobody is overtaken by who came later, and whoever goes, holder or not, the next one is told (S9) |
//! | `pipeline` | tids rise in the order in which commits are told, nothing is told before it is durable, nobody writes beside another one, no update is lost, and everybody learns what became of his commit, also when the disk fails (S3, S8) |
//!
//! `cargo test -p zeo-server --lib models` runs them, `ZEO_MODEL_ORDERS=1000000` in more orders than
//! the 10,000 that are tried otherwise. When one fails it prints the order in which it did, for `shuttle::replay`.

use std::sync::Arc;

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::{Condvar, Mutex};
use shuttle::{Config, Runner};

use super::mailbox::Mailbox;

/// Runs a model in every order.
pub(super) fn in_every_order(model: fn()) {
    let count = run(DfsScheduler::new(None, false), model);
    println!("{count} orders, which are all");
}

/// Random orders of each model; `ZEO_MODEL_ORDERS` says how many others.
const ORDER_COUNT: usize = 10_000;

/// Runs a model in many random orders.
pub(super) fn in_many_orders(model: fn()) {
    let count = std::env::var("ZEO_MODEL_ORDERS").ok();
    let count = count.map_or(ORDER_COUNT, |count| count.parse().unwrap());
    run(RandomScheduler::new(count.div_ceil(2)), model);
    run(PctScheduler::new(3, count / 2), model);
}

fn run(scheduler: impl Scheduler + 'static, model: fn()) -> usize {
    let mut config = Config::new();
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(model)
}

/// The bell of a connection, as its driver has it: rung while nobody waits it stays rung, once.
#[derive(Debug, Default)]
pub(super) struct Bell {
    is_rung: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    /// A bell, and a mailbox that rings it.
    pub(super) fn with_mailbox() -> (Arc<Self>, Arc<Mailbox>) {
        let bell = Arc::new(Self::default());
        let ringing = Arc::clone(&bell);
        (bell, Mailbox::new(Box::new(move || ringing.ring())))
    }

    fn ring(&self) {
        *self.is_rung.lock().unwrap() = true;
        self.rung.notify_one();
    }

    /// Waits until it rings, if it has not.
    pub(super) fn wait(&self) {
        let mut is_rung = self.is_rung.lock().unwrap();
        while !std::mem::take(&mut *is_rung) {
            is_rung = self.rung.wait(is_rung).unwrap();
        }
    }
}
