//! The task that sees to it that there is a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::connect::{Registered, first_of};
use super::drive::drive;
use super::{Shared, Status};
use crate::builder::Options;
use crate::engine::Access;
use crate::error::ConnectionError;

/// Pauses do not grow beyond this many doublings.
const DOUBLINGS_MAX: u32 = 10;
/// Whatever the options say, so that attempts that fail at once do not keep a processor busy.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Keeps a connection until the client is closed.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut addresses = shared.addresses.subscribe();
    let mut seen = shared.seen.subscribe();
    let mut failure_count = 0;
    loop {
        let status = seen.borrow_and_update().status;
        let access = match status {
            Status::Closed => return,
            Status::Offline => shared.options.access,
            // What was taken for want of something better.
            Status::Ready { is_read_only: true } if shared.options.access == Access::PreferWrite => {
                Access::ReadWrite
            }
            Status::Ready { .. } => {
                // The sender lives as long as `shared`.
                let _ = seen.changed().await;
                failure_count = 0;
                // When a server goes down, not all of its clients come back in the same moment.
                sleep(shared.options.disconnect_poll.mul_f64(fastrand::f64() / 8.0)).await;
                continue;
            }
        };
        let servers = addresses.borrow_and_update().clone();
        let known = shared.look(|state| state.engine.last_transaction());
        let adopted = tokio::select! {
            attempt = first_of(servers, access, known, &shared.options) => {
                attempt.and_then(|registered| shared.adopt(registered))
            }
            _ = addresses.changed() => continue,
            // The connection that was to be replaced has gone, or the client was closed.
            _ = seen.changed() => continue,
        };
        let in_use = match adopted {
            Ok(generation) => shared.in_use(generation).await,
            Err(why) => Err(why),
        };
        let Err(why) = in_use else {
            failure_count = 0;
            continue;
        };
        if seen.borrow_and_update().status != status {
            // Closed; or what was in use, and was to be replaced, has gone.
            continue;
        }
        if status == Status::Offline {
            shared.look(|state| state.why = why);
        }
        tokio::select! {
            () = sleep(shared.options.pause(failure_count)) => failure_count += 1,
            _ = addresses.changed() => {}
            _ = seen.changed() => failure_count = 0,
        }
    }
}

impl Options {
    /// A pause between half and all of the first one, doubled with each failure.
    fn pause(&self, failure_count: u32) -> Duration {
        let bound = self.disconnect_poll_max;
        let first = self.disconnect_poll.max(PAUSE_MIN);
        let doublings = failure_count.min(DOUBLINGS_MAX);
        let longest = first.saturating_mul(1 << doublings).min(bound.max(first));
        longest.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

impl Shared {
    /// Puts a connection to use, and starts its task; the generation of the engine that it is.
    fn adopt(self: &Arc<Self>, registered: Registered) -> Result<u64, Arc<ConnectionError>> {
        let Registered { address, socket, link, tid } = registered;
        let mut state = self.state();
        if state.is_closed {
            return Err(Arc::new(ConnectionError::Closed));
        }
        let mode = if link.is_read_only() { "read-only" } else { "writable" };
        let adopted = state.engine.adopt(link, tid);
        if let Err(why) = &adopted {
            tracing::error!("{address}: {why}");
        }
        if state.engine.session().is_some() && adopted.is_ok() {
            tracing::info!("{address}: registered, {mode}, last transaction {tid}");
            state.socket = Some(socket);
            state.is_stuck = false;
        }
        self.settle(&mut state);
        adopted?;
        let generation = state.engine.generation();
        tokio::spawn(drive(Arc::clone(self), generation));
        Ok(generation)
    }

    /// Waits until calls can be made.
    async fn in_use(&self, generation: u64) -> Result<(), Arc<ConnectionError>> {
        let mut seen = self.seen.subscribe();
        loop {
            let found = self.look(|state| {
                if state.engine.generation() != generation {
                    return Some(Err(Arc::clone(&state.why)));
                }
                state.engine.is_ready().then_some(Ok(()))
            });
            if let Some(found) = found {
                return found;
            }
            let _ = seen.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let options = Options::default();
        for failure_count in 0..40 {
            let longest = Duration::from_secs(1 << failure_count.min(5)).min(Duration::from_secs(30));
            let found = options.pause(failure_count);
            assert!(found >= longest / 2 && found <= longest, "{failure_count}: {found:?}");
        }
        let options =
            Options { disconnect_poll: Duration::ZERO, disconnect_poll_max: Duration::ZERO, ..options };
        for failure_count in 0..40 {
            let found = options.pause(failure_count);
            assert!(found >= PAUSE_MIN / 2 && found <= PAUSE_MIN, "{failure_count}: {found:?}");
        }
        let options = Options::default();
        let differing: std::collections::HashSet<_> = (0..20).map(|_| options.pause(3)).collect();
        assert!(differing.len() > 10);
    }
}
