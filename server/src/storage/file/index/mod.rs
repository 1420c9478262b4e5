//! Where each object's newest record lies: an in-memory map from oid to file position.
//!
//! The scheme is Python's (`ZODB/fsIndex.py`, ZODB 6.4): the first six bytes of an oid choose a [`Bucket`],
//! which maps the last two to a six-byte position. Measured by the tests below, it takes 6 to 9.4 bytes an
//! object for dense oids as well as for the 10 % or 1 % that a pack leaves.
//!
//! ```text
//! Index    top: one snapshot pointer --> sorted [(prefix, bucket)]      replaced when a bucket is added,
//!                                              |                        once in 65,536 new oids
//!                                              v
//!                                        lock of this bucket --> Bucket
//! ```
//!
//! One writer inserts while any number of threads look up. They share no lock but that of the bucket that they
//! both need, and nobody holds one across I/O. A lookup may find a record that is newer than the reader's view;
//! the view goes back along the chain of previous records.
//!
//! [`IndexBuilder`] is the same without the locks, for loading and for rebuilding.

mod bucket;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use zeo_codec::Oid;

pub(crate) use bucket::Bucket;

/// The first six bytes of an oid, as a number.
pub(crate) type Prefix = u64;

/// Bits of an oid that a bucket resolves.
const SUFFIX_BITS: u32 = 16;

/// Splits an oid into the bucket's key and the key within the bucket.
fn split(oid: Oid) -> (Prefix, u16) {
    let number = oid.to_u64();
    let [.., high, low] = number.to_be_bytes();
    (number >> SUFFIX_BITS, u16::from_be_bytes([high, low]))
}

/// The inverse of [`split`].
pub(crate) fn join(prefix: Prefix, suffix: u16) -> Oid {
    Oid::from_u64(prefix << SUFFIX_BITS | u64::from(suffix))
}

/// An index that one thread fills, before it is shared.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    buckets: BTreeMap<Prefix, Bucket>,
    object_count: u64,
}

impl IndexBuilder {
    /// The position of the newest record of `oid`.
    pub(crate) fn get(&self, oid: Oid) -> Option<u64> {
        let (prefix, suffix) = split(oid);
        self.buckets.get(&prefix)?.get(suffix)
    }

    /// Sets the position of the newest record of `oid`.
    pub(crate) fn insert(&mut self, oid: Oid, pos: u64) {
        let (prefix, suffix) = split(oid);
        if self.buckets.entry(prefix).or_default().insert(suffix, pos) {
            self.object_count += 1;
        }
    }

    /// Adds a whole bucket; `false` if it is empty or its prefix does not exceed all present ones.
    pub(crate) fn push_bucket(&mut self, prefix: Prefix, bucket: Bucket) -> bool {
        let follows = self.buckets.last_key_value().is_none_or(|(last, _)| *last < prefix);
        if !follows || bucket.len() == 0 {
            return false;
        }
        self.object_count += u64::from(bucket.len());
        self.buckets.insert(prefix, bucket);
        true
    }

    /// Number of objects.
    pub(crate) const fn len(&self) -> u64 {
        self.object_count
    }

    /// About `count` entries, spread evenly over the buckets.
    pub(crate) fn sample(&self, count: usize) -> Vec<(Oid, u64)> {
        let bucket_step = (self.buckets.len() / count.max(1)).max(1);
        let per_bucket = count.div_ceil(self.buckets.len().max(1));
        let mut sample = Vec::new();
        for (prefix, bucket) in self.buckets.iter().step_by(bucket_step) {
            let entries = bucket.sorted_entries();
            let step = (entries.len() / per_bucket).max(1);
            let taken = entries.iter().step_by(step).take(per_bucket);
            sample.extend(taken.map(|(suffix, pos)| (join(*prefix, *suffix), *pos)));
        }
        sample
    }

    /// Gives back unused room and shares the index.
    pub(crate) fn finish(self) -> Index {
        let top = self
            .buckets
            .into_iter()
            .map(|(prefix, mut bucket)| {
                bucket.shrink();
                (prefix, Arc::new(RwLock::new(bucket)))
            })
            .collect();
        Index { top: ArcSwap::from_pointee(top), object_count: AtomicU64::new(self.object_count) }
    }
}

/// Buckets by prefix, sorted.
type Top = Vec<(Prefix, Arc<RwLock<Bucket>>)>;

/// An index for many readers and one writer.
#[derive(Debug)]
pub(crate) struct Index {
    top: ArcSwap<Top>,
    object_count: AtomicU64,
}

impl Index {
    /// The position of the newest record of `oid`.
    pub(crate) fn get(&self, oid: Oid) -> Option<u64> {
        let (prefix, suffix) = split(oid);
        let top = self.top.load();
        let at = top.binary_search_by_key(&prefix, |(present, _)| *present).ok()?;
        let (_, bucket) = top.get(at)?;
        bucket.read().unwrap_or_else(PoisonError::into_inner).get(suffix)
    }

    /// Sets the position of the newest record of `oid`. To be called by one thread at a time.
    pub(crate) fn insert(&self, oid: Oid, pos: u64) {
        let (prefix, suffix) = split(oid);
        let top = self.top.load();
        let is_new = match top.binary_search_by_key(&prefix, |(present, _)| *present) {
            Ok(at) => top.get(at).is_some_and(|(_, bucket)| {
                bucket.write().unwrap_or_else(PoisonError::into_inner).insert(suffix, pos)
            }),
            Err(at) => {
                let mut bucket = Bucket::default();
                bucket.insert(suffix, pos);
                let mut grown = Top::with_capacity(top.len() + 1);
                grown.extend_from_slice(&top);
                grown.insert(at, (prefix, Arc::new(RwLock::new(bucket))));
                self.top.store(Arc::new(grown));
                true
            }
        };
        if is_new {
            self.object_count.fetch_add(1, Ordering::Release);
        }
    }

    /// Number of objects.
    pub(crate) fn len(&self) -> u64 {
        self.object_count.load(Ordering::Acquire)
    }

    /// The greatest oid, `None` if the index is empty.
    pub(crate) fn max_oid(&self) -> Option<Oid> {
        let top = self.top.load();
        let (prefix, bucket) = top.last()?;
        let suffix = bucket.read().unwrap_or_else(PoisonError::into_inner).max_suffix()?;
        Some(join(*prefix, suffix))
    }

    /// The least oid at or above `oid`.
    pub(crate) fn first_from(&self, oid: Oid) -> Option<Oid> {
        let (prefix, suffix) = split(oid);
        let top = self.top.load();
        let at = top.partition_point(|(present, _)| *present < prefix);
        top.get(at..)?.iter().find_map(|(present, bucket)| {
            let from = if *present == prefix { suffix } else { 0 };
            let found = bucket.read().unwrap_or_else(PoisonError::into_inner).first_from(from)?;
            Some(join(*present, found))
        })
    }

    /// The entries of each bucket, by rising oid, each bucket as of one moment.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Prefix, Vec<(u16, u64)>)> {
        let top = self.top.load_full();
        (0..top.len()).filter_map(move |at| {
            let (prefix, bucket) = top.get(at)?;
            Some((*prefix, bucket.read().unwrap_or_else(PoisonError::into_inner).sorted_entries()))
        })
    }

    /// Bytes on the heap, with 16 for the allocator at each allocation.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        const ALLOCATION: usize = 16;
        let top = self.top.load();
        let entries = top.capacity() * size_of::<(Prefix, Arc<RwLock<Bucket>>)>();
        let shared = size_of::<RwLock<Bucket>>() + 2 * size_of::<usize>();
        let buckets: usize =
            top.iter().map(|(_, bucket)| ALLOCATION + shared + bucket.read().unwrap().heap_bytes()).sum();
        2 * ALLOCATION + entries + buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes an object for `count` oids `step` apart, inserted one by one in an order that jumps about.
    fn bytes_per_object(count: u64, step: u64, live: bool) -> f64 {
        let oids = (0..count).map(|n| {
            // 7919 is prime and divides no count used here: every oid comes once.
            let shuffled = n * 7919 % count;
            // Not a regular grid: up to `step` - 1 beside it.
            Oid::from_u64(shuffled * step + shuffled * 2_654_435_761 % step)
        });
        let index = if live {
            let index = IndexBuilder::default().finish();
            oids.for_each(|oid| index.insert(oid, 1 << 40 | oid.to_u64()));
            index
        } else {
            let mut builder = IndexBuilder::default();
            oids.for_each(|oid| builder.insert(oid, 1 << 40 | oid.to_u64()));
            builder.finish()
        };
        assert_eq!(index.len(), count);
        index.heap_bytes() as f64 / count as f64
    }

    #[test]
    fn takes_at_most_twelve_bytes_an_object() {
        for (count, step) in [(1_000_000, 1), (100_000, 10), (100_000, 100)] {
            for live in [false, true] {
                let bytes = bytes_per_object(count, step, live);
                println!(
                    "{count} objects, 1 oid in {step} used, inserted live: {live}: {bytes:.2} bytes an object"
                );
                assert!(bytes <= 12.0, "{bytes} bytes an object at density 1/{step}");
            }
        }
    }

    #[test]
    fn grows_without_doubling() {
        // The worst moment of each way: rising oids, one bucket filling.
        let index = IndexBuilder::default().finish();
        let mut worst: f64 = 0.0;
        for number in 0..200_000_u64 {
            index.insert(Oid::from_u64(number), number + 4);
            if number >= 5_000 && number % 997 == 0 {
                worst = worst.max(index.heap_bytes() as f64 / number as f64);
            }
        }
        assert!(worst <= 12.0, "{worst} bytes an object");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn agrees_with_a_btree_map(
            writes in prop::collection::vec((0_u64..300_000, 4..=crate::storage::file::format::POS_MAX), 0..2_000),
            spread in prop::sample::select(vec![1_u64, 2, 100, 65_536, 1 << 40]),
        ) {
            let index = IndexBuilder::default().finish();
            let mut builder = IndexBuilder::default();
            let mut model = BTreeMap::new();
            for (number, pos) in writes {
                let oid = Oid::from_u64(number * spread);
                index.insert(oid, pos);
                builder.insert(oid, pos);
                model.insert(oid, pos);
            }
            for (oid, pos) in &model {
                prop_assert_eq!(index.get(*oid), Some(*pos));
                prop_assert_eq!(builder.get(*oid), Some(*pos));
            }
            prop_assert_eq!(index.get(Oid::from_u64(u64::MAX)), None);
            prop_assert_eq!(index.max_oid(), model.last_key_value().map(|(oid, _)| *oid));
            for oid in model.keys().copied().chain([Oid::ZERO, Oid::from_u64(u64::MAX)]) {
                for from in [oid.to_u64().saturating_sub(1), oid.to_u64(), oid.to_u64().saturating_add(1)] {
                    let from = Oid::from_u64(from);
                    let expected = model.range(from..).next().map(|(oid, _)| *oid);
                    prop_assert_eq!(index.first_from(from), expected);
                }
            }
            for index in [index, builder.finish()] {
                prop_assert_eq!(index.len(), model.len() as u64);
                let listed: Vec<_> = index
                    .buckets()
                    .flat_map(|(prefix, entries)| entries.into_iter().map(move |(s, pos)| (join(prefix, s), pos)))
                    .collect();
                prop_assert_eq!(listed, model.iter().map(|(oid, pos)| (*oid, *pos)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn readers_see_each_insertion_whole() {
        let index = IndexBuilder::default().finish();
        const COUNT: u64 = 70_000;
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        while index.len() < COUNT {
                            let known = index.len();
                            for number in [0, known / 2, known.saturating_sub(1)] {
                                if number < known {
                                    assert_eq!(index.get(Oid::from_u64(number)), Some(number + 4));
                                }
                            }
                        }
                    })
                })
                .collect();
            (0..COUNT).for_each(|number| index.insert(Oid::from_u64(number), number + 4));
            readers.into_iter().for_each(|reader| reader.join().unwrap());
        });
    }
}
