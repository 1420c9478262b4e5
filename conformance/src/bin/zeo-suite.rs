//! Runs ZEO's own test suites against a server; `conformance/README.md` says how and what for.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use zeo_conformance::config::Framing;
use zeo_conformance::peers::PeerVersion;
use zeo_conformance::suite::expected::{Expected, ROOT};
use zeo_conformance::suite::report::{Report, json, markdown, problem};
use zeo_conformance::suite::{self, Judgement, Plan, SuiteError, TestResult, Version};

/// The list of what cannot pass, unless another is named.
const EXPECTED: &str = include_str!("../../suites/expected.txt");

/// Runs the test suite of Python's ZEO against a server, with the real Python client in front of it.
///
/// The exit status is 0 if all that should pass does, and nothing else.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
struct Options {
    /// Run everything: each version, in both framings where it has both.
    #[arg(long, conflicts_with_all = ["versions", "framing"])]
    all: bool,
    /// Whose suite and client; may be repeated [default: 6.2].
    #[arg(long = "version", value_enum, value_name = "VERSION")]
    versions: Vec<VersionChoice>,
    /// How messages are encoded, where a test does not choose. ZEO 4 has only pickle.
    #[arg(long, value_enum, default_value = "pickle")]
    framing: FramingChoice,
    /// The server under test, {config} being the path of a configuration [default: runzeo, built now].
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
    /// Only tests with such an id, in which * stands for anything; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Not tests with such an id; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    skip: Vec<String>,
    /// How many tests run at the same time [default: the number of processors].
    #[arg(long)]
    jobs: Option<usize>,
    /// The longest time for one test, in seconds.
    #[arg(long, default_value = "120")]
    limit: u64,
    /// The list of tests that cannot pass [default: conformance/suites/expected.txt].
    #[arg(long, value_name = "FILE")]
    expected: Option<PathBuf>,
    /// Take only this kind from the list; may be repeated. Python's own server fails those of `root`.
    #[arg(long = "expect", value_name = "KIND")]
    kinds: Vec<String>,
    /// Leave out a version whose Python is not there, instead of failing.
    #[arg(long)]
    skip_unavailable: bool,
    /// Print the ids of the tests.
    #[arg(long)]
    list: bool,
    /// Write all results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where reports and logs of tests that do not pass go [default: target/suite].
    #[arg(long, value_name = "DIRECTORY")]
    logs: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum VersionChoice {
    #[value(name = "6.2")]
    Zeo62,
    #[value(name = "5.4.1")]
    Zeo541,
    #[value(name = "5.2.3")]
    Zeo523,
    #[value(name = "4.3.1")]
    Zeo431,
}

impl From<VersionChoice> for Version {
    fn from(choice: VersionChoice) -> Self {
        match choice {
            VersionChoice::Zeo62 => PeerVersion::Zeo62.into(),
            VersionChoice::Zeo541 => PeerVersion::Zeo541.into(),
            VersionChoice::Zeo523 => PeerVersion::Zeo523.into(),
            VersionChoice::Zeo431 => Self::Zeo4,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FramingChoice {
    Pickle,
    Msgpack,
    Both,
}

fn main() -> ExitCode {
    match start(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("zeo-suite: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what is asked for; whether all is well.
fn start(options: &Options) -> Result<bool, SuiteError> {
    let program = std::env::current_exe()?;
    let beside = program.parent().unwrap_or_else(|| Path::new("."));
    let expected = expected(options)?;
    let logs = options.logs.clone().unwrap_or_else(|| beside.parent().unwrap_or(beside).join("suite"));
    let server = if options.list { Vec::new() } else { server(options, beside)? };
    let mut reports = Vec::new();
    for (version, framing) in suites(options) {
        let plan = Plan {
            version,
            framing,
            server: server.clone(),
            only: options.only.clone(),
            skip: options.skip.clone(),
            jobs: options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            limit: Duration::from_secs(options.limit),
            logs: logs.join(format!("{}-{}", version.name(), framing.name())),
        };
        if options.list {
            suite::list(&plan)?.iter().for_each(|test| println!("{test}"));
            continue;
        }
        match run(&plan, &expected) {
            Ok(report) => reports.push(report),
            Err(SuiteError::Peer(error)) if options.skip_unavailable => {
                eprintln!("ZEO {} is left out: {error}", version.name());
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(path) = &options.json {
        std::fs::write(path, json(&reports)?)?;
    }
    if !options.list {
        print!("{}", markdown(&reports));
    }
    Ok(reports.iter().all(|report| report.problems().is_empty()))
}

/// Runs one suite, and tells of problems as they come and once more at the end.
fn run<'a>(plan: &Plan, expected: &'a Expected) -> Result<Report<'a>, SuiteError> {
    let name = format!("ZEO {} {}", plan.version.name(), plan.framing.name());
    let done = AtomicUsize::new(0);
    let tell = |result: &TestResult| {
        if let Some(problem) = problem(result, Judgement::of(result, plan.version, expected)) {
            eprintln!("{problem}");
        }
        for warning in &result.warnings {
            eprintln!("{}: {warning}", result.test);
        }
        let done = 1 + done.fetch_add(1, Ordering::Relaxed);
        if done.is_multiple_of(100) {
            eprintln!("{name}: {done} tests done");
        }
    };
    let results = suite::run(plan, &tell)?;
    let report = Report {
        version: plan.version,
        framing: plan.framing,
        is_whole: plan.only.is_empty() && plan.skip.is_empty(),
        results,
        expected,
    };
    let problems = report.problems();
    eprintln!("{name}: {} problems", problems.len());
    for problem in problems {
        eprintln!("  {}", problem.lines().take(2).collect::<Vec<_>>().join(" "));
    }
    Ok(report)
}

fn suites(options: &Options) -> Vec<(Version, Framing)> {
    let chosen: Vec<Version> = options.versions.iter().copied().map(Version::from).collect();
    let versions = match (options.all, chosen.is_empty()) {
        (true, _) => Version::ALL.to_vec(),
        (false, true) => vec![PeerVersion::Zeo62.into()],
        (false, false) => chosen,
    };
    let is_chosen = |framing| match options.framing {
        _ if options.all => true,
        FramingChoice::Pickle => framing == Framing::Pickle,
        FramingChoice::Msgpack => framing == Framing::Msgpack,
        FramingChoice::Both => true,
    };
    let suites_of = |version: Version| {
        version
            .framings()
            .iter()
            .filter(|&&framing| is_chosen(framing))
            .map(move |&framing| (version, framing))
    };
    versions.into_iter().flat_map(suites_of).collect()
}

fn expected(options: &Options) -> Result<Expected, SuiteError> {
    let mut expected = match &options.expected {
        Some(path) => Expected::parse(&std::fs::read_to_string(path)?)?,
        None => Expected::parse(EXPECTED)?,
    };
    let modes_bind = modes_bind()?;
    expected.retain_kinds(|kind| {
        let is_chosen = options.kinds.is_empty() || options.kinds.iter().any(|chosen| chosen == kind);
        is_chosen && (kind != ROOT || !modes_bind)
    });
    Ok(expected)
}

/// Whether a file that nobody may write cannot be written, as it is for all but root.
fn modes_bind() -> io::Result<bool> {
    let path = std::env::temp_dir().join(format!("zeo-suite-mode-{}", std::process::id()));
    std::fs::write(&path, "")?;
    let mut permissions = std::fs::metadata(&path)?.permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions)?;
    let opened = std::fs::OpenOptions::new().write(true).open(&path);
    std::fs::remove_file(&path)?;
    Ok(opened.is_err())
}

/// The words of the server's command. The tests have directories of their own, so a relative path to the program
/// is made absolute.
fn server(options: &Options, beside: &Path) -> Result<Vec<String>, SuiteError> {
    let Some(command) = &options.server else {
        let runzeo = build(beside)?.display().to_string();
        return Ok([&runzeo, "-C", "{config}"].map(str::to_owned).to_vec());
    };
    let mut words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if !words.iter().any(|word| word.contains("{config}")) {
        return Err(SuiteError::Server(format!("there is no {{config}} in {command:?}")));
    }
    if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
        let absolute = Path::new(program)
            .canonicalize()
            .map_err(|error| SuiteError::Server(format!("{program}: {error}")))?;
        *program = absolute.display().to_string();
    }
    Ok(words)
}

/// Our server, beside this program. If cargo runs this program, it builds the server first.
fn build(beside: &Path) -> Result<PathBuf, SuiteError> {
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", "zeo-server", "--bin", "runzeo"]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
        if !status.success() {
            return Err(SuiteError::Server(format!("cargo build: {status}")));
        }
    }
    let runzeo = beside.join("runzeo");
    if runzeo.is_file() {
        return Ok(runzeo);
    }
    let how = "`cargo build --release --bin runzeo` makes it";
    Err(SuiteError::Server(format!("{} is not there; {how}", runzeo.display())))
}
