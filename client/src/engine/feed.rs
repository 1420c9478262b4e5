//! Invalidations for the application.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use zeo_codec::{Oid, Tid};

/// Oids (and transactions) that wait for an application that does not look. Beyond, it is told that anything may have
/// changed.
const WAITING_COUNT_MAX: usize = 1_000_000;

/// A change of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// A transaction, or several of which only the last one's tid is known, after the client was disconnected.
    Changed {
        /// The last transaction.
        tid: Tid,
        /// The objects that were changed, perhaps none.
        oids: Arc<[Oid]>,
        /// Whose transaction it was.
        origin: Origin,
    },
    /// Anything may have changed up to this transaction: the server could not tell what did, or nobody has looked for
    /// too long. Python's `invalidateCache`.
    Everything {
        /// The last transaction.
        tid: Tid,
    },
}

/// Whose transaction it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This client's.
    Own,
    /// Another client's.
    Other,
}

impl Invalidation {
    /// The last transaction.
    #[must_use]
    pub fn tid(&self) -> Tid {
        let (Self::Changed { tid, .. } | Self::Everything { tid }) = self;
        *tid
    }
}

/// All changes of the database from some moment on, each once, in order.
///
/// When the client's last transaction is T, everything up to T is here already (C2, C3). So who wants to read as of T
/// takes what is here first.
#[derive(Debug)]
pub struct Invalidations {
    queue: Arc<Mutex<Queue>>,
    start: Option<Tid>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Invalidation>,
    waiting_count: usize,
    waker: Option<Waker>,
    is_over: bool,
}

impl Invalidations {
    /// The last transaction that is not among them; `None` if the client knew of none.
    #[must_use]
    pub fn start(&self) -> Option<Tid> {
        self.start
    }

    /// The next change, if there has been one.
    pub fn try_next(&mut self) -> Option<Invalidation> {
        self.lock().pop()
    }

    /// The next change; `None` when the client was closed.
    pub async fn next(&mut self) -> Option<Invalidation> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Invalidation>> {
        let mut queue = self.lock();
        if let Some(invalidation) = queue.pop() {
            return Poll::Ready(Some(invalidation));
        }
        if queue.is_over {
            return Poll::Ready(None);
        }
        queue.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

impl Stream for Invalidations {
    type Item = Invalidation;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Invalidation>> {
        self.get_mut().poll(context)
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // Nothing that panics happens under the lock.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    fn pop(&mut self) -> Option<Invalidation> {
        let invalidation = self.waiting.pop_front()?;
        self.waiting_count -= weight(&invalidation);
        Some(invalidation)
    }

    fn push(&mut self, invalidation: Invalidation) {
        self.waiting_count += weight(&invalidation);
        if self.waiting_count > WAITING_COUNT_MAX {
            let everything = Invalidation::Everything { tid: invalidation.tid() };
            self.waiting.clear();
            self.waiting_count = weight(&everything);
            self.waiting.push_back(everything);
        } else {
            self.waiting.push_back(invalidation);
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// How much of the room it takes.
fn weight(invalidation: &Invalidation) -> usize {
    match invalidation {
        Invalidation::Changed { oids, .. } => 1 + oids.len(),
        Invalidation::Everything { .. } => 1,
    }
}

/// The sending end of all [`Invalidations`] of a client.
#[derive(Debug, Default)]
pub(super) struct Feed {
    queues: Vec<Weak<Mutex<Queue>>>,
}

impl Feed {
    pub(super) fn subscribe(&mut self, start: Option<Tid>) -> Invalidations {
        let queue = Arc::new(Mutex::new(Queue::default()));
        self.queues.push(Arc::downgrade(&queue));
        Invalidations { queue, start }
    }

    /// In the order in which they were subscribed.
    pub(super) fn publish(&mut self, invalidation: &Invalidation) {
        self.queues.retain(|queue| {
            let Some(queue) = queue.upgrade() else { return false };
            lock(&queue).push(invalidation.clone());
            true
        });
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        for queue in self.queues.iter().filter_map(Weak::upgrade) {
            let mut queue = lock(&queue);
            queue.is_over = true;
            queue.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(tid: u64, oid_count: usize) -> Invalidation {
        let oids = vec![Oid::ZERO; oid_count].into();
        Invalidation::Changed { tid: Tid::from_u64(tid), oids, origin: Origin::Other }
    }

    #[test]
    fn who_does_not_look_is_told_that_anything_may_have_changed() {
        let mut feed = Feed::default();
        let mut lazy = feed.subscribe(None);
        feed.publish(&changed(1, WAITING_COUNT_MAX - 2));
        feed.publish(&changed(2, 0));
        assert_eq!(lazy.lock().waiting.len(), 2);
        feed.publish(&changed(3, 0));
        feed.publish(&changed(4, 1));
        assert_eq!(lazy.try_next(), Some(Invalidation::Everything { tid: Tid::from_u64(3) }));
        assert_eq!(lazy.try_next(), Some(changed(4, 1)));
        assert_eq!(lazy.try_next(), None);
        assert_eq!(lazy.lock().waiting_count, 0);
    }

    #[test]
    fn ends_with_the_client_and_forgets_who_has_gone() {
        let mut feed = Feed::default();
        let mut stays = feed.subscribe(Some(Tid::from_u64(7)));
        drop(feed.subscribe(None));
        feed.publish(&changed(8, 1));
        assert_eq!(feed.queues.len(), 1);
        drop(feed);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(stays.poll(&mut context), Poll::Ready(Some(changed(8, 1))));
        assert_eq!(stays.poll(&mut context), Poll::Ready(None));
    }
}
