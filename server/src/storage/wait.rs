//! Waiting for a medium on a thread on which others count.
//!
//! A storage is called on the threads of an async runtime, from which no other connection should be kept by a disk
//! that has to move first. So whatever may take long for that reason is done within [`wait`], and who drives the
//! storage says how to wait there: the server tells its runtime to go on elsewhere meanwhile. The storages
//! themselves know no runtime; without anybody to say so they just wait.

use std::sync::OnceLock;

/// Calls its argument once, where blocking is allowed.
pub type WaitHook = fn(&mut dyn FnMut());

static HOOK: OnceLock<WaitHook> = OnceLock::new();

/// Sets what [`wait`] does, for the whole process. The first one to do so decides.
pub fn set_wait_hook(hook: WaitHook) {
    // Two listeners in one process bring the same hook.
    let _ = HOOK.set(hook);
}

/// Does `work`, which may take as long as a disk does. Not for what mostly takes no time: it costs some microseconds.
pub fn wait(work: &mut dyn FnMut()) {
    match HOOK.get() {
        Some(hook) => hook(work),
        None => work(),
    }
}
