//! The runner of ZEO's own test suites, tried with servers of which it is known what has to come out.
//!
//! Like the live tests, a trial whose Python cannot be had is ignored, or fails with `ZEO_TEST_REQUIRE`; but not for
//! the Pythons of ZEO 5.2.3 and 4.3.1, which many a machine does not have any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use zeo_conformance::config::Framing;
use zeo_conformance::peers::PeerVersion;
use zeo_conformance::suite::{Plan, Status, SuiteError, TestResult, Version, run};

fn main() -> ExitCode {
    let mut trials = vec![
        Trial::ignorable_test("suite::server_that_ends", || finish(server_that_ends(), true)),
        Trial::ignorable_test("suite::server_that_never_answers", || {
            finish(server_that_never_answers(), true)
        }),
    ];
    for version in PeerVersion::ALL {
        for framing in Framing::ALL {
            let name = format!("suite::python_server::{}::{}", version.name(), framing.name());
            trials.push(Trial::ignorable_test(name, move || {
                finish(python_server(version, framing), version != PeerVersion::Zeo523)
            }));
        }
    }
    trials.push(Trial::ignorable_test("suite::python_server::4.3.1", || {
        finish(python_server_of_zeo4(), false)
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn finish(result: Result<(), SuiteError>, can_be_required: bool) -> Result<Completion, Failed> {
    let is_required = can_be_required && std::env::var_os("ZEO_TEST_REQUIRE").is_some();
    match result {
        Ok(()) => Ok(Completion::Completed),
        Err(SuiteError::Peer(error)) if !is_required => Ok(Completion::ignored_with(error.reason)),
        Err(error) => Err(error.to_string().into()),
    }
}

fn plan(server: &str, only: &[&str], dir: &Path) -> Plan {
    Plan {
        version: PeerVersion::Zeo62.into(),
        framing: Framing::Pickle,
        server: server.split(' ').map(str::to_owned).collect(),
        only: only.iter().map(|&pattern| pattern.to_owned()).collect(),
        skip: vec!["*.BlobAdaptedFileStorageTests.checkMTStores".to_owned()],
        jobs: 2,
        limit: Duration::from_secs(60),
        logs: dir.join("logs"),
    }
}

fn summary(results: &[TestResult]) -> Vec<(&str, Status, bool)> {
    results.iter().map(|result| (result.test.as_str(), result.status, result.external)).collect()
}

/// With Python's own server the tests pass. Those here start it by configuration, with TLS, by a script; and look
/// into it, or need none.
fn python_server(version: PeerVersion, framing: Framing) -> Result<(), SuiteError> {
    let expected = [
        ("ZEO.asyncio.tests.ServerTests.test_invalid_methods", Status::Pass, false),
        ("ZEO.tests.testZEO.BlobWritableCacheTests.checkResolve", Status::Pass, true),
        ("ZEO.tests.testZEO.runzeo_without_configfile", Status::Pass, true),
        ("ZEO.tests.testssl.SSLConfigTest.test_ssl_basic", Status::Pass, true),
        ("dynamic_server_ports_test", Status::Pass, false),
        ("nagios_rst", Status::Pass, true),
    ];
    python_server_of(version.into(), framing, &expected)
}

/// The same of ZEO 4.3.1: with passwords, killed, without a server, and in prose.
fn python_server_of_zeo4() -> Result<(), SuiteError> {
    let expected = [
        ("ZEO.tests.testAuth.DigestAuth.testOK", Status::Pass, true),
        ("ZEO.tests.testZEO.HeartbeatTests.checkHeartbeatWithServerClose", Status::Pass, true),
        ("ZEO.tests.testZEOOptions.TestZEOOptions.test_basic", Status::Pass, false),
        ("nagios_rst", Status::Pass, true),
    ];
    python_server_of(Version::Zeo4, Framing::Pickle, &expected)
}

fn python_server_of(
    version: Version,
    framing: Framing,
    expected: &[(&str, Status, bool)],
) -> Result<(), SuiteError> {
    let dir = tempfile::tempdir()?;
    let runzeo = version.ensure()?.runzeo();
    let ids: Vec<_> = expected.iter().map(|(id, _, _)| *id).collect();
    let mut plan = plan(&format!("{} -C {{config}}", runzeo.display()), &ids, dir.path());
    plan.version = version;
    plan.framing = framing;
    let results = run(&plan, &|_| ())?;
    assert_eq!(summary(&results), expected, "{results:#?}");
    Ok(())
}

/// A server that does not start is an error, at once, and in its own words.
fn server_that_ends() -> Result<(), SuiteError> {
    let dir = tempfile::tempdir()?;
    let mut plan = plan("ls {config}-missing", &["*.client_labels", "*.checkMTStores"], dir.path());
    plan.framing = Framing::Msgpack;
    let results = run(&plan, &|_| ())?;
    let ids: Vec<_> = results.iter().map(|result| result.test.as_str()).collect();
    let expected = [
        "BlobWritableCacheTests.checkMTStores",
        "FileStorageSSLTests.checkMTStores",
        "MappingStorageTests.checkMTStores",
        "client_labels",
    ];
    assert_eq!(ids, expected.map(|name| format!("ZEO.tests.testZEO.{name}")));
    for result in results {
        assert!(result.status != Status::Pass && result.external, "{result:?}");
        assert!(result.error.contains("the server ended with status 2: ls: "), "{result:?}");
        let logs = Path::new(&result.logs);
        assert!(fs::read_to_string(logs.join("server-1.log"))?.contains("-missing"));
        let config = fs::read_to_string(logs.join("server-1.conf"))?;
        assert!(config.contains("\nmsgpack true\n") && !config.contains(":0\n"), "{config}");
        assert!(!fs::read_to_string(logs.join("report.txt"))?.is_empty());
    }
    Ok(())
}

/// After its time a test is ended, and its server with it. Where the logs go may be a relative path.
fn server_that_never_answers() -> Result<(), SuiteError> {
    let dir = tempfile::tempdir()?;
    let marker = dir.path().join("marker");
    fs::write(&marker, "")?;
    let server = format!("tail -f {{config}} {}", marker.display());
    let mut plan = plan(&server, &["*.client_labels"], dir.path());
    plan.limit = Duration::from_secs(1);
    plan.logs = relative(&plan.logs)?;
    let results = run(&plan, &|_| ())?;
    assert_eq!(summary(&results), [("ZEO.tests.testZEO.client_labels", Status::Timeout, true)]);
    let marker = marker.display().to_string();
    let commands = fs::read_dir("/proc").into_iter().flatten().flatten();
    let left = commands.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    assert!(!left.into_iter().any(|command| String::from_utf8_lossy(&command).contains(&marker)));
    Ok(())
}

/// `path`, which is absolute, from where this program runs.
fn relative(path: &Path) -> Result<PathBuf, SuiteError> {
    let up: PathBuf = std::env::current_dir()?.components().skip(1).map(|_| "..").collect();
    Ok(up.join(path.components().skip(1).collect::<PathBuf>()))
}
