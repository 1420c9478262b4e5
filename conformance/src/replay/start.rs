//! A capture, and a server that is started for it.

use std::path::Path;
use std::time::Duration;

use super::{Needs, Report, needs, play};
use crate::capture::file;
use crate::server::{Server, ServerCommand, Startup};

/// Starts a server in a directory of its own, as the capture's scenario needs it, and plays the capture to it; or says
/// why it cannot be played.
///
/// # Errors
/// If the capture cannot be read, or the server not be started or reached.
pub fn start_and_play(
    path: &Path,
    command: &ServerCommand,
    patience: Duration,
) -> Result<Result<Report, &'static str>, Box<dyn std::error::Error>> {
    let metadata = file::open(path)?.metadata().clone();
    let Needs { zeo, storage } = match needs(&metadata.scenario) {
        Ok(needs) => needs,
        Err(reason) => return Ok(Err(reason)),
    };
    let dir = tempfile::TempDir::with_prefix("zeo-replay-")?;
    let lines = |lines: &[&str]| lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
    let text = |port| {
        let msgpack = metadata.framing == "msgpack";
        let (zeo, storage) = (lines(zeo), lines(storage));
        format!(
            "<zeo>\n  address 127.0.0.1:{port}\n  msgpack {msgpack}\n{zeo}</zeo>\n\n<filestorage 1>\n  path Data.fs\n{storage}</filestorage>\n",
        )
    };
    let startup = Startup { text: &text, port: None, greeting: None };
    let server = Server::start_with("server", command, &startup, dir.path())?;
    let report = play(path, server.address(), patience)?;
    server.stop()?;
    Ok(Ok(report))
}
