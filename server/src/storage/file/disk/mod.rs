//! The medium below a file storage: positional reads and writes, and durability.
//!
//! [`FileDisk`] is the real one. [`MemoryDisk`] keeps and records everything, so that a test can replay what
//! a power cut would have left; the wrapper of the tests makes single operations fail.

mod memory;

#[cfg(test)]
pub(crate) mod fault;

use std::fmt;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate};
#[cfg(target_os = "linux")]
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::storage::wait;

pub use memory::{Change, MemoryDisk};

/// A growing array of bytes that outlives the process.
///
/// Reads may run at any time from any thread; writes, [`Disk::sync_data`] and the rest come from one thread at
/// a time. Every method fails with what the operating system says. Reads that have to wait for the medium do so
/// within [`wait()`]; writes come from where waiting is allowed.
#[expect(clippy::missing_errors_doc, reason = "said once for all methods")]
#[expect(clippy::len_without_is_empty, reason = "a length in bytes of a medium, not a collection")]
pub trait Disk: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `buffer` with the bytes from `pos` on; `UnexpectedEof` if there are not so many.
    fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()>;

    /// Fills `first` and then `second` with the bytes from `pos` on; `UnexpectedEof` if there are not so many. A
    /// medium that can do that with one operation does.
    fn read_exact_both_at(&self, first: &mut [u8], second: &mut [u8], pos: u64) -> io::Result<()> {
        self.read_exact_at(first, pos)?;
        self.read_exact_at(second, pos.saturating_add(first.len() as u64))
    }

    /// Writes all of `bytes` at `pos`; not durable before [`Disk::sync_data`]. After a failure any part of
    /// them may have been written.
    fn write_all_at(&self, bytes: &[u8], pos: u64) -> io::Result<()>;

    /// Makes everything written so far durable. After a failure nothing is known of what was written since the
    /// last success, and trying again proves nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts off or zero-extends; also gives back room reserved beyond `len`.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Takes room for `len` bytes from `pos` on without changing the length, so that a full disk shows now and
    /// not in a later write. A medium that cannot do so succeeds.
    fn reserve(&self, pos: u64, len: u64) -> io::Result<()>;
}

/// A file of the operating system.
///
/// A read first takes what is in the page cache. Only if that is not all of it the thread waits, within [`wait()`]. Not
/// every file system can tell; one that cannot is read as if everything were cached.
///
/// Asking costs some 70 ns a read, because `preadv2` takes a list of buffers. There is no cheaper way that a page which
/// has just gone cannot deceive. The list has a use of its own: what is read together may lie apart.
///
/// Reading leaves the file's access time alone, if the system allows that: keeping it costs some 50 ns a read.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    #[cfg(target_os = "linux")]
    cannot_tell: AtomicBool,
}

impl FileDisk {
    /// Uses `file`, which must be open for reading, and for writing if it is to be written.
    #[must_use]
    pub fn new(file: File) -> Self {
        // Only the owner may; others go without.
        #[cfg(target_os = "linux")]
        let _ = fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags | OFlags::NOATIME));
        Self {
            file,
            #[cfg(target_os = "linux")]
            cannot_tell: AtomicBool::new(false),
        }
    }

    /// Fills `parts` with the bytes from `pos` on.
    fn read_parts(&self, mut parts: &mut [IoSliceMut<'_>], mut pos: u64) -> io::Result<()> {
        if !self.read_cached(&mut parts, &mut pos) {
            return self.read_waiting(parts, pos);
        }
        if parts.is_empty() {
            return Ok(());
        }
        let mut result = Ok(());
        wait(&mut || result = self.read_waiting(parts, pos));
        result
    }

    /// Reads what can be had without waiting, and moves `parts` and `pos` on to the rest; `false` if the file system
    /// cannot tell. Whatever else is wrong the read that waits will meet again.
    #[cfg(target_os = "linux")]
    fn read_cached(&self, parts: &mut &mut [IoSliceMut<'_>], pos: &mut u64) -> bool {
        use rustix::io::{ReadWriteFlags, preadv2};
        if self.cannot_tell.load(Ordering::Relaxed) {
            return false;
        }
        let mut read_len = 0;
        loop {
            IoSliceMut::advance_slices(parts, read_len);
            *pos = pos.saturating_add(read_len as u64);
            if parts.is_empty() {
                return true;
            }
            read_len = match preadv2(&self.file, parts, *pos, ReadWriteFlags::NOWAIT) {
                // Nothing is there, or nothing yet: some kernels have said the one and meant the other.
                Ok(0) | Err(Errno::AGAIN) => return true,
                Ok(len) => len,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    self.cannot_tell.store(true, Ordering::Relaxed);
                    return false;
                }
                Err(_) => return true,
            };
        }
    }

    /// No other system can tell.
    #[cfg(not(target_os = "linux"))]
    fn read_cached(&self, _parts: &mut &mut [IoSliceMut<'_>], _pos: &mut u64) -> bool {
        false
    }

    fn read_waiting(&self, mut parts: &mut [IoSliceMut<'_>], mut pos: u64) -> io::Result<()> {
        IoSliceMut::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match self.read_some(parts, pos) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read_len) => {
                    IoSliceMut::advance_slices(&mut parts, read_len);
                    pos += read_len as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    // Not the standard library's: it goes through the C library, which makes each read a point at which the thread can
    // be cancelled. For a small object that is a tenth of the read.
    #[cfg(target_os = "linux")]
    fn read_some(&self, parts: &mut [IoSliceMut<'_>], pos: u64) -> Result<usize, Errno> {
        rustix::io::preadv(&self.file, parts, pos)
    }

    /// Not everywhere several parts can be read at once.
    #[cfg(not(target_os = "linux"))]
    fn read_some(&self, parts: &mut [IoSliceMut<'_>], pos: u64) -> Result<usize, Errno> {
        parts.first_mut().map_or(Ok(0), |part| rustix::io::pread(&self.file, &mut **part, pos))
    }
}

impl Disk for FileDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()> {
        self.read_parts(&mut [IoSliceMut::new(buffer)], pos)
    }

    fn read_exact_both_at(&self, first: &mut [u8], second: &mut [u8], pos: u64) -> io::Result<()> {
        self.read_parts(&mut [IoSliceMut::new(first), IoSliceMut::new(second)], pos)
    }

    fn write_all_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, pos)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn reserve(&self, pos: u64, len: u64) -> io::Result<()> {
        let mut result = Ok(());
        // A vote asks for it, every few megabytes.
        wait(&mut || {
            result = loop {
                break match fallocate(&self.file, FallocateFlags::KEEP_SIZE, pos, len) {
                    Err(Errno::INTR) => continue,
                    // Not on this file system: a full disk will show in the write.
                    Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
                    Err(errno) => Err(errno.into()),
                };
            };
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::storage::set_wait_hook;

    #[test]
    fn reads_the_same_from_the_cache_and_from_the_medium() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
        file.write_all_at(&bytes, 0).unwrap();
        file.sync_data().unwrap();
        let disk = FileDisk::new(file);
        let firsts = [0, 1, 42, 70_000];
        for from in [0, 1, 4095, 3_000_000, 3_999_999] {
            for (len, first_len) in
                [0, 1, 5000, 1 << 20].into_iter().flat_map(|len| firsts.map(|first| (len, first)))
            {
                let mut buffer = vec![0; len];
                let (first, second) = buffer.split_at_mut(first_len.min(len));
                let read = disk.read_exact_both_at(first, second, from as u64);
                match bytes.get(from..from + len) {
                    Some(expected) => {
                        read.unwrap();
                        assert!(buffer == expected, "{first_len} of {len} bytes at {from}");
                        buffer.fill(0);
                        disk.read_exact_at(&mut buffer, from as u64).unwrap();
                        assert!(buffer == expected, "{len} bytes at {from}");
                        let mut parts = [IoSliceMut::new(&mut buffer)];
                        let mut rest = &mut parts[..];
                        assert!(!disk.read_cached(&mut rest, &mut (from as u64)) || rest.is_empty());
                    }
                    None => assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof),
                }
                // Only a file system that can tell reads anything else than all.
                rustix::fs::fadvise(&disk.file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reading_leaves_no_trace() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all_at(&[7; 100], 0).unwrap();
        // So long ago that reading would change it, unless the file system is mounted to keep no access times.
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        file.set_times(std::fs::FileTimes::new().set_accessed(long_ago)).unwrap();
        let disk = FileDisk::new(file);
        disk.read_exact_at(&mut [0; 100], 0).unwrap();
        assert_eq!(disk.file.metadata().unwrap().accessed().unwrap(), long_ago);
    }

    thread_local! {
        static WAIT_COUNT: Cell<u32> = const { Cell::new(0) };
    }

    fn wait_count(work: impl FnOnce()) -> u32 {
        WAIT_COUNT.set(0);
        work();
        WAIT_COUNT.get()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_not_cached_is_waited_for_and_nothing_else() {
        // Those that are known to tell, and to forget when they are asked to; a file system in memory cannot.
        const ABLE: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
        set_wait_hook(|work| {
            WAIT_COUNT.set(WAIT_COUNT.get() + 1);
            work();
        });
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all_at(&[7; 1 << 20], 0).unwrap();
        file.sync_all().unwrap();
        let system = u64::try_from(rustix::fs::fstatfs(&file).unwrap().f_type).unwrap();
        let disk = FileDisk::new(file);
        let read = || {
            let mut buffer = vec![0; 1 << 20];
            disk.read_exact_at(&mut buffer, 0).unwrap();
            assert!(buffer.iter().all(|byte| *byte == 7));
        };
        assert_eq!(wait_count(read), 0);
        rustix::fs::fadvise(&disk.file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let cold = wait_count(read);
        assert!(cold == 1 || !ABLE.contains(&system), "file system {system:#x}");
        assert_eq!(wait_count(read), 0);
    }
}
