//! What can be wrong with the content of a configuration.

use std::fmt;

use crate::logging::FormatError;
use crate::zconfig::value::ValueError;
use crate::zconfig::{self, Position, Suggestion};

/// A configuration that cannot be used, and where.
#[derive(Debug)]
pub struct ConfigError {
    /// The offending line, if it is in a file.
    pub at: Option<Position>,
    /// What is wrong.
    pub kind: ErrorKind,
}

impl ConfigError {
    pub(super) fn at(at: &Position, kind: ErrorKind) -> Self {
        Self { at: Some(at.clone()), kind }
    }

    pub(super) fn nowhere(kind: ErrorKind) -> Self {
        Self { at: None, kind }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(f, "{at}: {}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {}

impl From<zconfig::Error> for ConfigError {
    fn from(error: zconfig::Error) -> Self {
        Self { at: Some(error.at), kind: ErrorKind::Syntax(error.kind) }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is no ZConfig.
    #[error(transparent)]
    Syntax(zconfig::ErrorKind),
    /// A key that the section does not have.
    #[error("unknown key {key:?} in {section}{suggestion}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The section it stands in.
        section: String,
        /// What may have been meant.
        suggestion: Suggestion,
    },
    /// A section of a type that is not known here.
    #[error("unknown section <{kind}> in {section}{suggestion}")]
    UnknownSection {
        /// The type.
        kind: String,
        /// The section it stands in.
        section: String,
        /// What may have been meant.
        suggestion: Suggestion,
    },
    /// A key that occurs again.
    #[error("{key:?} is given twice, for the first time in {first}")]
    RepeatedKey {
        /// The key.
        key: String,
        /// Where it occurs first.
        first: Position,
    },
    /// A section that may occur only once.
    #[error("<{kind}> is given twice, for the first time in {first}")]
    RepeatedSection {
        /// The type.
        kind: String,
        /// Where it occurs first.
        first: Position,
    },
    /// Two sections next to each other have the same name.
    #[error("the name {name:?} is given twice, for the first time in {first}")]
    RepeatedName {
        /// The name.
        name: String,
        /// Where it occurs first.
        first: Position,
    },
    /// ZConfig reserves `*` and `+`.
    #[error("{name:?} cannot be the name of a section")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A key without which its section makes no sense.
    #[error("{section} needs a key {key:?}")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// The section.
        section: String,
    },
    /// No section `<zeo>`.
    #[error("there is no section <zeo>")]
    NoZeoSection,
    /// No section for a storage.
    #[error("there is no section for a storage, such as <filestorage>")]
    NoStorageSection,
    /// A storage that needs another one.
    #[error("{section} needs a section for a storage, such as <filestorage>")]
    MissingStorage {
        /// The section.
        section: String,
    },
    /// A storage for which there is no place.
    #[error("{section} has a storage already, in {first}")]
    TooManyStorages {
        /// The section that it stands in.
        section: String,
        /// Where that one stands.
        first: Position,
    },
    /// Two storages, both of which would be called `1`.
    #[error("no more than one storage may be unnamed; the first one is in {first}")]
    SeveralUnnamed {
        /// Where the first one stands.
        first: Position,
    },
    /// An unnamed storage is called `1`, but another one is, too.
    #[error("an unnamed storage is called '1', but so is the one in {named}")]
    UnnamedAndOne {
        /// Where that one stands.
        named: Position,
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
    /// A section for another server that cannot be used.
    #[error(transparent)]
    Client(zeo_client::config::ErrorKind),
    /// Something that Python's server has and this one does not have yet.
    #[error("{what} is not supported yet")]
    NotSupportedYet {
        /// The key or section, and the section it stands in.
        what: String,
    },
    /// Something that Python's server has and this one will not have.
    #[error("{what} is not supported: {reason}")]
    NotSupported {
        /// The section, and the one it stands in.
        what: String,
        /// Why, and what to do about it.
        reason: &'static str,
    },
    /// Something that only Python can do, since its value names Python code.
    #[error("{what} names Python code, which this server cannot run; {instead}")]
    PythonOnly {
        /// The key and the section it stands in.
        what: String,
        /// What to do about it.
        instead: &'static str,
    },
    /// An import of sections that nobody here knows.
    #[error("cannot import {package:?}: this server knows only the sections of {known}")]
    UnknownImport {
        /// The package.
        package: String,
        /// The packages whose sections are known.
        known: String,
    },
    /// A name of something in Python, in a key where some of them are known.
    #[error("{key}: {value:?} names Python code, which this server cannot run; {instead}")]
    PythonName {
        /// The key.
        key: &'static str,
        /// The name.
        value: String,
        /// What to do about it.
        instead: &'static str,
    },
    /// A combination of keys of `<logfile>` that contradicts itself.
    #[error("{reason}")]
    LogFile {
        /// What contradicts what.
        reason: &'static str,
    },
    /// A `format` or `dateformat` that cannot be followed.
    #[error("{key}: {source}")]
    LogFormat {
        /// The key.
        key: &'static str,
        /// Why not.
        source: FormatError,
    },
    /// The command line says what to serve but not where, and there is no configuration file.
    #[error("no server address specified; use -a or -C")]
    NoAddress,
    /// The command line says where to listen but not what to serve, and there is no configuration file.
    #[error("no storages specified; use -f or -C")]
    NoStorages,
}
