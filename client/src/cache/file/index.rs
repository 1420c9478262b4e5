//! Which revisions are where in the file.
//!
//! The map of current revisions takes at most 39 bytes an object (16, and one of the table's, at its lowest load of
//! 7/16 just after it has grown), 19 at its highest. Others are few, as a client rarely reads the past.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::format::Head;

/// Positions are less than that: the upper bits of a number tell how long the record is.
pub(super) const POSITION_BITS: u32 = 48;
/// What stands for this length and longer ones.
const LONG: u64 = (1 << (u64::BITS - POSITION_BITS)) - 1;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The offset of its block.
    pub(super) at: u64,
    /// How long the block is, if that is known.
    pub(super) len: Option<usize>,
}

fn pack(at: u64, len: u64) -> u64 {
    at | len.min(LONG) << POSITION_BITS
}

fn unpack(number: u64) -> Position {
    let len = number >> POSITION_BITS;
    let len = if len == LONG { None } else { usize::try_from(len).ok() };
    Position { at: number & ((1 << POSITION_BITS) - 1), len }
}

/// All records of a file.
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

    pub(super) fn current(&self, oid: u64) -> Option<Position> {
        self.current.get(&oid).copied().map(unpack)
    }

    /// All objects that have a current revision, and where it is, in the order of the file.
    pub(super) fn all_current(&self) -> Vec<(u64, u64)> {
        let mut found: Vec<(u64, u64)> =
            self.current.iter().map(|(oid, packed)| (*oid, unpack(*packed).at)).collect();
        found.sort_unstable_by_key(|(_, at)| *at);
        found
    }

    /// The revision with this serial that is not current.
    pub(super) fn past(&self, oid: u64, start: u64) -> Option<Position> {
        self.past.get(&(oid, start)).copied().map(unpack)
    }

    /// The newest revision older than `before` that is not current.
    pub(super) fn past_before(&self, oid: u64, before: u64) -> Option<Position> {
        self.past.range((oid, 0)..(oid, before)).next_back().map(|(_, number)| unpack(*number))
    }

    /// A record is there now; returns where the one was whose place it takes.
    pub(super) fn insert(&mut self, head: &Head, at: u64) -> Option<u64> {
        let number = pack(at, head.len);
        let other = if head.end == 0 {
            self.current.insert(head.oid, number)
        } else {
            self.past.insert((head.oid, head.start), number)
        };
        other.map(|number| unpack(number).at)
    }

    /// The record there is gone.
    pub(super) fn remove(&mut self, head: &Head, at: u64) {
        // A file of Python's may have a revision twice, of which only one is known.
        if head.end == 0 {
            if self.current(head.oid).is_some_and(|found| found.at == at) {
                self.current.remove(&head.oid);
            }
        } else if self.past(head.oid, head.start).is_some_and(|found| found.at == at) {
            self.past.remove(&(head.oid, head.start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_its_length_unless_it_is_long() {
        let farthest = (1 << POSITION_BITS) - 1;
        for at in [12, farthest] {
            assert_eq!(unpack(pack(at, 43)), Position { at, len: Some(43) });
            assert_eq!(unpack(pack(at, LONG - 1)), Position { at, len: Some(65_534) });
            assert_eq!(unpack(pack(at, LONG)), Position { at, len: None });
            assert_eq!(unpack(pack(at, 1 << 31)), Position { at, len: None });
        }
    }
}
