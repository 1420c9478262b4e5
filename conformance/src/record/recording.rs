//! What is written down: one capture of all connections, or one of each.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::capture::file::{self, FileWriter};
use crate::capture::{Event, Metadata, Record};

/// In a path: where the number of the connection goes.
const CONNECTION: &str = "{connection}";

/// A recording under way. All connections share it.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    metadata: Metadata,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Of all connections as number 0, or of each that is open.
    writers: BTreeMap<u32, FileWriter>,
    error: Option<io::Error>,
}

impl Recording {
    /// Begins to record to `path`; if it contains `{connection}`, to one file for each connection. Time 0 is now.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path, metadata: Metadata) -> io::Result<Self> {
        let started = Instant::now();
        let metadata = Metadata { started: jiff::Timestamp::now().to_string(), ..metadata };
        let mut writers = BTreeMap::new();
        if !path.to_string_lossy().contains(CONNECTION) {
            writers.insert(0, file::create(path, &metadata)?);
        }
        let state = Mutex::new(State { writers, error: None });
        Ok(Self { path: path.to_owned(), metadata, started, state })
    }

    /// Writes down what happens on a connection. An error is kept for [`check`](Self::check).
    pub fn write(&self, connection: u32, event: Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked with the lock held: the times in the file never go back.
        let record = Record { time: self.started.elapsed(), connection, event };
        if let Err(error) = self.write_record(&mut state, &record) {
            state.error.get_or_insert(error);
        }
    }

    fn write_record(&self, state: &mut State, record: &Record<'_>) -> io::Result<()> {
        if let Some(writer) = state.writers.get_mut(&0) {
            return writer.write(record);
        }
        let writer = match state.writers.entry(record.connection) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let path = self.path.to_string_lossy().replace(CONNECTION, &record.connection.to_string());
                entry.insert(file::create(Path::new(&path), &self.metadata)?)
            }
        };
        writer.write(record)
    }

    /// A connection is over: if it has a file of its own, that is complete.
    pub fn close(&self, connection: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if connection != 0
            && let Some(writer) = state.writers.remove(&connection)
            && let Err(error) = close(writer)
        {
            state.error.get_or_insert(error);
        }
    }

    /// Hands what was written to the system, so that others can read it; a compressed file stays as it is, it would
    /// become larger.
    ///
    /// # Errors
    /// The first that there was since the last call, here or in [`write`](Self::write).
    pub fn check(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.path.extension().is_none_or(|extension| extension != "gz") {
            state.writers.values_mut().try_for_each(FileWriter::flush)?;
        }
        state.error.take().map_or(Ok(()), Err)
    }

    /// Ends all captures.
    ///
    /// # Errors
    /// The first that there was.
    pub fn finish(&self) -> io::Result<()> {
        self.check()?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.writers).into_values().try_for_each(close)
    }
}

fn close(writer: FileWriter) -> io::Result<()> {
    writer.finish()?.close()
}
