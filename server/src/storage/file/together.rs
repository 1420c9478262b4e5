//! Transactions that are made durable together, by one sync, and how a later start knows it of them.
//!
//! If power fails before that sync, any of their sectors may be missing, so that a transaction which is not whole can
//! stand before one that is. Otherwise this is a sign of damage to something that had been acknowledged, which must not
//! be cut off. The low twelve bits of the tid tell the two apart: the first of those together, and whoever is alone,
//! has any bits there but [those of a place](place_of); the following ones have the number of transactions before
//! them, and a check:
//!
//! ```text
//!   tid   | minutes: 32 bits | part of the minute: 20 bits | check: 8 bits | place: 4 bits |
//! ```
//!
//! So each of the following ones is ahead of the one before it, or of the time, by less than 115 microseconds (2^13 units
//! of 60 s / 2^32). In files that others have written (Python takes
//! the time to the microsecond) one tid in 273 looks like one of a place. That matters only where the last transaction
//! of a file looks so and one close before it has lost a sector, which then counts as a tail, as Python would have it in
//! any case (`FileStorage.py:read_index`, ZODB 6.4).

use zeo_codec::Tid;

/// So many transactions may be made durable together.
pub const TOGETHER_MAX: usize = 16;

/// So many bytes they may have, all together. What is further than that from the end of the file had been acknowledged.
pub const TOGETHER_LEN_MAX: u64 = 1 << 20;

const PLACE_BITS: u32 = 4;
const SIGN_BITS: u32 = 12;
const SIGN_MASK: u64 = (1 << SIGN_BITS) - 1;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;

/// How many transactions were made durable together with that of `tid` and stand before it.
pub(super) fn place_of(tid: Tid) -> u64 {
    let place = tid.to_u64() & PLACE_MASK;
    if place > 0 && tid.to_u64() & SIGN_MASK == sign(tid.to_u64() >> SIGN_BITS, place) { place } else { 0 }
}

/// The smallest tid from `wanted` on of a transaction with `place` others before it that are made durable together with
/// it. `None` when all numbers are used up.
pub(super) fn tid_at(wanted: Tid, place: usize) -> Option<Tid> {
    let place = u64::try_from(place).ok().filter(|place| *place <= PLACE_MASK)?;
    if place == 0 {
        // Of a number of tids in a row at most fifteen are those of places.
        let mut tid = wanted;
        while place_of(tid) > 0 {
            tid = tid.next()?;
        }
        return Some(tid);
    }
    let high = wanted.to_u64() >> SIGN_BITS;
    let tid_of = |high: u64| Tid::from_u64(high << SIGN_BITS | sign(high, place));
    let tid = tid_of(high);
    if tid >= wanted {
        return Some(tid);
    }
    let tid = tid_of(high + 1);
    // The numbers are used up where the high bits begin anew.
    (tid > wanted).then_some(tid)
}

/// The low bits of a tid with these high bits and this place. The check is a product's high bits, which depend on all
/// bits of its factors.
fn sign(high: u64, place: u64) -> u64 {
    /// 2^64 divided by the golden ratio: odd, its bits without a pattern.
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let check = (high << PLACE_BITS | place).wrapping_mul(FACTOR) >> 56;
    check << PLACE_BITS | place
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tid_says_its_place_and_is_close_to_the_wanted_one(wanted in any::<u64>(), place in 0..TOGETHER_MAX) {
            let wanted = Tid::from_u64(wanted >> 1);
            let tid = tid_at(wanted, place).unwrap();
            prop_assert_eq!(place_of(tid), place as u64);
            prop_assert!(tid >= wanted && tid.to_u64() - wanted.to_u64() < 2 << SIGN_BITS);
            // It stays the same when it is wanted itself.
            prop_assert_eq!(tid_at(tid, place), Some(tid));
        }

        #[test]
        fn few_other_tids_look_like_one_of_a_place(high in any::<u32>()) {
            let from = u64::from(high) << 20;
            let count = (from..from + (1 << 16)).filter(|tid| place_of(Tid::from_u64(*tid)) > 0).count();
            prop_assert_eq!(count, 16 * (TOGETHER_MAX - 1));
        }
    }

    #[test]
    fn where_the_numbers_end_there_is_none() {
        assert_eq!((1..TOGETHER_MAX).find(|place| tid_at(Tid::from_u64(u64::MAX), *place).is_some()), None);
        assert_eq!(tid_at(Tid::from_u64(5), TOGETHER_MAX), None);
    }
}
