//! What a proxy between clients and a server is told, whatever it does with what they say.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::capture::Metadata;
use crate::record::address::Address;
use crate::record::fault::{Armed, Fault};
use crate::record::live::Teller;
use crate::record::proxy::Proxy;
use crate::record::recording::{Existing, Recording};
use crate::record::tls::{self, Identity};

/// TLS on either side.
#[derive(Debug, Clone, Args)]
#[group(id = "tls", multiple = true, requires = "listen")]
pub struct Tls {
    /// The certificate to show to clients, which then have to use TLS.
    #[arg(long, value_name = "PEM")]
    client_tls: Option<PathBuf>,
    /// Its key, if it is in another file.
    #[arg(long, value_name = "PEM", requires = "client_tls")]
    client_tls_key: Option<PathBuf>,
    /// The server's certificate, or its authority's: connects to the server with TLS.
    #[arg(long, value_name = "PEM")]
    server_tls: Option<PathBuf>,
    /// The certificate to show to the server.
    #[arg(long, value_name = "PEM", requires = "server_tls")]
    server_tls_cert: Option<PathBuf>,
    /// Its key, if it is in another file.
    #[arg(long, value_name = "PEM", requires = "server_tls_cert")]
    server_tls_key: Option<PathBuf>,
    /// The server's name in its certificate, if it is not the host of its address.
    #[arg(long, value_name = "NAME", requires = "server_tls")]
    server_name: Option<String>,
}

impl Tls {
    /// The proxy for a server.
    ///
    /// # Errors
    /// Those of keys and certificates.
    pub fn proxy(&self, server: Address, faults: Vec<Fault>) -> io::Result<Proxy> {
        let client_tls = self
            .client_tls
            .as_deref()
            .map(|certificate| tls::acceptor(&Identity { certificate, key: self.client_tls_key.as_deref() }));
        let server_tls = self.server_tls.as_deref().map(|trusted| self.connector(&server, trusted));
        Ok(Proxy {
            client_tls: client_tls.transpose()?,
            server_tls: server_tls.transpose()?,
            server,
            is_by_message: faults.iter().any(Fault::is_about_messages),
            is_by_threads: faults.is_empty(),
            server_wait: Duration::ZERO,
            faults: Armed::new(faults),
            complain: |number, error| eprintln!("connection {number}: {error}"),
        })
    }

    fn connector(&self, server: &Address, trusted: &Path) -> io::Result<(TlsConnector, ServerName<'static>)> {
        let identity = self
            .server_tls_cert
            .as_deref()
            .map(|certificate| Identity { certificate, key: self.server_tls_key.as_deref() });
        let name = self.server_name.as_deref().or_else(|| server.host()).unwrap_or_default();
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        Ok((tls::connector(trusted, identity.as_ref())?, name))
    }

    /// What a capture says about itself: the transport is TLS if it is on one side.
    #[must_use]
    pub fn metadata(&self, listen: &Address) -> Metadata {
        let is_tls = self.client_tls.is_some() || self.server_tls.is_some();
        let transport = match (listen, is_tls) {
            (_, true) => "tls",
            (Address::Tcp(_), false) => "tcp",
            (Address::Unix(_), false) => "unix",
        };
        Metadata { transport: transport.to_owned(), recorder: recorder(), ..Metadata::default() }
    }
}

/// Begins to record, if there is a path; to a file that is there already only if it `may_replace` it.
///
/// # Errors
/// If the file cannot be created: names it, and says how it is replaced.
pub fn begin_recording(
    path: Option<&Path>,
    may_replace: bool,
    metadata: Metadata,
    teller: Option<Teller>,
) -> io::Result<Recording> {
    let existing = if may_replace { Existing::Replaced } else { Existing::Kept };
    Recording::begin(path, existing, metadata, teller).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => io::Error::new(error.kind(), format!("{error}; --force replaces it")),
        _ => error,
    })
}

/// SIGINT and SIGTERM, from now on.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// They do not end the program any more.
    ///
    /// # Errors
    /// Those of the system.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {} _ = self.terminate.recv() => {} }
    }
}

/// This program and its version, as captures name it.
#[must_use]
pub fn recorder() -> String {
    format!("zeo-conformance {}", env!("CARGO_PKG_VERSION"))
}
