//! A storage state without objects, for tests of the engine's parts.

use std::ops::ControlFlow;

use bytes::Bytes;
use zeo_codec::{Oid, Tid};

use crate::storage::past::{CurrentObject, PastRecord, PastRevision, PastTransaction, UndoError};
use crate::storage::{Current, DataSink, NewRecord, Pending, RecordData, StorageError, View};

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

    fn place_of(&self, _: Option<Tid>) -> Result<u64, StorageError> {
        Ok(0)
    }

    fn end_place(&self) -> u64 {
        0
    }

    fn transaction_from(&self, _: u64) -> Result<Option<PastTransaction>, StorageError> {
        Ok(None)
    }

    fn transaction_before(&self, _: u64) -> Result<Option<PastTransaction>, StorageError> {
        Ok(None)
    }

    fn record_from(&self, _: &PastTransaction, _: u64) -> Result<Option<PastRecord>, StorageError> {
        Ok(None)
    }

    fn history(
        &self,
        oid: Oid,
        _: &mut dyn FnMut(PastRevision) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        Err(StorageError::NoSuchObject(oid))
    }

    fn object_from(&self, _: Oid) -> Result<Option<CurrentObject>, StorageError> {
        Ok(None)
    }

    fn undo(&self, _: Tid, _: &mut Pending) -> Result<Vec<NewRecord>, UndoError> {
        Err(UndoError::NoSuchTransaction)
    }

    fn restored(&self, _: Oid, data: Option<Bytes>, _: Option<Tid>) -> Result<RecordData, StorageError> {
        Ok(data.map_or(RecordData::Deleted, RecordData::Data))
    }
}
