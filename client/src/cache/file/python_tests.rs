//! The scenarios of Python's own tests of its cache, `ZEO/tests/test_cache.py` (ZEO 6.2), one test for each.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use super::format::MAGIC;
use super::*;

const SIZE: u64 = 1 << 20;

fn cache(size: u64) -> FileCache<Vec<u8>> {
    FileCache::on(Vec::new(), size).unwrap()
}

/// The same file, opened again.
fn reopened(mut cache: FileCache<Vec<u8>>, size: u64) -> FileCache<Vec<u8>> {
    cache.flush().unwrap();
    FileCache::on(std::mem::take(&mut cache.ring.disk), size).unwrap()
}

fn revision(data: &[u8], serial: u64, end: Option<u64>) -> Revision {
    Revision { data: data.to_vec().into(), serial: Tid::from_u64(serial), end: end.map(Tid::from_u64) }
}

fn store<D: Disk>(cache: &mut FileCache<D>, oid: u64, data: &[u8], serial: u64, end: Option<u64>) {
    cache.store(Oid::from_u64(oid), &revision(data, serial, end)).unwrap();
}

fn load<D: Disk>(cache: &mut FileCache<D>, oid: u64, before: u64) -> Option<Revision> {
    cache.load_before(Oid::from_u64(oid), Tid::from_u64(before)).unwrap()
}

fn current<D: Disk>(cache: &mut FileCache<D>, oid: u64) -> Option<Revision> {
    cache.load_before(Oid::from_u64(oid), Tid::MAX).unwrap()
}

fn invalidate<D: Disk>(cache: &mut FileCache<D>, oid: u64, tid: u64) {
    cache.invalidate(Oid::from_u64(oid), Some(Tid::from_u64(tid))).unwrap();
}

fn oids(cache: &mut FileCache<Vec<u8>>) -> BTreeSet<u64> {
    cache.current().unwrap().into_iter().map(|(oid, _)| oid.to_u64()).collect()
}

/// `testLastTid`
#[test]
fn the_last_transaction_does_not_go_back() {
    let mut cache = cache(SIZE);
    assert_eq!(cache.last_tid(), None);
    for tid in [2, 3] {
        cache.set_last_tid(Tid::from_u64(tid)).unwrap();
        assert_eq!(cache.last_tid(), Some(Tid::from_u64(tid)));
    }
    store(&mut cache, 1, b"x", 3, None);
    let error = cache.set_last_tid(Tid::from_u64(2)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
}

/// `testSetAnyLastTidOnEmptyCache`
#[test]
fn the_last_transaction_of_an_empty_cache_may_be_any() {
    let mut cache = cache(SIZE);
    for tid in [5, 5, 3, 4] {
        cache.set_last_tid(Tid::from_u64(tid)).unwrap();
        assert_eq!(cache.last_tid(), Some(Tid::from_u64(tid)));
    }
}

/// `testLoad`
#[test]
fn what_is_stored_is_loaded() {
    let mut cache = cache(SIZE);
    assert_eq!(current(&mut cache, 1), None);
    store(&mut cache, 1, b"data", 3, None);
    assert_eq!(current(&mut cache, 1), Some(revision(b"data", 3, None)));
}

/// `testInvalidate`
#[test]
fn what_is_invalidated_is_not_current() {
    let mut cache = cache(SIZE);
    store(&mut cache, 1, b"data", 3, None);
    invalidate(&mut cache, 2, 2);
    invalidate(&mut cache, 1, 4);
    assert_eq!(current(&mut cache, 1), None);
    assert_eq!(load(&mut cache, 1, 4), Some(revision(b"data", 3, Some(4))));
}

/// `testNonCurrent`
#[test]
fn nothing_is_said_about_times_between() {
    let mut cache = cache(SIZE);
    store(&mut cache, 1, b"new", 4, None);
    store(&mut cache, 1, b"old", 2, Some(3));
    assert_eq!(load(&mut cache, 1, 2), None);
    assert_eq!(load(&mut cache, 1, 3), Some(revision(b"old", 2, Some(3))));
    assert_eq!(load(&mut cache, 1, 4), None);
    invalidate(&mut cache, 1, 5);
    assert_eq!(load(&mut cache, 1, 5), Some(revision(b"new", 4, Some(5))));
    assert_eq!(load(&mut cache, 2, 4), None);
}

/// `testException`: where Python refuses a second current revision, the newer one stays here.
#[test]
fn there_is_one_current_revision() {
    let mut cache = cache(SIZE);
    for _ in 0..2 {
        store(&mut cache, 1, b"data", 2, None);
        assert_eq!(cache.len(), 1);
    }
    store(&mut cache, 1, b"newer", 3, None);
    store(&mut cache, 1, b"data", 2, None);
    assert_eq!((cache.len(), current(&mut cache, 1)), (1, Some(revision(b"newer", 3, None))));
}

/// `testEviction`
#[test]
fn a_full_cache_makes_room() {
    let mut cache = cache(3395);
    for number in 0..50_u8 {
        store(&mut cache, number.into(), &vec![b'z'; number.into()], u64::from(number) + 1, None);
        assert_eq!(cache.len(), usize::from(number) + 1);
    }
    store(&mut cache, 50, &[b'z'; 51], 51, None);
    assert!(cache.len() < 51);
    assert_eq!(current(&mut cache, 50), Some(revision(&[b'z'; 51], 51, None)));
}

/// `testSerialization`
#[test]
fn a_copy_of_the_file_is_the_same_cache() {
    let mut cache = cache(SIZE);
    store(&mut cache, 1, b"data", 2, None);
    store(&mut cache, 3, b"old", 3, Some(4));
    store(&mut cache, 3, b"older", 4, Some(5));
    cache.flush().unwrap();
    let mut copy = FileCache::on(cache.ring.disk.clone(), SIZE).unwrap();
    assert_eq!((copy.last_tid(), copy.len()), (cache.last_tid(), 3));
    assert_eq!(copy.current().unwrap(), cache.current().unwrap());
    for (oid, before) in [(1, 2), (1, 3), (3, 3), (3, 4), (3, 5), (3, 6)] {
        assert_eq!(load(&mut copy, oid, before), load(&mut cache, oid, before), "{oid} {before}");
    }
}

/// `testCurrentObjectLargerThanCache`, `testOldObjectLargerThanCache`
#[test]
fn what_is_too_large_is_not_kept() {
    for end in [None, Some(3)] {
        let mut cache = cache(50);
        store(&mut cache, 1, &[b'x'; 64], 2, end);
        assert_eq!((load(&mut cache, 1, 3), cache.len()), (None, 0));
        invalidate(&mut cache, 1, 2);
    }
}

/// `testVeryLargeCaches`
#[test]
fn a_cache_may_be_larger_than_32_bits_can_say() {
    let mut file = tempfile::tempfile().unwrap();
    for size in [(1 << 32) + SIZE, (1 << 33) + SIZE] {
        let mut cache = FileCache::on(file.try_clone().unwrap(), size).unwrap();
        store(&mut cache, 1, b"x", 2, None);
        assert_eq!(current(&mut cache, 1), Some(revision(b"x", 2, None)));
        cache.flush().unwrap();
        file = cache.ring.disk.try_clone().unwrap();
        assert_eq!(Disk::len(&file).unwrap(), size);
    }
    let mut cache = FileCache::on(file, (1 << 33) + SIZE).unwrap();
    assert_eq!(current(&mut cache, 1), Some(revision(b"x", 2, None)));
}

/// `testConversionOfLargeFreeBlocks`
#[test]
fn free_blocks_that_are_too_long_are_split() {
    const LEN: u64 = 1 << 32;
    let mut file = tempfile::tempfile().unwrap();
    let mut head = MAGIC.to_vec();
    head.extend([0; 8]);
    head.push(b'f');
    head.extend(u32::try_from(LEN - HEADER_LEN).unwrap().to_be_bytes());
    file.write_at(0, &head).unwrap();
    file.write_at(LEN - 1, b"x").unwrap();
    for _ in 0..2 {
        assert!(FileCache::on(file.try_clone().unwrap(), LEN).unwrap().is_empty());
        let mut block = [0; 5];
        file.read_at(HEADER_LEN, &mut block).unwrap();
        let len = u32::try_from(BLOCK_LEN_MAX).unwrap().to_be_bytes();
        assert_eq!((block[0], &block[1..]), (b'f', &len[..]));
    }
}

/// `test_clear_zeo_cache`
#[test]
fn a_cleared_cache_is_empty() {
    let mut cache = cache(SIZE);
    for oid in 0..10 {
        store(&mut cache, oid, b"new", 2, None);
        store(&mut cache, oid, b"old", 1, Some(2));
    }
    assert_eq!(cache.len(), 20);
    assert_eq!(current(&mut cache, 3), Some(revision(b"new", 2, None)));
    assert_eq!(load(&mut cache, 3, 2), Some(revision(b"old", 1, Some(2))));
    cache.clear().unwrap();
    assert_eq!((cache.len(), current(&mut cache, 3), load(&mut cache, 3, 2)), (0, None, None));
    assert!(reopened(cache, SIZE).is_empty());
}

/// `testChangingCacheSize`: the very objects that Python keeps are kept.
#[test]
fn another_size_keeps_what_python_keeps() {
    let record_len = OVERHEAD + 1;
    let size = |count: u64, extra| HEADER_LEN + count * record_len + extra;
    let fill = |cache: &mut FileCache<Vec<u8>>, oids: std::ops::Range<u64>| {
        for oid in oids {
            store(cache, oid, b"x", 1, None);
        }
    };
    for extra in [2, record_len - 2] {
        let mut cache = cache(size(100, extra));
        fill(&mut cache, 0..100);
        assert_eq!((cache.len(), Disk::len(&cache.ring.disk).unwrap()), (100, size(100, extra)));

        let mut cache = reopened(cache, size(50, extra));
        assert_eq!(Disk::len(&cache.ring.disk).unwrap(), size(50, extra));
        assert_eq!(oids(&mut cache), (0..50).collect());
        fill(&mut cache, 100..110);
        // One more is gone: a free block follows the newest record.
        let expected: BTreeSet<u64> = (11..50).chain(100..110).collect();
        assert_eq!(oids(&mut cache), expected);
        let mut cache = reopened(cache, size(50, extra));
        assert_eq!(oids(&mut cache), expected);

        let mut cache = reopened(cache, size(150, extra));
        assert_eq!(Disk::len(&cache.ring.disk).unwrap(), size(150, extra));
        assert_eq!(oids(&mut cache), expected);
        fill(&mut cache, 200..305);
        let expected: BTreeSet<u64> = (11..50).chain(106..110).chain(200..305).collect();
        assert_eq!(oids(&mut cache), expected);
        let mut cache = reopened(cache, size(150, extra));
        assert_eq!(oids(&mut cache), expected);
    }
}

/// `test_loadBefore_doesnt_miss_current`
#[test]
fn what_is_current_is_found_by_a_time_as_well() {
    let mut cache = cache(SIZE);
    store(&mut cache, 1, b"first", 1, None);
    assert_eq!(load(&mut cache, 1, 1), None);
    assert_eq!(load(&mut cache, 1, 2), Some(revision(b"first", 1, None)));
    invalidate(&mut cache, 1, 2);
    store(&mut cache, 1, b"second", 2, None);
    assert_eq!(load(&mut cache, 1, 1), None);
    assert_eq!(load(&mut cache, 1, 2), Some(revision(b"first", 1, Some(2))));
    assert_eq!(load(&mut cache, 1, 3), Some(revision(b"second", 2, None)));
}

/// `full_cache_is_valid`
#[test]
fn a_cache_without_free_space_goes_on() {
    const SIZE: u64 = 1000;
    for data_len in SIZE - HEADER_LEN - OVERHEAD - 6..=SIZE - HEADER_LEN - OVERHEAD + 6 {
        let mut cache = cache(SIZE);
        store(&mut cache, 1, &vec![b'X'; usize::try_from(data_len).unwrap()], 1, None);
        let mut cache = reopened(cache, SIZE);
        store(&mut cache, 2, b"XXX", 2, None);
        assert_eq!(current(&mut cache, 2), Some(revision(b"XXX", 2, None)), "{data_len}");
        assert_eq!(reopened(cache, SIZE).len(), 1, "{data_len}");
    }
}

/// `invalidations_with_current_tid_dont_wreck_cache`
#[test]
fn an_invalidation_by_the_current_transaction_changes_nothing() {
    let mut cache = cache(SIZE);
    store(&mut cache, 1, b"data", 1, None);
    invalidate(&mut cache, 1, 1);
    assert_eq!(current(&mut reopened(cache, SIZE), 1), Some(revision(b"data", 1, None)));
}

/// `rename_bad_cache_file`
#[test]
fn a_bad_file_is_renamed_once_and_then_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bad) = (dir.path().join("cache"), dir.path().join("cache.bad"));
    for (what, len) in [("the first one is kept", 100), ("the second one is not", 200)] {
        std::fs::write(&path, vec![b'x'; len]).unwrap();
        let mut cache = FileCache::open(&path, 1000).unwrap();
        store(&mut cache, 1, b"data", 1, None);
        drop(cache);
        let len = |path: &Path| path.metadata().unwrap().len();
        assert_eq!((len(&path), len(&bad)), (1000, 100), "{what}");
    }
}
