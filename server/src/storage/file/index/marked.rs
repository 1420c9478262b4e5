//! An index in which entries can be marked: the memory of garbage collection.

use std::collections::BTreeMap;

use zeo_codec::Oid;

use super::{Bucket, Prefix, split};

const WORD_BITS: usize = 64;

/// An entry of a [`MarkedIndex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    bucket: u32,
    /// Within the bucket.
    slot: u32,
}

/// Oids to positions, and two bits for each: *marked*, and *put off*. It takes a quarter of a byte an entry more
/// than the index that it was made from.
#[derive(Debug)]
pub(crate) struct MarkedIndex {
    buckets: Vec<MarkedBucket>,
}

#[derive(Debug)]
struct MarkedBucket {
    prefix: Prefix,
    entries: Bucket,
    marks: Box<[u64]>,
    put_off: Box<[u64]>,
}

impl MarkedIndex {
    pub(super) fn new(buckets: BTreeMap<Prefix, Bucket>) -> Self {
        let marked = |(prefix, mut entries): (Prefix, Bucket)| {
            entries.shrink();
            let words = vec![0; entries.slot_count().div_ceil(WORD_BITS)].into_boxed_slice();
            MarkedBucket { prefix, entries, marks: words.clone(), put_off: words }
        };
        Self { buckets: buckets.into_iter().map(marked).collect() }
    }

    /// The entry of `oid`, and its position.
    pub(crate) fn find(&self, oid: Oid) -> Option<(Slot, u64)> {
        let (prefix, suffix) = split(oid);
        let at = self.buckets.binary_search_by_key(&prefix, |bucket| bucket.prefix).ok()?;
        let entries = &self.buckets.get(at)?.entries;
        let slot = entries.slot(suffix)?;
        let pos = entries.position_at(slot)?;
        Some((Slot { bucket: u32::try_from(at).ok()?, slot: u32::try_from(slot).ok()? }, pos))
    }

    /// The position in a slot.
    pub(crate) fn position(&self, slot: Slot) -> Option<u64> {
        self.bucket(slot)?.entries.position_at(slot.slot as usize)
    }

    /// All positions.
    pub(crate) fn positions(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().flat_map(|bucket| {
            (0..bucket.entries.slot_count()).filter_map(|slot| bucket.entries.position_at(slot))
        })
    }

    pub(crate) fn is_marked(&self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        self.bucket(slot).and_then(|bucket| bucket.marks.get(word)).is_some_and(|word| word & bit != 0)
    }

    /// Marks an entry; whether it was not marked before.
    pub(crate) fn mark(&mut self, slot: Slot) -> bool {
        let (at, bit) = place(slot);
        let bucket = self.buckets.get_mut(slot.bucket as usize);
        let Some(word) = bucket.and_then(|bucket| bucket.marks.get_mut(at)) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Remembers an entry for [`MarkedIndex::take_put_off`].
    pub(crate) fn put_off(&mut self, slot: Slot) {
        let (at, bit) = place(slot);
        let bucket = self.buckets.get_mut(slot.bucket as usize);
        if let Some(word) = bucket.and_then(|bucket| bucket.put_off.get_mut(at)) {
            *word |= bit;
        }
    }

    /// Moves entries that were put off to `slots`, up to its capacity.
    pub(crate) fn take_put_off(&mut self, slots: &mut Vec<Slot>) {
        for (bucket, number) in self.buckets.iter_mut().zip(0_u32..) {
            for (word, word_number) in bucket.put_off.iter_mut().zip(0_u32..) {
                while *word != 0 {
                    if slots.len() == slots.capacity() {
                        return;
                    }
                    let bit = word.trailing_zeros();
                    *word &= *word - 1;
                    slots.push(Slot { bucket: number, slot: word_number * u64::BITS + bit });
                }
            }
        }
    }

    fn bucket(&self, slot: Slot) -> Option<&MarkedBucket> {
        self.buckets.get(slot.bucket as usize)
    }
}

/// Where the bit of a slot is: number of the word, and the word with only this bit.
const fn place(slot: Slot) -> (usize, u64) {
    let slot = slot.slot as usize;
    (slot / WORD_BITS, 1 << (slot % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::index::IndexBuilder;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn marks_stay_with_their_entries(
            oids in prop::collection::btree_set(0..200_000_u64, 1..300), dense: bool, marked: u64,
        ) {
            let oids: Vec<u64> = if dense { (0..70_000).collect() } else { oids.into_iter().collect() };
            let mut builder = IndexBuilder::default();
            // Out of order, so that some entries wait unsorted.
            oids.iter().rev().for_each(|oid| builder.insert(Oid::from_u64(*oid), oid + 4));
            let mut index = builder.into_marked();
            let chosen = |oid: u64| (oid.wrapping_mul(marked) >> 7) & 1 == 1;
            for oid in &oids {
                let (slot, pos) = index.find(Oid::from_u64(*oid)).unwrap();
                prop_assert_eq!((pos, index.position(slot)), (oid + 4, Some(oid + 4)));
                if chosen(*oid) {
                    prop_assert!(index.mark(slot));
                    prop_assert!(!index.mark(slot));
                    index.put_off(slot);
                }
            }
            prop_assert_eq!(index.find(Oid::from_u64(1 << 40)), None);
            let mut taken = Vec::new();
            loop {
                let mut some = Vec::with_capacity(100);
                index.take_put_off(&mut some);
                if some.is_empty() {
                    break;
                }
                taken.extend(some.iter().map(|slot| index.position(*slot).unwrap() - 4));
            }
            taken.sort_unstable();
            prop_assert_eq!(taken, oids.iter().copied().filter(|oid| chosen(*oid)).collect::<Vec<_>>());
            for oid in oids {
                let (slot, _) = index.find(Oid::from_u64(oid)).unwrap();
                prop_assert_eq!(index.is_marked(slot), chosen(oid));
            }
        }
    }
}
