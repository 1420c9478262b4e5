//! The live tests: Python's own clients in front of a server.
//!
//! Each scenario x version of the client x framing x server is one trial, for example
//! `live::6.2::msgpack::basic`. A trial whose Python cannot be had is *ignored*, with the reason, and never
//! passed. What the trials start and where, and how to run one of them, is in `conformance/README.md`.

mod captures;
mod context;
mod examples;
mod faults;
mod first_steps;
mod generations;
mod runzeo;
mod scenarios;
mod serial;

use std::ffi::OsString;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use zeo_conformance::config::Framing;
use zeo_conformance::peers::{Application, PeerVersion};
use zeo_conformance::process::ProcessError;

use crate::context::{Context, Subject};
use crate::scenarios::{SCENARIOS, Scenario};

/// Our server: what `runzeo` runs, with the same arguments. It prints `ready: listening on 127.0.0.1:PORT` once it
/// listens.
fn serve(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    zeo_server::process::run(std::iter::once("runzeo".into()).chain(arguments))
}

/// The first argument that makes this program the server.
const SERVE_ARGUMENT: &str = "--serve";

/// The clients that take part. ZEO 5.2.3 has its own test suite run against the server by `zeo-suite`.
const VERSIONS: [PeerVersion; 2] = [PeerVersion::Zeo62, PeerVersion::Zeo541];

/// If set, a trial that would be ignored fails: for machines where Python must be at hand.
fn is_required() -> bool {
    std::env::var_os("ZEO_TEST_REQUIRE").is_some()
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == SERVE_ARGUMENT) {
        return serve(args);
    }
    let mut arguments = Arguments::from_args();
    // Trials mostly wait for other processes: one more than there are processors keeps these busy.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(processors + 1);
    let trials = match Subject::from_environment() {
        None => faults::trials(),
        Some(Subject::Ours) => {
            let mut trials = trials(&Subject::Ours, &VERSIONS, |_| true);
            // Once in each framing: the same code in the binary that operators have.
            trials.extend(self::trials(&Subject::Runzeo, &[PeerVersion::Zeo62], |name| name == "basic"));
            trials.extend(zope_trials(&Subject::Ours));
            trials.extend(captures::trials(is_required()));
            trials.extend(examples::trials());
            trials.extend(first_steps::trials());
            trials.extend(generations::trials());
            trials.extend(serial::trials());
            trials
        }
        Some(subject) => {
            let mut trials = trials(&subject, &VERSIONS, |_| true);
            trials.extend(zope_trials(&subject));
            trials
        }
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(subject: &Subject, versions: &[PeerVersion], is_wanted: impl Fn(&str) -> bool) -> Vec<Trial> {
    let mut trials = Vec::new();
    for &version in versions {
        for framing in Framing::ALL {
            // A scenario without messages gives nothing new with the other framing.
            let scenarios = SCENARIOS.iter().filter(|s| s.has_messages || framing == Framing::Pickle);
            for &scenario in scenarios.filter(|scenario| is_wanted(scenario.name)) {
                let name = format!(
                    "{}::{}::{}::{}",
                    subject.prefix(),
                    version.name(),
                    framing.name(),
                    scenario.name
                );
                let subject = subject.clone();
                let run = move || run_trial(&subject, version, framing, scenario);
                trials.push(Trial::ignorable_test(name, run));
            }
        }
    }
    trials
}

/// Zope in front of the server, once in each framing. With half a minute they are no part of the everyday tests:
/// `--ignored` or `--include-ignored` runs them.
fn zope_trials(subject: &Subject) -> Vec<Trial> {
    let trial = |framing: Framing| {
        let name = format!("{}::zope-6.3::{}::zope", subject.prefix(), framing.name());
        let subject = subject.clone();
        let run = move || {
            let context = Context::of_application(&subject, Application::Zope, framing);
            finish_trial(context, scenarios::zope)
        };
        Trial::ignorable_test(name, run).with_ignored_flag(true)
    };
    Framing::ALL.map(trial).into()
}

fn run_trial(
    subject: &Subject,
    version: PeerVersion,
    framing: Framing,
    scenario: Scenario,
) -> Result<Completion, Failed> {
    finish_trial(Context::new(subject, version, framing), scenario.run)
}

fn finish_trial(
    context: Result<Context, String>,
    run: fn(&Context) -> Result<(), ProcessError>,
) -> Result<Completion, Failed> {
    let context = match context {
        Ok(context) => context,
        Err(reason) if !is_required() => {
            return Ok(Completion::ignored_with(reason));
        }
        Err(reason) => return Err(reason.into()),
    };
    match run(&context) {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => Err(format!("{error}\n{}", context.logs()).into()),
    }
}
