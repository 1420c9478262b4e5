//! Blocking on a thread of the runtime.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Does what may block the thread, which goes on with other tasks elsewhere meanwhile. Where there is no other
/// thread, in simulated time for example, they have to wait.
pub(super) fn block<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::CurrentThread) => work(),
        _ => block_in_place(work),
    }
}

/// How storages wait for their disks, see [`wait`](crate::storage::wait).
pub(super) fn block_hook(work: &mut dyn FnMut()) {
    block(work);
}
