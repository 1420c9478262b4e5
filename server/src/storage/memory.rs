//! A storage in memory, with all revisions: the meaning of Python's `MappingStorage` (ZODB 6.4).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use super::{
    Current, DataSink, Features, NewTransaction, Storage, StorageError, View, Voted, check_transaction,
};

/// An object's revisions, oldest first; `None` where it was deleted.
type Revisions = Vec<(Tid, Option<Bytes>)>;

/// The storage.
#[derive(Debug)]
pub struct MemoryStorage {
    name: String,
    objects: Arc<RwLock<BTreeMap<Oid, Revisions>>>,
    view: ArcSwap<MemoryView>,
    last_oid: AtomicU64,
}

/// Everything up to one transaction.
#[derive(Debug)]
struct MemoryView {
    objects: Arc<RwLock<BTreeMap<Oid, Revisions>>>,
    last_tid: Tid,
    object_count: u64,
    size_bytes: u64,
}

/// What Python's `getSize` counts for an object and for a revision, beyond the data.
const OBJECT_SIZE: u64 = 50;
const REVISION_SIZE: u64 = 100;

impl MemoryStorage {
    /// An empty storage.
    #[must_use]
    pub fn new(name: &str) -> Arc<Self> {
        let objects = Arc::default();
        let view =
            MemoryView { objects: Arc::clone(&objects), last_tid: Tid::ZERO, object_count: 0, size_bytes: 0 };
        Arc::new(Self {
            name: name.to_owned(),
            objects,
            view: ArcSwap::from_pointee(view),
            last_oid: AtomicU64::new(0),
        })
    }

    fn append(&self, transaction: NewTransaction) -> Arc<dyn View> {
        let before = self.view.load();
        let (mut object_count, mut size_bytes) = (before.object_count, before.size_bytes);
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        for record in transaction.records {
            self.last_oid.fetch_max(record.oid.to_u64(), Ordering::Relaxed);
            let revisions = objects.entry(record.oid).or_insert_with(|| {
                object_count += 1;
                size_bytes += OBJECT_SIZE;
                Revisions::new()
            });
            if revisions.last().is_some_and(|(tid, _)| *tid == transaction.tid) {
                revisions.pop();
            }
            size_bytes += REVISION_SIZE + record.data.as_ref().map_or(0, |data| data.len() as u64);
            // A copy of its own: the data must not keep a whole read buffer alive.
            let data = record.data.map(|data| Bytes::copy_from_slice(&data));
            revisions.push((transaction.tid, data));
        }
        drop(objects);
        let objects = Arc::clone(&self.objects);
        let view = Arc::new(MemoryView { objects, last_tid: transaction.tid, object_count, size_bytes });
        self.view.store(Arc::clone(&view));
        view
    }
}

impl MemoryView {
    /// Shows the revisions of `oid` that this view knows.
    fn revisions<T>(&self, oid: Oid, show: impl FnOnce(&[(Tid, Option<Bytes>)]) -> T) -> Option<T> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let revisions = objects.get(&oid)?;
        let known = revisions.partition_point(|(tid, _)| *tid <= self.last_tid);
        let known = revisions.get(..known).filter(|known| !known.is_empty())?;
        Some(show(known))
    }
}

impl View for MemoryView {
    fn last_tid(&self) -> Tid {
        self.last_tid
    }

    fn object_count(&self) -> u64 {
        self.object_count
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn load_before(&self, oid: Oid, before: Tid, sink: &mut dyn DataSink) -> Result<bool, StorageError> {
        let loaded = self.revisions(oid, |revisions| {
            let older = revisions.partition_point(|(tid, _)| *tid < before);
            let end = revisions.get(older).map(|(tid, _)| *tid);
            match older.checked_sub(1).and_then(|newest| revisions.get(newest)) {
                None => Ok(false),
                Some((_, None)) => Err(StorageError::NoSuchObject(oid)),
                Some((serial, Some(data))) => {
                    sink.accept(*serial, end, data.len()).copy_from_slice(data);
                    Ok(true)
                }
            }
        });
        loaded.unwrap_or(Err(StorageError::NoSuchObject(oid)))
    }

    fn load_serial(&self, oid: Oid, serial: Tid, sink: &mut dyn DataSink) -> Result<(), StorageError> {
        let loaded = self.revisions(oid, |revisions| {
            let (_, data) = revisions.iter().find(|(tid, _)| *tid == serial)?;
            let data = data.as_ref()?;
            sink.accept(serial, None, data.len()).copy_from_slice(data);
            Some(())
        });
        loaded.flatten().ok_or(StorageError::NoSuchObject(oid))
    }

    fn current(&self, oid: Oid) -> Result<Option<Current>, StorageError> {
        let newest = self.revisions(oid, |revisions| {
            revisions.last().map(|(serial, data)| Current { serial: *serial, is_deleted: data.is_none() })
        });
        Ok(newest.flatten())
    }

    fn last_changes(&self, _: usize) -> Result<Vec<(Tid, Vec<Oid>)>, StorageError> {
        // Python's MappingStorage has no lastInvalidations; the server then knows the last tid only.
        Ok(vec![(self.last_tid, Vec::new())])
    }
}

impl Storage for Arc<MemoryStorage> {
    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> Features {
        Features { iteration: true, ..Features::default() }
    }

    fn interfaces(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("ZODB.interfaces", "IStorage"),
            ("ZODB.interfaces", "IStorageIteration"),
            ("zope.interface", "Interface"),
        ]
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn view(&self) -> Arc<dyn View> {
        self.view.load_full()
    }

    fn new_oids(&self, count: u32) -> Result<Oid, StorageError> {
        let taken = self.last_oid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            last.checked_add(u64::from(count)).filter(|last| *last < u64::MAX)
        });
        taken.map(|last| Oid::from_u64(last + 1)).map_err(|_| StorageError::OidsExhausted)
    }

    fn vote(&self, transaction: NewTransaction) -> Result<Box<dyn Voted>, StorageError> {
        check_transaction(&transaction, self.view.load().last_tid)?;
        Ok(Box::new(MemoryVoted { storage: Self::clone(self), transaction }))
    }

    fn close(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryVoted {
    storage: Arc<MemoryStorage>,
    transaction: NewTransaction,
}

impl Voted for MemoryVoted {
    fn transaction_len(&self) -> u64 {
        self.transaction
            .records
            .iter()
            .map(|record| record.data.as_ref().map_or(0, |data| data.len() as u64))
            .sum()
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn View>, StorageError> {
        Ok(self.storage.append(self.transaction))
    }
}
