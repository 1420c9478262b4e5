//! Why a connection has to end.

use zeo_codec::DecodeError;

/// Why the engine ends a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Closing {
    /// A message that cannot be decoded.
    #[error("can't decode message: {0}")]
    Undecodable(#[from] DecodeError),
    /// A method that servers do not have, or not for this client, or `register` once more (protocol reference 11).
    #[error("invalid method {0:?}")]
    InvalidMethod(String),
    /// Anything else as the first call (protocol reference 11).
    #[error("invalid method {0:?} before register")]
    NotRegistered(&'static str),
    /// It could not show who it is, too often.
    #[error("refused too often")]
    Refused,
    /// A reply; servers make no calls that have any.
    #[error("unexpected reply")]
    UnexpectedReply,
    /// A one-way call failed, and there is no way to say so (protocol reference 11).
    #[error("one-way call of {method} failed: {reason}")]
    OneWayFailed {
        /// The method's name.
        method: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// A message id that cannot be echoed, or will not be: one with a class or a call in it.
    #[error("unusable message id")]
    UnusableId,
    /// The client left too many commits unread.
    #[error("{0} commits left unread")]
    TooSlow(u64),
    /// The client left commits unread that have too many objects.
    #[error("commits with {0} objects left unread")]
    TooMuchUnread(u64),
    /// Of the server behind this one nobody knows what has changed; there is no message for that, so the client has to
    /// come back (StorageServer.py:_invalidateCache, ZEO 6.2).
    #[error("the connection to the server behind is another one: come back and look what has changed")]
    AnythingChanged,
    /// The client held the commit lock for too long.
    #[error("Transaction timeout after {0} seconds")]
    TransactionTimeout(u64),
}
