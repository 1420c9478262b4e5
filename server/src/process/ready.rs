//! Telling others that the server serves, and that it stops: people, scripts, and systemd.

use std::io::Write;

use sd_notify::NotifyState;

use crate::net::Bound;

/// Says on the standard output that the server is ready, and to somebody who just tries it, how to go on: in lines that
/// Python takes as they stand.
pub(super) fn greet(address: &Bound, is_trial: bool) {
    let text = match address {
        Bound::Unix(path) => format!("ready: listening on {}\n", path.display()),
        Bound::Tcp(address) if !is_trial => format!("ready: listening on {address}\n"),
        Bound::Tcp(address) => format!(
            "ready: listening on {address}\n\
             Try it from Python:\n\
             import ZEO, transaction\n\
             root = ZEO.DB(('{}', {})).open().root\n\
             root.greeting = 'Hello from Rust'; transaction.commit()\n",
            address.ip(),
            address.port(),
        ),
    };
    // Whoever closed our output does not want to know.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Tells systemd that clients can come (`Type=notify`). Without `NOTIFY_SOCKET` nobody wants to know.
pub(super) fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells systemd that the server stops on its own account, or because it was told to.
pub(super) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(target: "ZEO.runzeo", "cannot notify the service manager: {error}");
    }
}
