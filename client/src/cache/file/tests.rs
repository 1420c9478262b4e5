//! Random use against a database that knows the truth, cut off at every write.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::format::{Block, HEAD_LEN};
use super::*;

/// What was done to a file.
#[derive(Debug, Clone)]
enum Write {
    At(u64, Vec<u8>),
    Len(u64),
}

/// A file in memory that remembers what was done to it.
#[derive(Debug, Default)]
struct Recorded {
    bytes: Vec<u8>,
    writes: Arc<Mutex<Vec<Write>>>,
}

impl Disk for Recorded {
    fn len(&self) -> io::Result<u64> {
        Disk::len(&self.bytes)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.bytes.read_at(at, into)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.writes.lock().unwrap().push(Write::At(at, bytes.to_vec()));
        self.bytes.write_at(at, bytes)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.writes.lock().unwrap().push(Write::Len(len));
        Disk::set_len(&mut self.bytes, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All revisions of all objects.
#[derive(Debug, Default)]
struct Database {
    objects: BTreeMap<u64, Vec<(u64, Vec<u8>)>>,
    last: u64,
}

impl Database {
    /// The newest revision older than `before`, as known up to `last`.
    fn load(&self, oid: u64, before: u64, last: u64) -> Option<Revision> {
        let revisions = self.objects.get(&oid)?;
        let at = revisions.iter().rposition(|(tid, _)| *tid < before && *tid <= last)?;
        let (serial, data) = &revisions[at];
        let end = revisions.get(at + 1).map(|(tid, _)| *tid).filter(|tid| *tid <= last);
        Some(Revision {
            data: data.clone().into(),
            serial: Tid::from_u64(*serial),
            end: end.map(Tid::from_u64),
        })
    }

    /// A cache says nothing but the truth about what was before its last transaction.
    fn check<D: Disk>(&self, cache: &mut FileCache<D>) -> usize {
        let last = cache.last_tid;
        for (oid, serial) in cache.current().unwrap() {
            let found = cache.load_before(oid, Tid::MAX).unwrap().unwrap();
            assert_eq!((found.serial, found.end), (serial, None), "{oid} is current");
        }
        let mut count = 0;
        for oid in 0..OIDS {
            for before in 1..=last + 1 {
                if let Some(found) = cache.load_before(Oid::from_u64(oid), Tid::from_u64(before)).unwrap() {
                    // What a transaction has written that is not known to be the last one yet.
                    if found.serial.to_u64() > last {
                        continue;
                    }
                    let mut truth = self.load(oid, before, self.last).unwrap();
                    // An invalidation that is on its way.
                    if found.end.is_none() && truth.end.is_some_and(|end| end.to_u64() > last) {
                        truth.end = None;
                    }
                    assert_eq!(found, truth, "object {oid} before {before}, last {last}");
                    count += 1;
                }
            }
        }
        count
    }
}

const OIDS: u64 = 12;
const SIZE: u64 = 2000;

/// Does something at random, as an engine would.
fn step<D: Disk>(random: &mut fastrand::Rng, database: &mut Database, cache: &mut FileCache<D>) {
    let oid = random.u64(0..OIDS);
    match random.u8(0..10) {
        0..=2 => {
            let tid = database.last + 1;
            let is_own = random.bool();
            for oid in 0..OIDS {
                if random.u8(0..5) > 0 {
                    continue;
                }
                let data = vec![random.u8(..); random.usize(0..180)];
                cache.invalidate(Oid::from_u64(oid), Some(Tid::from_u64(tid))).unwrap();
                if is_own {
                    let revision =
                        Revision { data: data.clone().into(), serial: Tid::from_u64(tid), end: None };
                    cache.store(Oid::from_u64(oid), &revision).unwrap();
                }
                database.objects.entry(oid).or_default().push((tid, data));
            }
            database.last = tid;
            cache.set_last_tid(Tid::from_u64(tid)).unwrap();
        }
        3 => cache.invalidate(Oid::from_u64(oid), None).unwrap(),
        4 if random.u8(0..20) == 0 => cache.clear().unwrap(),
        _ => {
            let before = random.u64(1..=database.last + 1);
            let truth = database.load(oid, before, database.last);
            let found = cache.load_before(Oid::from_u64(oid), Tid::from_u64(before)).unwrap();
            match (found, truth) {
                (None, Some(truth)) => cache.store(Oid::from_u64(oid), &truth).unwrap(),
                (found, truth) => assert!(found.is_none() || found == truth),
            }
        }
    }
}

/// Blocks follow each other to the end, and the index has what is in them.
fn check_file<D: Disk>(cache: &mut FileCache<D>) {
    cache.flush().unwrap();
    let mut at = HEADER_LEN;
    let mut count = 0;
    while at < cache.ring.size {
        let block = cache.ring.block(at, HEAD_LEN).unwrap();
        if let Block::Record(head) = block {
            let known = if head.end == 0 {
                cache.index.current(head.oid)
            } else {
                cache.index.past(head.oid, head.start)
            };
            assert_eq!(known.map(|known| known.at), Some(at));
            count += 1;
        }
        at += block.len();
    }
    assert_eq!((at, count), (cache.ring.size, cache.len()));
}

#[test]
fn whatever_is_done_to_a_cache_it_tells_the_truth() {
    let mut hits = 0;
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut database = Database::default();
        let mut cache = FileCache::on(Vec::new(), SIZE).unwrap();
        for number in 0..200 {
            step(&mut random, &mut database, &mut cache);
            check_file(&mut cache);
            if number % 50 == 49 {
                let size = random.u64(SIZE / 2..SIZE * 2);
                cache.flush().unwrap();
                cache = FileCache::on(std::mem::take(&mut cache.ring.disk), size).unwrap();
                check_file(&mut cache);
            }
        }
        hits += database.check(&mut cache);
    }
    assert!(hits > 1000, "{hits}");
}

#[test]
fn a_cache_cut_off_in_any_write_tells_the_truth() {
    let (mut whole, mut set_aside) = (0, 0);
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut database = Database::default();
        let disk = Recorded::default();
        let writes = Arc::clone(&disk.writes);
        let mut cache = FileCache::on(disk, SIZE).unwrap();
        for _ in 0..80 {
            step(&mut random, &mut database, &mut cache);
        }
        let writes = writes.lock().unwrap().clone();
        let mut image = Vec::new();
        for write in writes {
            if let Write::At(at, bytes) = &write {
                for cut in 0..bytes.len().min(48) {
                    let mut cut_off = image.clone();
                    cut_off.write_at(*at, &bytes[..cut]).unwrap();
                    match FileCache::on(cut_off, SIZE) {
                        Ok(mut cache) => {
                            check_file(&mut cache);
                            database.check(&mut cache);
                            whole += 1;
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
                            set_aside += 1;
                        }
                    }
                }
            }
            match write {
                Write::At(at, bytes) => image.write_at(at, &bytes).unwrap(),
                Write::Len(len) => Disk::set_len(&mut image, len).unwrap(),
            }
            // Between two writes nothing is lost.
            if image.len() >= 12 {
                database.check(&mut FileCache::on(image.clone(), SIZE).unwrap());
            }
        }
    }
    assert!(whole > 5 * set_aside, "{whole} {set_aside}");
}

/// The example of the protocol reference, section 16.
#[test]
fn the_bytes_are_those_of_python() {
    let mut cache = FileCache::on(Vec::new(), 300).unwrap();
    let tid = |digit: u64| Tid::from_u64(digit * 0x0101_0101_0101_0101);
    let revision = |data: &'static [u8], serial, end| Revision { data: data.into(), serial, end };
    cache.store(Oid::from_u64(1), &revision(b"hello", tid(3), None)).unwrap();
    cache.store(Oid::from_u64(2), &revision(b"world!", tid(2), Some(tid(3)))).unwrap();
    cache.invalidate(Oid::from_u64(1), Some(tid(4))).unwrap();
    cache.set_last_tid(tid(4)).unwrap();
    let mut expected = b"ZEC3\x04\x04\x04\x04\x04\x04\x04\x04a\0\0\0\x30\0\0\0\0\0\0\0\x01".to_vec();
    expected.extend([3; 8].iter().chain(&[4; 8]));
    expected.extend(b"\0\0\0\0\0\x05hello\0\0\0\0\0\0\0\x01a\0\0\0\x31\0\0\0\0\0\0\0\x02");
    expected.extend([2; 8].iter().chain(&[3; 8]));
    expected.extend(b"\0\0\0\0\0\x06world!\0\0\0\0\0\0\0\x02f\0\0\0\xbf");
    expected.resize(299, 0);
    expected.push(b'x');
    assert_eq!(cache.ring.disk, expected);
}

#[test]
fn records_that_come_together_are_written_together() {
    let disk = Recorded::default();
    let writes = Arc::clone(&disk.writes);
    let mut cache = FileCache::on(disk, SIZE).unwrap();
    let count = || writes.lock().unwrap().len();
    let made = count();
    let revision =
        |oid: u64| Revision { data: vec![7; 30].into(), serial: Tid::from_u64(oid + 1), end: None };
    for oid in 0..5 {
        cache.store(Oid::from_u64(oid), &revision(oid)).unwrap();
    }
    assert_eq!(count(), made);
    for oid in 0..5 {
        assert_eq!(cache.load_before(Oid::from_u64(oid), Tid::MAX).unwrap(), Some(revision(oid)));
    }
    cache.flush().unwrap();
    assert_eq!(count(), made + 2);
    // Each is written before an invalidation, also of another object.
    cache.store(Oid::from_u64(5), &revision(5)).unwrap();
    cache.invalidate(Oid::from_u64(9), Some(Tid::from_u64(9))).unwrap();
    assert_eq!(count(), made + 4);
    let image = cache.ring.disk.bytes.clone();
    assert_eq!(FileCache::on(image, SIZE).unwrap().len(), 6);
}

#[test]
fn what_has_ended_is_not_current_again() {
    let mut cache = FileCache::on(Vec::new(), SIZE).unwrap();
    let (oid, tid) = (Oid::from_u64(1), Tid::from_u64);
    let revision = |serial, end: Option<u64>| Revision {
        data: b"data"[..].into(),
        serial: tid(serial),
        end: end.map(tid),
    };
    cache.store(oid, &revision(3, None)).unwrap();
    cache.store(oid, &revision(5, Some(9))).unwrap();
    cache.store(oid, &revision(5, None)).unwrap();
    // Neither of them is current: that of 3 ended at 5, or before.
    assert_eq!(cache.load_before(oid, tid(20)).unwrap(), None);
    assert_eq!(cache.load_before(oid, tid(9)).unwrap(), Some(revision(5, Some(9))));
}

#[test]
fn a_file_is_locked_and_a_damaged_one_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client-1.zec");
    let mut cache = FileCache::open(&path, SIZE).unwrap();
    let busy = FileCache::open(&path, SIZE).unwrap_err();
    assert_eq!(busy.kind(), io::ErrorKind::WouldBlock, "{busy}");
    let revision = Revision { data: b"data"[..].into(), serial: Tid::from_u64(5), end: None };
    cache.store(Oid::from_u64(1), &revision).unwrap();
    drop(cache);

    let mut cache = FileCache::open(&path, SIZE).unwrap();
    assert_eq!(cache.load_before(Oid::from_u64(1), Tid::from_u64(6)).unwrap(), Some(revision));
    // The object id behind the data.
    cache.flush().unwrap();
    cache.ring.disk.write_at(HEADER_LEN + 35 + 4, b"\xff").unwrap();
    let damaged = cache.load_before(Oid::from_u64(1), Tid::from_u64(6)).unwrap_err();
    assert_eq!(damaged.kind(), io::ErrorKind::InvalidData, "{damaged}");
    drop(cache);
    assert!(beside(&path, ".bad").exists() && !path.exists());

    std::fs::write(&path, b"no cache").unwrap();
    assert!(FileCache::open(&path, SIZE).unwrap().is_empty());
    let mut cache = FileCache::open(&path, SIZE).unwrap();
    cache
        .store(Oid::from_u64(1), &Revision { data: Bytes::new(), serial: Tid::from_u64(5), end: None })
        .unwrap();
    drop(cache);
    // In use in another boot of the machine.
    std::fs::write(beside(&path, ".open"), b"another boot").unwrap();
    assert!(FileCache::open(&path, SIZE).unwrap().is_empty());
}
