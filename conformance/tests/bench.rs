//! The benchmarks for a moment, with our server and the ceiling: that every part runs and finds no wrong answer. What the
//! figures are is the machine's business.
//!
//! `zeo-bench` makes real ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use zeo_conformance::bench::data::SMALL;
use zeo_conformance::bench::latency::{self, LatencyPlan};
use zeo_conformance::bench::plan::{Schedule, Workload};
use zeo_conformance::bench::run::{ECHO_COMMAND, Plan, run};
use zeo_conformance::bench::start::{self, StartPlan, State};
use zeo_conformance::bench::target::{CEILING_COMMAND, ServerSpec, StorageKind};
use zeo_conformance::bench::window::Pace;
use zeo_conformance::bench::{ceiling, echo, report};
use zeo_conformance::config::Framing;

/// The first argument that makes this program the server.
const SERVE_ARGUMENT: &str = "--serve";
const PACE: Pace = Pace { warm_up: Duration::from_millis(10), window: Duration::from_millis(40) };

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    let mut port = || args.next().unwrap().to_str().unwrap().parse().unwrap();
    match first.as_ref().and_then(|first| first.to_str()) {
        Some(SERVE_ARGUMENT) => {
            return zeo_server::process::run(std::iter::once("runzeo".into()).chain(args));
        }
        Some(ECHO_COMMAND) => echo::serve(port()).unwrap(),
        Some(CEILING_COMMAND) => {
            let port = port();
            let file = args.next();
            ceiling::serve(port, file.as_deref().map(Path::new)).unwrap();
        }
        _ => {}
    }
    let trials = vec![
        Trial::test("bench::workloads_on_a_file", || workloads(StorageKind::File, Framing::Pickle)),
        Trial::test("bench::workloads_in_memory", || workloads(StorageKind::Mapping, Framing::Msgpack)),
        Trial::test("bench::starts", starts),
        Trial::test("bench::latency", latency),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn ours() -> Result<ServerSpec, Failed> {
    let words = vec![std::env::current_exe()?.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
    Ok(ServerSpec::new("ours", words))
}

fn workloads(storage: StorageKind, framing: Framing) -> Result<(), Failed> {
    let dir = tempfile::TempDir::with_prefix("zeo-bench-")?;
    let program = std::env::current_exe()?;
    let load = |is_on_one_core| Workload::Loads { connection_count: 2, depth: 2, set: SMALL, is_on_one_core };
    let plan = Plan {
        servers: vec![ours()?],
        ceiling: Some(ServerSpec::ceiling(&program, storage)),
        framing,
        storage,
        schedule: Schedule { pace: PACE, round_count: 1, start_count: 1 },
        workloads: vec![
            load(false),
            load(true),
            Workload::Connects { client_count: 2 },
            Workload::Commits { client_count: 3, object_count: 2 },
            Workload::Mixture { connection_count: 2 },
            Workload::Announcements { listener_count: 20 },
        ],
        dir: dir.path().join("run"),
        echo_program: program,
    };
    let outcome = run(&plan, &mut |_| {})?;
    assert_eq!(outcome.rows.len(), plan.workloads.len());
    for row in &outcome.rows {
        let figures: Vec<_> = row.figures.iter().chain(&row.ceiling).collect();
        assert_eq!(figures.len(), 2, "{row:?}");
        assert!(figures.iter().all(|figure| figure.per_second > 0.0), "{row:?}");
        // Where they could be counted; one sync serves a commit or several.
        let syncs = figures.iter().filter_map(|figure| figure.syncs_each);
        assert!(syncs.into_iter().all(|syncs| syncs > 0.0 && syncs < 2.0), "{row:?}");
    }
    let text = report::markdown(&outcome);
    assert!(text.contains("| ceiling |") && text.contains("the last of 20 listeners"), "{text}");
    Ok(())
}

fn starts() -> Result<(), Failed> {
    let dir = tempfile::TempDir::with_prefix("zeo-bench-")?;
    let plan = StartPlan {
        servers: vec![ours()?],
        maker: ours()?,
        framing: Framing::Pickle,
        object_count: 2_500,
        data_len: 100,
        transaction_count: 1_000,
        round_count: 1,
        dir: dir.path().join("run"),
    };
    let outcome = start::run(&plan, &mut |_| {})?;
    assert!(outcome.file_len > 250_000, "{outcome:?}");
    let states: Vec<_> = outcome.starts.iter().map(|starts| starts.state).collect();
    assert_eq!(states, [State::Empty, State::Indexed, State::Cached, State::OnDisk]);
    assert!(start::markdown(&outcome).contains("without index, from the disk"));
    Ok(())
}

fn latency() -> Result<(), Failed> {
    let dir = tempfile::TempDir::with_prefix("zeo-bench-")?;
    let figures = latency::run(
        &LatencyPlan {
            servers: vec![ours()?],
            framing: Framing::Pickle,
            storage: StorageKind::File,
            reader_count: 2,
            pause: Duration::from_millis(2),
            committer_count: 2,
            object_count: 3,
            pace: PACE,
            round_count: 2,
            dir: dir.path().join("run"),
        },
        &mut |_| {},
    )?;
    let [figure] = figures.as_slice() else { panic!("{figures:?}") };
    assert!(figure.alone.loads.op_count > 0 && figure.beside.loads.op_count > 0, "{figure:?}");
    assert!(figure.alone.commits.op_count == 0 && figure.beside.commits.op_count > 0, "{figure:?}");
    assert!(latency::markdown(&figures).contains("beside commits"));
    Ok(())
}
