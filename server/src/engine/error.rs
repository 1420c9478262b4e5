//! Errors as Python's server names them (protocol reference 6.3).

use zeo_codec::call::TxnId;
use zeo_codec::handshake::Framing;
use zeo_codec::{Dialect, Oid, RemoteError, ShapeError, Tid, Value};

use super::by_value;
use super::extension::BadExtension;
use super::python::bytes_repr;
use super::python2;
use super::undo_id::BadUndoId;
use crate::limits::Limit;
use crate::storage::past::{UndoError, WhyNotUndone};
use crate::storage::tid::NoPackTime;
use crate::storage::{Metadata, StorageError};

/// Why a call failed. Becomes an error reply, or, if the caller waits for none, the end of the connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("read-only")]
    ReadOnly,
    #[error("unknown storage: {0}")]
    UnknownStorage(String),
    #[error("{0}")]
    BadArguments(ShapeError),
    #[error("method {0} is not supported yet")]
    NotSupported(&'static str),
    #[error("'ZEOStorage' object has no attribute 'new_oid'")]
    NoNewOid,
    #[error("transaction is {current:?}, not {asked}")]
    WrongTransaction { current: Option<TxnId>, asked: TxnId },
    #[error("{0}")]
    TransactionState(&'static str),
    #[error("finished called wo lock")]
    FinishWithoutVote,
    #[error("{0}")]
    BadMetadata(String),
    #[error("database conflict error for {oid}")]
    Conflict { oid: Oid, committed: Tid, read: Tid, class_name: Option<String> },
    #[error("database read conflict error for {oid}")]
    ReadConflict { oid: Oid, committed: Tid, read: Tid },
    #[error("duplicate register() call")]
    Registered,
    #[error("Client was never authenticated with server!")]
    Unauthenticated,
    #[error("{0}")]
    Scheme(crate::auth::SchemeError),
    #[error("Versions aren't supported.")]
    Version { is_value_error: bool },
    #[error("not implemented")]
    NotImplemented,
    #[error("{0}")]
    BlobOrder(&'static str),
    #[error("the transaction exceeds {0} bytes (transaction-size)")]
    TransactionTooLarge(u64),
    #[error("the blobs of the transaction exceed {0} bytes (transaction-blob-size)")]
    TransactionBlobsTooLarge(u64),
    #[error("Couldn't pickle response")]
    Unencodable,
    #[error("the server failed to answer")]
    Panicked,
    #[error("{0}")]
    NoPackTime(#[from] NoPackTime),
    #[error("no iterator {0}")]
    NoSuchIterator(i64),
    #[error("more than {0} iterators are open (iterators)")]
    TooManyIterators(usize),
    #[error("Out-of-order request for record iterator for transaction {}", bytes_repr(.0.as_bytes()))]
    OutOfOrder(Tid),
    /// An object of Python's that lacks what is asked of it.
    #[error("'{type_name}' object has no attribute '{attribute}'")]
    NoAttribute { type_name: String, attribute: &'static str },
    #[error("{0}")]
    WrongType(String),
    /// An oid that is not eight bytes, or for a mapping storage no bytes at all.
    #[error("no object {}", key_repr(.0))]
    NoSuchKey(Value<'static>),
    /// An oid that is no bytes at all, for a file storage.
    #[error("an oid must be bytes")]
    NoBytes,
    #[error("no object at or above the oid")]
    NoKey { is_empty: bool },
    #[error("the answer exceeds {0} bytes (answer-size)")]
    AnswerTooLarge(usize),
    #[error("transaction {tid}: {why}")]
    ForeignExtension { tid: Tid, why: BadExtension },
    #[error(transparent)]
    BadUndoId(#[from] BadUndoId),
    #[error(transparent)]
    Undo(UndoError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl CallError {
    /// Whether the client may try again with what is there now.
    pub(crate) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::ReadConflict { .. })
    }

    /// The limit that was reached, if it is about one.
    pub(crate) const fn limit(&self) -> Option<Limit> {
        match self {
            Self::TransactionTooLarge(_) => Some(Limit::TransactionSize),
            Self::TransactionBlobsTooLarge(_) => Some(Limit::TransactionBlobSize),
            Self::TooManyIterators(_) => Some(Limit::Iterators),
            Self::AnswerTooLarge(_) => Some(Limit::AnswerSize),
            _ => None,
        }
    }

    /// Whether Python's server leaves it out of its log (server.py:unlogged_exception_types, ZEO 6.2).
    pub(crate) const fn is_everyday(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. }
                | Self::ReadConflict { .. }
                | Self::Storage(
                    StorageError::NoSuchObject(_)
                        | StorageError::NoSuchRevision(..)
                        | StorageError::NoBlobFile { .. }
                )
                | Self::NoSuchKey(_)
        )
    }

    /// The error reply, in the form that clients of this dialect read.
    pub(crate) fn to_remote(&self, dialect: &Dialect) -> RemoteError<'static> {
        by_value::in_dialect(self.by_name(dialect.framing, python2::is_python2(dialect)), dialect)
    }

    /// Class and detail, as for ZEO 5 on Python 3. Errors within errors look different in each framing.
    fn by_name(&self, framing: Framing, is_python2: bool) -> RemoteError<'static> {
        match self {
            Self::ReadOnly => RemoteError::new("ZODB.POSException.ReadOnlyError", vec![]),
            Self::UnknownStorage(_) | Self::Unencodable => text("builtins.ValueError", self),
            Self::BadArguments(_) => text("builtins.TypeError", self),
            Self::NotSupported(_) => text("builtins.NotImplementedError", self),
            Self::NoNewOid => text("builtins.AttributeError", self),
            Self::WrongTransaction { current, asked } => RemoteError::new(
                "ZODB.POSException.StorageTransactionError",
                vec![current.map_or(Value::None, |id| id.0.into()), asked.0.into()],
            ),
            Self::TransactionState(_) => text("ZODB.POSException.StorageTransactionError", self),
            Self::FinishWithoutVote => text("builtins.AssertionError", self),
            Self::BadMetadata(_) => text("builtins.TypeError", self),
            Self::Conflict { oid, committed, read, class_name } => conflict(
                "ZODB.POSException.ConflictError",
                "database conflict error",
                *oid,
                class_name.clone(),
                (*committed, *read),
            ),
            Self::ReadConflict { oid, committed, read } => conflict(
                "ZODB.POSException.ReadConflictError",
                "database read conflict error",
                *oid,
                None,
                (*committed, *read),
            ),
            Self::Registered => text("builtins.ValueError", self),
            Self::Unauthenticated => text("ZEO.Exceptions.AuthError", self),
            Self::Scheme(error) => RemoteError::new(error.class, vec![error.text.clone().into()]),
            Self::Version { is_value_error: true } => text("builtins.ValueError", self),
            Self::Version { is_value_error: false } => text("ZEO.StorageServer.StorageServerError", self),
            Self::NotImplemented => RemoteError::new("builtins.NotImplementedError", vec![]),
            Self::BlobOrder(_) => text("builtins.AssertionError", self),
            Self::TransactionTooLarge(_)
            | Self::TransactionBlobsTooLarge(_)
            | Self::Panicked
            | Self::TooManyIterators(_)
            | Self::AnswerTooLarge(_) => text(STORAGE_ERROR, self),
            Self::NoSuchIterator(id) => RemoteError::new("builtins.KeyError", vec![(*id).into()]),
            Self::OutOfOrder(_) => text("builtins.Exception", self),
            Self::NoAttribute { .. } => text("builtins.AttributeError", self),
            Self::WrongType(_) => text("builtins.TypeError", self),
            Self::NoSuchKey(key) => RemoteError::new(POS_KEY_ERROR, vec![key.clone()]),
            Self::NoBytes | Self::BadUndoId(BadUndoId::NoTid) => {
                RemoteError::new("builtins.AssertionError", vec![])
            }
            Self::NoKey { is_empty: true } => text("builtins.ValueError", &"empty tree"),
            Self::NoKey { is_empty: false } => {
                text("builtins.ValueError", &"no key satisfies the conditions")
            }
            Self::ForeignExtension { .. } => text("_pickle.UnpicklingError", self),
            Self::BadUndoId(BadUndoId::Padding | BadUndoId::OneTooMany(_)) => text("binascii.Error", self),
            Self::Undo(error) => undo_error(error, framing, is_python2),
            Self::NoPackTime(NoPackTime::NotANumber | NoPackTime::TooEarly(_)) => {
                text("builtins.ValueError", self)
            }
            Self::NoPackTime(NoPackTime::TooLarge) => text("builtins.OverflowError", self),
            Self::NoPackTime(NoPackTime::NoSuchYear) => {
                os_error(&std::io::Error::from_raw_os_error(rustix::io::Errno::OVERFLOW.raw_os_error()))
            }
            Self::Storage(error) => storage_error(error),
        }
    }
}

impl From<UndoError> for CallError {
    fn from(error: UndoError) -> Self {
        match error {
            UndoError::Storage(error) => Self::Storage(error),
            other => Self::Undo(other),
        }
    }
}

fn key_repr(key: &Value<'_>) -> String {
    key.as_bytes().map_or_else(|| format!("{key:?}"), bytes_repr)
}

fn text(class: &'static str, message: &impl ToString) -> RemoteError<'static> {
    RemoteError::new(class, vec![message.to_string().into()])
}

/// Of the records at fault the storage has only their serials: `deleteObject` and
/// `checkCurrentSerialInTransaction` bring no data, and Python names no class then either (`FileStorage.py:deleteObject`,
/// `BaseStorage.py:checkCurrentSerialInTransaction`, ZODB 6.4). A store that conflicts names the class of the record that
/// the client wanted to store (`ConflictResolution.py:tryToResolveConflict`): here for a client of ZEO 4; to any other it
/// is handed back, and its own error says so (shown by the live trial `conflict`).
fn conflict(
    class: &'static str,
    message: &'static str,
    oid: Oid,
    class_name: Option<String>,
    (committed, read): (Tid, Tid),
) -> RemoteError<'static> {
    let detail = Value::Dict(vec![
        ("message".into(), message.into()),
        ("oid".into(), oid.into()),
        ("class_name".into(), class_name.map_or(Value::None, Value::from)),
        ("serials".into(), Value::Tuple(vec![committed.into(), read.into()])),
    ]);
    RemoteError { class: class.into(), detail }
}

/// Undo errors have attributes where others have arguments. Those of single objects are nested: an object under
/// pickle, a pair under msgpack (protocol reference 6.3).
fn undo_error(error: &UndoError, framing: Framing, is_python2: bool) -> RemoteError<'static> {
    let attributes =
        |reason: String, oid: Value<'static>| vec![("_reason".into(), reason.into()), ("_oid".into(), oid)];
    match error {
        // The last one is a transaction too large, and told as such.
        UndoError::NoSuchTransaction | UndoError::NotUndoable | UndoError::TooMany => RemoteError {
            class: UNDO_ERROR.into(),
            detail: Value::Dict(attributes(error.to_string(), Value::None)),
        },
        UndoError::Objects(failures) => {
            let nested = |(oid, why): &(Oid, WhyNotUndone)| {
                let items = attributes(why.to_string(), (*oid).into());
                (*oid, nested_undo_error(items, framing, is_python2))
            };
            // Python's constructor passes the first pair on as reason and oid.
            let (reason, oid) = failures.first().map_or((Value::None, Value::None), |first| {
                let (oid, error) = nested(first);
                (oid.into(), error)
            });
            let errors = failures.iter().take(UNDO_FAILURES_MAX).map(nested);
            let errors = errors.map(|(oid, error)| Value::Tuple(vec![oid.into(), error]));
            RemoteError {
                class: "ZODB.POSException.MultipleUndoErrors".into(),
                detail: Value::Dict(vec![
                    ("_reason".into(), reason),
                    ("_oid".into(), oid),
                    ("_errs".into(), Value::List(errors.collect())),
                ]),
            }
        }
        UndoError::Storage(error) => storage_error(error),
    }
}

fn nested_undo_error(
    items: Vec<(Value<'static>, Value<'static>)>,
    framing: Framing,
    is_python2: bool,
) -> Value<'static> {
    match framing {
        Framing::Msgpack => Value::Tuple(vec![UNDO_ERROR.into(), Value::Dict(items)]),
        Framing::Pickle => by_value::instance(
            &RemoteError { class: UNDO_ERROR.into(), detail: Value::Dict(items) },
            is_python2,
        ),
    }
}

/// How many objects an error names that cannot be undone. Python names all; a client makes an object of each.
const UNDO_FAILURES_MAX: usize = 10_000;

const UNDO_ERROR: &str = "ZODB.POSException.UndoError";
const POS_KEY_ERROR: &str = "ZODB.POSException.POSKeyError";
const STORAGE_ERROR: &str = "ZODB.POSException.StorageError";

fn storage_error(error: &StorageError) -> RemoteError<'static> {
    const FILE_STORAGE_ERROR: &str = "ZODB.FileStorage.FileStorage.FileStorageError";
    match error {
        StorageError::NoSuchObject(oid) => RemoteError::new(POS_KEY_ERROR, vec![(*oid).into()]),
        StorageError::NoSuchRevision(oid, tid) => {
            RemoteError::new(POS_KEY_ERROR, vec![(*oid).into(), (*tid).into()])
        }
        StorageError::NoBlobFile { oid, serial, .. } => {
            RemoteError::new(POS_KEY_ERROR, vec![error.to_string().into(), (*oid).into(), (*serial).into()])
        }
        StorageError::Remote(error) => remote_error(error),
        StorageError::NoBlobs => text("builtins.TypeError", error),
        StorageError::BadBlobName(name) => text("builtins.ValueError", name),
        StorageError::ReadOnly => RemoteError::new("ZODB.POSException.ReadOnlyError", vec![]),
        StorageError::MetadataTooLong(Metadata::User) => text(FILE_STORAGE_ERROR, &"user name too long"),
        StorageError::MetadataTooLong(Metadata::Description) => {
            text(FILE_STORAGE_ERROR, &"description too long")
        }
        StorageError::MetadataTooLong(Metadata::Extension) => {
            text(FILE_STORAGE_ERROR, &"too much extension data")
        }
        StorageError::EmptyRecord(_) | StorageError::SerialAhead { .. } | StorageError::PackedToLaterTime => {
            text("builtins.ValueError", error)
        }
        StorageError::AlreadyPacking | StorageError::InvalidPackTime => text(FILE_STORAGE_ERROR, error),
        // As Python's, which says no more.
        StorageError::NoRoot(oid) => RemoteError::new("builtins.KeyError", vec![(*oid).into()]),
        StorageError::Io { source, .. } => os_error(source),
        StorageError::Corrupt { .. } => text("ZODB.FileStorage.format.CorruptedDataError", error),
        StorageError::QuotaExceeded { .. } => text(
            "ZODB.FileStorage.FileStorage.FileStorageQuotaError",
            &"The storage quota has been exceeded.",
        ),
        StorageError::TidNotRising { .. }
        | StorageError::TidsExhausted
        | StorageError::OidsExhausted
        | StorageError::VoteOutdated
        | StorageError::Locked { .. }
        | StorageError::Closed
        | StorageError::Cancelled
        | StorageError::BlobDirectory { .. }
        | StorageError::Failed(_) => text(STORAGE_ERROR, error),
    }
}

/// What a server behind this one said, in its own words; that there is none, in those of Python's client.
fn remote_error(error: &zeo_client::Error) -> RemoteError<'static> {
    use zeo_client::Error as E;
    match error {
        E::Server(error) => RemoteError { class: error.class.clone().into(), detail: error.detail.clone() },
        E::Disconnected(_) | E::OutcomeUnknown(_) | E::Closed => {
            text("ZEO.Exceptions.ClientDisconnected", error)
        }
        error => text(STORAGE_ERROR, error),
    }
}

/// `OSError(errno, text)`.
fn os_error(error: &std::io::Error) -> RemoteError<'static> {
    match error.raw_os_error() {
        Some(number) => {
            // Rust appends " (os error N)", which Python does not.
            let message = error.to_string();
            let message = message.split(" (os error").next().unwrap_or_default().to_owned();
            RemoteError::new("builtins.OSError", vec![i64::from(number).into(), message.into()])
        }
        None => text("builtins.OSError", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_many_objects_names_the_first() {
        let failures: Vec<_> =
            (0..20_000).map(|oid| (Oid::from_u64(oid), WhyNotUndone::ModifiedLater)).collect();
        let RemoteError { detail: Value::Dict(attributes), .. } =
            undo_error(&UndoError::Objects(failures), Framing::Pickle, false)
        else {
            panic!("attributes")
        };
        let (_, Value::List(errors)) = &attributes[2] else { panic!("{:?}", attributes[2].0) };
        assert_eq!(errors.len(), UNDO_FAILURES_MAX);
        let Some(Value::Tuple(last)) = errors.last() else { panic!("a pair") };
        assert_eq!(last[0], Oid::from_u64(9_999).into());
    }
}
