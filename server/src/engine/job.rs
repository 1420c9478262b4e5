//! Work that takes too long for the thread that reads a connection's messages.
//!
//! A call that may read much of a file, or wait for the disk, leaves a [`Job`] with its peer. The driver takes it
//! ([`Peer::take_job`](super::Peer::take_job)) and runs it where blocking is allowed, while the connection goes on
//! with other messages: Python's server lets the replies of such calls be overtaken, too (protocol reference 3.2).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use zeo_codec::{Method, MsgId, Reply};

use super::error::CallError;
use super::mailbox::{Mail, Mailbox};
use super::pack::PackJob;
use super::served::CommitJob;
use super::transaction::BlobOp;

/// Something to run where blocking is allowed.
#[derive(Debug)]
#[must_use = "the client waits for it"]
pub enum Job {
    /// A commit: others wait for it, and its reply should leave at once. Run it, then call
    /// [`Peer::on_wake`](super::Peer::on_wake).
    Commit(CommitJob),
    /// A question, or a pack for whose end the client waits; the answer comes by the bell.
    Ask(AskJob),
    /// A pack for whose end nobody waits; it goes on when the connection has ended.
    Pack(PackJob),
    /// Files to be made durable before a vote; the bell says when they are.
    Sync(SyncJob),
}

/// The blobs of a transaction, to be made durable.
#[derive(Debug)]
#[must_use = "the client waits for its vote"]
pub struct SyncJob {
    round: u64,
    blobs: Vec<BlobOp>,
    mailbox: Arc<Mailbox>,
}

/// The same blobs afterwards.
#[derive(Debug)]
pub(crate) struct Synced {
    /// The number that the job was given.
    pub(crate) round: u64,
    pub(crate) blobs: Vec<BlobOp>,
    pub(crate) result: Result<(), CallError>,
}

impl SyncJob {
    pub(crate) fn new(round: u64, blobs: Vec<BlobOp>, mailbox: &Arc<Mailbox>) -> Self {
        Self { round, blobs, mailbox: Arc::clone(mailbox) }
    }

    /// Waits for the disk, and puts the blobs back into the connection's mailbox.
    pub fn run(self) {
        let Self { round, blobs, mailbox } = self;
        let result = blobs.iter().try_for_each(|blob| blob.content.sync()).map_err(CallError::from);
        mailbox.put(Mail::Synced(Synced { round, blobs, result }));
    }
}

/// A question that takes its time.
#[must_use = "the client waits for the answer"]
pub struct AskJob {
    method: Method,
    /// `None`: nobody waits for the answer.
    reply_to: Option<MsgId<'static>>,
    mailbox: Arc<Mailbox>,
    work: Box<dyn FnOnce() -> Result<Reply<'static>, CallError> + Send>,
}

/// The answer to a question.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) method: Method,
    pub(crate) reply_to: Option<MsgId<'static>>,
    pub(crate) result: Result<Reply<'static>, CallError>,
}

impl AskJob {
    pub(crate) fn new(
        method: Method,
        reply_to: Option<MsgId<'static>>,
        mailbox: &Arc<Mailbox>,
        work: impl FnOnce() -> Result<Reply<'static>, CallError> + Send + 'static,
    ) -> Self {
        Self { method, reply_to, mailbox: Arc::clone(mailbox), work: Box::new(work) }
    }

    /// Whether it is a pack, for whose end the client waits.
    #[must_use]
    pub fn is_pack(&self) -> bool {
        self.method == Method::Pack
    }

    /// Finds the answer and puts it into the connection's mailbox, whatever happens.
    pub fn run(self) {
        let Self { method, reply_to, mailbox, work } = self;
        let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(CallError::Panicked));
        mailbox.put(Mail::Answered(Answered { method, reply_to, result }));
    }
}

impl fmt::Debug for AskJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskJob")
            .field("method", &self.method)
            .field("reply_to", &self.reply_to)
            .finish_non_exhaustive()
    }
}
