//! A log file: appending, rotating, reopening.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::{Timestamp, Zoned};

use super::{LogError, LogFile, Rotation, Schedule};

/// A log file while it is in use.
#[derive(Debug)]
pub(super) struct OpenFile {
    spec: LogFile,
    /// `None` before the first event if its opening is delayed, and after a rotation that failed half-way.
    file: Option<File>,
    /// Length of the file as far as we know; others may write to it, too.
    len: u64,
    /// When the file ends, if it does so by the clock.
    end: Option<Zoned>,
}

impl OpenFile {
    pub(super) fn open(spec: &LogFile, now: &Zoned) -> Result<Self, LogError> {
        let mut this = Self { spec: spec.clone(), file: None, len: 0, end: None };
        if let Some(Rotation::Timed { schedule, .. }) = spec.rotation {
            // What was written before this process came counts, too.
            let written = std::fs::metadata(&spec.path).and_then(|metadata| metadata.modified());
            let since = written.ok().and_then(|written| local(written, now));
            this.end = schedule.end(since.as_ref().unwrap_or(now)).ok();
        }
        if !spec.is_delayed {
            this.ensure_open().map_err(|source| this.error(source))?;
        }
        Ok(this)
    }

    /// Appends `line`, which ends with a line end.
    pub(super) fn write(&mut self, line: &[u8], now: &Zoned) -> io::Result<()> {
        self.ensure_open()?;
        let line_len = u64::try_from(line.len()).unwrap_or(u64::MAX);
        match self.spec.rotation {
            Some(Rotation::Full { max_len, old_files })
                if self.len > 0 && self.len.saturating_add(line_len) >= max_len =>
            {
                self.shift(old_files)?;
            }
            Some(Rotation::Timed { schedule, old_files }) if self.is_over(now) => {
                self.put_away(schedule, old_files, now)?;
            }
            _ => {}
        }
        if let Some(file) = &mut self.file {
            file.write_all(line)?;
            self.len = self.len.saturating_add(line_len);
        }
        Ok(())
    }

    /// Goes on in a new file, if the old one was renamed or there is a rotation.
    pub(super) fn reopen(&mut self, now: &Zoned) -> Result<(), LogError> {
        if self.file.is_none() && self.spec.is_delayed {
            return Ok(());
        }
        let reopened = match self.spec.rotation {
            Some(Rotation::Full { old_files, .. }) => self.shift(old_files),
            Some(Rotation::Timed { schedule, old_files }) => self.put_away(schedule, old_files, now),
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
    fn shift(&mut self, old_files: u32) -> io::Result<()> {
        for number in (1..old_files).rev() {
            rename_if_there(&self.old_path(number), &self.old_path(number + 1))?;
        }
        rename_if_there(&self.spec.path, &self.old_path(1))?;
        self.open_new()
    }

    fn is_over(&self, now: &Zoned) -> bool {
        self.end.as_ref().is_some_and(|end| end <= now)
    }

    /// Gives the file the name of its time, begins a new one, and removes the old ones that are too many.
    ///
    /// If there is a file of that name, as after a second SIGUSR2 within the time, the one in use goes on under its own
    /// name: so it does in Python 3.13, while 3.11 loses what was written before.
    fn put_away(&mut self, schedule: Schedule, old_files: u32, now: &Zoned) -> io::Result<()> {
        let end = self.end.take().unwrap_or_else(|| now.clone());
        self.end = schedule.end(now).ok();
        let is_regular = std::fs::metadata(&self.spec.path).is_ok_and(|metadata| metadata.is_file());
        if let (true, Ok(suffix)) = (is_regular, schedule.suffix(&end)) {
            let old = self.old_path(suffix);
            if !old.try_exists()? {
                rename_if_there(&self.spec.path, &old)?;
            }
        }
        self.open_new()?;
        self.remove_oldest(schedule, old_files)
    }

    fn remove_oldest(&self, schedule: Schedule, old_files: u32) -> io::Result<()> {
        let directory = self.spec.path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        let Some(name) = self.spec.path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
        let mut old = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?.file_name();
            let suffix = entry.to_str().and_then(|entry| entry.strip_prefix(name)?.strip_prefix('.'));
            if suffix.is_some_and(|suffix| schedule.is_suffix(suffix)) {
                old.push(entry);
            }
        }
        // By their names they are in the order of their times.
        old.sort();
        let excess = old.len().saturating_sub(usize::try_from(old_files).unwrap_or(usize::MAX));
        old.iter().take(excess).try_for_each(|name| std::fs::remove_file(directory.join(name)))
    }

    fn old_path(&self, suffix: impl std::fmt::Display) -> PathBuf {
        let mut path = self.spec.path.clone().into_os_string();
        path.push(format!(".{suffix}"));
        path.into()
    }

    fn error(&self, source: io::Error) -> LogError {
        LogError::Open { path: self.spec.path.clone(), source }
    }
}

/// `time` in the time zone of `now`; `None` if it is no time of a calendar.
fn local(time: SystemTime, now: &Zoned) -> Option<Zoned> {
    Some(Timestamp::try_from(time).ok()?.to_zoned(now.time_zone().clone()))
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
