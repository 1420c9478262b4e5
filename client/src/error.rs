//! Why a call failed, and why a connection ended.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use zeo_codec::session::SessionError;
use zeo_codec::{EncodeError, MessageError, Method, Oid, RemoteError, Tid, Value};

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection, or it was lost before the answer came. Nothing was committed. Worth another try
    /// ([`is_transient`](Self::is_transient)): Python's `ClientDisconnected`.
    #[error("disconnected: {0}")]
    Disconnected(Arc<ConnectionError>),
    /// The connection was lost between `tpc_finish` and its answer: the transaction was committed, or was not.
    /// Look before you try again: [`Client::fate_of`](crate::Client::fate_of).
    #[error("whether the transaction was committed is unknown: {}", .0.why)]
    OutcomeUnknown(Box<LostCommit>),
    /// Whether a lost commit was made cannot be told from what the server has.
    #[error("whether the commit was made cannot be told from what the server has")]
    CannotTell,
    /// The server answered with an error.
    #[error(transparent)]
    Server(Box<ServerError>),
    /// The server left a conflict to the client, and nothing resolved it.
    #[error("conflict at the vote: {0}")]
    Conflict(Conflict),
    /// Conflicts were resolved and came again until the client gave up, as Python's does (protocol reference 9.3).
    #[error("still conflicts after {0} votes")]
    TooManyVotes(u32),
    /// There is no such transaction on the server any more: nothing was committed (protocol reference 7.5).
    #[error("the server does not know the transaction")]
    NoTransaction,
    /// A record without data: servers of Python take it, and cannot read their file afterwards.
    #[error("object {0} has no data")]
    EmptyRecord(Oid),
    /// The client only reads.
    #[error("the client is read-only")]
    ReadOnly,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// [`Limits::pending_count`](zeo_codec::Limits::pending_count) calls are in flight.
    #[error("too many calls in flight")]
    TooManyCalls,
    /// An argument that the framing of the connection cannot express.
    #[error(transparent)]
    Unencodable(#[from] EncodeError),
    /// A dict or list in an answer holds something else than it must.
    #[error("the answer to {method} makes no sense: {what}")]
    BadAnswer {
        /// The method that was called.
        method: Method,
        /// What is wrong.
        what: &'static str,
    },
    /// Blobs need a directory ([`Builder::blobs`](crate::Builder::blobs)).
    #[error("no blob directory is configured")]
    NoBlobDirectory,
    /// There is no such blob: where the object has a revision of this serial, it is none of a blob.
    #[error("no blob {oid} of transaction {serial}")]
    NoBlob {
        /// The object.
        oid: Oid,
        /// The revision.
        serial: Tid,
    },
    /// An upload was broken off, so that the transaction cannot be committed.
    #[error("the upload of blob {0} was broken off")]
    BrokenUpload(Oid),
    /// A file of a blob cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: Arc<io::Error>,
    },
    /// An option of the client cannot be used.
    #[error("{0}")]
    Options(String),
}

impl Error {
    /// Whether the same may succeed later: applications try again, as with Python's `TransientError`. Conflicts are
    /// transient, too: a new transaction reads what is there now.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Disconnected(_) | Self::Conflict(_) | Self::TooManyVotes(_) | Self::TooManyCalls => true,
            Self::Server(error) => {
                matches!(error.kind(), ServerErrorKind::Conflict(_) | ServerErrorKind::ReadConflict(_))
            }
            Self::OutcomeUnknown(_)
            | Self::CannotTell
            | Self::NoTransaction
            | Self::EmptyRecord(_)
            | Self::ReadOnly
            | Self::Closed
            | Self::Unencodable(_)
            | Self::BadAnswer { .. }
            | Self::NoBlobDirectory
            | Self::NoBlob { .. }
            | Self::BrokenUpload(_)
            | Self::File { .. }
            | Self::Options(_) => false,
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::File { path: path.into(), error: Arc::new(error) }
    }

    /// The server's error, if it is one.
    #[must_use]
    pub fn server(&self) -> Option<&ServerError> {
        let Self::Server(error) = self else { return None };
        Some(error)
    }

    /// Whether the server says that there is no such object or revision (`POSKeyError`).
    #[must_use]
    pub fn is_no_such_object(&self) -> bool {
        self.server().is_some_and(|error| matches!(error.kind(), ServerErrorKind::NoSuchObject(_)))
    }

    /// The conflict, if it is one: left to the client, or an error of the vote.
    #[must_use]
    pub fn conflict(&self) -> Option<Conflict> {
        match self {
            Self::Conflict(conflict) => Some(*conflict),
            Self::Server(error) => match error.kind() {
                ServerErrorKind::Conflict(conflict) | ServerErrorKind::ReadConflict(conflict) => conflict,
                _ => None,
            },
            _ => None,
        }
    }
}

/// A commit whose answer was lost; what it takes to look for it ([`Client::fate_of`](crate::Client::fate_of)).
#[derive(Debug, Clone)]
pub struct LostCommit {
    /// What happened to the connection.
    pub why: Arc<ConnectionError>,
    /// The last transaction that the client knew: if there is a commit, it is a later one.
    pub since: Tid,
    /// The objects that it changed.
    pub oids: Vec<Oid>,
    /// One of them, and what it stored there; `None` if it stored nothing that was kept.
    pub sample: Option<(Oid, Bytes)>,
    /// Its user.
    pub user: Vec<u8>,
    /// Its description.
    pub description: Vec<u8>,
    /// It undid something: it may have changed more objects.
    pub has_undone: bool,
    /// The tid that it was given, if it was copied.
    pub copied: Option<Tid>,
}

/// Two transactions want to change the same revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The object.
    pub oid: Oid,
    /// Its current serial.
    pub committed: Tid,
    /// The serial that this client had read.
    pub read: Tid,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} is at {}, not at {}", self.oid, self.committed, self.read)
    }
}

/// An error as the server sent it: class and detail, which is a dict of attributes or a tuple of arguments (protocol
/// reference 6.1).
#[derive(Debug, Clone, PartialEq)]
pub struct ServerError {
    /// Full name of the class, for example `ZODB.POSException.POSKeyError`.
    pub class: String,
    /// The exception's attributes or arguments.
    pub detail: Value<'static>,
}

/// The errors that clients act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerErrorKind {
    /// `POSKeyError`: no such object or revision.
    NoSuchObject(Option<Oid>),
    /// `ConflictError`: another transaction was first.
    Conflict(Option<Conflict>),
    /// `ReadConflictError`: what a transaction depends on has changed.
    ReadConflict(Option<Conflict>),
    /// `ReadOnlyError`
    ReadOnly,
    /// `StorageTransactionError`: not this transaction, or not now.
    Transaction,
    /// `UndoError` and `MultipleUndoErrors`
    Undo,
    /// Any other class.
    Other,
}

impl ServerError {
    /// What it means for a client (protocol reference 6.3).
    #[must_use]
    pub fn kind(&self) -> ServerErrorKind {
        match self.class.as_str() {
            "ZODB.POSException.POSKeyError" => {
                let first = self.detail.as_sequence().and_then(<[Value<'_>]>::first);
                ServerErrorKind::NoSuchObject(first.and_then(Value::as_bytes).and_then(Oid::from_slice))
            }
            "ZODB.POSException.ConflictError" => ServerErrorKind::Conflict(self.conflict()),
            "ZODB.POSException.ReadConflictError" => ServerErrorKind::ReadConflict(self.conflict()),
            "ZODB.POSException.ReadOnlyError" => ServerErrorKind::ReadOnly,
            "ZODB.POSException.StorageTransactionError" => ServerErrorKind::Transaction,
            "ZODB.POSException.UndoError" | "ZODB.POSException.MultipleUndoErrors" => ServerErrorKind::Undo,
            _ => ServerErrorKind::Other,
        }
    }

    fn conflict(&self) -> Option<Conflict> {
        let [committed, read] = self.detail.get("serials")?.as_sequence()? else { return None };
        Some(Conflict {
            oid: Oid::from_slice(self.detail.get("oid")?.as_bytes()?)?,
            committed: Tid::from_slice(committed.as_bytes()?)?,
            read: Tid::from_slice(read.as_bytes()?)?,
        })
    }
}

impl From<RemoteError<'_>> for ServerError {
    fn from(error: RemoteError<'_>) -> Self {
        let error = error.into_owned().by_name();
        Self { class: error.class.into_owned(), detail: error.detail }
    }
}

impl From<ServerError> for Error {
    fn from(error: ServerError) -> Self {
        Self::Server(Box::new(error))
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a server sends may be long.
        write!(f, "{:.200}: {:.200}", self.class, self.detail)
    }
}

impl std::error::Error for ServerError {}

/// Why a connection ended, or could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// Nothing has answered so far.
    #[error("no server has answered yet")]
    NotYet,
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server hung up.
    #[error("the server closed the connection")]
    Ended,
    /// No greeting and registration in this time.
    #[error("the server did not register the client within {0:?}")]
    HandshakeTimeout(Duration),
    /// What came is not the protocol.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A message has arguments, or a reply a result, that its method does not have.
    #[error("{what} from the server: {error}")]
    Malformed {
        /// The method, or that it was called by name.
        what: &'static str,
        /// What is wrong.
        error: MessageError,
    },
    /// A result is `None` where the method always has one.
    #[error("the server answers {0} with None")]
    NoResult(Method),
    /// A result is something else where the method always has a dict.
    #[error("the server answers {0} with something that is no dict")]
    NotADict(Method),
    /// A revision that is not the one that was asked for.
    #[error("object {oid} before {before}: the server answers with serial {serial}, superseded by {end:?}")]
    BadRevision {
        /// The object.
        oid: Oid,
        /// What was asked for.
        before: Tid,
        /// The serial that came.
        serial: Tid,
        /// The next revision's that came.
        end: Option<Tid>,
    },
    /// Transactions must rise.
    #[error("the server announces transaction {tid} after {last}")]
    TidsGoBack {
        /// What came.
        tid: Tid,
        /// What had come before.
        last: Tid,
    },
    /// The server's database is older than what this client has seen of it: restored from a backup, or another one
    /// (C4).
    #[error(
        "the server's last transaction {server} is behind {known}, which this client knows; if that is right, remove the cache file and start again"
    )]
    ServerBehind {
        /// The server's last transaction.
        server: Tid,
        /// The client's.
        known: Tid,
    },
    /// Pieces of blobs that do not fit together, or that nobody asked for.
    #[error("blob {oid} of transaction {serial}: {what}")]
    BlobOutOfOrder {
        /// The object.
        oid: Oid,
        /// The revision.
        serial: Tid,
        /// What is wrong.
        what: &'static str,
    },
    /// A blob that is longer than [allowed](crate::BlobOptions::blob_len_max).
    #[error("blob {oid} of transaction {serial} is longer than {len_max} bytes")]
    BlobTooLong {
        /// The object.
        oid: Oid,
        /// The revision.
        serial: Tid,
        /// What is allowed.
        len_max: u64,
    },
    /// More invalidations than can be kept before the connection is in use.
    #[error("more than {0} invalidations before the connection was in use")]
    TooManyEarly(usize),
    /// The server does not register this client.
    #[error("the server refuses: {0}")]
    Refused(ServerError),
    /// A server of ZEO 4 wants a user and a password, and there are none ([`Builder::credentials`](crate::Builder)).
    #[error("the server wants a user and a password")]
    NoCredentials,
    /// The server speaks several protocols, and authenticates in that of ZEO 4 alone. It is asked again, in that one.
    #[error("the server authenticates clients of ZEO 4 only")]
    AuthenticatesAsZeo4,
    /// A server of ZEO 4 wants another authentication than `digest`.
    #[error("the server wants authentication by {0}, which is not known here")]
    UnknownScheme(String),
    /// What should be realm, challenge and nonce is something else.
    #[error("the server's challenge makes no sense")]
    BadChallenge,
    /// The server is of another realm than the [credentials](crate::Credentials::realm) are for.
    #[error("the server is of the realm {server:?}, not {own:?}")]
    OtherRealm {
        /// The server's realm.
        server: String,
        /// That of the credentials.
        own: String,
    },
    /// The server knows another password for the user.
    #[error("the server does not accept the user and the password")]
    NotAccepted,
    /// An object whose verification failed has no oid.
    #[error("the server says of something that is no oid that it is out of date")]
    BadVerification,
    /// The commit failed while it was made: the cache cannot know what holds.
    #[error("tpc_finish failed: {0}")]
    FinishFailed(ServerError),
    /// The client has gone over to a writable server.
    #[error("replaced by a connection to a writable server")]
    Replaced,
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

impl ConnectionError {
    /// The error of a message of this method; `None` stands for a call by name.
    pub(crate) fn malformed(method: Option<Method>, error: MessageError) -> Self {
        Self::Malformed { what: method.map_or("a call by name", Method::name), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Detail as in protocol reference 6.3.
    #[test]
    fn tells_kinds_by_their_classes() {
        let oid = Oid::from_u64(7);
        let server = |class: &str, detail| ServerError { class: class.to_owned(), detail };
        let missing = server("ZODB.POSException.POSKeyError", Value::Tuple(vec![oid.into()]));
        assert_eq!(missing.kind(), ServerErrorKind::NoSuchObject(Some(oid)));
        assert_eq!(missing.to_string(), "ZODB.POSException.POSKeyError: (h'0000000000000007',)");
        let (committed, read) = (Tid::from_u64(9), Tid::from_u64(8));
        let detail = Value::Dict(vec![
            ("message".into(), "database conflict error".into()),
            ("oid".into(), oid.into()),
            ("class_name".into(), Value::None),
            ("serials".into(), Value::Tuple(vec![committed.into(), read.into()])),
        ]);
        let conflict = Error::from(server("ZODB.POSException.ConflictError", detail));
        assert_eq!(conflict.conflict(), Some(Conflict { oid, committed, read }));
        assert!(conflict.is_transient());
        let read_only = server("ZODB.POSException.ReadOnlyError", Value::Tuple(Vec::new()));
        assert_eq!(read_only.kind(), ServerErrorKind::ReadOnly);
        assert!(!Error::from(read_only).is_transient());
        // A conflict without the attributes stays one.
        let bare = server("ZODB.POSException.ConflictError", Value::Tuple(Vec::new()));
        assert_eq!(bare.kind(), ServerErrorKind::Conflict(None));
    }

    #[test]
    fn being_disconnected_is_transient_and_an_unknown_outcome_is_not() {
        let why = Arc::new(ConnectionError::Ended);
        assert!(Error::Disconnected(Arc::clone(&why)).is_transient());
        let lost = crate::engine::Changes::default().into_lost(None, why);
        assert!(!Error::OutcomeUnknown(Box::new(lost)).is_transient());
    }
}
