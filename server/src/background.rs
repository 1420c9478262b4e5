//! Long work that is to be in nobody's way: on threads that stand back behind those that serve clients.

use std::io;
use std::panic::resume_unwind;
use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// How far the work stands back: one thread that serves clients gets about ten times its time where there is no free
/// processor, and the work takes all that is free.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Does `work` on a thread of its own, behind all others, and waits for it.
///
/// Of its own because a thread that has stood back may not step forward again: that takes a privilege. Its reads and
/// writes stand back as well, where the disk's scheduler looks at that. Elsewhere than on Linux priorities are those of
/// whole processes, and nothing is done.
///
/// # Errors
/// No thread can be started.
pub(crate) fn in_background<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let log = tracing::dispatcher::get_default(Clone::clone);
    thread::scope(|scope| {
        let standing_back = || {
            step_back();
            tracing::dispatcher::with_default(&log, work)
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, standing_back)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Threads that stand back, for work that comes again and again: each is started when it is needed, and ends when there is
/// nothing to do for a while.
///
/// It is the pool of a runtime of which nothing else is used: a thread that has stood back cannot be given back to one whose
/// other threads have not.
#[derive(Debug)]
pub(crate) struct Crew {
    /// Of the pool.
    threads: Handle,
    /// None while it is dropped.
    pool: Option<Runtime>,
}

impl Crew {
    /// So many threads at most, at least one.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn new(name: &str, thread_count_max: usize) -> io::Result<Self> {
        let mut pool = Builder::new_current_thread();
        pool.max_blocking_threads(thread_count_max.max(1)).thread_name(name).on_thread_start(step_back);
        let pool = pool.build()?;
        Ok(Self { threads: pool.handle().clone(), pool: Some(pool) })
    }

    /// Does `work` when one of the threads is free.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.threads.spawn_blocking(work)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            // It may be dropped where nobody may wait.
            pool.shutdown_background();
        }
    }
}

/// There is nothing behind it.
#[cfg(target_os = "linux")]
const NICE_MAX: i32 = 19;

#[cfg(target_os = "linux")]
fn step_back() {
    use rustix::process::{getpriority_process, setpriority_process};

    // On Linux a thread's, not the process's: `setpriority(2)`, "C library/kernel differences".
    let nice = getpriority_process(None).map(|nice| nice.saturating_add(NICE).min(NICE_MAX));
    if let Err(error) = nice.and_then(|nice| setpriority_process(None, nice)) {
        tracing::debug!(target: "ZEO.runzeo", %error, "long work goes on with the priority of everything else");
    }
}

#[cfg(not(target_os = "linux"))]
const fn step_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_work_stands_back_and_nobody_else() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(in_background("test", nice).unwrap(), (before + NICE).min(NICE_MAX));
        assert_eq!(nice(), before);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_crew_stands_back_and_may_be_dropped_anywhere() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let crew = Crew::new("test", 1).unwrap();
            assert_eq!(crew.spawn(nice).await.unwrap(), (before + NICE).min(NICE_MAX));
            assert!(crew.spawn(|| panic!("told")).await.is_err());
            assert_eq!(crew.spawn(nice).await.unwrap(), (before + NICE).min(NICE_MAX));
        });
        assert_eq!(nice(), before);
    }

    #[test]
    fn a_panic_comes_through() {
        let caught = std::panic::catch_unwind(|| in_background("test", || panic!("told")));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"told"));
    }
}
