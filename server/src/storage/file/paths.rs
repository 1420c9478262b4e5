//! Names of the files beside the data file, and what every use of them needs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::super::StorageError;

/// The path as it is shown to people.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// `path` with `suffix` appended to its name, as in `Data.fs.index`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Turns what the operating system says about `path` into a [`StorageError::Io`].
pub(crate) fn io_error(doing: &str, path: &Path) -> impl Fn(io::Error) -> StorageError {
    move |source| StorageError::Io { doing: format!("{doing} {}", path.display()), source }
}

/// Makes the creation or the renaming of `path` durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
