//! The call that packs.

use zeo_codec::call::Pack;
use zeo_codec::{Method, MsgId, Reply};

use super::{Answer, Peer};
use crate::engine::error::CallError;
use crate::engine::job::Job;
use crate::engine::pack::{PackCancel, PackJob};
use crate::storage::PackRequest;
use crate::storage::tid::pack_time;

impl Peer {
    /// Allowed on read-only connections, as in Python's server (StorageServer.py:pack, ZEO 6.2). A client that waits
    /// for the end and goes has its pack given up; without waiting, the pack goes on by itself.
    pub(super) fn pack(&mut self, args: &Pack, reply_to: Option<&MsgId<'_>>) -> Result<Answer, CallError> {
        let served = self.attached()?.served.clone();
        let request = PackRequest { until: pack_time(args.time)?, gc: None };
        let cancel = PackCancel::default();
        let job = PackJob::new(served, request, self.label.clone(), cancel.clone());
        if args.waits() {
            self.awaited_packs.push(cancel);
            return Ok(self.ask(Method::Pack, reply_to, move || job.pack().map(|()| Reply::None)));
        }
        self.jobs.push_back(Job::Pack(job));
        Ok(Answer::Reply(Reply::None))
    }

    /// Forgets the packs that have ended.
    pub(super) fn forget_awaited_packs(&mut self) {
        self.awaited_packs.retain(|cancel| !cancel.is_forgotten());
    }
}
