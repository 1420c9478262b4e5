//! One bucket of the index: the last two bytes of an oid to a six-byte position.
//!
//! Two shapes, by how full the bucket is:
//!
//! * *sparse*: sorted suffixes and their positions in two arrays that grow by an eighth, 8 to 9 bytes an entry,
//!   followed by at most [`RECENT_MAX`] entries that came out of order and are merged in together;
//! * *dense*, from two thirds on: one place for every possible suffix, 9 down to 6 bytes an entry.

/// A position as it is stored, six bytes big-endian. Zero: no entry (the magic lies there, never a record).
type Stored = [u8; 6];

const ABSENT: Stored = [0; 6];

/// Number of possible suffixes.
const SUFFIX_COUNT: usize = 1 << 16;

/// Entries from which on a dense bucket takes no more room than a sparse one, growth included.
const DENSE_FROM: usize = SUFFIX_COUNT * 2 / 3;

/// Entries that wait unsorted. More make lookups slower, fewer make insertion in random order slower.
const RECENT_MAX: usize = 128;

/// Keeps the low six bytes; the callers bound positions by [`super::super::format::POS_MAX`].
const fn store(pos: u64) -> Stored {
    let [_, _, a, b, c, d, e, f] = pos.to_be_bytes();
    [a, b, c, d, e, f]
}

/// The inverse of [`store`].
const fn load([a, b, c, d, e, f]: Stored) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Two-byte suffixes to positions.
#[derive(Debug)]
pub(crate) enum Bucket {
    /// Few entries.
    Sparse(Sparse),
    /// Many entries.
    Dense(Dense),
}

/// Parallel arrays; the first `sorted_count` entries are sorted by suffix, the others are in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    suffixes: Vec<u16>,
    positions: Vec<Stored>,
    sorted_count: usize,
}

/// A place for each suffix.
#[derive(Debug)]
pub(crate) struct Dense {
    positions: Box<[Stored]>,
    entry_count: u32,
}

impl Default for Bucket {
    fn default() -> Self {
        Self::Sparse(Sparse::default())
    }
}

impl Bucket {
    /// The bucket of `entries`, or `None` unless their suffixes rise strictly and no position is 0.
    pub(crate) fn from_sorted(suffixes: Vec<u16>, positions: Vec<Stored>) -> Option<Self> {
        let rises = suffixes.is_sorted_by(|one, next| one < next);
        if !rises || suffixes.len() != positions.len() || positions.contains(&ABSENT) {
            return None;
        }
        let sparse = Sparse { sorted_count: suffixes.len(), suffixes, positions };
        Some(if sparse.suffixes.len() >= DENSE_FROM {
            Self::Dense(Dense::from_sparse(&sparse))
        } else {
            Self::Sparse(sparse)
        })
    }

    /// The position of `suffix`.
    pub(crate) fn get(&self, suffix: u16) -> Option<u64> {
        let stored = match self {
            Self::Sparse(sparse) => *sparse.positions.get(sparse.find(suffix)?)?,
            Self::Dense(dense) => *dense.positions.get(usize::from(suffix))?,
        };
        (stored != ABSENT).then(|| load(stored))
    }

    /// Sets the position of `suffix`; whether it is new.
    pub(crate) fn insert(&mut self, suffix: u16, pos: u64) -> bool {
        match self {
            Self::Sparse(sparse) => {
                let is_new = sparse.insert(suffix, store(pos));
                if sparse.suffixes.len() >= DENSE_FROM {
                    *self = Self::Dense(Dense::from_sparse(sparse));
                }
                is_new
            }
            Self::Dense(dense) => dense.insert(suffix, store(pos)),
        }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> u32 {
        match self {
            // A sparse bucket has fewer than 65,536.
            Self::Sparse(sparse) => u32::try_from(sparse.suffixes.len()).unwrap_or(u32::MAX),
            Self::Dense(dense) => dense.entry_count,
        }
    }

    /// The greatest suffix.
    pub(crate) fn max_suffix(&self) -> Option<u16> {
        match self {
            Self::Sparse(sparse) => sparse.suffixes.iter().max().copied(),
            Self::Dense(dense) => {
                let at = dense.positions.iter().rposition(|stored| *stored != ABSENT)?;
                u16::try_from(at).ok()
            }
        }
    }

    /// The least suffix at or above `suffix`.
    pub(crate) fn first_from(&self, suffix: u16) -> Option<u16> {
        match self {
            Self::Sparse(sparse) => sparse.first_from(suffix),
            Self::Dense(dense) => {
                let from = usize::from(suffix);
                let at = dense.positions.get(from..)?.iter().position(|stored| *stored != ABSENT)?;
                u16::try_from(from + at).ok()
            }
        }
    }

    /// All entries by rising suffix.
    pub(crate) fn sorted_entries(&self) -> Vec<(u16, u64)> {
        match self {
            Self::Sparse(sparse) => {
                let pairs = sparse.suffixes.iter().zip(&sparse.positions);
                let mut entries: Vec<_> = pairs.map(|(suffix, stored)| (*suffix, load(*stored))).collect();
                // Stable, and fast on a long sorted run with a short tail.
                entries.sort_by_key(|(suffix, _)| *suffix);
                entries
            }
            Self::Dense(dense) => (0..=u16::MAX)
                .zip(&dense.positions)
                .filter(|(_, stored)| **stored != ABSENT)
                .map(|(suffix, stored)| (suffix, load(*stored)))
                .collect(),
        }
    }

    /// Gives back room kept for growth.
    pub(crate) fn shrink(&mut self) {
        if let Self::Sparse(sparse) = self {
            sparse.suffixes.shrink_to_fit();
            sparse.positions.shrink_to_fit();
        }
    }

    /// Bytes on the heap, with 16 for the allocator at each allocation.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Sparse(sparse) => 32 + sparse.suffixes.capacity() * 2 + sparse.positions.capacity() * 6,
            Self::Dense(dense) => 16 + dense.positions.len() * 6,
        }
    }
}

impl Sparse {
    /// Index of `suffix` in the arrays.
    fn find(&self, suffix: u16) -> Option<usize> {
        let (sorted, recent) = self.suffixes.split_at_checked(self.sorted_count)?;
        sorted.binary_search(&suffix).ok().or_else(|| {
            let at = recent.iter().position(|present| *present == suffix)?;
            Some(self.sorted_count + at)
        })
    }

    /// The least suffix at or above `suffix`.
    fn first_from(&self, suffix: u16) -> Option<u16> {
        let (sorted, recent) = self.suffixes.split_at_checked(self.sorted_count)?;
        let in_order = sorted.get(sorted.partition_point(|present| *present < suffix));
        in_order.into_iter().chain(recent.iter().filter(|present| **present >= suffix)).min().copied()
    }

    fn insert(&mut self, suffix: u16, stored: Stored) -> bool {
        if let Some(place) = self.find(suffix).and_then(|at| self.positions.get_mut(at)) {
            *place = stored;
            return false;
        }
        let is_in_order = self.sorted_count == self.suffixes.len()
            && self.suffixes.last().is_none_or(|last| *last < suffix);
        if self.suffixes.len() == self.suffixes.capacity() {
            let more = self.suffixes.len() / 8 + 4;
            self.suffixes.reserve_exact(more);
            self.positions.reserve_exact(more);
        }
        self.suffixes.push(suffix);
        self.positions.push(stored);
        if is_in_order {
            self.sorted_count += 1;
        } else if self.suffixes.len() - self.sorted_count > RECENT_MAX {
            self.merge();
        }
        true
    }

    /// Sorts the recent entries in, in one pass from the end.
    fn merge(&mut self) {
        let recent_suffixes = self.suffixes.split_off(self.sorted_count);
        let recent_positions = self.positions.split_off(self.sorted_count);
        let mut recent: Vec<_> = recent_suffixes.into_iter().zip(recent_positions).collect();
        recent.sort_unstable_by_key(|(suffix, _)| *suffix);
        let mut from = self.sorted_count;
        self.sorted_count += recent.len();
        // The capacity is there: both arrays were this long before.
        self.suffixes.resize(self.sorted_count, 0);
        self.positions.resize(self.sorted_count, ABSENT);
        while let Some((suffix, stored)) = recent.pop() {
            let sorted = self.suffixes.get(..from).unwrap_or_default();
            let cut = sorted.partition_point(|present| *present < suffix);
            // Those above move up by one for the entry itself and by one for each entry still to come.
            self.suffixes.copy_within(cut..from, cut + recent.len() + 1);
            self.positions.copy_within(cut..from, cut + recent.len() + 1);
            let to = cut + recent.len();
            if let (Some(s), Some(p)) = (self.suffixes.get_mut(to), self.positions.get_mut(to)) {
                (*s, *p) = (suffix, stored);
            }
            from = cut;
        }
    }
}

impl Dense {
    fn from_sparse(sparse: &Sparse) -> Self {
        let mut dense = Self { positions: vec![ABSENT; SUFFIX_COUNT].into_boxed_slice(), entry_count: 0 };
        for (suffix, stored) in sparse.suffixes.iter().zip(&sparse.positions) {
            dense.insert(*suffix, *stored);
        }
        dense
    }

    fn insert(&mut self, suffix: u16, stored: Stored) -> bool {
        let Some(place) = self.positions.get_mut(usize::from(suffix)) else { return false };
        let is_new = *place == ABSENT;
        *place = stored;
        self.entry_count += u32::from(is_new);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_order_of_insertion_gives_the_same_entries() {
        // Multipliers coprime to 65,536 visit every suffix: rising, falling, jumping about.
        for multiplier in [1_u32, 65_535, 40_503, 257, 32_769] {
            let mut bucket = Bucket::default();
            let mut model = BTreeMap::new();
            for n in 0..65_536_u32 {
                let suffix = u16::try_from(n * multiplier % 65_536).unwrap();
                let pos = u64::from(n) + 27;
                assert!(bucket.insert(suffix, pos));
                model.insert(suffix, pos);
                if n % 4_099 == 0 {
                    assert!(!bucket.insert(suffix, pos + 1));
                    model.insert(suffix, pos + 1);
                    assert_eq!(
                        bucket.sorted_entries(),
                        model.iter().map(|(s, p)| (*s, *p)).collect::<Vec<_>>()
                    );
                    assert_eq!(bucket.len() as usize, model.len());
                    assert_eq!(bucket.max_suffix(), model.last_key_value().map(|(s, _)| *s));
                    for (suffix, pos) in &model {
                        assert_eq!(bucket.get(*suffix), Some(*pos));
                    }
                }
            }
            assert!(matches!(bucket, Bucket::Dense(_)));
        }
    }

    #[test]
    fn refuses_what_does_not_rise() {
        assert!(Bucket::from_sorted(vec![1, 1], vec![[1; 6]; 2]).is_none());
        assert!(Bucket::from_sorted(vec![2, 1], vec![[1; 6]; 2]).is_none());
        assert!(Bucket::from_sorted(vec![1, 2], vec![[1; 6], ABSENT]).is_none());
        assert!(Bucket::from_sorted(vec![1, 2], vec![[1; 6]; 1]).is_none());
        assert_eq!(Bucket::from_sorted(vec![1, 2], vec![[1; 6]; 2]).unwrap().len(), 2);
    }
}
