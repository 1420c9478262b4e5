//! What becomes of what was said: it is written down, as one capture of all connections or one of each, and told to
//! whoever listens.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::live::Teller;
use super::named;
use crate::capture::file::{self, FileWriter};
use crate::capture::{Event, Metadata, Record};

/// In a path: where the number of the connection goes.
const CONNECTION: &str = "{connection}";

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is recorded.
    Kept,
    /// The recording takes its place.
    Replaced,
}

/// A recording under way. All connections share it.
#[derive(Debug)]
pub struct Recording {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    files: Option<Files>,
    teller: Option<Teller>,
    error: Option<io::Error>,
}

#[derive(Debug)]
struct Files {
    path: PathBuf,
    existing: Existing,
    metadata: Metadata,
    /// Of all connections as number 0, or of each that is open.
    writers: BTreeMap<u32, FileWriter>,
    /// Those to which something was written since it was last handed to the system.
    dirty: BTreeSet<u32>,
}

impl Recording {
    /// Begins to record to `path`, in place of what is there; if it contains `{connection}`, to one file for each connection.
    /// Time 0 is now.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path, metadata: Metadata) -> io::Result<Self> {
        Self::begin(Some(path), Existing::Replaced, metadata, None)
    }

    /// The same, told to somebody, too, or without a file.
    ///
    /// # Errors
    /// If the file cannot be created, or is there and to be kept; of files of connections that of the first is looked for.
    pub fn begin(
        path: Option<&Path>,
        existing: Existing,
        metadata: Metadata,
        teller: Option<Teller>,
    ) -> io::Result<Self> {
        let started = Instant::now();
        let metadata = Metadata { started: jiff::Timestamp::now().to_string(), ..metadata };
        let files = path.map(|path| Files::create(path, existing, metadata)).transpose()?;
        Ok(Self { started, state: Mutex::new(State { files, teller, error: None }) })
    }

    /// Writes down what happens on a connection. An error is kept for [`check`](Self::check).
    pub fn write(&self, connection: u32, event: Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked with the lock held: the times in the file never go back.
        let record = Record { time: self.started.elapsed(), connection, event };
        if let Some(teller) = &state.teller {
            teller.tell(&record);
        }
        if let Some(Err(error)) = state.files.as_mut().map(|files| files.write(&record)) {
            state.error.get_or_insert(error);
        }
    }

    /// A connection is over: if it has a file of its own, that is complete.
    pub fn close(&self, connection: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(teller) = &state.teller {
            teller.close(connection);
        }
        if let Some(Err(error)) = state.files.as_mut().map(|files| files.close(connection)) {
            state.error.get_or_insert(error);
        }
    }

    /// Hands what was written to the system, so that others can read it, and it is there if this program is killed. A
    /// compressed file becomes a few bytes larger by it.
    ///
    /// # Errors
    /// The first that there was since the last call, here or in [`write`](Self::write).
    pub fn check(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.files.as_mut().map_or(Ok(()), Files::flush)?;
        state.error.take().map_or(Ok(()), Err)
    }

    /// Ends all captures, and what is told.
    ///
    /// # Errors
    /// The first that there was.
    pub fn finish(&self) -> io::Result<()> {
        let checked = self.check();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.teller = None;
        checked?;
        state.files.take().map_or(Ok(()), Files::finish)
    }
}

impl Files {
    fn create(path: &Path, existing: Existing, metadata: Metadata) -> io::Result<Self> {
        let mut files = Self {
            path: path.to_owned(),
            existing,
            metadata,
            writers: BTreeMap::new(),
            dirty: BTreeSet::new(),
        };
        if !path.to_string_lossy().contains(CONNECTION) {
            let writer = files.open(path)?;
            files.writers.insert(0, writer);
            files.dirty.insert(0);
        } else if existing == Existing::Kept {
            // Before clients come, who would be told nothing.
            let first = files.path_of(1);
            if first.exists() {
                let error = io::Error::new(ErrorKind::AlreadyExists, "there is a file already");
                return Err(named(first.display(), error));
            }
        }
        Ok(files)
    }

    fn open(&self, path: &Path) -> io::Result<FileWriter> {
        let opened = match self.existing {
            Existing::Kept => file::create_new(path, &self.metadata),
            Existing::Replaced => file::create(path, &self.metadata),
        };
        opened.map_err(|error| named(path.display(), error))
    }

    fn path_of(&self, connection: u32) -> PathBuf {
        self.path.to_string_lossy().replace(CONNECTION, &connection.to_string()).into()
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let number = if self.writers.contains_key(&0) { 0 } else { record.connection };
        if !self.writers.contains_key(&number) {
            let writer = self.open(&self.path_of(number))?;
            self.writers.insert(number, writer);
        }
        self.dirty.insert(number);
        self.writers.get_mut(&number).map_or(Ok(()), |writer| writer.write(record))
    }

    fn close(&mut self, connection: u32) -> io::Result<()> {
        // Number 0 is no connection's.
        let writer = if connection == 0 { None } else { self.writers.remove(&connection) };
        writer.map_or(Ok(()), close)
    }

    fn flush(&mut self) -> io::Result<()> {
        // A compressed file grows with each flush, whether or not there is something to hand on.
        let dirty = std::mem::take(&mut self.dirty);
        let mut written = self.writers.iter_mut().filter(|(number, _)| dirty.contains(number));
        written.try_for_each(|(_, writer)| writer.flush())
    }

    fn finish(self) -> io::Result<()> {
        self.writers.into_values().try_for_each(close)
    }
}

fn close(writer: FileWriter) -> io::Result<()> {
    writer.finish()?.close()
}
