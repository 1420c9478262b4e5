//! The same random operations on a server and on Python's, run after run; see `zeo_conformance::differential`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use zeo_conformance::config::Framing;
use zeo_conformance::differential::{Plan, run};
use zeo_conformance::peers::{Peer, PeerVersion};
use zeo_conformance::process::read_lossy;
use zeo_conformance::server::ServerCommand;

/// Compares a server with Python's: every answer, and in the end every byte of their files.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
struct Options {
    /// After this time no new run is begun.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first run's seed; the next run has the next one [default: the time].
    #[arg(long)]
    seed: Option<u64>,
    /// Steps on each storage in a run.
    #[arg(long, default_value_t = 600)]
    steps: u32,
    /// Only this version of Python's ZEO [default: 6.2 and 5.4.1 in turn].
    #[arg(long, value_enum)]
    version: Option<Version>,
    /// Only this framing [default: both in turn].
    #[arg(long, value_enum)]
    framing: Option<Framing>,
    /// The server: words with {config} where the path of the configuration goes [default: runzeo beside this program].
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "6.2")]
    Zeo62,
    #[value(name = "5.4.1")]
    Zeo541,
}

fn main() -> ExitCode {
    match differential(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zeo-differential: {error}");
            ExitCode::FAILURE
        }
    }
}

fn differential(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let server = ServerCommand::chosen(options.server.as_deref())?;
    let versions = match options.version {
        Some(Version::Zeo62) => vec![PeerVersion::Zeo62],
        Some(Version::Zeo541) => vec![PeerVersion::Zeo541],
        None => vec![PeerVersion::Zeo62, PeerVersion::Zeo541],
    };
    let framings = match options.framing {
        Some(framing) => vec![framing],
        None => Framing::ALL.to_vec(),
    };
    let peers = versions.into_iter().map(Peer::ensure).collect::<Result<Vec<_>, _>>()?;
    let first_seed = options
        .seed
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    let began = Instant::now();
    // Each with each of the two ways of resolving conflicts, which the seed decides.
    let kinds = peers.iter().flat_map(|peer| framings.iter().flat_map(move |&framing| [(peer, framing); 2]));
    for (seed, (peer, framing)) in (first_seed..).zip(kinds.cycle()) {
        if began.elapsed() >= Duration::from_secs(options.seconds) {
            break;
        }
        let guard = tempfile::TempDir::with_prefix("zeo-differential-")?;
        let plan =
            Plan { peer, framing, server: &server, dir: guard.path(), seed, step_count: options.steps };
        let name = format!("{} {}, seed {seed}", peer.name(), framing.name());
        match run(&plan) {
            Ok(counts) => println!("{name}: {counts}"),
            Err(error) => {
                let dir: PathBuf = guard.keep();
                eprintln!("{}", read_lossy(&dir.join("differential.log")));
                return Err(format!("{name}: {error}; the files are kept in {}", dir.display()).into());
            }
        }
    }
    Ok(())
}
