//! Which methods a client may call, and what has to be known of them before they are carried out.

use zeo_codec::{Generation, Method};

#[expect(unused_imports, reason = "linked from the documentation")]
use super::Job;
use super::Peer;
use crate::limits::Limit;

impl Peer {
    /// Before `register` nothing else is allowed, afterwards what a ZEO 5 server has
    /// (StorageServer.py:registered_methods, ZEO 6.2), or what an older client may call.
    pub(super) fn allows(&self, method: Method) -> bool {
        use Method as M;
        if self.dialect.generation != Generation::Zeo5 {
            return self.allows_old(method);
        }
        if self.attached.is_none() {
            return method == M::Register;
        }
        !method.is_from_server()
            && !matches!(
                method,
                M::Register
                    | M::GetAuthProtocol
                    | M::AuthGetChallenge
                    | M::AuthResponse
                    | M::GetExtensionMethods
                    | M::Verify
                    | M::ZeoVerify
                    | M::EndZeoVerify
                    | M::Load
                    | M::LoadEx
                    | M::Undo
                    | M::GetSerial
                    | M::ZeoLoad
                    | M::ModifiedInVersion
                    | M::Versions
                    | M::VersionEmpty
                    | M::CommitVersion
                    | M::AbortVersion
                    | M::GetSizeInfo
                    | M::AnswerToTheUltimateQuestion
            )
    }

    /// Whether as much is under way for the client as it may have.
    pub(super) fn limit_before(&self, method: Method) -> Option<Limit> {
        let options = &self.engine.options;
        if takes_long(method) && self.asking_count >= options.question_count {
            return Some(Limit::Questions);
        }
        (method == Method::SendBlob && self.downloads.len() >= options.download_count)
            .then_some(Limit::Downloads)
    }
}

/// Whether the driver runs it as a [`Job`] beside the connection's other messages.
pub(super) const fn takes_long(method: Method) -> bool {
    matches!(
        method,
        Method::UndoLog | Method::UndoInfo | Method::History | Method::IteratorStart | Method::Pack
    )
}

/// Whether it moves or makes an iterator.
pub(super) const fn uses_iterator(method: Method) -> bool {
    matches!(
        method,
        Method::IteratorStart
            | Method::IteratorNext
            | Method::IteratorRecordStart
            | Method::IteratorRecordNext
            | Method::IteratorGc
    )
}
