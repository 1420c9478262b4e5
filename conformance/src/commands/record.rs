//! `zeo-conformance record`: a proxy that writes captures.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use super::between::{Signals, Tls, begin_recording};
use crate::capture::{Metadata, PeerInfo};
use crate::record::address::{Address, Listener};
use crate::record::fault::Fault;

/// Stands between clients and a server and writes down what they say, until SIGINT or SIGTERM.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where clients connect: HOST:PORT, or the path of a Unix socket; port 0 for any.
    #[arg(value_name = "LISTEN")]
    listen: Address,
    /// The server.
    #[arg(value_name = "SERVER", id = "to")]
    server: Address,
    /// The capture: NAME.zeocap, or NAME.zeocap.gz; with {connection} in it one for each connection.
    #[arg(long, short, value_name = "FILE", default_value = "{connection}.zeocap")]
    output: PathBuf,
    /// Replaces a capture that is there already.
    #[arg(long)]
    force: bool,
    /// What is said in the capture about the scenario.
    #[arg(long, value_name = "NAME", default_value = "")]
    scenario: String,
    /// What is said about the clients: "NAME VERSION", as in "ZEO 6.2", with "zodb=VERSION" and "python=VERSION" behind it.
    #[arg(long = "client", value_name = "PEER")]
    client_peer: Option<PeerInfo>,
    /// The same about the server.
    #[arg(long = "server", value_name = "PEER")]
    server_peer: Option<PeerInfo>,
    /// TLS on either side.
    #[command(flatten)]
    tls: Tls,
    /// What to do to connections: "cut client:BYTES", "drop client:MESSAGE", "drop-after client:MESSAGE",
    /// "delay client:20ms", "swap client:MESSAGE", "swap-chunks client:NUMBER", or the same with server.
    ///
    /// A message is a number, from 1, or the name of a method: its first call or reply. All but the delay happen
    /// once, on the connection that comes to it first. What is swapped is held back until the next message of its direction
    /// has come, however long that takes, or the stream ends. May be repeated.
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
    let Arguments { listen, server, output, force, scenario, client_peer, server_peer, tls, faults } =
        arguments;
    let metadata = Metadata {
        scenario,
        client: client_peer,
        server: server_peer,
        faults: faults.iter().map(ToString::to_string).collect(),
        ..tls.metadata(&listen)
    };
    let proxy = tls.proxy(server, faults)?;
    let listener = Listener::bind(&listen).await?;
    let recording = Arc::new(begin_recording(Some(&output), force, metadata, None)?);
    let mut signals = Signals::catch()?;
    println!("ready: listening on {}", listener.address()?);
    proxy.run(listener, recording, signals.next(), Duration::ZERO).await
}
