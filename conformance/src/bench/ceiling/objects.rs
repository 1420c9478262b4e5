//! The current revision of each object, in memory.

use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use hashbrown::HashMap;
use zeo_codec::{Oid, Tid};

/// Parts of the map, each with a lock of its own: so many that readers hardly ever meet at one.
const PART_COUNT: usize = 256;

/// A revision.
#[derive(Debug, Clone)]
pub(super) struct Revision {
    pub(super) serial: Tid,
    pub(super) data: Bytes,
}

/// All objects.
#[derive(Debug)]
pub(super) struct Objects(Vec<RwLock<HashMap<Oid, Revision>>>);

impl Default for Objects {
    fn default() -> Self {
        Self((0..PART_COUNT).map(|_| RwLock::default()).collect())
    }
}

impl Objects {
    fn part(&self, oid: Oid) -> Option<&RwLock<HashMap<Oid, Revision>>> {
        let number = usize::try_from(oid.to_u64() % PART_COUNT as u64).unwrap_or_default();
        self.0.get(number)
    }

    pub(super) fn get(&self, oid: Oid) -> Option<Revision> {
        self.part(oid)?.read().unwrap_or_else(PoisonError::into_inner).get(&oid).cloned()
    }

    pub(super) fn put(&self, oid: Oid, revision: Revision) {
        if let Some(part) = self.part(oid) {
            part.write().unwrap_or_else(PoisonError::into_inner).insert(oid, revision);
        }
    }
}
