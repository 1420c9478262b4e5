//! Cutting off what an interrupted commit left behind the last complete transaction.
//!
//! The order makes every crash harmless: the tail is copied to the first free `Data.fs.trN` and that file made
//! durable; only then is the data file cut. A crash in between leaves the copy *and* the tail, and the next
//! start makes another copy. Source: `FileStorage.py:_truncate`, `read_index`, ZODB 6.4.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::StorageError;
use super::disk::Disk;
use super::window::{SCAN_WINDOW_LEN, Window};
use super::{io_error, sync_folder, with_suffix};

/// Copies the bytes of `disk` from `pos` on to the first free `.trN` beside `data_path`, durably.
///
/// # Errors
/// [`StorageError::Io`]; then nothing may be cut off.
pub(crate) fn save_aside(disk: &dyn Disk, data_path: &Path, pos: u64) -> Result<PathBuf, StorageError> {
    let (path, file) = create_first_free(data_path)?;
    let saved = copy_from(disk, pos, file).and_then(|()| sync_folder(&path));
    saved.map_err(io_error("save the damaged tail as", &path))?;
    Ok(path)
}

/// Cuts `disk` off at `pos`, durably.
///
/// # Errors
/// [`StorageError::Io`].
pub(crate) fn cut(disk: &dyn Disk, file_name: &str, pos: u64) -> Result<(), StorageError> {
    let failed = |source| StorageError::Io { doing: format!("cut off the tail of {file_name}"), source };
    disk.set_len(pos).and_then(|()| disk.sync_data()).map_err(failed)
}

fn create_first_free(data_path: &Path) -> Result<(PathBuf, File), StorageError> {
    let mut number = 0_u64;
    loop {
        let path = with_suffix(data_path, &format!(".tr{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(io_error("create", &path)(error)),
        }
    }
}

fn copy_from(disk: &dyn Disk, mut pos: u64, mut file: File) -> io::Result<()> {
    let end_pos = disk.len()?;
    let mut window = Window::new(disk, end_pos, SCAN_WINDOW_LEN);
    while pos < end_pos {
        let len = usize::try_from(end_pos - pos).unwrap_or(usize::MAX).min(SCAN_WINDOW_LEN);
        file.write_all(window.bytes(pos, len)?)?;
        pos += super::format::span(len);
    }
    file.sync_all()
}
