//! A log file: appending, rotating, reopening.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use super::{LogError, LogFile, Rotation};

/// A log file while it is in use.
#[derive(Debug)]
pub(super) struct OpenFile {
    spec: LogFile,
    /// `None` before the first event if its opening is delayed, and after a rotation that failed half-way.
    file: Option<File>,
    /// Length of the file as far as we know; others may write to it, too.
    len: u64,
}

impl OpenFile {
    pub(super) fn open(spec: &LogFile) -> Result<Self, LogError> {
        let mut this = Self { spec: spec.clone(), file: None, len: 0 };
        if !spec.is_delayed {
            this.ensure_open().map_err(|source| this.error(source))?;
        }
        Ok(this)
    }

    /// Appends `line`, which ends with a line end.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        self.ensure_open()?;
        let line_len = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if let Some(rotation) = self.spec.rotation
            && self.len > 0
            && self.len.saturating_add(line_len) >= rotation.max_len
        {
            self.rotate(rotation)?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(line.as_bytes())?;
            self.len = self.len.saturating_add(line_len);
        }
        Ok(())
    }

    /// Goes on in a new file, if the old one was renamed or there is a rotation.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        if self.file.is_none() && self.spec.is_delayed {
            return Ok(());
        }
        let reopened = match self.spec.rotation {
            Some(rotation) => self.rotate(rotation),
            None => self.open_new(),
        };
        reopened.map_err(|source| self.error(source))
    }

    fn ensure_open(&mut self) -> io::Result<()> {
        if self.file.is_some() { Ok(()) } else { self.open_new() }
    }

    /// Opens the file of our name. If that fails, the file in use stays in use.
    fn open_new(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create(true).open(&self.spec.path)?;
        // What is no regular file (a pipe, a terminal) has no length that counts.
        self.len = file.metadata().map_or(0, |metadata| metadata.len());
        self.file = Some(file);
        Ok(())
    }

    /// Shifts `PATH.1` to `PATH.2` and so on, the file itself to `PATH.1`, and begins a new one. A crash
    /// between two of these steps leaves a gap in the numbers, but every event in some file.
    fn rotate(&mut self, rotation: Rotation) -> io::Result<()> {
        for number in (1..rotation.old_files).rev() {
            rename_if_there(&self.old_path(number), &self.old_path(number + 1))?;
        }
        rename_if_there(&self.spec.path, &self.old_path(1))?;
        self.open_new()
    }

    fn old_path(&self, number: u32) -> PathBuf {
        let mut path = self.spec.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }

    fn error(&self, source: io::Error) -> LogError {
        LogError::Open { path: self.spec.path.clone(), source }
    }
}

fn rename_if_there(from: &PathBuf, to: &PathBuf) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
