//! A server inside of another program.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::{EVENT_INTERVAL, connection_options, engine, scheme};
use crate::config::Config;
use crate::engine::Engine;
use crate::net::{Bound, Listener, Tls};
use crate::storage::StorageError;
use crate::zconfig::System;

/// A server that runs inside of this program, on threads of its own: for tools and tests, which need no other program then.
///
/// Signals, the log, the pid file and the monitor are the program's own business, and indexes are saved at the end only. Dropping
/// it ends it as well, without a word of what fails then.
#[derive(Debug)]
pub struct Hosted {
    engine: Arc<Engine>,
    /// `None` when it has ended.
    runtime: Option<Runtime>,
    bound: Vec<Bound>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotHosted(Box<dyn Error + Send + Sync>);

impl Hosted {
    /// Opens the storages, and listens. Clients are served when this returns.
    ///
    /// # Errors
    /// If a storage, a certificate or a password file cannot be used, or the address is in use.
    ///
    /// # Panics
    /// Inside of async code.
    pub fn start(config: &Config) -> Result<Self, NotHosted> {
        Self::try_start(config).map_err(NotHosted)
    }

    fn try_start(config: &Config) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let tls = config.server.ssl.as_ref().map(|ssl| Tls::load(ssl, &System)).transpose()?;
        let scheme = config.server.authentication.as_ref().map(scheme).transpose()?;
        let engine = engine(config, scheme)?;
        let runtime = Builder::new_multi_thread().event_interval(EVENT_INTERVAL).enable_all().build()?;
        let listener = runtime.block_on(Listener::bind(&config.listen))?;
        let listener = match tls {
            Some(tls) => listener.with_tls(tls),
            None => listener,
        };
        let bound = listener.bound()?;
        runtime.spawn(listener.run(Arc::clone(&engine), connection_options(&config.server)));
        Ok(Self { engine, runtime: Some(runtime), bound })
    }

    /// Where it listens; `None` if that is a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.bound.iter().find_map(|bound| match bound {
            Bound::Tcp(address) => Some(*address),
            Bound::Unix(_) => None,
        })
    }

    /// Ends all connections, completes commits under way, and closes the storages.
    ///
    /// # Errors
    /// What a storage meets.
    pub fn stop(mut self) -> Result<(), StorageError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StorageError> {
        let Some(runtime) = self.runtime.take() else { return Ok(()) };
        self.engine.stop_packs();
        drop(runtime);
        self.engine.close()
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(target: "ZEO.runzeo", "{error}");
        }
    }
}
