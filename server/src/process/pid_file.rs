//! The file with the process's number (`ZEO/runzeo.py`, `make_pidfile` and `remove_pidfile`, ZEO 6.2).

use std::io;
use std::path::{Path, PathBuf};

/// The file, removed when this is dropped.
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file, if there is to be one. Failing is logged and not fatal, as in Python's server.
    pub(super) fn write(path: Option<&Path>) -> Option<Self> {
        let path = path?;
        let pid = std::process::id();
        match replace(path, &format!("{pid}\n")) {
            Ok(()) => {
                tracing::info!(target: "ZEO.runzeo", "({pid}) created PID file '{}'", path.display());
                Some(Self(path.to_owned()))
            }
            Err(error) => {
                tracing::error!(target: "ZEO.runzeo", "PID file '{}' cannot be opened: {error}", path.display());
                None
            }
        }
    }
}

/// What is there, a link to some other file for example, makes room and is not written to.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::write(path, text),
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let (path, pid) = (self.0.display(), std::process::id());
        match std::fs::read_to_string(&self.0) {
            Ok(text) if text.trim() == pid.to_string() => {}
            // Removed already, or in use by another process.
            _ => return,
        }
        match std::fs::remove_file(&self.0) {
            Ok(()) => tracing::info!(target: "ZEO.runzeo", "({pid}) removed PID file '{path}'"),
            Err(error) => {
                tracing::error!(target: "ZEO.runzeo", "PID file '{path}' could not be removed: {error}");
            }
        }
    }
}
