//! A capture, and a server that is started for it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::live::{self, Host};
use super::needs::Needs;
use super::provider::{Provider, Running};
use super::shared::SharedFile;
use super::{Plan, ReplayError, Report};
use crate::capture::{ServerAct, ServerLines, file};
use crate::process::ProcessError;
use crate::server::data::{DATA_FILE, keep, restore};

const NAME: &str = "server";
/// As the scenarios have it.
const BLOBS: &str = "blobs";

/// Starts a server in a directory of its own, as the capture's scenario needs it, and plays the capture to it; or says
/// why it cannot be played. Where the captured server was ended and started again, so is this one.
///
/// # Errors
/// If the capture cannot be read, or the server not be started or reached.
pub fn start_and_play(
    path: &Path,
    provider: &Provider,
    patience: Duration,
) -> Result<Result<Report, &'static str>, Box<dyn std::error::Error>> {
    let metadata = file::open(path)?.metadata().clone();
    let plan = Plan::read(path)?;
    let needs = match plan.needs() {
        Ok(needs) => needs,
        Err(reason) => return Ok(Err(reason)),
    };
    let is_msgpack = match metadata.framing.as_str() {
        // A recorder need not know.
        "" => plan.greets_in_msgpack(),
        framing => framing == "msgpack",
    };
    let play = |address, house: &mut House<'_>| live::play(&plan, address, patience, house);
    Ok(Ok(with_house(provider, &needs, is_msgpack, play)?))
}

/// Starts a server with an empty storage `1` in a directory of its own, and does something with it.
///
/// # Errors
/// If the server cannot be started or ended, and those of `act`.
pub(crate) fn with_server<T, E: Into<Box<dyn std::error::Error>>>(
    provider: &Provider,
    act: impl FnOnce(SocketAddr) -> Result<T, E>,
) -> Result<T, Box<dyn std::error::Error>> {
    let needs = Needs { lines: ServerLines::default(), is_restarted: false };
    with_house(provider, &needs, false, |address, _| act(address))
}

fn with_house<T, E: Into<Box<dyn std::error::Error>>>(
    provider: &Provider,
    needs: &Needs,
    is_msgpack: bool,
    act: impl FnOnce(SocketAddr, &mut House<'_>) -> Result<T, E>,
) -> Result<T, Box<dyn std::error::Error>> {
    let dir = tempfile::TempDir::with_prefix("zeo-replay-")?;
    let mut house =
        House { provider, dir: dir.path(), is_msgpack, is_restarted: needs.is_restarted, server: None };
    let address = house.start(&needs.lines)?;
    let outcome = act(address, &mut house).map_err(Into::into)?;
    house.server.map_or(Ok(()), Running::stop)?;
    Ok(outcome)
}

/// A server that is started and ended as the capture says.
struct House<'a> {
    provider: &'a Provider,
    dir: &'a Path,
    is_msgpack: bool,
    is_restarted: bool,
    server: Option<Running>,
}

impl House<'_> {
    fn start(&mut self, lines: &ServerLines) -> Result<SocketAddr, ProcessError> {
        let joined = |lines: &[String]| lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
        // ZEO 4 does not know the key.
        let msgpack = if self.is_msgpack { "  msgpack true\n" } else { "" };
        let (zeo, storage) = (joined(&lines.zeo), joined(&lines.storage));
        let text = |port| {
            format!(
                "<zeo>\n  address 127.0.0.1:{port}\n{msgpack}{zeo}</zeo>\n\n<filestorage 1>\n  path {DATA_FILE}\n{storage}</filestorage>\n",
            )
        };
        let server = self.provider.start(NAME, &text, self.is_restarted, self.dir)?;
        Ok(self.server.insert(server).address())
    }
}

impl Host for House<'_> {
    fn act(&mut self, act: &ServerAct) -> Result<Option<SocketAddr>, ReplayError> {
        match act {
            ServerAct::Start(lines) => return Ok(Some(self.start(lines)?)),
            ServerAct::Stop => self.server.take().map_or(Ok(()), Running::stop)?,
            ServerAct::Kill => self.server.take().map_or((), Running::kill),
            ServerAct::Keep => keep(self.dir)?,
            ServerAct::Restore => restore(self.dir)?,
        }
        Ok(None)
    }

    fn share(&mut self, file: &SharedFile) -> Result<(), ReplayError> {
        let mut path = self.dir.join(BLOBS);
        // Directories as in `ZODB/blob.py:BushyLayout`.
        path.extend(file.oid.to_u64().to_be_bytes().map(|byte| format!("0x{byte:02x}")));
        fs::create_dir_all(&path)?;
        let Some(name) = Path::new(&file.name).file_name() else { return Ok(()) };
        Ok(fs::write(path.join(name), &file.content)?)
    }
}
