//! Errors as Python's server names them (protocol reference 6.3).

use zeo_codec::call::TxnId;
use zeo_codec::{Oid, RemoteError, ShapeError, Tid, Value};

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
    BadMetadata(&'static str),
    #[error("database conflict error for {oid}")]
    Conflict { oid: Oid, committed: Tid, read: Tid },
    #[error("database read conflict error for {oid}")]
    ReadConflict { oid: Oid, committed: Tid, read: Tid },
    #[error("{0}")]
    BlobOrder(&'static str),
    #[error("the transaction exceeds {0} bytes")]
    TransactionTooLarge(u64),
    #[error("Couldn't pickle response")]
    Unencodable,
    #[error("the server failed to answer")]
    Panicked,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl CallError {
    /// Whether Python's server leaves it out of its log (server.py:unlogged_exception_types, ZEO 6.2).
    pub(crate) const fn is_everyday(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. }
                | Self::ReadConflict { .. }
                | Self::Storage(StorageError::NoSuchObject(_) | StorageError::NoBlobFile { .. })
        )
    }

    /// The error reply.
    pub(crate) fn to_remote(&self) -> RemoteError<'static> {
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
            Self::Conflict { oid, committed, read } => conflict(
                "ZODB.POSException.ConflictError",
                "database conflict error",
                *oid,
                *committed,
                *read,
            ),
            Self::ReadConflict { oid, committed, read } => conflict(
                "ZODB.POSException.ReadConflictError",
                "database read conflict error",
                *oid,
                *committed,
                *read,
            ),
            Self::BlobOrder(_) => text("builtins.AssertionError", self),
            Self::TransactionTooLarge(_) | Self::Panicked => text("ZODB.POSException.StorageError", self),
            Self::Storage(error) => storage_error(error),
        }
    }
}

fn text(class: &'static str, message: &impl ToString) -> RemoteError<'static> {
    RemoteError::new(class, vec![message.to_string().into()])
}

fn conflict(
    class: &'static str,
    message: &'static str,
    oid: Oid,
    committed: Tid,
    read: Tid,
) -> RemoteError<'static> {
    let detail = Value::Dict(vec![
        ("message".into(), message.into()),
        ("oid".into(), oid.into()),
        ("class_name".into(), Value::None),
        ("serials".into(), Value::Tuple(vec![committed.into(), read.into()])),
    ]);
    RemoteError { class: class.into(), detail }
}

fn storage_error(error: &StorageError) -> RemoteError<'static> {
    const FILE_STORAGE_ERROR: &str = "ZODB.FileStorage.FileStorage.FileStorageError";
    match error {
        StorageError::NoSuchObject(oid) => {
            RemoteError::new("ZODB.POSException.POSKeyError", vec![(*oid).into()])
        }
        StorageError::NoBlobFile { oid, serial, .. } => RemoteError::new(
            "ZODB.POSException.POSKeyError",
            vec![error.to_string().into(), (*oid).into(), (*serial).into()],
        ),
        StorageError::NoBlobs => text("builtins.TypeError", error),
        StorageError::BadBlobName(name) => text("builtins.ValueError", name),
        StorageError::ReadOnly => CallError::ReadOnly.to_remote(),
        StorageError::MetadataTooLong(Metadata::User) => text(FILE_STORAGE_ERROR, &"user name too long"),
        StorageError::MetadataTooLong(Metadata::Description) => {
            text(FILE_STORAGE_ERROR, &"description too long")
        }
        StorageError::MetadataTooLong(Metadata::Extension) => {
            text(FILE_STORAGE_ERROR, &"too much extension data")
        }
        StorageError::EmptyRecord(_) => text("builtins.ValueError", error),
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
        | StorageError::BlobDirectory { .. }
        | StorageError::Failed(_) => text("ZODB.POSException.StorageError", error),
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
