//! A blob's file, which stays while it is read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::Pin;

/// A committed blob in a blob directory. While any clone of it lives, this client does not remove its file; and if
/// another process does, what is in it can still be read.
#[derive(Debug, Clone)]
pub struct Blob {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    path: PathBuf,
    _pin: Option<Pin>,
}

impl Blob {
    pub(super) fn new(file: File, path: PathBuf, pin: Option<Pin>) -> Self {
        Self { inner: Arc::new(Inner { file, path, _pin: pin }) }
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn len(&self) -> io::Result<u64> {
        self.inner.file.metadata().map(|metadata| metadata.len())
    }

    /// Whether there is nothing in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Where its file lies. Nobody may write to it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Reads it from the beginning, whoever else reads it.
    #[must_use]
    pub fn reader(&self) -> BlobReader {
        BlobReader { blob: self.clone(), pos: 0 }
    }
}

/// Reads a [`Blob`].
#[derive(Debug, Clone)]
pub struct BlobReader {
    blob: Blob,
    pos: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.blob.inner.file.read_at(buffer, self.pos)?;
        self.pos += u64::try_from(len).unwrap_or(0);
        Ok(len)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let pos = match to {
            SeekFrom::Start(pos) => Some(pos),
            SeekFrom::Current(by) => self.pos.checked_add_signed(by),
            SeekFrom::End(by) => self.blob.len()?.checked_add_signed(by),
        };
        self.pos = pos.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a position before the beginning of a blob")
        })?;
        Ok(self.pos)
    }
}
