//! Removing what was not used for long (`ClientStorage.py:_check_blob_cache_size`, ZEO 6.2).
//!
//! One process at a time does it, under `check_size.lock`; who comes meanwhile leaves `check_size.attempt`, and the
//! one at work looks once more. A file goes under the lock of its directory, under which files are made; what another
//! process has locked, and what this one has open, is passed over.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::directory::{BlobDirectory, try_lock};
use super::layout::SUFFIX;

/// How often one process looks again because others wanted to.
const ROUND_COUNT_MAX: u32 = 100;

/// A file of the cache.
struct Found {
    accessed: SystemTime,
    len: u64,
    /// Relative to the root.
    path: PathBuf,
}

/// Brings all files together down to this length, if it can.
pub(super) fn shrink(directory: &BlobDirectory, root: &Path, target_len: u64) -> io::Result<()> {
    let attempt = root.join("check_size.attempt");
    let Some(_lock) = try_lock(&root.join("check_size.lock"))? else {
        return fs::write(attempt, "");
    };
    for _ in 0..ROUND_COUNT_MAX {
        let mut files = files(root)?;
        let mut len: u64 = files.iter().map(|file| file.len).sum();
        tracing::debug!("the blob cache {} takes {len} bytes, {target_len} are wanted", root.display());
        if len > target_len {
            files.sort_by_key(|file| file.accessed);
            for file in files {
                if len <= target_len {
                    break;
                }
                if remove(directory, root, &file.path)? {
                    len = len.saturating_sub(file.len);
                }
            }
        }
        if fs::remove_file(&attempt).is_err() {
            break;
        }
    }
    Ok(())
}

/// Removes the file unless somebody is at it; whether it did.
fn remove(directory: &BlobDirectory, root: &Path, path: &Path) -> io::Result<bool> {
    let dir = path.parent().unwrap_or(path);
    let Some(_lock) = try_lock(&root.join(dir).join(".lock"))? else { return Ok(false) };
    match directory.remove_unless_pinned(path) {
        Ok(is_removed) => Ok(is_removed),
        Err(error) => {
            tracing::debug!("{} stays: {error}", path.display());
            Ok(false)
        }
    }
}

/// All committed files: those in directories whose names are numbers.
fn files(root: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for dir in fs::read_dir(root)? {
        let dir = dir?;
        let name = dir.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) || !dir.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(dir.path())? {
            let file = file?;
            // What goes meanwhile is not there.
            let Ok(metadata) = file.metadata() else { continue };
            if metadata.is_file() && file.file_name().as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
                let accessed = metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH);
                let path = Path::new(&name).join(file.file_name());
                found.push(Found { accessed, len: metadata.len(), path });
            }
        }
    }
    Ok(found)
}
