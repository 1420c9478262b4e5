//! What a transaction of this client writes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use crate::error::{ConnectionError, LostCommit};

/// Data of one transaction that is kept for the cache; Python spools it to a temporary file, we let the rest be loaded
/// again.
const KEPT_LEN_MAX: usize = 16 * 1024 * 1024;

/// The objects that a transaction changes, and of what the cache can use, the data.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    objects: HashMap<Oid, Option<Bytes>>,
    kept_len: usize,
    user: Vec<u8>,
    description: Vec<u8>,
    has_undone: bool,
    copied: Option<Tid>,
}

impl Changes {
    /// Of a transaction that says this about itself. It has a tid if it is copied, which may be older than what the client
    /// knows.
    #[must_use]
    pub fn of(user: &[u8], description: &[u8], copied: Option<Tid>) -> Self {
        Self { user: user.to_vec(), description: description.to_vec(), copied, ..Self::default() }
    }

    /// The server may change more objects than it tells.
    pub const fn undo(&mut self) {
        self.has_undone = true;
    }

    /// The object gets this data.
    pub fn store(&mut self, oid: Oid, data: Bytes) {
        let data = (self.kept_len + data.len() <= KEPT_LEN_MAX).then_some(data);
        self.replace(oid, data);
    }

    /// The object changes, and what it becomes is not known here: it is deleted, undone, or resolved by the server.
    pub fn touch(&mut self, oid: Oid) {
        self.replace(oid, None);
    }

    fn replace(&mut self, oid: Oid, data: Option<Bytes>) {
        self.kept_len += data.as_ref().map_or(0, Bytes::len);
        if let Some(Some(before)) = self.objects.insert(oid, data) {
            self.kept_len -= before.len();
        }
    }

    /// The objects, and the data that they get if that is known.
    pub fn iter(&self) -> impl Iterator<Item = (Oid, Option<&Bytes>)> {
        self.objects.iter().map(|(oid, data)| (*oid, data.as_ref()))
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// What is left to look for when the answer to the commit is lost. The smallest data will do.
    pub(crate) fn into_lost(self, last: Option<Tid>, why: Arc<ConnectionError>) -> LostCommit {
        let oids = self.objects.keys().copied().collect();
        let stored = self.objects.into_iter().filter_map(|(oid, data)| Some((oid, data?)));
        let sample = stored.min_by_key(|(_, data)| data.len());
        let Self { user, description, has_undone, copied, .. } = self;
        let since = last.unwrap_or(Tid::ZERO);
        LostCommit { why, since, oids, sample, user, description, has_undone, copied }
    }

    /// Whether the tid may be older than what the client knows.
    #[must_use]
    pub fn is_copy(&self, tid: Tid, last: Option<Tid>) -> bool {
        self.copied.is_some() && last.is_some_and(|last| tid <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_an_object_counts_and_little_is_kept() {
        let mut changes = Changes::default();
        let [first, second] = [Oid::from_u64(1), Oid::from_u64(2)];
        changes.store(first, Bytes::from_static(b"early"));
        changes.store(first, Bytes::from_static(b"late"));
        changes.store(second, Bytes::from(vec![0; KEPT_LEN_MAX]));
        let found: HashMap<Oid, Option<Bytes>> =
            changes.iter().map(|(oid, data)| (oid, data.cloned())).collect();
        assert_eq!(found, HashMap::from([(first, Some(Bytes::from_static(b"late"))), (second, None)]));
        changes.touch(first);
        changes.store(second, Bytes::from(vec![0; KEPT_LEN_MAX]));
        assert_eq!(changes.kept_len, KEPT_LEN_MAX);
    }
}
