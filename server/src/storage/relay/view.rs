//! Reading as of a transaction.
//!
//! The server behind knows what came later, and says so; a view does not. So it asks for what was before the end of its
//! time, and forgets ends beyond it: its reader is told of these by what is announced (rule S1).

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use zeo_client::Revision;
use zeo_codec::{Oid, Tid};

use super::Link;
use crate::storage::past::{CurrentObject, PastRecord, PastRevision, PastTransaction, UndoError};
use crate::storage::{Current, DataSink, NewRecord, Pending, RecordData, StorageError, View};

/// The state as of a transaction.
#[derive(Debug)]
pub(super) struct RelayView {
    link: Arc<Link>,
    last_tid: Tid,
    object_count: u64,
    size_bytes: u64,
}

impl RelayView {
    pub(super) fn of(link: &Arc<Link>, last_tid: Tid) -> Arc<dyn View> {
        let info = link.client.server_info();
        let (object_count, size_bytes) = (info.object_count, info.size_len);
        Arc::new(Self { link: Arc::clone(link), last_tid, object_count, size_bytes })
    }

    /// The newest revision older than `before` and not younger than this view.
    fn load(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        let horizon = Tid::from_u64(self.last_tid.to_u64().saturating_add(1));
        let (client, before) = (self.link.client.clone(), before.min(horizon));
        let loaded = self.link.wait(async move { client.load_before(oid, before).await });
        loaded.map_err(|error| missing(error, oid))
    }
}

/// The error of an object that is not there, as of any storage.
fn missing(error: StorageError, oid: Oid) -> StorageError {
    match error {
        StorageError::Remote(error) if error.is_no_such_object() => StorageError::NoSuchObject(oid),
        error => error,
    }
}

fn fill(sink: &mut dyn DataSink, serial: Tid, end: Option<Tid>, data: &[u8]) {
    sink.accept(serial, end, data.len()).copy_from_slice(data);
}

impl View for RelayView {
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
        let Some(Revision { data, serial, end }) = self.load(oid, before)? else { return Ok(false) };
        fill(sink, serial, end.filter(|end| *end <= self.last_tid), &data);
        Ok(true)
    }

    fn load_serial(&self, oid: Oid, serial: Tid, sink: &mut dyn DataSink) -> Result<(), StorageError> {
        if serial > self.last_tid {
            return Err(StorageError::NoSuchObject(oid));
        }
        let client = self.link.client.clone();
        let data = self.link.wait(async move { client.load_serial(oid, serial).await });
        fill(sink, serial, None, &data.map_err(|error| missing(error, oid))?);
        Ok(())
    }

    fn current(&self, oid: Oid) -> Result<Option<Current>, StorageError> {
        match self.load(oid, Tid::MAX) {
            Ok(found) => Ok(found.map(|revision| Current { serial: revision.serial, is_deleted: false })),
            Err(StorageError::NoSuchObject(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the server behind has committed before is not asked for: clients that come back from before the start of
    /// this one drop their caches (Python's does the same: StorageServer.py:_setup_invq, ZEO 6.2).
    fn last_changes(&self, _: usize) -> Result<Vec<(Tid, Vec<Oid>)>, StorageError> {
        Ok(vec![(self.last_tid, Vec::new())])
    }

    // Looking back is passed on by the engine, so that nothing asks a view for it.

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
        Err(UndoError::NotUndoable)
    }

    fn restored(&self, _: Oid, data: Option<Bytes>, _: Option<Tid>) -> Result<RecordData, StorageError> {
        Ok(data.map_or(RecordData::Deleted, RecordData::Data))
    }
}
