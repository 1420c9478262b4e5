//! The thread on which the connection of a client for threads lives.
//!
//! It runs a runtime for one thread, whose loop is shorter than that of a worker of a runtime for many: a call waits for
//! this thread to be woken, and then to wake the caller.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

use crate::error::Error;

/// A runtime and its thread. Dropping it ends both.
#[derive(Debug)]
pub(super) struct Runtime {
    handle: Handle,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Options`] if there can be none.
    pub(super) fn start() -> Result<Self, Error> {
        let failed = |error| Error::Options(format!("no thread: {error}"));
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let run = move || runtime.block_on(stopped.notified());
        let thread = thread::Builder::new().name("zeo-client".to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { handle, stop, thread: Some(thread) })
    }

    /// Waits for a future, which goes on wherever it is waited for.
    ///
    /// # Panics
    /// Inside of async code.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop.notify_one();
        // A task of its own may have had it last.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
        {
            // If it has panicked there is nothing left to end.
            let _ = thread.join();
        }
    }
}
