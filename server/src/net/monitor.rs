//! The monitor of ZEO 4: whoever connects gets the statistics as text, and nothing else (`ZEO/monitor.py`, 4.3.1).

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::listener::{ACCEPT_PAUSE, Accepted, Listener};
use crate::engine::Engine;

/// How long a reader may take.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How many readers are served at the same time; more have to wait.
const READERS_MAX: usize = 64;

impl Listener {
    /// Tells everybody who connects how the server is doing, until the future is dropped.
    pub async fn run_monitor(self, engine: Arc<Engine>) {
        let mut accepting = JoinSet::new();
        for socket in self.sockets {
            let engine = Arc::clone(&engine);
            accepting.spawn(async move {
                let mut readers = JoinSet::new();
                loop {
                    match socket.accept().await {
                        Ok(Accepted::Tcp(stream, _)) => {
                            drop(readers.spawn(tell(stream, Arc::clone(&engine))))
                        }
                        Ok(Accepted::Unix(stream)) => drop(readers.spawn(tell(stream, Arc::clone(&engine)))),
                        Err(error) => {
                            tracing::error!(target: "ZEO.monitor", "cannot accept a connection: {error}");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                    while readers.try_join_next().is_some() {}
                    if readers.len() >= READERS_MAX {
                        readers.join_next().await;
                    }
                }
            });
        }
        while accepting.join_next().await.is_some() {}
    }
}

async fn tell(mut stream: impl AsyncWrite + Unpin, engine: Arc<Engine>) {
    let report = report(&engine);
    // Who does not read it does not get it.
    let _ = timeout(WRITE_LIMIT, async {
        stream.write_all(report.as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
}

fn report(engine: &Engine) -> String {
    let now = jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y");
    let version = env!("CARGO_PKG_VERSION");
    format!("ZEO monitor server version {version}\n{now}\n\n{}", engine.monitor_report())
}
