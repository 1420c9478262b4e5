//! What a client writes down of its transactions; Python's and Rust's in one form, a JSON object a line.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// An oid, as a number.
pub type ObjectNumber = u64;
/// A tid or serial, as a number.
pub type TidNumber = u64;

/// One transaction of one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who: the number of the thread, unique in the run.
    pub thread: u64,
    /// What it has read is to be as of here: the last transaction that its client knew at the beginning.
    pub snapshot: TidNumber,
    /// What it has read.
    pub reads: Vec<Read>,
    /// Which of these it wants to be current still when it is committed.
    pub checked: Vec<ObjectNumber>,
    /// What it wants to write, over what it has read.
    pub writes: Vec<Write>,
    /// What became of it.
    pub outcome: Outcome,
}

/// One revision, as a client got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The object.
    pub oid: ObjectNumber,
    /// Who wrote it.
    pub serial: TidNumber,
    /// What it holds.
    pub value: u64,
    /// Who wrote the next one, if the client was told.
    pub end: Option<TidNumber>,
}

/// One object that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The object.
    pub oid: ObjectNumber,
    /// What it shall hold; unique among all writes of a run.
    pub value: u64,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It only read.
    Read,
    /// The server committed it.
    Committed(TidNumber),
    /// Somebody else was faster.
    Refused,
    /// The connection was lost before it was to finish.
    Lost,
    /// The connection was lost while it was finishing.
    Unknown,
    /// The same, and the client has found out later: a tid if it was committed.
    Found(Option<TidNumber>),
}

/// A transaction of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Its tid.
    pub tid: TidNumber,
    /// What it wrote.
    pub writes: Vec<Write>,
}

/// Reads a file of JSON lines.
///
/// # Errors
/// If it cannot be read, or holds something else.
pub fn read_lines<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Vec<T>> {
    let text = fs::read_to_string(path)?;
    let parse = |line| serde_json::from_str(line).map_err(io::Error::from);
    text.lines().map(parse).collect()
}

/// Writes a file of JSON lines.
///
/// # Errors
/// If it cannot be written.
pub fn write_lines<T: Serialize>(path: &Path, items: &[T]) -> io::Result<()> {
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    for item in items {
        serde_json::to_writer(&mut file, item)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
