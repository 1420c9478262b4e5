//! What can be wrong with a section.

use std::fmt;

use crate::zconfig::value::ValueError;
use crate::zconfig::{self, Position, Suggestion};

/// A configuration that cannot be used, and where.
#[derive(Debug)]
pub struct ConfigError {
    /// The offending line.
    pub at: Position,
    /// What is wrong.
    pub kind: ErrorKind,
}

impl ConfigError {
    pub(super) fn at(at: &Position, kind: ErrorKind) -> Self {
        Self { at: at.clone(), kind }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.kind)
    }
}

impl std::error::Error for ConfigError {}

impl From<zconfig::Error> for ConfigError {
    fn from(error: zconfig::Error) -> Self {
        Self { at: error.at, kind: ErrorKind::Syntax(error.kind) }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is no ZConfig.
    #[error(transparent)]
    Syntax(zconfig::ErrorKind),
    /// No section for a client.
    #[error("there is no section <clientstorage> or <zeoclient>")]
    NoSection,
    /// Several sections for a client.
    #[error("there is more than one section <clientstorage> or <zeoclient>; the first one is in {first}")]
    SeveralSections {
        /// Where the first one stands.
        first: Position,
    },
    /// A key that the section does not have.
    #[error("unknown key {key:?} in <{section}>{suggestion}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The section it stands in.
        section: String,
        /// What may have been meant.
        suggestion: Suggestion,
    },
    /// A section in it that it does not have.
    #[error("unknown section <{kind}> in <{section}>")]
    UnknownSection {
        /// The type.
        kind: String,
        /// The section it stands in.
        section: String,
    },
    /// A key or section that occurs again.
    #[error("{what} is given twice, for the first time in {first}")]
    Repeated {
        /// The key or section.
        what: String,
        /// Where it occurs first.
        first: Position,
    },
    /// A key without which its section makes no sense.
    #[error("<{section}> needs a key {key:?}")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// The section.
        section: String,
    },
    /// A value that its key does not admit.
    #[error("{key}: {source}")]
    Value {
        /// The key.
        key: &'static str,
        /// Why not.
        source: ValueError,
    },
    /// A value of the right type that makes no sense.
    #[error("{key}: {value:?} is refused; expected {expected}")]
    Range {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What would make sense.
        expected: &'static str,
    },
    /// Something that only Python can do, since its value names Python code.
    #[error(
        "{key} names Python code, which cannot be run here; put the password into a file and say \"password-file \
         PATH\", or into an environment variable and say \"password-env NAME\""
    )]
    PythonOnly {
        /// The key.
        key: &'static str,
    },
}
