//! What a pack leaves of a storage in memory (`MappingStorage.py:pack`, ZODB 6.4).
//!
//! All revisions behind the pack time count as roots of what they refer to, not only those at the pack time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use zeo_codec::record::{is_blob, possible_references, references};
use zeo_codec::{Oid, Tid};

use super::super::{PackHost, PackRequest, StorageError};
use super::Content;

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
    for (oid, revisions) in &content.objects {
        let kept = packed.objects.get(oid);
        for (tid, data) in revisions {
            if kept.is_some_and(|kept| kept.iter().any(|(kept_tid, _)| kept_tid == tid)) {
                packed.transactions.entry(*tid).or_default().push(*oid);
                continue;
            }
            removed_count += 1;
            if host.wants_removed_blobs() && data.as_ref().is_some_and(|data| is_blob(data)) {
                host.removed_blob(*oid, *tid)?;
            }
        }
    }
    Ok((packed, removed_count, strange_count))
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
