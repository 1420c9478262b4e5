//! A storage that is another server's: what the engine does differently with it.
//!
//! It makes the tids itself, finds the conflicts itself, and changes by itself, since it has other clients. So a
//! transaction is passed on as it came, and what has changed is taken from the storage, one change after the other, the
//! own commits at their place among them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::{Call, Conflict, Oid, Reply, Tid, Value};

use super::{StorageError, View};

/// What the other server's storage can do beyond being read.
pub trait Remote: Send + Sync + fmt::Debug {
    /// Begins a transaction. There is one at a time; the commit lock sees to it.
    ///
    /// # Errors
    /// [`StorageError::Remote`]
    fn begin(&self, metadata: RemoteMetadata) -> Result<Box<dyn RemoteTransaction>, StorageError>;

    /// The next change; `None` if there is none that has not been taken.
    ///
    /// A transaction of one's own is there when its [`finish`](RemoteVoted::finish) has returned, and everything before
    /// it.
    fn take_change(&self) -> Option<Change>;

    /// Waits for a change; `false` when there will be none any more. A hint: others may have taken it.
    fn wait_for_change(&self) -> bool;

    /// Passes on a call that only asks.
    ///
    /// # Errors
    /// [`StorageError::Remote`]
    fn ask(&self, call: &Call<'_>) -> Result<Reply<'static>, StorageError>;
}

/// A transaction of the other server, or what became of several.
#[derive(Debug)]
pub struct Change {
    /// The last transaction.
    pub tid: Tid,
    /// What has changed.
    pub what: Changed,
    /// The state with it.
    pub view: Arc<dyn View>,
}

/// What has changed on the other server.
#[derive(Debug)]
pub enum Changed {
    /// These objects.
    Objects {
        /// The objects.
        oids: Vec<Oid>,
        /// Whether the transaction was committed through this storage.
        is_own: bool,
    },
    /// Anything.
    Unknown,
    /// No object, but the connection to it: whoever it is, it has been asked what changed before.
    Connection,
}

/// What a transaction says about itself, as the client sent it.
#[derive(Debug, Clone)]
pub struct RemoteMetadata {
    /// User name.
    pub user: Bytes,
    /// Description.
    pub description: Bytes,
    /// Extension: a dict.
    pub extension: Value<'static>,
    /// The tid to commit under, when transactions are copied.
    pub tid: Option<Tid>,
    /// Status byte.
    pub status: u8,
}

/// A part of a transaction.
#[derive(Debug)]
pub enum RemoteOp {
    /// `storea`
    Store(Oid, Tid, Bytes),
    /// `deleteObject`
    Delete(Oid, Tid),
    /// `checkCurrentSerialInTransaction`
    CheckCurrent(Oid, Tid),
    /// `restorea`: the data, and the transaction whose record holds it.
    Restore(Oid, Tid, Option<Bytes>, Option<Tid>),
    /// `undoa`
    Undo(Bytes),
    /// `storeBlob*`: the record, and the file, which is taken.
    Blob(Oid, Tid, Bytes, PathBuf),
}

/// A transaction under way on the other server. Dropping it aborts it.
pub trait RemoteTransaction: Send + fmt::Debug {
    /// Sends a part of it.
    ///
    /// # Errors
    /// [`StorageError::Remote`]; the transaction is of no use any more.
    fn apply(&mut self, op: RemoteOp) -> Result<(), StorageError>;

    /// Votes. Blocks for as long as the other server's commit lock is taken.
    ///
    /// # Errors
    /// [`StorageError::Remote`], with the other server's error; the transaction is aborted.
    fn vote(self: Box<Self>) -> Result<RemoteVote, StorageError>;
}

/// What the other server says to a vote.
#[derive(Debug)]
pub enum RemoteVote {
    /// It can commit. It may have resolved conflicts by itself.
    Voted(Box<dyn RemoteVoted>, Vec<Oid>),
    /// It leaves conflicts to the client.
    Conflicts(Box<dyn RemoteTransaction>, Vec<Conflict<'static>>),
}

/// A transaction that the other server can commit. Dropping it aborts it.
pub trait RemoteVoted: Send + fmt::Debug {
    /// Commits.
    ///
    /// # Errors
    /// [`StorageError::Remote`]: it was not committed, or nobody knows.
    fn finish(self: Box<Self>) -> Result<Tid, StorageError>;
}
