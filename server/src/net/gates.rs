//! What connections share a limited number of: places, and threads for what takes long.

use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::ConnectionOptions;
use crate::background::Crew;
use crate::engine::Engine;
use crate::limits::Limit;

/// As many as tokio has at most for what blocks.
const THREAD_COUNT_MAX: usize = 512;

/// What takes long.
type Job = Box<dyn FnOnce() + Send>;

/// Places that are taken by turns.
#[derive(Debug)]
pub(super) struct Gates {
    connections: Arc<Semaphore>,
    /// Long questions (`undoLog`, `history`, ...). There are 512 threads for what blocks, and files that have to be made
    /// durable, and loads that wait for the disk, need some of them, too.
    questions: Arc<Semaphore>,
    /// Who answers them: loads and commits go first. None if it cannot be had.
    answerers: Option<Crew>,
    packs: Arc<Semaphore>,
}

impl Gates {
    /// As many places as the options say.
    pub(super) fn new(options: &ConnectionOptions) -> Arc<Self> {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            connections: places(options.connection_count),
            questions: places(options.question_count),
            answerers: Crew::new("question", options.question_count.min(THREAD_COUNT_MAX)).ok(),
            packs: places(options.pack_count),
        })
    }

    /// A place for a connection, until it is dropped; none if all are taken.
    pub(super) fn enter(&self, engine: &Engine) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.connections).try_acquire_owned().ok();
        if place.is_none() {
            engine.reached().count(Limit::Connections);
        }
        place
    }

    /// Answers a long question when it is its turn.
    pub(super) fn ask(self: &Arc<Self>, engine: &Engine, job: impl FnOnce() + Send + 'static) {
        let gates = Arc::clone(self);
        run(&self.questions, engine, Limit::AllQuestions, job, move |job| gates.spawn_behind(job));
    }

    /// Does it behind everything else. Not in simulated time, which would not wait for the threads of somebody else.
    fn spawn_behind(&self, job: impl FnOnce() + Send + 'static) {
        match &self.answerers {
            Some(crew) if Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread => {
                drop(crew.spawn(job));
            }
            Some(_) | None => drop(spawn_blocking(job)),
        }
    }

    /// Packs when it is its turn.
    pub(super) fn pack(&self, engine: &Engine, job: impl FnOnce() + Send + 'static) {
        run(&self.packs, engine, Limit::Packs, job, |job| drop(spawn_blocking(job)));
    }
}

/// Has it done by `spawn` as soon as there is a place, which it keeps until it has ended.
fn run(
    places: &Arc<Semaphore>,
    engine: &Engine,
    limit: Limit,
    job: impl FnOnce() + Send + 'static,
    spawn: impl FnOnce(Job) + Send + 'static,
) {
    let start = |place: OwnedSemaphorePermit| {
        spawn(Box::new(move || {
            // A panic is told by the hook, and its connection waits for an answer that does not come.
            job();
            drop(place);
        }));
    };
    match Arc::clone(places).try_acquire_owned() {
        Ok(place) => start(place),
        Err(_) => {
            engine.reached().count(limit);
            let places = Arc::clone(places);
            drop(tokio::spawn(async move {
                // Nobody closes it.
                if let Ok(place) = places.acquire_owned().await {
                    start(place);
                }
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use super::*;
    use crate::engine::EngineOptions;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Two jobs where one may run: the second runs when the first has ended, and is counted.
    fn one_after_the_other(limit: Limit, run: fn(&Arc<Gates>, &Engine, Job)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let engine = Engine::new([], EngineOptions::default(), "now").unwrap();
        let gates = Gates::new(&ConnectionOptions {
            question_count: 1,
            pack_count: 1,
            ..ConnectionOptions::default()
        });
        let (say, heard) = channel();
        let job = |name: &'static str, say: Sender<&'static str>| {
            let (let_go, is_let_go) = channel::<()>();
            let job: Job = Box::new(move || {
                say.send(name).unwrap();
                is_let_go.recv_timeout(PATIENCE).unwrap();
                say.send("ended").unwrap();
            });
            (job, let_go)
        };
        let (first, end_first) = job("first", say.clone());
        let (second, end_second) = job("second", say);
        let _context = runtime.enter();
        run(&gates, &engine, first);
        assert_eq!(heard.recv_timeout(PATIENCE), Ok("first"));
        assert_eq!(engine.reached().all().count(), 0);
        run(&gates, &engine, second);
        assert_eq!(engine.reached().all().collect::<Vec<_>>(), [(limit, 1)]);
        end_first.send(()).unwrap();
        assert_eq!(heard.recv_timeout(PATIENCE), Ok("ended"));
        assert_eq!(heard.recv_timeout(PATIENCE), Ok("second"));
        end_second.send(()).unwrap();
        assert_eq!(heard.recv_timeout(PATIENCE), Ok("ended"));
    }

    #[test]
    fn long_questions_wait_for_their_turn() {
        one_after_the_other(Limit::AllQuestions, |gates, engine, job| gates.ask(engine, job));
    }

    #[test]
    fn packs_wait_for_their_turn() {
        one_after_the_other(Limit::Packs, |gates, engine, job| gates.pack(engine, job));
    }
}
