//! What the server asks of a storage: many readers, one writer.
//!
//! A storage is read through [`View`]s. A view shows the committed state as of one transaction and never
//! changes; any number of threads read through any number of views without waiting for a commit. Only
//! [`Voted::finish`] makes a new state, and it returns the view of that state. Whoever tells clients about
//! commits passes views along *with* the invalidations, so that a reader cannot see a transaction before
//! it has been told of it (rules S1 to S4 and S8; see [`crate::engine`]).
//!
//! This module knows no sockets and no wire format; object data is opaque bytes here.

pub mod blob;
pub mod demo;
pub mod file;
pub mod memory;
mod pack;
pub mod past;
mod pending;
pub mod relay;
pub mod remote;
pub mod tid;
mod wait;

use std::fmt;
use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

pub use file::{TOGETHER_LEN_MAX, TOGETHER_MAX};
pub use pack::{CommitsStopped, PackHost, PackOutcome, PackReport, PackRequest, Unattended};
pub use pending::Pending;
pub use wait::{WaitHook, set_wait_hook, wait};

use blob::{BlobDirectory, StagedBlob};
use past::{CurrentObject, PastRecord, PastRevision, PastTransaction, UndoError};
use remote::Remote;

/// Takes a revision's object data and its place in the object's history, without an intermediate buffer: the storage
/// reads the data into memory of the sink, where it stays.
pub trait DataSink {
    /// Room to read into while it is not known yet how much data there is, of any length, with anything in it. What
    /// stands at its beginning is at the beginning of what [`accept`](Self::accept) returns.
    ///
    /// May be called any number of times before [`accept`](Self::accept), or never.
    fn room(&mut self) -> &mut [u8];

    /// Returns exactly `data_len` bytes to be filled with the data of the revision written by `serial`,
    /// which `end` superseded (`None`: it is the current one in this view).
    ///
    /// Called at most once for each load. If the load fails afterwards, the sink's content is undefined. A
    /// storage may panic if the length of what is returned differs from `data_len`.
    fn accept(&mut self, serial: Tid, end: Option<Tid>, data_len: usize) -> &mut [u8];
}

/// Room for data of which nothing is known: most objects of a Zope database fit.
pub const ROOM_LEN: usize = 1024;

/// A revision by itself, in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedRevision {
    /// The object data.
    pub data: Vec<u8>,
    /// The transaction that wrote it.
    pub serial: Tid,
    /// The transaction that superseded it, `None` if it is the current one.
    pub end: Option<Tid>,
}

impl DataSink for LoadedRevision {
    fn room(&mut self) -> &mut [u8] {
        self.data.resize(ROOM_LEN, 0);
        &mut self.data
    }

    fn accept(&mut self, serial: Tid, end: Option<Tid>, data_len: usize) -> &mut [u8] {
        (self.serial, self.end) = (serial, end);
        self.data.resize(data_len, 0);
        &mut self.data
    }
}

/// What is known of the newest record of an object without reading its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    /// The transaction that wrote the record.
    pub serial: Tid,
    /// Whether the record says that the object does not exist (deleted, or its creation undone).
    pub is_deleted: bool,
}

/// The committed state of a storage as of one transaction. Immutable.
pub trait View: Send + Sync + fmt::Debug {
    /// The last transaction of this state; [`Tid::ZERO`] if there is none.
    fn last_tid(&self) -> Tid;

    /// Number of objects, as Python's `len(storage)`.
    fn object_count(&self) -> u64;

    /// Size in bytes, as Python's `getSize()`.
    fn size_bytes(&self) -> u64;

    /// Loads the revision with the greatest serial below `before`. `Ok(false)`: the object exists, but had
    /// no revision before that.
    ///
    /// # Errors
    /// [`StorageError::NoSuchObject`] if the object is unknown or that revision is a deletion; otherwise
    /// what the medium says.
    fn load_before(&self, oid: Oid, before: Tid, sink: &mut dyn DataSink) -> Result<bool, StorageError>;

    /// Loads the revision that the transaction `serial` wrote; its `end` is not determined (`None`).
    ///
    /// # Errors
    /// [`StorageError::NoSuchObject`] if there is no such object or revision, or it is a deletion.
    fn load_serial(&self, oid: Oid, serial: Tid, sink: &mut dyn DataSink) -> Result<(), StorageError>;

    /// The newest record of `oid`, `None` if there never was one.
    ///
    /// # Errors
    /// What the medium says.
    fn current(&self, oid: Oid) -> Result<Option<Current>, StorageError>;

    /// The last `count` transactions, oldest first, with the oids of their records (no duplicates).
    ///
    /// # Errors
    /// What the medium says.
    fn last_changes(&self, count: usize) -> Result<Vec<(Tid, Vec<Oid>)>, StorageError>;

    /// The place of the first transaction whose tid is at least `start`; of the first of all without one. May
    /// take long.
    ///
    /// # Errors
    /// What the medium says.
    fn place_of(&self, start: Option<Tid>) -> Result<u64, StorageError>;

    /// The place behind the last transaction.
    fn end_place(&self) -> u64;

    /// Transactions before this place cannot be undone, whatever they are.
    fn undoable_place(&self) -> u64 {
        0
    }

    /// The transaction at `place` or behind it, `None` at the end.
    ///
    /// # Errors
    /// What the medium says.
    fn transaction_from(&self, place: u64) -> Result<Option<PastTransaction>, StorageError>;

    /// The last transaction before `place`, `None` at the beginning.
    ///
    /// # Errors
    /// What the medium says.
    fn transaction_before(&self, place: u64) -> Result<Option<PastTransaction>, StorageError>;

    /// The record of `transaction` at `place`, `None` behind the last one.
    ///
    /// # Errors
    /// What the medium says.
    fn record_from(
        &self,
        transaction: &PastTransaction,
        place: u64,
    ) -> Result<Option<PastRecord>, StorageError>;

    /// Shows the revisions of `oid`, deletions included, to `visit`, newest first, until it breaks. May take
    /// long.
    ///
    /// # Errors
    /// [`StorageError::NoSuchObject`] if it is unknown; where a storage consists of several, to the last one that is
    /// asked, so that revisions may have been shown before. Otherwise what the medium says.
    fn history(
        &self,
        oid: Oid,
        visit: &mut dyn FnMut(PastRevision) -> ControlFlow<()>,
    ) -> Result<(), StorageError>;

    /// The first object at or above `start`, deleted ones included; `None` if there is none.
    ///
    /// # Errors
    /// What the medium says.
    fn object_from(&self, start: Oid) -> Result<Option<CurrentObject>, StorageError>;

    /// The records that take back transaction `tid`, for a transaction that already does `pending`. To be asked
    /// of the newest view, with the commit lock held.
    ///
    /// # Errors
    /// Why it cannot be undone; then nothing of it may be written.
    fn undo(&self, tid: Tid, pending: &mut Pending) -> Result<Vec<NewRecord>, UndoError>;

    /// What to write for a copied record of `oid` whose data is, in the storage that it comes from, that of the
    /// revision `data_tid`: a reference to this revision if it is here and says the same, else the data. To be
    /// asked of the newest view, with the commit lock held.
    ///
    /// # Errors
    /// What the medium says.
    fn restored(
        &self,
        oid: Oid,
        data: Option<Bytes>,
        data_tid: Option<Tid>,
    ) -> Result<RecordData, StorageError>;
}

/// One new record of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The object.
    pub oid: Oid,
    /// The serial that the record bears if it is not its transaction's tid: some copied records have an older one.
    pub serial: Option<Tid>,
    /// What becomes of the object.
    pub data: RecordData,
}

/// What a new record says of its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordData {
    /// New data, never empty.
    Data(Bytes),
    /// The object exists no more: deleted, or its creation undone.
    Deleted,
    /// It is as an earlier revision left it.
    Revision(Revision),
}

/// An earlier revision of an object, by reference: a file storage writes a back pointer to it. Only views make these
/// for the state that is the newest one while the commit lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// The serial of the earlier revision.
    pub serial: Tid,
    /// The serial of the revision that holds the data, which is an older one if the earlier revision is a reference
    /// itself. `None`: the earlier revision says that the object did not exist.
    pub data_serial: Option<Tid>,
    /// Where the storage finds the earlier revision; the storage's own business.
    pub place: u64,
}

impl NewRecord {
    /// A record with new data.
    #[must_use]
    pub const fn with_data(oid: Oid, data: Bytes) -> Self {
        Self { oid, serial: None, data: RecordData::Data(data) }
    }

    /// A record that says that the object exists no more.
    #[must_use]
    pub const fn deleted(oid: Oid) -> Self {
        Self { oid, serial: None, data: RecordData::Deleted }
    }

    /// A record that makes the object what an earlier revision says.
    #[must_use]
    pub const fn as_before(oid: Oid, revision: Revision) -> Self {
        Self { oid, serial: None, data: RecordData::Revision(revision) }
    }
}

impl RecordData {
    /// The new data, if there are any.
    #[must_use]
    pub const fn new_data(&self) -> Option<&Bytes> {
        match self {
            Self::Data(data) => Some(data),
            Self::Deleted | Self::Revision(_) => None,
        }
    }
}

/// A transaction to be appended. Conflicts have been checked; this is only what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTransaction {
    /// Greater than the last tid of the storage.
    pub tid: Tid,
    /// Status byte of the transaction record: `b' '`, or `b'p'` for a copied packed transaction.
    pub status: u8,
    /// User name, at most 65,535 bytes.
    pub user: Bytes,
    /// Description, at most 65,535 bytes.
    pub description: Bytes,
    /// Pickled extension dictionary, empty for the empty one, at most 65,535 bytes.
    pub extension: Bytes,
    /// The records in the order in which they are written. An object may occur twice: the last one counts.
    pub records: Vec<NewRecord>,
}

/// The content of a blob that a transaction stores.
#[derive(Debug)]
pub struct NewBlob {
    /// The object; one of the transaction's records is its.
    pub oid: Oid,
    /// The file.
    pub content: StagedBlob,
}

/// A storage: where views come from and transactions go.
pub trait Storage: Send + Sync + fmt::Debug {
    /// The storage's name, as Python's `getName()`; for a file storage the path as configured.
    fn name(&self) -> &str;

    /// What the storage can do beyond loading and storing.
    fn features(&self) -> Features;

    /// The interfaces that Python's storage of this kind provides, as (module, name) and in the order of
    /// `zope.interface.providedBy(storage).__iro__`: what `get_info` announces.
    fn interfaces(&self) -> &'static [(&'static str, &'static str)];

    /// Whether every write is refused.
    fn is_read_only(&self) -> bool;

    /// The state after the last finished transaction.
    fn view(&self) -> Arc<dyn View>;

    /// Hands out `count` oids in sequence, above every oid stored or handed out so far, and returns the
    /// first of them.
    ///
    /// # Errors
    /// [`StorageError::ReadOnly`]; [`StorageError::OidsExhausted`].
    fn new_oids(&self, count: u32) -> Result<Oid, StorageError>;

    /// Makes everything ready so that only a failing medium can keep [`Voted::finish`] from succeeding.
    /// Nothing becomes visible. At most one vote may be outstanding; the caller's commit lock sees to it.
    ///
    /// # Errors
    /// The transaction is refused and the storage is as it was: [`StorageError::ReadOnly`],
    /// [`StorageError::MetadataTooLong`], [`StorageError::EmptyRecord`], [`StorageError::TidNotRising`],
    /// [`StorageError::QuotaExceeded`], [`StorageError::Io`] (for example no room), [`StorageError::Failed`],
    /// [`StorageError::Closed`].
    fn vote(&self, transaction: NewTransaction) -> Result<Box<dyn Voted>, StorageError>;

    /// Removes what was superseded at the pack time and, with garbage collection, what could not be reached then.
    /// Blocks for as long as that takes; readers and commits go on meanwhile, but for a moment at the end.
    ///
    /// # Errors
    /// Everything is as it was: [`StorageError::Cancelled`], [`StorageError::AlreadyPacking`],
    /// [`StorageError::PackedToLaterTime`], [`StorageError::InvalidPackTime`], [`StorageError::NoRoot`],
    /// [`StorageError::ReadOnly`], [`StorageError::Closed`], [`StorageError::Failed`]; [`StorageError::Io`], for
    /// example no room; [`StorageError::Corrupt`] if the structure of the medium is damaged, not just a record.
    fn pack(&self, request: PackRequest, host: &dyn PackHost) -> Result<PackOutcome, StorageError>;

    /// Where the storage's blobs are; `None` if it cannot have any.
    fn blobs(&self) -> Option<&Arc<BlobDirectory>> {
        None
    }

    /// Opens the file of a blob's revision for reading.
    ///
    /// # Errors
    /// [`StorageError::NoBlobFile`], [`StorageError::NoBlobs`]; [`StorageError::Io`].
    fn open_blob(&self, oid: Oid, serial: Tid) -> Result<File, StorageError> {
        self.blobs().ok_or(StorageError::NoBlobs)?.open_revision(oid, serial)
    }

    /// [`vote`](Self::vote) on a transaction that stores blobs. If an object occurs twice, the last one counts.
    ///
    /// # Errors
    /// Those of `vote`, and [`StorageError::NoBlobs`]; the blobs are gone then.
    fn vote_with_blobs(
        &self,
        transaction: NewTransaction,
        blobs: Vec<NewBlob>,
    ) -> Result<Box<dyn Voted>, StorageError> {
        if blobs.is_empty() { self.vote(transaction) } else { Err(StorageError::NoBlobs) }
    }

    /// The storage as another server's, if it is one.
    fn remote(&self) -> Option<&dyn Remote> {
        None
    }

    /// Checks what can be checked of `transaction`, whatever its tid will be and whatever is committed before it, and
    /// keeps room for it, so that its commit will not fail for that. Only where there are
    /// [`concurrent_commits`](Features::concurrent_commits), and for records that are new data or deletions.
    ///
    /// # Errors
    /// Those of [`vote`](Self::vote) but for the tid.
    fn reserve(&self, transaction: &NewTransaction) -> Result<Reservation, StorageError> {
        let _ = transaction;
        Ok(Reservation::default())
    }

    /// The smallest tid from `wanted` on that a transaction may have which is made durable together with `place` others
    /// that stand before it; 0: alone, or as their first. `None` when all numbers are used up.
    fn tid_together(&self, wanted: Tid, place: usize) -> Option<Tid> {
        let _ = place;
        Some(wanted)
    }

    /// Makes transactions durable, all with one sync, then visible to new views, and returns the first view of each. They
    /// have room [reserved](Self::reserve), tids of [their places](Self::tid_together), and no object of one is another
    /// one's. At most [`TOGETHER_MAX`], of [`TOGETHER_LEN_MAX`] bytes unless it is one.
    ///
    /// # Errors
    /// Nothing was acknowledged and nothing became visible: those of [`vote`](Self::vote) and of
    /// [`finish`](Voted::finish). Unless the storage [has stopped](Self::has_stopped) they can be committed one by one.
    fn commit_together(&self, transactions: Vec<NewTransaction>) -> Result<Vec<Arc<dyn View>>, StorageError> {
        let commit = |transaction| self.vote(transaction)?.finish();
        transactions.into_iter().map(commit).collect()
    }

    /// Whether nothing is written any more because it is unknown what is on the medium; see [`Voted::finish`].
    fn has_stopped(&self) -> bool {
        false
    }

    /// Writes what speeds up the next start (index files), as of now. Commits go on meanwhile.
    ///
    /// # Errors
    /// What the medium says; nothing is lost but the speed of a start after a crash.
    fn checkpoint(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Writes what speeds up the next start (index files) and releases locks. Later writes are refused.
    ///
    /// # Errors
    /// What the medium says; committed data is safe in any case.
    fn close(&self) -> Result<(), StorageError>;
}

/// Room for a transaction that is to come. Dropping it gives the room back.
#[derive(Debug, Default)]
#[must_use = "dropping it gives the room back"]
pub struct Reservation(Option<Box<dyn KeepsRoom>>);

impl Reservation {
    pub(crate) fn new(room: impl KeepsRoom + 'static) -> Self {
        Self(Some(Box::new(room)))
    }

    /// Number of bytes that the transaction takes in the storage; 0 if it does not count them.
    #[must_use]
    pub fn transaction_len(&self) -> u64 {
        self.0.as_ref().map_or(0, |room| room.transaction_len())
    }
}

/// What a storage keeps for a [`Reservation`].
pub(crate) trait KeepsRoom: Send + fmt::Debug {
    /// Number of bytes that the transaction takes in the storage.
    fn transaction_len(&self) -> u64;
}

/// A transaction that is ready to be committed. Dropping it aborts it.
pub trait Voted: Send + fmt::Debug {
    /// Number of bytes that the transaction takes in the storage.
    fn transaction_len(&self) -> u64;

    /// Makes the transaction durable, then visible to new views, and returns the first of these.
    ///
    /// # Errors
    /// Nothing was acknowledged and nothing became visible. [`StorageError::Io`]: if what had been written
    /// could be removed again the storage goes on; otherwise, and always if the medium could not be made to
    /// keep it, the state of the medium is unknown, and every later vote is refused with
    /// [`StorageError::Failed`]. [`StorageError::VoteOutdated`], [`StorageError::Failed`],
    /// [`StorageError::Closed`].
    fn finish(self: Box<Self>) -> Result<Arc<dyn View>, StorageError>;
}

/// Abilities of a storage, from which `get_info` derives the interfaces that it announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// `undo`, `undoLog`, `undoInfo`.
    pub undo: bool,
    /// `iterator_*`.
    pub iteration: bool,
    /// `restorea`.
    pub restore: bool,
    /// `record_iternext`.
    pub record_iteration: bool,
    /// `deleteObject`.
    pub external_gc: bool,
    /// Blobs.
    pub blobs: bool,
    /// Transactions that touch different objects can be voted on beside each other: [`Storage::reserve`] does what is
    /// to be done at the vote, and [`Storage::vote`] waits until the commit.
    pub concurrent_commits: bool,
    /// What the entries of `history` look like.
    pub history: HistoryShape,
    /// The Python class that does not have the rest, as its errors name it.
    pub python_class: &'static str,
}

/// Python's storages differ in what `history` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HistoryShape {
    /// FileStorage: the items of the extension, and the rest over them.
    #[default]
    Merged,
    /// MappingStorage: the extension by itself, and the serial once more.
    Apart,
}

/// Which part of a transaction's metadata was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// The user name.
    User,
    /// The description.
    Description,
    /// The pickled extension.
    Extension,
}

/// Why a storage could not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// No such object, no such revision of it, or it has been deleted.
    #[error("no object {0}")]
    NoSuchObject(Oid),
    /// The object has no such revision; MappingStorage says so in more words than others.
    #[error("object {0} has no revision {1}")]
    NoSuchRevision(Oid, Tid),
    /// The storage was opened for reading only.
    #[error("the storage is read-only")]
    ReadOnly,
    /// A part of the metadata exceeds 65,535 bytes.
    #[error("{0:?} of the transaction exceeds 65,535 bytes")]
    MetadataTooLong(Metadata),
    /// A record that bears a serial above its transaction's tid.
    #[error("record of object {oid} has serial {serial}, which lies above its transaction's tid {tid}")]
    SerialAhead {
        /// The object.
        oid: Oid,
        /// Its serial.
        serial: Tid,
        /// The tid of the transaction.
        tid: Tid,
    },
    /// A record without data: FileStorage cannot tell it from a back pointer.
    #[error("record of object {0} has no data")]
    EmptyRecord(Oid),
    /// A tid that does not exceed the last one.
    #[error("transaction {tid} does not follow {last}")]
    TidNotRising {
        /// The tid of the refused transaction.
        tid: Tid,
        /// The storage's last one.
        last: Tid,
    },
    /// Another transaction was finished after this one's vote.
    #[error("another transaction was finished since the vote")]
    VoteOutdated,
    /// The transaction would make the file longer than the configured quota.
    #[error("the storage quota of {quota_bytes} bytes has been exceeded")]
    QuotaExceeded {
        /// The quota.
        quota_bytes: u64,
    },
    /// What the server behind a storage that passes everything on says, or what has become of the connection to it.
    #[error(transparent)]
    Remote(Box<zeo_client::Error>),
    /// The storage has been closed.
    #[error("the storage is closed")]
    Closed,
    /// A pack was given up, because its host said so or the storage is being closed.
    #[error("the pack was cancelled")]
    Cancelled,
    /// Another pack is under way.
    #[error("Already packing")]
    AlreadyPacking,
    /// A storage in memory was packed to a later time before.
    #[error("Already packed to a later time")]
    PackedToLaterTime,
    /// The pack time is the beginning of time.
    #[error("Invalid pack time")]
    InvalidPackTime,
    /// There are objects, but not the one from which all others are reached: a pack would remove everything.
    #[error("there is no root object {0}")]
    NoRoot(Oid),
    /// Another process, or another opener in this one, has the file open for writing.
    #[error("{file} is locked by {holder:?}")]
    Locked {
        /// The lock file.
        file: String,
        /// What the lock file says of the holder: its process id.
        holder: String,
    },
    /// The greatest possible tid has been used.
    #[error("no transaction identifiers are left")]
    TidsExhausted,
    /// The greatest possible oid has been handed out.
    #[error("no object identifiers are left")]
    OidsExhausted,
    /// The medium failed; `doing` says during what.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was to be done, with the file's name.
        doing: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A write failed earlier and left the medium in an unknown state; nothing is written any more.
    #[error("writing has stopped after a failure: {0}")]
    Failed(Arc<str>),
    /// The storage has no place for blobs.
    #[error("Blobs are not supported")]
    NoBlobs,
    /// There is no file for this revision of a blob.
    #[error("No blob file at {path}")]
    NoBlobFile {
        /// Where it should be.
        path: String,
        /// The object.
        oid: Oid,
        /// The revision.
        serial: Tid,
    },
    /// A client with a shared blob directory names a file that is not its to name.
    #[error("bad name of a shared blob file: {0:?}")]
    BadBlobName(String),
    /// A directory that cannot be used for blobs.
    #[error("blob directory {path}: {what}")]
    BlobDirectory {
        /// The directory.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// Bytes on the medium that contradict the format.
    #[error("{file}: {what} at position {pos}")]
    Corrupt {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
        /// Byte position in the file.
        pos: u64,
    },
}
