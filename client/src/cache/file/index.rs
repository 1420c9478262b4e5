//! Which revisions are where in the file.
//!
//! The map of current revisions takes at most 39 bytes an object (16, and one of the table's, at its lowest load of
//! 7/16 just after it has grown), 19 at its highest. Others are few, as a client rarely reads the past.

use std::collections::{BTreeMap, HashMap};

use super::format::Head;

/// All records of a file; positions are offsets of blocks.
#[derive(Debug, Default)]
pub(super) struct Index {
    current: HashMap<u64, u64>,
    /// By object and the transaction that wrote it.
    past: BTreeMap<(u64, u64), u64>,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.current.len() + self.past.len()
    }

    pub(super) fn current(&self, oid: u64) -> Option<u64> {
        self.current.get(&oid).copied()
    }

    /// All objects that have a current revision, and where it is, in the order of the file.
    pub(super) fn all_current(&self) -> Vec<(u64, u64)> {
        let mut found: Vec<(u64, u64)> = self.current.iter().map(|(oid, at)| (*oid, *at)).collect();
        found.sort_unstable_by_key(|(_, at)| *at);
        found
    }

    /// The revision with this serial that is not current.
    pub(super) fn past(&self, oid: u64, start: u64) -> Option<u64> {
        self.past.get(&(oid, start)).copied()
    }

    /// The newest revision older than `before` that is not current.
    pub(super) fn past_before(&self, oid: u64, before: u64) -> Option<u64> {
        self.past.range((oid, 0)..(oid, before)).next_back().map(|(_, at)| *at)
    }

    /// A record is there now; returns where the one was whose place it takes.
    pub(super) fn insert(&mut self, head: &Head, at: u64) -> Option<u64> {
        if head.end == 0 {
            self.current.insert(head.oid, at)
        } else {
            self.past.insert((head.oid, head.start), at)
        }
    }

    /// The record there is gone.
    pub(super) fn remove(&mut self, head: &Head, at: u64) {
        // A file of Python's may have a revision twice, of which only one is known.
        if head.end == 0 {
            if self.current(head.oid) == Some(at) {
                self.current.remove(&head.oid);
            }
        } else if self.past(head.oid, head.start) == Some(at) {
            self.past.remove(&(head.oid, head.start));
        }
    }
}
