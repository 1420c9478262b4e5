//! The data file of a server that is away: kept, and put back.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The name of the data file in the directory of a server.
pub const DATA_FILE: &str = "Data.fs";
const COPY: &str = "Data.fs.copy";
const INDEX: &str = "Data.fs.index";

/// Makes a copy of the data file in this directory.
///
/// # Errors
/// Those of the file system.
pub fn keep(dir: &Path) -> io::Result<()> {
    fs::copy(dir.join(DATA_FILE), dir.join(COPY)).map(|_| ())
}

/// Puts the copy in the place of the data file. The index, which is of another file, goes.
///
/// # Errors
/// Those of the file system.
pub fn restore(dir: &Path) -> io::Result<()> {
    fs::rename(dir.join(COPY), dir.join(DATA_FILE))?;
    match fs::remove_file(dir.join(INDEX)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
