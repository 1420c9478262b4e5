//! What is strange about a data file, told in the log and counted.

use zeo_codec::{Oid, Tid};

/// Lines in the log before only the count goes on.
const LOGGED_MAX: u64 = 100;

/// Strange records of one pack.
#[derive(Debug)]
pub(super) struct Notes<'p> {
    file: &'p str,
    count: u64,
}

impl<'p> Notes<'p> {
    pub(super) const fn new(file: &'p str) -> Self {
        Self { file, count: 0 }
    }

    /// How many there were.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether to log another one.
    const fn another(&mut self) -> bool {
        self.count += 1;
        self.count <= LOGGED_MAX
    }

    /// A record that is kept although something is wrong with it.
    pub(super) fn strange_record(&mut self, oid: Oid, pos: u64, what: &str) {
        if self.another() {
            tracing::warn!(target: "ZODB.FileStorage", file = self.file, %oid, pos, "pack: kept a strange record: {what}");
        }
    }

    /// A reference to an object that does not exist at the pack time.
    pub(super) fn dangling(&mut self, oid: Oid, pos: u64, missing: Oid) {
        if self.another() {
            tracing::warn!(target: "ZODB.FileStorage", file = self.file, %oid, pos, "pack: the record refers to {missing}, which does not exist");
        }
    }

    /// A transaction that is kept although something is wrong with it.
    pub(super) fn strange_transaction(&mut self, tid: Tid, pos: u64, what: &str) {
        if self.another() {
            tracing::warn!(target: "ZODB.FileStorage", file = self.file, %tid, pos, "pack: strange transaction: {what}");
        }
    }

    /// Tells of those that were not logged one by one.
    pub(super) fn finish(&self) {
        if self.count > LOGGED_MAX {
            let more = self.count - LOGGED_MAX;
            tracing::warn!(target: "ZODB.FileStorage", file = self.file, "pack: {more} more strange records and references were not logged");
        }
    }
}
