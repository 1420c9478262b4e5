//! `zeo-conformance record`: a proxy that writes captures.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::Outcome;
use crate::capture::Metadata;
use crate::record::address::{Address, Listener};
use crate::record::fault::{Armed, Fault};
use crate::record::proxy::Proxy;
use crate::record::recording::Recording;
use crate::record::tls::{self, Identity};

/// Stands between clients and a server and writes down what they say, until SIGINT or SIGTERM.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where clients connect: HOST:PORT, or the path of a Unix socket; port 0 for any.
    #[arg(value_name = "LISTEN")]
    listen: Address,
    /// The server.
    #[arg(value_name = "SERVER")]
    server: Address,
    /// The capture: NAME.zeocap, or NAME.zeocap.gz; with {connection} in it one for each connection.
    #[arg(long, short, value_name = "FILE", default_value = "{connection}.zeocap")]
    output: PathBuf,
    /// What is said in the capture about the scenario.
    #[arg(long, value_name = "NAME", default_value = "")]
    scenario: String,
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
    /// What to do to connections: "cut client:BYTES", "drop client:MESSAGE", "drop-after client:MESSAGE",
    /// "delay client:20ms", "swap client:MESSAGE", "swap-chunks client:NUMBER", or the same with server.
    ///
    /// A message is a number, from 1, or the name of a method: its first call or reply. All but the delay happen
    /// once, on the connection that comes to it first. May be repeated.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
}

/// Runs the command.
///
/// # Errors
/// Those of sockets, keys and the capture.
pub fn run(arguments: Arguments) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(record(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn record(arguments: Arguments) -> io::Result<()> {
    let client_tls = arguments.client_tls.as_deref().map(|certificate| {
        tls::acceptor(&Identity { certificate, key: arguments.client_tls_key.as_deref() })
    });
    let server_tls = arguments.server_tls.as_deref().map(|trusted| server_tls(&arguments, trusted));
    let is_tls = client_tls.is_some() || server_tls.is_some();
    let transport = match (&arguments.listen, is_tls) {
        (_, true) => "tls",
        (Address::Tcp(_), false) => "tcp",
        (Address::Unix(_), false) => "unix",
    };
    let metadata = Metadata {
        scenario: arguments.scenario,
        transport: transport.to_owned(),
        recorder: recorder(),
        faults: arguments.faults.iter().map(ToString::to_string).collect(),
        ..Metadata::default()
    };
    let proxy = Proxy {
        server: arguments.server,
        client_tls: client_tls.transpose()?,
        server_tls: server_tls.transpose()?,
        is_by_message: arguments.faults.iter().any(Fault::is_about_messages),
        server_wait: Duration::ZERO,
        faults: Armed::new(arguments.faults),
    };
    let listener = Listener::bind(&arguments.listen).await?;
    let recording = Arc::new(Recording::create(&arguments.output, metadata)?);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    println!("ready: listening on {}", listener.address()?);
    let stop = async {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    };
    proxy.run(listener, recording, stop, Duration::ZERO).await
}

fn server_tls(arguments: &Arguments, trusted: &Path) -> io::Result<(TlsConnector, ServerName<'static>)> {
    let identity = arguments
        .server_tls_cert
        .as_deref()
        .map(|certificate| Identity { certificate, key: arguments.server_tls_key.as_deref() });
    let name = arguments.server_name.as_deref().or_else(|| arguments.server.host()).unwrap_or_default();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    Ok((tls::connector(trusted, identity.as_ref())?, name))
}

/// This program and its version, as captures name it.
#[must_use]
pub fn recorder() -> String {
    format!("zeo-conformance {}", env!("CARGO_PKG_VERSION"))
}
