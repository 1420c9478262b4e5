//! The medium below a file storage: positional reads and writes, and durability.
//!
//! [`FileDisk`] is the real one. [`MemoryDisk`] keeps and records everything, so that a test can replay what
//! a power cut would have left; the wrapper of the tests makes single operations fail.

mod memory;

#[cfg(test)]
pub(crate) mod fault;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, pread};

pub use memory::{Change, MemoryDisk};

/// A growing array of bytes that outlives the process.
///
/// Reads may run at any time from any thread; writes, [`Disk::sync_data`] and the rest come from one thread at
/// a time. Every method fails with what the operating system says.
#[expect(clippy::missing_errors_doc, reason = "said once for all methods")]
#[expect(clippy::len_without_is_empty, reason = "a length in bytes of a medium, not a collection")]
pub trait Disk: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `buffer` with the bytes from `pos` on; `UnexpectedEof` if there are not so many.
    fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()>;

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
#[derive(Debug)]
pub struct FileDisk {
    file: File,
}

impl FileDisk {
    /// Uses `file`, which must be open for reading, and for writing if it is to be written.
    #[must_use]
    pub const fn new(file: File) -> Self {
        Self { file }
    }
}

impl Disk for FileDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()> {
        // Not the standard library's: it goes through the C library, which makes each read a point at which
        // the thread can be cancelled. For a small object that is a tenth of the read.
        let (mut rest, mut pos) = (buffer, pos);
        while !rest.is_empty() {
            match pread(&self.file, &mut *rest, pos) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read_len) => {
                    rest = rest.split_at_mut(read_len).1;
                    pos += read_len as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
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
        loop {
            return match fallocate(&self.file, FallocateFlags::KEEP_SIZE, pos, len) {
                Err(Errno::INTR) => continue,
                // Not on this file system: a full disk will show in the write.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
                Err(errno) => Err(errno.into()),
            };
        }
    }
}
