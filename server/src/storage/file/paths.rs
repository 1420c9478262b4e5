//! Names of the files beside the data file, and what every use of them needs.

use std::fs::{self, File};
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

/// Makes the directory `dir` and what is missing above it; each is durable, by `sync` of the one that it is in.
pub(crate) fn create_folders(dir: &Path, sync: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let dir = std::path::absolute(dir)?;
    let mut missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.is_dir()).collect();
    while let Some(dir) = missing.pop() {
        match fs::create_dir(dir) {
            // Somebody else, a client with a shared blob directory for example, was faster.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => sync(dir.parent().unwrap_or(dir))?,
        }
    }
    Ok(())
}

/// Makes the content of a file, or the names in a directory, durable.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the creation or the renaming of `path` durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => sync(Path::new(".")),
        Some(folder) => sync(folder),
        None => Ok(()),
    }
}
