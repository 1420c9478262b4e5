//! Between clients and a server: what they say is printed while they say it.
//!
//! A thread of its own passes the bytes on, and hands them to this one, which prints. It does not wait for a terminal: of
//! what is not printed yet it keeps [`QUEUE_LEN`], and what comes beyond that is told as missing.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use super::{Screen, View};
use crate::commands::Outcome;
use crate::commands::between::{Signals, Tls, begin_recording};
use crate::record::address::{self, Address};
use crate::record::live::{Listener, queue};
use crate::record::proxy::Proxy;
use crate::record::recording::Recording;
use crate::sniff::Sniffer;

/// So many bytes may wait to be printed.
const QUEUE_LEN: usize = 64 << 20;

/// Between whom.
#[derive(Debug, Args)]
pub(super) struct Live {
    /// Stands between a server and clients, which connect here, and prints what they say until SIGINT or SIGTERM: HOST:PORT,
    /// or the path of a Unix socket; port 0 for any.
    #[arg(long, value_name = "LISTEN", requires = "to")]
    listen: Option<Address>,
    /// The server.
    #[arg(long, value_name = "SERVER", requires = "listen")]
    to: Option<Address>,
    /// Writes a capture at the same time, as "record" does.
    #[arg(long, short, value_name = "FILE", requires = "listen")]
    output: Option<PathBuf>,
    /// Replaces a capture that is there already.
    #[arg(long, requires = "output")]
    force: bool,
    /// TLS on either side.
    #[command(flatten)]
    tls: Tls,
}

impl Live {
    /// Where to listen, and the server.
    pub(super) fn addresses(&self) -> Option<(&Address, &Address)> {
        self.listen.as_ref().zip(self.to.as_ref())
    }
}

/// Prints until a signal comes, or nobody reads it any more.
pub(super) fn run(
    arguments: &Live,
    listen: &Address,
    server: &Address,
    view: &View,
    output: impl Write,
) -> Outcome {
    let mut screen = view.screen(BufWriter::with_capacity(64 * 1024, output));
    let mut sniffer = view.sniffer()?;
    let proxy = arguments.tls.proxy(server.clone(), Vec::new())?;
    let (teller, listener) = queue(QUEUE_LEN);
    let metadata = arguments.tls.metadata(listen);
    let output = arguments.output.as_deref();
    let recording = begin_recording(output, arguments.force, metadata, Some(teller))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (shows, is_shown) = watch::channel(());
    let listen = listen.clone();
    let proxy = std::thread::Builder::new()
        .name("proxy".to_owned())
        .spawn(move || runtime.block_on(pass(proxy, &listen, recording, is_shown)))?;
    let shown = show(listener, &mut sniffer, &mut screen);
    drop(shows);
    proxy.join().unwrap_or_else(|_| Err(io::Error::other("the proxy has panicked")))?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

fn show<W: Write>(listener: Listener, sniffer: &mut Sniffer, screen: &mut Screen<W>) -> io::Result<()> {
    while let Some(record) = listener.next(|| screen.flush())? {
        sniffer.hear(&record, &mut |message| screen.show(message))?;
    }
    sniffer.finish(&mut |message| screen.show(message))?;
    screen.finish()
}

/// Passes on until a signal comes, or nothing is shown any more. What is left to be shown then is not waited for at a
/// second signal.
async fn pass(
    proxy: Proxy,
    listen: &Address,
    recording: Recording,
    mut is_shown: watch::Receiver<()>,
) -> io::Result<()> {
    let listener = address::Listener::bind(listen).await?;
    let mut signals = Signals::catch()?;
    eprintln!("ready: listening on {}", listener.address()?);
    let stop = async {
        tokio::select! { () = signals.next() => {} _ = is_shown.changed() => {} }
    };
    proxy.run(listener, Arc::new(recording), stop, Duration::ZERO).await?;
    tokio::select! {
        () = signals.next() => std::process::exit(1),
        _ = is_shown.changed() => Ok(()),
    }
}
