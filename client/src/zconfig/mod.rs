//! The syntax of ZConfig 4.3: lines of text become a tree of sections.
//!
//! This module owns lines, comments, sections, the directives `%define`, `%include` and `%import`, and the
//! substitution of `$name`, `${name}` and `$(VARIABLE)`. It has never heard of ZEO: which sections and keys
//! make sense is the business of its readers, and [`value`] only offers the conversions that a schema
//! may ask for. An imported Python package is recorded, never looked for.
//!
//! Files, environment variables and directories are reached through [`Environment`] only, so [`parse()`],
//! which has none, is a pure function of its text, and never panics.
//!
//! Where it differs from Python's ZConfig (`ZConfig/cfgparser.py`, `ZConfig/loader.py` 4.3), on purpose:
//! everything is bounded (see [`Limits`]); an include that includes itself is refused and not followed
//! until the stack is full; `%include` takes paths and `file:///` URLs without percent signs, but no other
//! URLs.

mod error;
mod include;
mod parse;
mod substitute;
mod suggest;
#[cfg(test)]
mod tests;
pub mod value;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use error::{Error, ErrorKind};
pub use include::System;
pub use suggest::{Suggestion, suggest};

/// Where something stands: a file and a line of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The file, as it was named by the user or by the `%include` that led to it.
    pub file: Arc<str>,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
}

impl Position {
    /// The place `line` of `file`.
    pub fn new(file: &str, line: u32) -> Self {
        Self { file: file.into(), line }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A whole configuration, with everything that it includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What stands outside all sections. Its [`kind`](Section::kind) is empty.
    pub root: Section,
    /// The packages named by `%import`, in order.
    pub imports: Vec<Import>,
}

/// One `%import` directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The name of the Python package.
    pub package: String,
    /// Where the directive stands.
    pub at: Position,
}

/// A section: `<kind name>`, its content, `</kind>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The type, in lower case, as ZConfig has it.
    pub kind: String,
    /// The name, in lower case too: `<filestorage Main>` is called `main`.
    pub name: Option<String>,
    /// The line of the start tag.
    pub at: Position,
    /// Keys and sections in the order of the file.
    pub items: Vec<Item>,
}

/// What a section consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// `key value`
    Entry(Entry),
    /// A section within the section.
    Section(Section),
}

/// A line `key value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key as written. Whether case matters is for the schema to say: see [`value::basic_key`].
    pub key: String,
    /// The value after substitution, without blanks around it; empty if there is none.
    pub value: String,
    /// Where the line stands.
    pub at: Position,
}

impl Section {
    /// The keys directly in this section, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.items.iter().filter_map(|item| match item {
            Item::Entry(entry) => Some(entry),
            Item::Section(_) => None,
        })
    }

    /// The sections directly in this section, in order.
    pub fn sections(&self) -> impl Iterator<Item = &Self> {
        self.items.iter().filter_map(|item| match item {
            Item::Entry(_) => None,
            Item::Section(section) => Some(section),
        })
    }
}

/// What a configuration may see of the world around it.
pub trait Environment {
    /// Reads a file, at most `len_max + 1` bytes of it: one byte more than allowed tells that it is too long.
    ///
    /// # Errors
    /// What the operating system says.
    fn read(&self, path: &Path, len_max: usize) -> io::Result<Vec<u8>>;

    /// The value of an environment variable, if it is set and is text.
    fn variable(&self, name: &str) -> Option<String>;

    /// Whether there is a directory of this name.
    fn is_directory(&self, path: &Path) -> bool;
}

/// An [`Environment`] without files, directories and variables.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Environment for Nothing {
    fn read(&self, _: &Path, _: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn is_directory(&self, _: &Path) -> bool {
        false
    }
}

/// The bounds of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in one file. Met: [`ErrorKind::FileTooLong`].
    pub file_len_max: usize,
    /// Lines of all files together. Met: [`ErrorKind::TooManyLines`].
    pub line_count_max: u32,
    /// Bytes of a value or definition after substitution. Met: [`ErrorKind::ValueTooLong`].
    pub value_len_max: usize,
    /// Sections within sections. Met: [`ErrorKind::TooDeep`].
    pub section_depth_max: usize,
    /// Files included by files. Met: [`ErrorKind::TooDeep`].
    pub include_depth_max: usize,
    /// Files included in all. Met: [`ErrorKind::TooManyIncludes`].
    pub include_count_max: u32,
}

impl Default for Limits {
    /// Far above any configuration written by a person, far below what would hurt.
    fn default() -> Self {
        Self {
            file_len_max: 1 << 20,
            line_count_max: 100_000,
            value_len_max: 1 << 16,
            section_depth_max: 32,
            include_depth_max: 8,
            include_count_max: 64,
        }
    }
}

/// Reads a configuration from a text that stands alone: no variable is set and every `%include` fails.
///
/// # Errors
/// Every [`ErrorKind`] but those of files that could be read.
pub fn parse(text: &str) -> Result<Document, Error> {
    parse_text(text, Path::new("<text>"), &Nothing, Limits::default())
}

/// Reads a configuration from a text; includes are looked for relative to `path`, where the text came from.
///
/// # Errors
/// Any [`ErrorKind`].
pub fn parse_text(
    text: &str,
    path: &Path,
    environment: &dyn Environment,
    limits: Limits,
) -> Result<Document, Error> {
    include::Reader::new(environment, limits).text(text, path)
}

/// Reads the configuration file `path` and all that it includes.
///
/// # Errors
/// Any [`ErrorKind`].
pub fn load(path: &Path, environment: &dyn Environment, limits: Limits) -> Result<Document, Error> {
    include::Reader::new(environment, limits).file(path)
}

/// Whether Python's `str.strip`, `str.split` and the `\s` of its regular expressions take `c` for a blank:
/// Unicode's white space, and four control characters more.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}
