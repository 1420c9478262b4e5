//! The queue of recent commits behind `getInvalidations` (rule S5).

use std::collections::{HashSet, VecDeque};
use std::sync::PoisonError;

use zeo_codec::{Oid, Tid};

use super::sync::Mutex;

/// How much a storage's queue of recent commits holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// So many commits are kept in any case.
    pub commits_min: usize,
    /// No more commits are kept than this.
    pub commits_max: usize,
    /// Beyond `commits_min` no more is kept than commits with this many objects together.
    pub oids_max: usize,
}

impl QueueLimits {
    /// Without `invalidation-queue-size`: the 100 commits that Python's server keeps by default, and many more as long
    /// as they are small. A client that misses what fell out of the queue has to drop its cache, and a busy server
    /// makes 100 commits in less time than a client takes to come back.
    pub const DEFAULT: Self = Self { commits_min: 100, commits_max: 10_000, oids_max: 500_000 };

    /// What `invalidation-queue-size` says, at least one.
    #[must_use]
    pub const fn exactly(count: usize) -> Self {
        let count = if count == 0 { 1 } else { count };
        Self { commits_min: count, commits_max: count, oids_max: 0 }
    }
}

/// The last commits, oldest first.
#[derive(Debug)]
pub(crate) struct InvalidationQueue {
    commits: Mutex<Commits>,
    limits: QueueLimits,
}

#[derive(Debug, Default)]
struct Commits {
    queue: VecDeque<(Tid, Vec<Oid>)>,
    oid_count: usize,
}

impl InvalidationQueue {
    /// Seeded with the storage's last transactions, oldest first. Without any it can prove nothing until the first commit.
    pub(crate) fn new(last_changes: Vec<(Tid, Vec<Oid>)>, limits: QueueLimits) -> Self {
        let queue = Self { commits: Mutex::default(), limits };
        last_changes.into_iter().for_each(|(tid, oids)| queue.push(tid, oids));
        queue
    }

    pub(crate) fn push(&self, tid: Tid, oids: Vec<Oid>) {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.oid_count += oids.len();
        commits.queue.push_back((tid, oids));
        let QueueLimits { commits_min, commits_max, oids_max } = self.limits;
        while commits.queue.len() > commits_max
            || (commits.queue.len() > commits_min && commits.oid_count > oids_max)
        {
            let Some((_, oids)) = commits.queue.pop_front() else { break };
            commits.oid_count -= oids.len();
        }
    }

    /// Forgets everything: what happened before this transaction, itself included, is not known.
    pub(crate) fn restart(&self, tid: Tid) {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        *commits = Commits { queue: VecDeque::from([(tid, Vec::new())]), oid_count: 0 };
    }

    /// All oids that changed after `known`, up to and including `until`; `None` if the queue does not reach
    /// back far enough. An entry at or before `known` proves that it does.
    pub(crate) fn changes(&self, known: Tid, until: Tid) -> Option<Vec<Oid>> {
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if commits.queue.front()?.0 > known {
            return None;
        }
        let newer = commits.queue.iter().rev().take_while(|(tid, _)| *tid > known);
        let oids: HashSet<Oid> =
            newer.filter(|(tid, _)| *tid <= until).flat_map(|(_, oids)| oids.iter().copied()).collect();
        Some(oids.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tid(number: u64) -> Tid {
        Tid::from_u64(number)
    }

    fn changes(queue: &InvalidationQueue, known: u64, until: u64) -> Option<Vec<u64>> {
        let mut oids: Vec<u64> =
            queue.changes(tid(known), tid(until))?.iter().map(|oid| oid.to_u64()).collect();
        oids.sort_unstable();
        Some(oids)
    }

    #[test]
    fn answers_only_what_it_can_prove() {
        let oids = |numbers: &[u64]| numbers.iter().map(|number| Oid::from_u64(*number)).collect::<Vec<_>>();
        let queue = InvalidationQueue::new(vec![(tid(10), oids(&[1]))], QueueLimits::exactly(3));
        assert_eq!(changes(&queue, 9, 10), None);
        assert_eq!(changes(&queue, 10, 10), Some(vec![]));
        queue.push(tid(20), oids(&[2, 3]));
        queue.push(tid(30), oids(&[3, 4]));
        assert_eq!(changes(&queue, 10, 30), Some(vec![2, 3, 4]));
        assert_eq!(changes(&queue, 15, 20), Some(vec![2, 3]), "not beyond what the connection has seen");
        queue.push(tid(40), oids(&[5]));
        assert_eq!(changes(&queue, 10, 40), None, "tid 10 has fallen out");
        assert_eq!(changes(&queue, 20, 40), Some(vec![3, 4, 5]));
        assert_eq!(changes(&queue, 99, 40), Some(vec![]));
    }

    #[test]
    fn small_commits_stay_longer_than_large_ones() {
        let limits = QueueLimits { commits_min: 2, commits_max: 5, oids_max: 10 };
        let filled = |oid_count: usize| {
            let queue = InvalidationQueue::new(vec![], limits);
            for number in 1..=20 {
                queue.push(tid(number), vec![Oid::from_u64(number); oid_count]);
            }
            (1..=20).filter(|known| changes(&queue, *known, 20).is_some()).count()
        };
        assert_eq!((filled(0), filled(1), filled(3), filled(100)), (5, 5, 3, 2));
        assert_eq!(QueueLimits::exactly(0), QueueLimits::exactly(1));
    }

    #[test]
    fn an_empty_queue_proves_nothing() {
        assert_eq!(changes(&InvalidationQueue::new(vec![], QueueLimits::DEFAULT), 0, 0), None);
    }
}
