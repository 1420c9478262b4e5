//! Everything on one processor: the server's threads and the load generator's.
//!
//! On two processors, a client and a server that have one request under way wake each other all the time, and a virtual
//! machine needs long for that. On one, what is measured is their work and the change between them.

use std::io;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processor for measurements on one: the last that this process may use, as the first often has the interrupts.
///
/// # Errors
/// What the system says.
fn chosen() -> io::Result<CpuSet> {
    let all = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|&core| all.is_set(core));
    let mut one = CpuSet::new();
    one.set(last.unwrap_or_default());
    Ok(one)
}

/// Lets the calling thread run on that processor only, from now on.
///
/// # Errors
/// What the system says.
pub fn pin_this_thread() -> io::Result<()> {
    Ok(sched_setaffinity(None, &chosen()?)?)
}

/// A process whose threads run on that processor only, as long as this is not dropped.
#[derive(Debug)]
pub struct Pinned {
    pid: u32,
    before: CpuSet,
}

impl Pinned {
    /// All threads that a process has now; those that they start will be where they are.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn new(pid: u32) -> io::Result<Self> {
        let before = sched_getaffinity(i32::try_from(pid).ok().and_then(Pid::from_raw))?;
        place(pid, &chosen()?)?;
        Ok(Self { pid, before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // A process that has ended needs nothing.
        let _ = place(self.pid, &self.before);
    }
}

/// Lets all threads of a process run on these processors.
fn place(pid: u32, cores: &CpuSet) -> io::Result<()> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(thread) = number.and_then(Pid::from_raw) else { continue };
        match sched_setaffinity(Some(thread), cores) {
            // It has ended since.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_on_one_processor_for_a_while() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let cores = || sched_getaffinity(Some(Pid::from_child(&child))).unwrap();
        let before = cores();
        let pinned = Pinned::new(child.id()).unwrap();
        assert_eq!((cores(), cores().count()), (chosen().unwrap(), 1));
        drop(pinned);
        assert_eq!(cores(), before);
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_thread_is_on_one_processor() {
        let pinned = std::thread::spawn(|| {
            pin_this_thread().unwrap();
            sched_getaffinity(None).unwrap().count()
        });
        assert_eq!(pinned.join().unwrap(), 1);
    }
}
