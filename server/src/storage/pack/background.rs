//! Long work that is to be in nobody's way.

use std::io;
use std::panic::resume_unwind;
use std::thread;

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

/// There is nothing behind it.
#[cfg(target_os = "linux")]
const NICE_MAX: i32 = 19;

#[cfg(target_os = "linux")]
fn step_back() {
    use rustix::process::{getpriority_process, setpriority_process};

    // On Linux a thread's, not the process's: `setpriority(2)`, "C library/kernel differences".
    let nice = getpriority_process(None).map(|nice| nice.saturating_add(NICE).min(NICE_MAX));
    if let Err(error) = nice.and_then(|nice| setpriority_process(None, nice)) {
        tracing::debug!(target: "ZODB.FileStorage", %error, "a pack goes on with the priority of everything else");
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

    #[test]
    fn a_panic_comes_through() {
        let caught = std::panic::catch_unwind(|| in_background("test", || panic!("told")));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"told"));
    }
}
