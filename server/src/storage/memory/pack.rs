//! What a pack leaves of a storage in memory (`MappingStorage.py:pack`, ZODB 6.4).
//!
//! All revisions behind the pack time count as roots of what they refer to, not only those at the pack time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use zeo_codec::record::{is_blob, possible_references, references};
use zeo_codec::{Oid, Tid};

use super::super::{PackHost, PackRequest, StorageError};
use super::{Content, REVISION_BYTES, Transaction};

/// The content as it is to be, how many revisions went, and how many records and references were strange.
pub(super) fn pack(
    content: &Content,
    request: PackRequest,
    host: &dyn PackHost,
) -> Result<(Content, u64, u64), StorageError> {
    let mut packed = Content::default();
    for (oid, revisions) in &content.objects {
        let current = revisions.partition_point(|(tid, _)| *tid <= request.until).saturating_sub(1);
        packed.objects.insert(*oid, revisions.get(current..).unwrap_or_default().to_vec());
    }
    let mut strange_count = 0;
    if request.gc.unwrap_or(true) {
        (packed.objects, strange_count) = reachable(packed.objects, host)?;
    }
    let mut removed_count = 0;
    for (tid, transaction) in &content.transactions {
        let mut left = Transaction { oids: Vec::new(), ..transaction.clone() };
        for oid in &transaction.oids {
            if revision(&packed.objects, *oid, *tid).is_some() {
                left.oids.push(*oid);
                continue;
            }
            removed_count += 1;
            left.status = b'p';
            let data = revision(&content.objects, *oid, *tid).and_then(|(_, data)| data.as_ref());
            left.len = left.len.saturating_sub(REVISION_BYTES + data.map_or(0, Bytes::len) as u64);
            if host.wants_removed_blobs() && data.is_some_and(|data| is_blob(data)) {
                host.removed_blob(*oid, *tid)?;
            }
        }
        // One that was always empty stays, as in Python.
        if !left.oids.is_empty() || transaction.oids.is_empty() {
            packed.transactions.insert(*tid, left);
        }
    }
    Ok((packed, removed_count, strange_count))
}

/// The revision of `oid` that the transaction `tid` wrote.
fn revision(objects: &Objects, oid: Oid, tid: Tid) -> Option<&(Tid, Option<Bytes>)> {
    let revisions = objects.get(&oid)?;
    let at = revisions.binary_search_by_key(&tid, |(tid, _)| *tid).ok()?;
    revisions.get(at)
}

type Objects = BTreeMap<Oid, Vec<(Tid, Option<Bytes>)>>;

/// Of `objects`, those that can be reached from the root, and the number of strange records and references.
fn reachable(mut objects: Objects, host: &dyn PackHost) -> Result<(Objects, u64), StorageError> {
    let mut reached = Objects::new();
    let mut waiting = BTreeSet::from([Oid::ZERO]);
    let mut strange_count = 0;
    while let Some(oid) = waiting.pop_first() {
        if host.is_cancelled() {
            return Err(StorageError::Cancelled);
        }
        let Some(revisions) = objects.remove(&oid) else {
            if oid == Oid::ZERO {
                return Err(StorageError::NoRoot(oid));
            }
            strange_count += 1;
            tracing::warn!(target: "ZODB.MappingStorage", "pack: reference to {oid}, which does not exist");
            continue;
        };
        for (tid, data) in &revisions {
            let mut found = Vec::new();
            if let Some(data) = data
                && let Err(error) = references(data, &mut found)
            {
                strange_count += 1;
                tracing::warn!(target: "ZODB.MappingStorage", %oid, %tid, "pack: kept a strange record: {error}");
                possible_references(data, |oid| found.extend(objects.contains_key(&oid).then_some(oid)));
            }
            waiting.extend(found.into_iter().filter(|found| *found != oid && !reached.contains_key(found)));
        }
        reached.insert(oid, revisions);
    }
    Ok((reached, strange_count))
}

#[cfg(test)]
mod tests {
    use super::super::MemoryStorage;
    use super::*;
    use crate::storage::{NewRecord, NewTransaction, PackOutcome, Storage, Unattended};

    fn commit(storage: &MemoryStorage, tid: u64, records: &[(u64, &[u8])]) {
        let records = records
            .iter()
            .map(|(oid, data)| NewRecord::with_data(Oid::from_u64(*oid), Bytes::copy_from_slice(data)));
        let transaction = NewTransaction {
            tid: Tid::from_u64(tid),
            status: b' ',
            user: Bytes::new(),
            description: Bytes::new(),
            extension: Bytes::new(),
            records: records.collect(),
        };
        storage.vote(transaction).unwrap().finish().unwrap();
    }

    /// As MappingStorage of ZODB 6.4 does with the same: revisions up to the pack time but the last one go, then
    /// what no remaining revision refers to; a later pack to an earlier time is a `ValueError`.
    #[test]
    fn packs_as_mapping_storage_does() {
        let storage = MemoryStorage::new("test");
        let pack = |until, gc| storage.pack(PackRequest { until: Tid::from_u64(until), gc }, &Unattended);
        assert_eq!(pack(5, None).unwrap(), PackOutcome::Empty);
        commit(&storage, 10, &[(0, b"N.C\x08\0\0\0\0\0\0\0\x01Q."), (1, b"N.N."), (2, b"N.N.")]);
        commit(&storage, 20, &[(0, b"N.N.")]);
        commit(&storage, 22, &[]);
        commit(&storage, 30, &[(0, b"N.N.")]);
        let before = storage.view();
        let exists = |oid| storage.view().current(Oid::from_u64(oid)).unwrap().is_some();
        let PackOutcome::Packed(report) = pack(25, Some(false)).unwrap() else { panic!() };
        assert_eq!((report.removed_count, report.new_len), (1, before.size_bytes() - 114));
        assert!(exists(1) && exists(2));
        assert!(matches!(pack(24, None), Err(StorageError::PackedToLaterTime)));
        assert_eq!(pack(25, None).unwrap(), PackOutcome::Redundant);
        let PackOutcome::Packed(report) = pack(26, None).unwrap() else { panic!() };
        assert_eq!(report.removed_count, 2);
        assert!(exists(0) && !exists(1) && !exists(2));
        assert_eq!(storage.view().last_changes(9).unwrap().len(), 3, "the empty one stays");
        // Whoever reads in an older view finds what was there.
        assert!(before.current(Oid::from_u64(1)).unwrap().is_some());
        commit(&storage, 40, &[(0, b"N.N.")]);
    }
}
