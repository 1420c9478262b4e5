//! Calls that only read.

use std::collections::HashSet;

use zeo_codec::call::{GetInvalidations, GetTid, Invalidations, LoadBefore, LoadSerial, Loaded, NewOids};
use zeo_codec::session::ServerSession;
use zeo_codec::{MsgId, Oid, Reply, Tid};

use super::{Answer, Attached, Peer, now, unregistered};
use crate::engine::clock::unix_micros;
use crate::engine::error::CallError;
use crate::engine::load::{LoadReply, Shape};
use crate::limits::Limit;
use crate::storage::tid::unix_micros_from_tid;
use crate::storage::{Current, DataSink, LoadedRevision, StorageError, View};

impl Peer {
    pub(super) fn load_before(
        &mut self,
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
        &mut self,
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
        &mut self,
        shape: Shape,
        reply_to: Option<&MsgId<'_>>,
        session: &mut ServerSession,
        read: impl FnOnce(&dyn View, &mut dyn DataSink) -> Result<bool, StorageError>,
    ) -> Result<Answer, CallError> {
        let Some(id) = reply_to else { return Ok(Answer::Sent) };
        let dialect = *session.dialect();
        let Some(Attached { cursor, .. }) = &self.attached else { return Err(unregistered()) };
        if session.output_mut().has_macs() {
            // The MAC goes in front, so the data has to be there first.
            let mut revision = LoadedRevision::default();
            let is_found = read(cursor.view(), &mut revision)?;
            let LoadedRevision { data, serial, end } = revision;
            return Ok(Answer::Reply(match shape {
                _ if !is_found => Reply::None,
                Shape::Revision => Reply::Loaded(Loaded { data: data.into(), serial, end }),
                Shape::Data => Reply::Data(data.into()),
            }));
        }
        let mut sink = LoadReply::new(session.output_mut(), &mut self.read_ahead, dialect, id, shape);
        match read(cursor.view(), &mut sink) {
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
            Some(_) | None => Err(StorageError::NoSuchObject(args.oid).into()),
        }
    }

    pub(super) fn get_invalidations(&self, args: GetInvalidations) -> Result<Reply<'static>, CallError> {
        let Attached { served, cursor } = self.attached()?;
        // The stream goes on behind this tid, whatever the queue holds beyond it (rule S5).
        let tid = cursor.view().last_tid();
        let changes = match served.queue.changes(args.tid, tid) {
            None if self.is_young(args.tid) => {
                let count_max = self.engine.options.missed_oid_count;
                let changes = changes_in_storage(cursor.view(), args.tid, count_max)?;
                if changes.is_none() {
                    self.engine.reached.count(Limit::MissedObjects);
                }
                changes
            }
            changes => changes,
        };
        Ok(match changes {
            Some(oids) => Reply::Invalidations(Invalidations { tid, oids }),
            None => Reply::None,
        })
    }

    /// Whether `invalidation-age` allows to look into the storage for what changed after `tid`.
    fn is_young(&self, tid: Tid) -> bool {
        let age = self.engine.options.invalidation_age.and_then(|age| i64::try_from(age.as_micros()).ok());
        age.is_some_and(|age| unix_micros(now()).saturating_sub(unix_micros_from_tid(tid)) < age)
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

/// All oids that changed after `known`, from the storage's last transactions; `None` if it does not keep
/// them, or if there are more than `oids_max`, which nobody needs and memory would have to hold. Looks back in growing
/// steps, so that little is read for a client that was away briefly.
fn changes_in_storage(
    view: &dyn View,
    known: Tid,
    oids_max: usize,
) -> Result<Option<Vec<Oid>>, StorageError> {
    let mut count = 1000;
    loop {
        let changes = view.last_changes(count)?;
        let is_whole_history = changes.len() < count;
        let newer = changes.iter().filter(|(tid, _)| *tid > known);
        if newer.map(|(_, oids)| oids.len()).sum::<usize>() > oids_max {
            return Ok(None);
        }
        match changes.first() {
            Some((oldest, _)) if *oldest > known && !is_whole_history => count = count.saturating_mul(4),
            // A history that begins after what the client knows is not the one that it knows.
            oldest if oldest.is_none_or(|(oldest, _)| *oldest > known) => return Ok(None),
            _ => {
                let newer = changes.into_iter().filter(|(tid, _)| *tid > known);
                let oids: HashSet<Oid> = newer.flat_map(|(_, oids)| oids).collect();
                return Ok(Some(oids.into_iter().collect()));
            }
        }
    }
}
