//! Lets clients in Rust and in Python loose on one database, and judges whether what they saw and did is one history;
//! see `zeo_conformance::serial`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use zeo_conformance::config::Framing;
use zeo_conformance::peers::{Peer, PeerVersion};
use zeo_conformance::serial::{Plan, run};
use zeo_conformance::server::{Ready, ServerCommand};

/// Checks that all reads and commits of clients in Rust and in Python are one history, while the server is killed.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Number of clients in Rust.
    #[arg(long, default_value_t = 3)]
    rust: u64,
    /// Number of clients in Python (ZEO 6.2).
    #[arg(long, default_value_t = 3)]
    python: u64,
    /// Number of objects.
    #[arg(long, default_value_t = 36)]
    objects: u64,
    /// How long, in seconds.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// How long the server lives, in seconds, on average.
    #[arg(long, default_value_t = 2.5)]
    server_life: f64,
    /// How messages are encoded.
    #[arg(long, value_enum, default_value = "pickle")]
    framing: Framing,
    /// The dice's seed [default: the time].
    #[arg(long)]
    seed: Option<u64>,
    /// The server: words with {config} where the path of the configuration goes [default: runzeo beside this program].
    #[arg(long, value_name = "COMMAND", conflicts_with = "python_server")]
    server: Option<String>,
    /// The server is that of Python's ZEO 6.2.
    #[arg(long)]
    python_server: bool,
    /// Where all files go [default: a temporary directory, removed if all is well].
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match serial(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("zeo-serial: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serial(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let peer = Peer::ensure(PeerVersion::Zeo62)?;
    let server = if options.python_server {
        let template = vec![peer.runzeo().into(), "-C".into(), "{config}".into()];
        ServerCommand { template, ready: Ready::Greeting, is_python: true }
    } else {
        ServerCommand::chosen(options.server.as_deref())?
    };
    let guard = match &options.dir {
        Some(dir) => std::fs::create_dir_all(dir).map(|()| None)?,
        None => Some(tempfile::TempDir::with_prefix("zeo-serial-")?),
    };
    let dir = match (&options.dir, &guard) {
        (Some(dir), _) => std::path::absolute(dir)?,
        (None, guard) => guard.as_ref().map(|guard| guard.path().to_owned()).unwrap_or_default(),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(now.as_secs());
    let plan = Plan {
        server,
        framing: options.framing,
        peer,
        dir,
        rust_count: options.rust,
        python_count: options.python,
        object_count: options.objects,
        time: Duration::from_secs(options.seconds),
        server_life: Duration::try_from_secs_f64(options.server_life)?,
        seed,
    };
    let keep = || {
        guard.map(tempfile::TempDir::keep);
        eprintln!("zeo-serial: seed {seed}, all files are in {}", plan.dir.display());
    };
    let report = match run(&plan) {
        Ok(report) => report,
        Err(error) => {
            keep();
            return Err(error.into());
        }
    };
    println!("seed {seed}\n{report}");
    for finding in report.verdict.findings.iter().take(50) {
        println!("{finding}");
    }
    let is_right = report.verdict.findings.is_empty();
    if is_right {
        println!("one history");
    } else {
        println!("{} findings", report.verdict.findings.len());
        keep();
    }
    Ok(is_right)
}
