//! The objects: sets of equal size whose bytes follow from oid and stamp.

use zeo_codec::{Oid, Tid};

use super::BenchError;

/// Bytes of a small object.
pub const SMALL_LEN: usize = 256;
/// Bytes of a large object.
pub const LARGE_LEN: usize = 16 * 1024;
/// Bytes at the front of a record that tell the others: oid and stamp.
const HEAD_LEN: usize = 16;

/// Objects of one size, with oids in sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// The first oid as a number.
    pub first: u64,
    /// How many objects.
    pub count: u64,
    /// Length of each record in bytes.
    pub data_len: usize,
}

/// Objects of [`SMALL_LEN`] bytes: read and written.
pub const SMALL: Set = Set { first: 1, count: 10_000, data_len: SMALL_LEN };
/// Objects of [`LARGE_LEN`] bytes: only read.
pub const LARGE: Set = Set { first: 1_000_001, count: 2_000, data_len: LARGE_LEN };

impl Set {
    /// Its oids, in order.
    pub fn oids(self) -> impl Iterator<Item = Oid> {
        (self.first..self.first + self.count).map(Oid::from_u64)
    }

    /// One of its oids.
    #[must_use]
    pub fn pick(self, random: &mut Random) -> Oid {
        Oid::from_u64(self.first + random.below(self.count))
    }
}

/// What is known of an object: where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The object.
    pub oid: Oid,
    /// Its current revision; zero before the first.
    pub serial: Tid,
    /// What its current data was made from.
    pub stamp: u64,
}

impl Entry {
    /// An object that does not exist yet.
    #[must_use]
    pub fn new(oid: Oid) -> Self {
        Self { oid, serial: Tid::ZERO, stamp: 0 }
    }
}

/// The record of an object: oid, stamp, and bytes that look random.
#[must_use]
pub fn record(oid: Oid, stamp: u64, data_len: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(data_len + 8);
    data.extend_from_slice(oid.as_bytes());
    data.extend_from_slice(&stamp.to_be_bytes());
    let mut random = Random::new(oid.to_u64() ^ stamp.rotate_left(32));
    while data.len() < data_len {
        data.extend_from_slice(&random.next_u64().to_be_bytes());
    }
    data.truncate(data_len);
    data
}

/// Checks that `data` is a record of `oid` as [`record`] makes it, and returns its stamp.
///
/// # Errors
/// [`BenchError::Wrong`].
pub fn check_record(oid: Oid, data: &[u8], data_len: usize) -> Result<u64, BenchError> {
    let wrong = || BenchError::Wrong(format!("{} bytes of data that are not those of {oid}", data.len()));
    let stamp = data.get(8..HEAD_LEN).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let stamp = stamp.ok_or_else(wrong)?;
    if data == record(oid, stamp, data_len) { Ok(stamp) } else { Err(wrong()) }
}

/// Numbers that look random, the same in each run (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A sequence.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is small beside 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_proves_its_oid_and_every_byte() {
        let oid = Oid::from_u64(77);
        for data_len in [17, SMALL_LEN, LARGE_LEN] {
            let mut data = record(oid, 5, data_len);
            assert_eq!(data.len(), data_len);
            assert_eq!(check_record(oid, &data, data_len).unwrap(), 5);
            assert!(check_record(Oid::from_u64(78), &data, data_len).is_err());
            *data.last_mut().unwrap() ^= 1;
            assert!(check_record(oid, &data, data_len).is_err());
        }
        assert!(check_record(oid, &[], SMALL_LEN).is_err());
    }

    #[test]
    fn sets_do_not_overlap() {
        const { assert!(SMALL.first + SMALL.count <= LARGE.first) };
        let mut random = Random::new(1);
        for _ in 0..1_000 {
            let oid = SMALL.pick(&mut random).to_u64();
            assert!((SMALL.first..SMALL.first + SMALL.count).contains(&oid));
        }
    }
}
