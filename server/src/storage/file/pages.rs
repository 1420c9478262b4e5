//! Pages of a data file that are asked for again and again, kept at hand: a record in them costs no system call.
//!
//! What has been committed never changes, and a view ends where a transaction does. So a page below the end of a view
//! holds what it always will, and nobody ever has to take it back; a pack makes another file, with pages of its own.
//!
//! A page has one place, by its number. It is kept from the second time on that it was missed there, nothing else
//! having been missed meanwhile: whoever reads through the whole file, or here and there in a large one, neither pays
//! for it nor drives out what others need.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::disk::Disk;
use super::format::span;

/// Bytes of a page.
const PAGE_LEN: usize = 4096;
/// Places that are made together, when the first of them is needed.
const GROUP_LEN: u64 = 64;
/// Groups of a data file: 16 MiB when all places are taken.
const GROUP_COUNT: usize = 64;
/// A page that there is not.
const NONE: u64 = u64::MAX;

/// The pages of one data file that are at hand.
pub(crate) struct Pages {
    groups: Box<[OnceLock<Box<[Place]>>]>,
}

struct Place {
    page: ArcSwapOption<Page>,
    /// The page that was looked for here last, and was not here.
    missed: AtomicU64,
}

struct Page {
    number: u64,
    bytes: [u8; PAGE_LEN],
}

impl Default for Pages {
    fn default() -> Self {
        Self::with_groups(GROUP_COUNT)
    }
}

impl Pages {
    fn with_groups(count: usize) -> Self {
        Self { groups: std::iter::repeat_with(OnceLock::new).take(count).collect() }
    }

    /// Fills `first` and then `second` with the bytes from `pos` on, which end at `end_pos` or before: from pages, if
    /// they lie in at most two, and both are here; otherwise from `disk`.
    ///
    /// # Errors
    /// What `disk` says.
    pub(super) fn read_both(
        &self,
        disk: &dyn Disk,
        first: &mut [u8],
        second: &mut [u8],
        pos: u64,
        end_pos: u64,
    ) -> io::Result<()> {
        let len = first.len() + second.len();
        if len > PAGE_LEN {
            return disk.read_exact_both_at(first, second, pos);
        }
        let Err(missing) = self.copy(first, pos).and_then(|()| self.copy(second, pos + span(first.len())))
        else {
            return Ok(());
        };
        disk.read_exact_both_at(first, second, pos)?;
        self.missed(missing, disk, end_pos);
        Ok(())
    }

    /// Fills `bytes`, or tells the number of a page that is not here.
    fn copy(&self, mut bytes: &mut [u8], mut pos: u64) -> Result<(), u64> {
        while !bytes.is_empty() {
            let number = pos / span(PAGE_LEN);
            let page = self.place(number).ok_or(number)?.page.load();
            let page = page.as_deref().filter(|page| page.number == number).ok_or(number)?;
            let offset = usize::try_from(pos % span(PAGE_LEN)).map_err(|_wide| number)?;
            let found = page.bytes.get(offset..).unwrap_or_default();
            let len = found.len().min(bytes.len());
            let (filled, rest) = bytes.split_at_mut(len);
            filled.copy_from_slice(found.get(..len).ok_or(number)?);
            (bytes, pos) = (rest, pos + span(len));
        }
        Ok(())
    }

    fn place(&self, number: u64) -> Option<&Place> {
        let group = number / GROUP_LEN % span(self.groups.len());
        let group = self.groups.get(usize::try_from(group).ok()?)?.get_or_init(|| {
            let place = |_| Place { page: ArcSwapOption::const_empty(), missed: AtomicU64::new(NONE) };
            (0..GROUP_LEN).map(place).collect()
        });
        group.get(usize::try_from(number % GROUP_LEN).ok()?)
    }

    /// Keeps a page that is missed again, if it lies below `end_pos` as a whole.
    fn missed(&self, number: u64, disk: &dyn Disk, end_pos: u64) {
        let Some(place) = self.place(number) else { return };
        if place.missed.swap(number, Ordering::Relaxed) != number || number >= end_pos / span(PAGE_LEN) {
            return;
        }
        let mut page = Page { number, bytes: [0; PAGE_LEN] };
        // A part of it has just been read. If the rest cannot be, who needs it will be told.
        if disk.read_exact_at(&mut page.bytes, number * span(PAGE_LEN)).is_ok() {
            place.page.store(Some(Arc::new(page)));
        }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.groups.iter().filter_map(OnceLock::get).flatten();
        let count = places.filter(|place| place.page.load().is_some()).count();
        formatter.debug_struct("Pages").field("count", &count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::disk::MemoryDisk;
    use super::*;

    /// A disk that counts how often it is read.
    #[derive(Debug, Default)]
    struct Counting {
        inner: MemoryDisk,
        read_count: AtomicU64,
    }

    impl Counting {
        fn of_numbered_bytes(len: usize) -> Self {
            let bytes = (0..len).map(|pos| u8::try_from(pos / 7 % 251).unwrap()).collect();
            Self { inner: MemoryDisk::new(bytes), ..Self::default() }
        }

        fn read_count(&self) -> u64 {
            self.read_count.load(Ordering::Relaxed)
        }
    }

    impl Disk for Counting {
        fn len(&self) -> io::Result<u64> {
            self.inner.len()
        }

        fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()> {
            self.read_count.fetch_add(1, Ordering::Relaxed);
            self.inner.read_exact_at(buffer, pos)
        }

        fn write_all_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
            self.inner.write_all_at(bytes, pos)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.inner.sync_data()
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.inner.set_len(len)
        }

        fn reserve(&self, pos: u64, len: u64) -> io::Result<()> {
            self.inner.reserve(pos, len)
        }
    }

    fn read(pages: &Pages, disk: &dyn Disk, pos: u64, len: usize, end_pos: u64) -> Vec<u8> {
        let mut bytes = vec![0xaa; len];
        let (first, second) = bytes.split_at_mut(len / 3);
        pages.read_both(disk, first, second, pos, end_pos).unwrap();
        bytes
    }

    #[test]
    fn what_is_read_again_and_again_needs_no_disk() {
        let (pages, disk) = (Pages::default(), Counting::of_numbered_bytes(100_000));
        // Across the border of two pages.
        for round in 0..6 {
            let before = disk.read_count();
            assert_eq!(read(&pages, &disk, 8_000, 400, 100_000), disk.inner.bytes()[8_000..8_400]);
            let needs_disk = round < 4;
            assert_eq!(disk.read_count() > before, needs_disk, "round {round}");
        }
    }

    #[test]
    fn what_is_read_once_drives_nothing_out() {
        let len = PAGE_LEN * 200;
        let (pages, disk) = (Pages::with_groups(1), Counting::of_numbered_bytes(len));
        (0..2).for_each(|_| drop(read(&pages, &disk, 10, 300, span(len))));
        for number in 1..200 {
            read(&pages, &disk, number * span(PAGE_LEN), 300, span(len));
        }
        let before = disk.read_count();
        read(&pages, &disk, 10, 300, span(len));
        assert_eq!(disk.read_count(), before);
    }

    proptest! {
        /// Behind the end of a view there is what will be overwritten: the next transaction, or one that failed.
        #[test]
        fn bytes_are_those_of_the_disk(
            steps in prop::collection::vec((0..400_000_u64, 0..9_000_usize, 0..2_000_u64), 1..60)
        ) {
            let disk = MemoryDisk::new(vec![1; 400_000]);
            let pages = Pages::with_groups(1);
            let mut end_pos = 300_000;
            for (index, (pos, len, growth)) in steps.into_iter().enumerate() {
                let pos = pos % end_pos;
                let len = len.min(usize::try_from(end_pos - pos).unwrap());
                for _ in 0..3 {
                    let start = usize::try_from(pos).unwrap();
                    prop_assert_eq!(&read(&pages, &disk, pos, len, end_pos), &disk.bytes()[start..start + len]);
                }
                let growth = growth.min(399_000 - end_pos);
                let written = vec![u8::try_from(index).unwrap(); usize::try_from(growth + 900).unwrap()];
                disk.write_all_at(&written, end_pos).unwrap();
                end_pos += growth;
            }
        }
    }
}
