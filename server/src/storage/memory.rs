//! A storage in memory: what Python's `MappingStorage` means, for tests and scratch databases.
//!
//! A view is a bound on tids over the shared content, which only grows; the content's lock is held for single steps
//! in memory. A pack makes a new content, while commits are stopped throughout: it takes as long as reading all
//! records. Older views keep the old one. Source: `ZODB/MappingStorage.py`, ZODB
//! 6.4. Unlike there, deletions can be stored, and oids are handed out above those stored.

mod pack;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use arc_swap::ArcSwap;
use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use super::past::{CurrentObject, PastRecord, PastRevision, PastTransaction, UndoError};
use super::{
    Current, DataSink, Features, HistoryShape, Metadata, NewRecord, NewTransaction, PackHost, PackOutcome,
    PackReport, PackRequest, Pending, RecordData, Storage, StorageError, View, Voted,
};

/// `zope.interface.providedBy(MappingStorage()).__iro__`, ZODB 6.4.
const INTERFACES: [(&str, &str); 3] = [
    ("ZODB.interfaces", "IStorage"),
    ("ZODB.interfaces", "IStorageIteration"),
    ("zope.interface", "Interface"),
];

/// What `MappingStorage.getSize` counts for an object and for a revision beside its data.
const OBJECT_BYTES: u64 = 50;
const REVISION_BYTES: u64 = 100;

/// A storage in memory.
#[derive(Debug)]
pub struct MemoryStorage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    view: ArcSwap<MemoryView>,
    writer: Mutex<Writer>,
}

#[derive(Debug, Default)]
struct Content {
    /// Revisions of each object by rising tid; `None` says that the object was deleted.
    objects: BTreeMap<Oid, Vec<(Tid, Option<Bytes>)>>,
    transactions: BTreeMap<Tid, Transaction>,
}

/// A committed transaction.
#[derive(Debug, Clone)]
struct Transaction {
    status: u8,
    user: Bytes,
    description: Bytes,
    extension: Bytes,
    /// Its objects, once each, in the order of their first records.
    oids: Vec<Oid>,
    /// As [`Voted::transaction_len`] counts.
    len: u64,
}

#[derive(Debug, Default)]
struct Writer {
    last_oid: u64,
    last_pack: Option<Tid>,
    is_closed: bool,
}

impl MemoryStorage {
    /// What Python calls a storage to which nobody gives a name.
    pub const DEFAULT_NAME: &'static str = "MappingStorage";

    /// An empty storage.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let content = Arc::default();
        let view = MemoryView { content, last_tid: Tid::ZERO, object_count: 0, size_bytes: 0 };
        let shared =
            Shared { name: name.to_owned(), view: ArcSwap::from_pointee(view), writer: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }
}

impl Storage for MemoryStorage {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn features(&self) -> Features {
        let python_class = "MappingStorage";
        Features { iteration: true, history: HistoryShape::Apart, python_class, ..Features::default() }
    }

    fn interfaces(&self) -> &'static [(&'static str, &'static str)] {
        &INTERFACES
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn view(&self) -> Arc<dyn View> {
        self.shared.view.load_full()
    }

    fn new_oids(&self, count: u32) -> Result<Oid, StorageError> {
        let mut writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let first = writer.last_oid.checked_add(1).ok_or(StorageError::OidsExhausted)?;
        writer.last_oid = writer.last_oid.checked_add(u64::from(count)).ok_or(StorageError::OidsExhausted)?;
        Ok(Oid::from_u64(first))
    }

    fn vote(&self, transaction: NewTransaction) -> Result<Box<dyn Voted>, StorageError> {
        let mut writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_closed {
            return Err(StorageError::Closed);
        }
        let after = self.shared.view.load().last_tid;
        if transaction.tid <= after {
            return Err(StorageError::TidNotRising { tid: transaction.tid, last: after });
        }
        check(&transaction)?;
        if let Some(oid) = transaction.records.iter().map(|record| record.oid.to_u64()).max() {
            writer.last_oid = writer.last_oid.max(oid);
        }
        Ok(Box::new(MemoryVoted { shared: self.shared.clone(), transaction, after }))
    }

    fn pack(&self, request: PackRequest, host: &dyn PackHost) -> Result<PackOutcome, StorageError> {
        let Some(_stopped) = host.stop_commits() else { return Err(StorageError::Cancelled) };
        let mut writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_closed {
            return Err(StorageError::Closed);
        }
        let before = self.shared.view.load_full();
        if before.object_count == 0 {
            return Ok(PackOutcome::Empty);
        }
        match writer.last_pack {
            Some(last) if last == request.until => return Ok(PackOutcome::Redundant),
            Some(last) if last > request.until => return Err(StorageError::PackedToLaterTime),
            Some(_) | None => {}
        }
        let (content, removed_count, strange_count) = pack::pack(&before.content(), request, host)?;
        writer.last_pack = Some(request.until);
        let view = Arc::new(MemoryView::measured(content, before.last_tid));
        self.shared.view.store(view.clone());
        host.packed(view.clone());
        Ok(PackOutcome::Packed(PackReport {
            old_len: before.size_bytes,
            new_len: view.size_bytes,
            removed_count,
            strange_count,
            ..PackReport::default()
        }))
    }

    fn close(&self) -> Result<(), StorageError> {
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        Ok(())
    }
}

/// The limits of a file storage hold here too, so that data can always move there.
fn check(transaction: &NewTransaction) -> Result<(), StorageError> {
    let metadata = [
        (Metadata::User, &transaction.user),
        (Metadata::Description, &transaction.description),
        (Metadata::Extension, &transaction.extension),
    ];
    if let Some((which, _)) = metadata.iter().find(|(_, bytes)| bytes.len() > usize::from(u16::MAX)) {
        return Err(StorageError::MetadataTooLong(*which));
    }
    match transaction.records.iter().find(|record| record.data.new_data().is_some_and(Bytes::is_empty)) {
        Some(record) => Err(StorageError::EmptyRecord(record.oid)),
        None => Ok(()),
    }
}

#[derive(Debug)]
struct MemoryVoted {
    shared: Arc<Shared>,
    transaction: NewTransaction,
    /// The last transaction at the time of the vote.
    after: Tid,
}

impl Voted for MemoryVoted {
    fn transaction_len(&self) -> u64 {
        let data_len = |record: &NewRecord| record.data.new_data().map_or(0, Bytes::len) as u64;
        self.transaction.records.iter().map(|record| REVISION_BYTES + data_len(record)).sum()
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn View>, StorageError> {
        let len = self.transaction_len();
        let Self { shared, transaction, after } = *self;
        let writer = shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_closed {
            return Err(StorageError::Closed);
        }
        let before = shared.view.load_full();
        if before.last_tid != after {
            return Err(StorageError::VoteOutdated);
        }
        let mut view = MemoryView { last_tid: transaction.tid, ..MemoryView::clone(&before) };
        let mut content = before.content.write().unwrap_or_else(PoisonError::into_inner);
        // The last record of an object counts, in the place of its first, as in Python's dict.
        let mut data_of = HashMap::new();
        let mut oids = Vec::new();
        for NewRecord { oid, data, .. } in transaction.records {
            if data_of.insert(oid, data.new_data().cloned()).is_none() {
                oids.push(oid);
            }
        }
        let NewTransaction { tid, status, user, description, extension, .. } = transaction;
        content.transactions.insert(tid, Transaction { status, user, description, extension, oids, len });
        for (oid, data) in data_of {
            let revisions = content.objects.entry(oid).or_default();
            if revisions.is_empty() {
                view.object_count += 1;
                view.size_bytes += OBJECT_BYTES;
            }
            view.size_bytes += REVISION_BYTES + data.as_ref().map_or(0, Bytes::len) as u64;
            revisions.push((tid, data));
        }
        drop(content);
        let view = Arc::new(view);
        shared.view.store(view.clone());
        Ok(view)
    }
}

/// The content up to a transaction.
#[derive(Debug, Clone)]
struct MemoryView {
    content: Arc<RwLock<Content>>,
    last_tid: Tid,
    object_count: u64,
    size_bytes: u64,
}

impl MemoryView {
    /// A view of all of `content`.
    fn measured(content: Content, last_tid: Tid) -> Self {
        let data_len = |(_, data): &(Tid, Option<Bytes>)| data.as_ref().map_or(0, Bytes::len) as u64;
        let revisions = content.objects.values().flatten();
        let size_bytes = content.objects.len() as u64 * OBJECT_BYTES
            + revisions.map(|revision| REVISION_BYTES + data_len(revision)).sum::<u64>();
        let object_count = content.objects.len() as u64;
        Self { content: Arc::new(RwLock::new(content)), last_tid, object_count, size_bytes }
    }

    fn content(&self) -> RwLockReadGuard<'_, Content> {
        // The writer only adds; whatever it has added is above our last tid until it is complete.
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revisions of `oid` in this view by rising tid, none if it is unknown.
    fn revisions<'c>(&self, content: &'c Content, oid: Oid) -> &'c [(Tid, Option<Bytes>)] {
        let all = content.objects.get(&oid).map(Vec::as_slice).unwrap_or_default();
        all.get(..all.partition_point(|(tid, _)| *tid <= self.last_tid)).unwrap_or_default()
    }
}

fn past((tid, transaction): (&Tid, &Transaction)) -> PastTransaction {
    PastTransaction {
        tid: *tid,
        status: transaction.status,
        user: transaction.user.clone(),
        description: transaction.description.clone(),
        extension: transaction.extension.clone(),
        len: transaction.len,
        place: tid.to_u64(),
        next_place: tid.to_u64().saturating_add(1),
        records_place: 0,
    }
}

/// Copies `data` to `sink`.
fn deliver(
    oid: Oid,
    (serial, data): &(Tid, Option<Bytes>),
    end: Option<Tid>,
    sink: &mut dyn DataSink,
) -> Result<(), StorageError> {
    let data = data.as_ref().ok_or(StorageError::NoSuchObject(oid))?;
    sink.accept(*serial, end, data.len()).copy_from_slice(data);
    Ok(())
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
        let content = self.content();
        let revisions = self.revisions(&content, oid);
        if revisions.is_empty() {
            return Err(StorageError::NoSuchObject(oid));
        }
        let later = revisions.partition_point(|(tid, _)| *tid < before);
        let Some(revision) = later.checked_sub(1).and_then(|at| revisions.get(at)) else { return Ok(false) };
        deliver(oid, revision, revisions.get(later).map(|(tid, _)| *tid), sink).map(|()| true)
    }

    fn load_serial(&self, oid: Oid, serial: Tid, sink: &mut dyn DataSink) -> Result<(), StorageError> {
        let content = self.content();
        let revisions = self.revisions(&content, oid);
        let found = revisions.binary_search_by_key(&serial, |(tid, _)| *tid).ok();
        let revision = found.and_then(|at| revisions.get(at));
        let revision = revision.ok_or(StorageError::NoSuchRevision(oid, serial))?;
        deliver(oid, revision, None, sink)
    }

    fn current(&self, oid: Oid) -> Result<Option<Current>, StorageError> {
        let content = self.content();
        let newest = self.revisions(&content, oid).last();
        Ok(newest.map(|(serial, data)| Current { serial: *serial, is_deleted: data.is_none() }))
    }

    fn last_changes(&self, count: usize) -> Result<Vec<(Tid, Vec<Oid>)>, StorageError> {
        let content = self.content();
        let newest_first = content.transactions.range(..=self.last_tid).rev().take(count);
        let mut changes: Vec<_> = newest_first
            .map(|(tid, transaction)| (*tid, transaction.oids.iter().copied().collect::<BTreeSet<_>>()))
            .map(|(tid, oids)| (tid, oids.into_iter().collect()))
            .collect();
        changes.reverse();
        Ok(changes)
    }

    // A place is a tid, or the index of a record.

    fn place_of(&self, start: Option<Tid>) -> Result<u64, StorageError> {
        Ok(start.unwrap_or(Tid::ZERO).to_u64())
    }

    fn end_place(&self) -> u64 {
        self.last_tid.to_u64().saturating_add(1)
    }

    fn transaction_from(&self, place: u64) -> Result<Option<PastTransaction>, StorageError> {
        let place = Tid::from_u64(place);
        if place > self.last_tid {
            return Ok(None);
        }
        Ok(self.content().transactions.range(place..=self.last_tid).next().map(past))
    }

    fn transaction_before(&self, place: u64) -> Result<Option<PastTransaction>, StorageError> {
        let end = Tid::from_u64(place.min(self.end_place()));
        Ok(self.content().transactions.range(..end).next_back().map(past))
    }

    fn record_from(
        &self,
        transaction: &PastTransaction,
        place: u64,
    ) -> Result<Option<PastRecord>, StorageError> {
        let content = self.content();
        let tid = transaction.tid;
        let index = usize::try_from(place).ok();
        let oids = content.transactions.get(&tid).map(|past| &past.oids);
        let Some(oid) = oids.zip(index).and_then(|(oids, index)| oids.get(index)).copied() else {
            return Ok(None);
        };
        let revisions = self.revisions(&content, oid);
        let found = revisions.binary_search_by_key(&tid, |(tid, _)| *tid).ok();
        let data = found.and_then(|at| revisions.get(at)).and_then(|(_, data)| data.clone());
        Ok(Some(PastRecord { oid, tid, data, data_tid: None, next_place: place.saturating_add(1) }))
    }

    fn history(
        &self,
        oid: Oid,
        visit: &mut dyn FnMut(PastRevision) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let content = self.content();
        let revisions = self.revisions(&content, oid);
        if revisions.is_empty() {
            return Err(StorageError::NoSuchObject(oid));
        }
        for (tid, data) in revisions.iter().rev() {
            let Some(transaction) = content.transactions.get(tid) else { continue };
            let Transaction { user, description, extension, .. } = transaction;
            let revision = PastRevision {
                tid: *tid,
                user: user.clone(),
                description: description.clone(),
                extension: extension.clone(),
                data_len: data.as_ref().map_or(0, Bytes::len) as u64,
                shape: HistoryShape::Apart,
                layer: 0,
            };
            if visit(revision).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn object_from(&self, start: Oid) -> Result<Option<CurrentObject>, StorageError> {
        let content = self.content();
        let oids = content.objects.range(start..).map(|(oid, _)| *oid);
        let mut oids = oids.filter(|oid| !self.revisions(&content, *oid).is_empty());
        Ok(oids.next().map(|oid| CurrentObject { oid, next: oids.next() }))
    }

    /// There is no undo here; nothing is known that could be.
    fn undo(&self, _: Tid, _: &mut Pending) -> Result<Vec<NewRecord>, UndoError> {
        Err(UndoError::NoSuchTransaction)
    }

    fn restored(&self, _: Oid, data: Option<Bytes>, _: Option<Tid>) -> Result<RecordData, StorageError> {
        Ok(data.map_or(RecordData::Deleted, RecordData::Data))
    }
}
