//! The test suite of an installed Python ZEO, unchanged but for the server: a command takes the place of Python's.
//!
//! Python finds and runs the tests (`python/suite/`); here several of these drivers are kept busy ([`run`]), and
//! what came out is judged ([`Judgement`]) against the list of what cannot pass ([`expected`]).

mod driver;
pub mod expected;
pub mod report;
mod version;

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use std::{fs, io, thread};

use driver::{Driver, Setup};
pub use driver::{Status, TestResult};
use expected::{Expected, Reason};
pub use version::Version;

use crate::config::Framing;
use crate::peers::Unavailable;
use crate::process::ProcessError;

/// Why a suite could not be run; a test that fails is no such thing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuiteError {
    /// There is no Python with this ZEO.
    #[error(transparent)]
    Peer(#[from] Unavailable),
    /// A process could not be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file or a pipe.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A driver said something else than it should.
    #[error("a driver's answer: {0}")]
    Answer(#[from] serde_json::Error),
    /// A driver ended.
    #[error("a driver ended: {log}")]
    Driver {
        /// What it said last.
        log: String,
    },
    /// The list of what cannot pass.
    #[error(
        "the list of expected failures, line {line}: {text:?} is neither `KIND: REASON` nor an indented id"
    )]
    Expected {
        /// The number of the line, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// The server under test.
    #[error("the server: {0}")]
    Server(String),
}

/// Which tests to run, and against what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose tests and client.
    pub version: Version,
    /// The framing of all tests that do not choose one.
    pub framing: Framing,
    /// The words of the server's command, with `{config}` among them.
    pub server: Vec<String>,
    /// Only tests whose id one of these fits; all without any. See [`expected::fits`].
    pub only: Vec<String>,
    /// Not the tests whose id one of these fits.
    pub skip: Vec<String>,
    /// How many tests run at the same time.
    pub jobs: usize,
    /// The longest time for one test; then it is ended, with its servers.
    pub limit: Duration,
    /// Where reports and logs go. What is in it is removed.
    pub logs: PathBuf,
}

/// The ids of the tests of `plan`, without running them.
///
/// # Errors
/// [`SuiteError`] if Python cannot be had, or cannot find its tests.
pub fn list(plan: &Plan) -> Result<Vec<String>, SuiteError> {
    with_drivers(plan, 1, |drivers| {
        Ok(drivers.iter().flat_map(|driver| chosen(plan, &driver.tests)).collect())
    })
}

/// Runs the tests of `plan`, and gives the results in the order of their ids. `tell` hears of each as it comes.
///
/// # Errors
/// [`SuiteError`] if Python cannot be had, or a driver does not do its part.
pub fn run(plan: &Plan, tell: &(impl Fn(&TestResult) + Sync)) -> Result<Vec<TestResult>, SuiteError> {
    with_drivers(plan, plan.jobs, |drivers| {
        let tests = drivers.first().map(|driver| chosen(plan, &driver.tests)).unwrap_or_default();
        let queue = Mutex::new(VecDeque::from(tests));
        let next = || queue.lock().ok().and_then(|mut queue| queue.pop_front());
        let work = |mut driver: Driver| {
            let mut results = Vec::new();
            while let Some(test) = next() {
                let mut result = driver.run(&test)?;
                tell(&result);
                if result.status != Status::Pass && plan.version.is_race_of_the_client(&test) {
                    result = driver.run(&test)?;
                    tell(&result);
                }
                results.push(result);
            }
            Ok::<_, SuiteError>(results)
        };
        let mut results = thread::scope(|scope| {
            let threads: Vec<_> = drivers.into_iter().map(|driver| scope.spawn(|| work(driver))).collect();
            let mut results = Vec::new();
            for thread in threads {
                let ended = thread.join().map_err(|_| SuiteError::Driver { log: String::new() })?;
                results.extend(ended?);
            }
            Ok::<_, SuiteError>(results)
        })?;
        results.sort_by(|a, b| a.test.cmp(&b.test));
        Ok(results)
    })
}

fn with_drivers<T>(
    plan: &Plan,
    count: usize,
    body: impl FnOnce(Vec<Driver>) -> Result<T, SuiteError>,
) -> Result<T, SuiteError> {
    let peer = plan.version.ensure()?;
    if plan.logs.exists() {
        fs::remove_dir_all(&plan.logs)?;
    }
    fs::create_dir_all(&plan.logs)?;
    let Plan { server, framing, limit, .. } = plan;
    // The tests have directories of their own.
    let logs = &std::path::absolute(&plan.logs)?;
    let setup = Setup { peer: &peer, server, framing: *framing, limit: *limit, logs };
    let drivers = (0..count.max(1)).map(|number| Driver::start(&setup, number));
    body(drivers.collect::<Result<_, _>>()?)
}

fn chosen(plan: &Plan, tests: &BTreeSet<String>) -> Vec<String> {
    let fits_one =
        |patterns: &[String], test: &str| patterns.iter().any(|pattern| expected::fits(pattern, test));
    let is_chosen =
        |test: &&String| (plan.only.is_empty() || fits_one(&plan.only, test)) && !fits_one(&plan.skip, test);
    tests.iter().filter(is_chosen).cloned().collect()
}

/// What a result means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement<'a> {
    /// It does not involve the server.
    NotCounted,
    /// It passes, as it should.
    Passes,
    /// It does not pass, as is known.
    CannotPass(&'a Reason),
    /// It should pass.
    Fails,
    /// It passes although it is on the list of those that do not.
    PassesUnexpectedly(&'a Reason),
}

impl<'a> Judgement<'a> {
    /// Judges a result of the suite of `version`.
    #[must_use]
    pub fn of(result: &TestResult, version: Version, expected: &'a Expected) -> Self {
        if !result.external {
            return Self::NotCounted;
        }
        match (expected.reason(version.name(), &result.test), result.status) {
            (None, Status::Pass) => Self::Passes,
            (None, _) => Self::Fails,
            (Some(reason), Status::Pass) => Self::PassesUnexpectedly(reason),
            (Some(reason), _) => Self::CannotPass(reason),
        }
    }

    /// Whether somebody has to do something about it.
    #[must_use]
    pub fn is_problem(self) -> bool {
        matches!(self, Self::Fails | Self::PassesUnexpectedly(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::PeerVersion;

    #[test]
    fn results_are_judged_by_the_list() {
        let expected = Expected::parse("undo: cannot merge\n    a.test\n").unwrap();
        let judge = |test: &str, status, external| {
            let (test, logs) = (test.to_owned(), String::new());
            let result = TestResult {
                test,
                status,
                external,
                seconds: 0.0,
                error: String::new(),
                warnings: vec![],
                logs,
            };
            Judgement::of(&result, PeerVersion::Zeo62.into(), &expected)
        };
        let reason = Reason { kind: "undo".to_owned(), text: "cannot merge".to_owned() };
        assert_eq!(judge("a.test", Status::Error, true), Judgement::CannotPass(&reason));
        assert_eq!(judge("a.test", Status::Timeout, true), Judgement::CannotPass(&reason));
        assert_eq!(judge("a.test", Status::Pass, true), Judgement::PassesUnexpectedly(&reason));
        assert_eq!(judge("b.test", Status::Pass, true), Judgement::Passes);
        for status in [Status::Fail, Status::Error, Status::Skip, Status::Timeout] {
            assert_eq!(judge("b.test", status, true), Judgement::Fails);
            assert_eq!(judge("b.test", status, false), Judgement::NotCounted);
        }
    }
}
