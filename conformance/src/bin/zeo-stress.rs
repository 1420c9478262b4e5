//! Lets many clients loose on a server and judges what they saw; see `zeo_conformance::stress`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use zeo_conformance::config::Framing;
use zeo_conformance::server::ServerCommand;
use zeo_conformance::stress::check::Leniency;
use zeo_conformance::stress::{Plan, StressError, run, soak};

/// Checks the order of messages, and that nothing is lost, on a record of many clients at once.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Number of clients.
    #[arg(long, default_value_t = 8)]
    clients: u64,
    /// Number of objects that all of them change.
    #[arg(long, default_value_t = 20)]
    objects: u64,
    /// Number of commits.
    #[arg(long, default_value_t = 10_000)]
    commits: u64,
    /// How often the server is killed (SIGKILL) and started again.
    #[arg(long, default_value_t = 0)]
    kills: u64,
    /// How often the server is stopped (SIGTERM) and started again.
    #[arg(long, default_value_t = 0)]
    restarts: u64,
    /// Instead of a number of commits: so many minutes at half load, with a pack each minute and nine restarts and kills of
    /// the server in the first half, and a look at its memory and its descriptors twice a second in the second one. Nothing
    /// is recorded; the file is read in the end.
    #[arg(long, conflicts_with_all = ["commits", "kills", "restarts", "packs"])]
    minutes: Option<f64>,
    /// How often the database is packed.
    #[arg(long, default_value_t = 0)]
    packs: u64,
    /// How messages are encoded.
    #[arg(long, value_enum, default_value = "pickle")]
    framing: Framing,
    /// The dice's seed [default: the time].
    #[arg(long)]
    seed: Option<u64>,
    /// The server: words with {config} where the path of the configuration goes [default: runzeo beside this
    /// program].
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
    /// Forgive what Python's server does and its clients cope with: deleted objects are not announced, and
    /// answers may be ahead of the stream of invalidations.
    #[arg(long)]
    lenient: bool,
    /// Where the server's files go [default: a temporary directory, removed if all is well].
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match stress(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("zeo-stress: {error}");
            ExitCode::FAILURE
        }
    }
}

fn stress(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let server = ServerCommand::chosen(options.server.as_deref())?;
    let seed = options.seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap_or_default().as_secs()
    });
    let (dir, guard) = match &options.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            // The server has a working directory of its own.
            (std::path::absolute(dir)?, None)
        }
        None => {
            let guard = tempfile::TempDir::with_prefix("zeo-stress-")?;
            (guard.path().to_owned(), Some(guard))
        }
    };
    if let Some(minutes) = options.minutes {
        return soak(options, minutes, server, dir, seed);
    }
    let plan = Plan {
        server,
        framing: options.framing,
        dir,
        client_count: options.clients,
        object_count: options.objects,
        commit_count: options.commits,
        kill_count: options.kills,
        restart_count: options.restarts,
        pack_count: options.packs,
        seed,
        leniency: Leniency { deletions_unannounced: options.lenient, ahead: options.lenient, packed: false },
    };
    let began = Instant::now();
    let outcome = run(&plan).inspect_err(|_: &StressError| keep(guard.as_ref()));
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            guard.map(tempfile::TempDir::keep);
            return Err(error.into());
        }
    };
    println!(
        "seed {seed}: {} commits, {} refused, {} connections broken off, {} caches verified, {} packs, {} events in {:.1} s",
        outcome.commit_count,
        outcome.refused_count,
        outcome.broken_off_count,
        outcome.verified_count,
        outcome.pack_count,
        outcome.event_count,
        began.elapsed().as_secs_f64(),
    );
    for finding in outcome.findings.iter().take(50) {
        println!("{finding}");
    }
    match outcome.findings.len() {
        0 => println!("no rule was broken"),
        count => {
            println!("{count} findings");
            guard.map(tempfile::TempDir::keep);
        }
    }
    Ok(outcome.findings.is_empty())
}

/// Runs at half load, and judges what grows.
fn soak(
    options: &Options,
    minutes: f64,
    server: ServerCommand,
    dir: PathBuf,
    seed: u64,
) -> Result<bool, Box<dyn std::error::Error>> {
    let soak = soak::run(&soak::Plan {
        server,
        framing: options.framing,
        dir,
        client_count: options.clients,
        object_count: options.objects,
        time: Duration::try_from_secs_f64(minutes * 60.0)?,
        look_interval: Duration::from_millis(500),
        pack_interval: Duration::from_secs(60),
        restart_count: 9,
        seed,
    })?;
    let findings = soak.findings();
    println!("{soak}");
    findings.iter().for_each(|finding| println!("{finding}"));
    Ok(findings.is_empty())
}

/// Says where the files are of a run that failed.
fn keep(guard: Option<&tempfile::TempDir>) {
    if let Some(guard) = guard {
        eprintln!("zeo-stress: the server's files are kept in {}", guard.path().display());
    }
}
