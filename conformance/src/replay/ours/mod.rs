//! Our own client in front of a played server.
//!
//! A driver reads what the captured clients have said, message by message, and has [`zeo_client`] do the same by its public
//! interface: a `loadBefore` is [`Client::load_before`](zeo_client::Client::load_before), a `storea` is
//! [`Transaction::store`](zeo_client::Transaction::store), and so on; what only asks, and has no method of its own, goes by
//! [`Client::ask`](zeo_client::Client::ask). No byte of what our clients say comes from the capture in another way. What they
//! say by themselves, such as the beginning of a connection, comes from them alone. The played server compares all of it
//! with what Python's clients have said.
//!
//! Server and driver go by the same plan: the capture, in which `arrange.rs` has put messages where our client says them. A
//! connection that the capture ended is opened again by the client that had it.
//!
//! What counts as the same is in `same.rs` in addition to the [rules of a replay](super). What our client says otherwise on
//! purpose is an [`Excuse`], and there is one for each message. An answer of which our client makes an error, or the other
//! way round, is a difference, too.

mod ahead;
mod arrange;
mod driver;
mod guest;
mod parts;
mod same;

use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Plan, Report, serve};
use crate::capture::{Metadata, PeerInfo, file};
pub use arrange::Excuse;

/// What came of it.
#[derive(Debug)]
pub struct Played {
    /// What the played server has heard.
    pub report: Report,
    /// What our clients have said otherwise, as they should.
    pub excuses: Vec<Excuse>,
}

/// Why our client cannot play what these clients have done.
///
/// # Errors
/// The reason.
pub fn can_be_ours(metadata: &Metadata) -> Result<(), &'static str> {
    let is = |peer: &Option<PeerInfo>, version: &str| {
        peer.as_ref().is_some_and(|peer| peer.version.starts_with(version))
    };
    let is_python2 = metadata.client.as_ref().is_some_and(|client| client.python.starts_with('2'));
    match metadata.scenario.as_str() {
        "order" => Err("its calls are in an order that does not compile with our client"),
        "refused" | "strangers" => Err("it is about what our client never says"),
        "ruok" => Err("its probes are said by no client"),
        "heartbeat" => Err("its client shows more often than usual that it is there"),
        "read_only" => Err("its script asks, past the client, for what ours refuses by itself"),
        "fallback" => Err("its client looks for a better server at moments of its own"),
        "z308" | "z309" | "z310" | "z3101" | "older_calls" => {
            Err("it is about calls that our client does not make")
        }
        "digest" => Err("its server expects the answer to a challenge of that time"),
        "metadata" if is(&metadata.client, "4") && is_python2 => {
            Err("in its descriptions text beyond ASCII is no string of Python 2")
        }
        _ if is(&metadata.server, "4") && !is(&metadata.client, "4") => {
            Err("its client did not ask how to authenticate, and its server would not answer")
        }
        _ => Ok(()),
    }
}

/// Plays the server of the capture to our own clients, which do what those of the capture did.
///
/// # Errors
/// If the capture cannot be played.
pub fn play_ours(capture: &Path, patience: Duration) -> Result<Played, Box<dyn Error>> {
    play_otherwise(capture, capture, patience)
}

/// Plays the server of the capture to our own clients, which do what those of another capture did.
///
/// # Errors
/// If one of them cannot be played.
pub fn play_otherwise(capture: &Path, other: &Path, patience: Duration) -> Result<Played, Box<dyn Error>> {
    let scenario = file::open(other)?.metadata().scenario.clone();
    let (mut plan, mut acted) = (Plan::read(capture)?, Plan::read(other)?);
    let excuses = arrange::arrange(&mut plan);
    arrange::arrange(&mut acted);
    let dir = tempfile::TempDir::with_prefix("zeo-ours-")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut driver = driver::Driver::new(&acted, listener.local_addr()?, &scenario, dir.path(), patience);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (over, is_over) = oneshot::channel();
    let report = std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let report = serve::play(&plan, &listener, patience, None, same::OurLiberty::of(&plan));
            // The driver may have failed.
            let _ = over.send(report.as_ref().is_ok_and(|report| report.differences.is_empty()));
            report
        });
        runtime.block_on(async {
            let mut is_over = is_over;
            let mut driving = std::pin::pin!(driver.run());
            tokio::select! {
                // Who was not let in goes by itself.
                true = &mut driving => drop(is_over.await),
                // It has heard all, and is to look at that.
                Ok(true) = &mut is_over => drop(driving.await),
                else => {}
            }
        });
        // Nobody is waited for any more.
        drop(runtime);
        serving.join()
    });
    let mut report = report.map_err(|_| "the thread of the server panicked")??;
    report.differences.append(&mut driver.mistakes);
    Ok(Played { report, excuses })
}
