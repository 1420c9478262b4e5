//! Calls that only read.

use zeo_codec::call::{GetInvalidations, GetTid, Invalidations, LoadBefore, LoadSerial, NewOids};
use zeo_codec::session::ServerSession;
use zeo_codec::{MsgId, Oid, Reply};

use super::{Answer, Attached, Peer};
use crate::engine::error::CallError;
use crate::engine::load::{LoadReply, Shape};
use crate::storage::{Current, StorageError, View};

impl Peer {
    pub(super) fn load_before(
        &self,
        args: LoadBefore,
        reply_to: Option<&MsgId<'_>>,
        session: &mut ServerSession,
    ) -> Result<Answer, CallError> {
        self.attached()?.served.stats.loads.add();
        self.load(Shape::Revision, reply_to, session, |view, sink| {
            view.load_before(args.oid, args.before, sink)
        })
    }

    pub(super) fn load_serial(
        &self,
        args: LoadSerial,
        reply_to: Option<&MsgId<'_>>,
        session: &mut ServerSession,
    ) -> Result<Answer, CallError> {
        self.load(Shape::Data, reply_to, session, |view, sink| {
            view.load_serial(args.oid, args.serial, sink).map(|()| true)
        })
    }

    /// Lets the storage write into the output, in the view of the last commit that the client was told.
    fn load(
        &self,
        shape: Shape,
        reply_to: Option<&MsgId<'_>>,
        session: &mut ServerSession,
        read: impl FnOnce(&dyn View, &mut LoadReply<'_>) -> Result<bool, StorageError>,
    ) -> Result<Answer, CallError> {
        let Some(id) = reply_to else { return Ok(Answer::Sent) };
        let dialect = *session.dialect();
        let mut sink = LoadReply::new(session.output_mut().buffer(), &dialect, id, shape);
        match read(self.attached()?.cursor.view(), &mut sink) {
            Ok(true) if sink.is_encodable() => Ok(Answer::Sent),
            Ok(true) => {
                sink.cancel();
                Err(CallError::Unencodable)
            }
            Ok(false) => Ok(Answer::Reply(Reply::None)),
            Err(error) => {
                sink.cancel();
                Err(error.into())
            }
        }
    }

    pub(super) fn get_tid(&self, args: GetTid) -> Result<Reply<'static>, CallError> {
        match self.attached()?.cursor.view().current(args.oid)? {
            Some(Current { serial, is_deleted: false }) => Ok(Reply::Tid(serial)),
            _ => Err(StorageError::NoSuchObject(args.oid).into()),
        }
    }

    pub(super) fn get_invalidations(&self, args: GetInvalidations) -> Result<Reply<'static>, CallError> {
        let Attached { served, cursor } = self.attached()?;
        // The stream goes on behind this tid, whatever the queue holds beyond it (rule S5).
        let tid = cursor.view().last_tid();
        Ok(match served.queue.changes(args.tid, tid) {
            Some(oids) => Reply::Invalidations(Invalidations { tid, oids }),
            None => Reply::None,
        })
    }

    pub(super) fn new_oids(&self, args: NewOids) -> Result<Reply<'static>, CallError> {
        if self.is_read_only {
            return Err(CallError::ReadOnly);
        }
        // Python's bounds: at most 100, and one for anything below.
        let count = u32::try_from(args.count.unwrap_or(100).clamp(1, 100)).unwrap_or(1);
        let first = self.attached()?.served.storage.new_oids(count)?.to_u64();
        Ok(Reply::Oids((0..u64::from(count)).map(|offset| Oid::from_u64(first + offset)).collect()))
    }
}
