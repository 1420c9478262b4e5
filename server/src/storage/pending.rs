//! What a transaction has to write so far.

use std::collections::HashMap;

use zeo_codec::Oid;

use super::{NewRecord, RecordData};

/// New records in the order in which they will be written. An object may occur several times; the last one counts.
#[derive(Debug)]
pub struct Pending {
    records: Vec<NewRecord>,
    len_max: usize,
    /// Index of each object's last record, among the first `indexed_count` ones: only undo asks.
    last: HashMap<Oid, usize>,
    indexed_count: usize,
}

impl Default for Pending {
    fn default() -> Self {
        Self::new(0, usize::MAX)
    }
}

impl Pending {
    /// Nothing yet, with room for `count` records. Undo adds none beyond `len_max`.
    #[must_use]
    pub fn new(count: usize, len_max: usize) -> Self {
        Self { records: Vec::with_capacity(count), len_max, last: HashMap::new(), indexed_count: 0 }
    }

    /// How many records may be added by undo.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.len_max.saturating_sub(self.records.len())
    }

    /// Adds a record.
    pub fn push(&mut self, record: NewRecord) {
        self.records.push(record);
    }

    /// Number of records.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What the last record of `oid` says.
    pub fn last_of(&mut self, oid: Oid) -> Option<&RecordData> {
        for (index, record) in self.records.iter().enumerate().skip(self.indexed_count) {
            self.last.insert(record.oid, index);
        }
        self.indexed_count = self.records.len();
        self.last.get(&oid).and_then(|index| self.records.get(*index)).map(|record| &record.data)
    }

    /// The records.
    #[must_use]
    pub fn into_records(self) -> Vec<NewRecord> {
        self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_of_an_object_counts() {
        let (one, two) = (Oid::from_u64(1), Oid::from_u64(2));
        let mut pending = Pending::default();
        assert_eq!(pending.last_of(one), None);
        pending.push(NewRecord::with_data(one, "a".into()));
        pending.push(NewRecord::deleted(two));
        assert_eq!(pending.last_of(one), Some(&RecordData::Data("a".into())));
        pending.push(NewRecord::deleted(one));
        pending.push(NewRecord::with_data(two, "b".into()));
        assert_eq!(pending.last_of(one), Some(&RecordData::Deleted));
        assert_eq!(pending.last_of(two), Some(&RecordData::Data("b".into())));
        assert_eq!(pending.left(), usize::MAX - 4);
        assert_eq!(pending.into_records().len(), 4);
    }
}
