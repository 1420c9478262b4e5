//! Captured clients of Python play to our server: it says what Python's server said, with the exceptions that are listed
//! in `check::Exception`. And captured servers play to the same version of Python's client, which shows that a played server is as good as a
//! real one.
//!
//! By default those of some pairs; with `ZEO_TEST_ALL` those of all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod ours;
mod tampered;

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use zeo_codec::Oid;
use zeo_conformance::check::{Exception, Plan, Target, run as check};
use zeo_conformance::peers::Peer;
use zeo_conformance::replay::provider::Provider;
use zeo_conformance::replay::start::start_and_play;
use zeo_conformance::replay::{Explained, Plan as ReplayPlan, Report, can_be_played, play};
use zeo_conformance::scenarios::guest::{can_be_guests, entertain};
use zeo_conformance::scenarios::{Pair, Scenario, all, capture_path, fixtures_dir};
use zeo_conformance::server::{Ready, Server, ServerCommand, Startup};

/// The first argument that makes this program the server.
const SERVE_ARGUMENT: &str = "--serve";
const ALL_VARIABLE: &str = "ZEO_TEST_ALL";
/// If set, a trial that would be ignored fails: for machines where Python must be at hand.
const REQUIRE_VARIABLE: &str = "ZEO_TEST_REQUIRE";
/// A message comes at once, or never.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where something is to be missed it is waited for again and again.
const IMPATIENCE: Duration = Duration::from_secs(1);
const USUAL: [&str; 4] =
    ["6.2-6.2-msgpack", "5.4.1-5.4.1-pickle", "4.3.1-4.3.1-pickle", "4.3.1-py2-4.3.1-py2-pickle"];

/// Of these the server is played in the everyday tests: each takes a second of Python.
const USUAL_GUESTS: [&str; 6] = ["commit", "conflict", "blobs", "verify_quick", "restart", "disconnect_vote"];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == SERVE_ARGUMENT) {
        return zeo_server::process::run(std::iter::once("runzeo".into()).chain(args));
    }
    let is_all = std::env::var_os(ALL_VARIABLE).is_some();
    let mut trials = vec![
        Trial::test("replay::a_server_that_runs_is_checked_while_its_storage_is_empty", running),
        Trial::test("replay::through_the_rewriting_proxy", rewritten),
        Trial::test("replay::a_server_that_hands_out_other_oids", other_oids),
        Trial::test("replay::noticed::a_quota_that_is_not_kept", || noticed("quota", "quota 3000")),
        Trial::test("replay::noticed::blobs_that_are_not_taken", || noticed("blobs", "blob-dir blobs")),
    ];
    trials.extend(commands::trials());
    trials.extend(tampered::trials());
    trials.extend(ours::trials(is_all));
    for pair in Pair::all() {
        if !pair.interoperates() || (!is_all && !USUAL.contains(&pair.to_string().as_str())) {
            continue;
        }
        for scenario in
            all().iter().filter(|scenario| scenario.suits(pair) && can_be_played(scenario.name).is_ok())
        {
            let title = format!("replay::{pair}::{}", scenario.name);
            trials.push(Trial::test(title, move || replayed(pair, scenario.name)));
        }
        if pair.server.is_python2() {
            continue;
        }
        let is_wanted = |scenario: &&Scenario| is_all || USUAL_GUESTS.contains(&scenario.name);
        let suits =
            |scenario: &&Scenario| scenario.suits(pair) && can_be_guests(scenario.name, pair.client).is_ok();
        for scenario in all().iter().filter(is_wanted).filter(suits) {
            let title = format!("replay::as_server::{pair}::{}", scenario.name);
            trials.push(Trial::ignorable_test(title, move || with_guests(pair, scenario.name)));
        }
    }
    let other_client = || guests("6.2-6.2-msgpack", "conflict", "commit", PATIENCE);
    trials.push(Trial::ignorable_test("replay::noticed::a_client_that_does_something_else", move || {
        other_client()?.map_or_else(
            |reason| Ok(Completion::ignored_with(reason)),
            |report| match report.differences.first() {
                Some(first) if first.number.is_some() => Ok(Completion::Completed),
                first => Err(format!("{first:?}").into()),
            },
        )
    }));
    let mut arguments = Arguments::from_args();
    // Trials mostly wait.
    arguments.test_threads.get_or_insert(6);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn ours() -> Result<ServerCommand, Failed> {
    let template =
        vec![std::env::current_exe()?.into(), SERVE_ARGUMENT.into(), "-C".into(), "{config}".into()];
    Ok(ServerCommand { template, ready: Ready::Line, is_python: false })
}

/// A server with an empty storage of this name, in a directory of its own.
fn served(storage: &str) -> Result<(TempDir, Server), Failed> {
    let dir = tempfile::tempdir()?;
    let text = |port| {
        format!(
            "<zeo>\n  address 127.0.0.1:{port}\n</zeo>\n<filestorage {storage}>\n  path Data.fs\n</filestorage>\n"
        )
    };
    let startup = Startup { text: &text, port: None, greeting: None };
    let server = Server::start_with("server", &ours()?, &startup, dir.path())?;
    Ok((dir, server))
}

fn capture(pair: &str, scenario: &str) -> PathBuf {
    fixtures_dir().join(capture_path(pair.parse().unwrap(), scenario))
}

fn replayed(pair: Pair, scenario: &str) -> Result<(), Failed> {
    let path = capture(&pair.to_string(), scenario);
    // Inside of this program, unless it has to be killed.
    let provider = Provider::Inside(ours()?);
    let report = start_and_play(&path, &provider, PATIENCE).map_err(|error| error.to_string())??;
    assert!(report.said_count > 0 && report.compared_count > 0, "nothing was played");
    let shown: String =
        report.differences.iter().map(|difference| Explained(difference).to_string()).collect();
    match (&*report.differences, Exception::find(scenario, pair)) {
        ([], None) => Ok(()),
        (differences, Some(exception)) if exception.explains(differences) => Ok(()),
        ([], Some(Exception { why, .. })) => Err(format!("the same, although {why}").into()),
        (_, Some(exception)) => Err(format!("not {exception:?}, but:\n{shown}").into()),
        (_, None) => Err(shown.into()),
    }
}

/// The server of a capture plays to the clients of a scenario; or the reason why that cannot be here.
fn guests(
    pair: &str,
    scenario: &str,
    captured: &str,
    patience: Duration,
) -> Result<Result<Report, String>, Failed> {
    let pair: Pair = pair.parse().unwrap();
    let peer: Peer = match pair.client.ensure() {
        Ok(peer) => peer,
        Err(reason) if std::env::var_os(REQUIRE_VARIABLE).is_none() => return Ok(Err(reason.to_string())),
        Err(reason) => return Err(reason.into()),
    };
    let capture = capture(&pair.to_string(), captured);
    Ok(Ok(entertain(&peer, scenario, &capture, patience).map_err(|error| error.to_string())?))
}

fn with_guests(pair: Pair, scenario: &str) -> Result<Completion, Failed> {
    let report = match guests(&pair.to_string(), scenario, scenario, PATIENCE)? {
        Ok(report) => report,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    assert!(report.said_count > 0 && report.compared_count > 0, "nothing was played");
    let shown: String =
        report.differences.iter().map(|difference| Explained(difference).to_string()).collect();
    if shown.is_empty() { Ok(Completion::Completed) } else { Err(shown.into()) }
}

/// A storage with another name, behind the example of the codec which rewrites that.
fn rewritten() -> Result<(), Failed> {
    let (_dir, server) = served("main")?;
    let mut proxy = Command::new(env!("CARGO"));
    proxy.args(["run", "--quiet", "--package", "zeo-codec", "--example", "proxy", "--", "127.0.0.1:0"]);
    proxy.arg(server.address().to_string()).args(["1", "main"]).stdout(Stdio::piped());
    // Killed with its group: cargo stands between.
    let mut proxy = proxy.process_group(0).spawn()?;
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let played = line
        .strip_prefix("listening on ")
        .and_then(|line| line.split(',').next()?.parse().ok())
        .ok_or_else(|| Failed::from(line.clone()))
        .and_then(|address| Ok(play(&capture("6.2-6.2-pickle", "commit"), address, PATIENCE)?));
    let direct = play(&capture("6.2-6.2-pickle", "commit"), server.address(), IMPATIENCE);
    kill_process_group(Pid::from_child(&proxy), Signal::KILL)?;
    proxy.wait()?;
    server.stop()?;
    assert_eq!(played?.differences, []);
    assert_ne!(direct?.differences, [], "the name is the other one");
    Ok(())
}

/// Where the captured server began with oid 1 this one has handed out some already. Objects that refer to others are packed, too:
/// what is garbage and what is not depends on the references.
fn other_oids() -> Result<(), Failed> {
    for pair in ["6.2-6.2-pickle", "5.4.1-5.4.1-pickle", "4.3.1-4.3.1-pickle", "4.3.1-py2-4.3.1-py2-pickle"] {
        for scenario in ["commit", "btrees", "pack", "undo", "iteration", "delete"] {
            let path = capture(pair, scenario);
            if !path.exists() {
                continue;
            }
            let (_dir, server) = served("1")?;
            let client = zeo_client::Builder::new(server.address()).connect_blocking()?;
            let first = client.new_oid()?;
            client.close();
            assert_eq!(first, Oid::from_u64(1), "they begin with another one from now on");
            let report = play(&path, server.address(), PATIENCE)?;
            server.stop()?;
            let shown: String =
                report.differences.iter().map(|difference| Explained(difference).to_string()).collect();
            assert_eq!(shown, "", "{pair} {scenario}");
        }
    }
    Ok(())
}

fn running() -> Result<(), Failed> {
    let (_dir, server) = served("1")?;
    let check = |scenarios: &[&str], pair: &str, reset: Option<&str>| {
        let plan = Plan {
            server: Target::Running { address: server.address(), reset: reset.map(str::to_owned) },
            is_ours: false,
            captures: fixtures_dir(),
            pairs: vec![pair.parse().unwrap()],
            scenarios: all().iter().filter(|scenario| scenarios.contains(&scenario.name)).collect(),
            jobs: 4,
            patience: PATIENCE,
        };
        let matrix = check(&plan);
        let verdicts = matrix.rows.iter().flat_map(|row| &row.cells);
        verdicts.map(|(_, verdict)| format!("{}: {}", verdict.name(), verdict.details())).collect::<Vec<_>>()
    };
    let other = check(&["commit"], "6.2-6.2-msgpack", None);
    assert_eq!(other, ["not played: the server speaks pickle"]);
    let verdicts = check(&["commit", "undo", "quota"], "6.2-6.2-pickle", None);
    let [commit, undo, quota] = &verdicts[..] else { return Err(format!("{verdicts:?}").into()) };
    assert!(commit.starts_with("same: ") && undo.contains("is not empty"), "{verdicts:?}");
    assert!(quota.contains("quota 3000"), "{verdicts:?}");
    let failed = check(&["undo"], "6.2-6.2-pickle", Some("exit 3"));
    assert_eq!(failed, ["failed: exit 3: exit status: 3"]);
    server.stop()?;
    Ok(())
}

/// A server that lacks what the scenario is about is found out.
fn noticed(scenario: &str, missing: &str) -> Result<(), Failed> {
    let told = ReplayPlan::read(&capture("6.2-6.2-pickle", scenario))?.needs()?;
    assert_eq!(told.lines.storage, [missing]);
    let (_dir, server) = served("1")?;
    let Report { differences, .. } =
        play(&capture("6.2-6.2-pickle", scenario), server.address(), IMPATIENCE)?;
    server.stop()?;
    let first = differences.first().ok_or("nothing was noticed")?;
    assert!(first.number.is_some() && !first.bytes.0.is_empty(), "{first}");
    Ok(())
}
