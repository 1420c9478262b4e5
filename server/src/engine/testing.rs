//! A storage state without objects, for tests of the engine's parts.

use zeo_codec::{Oid, Tid};

use crate::storage::{Current, DataSink, StorageError, View};

/// Nothing but a last tid.
#[derive(Debug)]
pub(crate) struct StillView(pub(crate) Tid);

impl View for StillView {
    fn last_tid(&self) -> Tid {
        self.0
    }

    fn object_count(&self) -> u64 {
        0
    }

    fn size_bytes(&self) -> u64 {
        0
    }

    fn load_before(&self, oid: Oid, _: Tid, _: &mut dyn DataSink) -> Result<bool, StorageError> {
        Err(StorageError::NoSuchObject(oid))
    }

    fn load_serial(&self, oid: Oid, _: Tid, _: &mut dyn DataSink) -> Result<(), StorageError> {
        Err(StorageError::NoSuchObject(oid))
    }

    fn current(&self, _: Oid) -> Result<Option<Current>, StorageError> {
        Ok(None)
    }

    fn last_changes(&self, _: usize) -> Result<Vec<(Tid, Vec<Oid>)>, StorageError> {
        Ok(Vec::new())
    }
}
