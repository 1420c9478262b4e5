//! [`BlobStorage`]: any storage, with a blob directory beside it.
//!
//! The order of a commit, and what stands where:
//!
//! ```text
//!             tmp/                    the object's directory     the storage
//! upload      zeo-upload.RANDOM
//! vote        zeo-commit.TID.OID                                 voted
//! finish  1   zeo-commit.TID.OID      TID.blob                   voted         same file, synced; directory synced
//!         2   zeo-commit.TID.OID      TID.blob                   committed
//!         3                           TID.blob                   committed     acknowledged
//! ```
//!
//! A crash before 2 leaves files that no record names: nobody asks for them, and the next start removes them,
//! guided by the name in `tmp/`. A crash after 2 leaves a second name, which the next start removes. The
//! file is complete before a record names it, so nothing partial can be seen at any time.
//!
//! If the storage could not be written and is as it was before, the files go at once. If it has stopped
//! because nobody knows what is on its disk, they stay with their notes, for the next start to decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use zeo_codec::{Oid, Tid};

use super::super::{
    Features, LoadedRevision, NewBlob, NewRecord, NewTransaction, PackHost, PackOutcome, PackRequest,
    RecordData, Reservation, Storage, StorageError, View, Voted,
};
use super::directory::BlobDirectory;
use super::pack;
use super::staged::{PlacedBlob, StagedBlob, recover};

/// What Python's storages with blobs announce if they can restore transactions, whether they are a FileStorage
/// with a blob directory or a BlobStorage around one: `zope.interface.providedBy(storage).__iro__`, ZODB 6.4.
const INTERFACES_RESTORABLE: [(&str, &str); 9] = [
    ("ZODB.interfaces", "IBlobStorageRestoreable"),
    ("ZODB.interfaces", "IBlobStorage"),
    ("ZODB.interfaces", "IStorageRestoreable"),
    ("ZODB.interfaces", "IStorageIteration"),
    ("ZODB.interfaces", "IStorageUndoable"),
    ("ZODB.interfaces", "IStorageCurrentRecordIteration"),
    ("ZODB.interfaces", "IExternalGC"),
    ("ZODB.interfaces", "IStorage"),
    ("zope.interface", "Interface"),
];

/// The same around a storage that cannot: a BlobStorage around a MappingStorage hides what that provides.
const INTERFACES: [(&str, &str); 2] = [("ZODB.interfaces", "IBlobStorage"), ("zope.interface", "Interface")];

/// A storage with a blob directory.
#[derive(Debug)]
pub struct BlobStorage {
    inner: Arc<dyn Storage>,
    directory: Arc<BlobDirectory>,
    keeps_old: bool,
}

impl BlobStorage {
    /// Puts `directory` beside `inner`, and removes what an earlier process left there unfinished, unless `inner`
    /// is read-only.
    ///
    /// # Errors
    /// [`StorageError::BlobDirectory`] if `inner` has one already; what the media say.
    pub fn new(inner: Arc<dyn Storage>, directory: BlobDirectory) -> Result<Self, StorageError> {
        if inner.blobs().is_some() {
            // As Python's assertion.
            let path = directory.root().display().to_string();
            let what = "the storage has another one already".to_owned();
            return Err(StorageError::BlobDirectory { path, what });
        }
        if !inner.is_read_only() {
            recover(&directory, &*inner.view())?;
            pack::recover(&directory, &*inner.view())?;
        }
        Ok(Self { inner, directory: Arc::new(directory), keeps_old: false })
    }

    /// Lets a pack keep the files as they were, if the storage keeps what it was: what Python's file storages with a
    /// blob directory do, and its blob storages around them do not.
    #[must_use]
    pub fn keeping_old(self) -> Self {
        Self { keeps_old: true, ..self }
    }
}

impl BlobStorage {
    /// The contents that become current again because an undo makes an earlier revision of a blob current
    /// (`FileStorage.py:_txn_undo_write`, ZODB 6.4). Records of copied transactions bring their own, if any.
    fn restored_contents(&self, records: &[NewRecord]) -> Result<BTreeMap<Oid, StagedBlob>, StorageError> {
        let mut contents = BTreeMap::new();
        for record in records {
            if let NewRecord { oid, serial: None, data: RecordData::Revision(revision) } = record
                && let Some(data_serial) = revision.data_serial
                && self.is_blob(*oid, data_serial)?
            {
                contents.insert(*oid, self.directory.stage_copy(*oid, data_serial)?);
            }
        }
        Ok(contents)
    }

    fn is_blob(&self, oid: Oid, serial: Tid) -> Result<bool, StorageError> {
        let mut loaded = LoadedRevision::default();
        self.inner.view().load_serial(oid, serial, &mut loaded)?;
        Ok(is_blob_record(&loaded.data))
    }
}

/// Whether a record is that of a blob object: its class, and not a class with arguments, is `ZODB.blob.Blob`
/// (`ZODB/blob.py:is_blob_record`, ZODB 6.4). ZODB pickles classes as globals, by protocol 3 and before it 1.
pub(super) fn is_blob_record(data: &[u8]) -> bool {
    let class = match data {
        [0x80, 2..=3, class @ ..] => class,
        class => class,
    };
    class.starts_with(b"cZODB.blob\nBlob\n")
}

impl Storage for BlobStorage {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn features(&self) -> Features {
        Features { blobs: true, ..self.inner.features() }
    }

    fn interfaces(&self) -> &'static [(&'static str, &'static str)] {
        let is_restorable = self.inner.interfaces().iter().any(|(_, name)| *name == "IStorageRestoreable");
        if is_restorable { &INTERFACES_RESTORABLE } else { &INTERFACES }
    }

    fn is_read_only(&self) -> bool {
        self.inner.is_read_only()
    }

    fn view(&self) -> Arc<dyn View> {
        self.inner.view()
    }

    fn new_oids(&self, count: u32) -> Result<Oid, StorageError> {
        self.inner.new_oids(count)
    }

    fn vote(&self, transaction: NewTransaction) -> Result<Box<dyn Voted>, StorageError> {
        self.vote_with_blobs(transaction, Vec::new())
    }

    fn blobs(&self) -> Option<&Arc<BlobDirectory>> {
        Some(&self.directory)
    }

    fn vote_with_blobs(
        &self,
        transaction: NewTransaction,
        blobs: Vec<NewBlob>,
    ) -> Result<Box<dyn Voted>, StorageError> {
        let serial = transaction.tid;
        // An object's last one counts, as with its records.
        let mut contents = self.restored_contents(&transaction.records)?;
        contents.extend(blobs.into_iter().map(|NewBlob { oid, content }| (oid, content)));
        let inner = self.inner.vote(transaction)?;
        if contents.is_empty() {
            return Ok(inner);
        }
        let placed = contents
            .into_iter()
            .map(|(oid, content)| content.prepare(&self.directory, oid, serial))
            .collect::<Result<_, _>>()?;
        let (storage, directory) = (Arc::clone(&self.inner), Arc::clone(&self.directory));
        Ok(Box::new(BlobVoted { inner, placed, storage, directory }))
    }

    fn pack(&self, request: PackRequest, host: &dyn PackHost) -> Result<PackOutcome, StorageError> {
        pack::pack(&*self.inner, &self.directory, self.keeps_old, request, host)
    }

    fn reserve(&self, transaction: &NewTransaction) -> Result<Reservation, StorageError> {
        self.inner.reserve(transaction)
    }

    fn tid_together(&self, wanted: Tid, place: usize) -> Option<Tid> {
        self.inner.tid_together(wanted, place)
    }

    /// These have no blobs.
    fn commit_together(&self, transactions: Vec<NewTransaction>) -> Result<Vec<Arc<dyn View>>, StorageError> {
        self.inner.commit_together(transactions)
    }

    fn has_stopped(&self) -> bool {
        self.inner.has_stopped()
    }

    fn checkpoint(&self) -> Result<(), StorageError> {
        self.inner.checkpoint()
    }

    fn close(&self) -> Result<(), StorageError> {
        self.inner.close()
    }
}

/// A voted transaction with blobs.
#[derive(Debug)]
struct BlobVoted {
    inner: Box<dyn Voted>,
    placed: Vec<PlacedBlob>,
    storage: Arc<dyn Storage>,
    directory: Arc<BlobDirectory>,
}

impl Voted for BlobVoted {
    fn transaction_len(&self) -> u64 {
        self.inner.transaction_len()
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn View>, StorageError> {
        let Self { inner, mut placed, storage, directory } = *self;
        // The notes first: a power cut must not keep the files and lose these.
        directory.sync_notes()?;
        for blob in &mut placed {
            blob.place()?;
        }
        let finished = inner.finish();
        match &finished {
            Ok(_) => placed.into_iter().for_each(PlacedBlob::committed),
            Err(_) if storage.has_stopped() => placed.into_iter().for_each(PlacedBlob::leave),
            // Dropped, and with that removed.
            Err(_) => {}
        }
        finished
    }
}
