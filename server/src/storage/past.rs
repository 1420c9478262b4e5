//! What a storage says of its past: transactions, their records, and the revisions of an object.
//!
//! A *place* is a number by which a view finds a transaction or a record again: a file position, for example. It means
//! something only to the view that it came from.

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use super::{HistoryShape, StorageError};

/// A committed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastTransaction {
    /// Its tid.
    pub tid: Tid,
    /// Status byte: a blank, or `p` if it has been through a pack.
    pub status: u8,
    /// User name.
    pub user: Bytes,
    /// Description.
    pub description: Bytes,
    /// Pickled extension dictionary, empty for the empty one.
    pub extension: Bytes,
    /// Length in bytes, as Python's `undoLog` counts it.
    pub len: u64,
    /// Where the transaction lies.
    pub place: u64,
    /// Where the next one lies, if there is one.
    pub next_place: u64,
    /// Where its first record lies, if it has one.
    pub records_place: u64,
}

/// A record of a committed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRecord {
    /// The object.
    pub oid: Oid,
    /// The serial of the record.
    pub tid: Tid,
    /// The object's data; `None` if it ceased to exist.
    pub data: Option<Bytes>,
    /// The serial of the earlier revision to which the record refers, if it holds no data itself.
    pub data_tid: Option<Tid>,
    /// Where the next record of the transaction lies, if there is one.
    pub next_place: u64,
}

/// A revision of an object, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRevision {
    /// Its serial.
    pub tid: Tid,
    /// User name of the transaction.
    pub user: Bytes,
    /// Description of the transaction.
    pub description: Bytes,
    /// Pickled extension dictionary of the transaction, empty for the empty one.
    pub extension: Bytes,
    /// Length in bytes of the data that the record holds itself.
    pub data_len: u64,
    /// What the storage that has it says of a revision.
    pub shape: HistoryShape,
    /// Where a storage consists of several, which of them has it: 0 for the first one that is asked, and rising.
    pub layer: u32,
}

/// The first current object at or above an oid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentObject {
    /// The object. It may have been deleted.
    pub oid: Oid,
    /// The one after it, if there is one.
    pub next: Option<Oid>,
}

/// Why a transaction cannot be undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// There is no transaction with that tid.
    #[error("Invalid transaction id")]
    NoSuchTransaction,
    /// It has a status that forbids it, for example because it has been packed.
    #[error("non-undoable transaction")]
    NotUndoable,
    /// Objects that cannot be taken back, in the order of the transaction's records.
    #[error("{} objects cannot be undone", .0.len())]
    Objects(Vec<(Oid, WhyNotUndone)>),
    /// It has more records than the new transaction may get ([`Pending::left`](super::Pending::left)).
    #[error("too many records to be undone")]
    TooMany,
    /// The storage cannot read what it needs.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a change of one object cannot be taken back. The texts are Python's
/// (`FileStorage.py:_transactionalUndoRecord`, ZODB 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WhyNotUndone {
    /// A later transaction changed it, and only its class could merge.
    #[error("Some data were modified by a later transaction")]
    ModifiedLater,
    /// The transaction created it, and a later one changed it.
    #[error("Can't undo an add transaction followed by conflicting transactions.")]
    AddedAndModifiedLater,
    /// It did not exist after the transaction, or does not exist now.
    #[error("_loadBack() failed")]
    NotThere,
    /// It did not exist before the transaction. Python forgets to fill in the oid.
    #[error("_loadBack() failed for %s")]
    NotThereBefore,
}
