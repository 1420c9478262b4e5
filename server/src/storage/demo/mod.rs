//! [`DemoStorage`]: a storage that takes the changes to another one, which stays as it is.
//!
//! Reading looks into the changes first and then into the base; writing goes to the changes alone. What is subtle is
//! where an object's history crosses from one to the other:
//!
//! ```text
//!   base       T1 ---- T3 -------------.
//!   changes                T5 ---- T8   |      loadBefore(T5): the base's T3, which T5 ended
//! ```
//!
//! A revision that is the last one in the base ends with the object's first one in the changes. Where the changes say
//! that an object does not exist (its first change was undone, for example) the base's revision counts again.
//!
//! Iteration goes through the base and then through the changes. Undo knows the changes only. Packing removes old
//! revisions from the changes, never objects: the base may refer to them.
//! Source: `ZODB/DemoStorage.py`, ZODB 6.4.

mod pack;
mod view;

use std::fmt;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use zeo_codec::{Oid, Tid};

use self::view::DemoView;
use super::blob::{BlobDirectory, BlobDirectoryOptions, BlobStorage};
use super::file::io_error;
use super::memory::MemoryStorage;
use super::{
    Features, NewBlob, NewTransaction, PackHost, PackOutcome, PackRequest, Storage, StorageError, View, Voted,
};

/// Greatest oid with which a new sequence begins.
const FIRST_OID_MAX: u64 = 1 << 62;
/// How often a place for new oids is looked for.
const OID_ATTEMPTS: u32 = 1000;

/// What Python's DemoStorage announces, by what its changes can do: `zope.interface.providedBy(storage).__iro__`,
/// ZODB 6.4. The first of them with blobs and undo; each of the two may be missing.
const INTERFACES: [(&str, &str); 5] = [
    ("ZODB.interfaces", "IBlobStorage"),
    ("ZODB.interfaces", "IStorageUndoable"),
    ("ZODB.interfaces", "IStorage"),
    ("ZODB.interfaces", "IStorageIteration"),
    ("zope.interface", "Interface"),
];
const INTERFACES_BLOBS: [(&str, &str); 4] = [
    ("ZODB.interfaces", "IBlobStorage"),
    ("ZODB.interfaces", "IStorage"),
    ("ZODB.interfaces", "IStorageIteration"),
    ("zope.interface", "Interface"),
];

/// A base that stays as it is, and the changes to it.
#[derive(Debug)]
pub struct DemoStorage {
    name: String,
    base: Arc<dyn Storage>,
    changes: Arc<dyn Storage>,
    /// The next oid to hand out.
    next_oid: Mutex<u64>,
    /// Where the blobs of changes in memory are; it goes with the storage.
    _scratch: Option<TempDir>,
}

impl DemoStorage {
    /// Puts `changes` before `base`. Without a name it is called after both, as Python does it.
    #[must_use]
    pub fn new(name: Option<&str>, base: Arc<dyn Storage>, changes: Arc<dyn Storage>) -> Self {
        let own_name = || format!("DemoStorage({}, {})", Quoted(base.name()), Quoted(changes.name()));
        let name = name.map_or_else(own_name, str::to_owned);
        let next_oid = Mutex::new(fastrand::u64(1..=FIRST_OID_MAX));
        Self { name, base, changes, next_oid, _scratch: None }
    }

    /// Keeps the changes to `base` in memory, and their blobs in a temporary directory.
    ///
    /// # Errors
    /// [`StorageError::Io`] if that cannot be made.
    pub fn temporary(name: Option<&str>, base: Arc<dyn Storage>) -> Result<Self, StorageError> {
        let scratch = TempDir::with_suffix(".demoblobs");
        let scratch = scratch.map_err(io_error("create a directory in", &std::env::temp_dir()))?;
        let directory = BlobDirectory::open(scratch.path(), BlobDirectoryOptions::default())?;
        let memory = Arc::new(MemoryStorage::new(MemoryStorage::DEFAULT_NAME));
        let changes = Arc::new(BlobStorage::new(memory, directory)?);
        Ok(Self { _scratch: Some(scratch), ..Self::new(name, base, changes) })
    }

    fn voted(
        &self,
        tid: Tid,
        vote: impl FnOnce() -> Result<Box<dyn Voted>, StorageError>,
    ) -> Result<Box<dyn Voted>, StorageError> {
        let last = self.view().last_tid();
        if tid <= last {
            return Err(StorageError::TidNotRising { tid, last });
        }
        Ok(Box::new(DemoVoted { base: self.base.view(), voted: vote()? }))
    }

    fn view_with(&self, changes: Arc<dyn View>) -> DemoView {
        DemoView { base: self.base.view(), changes }
    }
}

/// A text as Python's `repr` shows it, for the names that storages have.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('\'') && !self.0.contains('"') { '"' } else { '\'' };
        write!(f, "{quote}")?;
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '\'' if quote == '\'' => f.write_str("\\'")?,
                character => write!(f, "{character}")?,
            }
        }
        write!(f, "{quote}")
    }
}

impl Storage for DemoStorage {
    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> Features {
        let Features { undo, blobs, history, .. } = self.changes.features();
        let python_class = "DemoStorage";
        Features { undo, blobs, history, iteration: true, python_class, ..Features::default() }
    }

    fn interfaces(&self) -> &'static [(&'static str, &'static str)] {
        let Features { undo, blobs, .. } = self.features();
        match (blobs, undo) {
            (true, true) => &INTERFACES,
            (true, false) => &INTERFACES_BLOBS,
            (false, true) => INTERFACES.split_at(1).1,
            (false, false) => INTERFACES.split_at(2).1,
        }
    }

    fn is_read_only(&self) -> bool {
        self.changes.is_read_only()
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::new(self.view_with(self.changes.view()))
    }

    /// Sequences begin anywhere, so that several demo storages on one base hardly ever use the same oids.
    fn new_oids(&self, count: u32) -> Result<Oid, StorageError> {
        if self.is_read_only() {
            return Err(StorageError::ReadOnly);
        }
        let view = self.view_with(self.changes.view());
        let mut next_oid = self.next_oid.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..OID_ATTEMPTS {
            let first = *next_oid;
            let end = first.saturating_add(u64::from(count));
            if view.are_free(first..end)? {
                *next_oid = end;
                return Ok(Oid::from_u64(first));
            }
            *next_oid = fastrand::u64(1..=FIRST_OID_MAX);
        }
        Err(StorageError::OidsExhausted)
    }

    fn vote(&self, transaction: NewTransaction) -> Result<Box<dyn Voted>, StorageError> {
        self.voted(transaction.tid, || self.changes.vote(transaction))
    }

    fn blobs(&self) -> Option<&Arc<BlobDirectory>> {
        self.changes.blobs()
    }

    fn open_blob(&self, oid: Oid, serial: Tid) -> Result<File, StorageError> {
        match self.changes.open_blob(oid, serial) {
            Err(StorageError::NoBlobFile { .. }) if self.base.blobs().is_some() => {
                self.base.open_blob(oid, serial)
            }
            opened => opened,
        }
    }

    fn vote_with_blobs(
        &self,
        transaction: NewTransaction,
        blobs: Vec<NewBlob>,
    ) -> Result<Box<dyn Voted>, StorageError> {
        self.voted(transaction.tid, || self.changes.vote_with_blobs(transaction, blobs))
    }

    fn has_stopped(&self) -> bool {
        self.changes.has_stopped()
    }

    fn pack(&self, request: PackRequest, host: &dyn PackHost) -> Result<PackOutcome, StorageError> {
        pack::pack(self, request, host)
    }

    fn checkpoint(&self) -> Result<(), StorageError> {
        self.changes.checkpoint()
    }

    fn close(&self) -> Result<(), StorageError> {
        let closed = self.changes.close();
        self.base.close().and(closed)
    }
}

#[derive(Debug)]
struct DemoVoted {
    base: Arc<dyn View>,
    voted: Box<dyn Voted>,
}

impl Voted for DemoVoted {
    fn transaction_len(&self) -> u64 {
        self.voted.transaction_len()
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn View>, StorageError> {
        let Self { base, voted } = *self;
        let changes = voted.finish()?;
        Ok(Arc::new(DemoView { base, changes }))
    }
}

/// The last transaction of a base and its changes.
fn last_tid(base: Tid, changes: Tid) -> Tid {
    if changes == Tid::ZERO { base } else { changes }
}

#[cfg(test)]
mod tests;
