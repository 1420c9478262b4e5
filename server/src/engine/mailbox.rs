//! What other threads have to tell a connection.

use std::fmt;
use std::sync::{Arc, PoisonError};

use super::job::{Answered, Synced};
use super::sync::Mutex;
use crate::storage::StorageError;

/// A letter to a connection.
#[derive(Debug)]
pub(crate) enum Mail {
    /// The commit lock, for which it queued, is its own now.
    LockGranted,
    /// The transaction that it was finishing could not be committed.
    FinishFailed(StorageError),
    /// A long question has its answer.
    Answered(Answered),
    /// The files of the transaction that it votes on are durable.
    Synced(Synced),
}

/// A connection's letters, and the bell that makes its driver look. Bounded by what a connection can have
/// under way: one vote or one finish, and a few questions.
pub(crate) struct Mailbox {
    letters: Mutex<Vec<Mail>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Mailbox {
    pub(crate) fn new(wake: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { letters: Mutex::default(), wake })
    }

    pub(crate) fn put(&self, mail: Mail) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
        (self.wake)();
    }

    pub(crate) fn take(&self) -> Vec<Mail> {
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the driver look, at the journal for example.
    pub(crate) fn wake(&self) {
        (self.wake)();
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("letters", &self.letters).finish_non_exhaustive()
    }
}
