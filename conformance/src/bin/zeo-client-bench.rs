//! Measures our client beside Python's; `BENCHMARKS.md` has the results.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use zeo_conformance::bench::clients::{ClientPlan, Workload, markdown, run};
use zeo_conformance::bench::data::SMALL;
use zeo_conformance::bench::run::ECHO_COMMAND;
use zeo_conformance::bench::target::ServerSpec;
use zeo_conformance::bench::{BenchError, echo};
use zeo_conformance::config::Framing;
use zeo_conformance::peers::{Peer, PeerVersion};

/// Measures our client beside that of Python's ZEO 6.2, on the same server of ours.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Messages as msgpack in place of pickles.
    #[arg(long)]
    msgpack: bool,
    /// Measure only workloads whose name contains this (`call path` is the last table); may be repeated.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Turns of each client at each workload.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Objects that are loaded in a turn.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=SMALL.count))]
    loads: u64,
    /// Commits of a turn.
    #[arg(long, default_value_t = 1000)]
    commits: usize,
    /// The server [default: runzeo beside this program].
    #[arg(long, value_name = "PATH")]
    runzeo: Option<PathBuf>,
    /// The directory for everything [default: below target].
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    /// What to do instead.
    #[command(subcommand)]
    command: Option<Other>,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// Answer messages with zeros: this program calls itself so.
    #[command(name = ECHO_COMMAND, hide = true)]
    EchoServer {
        /// Where to listen.
        port: u16,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.command {
        Some(Other::EchoServer { port }) => echo::serve(*port).map_err(BenchError::from),
        None => measure(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zeo-client-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), BenchError> {
    let program = std::env::current_exe()?;
    let beside = program.parent().unwrap_or_else(|| Path::new("."));
    let runzeo = options.runzeo.clone().unwrap_or_else(|| beside.join("runzeo"));
    let runzeo = runzeo.canonicalize().map_err(|error| {
        let build = "cargo build --release --bin runzeo";
        BenchError::Missing(format!("{}: {error}; `{build}` makes it", runzeo.display()))
    })?;
    let target = beside.parent().unwrap_or(beside);
    let dir = options.dir.clone().unwrap_or_else(|| target.join("bench"));
    let python = Peer::ensure(PeerVersion::Zeo62);
    let is_chosen =
        |name: &str| options.only.is_empty() || options.only.iter().any(|text| name.contains(text.as_str()));
    let words = vec![runzeo.into(), "-C".into(), "{config}".into()];
    let plan = ClientPlan {
        server: ServerSpec::new("ours", words),
        python: python.map_err(|error| BenchError::Missing(format!("Python's ZEO: {error}")))?,
        framing: if options.msgpack { Framing::Msgpack } else { Framing::Pickle },
        workloads: Workload::ALL.into_iter().filter(|workload| is_chosen(&workload.to_string())).collect(),
        paths: is_chosen("call path"),
        round_count: options.rounds.max(1),
        load_count: usize::try_from(options.loads).unwrap_or(1),
        commit_count: options.commits.max(1),
        dir: dir.join(std::process::id().to_string()),
        echo_program: program.clone(),
    };
    let outcome = run(&plan, &mut |what| eprintln!("{what}"))?;
    println!("{}", markdown(&outcome));
    Ok(())
}
