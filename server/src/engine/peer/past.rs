//! Calls that look into the past: `history`, `undoLog`, `undoInfo`, the iterators, and `record_iternext`.

use std::sync::Arc;

use zeo_codec::call::{
    CurrentRecord, History, IteratorGc, IteratorNext, IteratorRecordStart, IteratorStart, RecordIternext,
    UndoInfo,
};
use zeo_codec::{Method, MsgId, Oid, Reply, Tid, Value};

use super::{Answer, Peer};
use crate::engine::error::CallError;
use crate::engine::history;
use crate::engine::past;
use crate::engine::python2;
use crate::engine::undo_filter::Filter;
use crate::storage::past::CurrentObject;
use crate::storage::{HistoryShape, LoadedRevision};

impl Peer {
    pub(super) fn history(
        &mut self,
        args: History<'_>,
        reply_to: Option<&MsgId<'_>>,
    ) -> Result<Answer, CallError> {
        let attached = self.attached()?;
        let shape = attached.served.storage.features().history;
        let view = attached.cursor.shared_view();
        let oid = match args.oid.as_bytes() {
            Some(bytes) => {
                Oid::from_slice(bytes).ok_or_else(|| CallError::NoSuchKey(args.oid.clone().into_owned()))?
            }
            // MappingStorage looks for whatever it is among its keys (`MappingStorage.py:history`, ZODB 6.4).
            None if shape == HistoryShape::Apart => return Err(CallError::NoSuchKey(args.oid.into_owned())),
            None => return Err(CallError::NoBytes),
        };
        let size = args.size.unwrap_or(Value::Int(1)).into_owned();
        let bytes_max = self.engine.options.answer_bytes;
        Ok(self.ask(Method::History, reply_to, move || {
            history::history(&*view, oid, &size, bytes_max).map(Reply::Value)
        }))
    }

    /// `undoLog`, and `undoInfo` with its specification.
    pub(super) fn undo_log(
        &mut self,
        method: Method,
        args: UndoInfo<'_>,
        reply_to: Option<&MsgId<'_>>,
    ) -> Result<Answer, CallError> {
        let attached = self.attached()?;
        if !attached.served.storage.features().undo {
            return Ok(Answer::Reply(Reply::Value(Value::Tuple(Vec::new()))));
        }
        let view = attached.cursor.shared_view();
        let UndoInfo { first, last, specification } = args;
        let specification = specification.into_owned();
        let bytes_max = self.engine.options.answer_bytes;
        let is_python2 = python2::is_python2(&self.dialect);
        Ok(self.ask(method, reply_to, move || {
            let filter = Filter::new(&specification, is_python2)?;
            past::undo_log(&*view, first, last, &filter, bytes_max).map(Reply::Value)
        }))
    }

    pub(super) fn iterator_start(
        &mut self,
        args: IteratorStart,
        reply_to: Option<&MsgId<'_>>,
    ) -> Result<Answer, CallError> {
        let view = self.attached()?.cursor.shared_view();
        let IteratorStart { start: Some(start), stop } = args else {
            let place = view.place_of(None)?;
            return Ok(Answer::Reply(Reply::IteratorId(self.iterators.start(view, place, args.stop)?)));
        };
        // Looking for the start may read half of the file.
        let (id, found) = self.iterators.start_later(Arc::clone(&view), stop)?;
        Ok(self.ask(Method::IteratorStart, reply_to, move || {
            let place = view.place_of(Some(start));
            // Nobody else sets it.
            let _set = found.set(place.as_ref().ok().copied());
            place.map(|_| Reply::IteratorId(id)).map_err(CallError::from)
        }))
    }

    pub(super) fn iterator_next(&mut self, args: IteratorNext) -> Result<Reply<'static>, CallError> {
        Ok(self.iterators.next_transaction(args.id)?.map_or(Reply::None, Reply::Transaction))
    }

    pub(super) fn iterator_record_start(
        &mut self,
        args: IteratorRecordStart,
    ) -> Result<Reply<'static>, CallError> {
        self.iterators.start_records(args.id, args.tid).map(Reply::IteratorId)
    }

    pub(super) fn iterator_record_next(&mut self, args: IteratorNext) -> Result<Reply<'static>, CallError> {
        Ok(self.iterators.next_record(args.id)?.map_or(Reply::None, Reply::Record))
    }

    pub(super) fn iterator_gc(&mut self, args: &IteratorGc) -> Reply<'static> {
        self.iterators.forget(&args.ids);
        Reply::None
    }

    /// The first current record at or above an oid. Of an object that has been deleted there is none: an error, as in
    /// Python, though others follow.
    pub(super) fn record_iternext(&self, args: RecordIternext) -> Result<Reply<'static>, CallError> {
        let attached = self.attached()?;
        if !attached.served.storage.features().record_iteration {
            let type_name = "ZEOStorage".to_owned();
            return Err(CallError::NoAttribute { type_name, attribute: "record_iternext" });
        }
        let view = attached.cursor.view();
        let Some(CurrentObject { oid, next }) = view.object_from(args.start.unwrap_or(Oid::ZERO))? else {
            return Err(CallError::NoKey { is_empty: view.object_count() == 0 });
        };
        let mut loaded = LoadedRevision::default();
        view.load_before(oid, Tid::MAX, &mut loaded)?;
        let LoadedRevision { data, serial, .. } = loaded;
        Ok(Reply::CurrentRecord(CurrentRecord { oid, serial, data: data.into(), next }))
    }
}
