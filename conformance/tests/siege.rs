//! What strangers cost, on a small scale: short runs of `zeo_conformance::siege` against our server.
//!
//! `zeo-siege` makes large ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use zeo_conformance::server::{Ready, ServerCommand};
use zeo_conformance::siege::{Plan, run, together};

/// That of `runzeo`: what the server keeps is judged, and the allocator decides about most of it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The first argument that makes this program the server.
const SERVE_ARGUMENT: &str = "--serve";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == SERVE_ARGUMENT) {
        return zeo_server::process::run(std::iter::once("runzeo".into()).chain(args));
    }
    let none = Plan {
        server: ServerCommand { template: vec![], ready: Ready::Line, is_python: false },
        dir: "".into(),
        silent_count: 0,
        slow_count: 0,
        reader_count: 0,
        commit_count: 0,
        storm_count: 0,
        measured: Duration::from_millis(100),
        handshake_timeout: Duration::from_secs(1),
    };
    let parts = [
        ("silent", Plan { silent_count: 300, ..none.clone() }),
        ("slow", Plan { slow_count: 100, ..none.clone() }),
        ("storm", Plan { storm_count: 2_000, ..none }),
    ];
    let trial = |(name, plan)| Trial::test(format!("siege::{name}"), move || siege(plan));
    let mut trials: Vec<Trial> = parts.into_iter().map(trial).collect();
    trials.push(Trial::test("siege::together", together));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// This program again.
fn server() -> Result<ServerCommand, Failed> {
    let program = std::env::current_exe()?;
    let template = vec![program.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
    Ok(ServerCommand { template, ready: Ready::Line, is_python: false })
}

/// All kinds of strangers for some seconds: what the client that behaves has to wait depends on the machine, what the server
/// keeps does not.
fn together() -> Result<(), Failed> {
    let dir = tempfile::TempDir::with_prefix("zeo-siege-")?;
    let outcome = together::run(&together::Plan {
        server: server()?,
        dir: dir.path().to_owned(),
        alone: Duration::from_secs(1),
        siege: Duration::from_secs(10),
        only: Vec::new(),
    })?;
    let findings = outcome.kept();
    assert!(findings.is_empty(), "{outcome}\n{findings:?}");
    let [before, most, _] = outcome.descriptors;
    assert!(most > before + 100, "they were there: {outcome}");
    assert!(outcome.waits.iter().all(|waits| waits.loads.count > 0 && waits.commits.count > 0), "{outcome}");
    Ok(())
}

fn siege(plan: Plan) -> Result<(), Failed> {
    let dir = tempfile::TempDir::with_prefix("zeo-siege-")?;
    let parts = run(&Plan { server: server()?, dir: dir.path().to_owned(), ..plan })?;
    let [part] = parts.as_slice() else { panic!("one part: {parts:?}") };
    let findings = part.findings();
    assert!(findings.is_empty(), "{part}\n{findings:?}");
    // Others were served meanwhile: how often is the machine's business, a load without a reply fails the run. And no
    // stranger is kept: what a connection needs is a few KiB.
    assert!(part.meanwhile.count > 0, "{part}");
    let [before, most, _] = part.resident_kib;
    assert!(most < before + 32 * 1024, "{part}");
    Ok(())
}
