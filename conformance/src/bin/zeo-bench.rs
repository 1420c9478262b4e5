//! Measures servers of ZEO against each other and against the machine; `BENCHMARKS.md` has the results.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use zeo_conformance::bench::BenchError;
use zeo_conformance::bench::latency::LatencyPlan;
use zeo_conformance::bench::pack::{self, PackPlan};
use zeo_conformance::bench::plan::{Schedule, Workload};
use zeo_conformance::bench::run::{ECHO_COMMAND, Outcome, Plan, run};
use zeo_conformance::bench::start::StartPlan;
use zeo_conformance::bench::target::{CEILING_COMMAND, ServerSpec, StorageKind};
use zeo_conformance::bench::window::Pace;
use zeo_conformance::bench::{ceiling, echo, latency, report, start};
use zeo_conformance::config::Framing;
use zeo_conformance::peers::{Peer, PeerVersion};

/// Measures our server beside Python's and beside what the machine can do.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Take 20 seconds instead of three minutes.
    #[arg(long)]
    quick: bool,
    /// How messages are encoded.
    #[arg(long, value_enum, default_value = "pickle")]
    framing: FramingChoice,
    /// Where the servers keep objects.
    #[arg(long, value_enum, default_value = "file")]
    storage: StorageKind,
    /// Measure only workloads whose name contains this; may be repeated.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Our server [default: runzeo beside this program].
    #[arg(long, value_name = "PATH")]
    runzeo: Option<PathBuf>,
    /// A Python interpreter with ZEO [default: ZEO 6.2, installed below target/peers].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Leave Python's server out.
    #[arg(long)]
    no_python: bool,
    /// Leave out the server without a storage, and the shares of what it reaches.
    #[arg(long)]
    no_ceiling: bool,
    /// Another server: NAME=COMMAND, with {config} where the path of the configuration goes; may be repeated.
    #[arg(long = "server", value_name = "NAME=COMMAND", value_parser = ServerSpec::parse)]
    servers: Vec<ServerSpec>,
    /// The directory for everything; it must be on the disk to be measured [default: below target].
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    /// Write the figures to this file, as JSON.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// What to do instead.
    #[command(subcommand)]
    command: Option<Other>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FramingChoice {
    Pickle,
    Msgpack,
    Both,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// Answer messages with zeros: this program calls itself so.
    #[command(name = ECHO_COMMAND, hide = true)]
    EchoServer {
        /// Where to listen.
        port: u16,
    },
    /// Answer as a server of ZEO without a storage does: this program calls itself so.
    #[command(name = CEILING_COMMAND, hide = true)]
    CeilingServer {
        /// Where to listen.
        port: u16,
        /// Where the bytes of commits go; they are kept in memory only otherwise.
        file: Option<PathBuf>,
    },
    /// Load and commit beside a pack: how much slower that is, and how long commits stop.
    Pack(PackOptions),
    /// Start with many objects: how long that takes with and without an index file, and how much memory the index.
    Start(StartOptions),
    /// Load at a steady pace, alone and beside clients that commit as fast as they can: how much longer a load takes.
    Latency(LatencyOptions),
}

#[derive(Debug, Args)]
struct PackOptions {
    /// Number of objects.
    #[arg(long, default_value_t = 300_000)]
    objects: u64,
    /// Revisions of each object.
    #[arg(long, default_value_t = 4)]
    revisions: u64,
    /// Connections that load.
    #[arg(long, default_value_t = 4)]
    readers: usize,
    /// Seconds for which the idle server is measured.
    #[arg(long, default_value_t = 3)]
    idle: u64,
}

#[derive(Debug, Args)]
struct StartOptions {
    /// Number of objects.
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
    /// Bytes of each.
    #[arg(long, default_value_t = 100)]
    data_len: usize,
    /// Objects of each transaction.
    #[arg(long, default_value_t = 1_000)]
    transaction: u64,
    /// Starts of each kind.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

#[derive(Debug, Args)]
struct LatencyOptions {
    /// Connections that load.
    #[arg(long, default_value_t = 4)]
    readers: usize,
    /// Microseconds from a load to the next one on each of them.
    #[arg(long, default_value_t = 2_000)]
    pause: u64,
    /// Connections that commit.
    #[arg(long, default_value_t = 8)]
    committers: usize,
    /// Objects of each commit.
    #[arg(long, default_value_t = 10)]
    objects: usize,
    /// Milliseconds of each turn.
    #[arg(long, default_value_t = 2_000)]
    turn: u64,
    /// Turns that each server has, alone and beside commits.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.command {
        Some(Other::EchoServer { port }) => echo::serve(*port).map_err(BenchError::from),
        Some(Other::CeilingServer { port, file }) => {
            ceiling::serve(*port, file.as_deref()).map_err(BenchError::from)
        }
        Some(Other::Pack(pack)) => beside_a_pack(&options, pack),
        Some(Other::Start(start)) => starts(&options, start),
        Some(Other::Latency(latency)) => beside_commits(&options, latency),
        None => benchmark(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zeo-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn benchmark(options: &Options) -> Result<(), BenchError> {
    let Places { program, beside, dir } = Places::find(options)?;
    let framings: &[Framing] = match options.framing {
        FramingChoice::Pickle => &[Framing::Pickle],
        FramingChoice::Msgpack => &[Framing::Msgpack],
        FramingChoice::Both => &Framing::ALL,
    };
    let is_chosen = |workload: &Workload| {
        let name = workload.to_string();
        options.only.is_empty() || options.only.iter().any(|text| name.contains(text.as_str()))
    };
    let mut plan = Plan {
        servers: servers(options, &beside)?,
        ceiling: (!options.no_ceiling).then(|| ServerSpec::ceiling(&program, options.storage)),
        framing: Framing::Pickle,
        storage: options.storage,
        schedule: if options.quick { Schedule::QUICK } else { Schedule::FULL },
        workloads: Workload::all().into_iter().filter(is_chosen).collect(),
        dir,
        echo_program: program,
    };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for &framing in framings {
        plan.framing = framing;
        let outcome = run(&plan, &mut |what| eprintln!("{}: {what}", framing.name()))?;
        println!("{}", report::markdown(&outcome));
        if options.quick {
            println!("One short round of each: for trying things out, not for conclusions.");
        }
        outcomes.push(outcome);
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&outcomes).map_err(std::io::Error::from)?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// Where this program and its server are, and where files go.
struct Places {
    program: PathBuf,
    beside: PathBuf,
    dir: PathBuf,
}

impl Places {
    fn find(options: &Options) -> Result<Self, BenchError> {
        let program = std::env::current_exe()?;
        let beside = program.parent().unwrap_or_else(|| Path::new(".")).to_owned();
        let target = beside.parent().unwrap_or(&beside);
        let dir = options.dir.clone().unwrap_or_else(|| target.join("bench"));
        Ok(Self { dir: dir.join(std::process::id().to_string()), beside, program })
    }
}

/// The framing of a run that has only one.
fn one_framing(options: &Options) -> Framing {
    match options.framing {
        FramingChoice::Pickle | FramingChoice::Both => Framing::Pickle,
        FramingChoice::Msgpack => Framing::Msgpack,
    }
}

fn starts(options: &Options, chosen: &StartOptions) -> Result<(), BenchError> {
    let Places { beside, dir, .. } = Places::find(options)?;
    let plan = StartPlan {
        servers: servers(options, &beside)?,
        maker: ours(options, &beside)?,
        framing: one_framing(options),
        object_count: chosen.objects,
        data_len: chosen.data_len,
        transaction_count: chosen.transaction,
        round_count: chosen.rounds,
        dir,
    };
    let outcome = start::run(&plan, &mut |what| eprintln!("{what}"))?;
    println!("{}", start::markdown(&outcome));
    Ok(())
}

fn beside_commits(options: &Options, chosen: &LatencyOptions) -> Result<(), BenchError> {
    let Places { program, beside, dir } = Places::find(options)?;
    let mut servers = servers(options, &beside)?;
    if !options.no_ceiling {
        servers.push(ServerSpec::ceiling(&program, options.storage));
    }
    let plan = LatencyPlan {
        servers,
        framing: one_framing(options),
        storage: options.storage,
        reader_count: chosen.readers,
        pause: Duration::from_micros(chosen.pause),
        committer_count: chosen.committers,
        object_count: chosen.objects,
        pace: Pace { warm_up: Duration::from_millis(200), window: Duration::from_millis(chosen.turn) },
        round_count: chosen.rounds,
        dir,
    };
    let figures = latency::run(&plan, &mut |what| eprintln!("{what}"))?;
    println!("{}", latency::markdown(&figures));
    Ok(())
}

fn beside_a_pack(options: &Options, pack: &PackOptions) -> Result<(), BenchError> {
    let Places { beside, dir, .. } = Places::find(options)?;
    let plan = PackPlan {
        servers: servers(options, &beside)?,
        framing: one_framing(options),
        object_count: pack.objects,
        revision_count: pack.revisions,
        reader_count: pack.readers,
        idle: Duration::from_secs(pack.idle),
        dir,
    };
    let figures = pack::run(&plan, &mut |what| eprintln!("{what}"))?;
    println!("{}", pack::markdown(&figures));
    Ok(())
}

/// Python's server first, as the measure of the others; then ours, then those by command.
fn servers(options: &Options, beside: &Path) -> Result<Vec<ServerSpec>, BenchError> {
    let mut servers = Vec::new();
    let python = match &options.python {
        _ if options.no_python => None,
        Some(python) => Some(python.clone()),
        None => {
            let peer = Peer::ensure(PeerVersion::Zeo62);
            Some(peer.map_err(|error| BenchError::Missing(format!("Python's ZEO: {error}")))?.interpreter())
        }
    };
    if let Some(python) = python {
        let words = [python.into(), "-m".into(), "ZEO.runzeo".into()];
        servers.push(server("Python", words));
    }
    servers.push(ours(options, beside)?);
    servers.extend(options.servers.iter().cloned());
    Ok(servers)
}

fn ours(options: &Options, beside: &Path) -> Result<ServerSpec, BenchError> {
    let runzeo = options.runzeo.clone().unwrap_or_else(|| beside.join("runzeo"));
    let runzeo = runzeo.canonicalize().map_err(|error| {
        let build = "cargo build --release --bin runzeo";
        BenchError::Missing(format!("{}: {error}; `{build}` makes it", runzeo.display()))
    })?;
    Ok(server("ours", [runzeo.into()]))
}

fn server(name: &str, words: impl IntoIterator<Item = OsString>) -> ServerSpec {
    let words = words.into_iter().chain(["-C".into(), "{config}".into()]).collect();
    ServerSpec::new(name, words)
}
