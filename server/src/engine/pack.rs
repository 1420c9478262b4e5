//! A pack as the engine runs it: beside all connections, with its own place in the queue for the commit lock.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::commit_lock::{Scope, Ticket};
use super::error::CallError;
use super::mailbox::Mailbox;
use super::served::Served;
use crate::storage::{CommitsStopped, PackHost, PackOutcome, PackRequest, View};

/// How long a pack that queues for the commit lock sleeps before it looks whether it is to be given up.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Tells a pack to give up.
#[derive(Debug, Clone, Default)]
pub(crate) struct PackCancel(Arc<AtomicBool>);

impl PackCancel {
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether there is no pack any more that it could tell.
    pub(crate) fn is_forgotten(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A pack that a client has asked for. To be run where blocking is allowed; it may take hours.
#[must_use = "nothing is packed before it is run"]
pub struct PackJob {
    served: Arc<Served>,
    request: PackRequest,
    /// Who asked, for the log.
    label: String,
    cancel: PackCancel,
}

impl PackJob {
    pub(crate) const fn new(
        served: Arc<Served>,
        request: PackRequest,
        label: String,
        cancel: PackCancel,
    ) -> Self {
        Self { served, request, label, cancel }
    }

    /// Packs, and tells all clients of the storage its new size; for nobody who waits.
    pub fn run(self) {
        let label = self.label.clone();
        let result = catch_unwind(AssertUnwindSafe(|| self.pack())).unwrap_or(Err(CallError::Panicked));
        if let Err(error) = result {
            tracing::error!(target: "ZEO.StorageServer", "({label}) pack failed: {error}");
        }
    }

    /// The same, for somebody who waits.
    pub(crate) fn pack(self) -> Result<(), CallError> {
        let Self { served, request, label, cancel } = self;
        let until = request.until;
        tracing::info!(target: "ZEO.StorageServer", "({label}) pack(time={until}) started...");
        let host = Host { served: &served, label: &label, cancel };
        let outcome = served.storage.pack(request, &host)?;
        match outcome {
            // The host has told them.
            PackOutcome::Packed(_) => {}
            PackOutcome::Empty | PackOutcome::Redundant | PackOutcome::NothingFreed => served.announce_size(),
        }
        tracing::info!(target: "ZEO.StorageServer", "({label}) pack(time={until}) complete");
        Ok(())
    }
}

impl fmt::Debug for PackJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackJob").field("request", &self.request).field("label", &self.label).finish()
    }
}

struct Host<'p> {
    served: &'p Served,
    label: &'p str,
    cancel: PackCancel,
}

/// The commit lock, held by a pack.
struct Held(#[expect(dead_code, reason = "what matters is when it is dropped")] Ticket);

impl CommitsStopped for Held {}

impl PackHost for Host<'_> {
    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled() || self.served.is_stopping()
    }

    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>> {
        let bell = Arc::new((Mutex::new(()), Condvar::new()));
        let ringing = Arc::clone(&bell);
        let mailbox = Mailbox::new(Box::new(move || {
            let _locked = ringing.0.lock().unwrap_or_else(PoisonError::into_inner);
            ringing.1.notify_all();
        }));
        let (ticket, _) = self.served.lock.acquire(&mailbox, SystemTime::now(), self.label, Scope::Whole);
        let mut locked = bell.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !ticket.is_holder() {
            if self.is_cancelled() {
                // Before the ticket, which may ring when it goes.
                drop(locked);
                return None;
            }
            let waited = bell.1.wait_timeout(locked, LOOK_INTERVAL);
            locked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(locked);
        Some(Box::new(Held(ticket)))
    }

    fn packed(&self, view: Arc<dyn View>) {
        self.served.announce_packed(view);
    }
}
