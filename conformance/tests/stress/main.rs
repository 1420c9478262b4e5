//! The ordering rules under stress: short runs of `zeo_conformance::stress` against our server.
//!
//! `zeo-stress` makes long ones, and against other servers, too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use zeo_conformance::config::Framing;
use zeo_conformance::server::{Ready, ServerCommand};
use zeo_conformance::stress::check::Leniency;
use zeo_conformance::stress::{Plan, run};

/// The first argument that makes this program the server.
const SERVE_ARGUMENT: &str = "--serve";

/// What runs differ in: framing, commits, kills of the server, packs.
const RUNS: &[(&str, Framing, u64, u64, u64)] = &[
    ("pickle", Framing::Pickle, 2_000, 0, 0),
    ("msgpack", Framing::Msgpack, 2_000, 0, 0),
    ("killed", Framing::Pickle, 2_000, 4, 0),
    ("packed", Framing::Pickle, 2_000, 0, 6),
    ("packed_and_killed", Framing::Msgpack, 2_000, 3, 6),
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == SERVE_ARGUMENT) {
        return zeo_server::process::run(std::iter::once("runzeo".into()).chain(args));
    }
    let trial = |&(name, framing, commit_count, kill_count, pack_count): &(&str, _, _, _, _)| {
        Trial::test(format!("stress::{name}"), move || stress(framing, commit_count, kill_count, pack_count))
    };
    libtest_mimic::run(&Arguments::from_args(), RUNS.iter().map(trial).collect()).exit_code()
}

fn stress(framing: Framing, commit_count: u64, kill_count: u64, pack_count: u64) -> Result<(), Failed> {
    let program = std::env::current_exe()?;
    let template = vec![program.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
    let dir = tempfile::TempDir::with_prefix("zeo-stress-")?;
    let outcome = run(&Plan {
        server: ServerCommand { template, ready: Ready::Line, is_python: false },
        framing,
        dir: dir.path().to_owned(),
        client_count: 6,
        object_count: 12,
        commit_count,
        kill_count,
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
    // The last ones may come too late.
    assert!(outcome.pack_count >= pack_count.div_ceil(2), "{outcome:?}");
    Ok(())
}
