//! The queue of recent commits behind `getInvalidations` (rule S5).

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use zeo_codec::{Oid, Tid};

/// The last commits, oldest first, at most as many as configured (`invalidation-queue-size`).
#[derive(Debug)]
pub(crate) struct InvalidationQueue {
    commits: Mutex<VecDeque<(Tid, Vec<Oid>)>>,
    count_max: usize,
}

impl InvalidationQueue {
    /// Seeded with the storage's last transactions, oldest first. With none to be had, `last_tid` lets
    /// clients catch up that are up to date now (StorageServer.py:_setup_invq, ZEO 6.2).
    pub(crate) fn new(last_changes: Vec<(Tid, Vec<Oid>)>, count_max: usize) -> Self {
        Self { commits: Mutex::new(last_changes.into()), count_max: count_max.max(1) }
    }

    pub(crate) fn push(&self, tid: Tid, oids: Vec<Oid>) {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        while commits.len() >= self.count_max {
            commits.pop_front();
        }
        commits.push_back((tid, oids));
    }

    /// All oids that changed after `known`, up to and including `until`; `None` if the queue does not reach
    /// back far enough. An entry at or before `known` proves that it does.
    pub(crate) fn changes(&self, known: Tid, until: Tid) -> Option<Vec<Oid>> {
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if commits.front()?.0 > known {
            return None;
        }
        let newer = commits.iter().rev().take_while(|(tid, _)| *tid > known);
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
        let queue = InvalidationQueue::new(vec![(tid(10), oids(&[1]))], 3);
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
    fn an_empty_queue_proves_nothing() {
        assert_eq!(changes(&InvalidationQueue::new(vec![], 100), 0, 0), None);
    }
}
