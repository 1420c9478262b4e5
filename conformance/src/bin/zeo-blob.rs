//! A blob of two gigabytes through a server and back: how much memory that takes.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use zeo_codec::Oid;
use zeo_conformance::bench::BenchError;
use zeo_conformance::bench::target::{ServerSpec, StorageKind, Target};
use zeo_conformance::config::Framing;

/// Sends a large blob to a server, reads it back, and says how much memory the server had.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Size of the blob in MB (1,000,000 bytes).
    #[arg(long, value_name = "MB", default_value_t = 2000)]
    size: u64,
    /// Another server: NAME=COMMAND, with {config} where the path of the configuration goes.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = ServerSpec::parse)]
    server: Option<ServerSpec>,
    /// Where the blob goes [default: below the system's directory for temporary files].
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zeo-blob: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), BenchError> {
    let spec = match &options.server {
        Some(spec) => spec.clone(),
        None => ours()?,
    };
    let parent = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = tempfile::Builder::new().prefix("zeo-blob-").tempdir_in(parent)?;
    let len = options.size.saturating_mul(1_000_000);
    let mut target = Target::new(&spec, dir.path().to_owned(), Framing::Pickle, StorageKind::Blobs)?;
    let (mut client, _) = target.start()?;
    let before = target.memory()?;

    let began = Instant::now();
    let serial = client.upload_blob(Oid::from_u64(1), len)?;
    let (uploaded, up) = (target.memory()?, began.elapsed());
    let began = Instant::now();
    client.download_blob(Oid::from_u64(1), serial, len)?;
    let (downloaded, down) = (target.memory()?, began.elapsed());
    target.stop()?;

    let line = |what: &str, peak_kib: u64| println!("{what:<28}{:>8.1} MiB", mib(peak_kib));
    println!("{}: a blob of {} MB, every byte compared", spec.name, options.size);
    line("memory before", before.resident_kib);
    line("peak after the upload", uploaded.peak_kib);
    line("peak after the download", downloaded.peak_kib);
    println!("{:<28}{:>8.0} MB/s up, {:.0} MB/s down", "on the way", rate(len, up), rate(len, down));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

#[expect(clippy::cast_precision_loss, reason = "shown without digits")]
fn rate(len: u64, time: Duration) -> f64 {
    len as f64 / 1e6 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// `runzeo` beside this program. If cargo runs this program, it builds the server first.
fn ours() -> Result<ServerSpec, BenchError> {
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "zeo-server", "--bin", "runzeo"]);
        build.args((!cfg!(debug_assertions)).then_some("--release"));
        let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
        if !status.success() {
            return Err(BenchError::Missing(format!("cargo build: {status}")));
        }
    }
    let runzeo = std::env::current_exe()?.with_file_name("runzeo");
    if !runzeo.is_file() {
        let how = "`cargo build --release --bin runzeo` makes it";
        return Err(BenchError::Missing(format!("{} is not there; {how}", runzeo.display())));
    }
    let words = vec![runzeo.into(), "-C".into(), "{config}".into()];
    Ok(ServerSpec::new("runzeo", words))
}
