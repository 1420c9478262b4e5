//! Measures the client's cache file beside Python's; `BENCHMARKS.md` has the results.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use zeo_conformance::bench::BenchError;
use zeo_conformance::bench::cache::{CachePlan, markdown, run};
use zeo_conformance::peers::{Peer, PeerVersion};

/// Fills cache files, ours and that of Python's ZEO 6.2, and measures loads and memory.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Size of the caches in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    size: u64,
    /// Size of the objects in bytes, a multiple of eight.
    #[arg(long = "objects", value_name = "BYTES", default_value_t = 1024)]
    data_len: u64,
    /// Turns of each cache.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Loads of a turn.
    #[arg(long, default_value_t = 300_000)]
    loads: usize,
    /// Where the files go [default: below target].
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zeo-cache: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), BenchError> {
    if options.data_len == 0 || !options.data_len.is_multiple_of(8) {
        return Err(BenchError::Missing("the size of objects is a multiple of eight".to_owned()));
    }
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).unwrap_or_else(|| Path::new("."));
    let parent = options.dir.clone().unwrap_or_else(|| target.join("bench"));
    std::fs::create_dir_all(&parent)?;
    let dir = tempfile::Builder::new().prefix("zeo-cache-").tempdir_in(parent)?;
    let python = Peer::ensure(PeerVersion::Zeo62);
    let plan = CachePlan {
        size: options.size * 1024 * 1024,
        data_len: options.data_len,
        round_count: options.rounds.max(1),
        load_count: options.loads.max(1),
        dir: dir.path().to_owned(),
        python: python.map_err(|error| BenchError::Missing(format!("Python's ZEO: {error}")))?,
    };
    let rows = run(&plan, &mut |what| eprintln!("{what}"))?;
    println!("{}", markdown(&plan, &rows, dir.path()));
    Ok(())
}
