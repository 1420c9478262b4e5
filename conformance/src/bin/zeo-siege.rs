//! Lets strangers loose on a server, and says what they cost; see `zeo_conformance::siege`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use zeo_conformance::server::{Ready, ServerCommand};
use zeo_conformance::siege::{Plan, run, together};

/// Says what clients that say nothing, little, or too much cost those who behave.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Connections that say nothing; 0 leaves this part out, here and below.
    #[arg(long, default_value_t = 5_000)]
    silent: usize,
    /// Connections that say a byte a second.
    #[arg(long, default_value_t = 1_000)]
    slow: usize,
    /// Clients that read nothing while others commit.
    #[arg(long, default_value_t = 8)]
    readers: usize,
    /// Commits that they do not read.
    #[arg(long, default_value_t = 150_000)]
    commits: u64,
    /// Connections that come and go.
    #[arg(long, default_value_t = 100_000)]
    storm: usize,
    /// Instead of all this: strangers of all kinds at once for so many seconds, and a client that loads and commits
    /// meanwhile.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["silent", "slow", "readers", "commits", "storm", "handshake_timeout"])]
    together: Option<u64>,
    /// With --together: only strangers whose description contains this; may be repeated.
    #[arg(long, value_name = "TEXT", requires = "together")]
    only: Vec<String>,
    /// `handshake-timeout` of the server, in seconds.
    #[arg(long, default_value_t = 10)]
    handshake_timeout: u64,
    /// How long the loads of others are measured before, in seconds.
    #[arg(long, default_value_t = 5)]
    measured: u64,
    /// The server: words with {config} where the path of the configuration goes [default: runzeo beside this
    /// program].
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
    /// Where the server's files go [default: a temporary directory].
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match siege(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("zeo-siege: {error}");
            ExitCode::FAILURE
        }
    }
}

fn siege(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    // Each stranger is a descriptor here, and one in the server, which inherits the limit.
    let mut limits = getrlimit(Resource::Nofile);
    limits.current = limits.maximum;
    setrlimit(Resource::Nofile, limits)?;
    let guard = tempfile::TempDir::with_prefix("zeo-siege-")?;
    let server = ServerCommand { ready: Ready::Line, ..ServerCommand::chosen(options.server.as_deref())? };
    let dir = match &options.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            // The server has a working directory of its own.
            std::path::absolute(dir)?
        }
        None => guard.path().to_owned(),
    };
    let measured = Duration::from_secs(options.measured);
    if let Some(seconds) = options.together {
        let siege = Duration::from_secs(seconds);
        let outcome = together::run(&together::Plan {
            server,
            dir,
            alone: measured,
            siege,
            only: options.only.clone(),
        })?;
        println!("{outcome}");
        return Ok(judge(&outcome.findings()));
    }
    let plan = Plan {
        server,
        dir,
        silent_count: options.silent,
        slow_count: options.slow,
        reader_count: options.readers,
        commit_count: options.commits,
        storm_count: options.storm,
        measured,
        handshake_timeout: Duration::from_secs(options.handshake_timeout),
    };
    let parts = run(&plan)?;
    let mut findings = Vec::new();
    for part in &parts {
        println!("{part}");
        findings.extend(part.findings());
    }
    Ok(judge(&findings))
}

/// Says what is wrong, if anything is.
fn judge(findings: &[String]) -> bool {
    match findings {
        [] => println!("the server is rid of all of them, and kept nothing"),
        findings => findings.iter().for_each(|finding| println!("{finding}")),
    }
    findings.is_empty()
}
