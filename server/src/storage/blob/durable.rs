//! Making the files and directories of blobs durable.

use std::io;
use std::path::Path;

use crate::storage::file::paths;

/// Makes the content of a file, or the names in a directory, durable.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    plan::step(path)?;
    paths::sync(path)
}

/// What this thread has synced, and which of its syncs fail: a test cannot see them otherwise.
#[cfg(test)]
pub(super) mod plan {
    use std::cell::RefCell;
    use std::io;
    use std::path::{Path, PathBuf};

    use crate::storage::file::disk::fault::EIO;

    thread_local! {
        static PLAN: RefCell<(Option<usize>, Vec<PathBuf>)> = const { RefCell::new((None, Vec::new())) };
    }

    pub(super) fn step(path: &Path) -> io::Result<()> {
        PLAN.with_borrow_mut(|(failing, synced)| {
            synced.push(path.to_owned());
            let is_failing = failing.is_some_and(|number| number + 1 == synced.len());
            if is_failing { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
        })
    }

    /// Begins anew, with the sync of this number failing, counted from 0.
    pub(in super::super) fn begin(failing: Option<usize>) {
        PLAN.set((failing, Vec::new()));
    }

    /// What has been synced since, in its order, as far as it lies below `root`.
    pub(in super::super) fn synced(root: &Path) -> Vec<String> {
        let relative = |path: &PathBuf| Some(path.strip_prefix(root).ok()?.display().to_string());
        PLAN.with_borrow(|(_, synced)| synced.iter().filter_map(relative).collect())
    }
}
