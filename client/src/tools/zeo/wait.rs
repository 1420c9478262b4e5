//! `zeo wait`: the health check. A server is there when it has registered a client for the storage and answers a call.

use std::io::Write as _;
use std::time::Instant;

use clap::Args;

use super::Failure;
use super::server::ServerOptions;
use crate::Access;
use crate::tools::text::Shown;

/// Wait until a server can be used.
///
/// It can when it has registered a client for the storage and answers a call. When the time is over the exit status is
/// 1, and standard error says what the last attempt has met.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: ServerOptions,

    /// Wait for a server that lets clients write
    #[arg(short, long)]
    writable: bool,

    /// Say nothing unless it fails
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let start = Instant::now();
    let access = if arguments.writable { Access::ReadWrite } else { Access::ReadOnly };
    let place = arguments.server.place()?;
    let client = place.connect(access, arguments.server.timeout())?;
    client.ping()?;
    if !arguments.quiet {
        writeln!(
            std::io::stdout(),
            "{} is ready after {:.2} s, last transaction {}",
            Shown(&place),
            start.elapsed().as_secs_f64(),
            client.last_transaction(),
        )?;
    }
    client.close();
    Ok(())
}
