//! A cache file of any bytes, and whatever is done with it then.

mod contents;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use zeo_client::cache::{Cache as _, Disk, FileCache, Revision};
use zeo_client::{Oid, Tid};

use contents::Contents;

/// Sizes of caches: the smallest one, and how much larger one may be.
const SIZE_MIN: u64 = 64;
const SIZE_RANGE: u64 = 8 * 1024;
/// Objects and transactions that steps choose from.
const CHOICE_COUNT: usize = 12;

/// Two bytes are the size of the cache, two the length of a file, which follows; the rest are steps: loads, stores,
/// invalidations, starts with another size, and bytes of the file that change. Whatever it is:
///
/// * the file is opened if protocol reference 16 says that it is a cache, and refused as damaged if not;
/// * nothing is read, or in the file, that was not there or stored, and ends where it was told to; what was stored is
///   there, if nothing else is in its way;
/// * the file stays a cache of the size that was wanted, and the index has what is in it; it is one, without what was
///   stored last, if the process is killed;
/// * an operation fails only if the file was damaged before.
pub fn cache_file(input: &[u8]) {
    hit_count(input);
}

/// The same; how many loads found something.
pub fn hit_count(input: &[u8]) -> usize {
    let mut steps = Steps(input);
    let size = SIZE_MIN + u64::from(steps.number()) % SIZE_RANGE;
    let len = usize::from(steps.number());
    let image = steps.bytes(len).to_vec();
    let Some(mut world) = World::open(image, size) else { return 0 };
    if let Err(error) = world.go(&mut steps) {
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert!(!world.contents.is_sound, "{error}");
    }
    world.hit_count
}

/// An input with this file, for a cache as long as it.
pub fn seed(image: &[u8], steps: &[u8]) -> Vec<u8> {
    let len = u16::try_from(image.len()).unwrap();
    let size = len.saturating_sub(u16::try_from(SIZE_MIN).unwrap());
    [&size.to_be_bytes(), &len.to_be_bytes(), image, steps].concat()
}

/// What is left of the input; zeros behind its end.
struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn choose(&mut self, from: &[u64]) -> u64 {
        from[usize::from(self.byte()) % from.len()]
    }
}

/// A file in memory that outlives its cache.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn image(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Disk for Shared {
    fn len(&self) -> io::Result<u64> {
        Disk::len(&*self.0.lock().unwrap())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.lock().unwrap().read_at(at, into)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().write_at(at, bytes)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Disk::set_len(&mut *self.0.lock().unwrap(), len)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct World {
    disk: Shared,
    size: u64,
    cache: FileCache<Shared>,
    /// What the cache may have.
    contents: Contents,
    /// What the file may have, without a flush.
    written: Contents,
    oids: Vec<u64>,
    tids: Vec<u64>,
    stored_count: u8,
    hit_count: usize,
}

impl World {
    fn open(image: Vec<u8>, size: u64) -> Option<Self> {
        let expected = Contents::of(&image, size);
        let disk = Shared(Arc::new(Mutex::new(image)));
        let (cache, contents) = match (FileCache::on(disk.clone(), size), expected) {
            (Ok(cache), Some(contents)) => (cache, contents),
            (Err(error), None) if error.kind() == io::ErrorKind::InvalidData => return None,
            (opened, expected) => panic!("{opened:?}, expected {expected:?}"),
        };
        let keys = || contents.revisions.keys();
        let ends = contents.revisions.values().flatten().map(|(end, _)| *end);
        let oids = (1..=4).chain(keys().map(|(oid, _)| *oid)).collect::<BTreeSet<_>>();
        let tids = keys().map(|(_, start)| *start).chain(ends).chain([10, 20, 30, 40, contents.last]);
        let tids = tids.collect::<BTreeSet<_>>();
        let mut world = Self {
            disk,
            size,
            cache,
            oids: oids.into_iter().take(CHOICE_COUNT).collect(),
            tids: tids.into_iter().take(CHOICE_COUNT).collect(),
            contents,
            written: Contents::default(),
            stored_count: 0,
            hit_count: 0,
        };
        assert_eq!(world.cache.last_tid().map_or(0, Tid::to_u64), world.contents.last);
        world.check();
        Some(world)
    }

    fn go(&mut self, steps: &mut Steps<'_>) -> io::Result<()> {
        while !steps.0.is_empty() {
            let kind = steps.byte();
            if !self.step(kind, steps)? {
                return Ok(());
            }
            if kind < 128 {
                self.cache.flush()?;
                self.check();
            }
        }
        self.load_all()
    }

    /// The file is a cache, with nothing in it that the cache may not have, and as much as the cache says.
    fn check(&mut self) {
        let image = self.disk.image();
        let found = Contents::of(&image, self.size).expect("the file is a cache");
        assert_eq!((found.end, image.len() as u64), (self.size, self.size));
        for (key, endings) in &found.revisions {
            for ending in endings {
                assert!(self.contents.has(*key, ending), "{key:x?} until {:x}", ending.0);
            }
        }
        if self.contents.is_ambiguous {
            assert!(self.cache.len() <= found.count);
        } else {
            assert_eq!(self.cache.len(), found.count);
        }
        self.written = found;
    }

    /// Whether the cache is still in use.
    fn step(&mut self, kind: u8, steps: &mut Steps<'_>) -> io::Result<bool> {
        let oid = steps.choose(&self.oids);
        let tid = steps.choose(&self.tids).saturating_add(u64::from(kind >> 4 & 3));
        match kind % 16 {
            0..=3 => drop(self.load(oid, tid)?),
            4..=7 => self.store(oid, tid, 0, steps)?,
            8..=9 => {
                let len = steps.byte();
                self.store(oid, tid, tid.wrapping_add(u64::from(len % 24)), steps)?;
            }
            10..=11 => {
                self.cache.invalidate(Oid::from_u64(oid), Some(Tid::from_u64(tid)))?;
                self.contents.end_current(oid, tid);
                self.check();
            }
            12 => {
                self.cache.invalidate(Oid::from_u64(oid), None)?;
                self.contents.forget_current(oid, u64::MAX);
                self.check();
            }
            13 => self.set_last(tid)?,
            14 if kind < 32 => {
                self.cache.clear()?;
                self.contents = Contents { last: self.contents.last, is_sound: true, ..Contents::default() };
                assert!(self.cache.is_empty());
                self.check();
            }
            14 => self.load_all()?,
            _ => return Ok(self.open_again(kind, steps)),
        }
        Ok(true)
    }

    fn load(&mut self, oid: u64, before: u64) -> io::Result<Option<Revision>> {
        let found = self.cache.load_before(Oid::from_u64(oid), Tid::from_u64(before))?;
        if let Some(Revision { data, serial, end }) = &found {
            let (serial, end) = (serial.to_u64(), end.map_or(0, Tid::to_u64));
            assert!(
                serial < before && (end == 0 || end >= before),
                "{serial:x} to {end:x} before {before:x}"
            );
            assert!(self.contents.has((oid, serial), &(end, data.to_vec())), "object {oid:x}: {found:x?}");
            self.hit_count += 1;
        }
        Ok(found)
    }

    fn load_all(&mut self) -> io::Result<()> {
        let keys: Vec<_> = self.contents.revisions.keys().copied().collect();
        for (oid, start) in keys {
            let mut befores = BTreeSet::from([start, start.saturating_add(1), u64::MAX]);
            for (end, _) in &self.contents.revisions[&(oid, start)] {
                befores.extend([*end, end.saturating_add(1)]);
            }
            for before in befores {
                self.load(oid, before)?;
            }
        }
        Ok(())
    }

    fn store(&mut self, oid: u64, start: u64, end: u64, steps: &mut Steps<'_>) -> io::Result<()> {
        let len = usize::from(steps.byte());
        let len = if len > 250 { (len - 250) * 1000 } else { len };
        self.stored_count = self.stored_count.wrapping_add(1);
        let data = vec![self.stored_count; len];
        let serial = Tid::from_u64(start);
        let revision =
            Revision { data: data.clone().into(), serial, end: (end != 0).then(|| Tid::from_u64(end)) };
        let stored = self.cache.store(Oid::from_u64(oid), &revision);
        if end != 0 && end <= start {
            assert_eq!(stored.unwrap_err().kind(), io::ErrorKind::InvalidInput);
            return Ok(());
        }
        stored?;
        let stays = end == 0 && start < u64::MAX && self.contents.leaves_room_for(oid, start);
        if end == 0 {
            self.contents.forget_current(oid, start);
        }
        self.contents.revisions.entry((oid, start)).or_default().push((end, data.clone()));
        self.written.revisions.entry((oid, start)).or_default().push((end, data));
        if stays && (len + 43) as u64 + 12 < self.size {
            assert_eq!(self.load(oid, u64::MAX)?, Some(revision));
            if len.is_multiple_of(2) {
                self.cache.flush()?;
                self.check();
                assert!(self.written.has_free);
            }
        }
        Ok(())
    }

    fn set_last(&mut self, tid: u64) -> io::Result<()> {
        let goes_back = tid != 0 && tid < self.contents.last && !self.cache.is_empty();
        let set = self.cache.set_last_tid(Tid::from_u64(tid));
        if goes_back {
            assert_eq!(set.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        } else {
            set?;
            self.contents.last = if tid == 0 { self.contents.last } else { tid };
        }
        assert_eq!(self.cache.last_tid().map_or(0, Tid::to_u64), self.contents.last);
        Ok(())
    }

    /// This process is killed, and another one opens the file, perhaps with another size, perhaps damaged; whether it can
    /// use it.
    fn open_again(&mut self, kind: u8, steps: &mut Steps<'_>) -> bool {
        let size = if kind & 16 == 0 { self.size } else { SIZE_MIN + u64::from(steps.number()) % SIZE_RANGE };
        let mut image = self.disk.image();
        let is_damaged = kind & 32 != 0;
        if is_damaged {
            for _ in 0..=kind >> 6 {
                let at = usize::from(steps.number()) % image.len();
                image[at] ^= steps.byte();
            }
        } else if kind & 64 != 0 {
            image.truncate(usize::from(steps.number()));
        }
        let is_cut = image.len() as u64 != self.size;
        match Self::open(image, size) {
            None => {
                assert!(is_damaged || is_cut);
                false
            }
            Some(opened) => {
                assert!(is_damaged || is_cut || opened.contents.last == self.contents.last);
                for (key, endings) in opened.contents.revisions.iter().filter(|_| !is_damaged) {
                    endings.iter().for_each(|ending| assert!(self.written.has(*key, ending), "{key:x?}"));
                }
                let (stored_count, hit_count) = (self.stored_count, self.hit_count);
                *self = Self { stored_count, hit_count, ..opened };
                true
            }
        }
    }
}
