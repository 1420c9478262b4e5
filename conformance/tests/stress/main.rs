//! The ordering rules under stress: short runs of `zeo_conformance::stress` against our server.
//!
//! `zeo-stress` makes long ones, and against other servers, too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use zeo_conformance::config::Framing;
use zeo_conformance::server::{Ready, ServerCommand};
use zeo_conformance::stress::check::Leniency;
use zeo_conformance::stress::{Plan, run, soak};

/// The first argument that makes this program the server.
const SERVE_ARGUMENT: &str = "--serve";

/// What runs differ in: framing, kills of the server, restarts, packs.
const RUNS: &[(&str, Framing, u64, u64, u64)] = &[
    ("pickle", Framing::Pickle, 0, 0, 0),
    ("msgpack", Framing::Msgpack, 0, 0, 0),
    ("killed", Framing::Pickle, 4, 0, 0),
    ("restarted", Framing::Msgpack, 0, 8, 0),
    ("packed", Framing::Pickle, 0, 0, 6),
    ("packed_and_killed", Framing::Msgpack, 3, 0, 6),
];

/// Commits of each run.
const COMMIT_COUNT: u64 = 2_000;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == SERVE_ARGUMENT) {
        return zeo_server::process::run(std::iter::once("runzeo".into()).chain(args));
    }
    let trial = |&(name, framing, kill_count, restart_count, pack_count): &(&str, _, _, _, _)| {
        Trial::test(format!("stress::{name}"), move || stress(framing, kill_count, restart_count, pack_count))
    };
    let mut trials: Vec<Trial> = RUNS.iter().map(trial).collect();
    trials.push(Trial::test("stress::soaked", soaked));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn server() -> Result<ServerCommand, Failed> {
    let program = std::env::current_exe()?;
    let template = vec![program.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
    Ok(ServerCommand { template, ready: Ready::Line, is_python: false })
}

/// `guarantees.md` 2, point 29, for a moment: memory settles later, descriptors do not grow.
fn soaked() -> Result<(), Failed> {
    let dir = tempfile::TempDir::with_prefix("zeo-soak-")?;
    let soak = soak::run(&soak::Plan {
        server: server()?,
        framing: Framing::Pickle,
        dir: dir.path().to_owned(),
        client_count: 4,
        object_count: 12,
        time: Duration::from_secs(4),
        look_interval: Duration::from_millis(50),
        pack_interval: Duration::from_millis(500),
        restart_count: 2,
        seed: 1,
    })?;
    assert!(soak.commit_count > 20 && soak.pack_count > 0, "{soak:?}");
    assert!(soak.samples.len() > 10 && soak.samples.iter().all(|sample| sample.resident_kib > 0), "{soak:?}");
    assert!(soak.growth().descriptors < 5.0, "{soak:?}");
    assert!(soak.verified.transaction_count > 0 && soak.verified.last_tid == soak.last_tid, "{soak:?}");
    Ok(())
}

fn stress(framing: Framing, kill_count: u64, restart_count: u64, pack_count: u64) -> Result<(), Failed> {
    let commit_count = COMMIT_COUNT;
    let dir = tempfile::TempDir::with_prefix("zeo-stress-")?;
    let outcome = run(&Plan {
        server: server()?,
        framing,
        dir: dir.path().to_owned(),
        client_count: 6,
        object_count: 12,
        commit_count,
        kill_count,
        restart_count,
        pack_count,
        seed: 1,
        leniency: Leniency::default(),
    })?;
    let findings: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    if !findings.is_empty() {
        return Err(findings.join("\n").into());
    }
    // Enough of everything, or the run has shown nothing.
    assert!(outcome.commit_count >= commit_count, "{outcome:?}");
    assert!(outcome.refused_count > commit_count / 50, "{outcome:?}");
    assert!(outcome.broken_off_count > 10, "{outcome:?}");
    assert!(outcome.event_count > 5 * commit_count, "{outcome:?}");
    // Each client comes back from a broken-off connection at least, and most of them keep their caches.
    assert!(outcome.verified_count > 10 + restart_count, "{outcome:?}");
    // The last ones may come too late.
    assert!(outcome.pack_count >= pack_count.div_ceil(2), "{outcome:?}");
    Ok(())
}
