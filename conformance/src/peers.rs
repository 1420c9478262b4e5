//! Python environments with pinned versions of ZEO.
//!
//! [`Peer::ensure`] makes a virtual environment once and keeps it in `target/peers/`. The pins are those that
//! the baselines of ZEO's own test suite were measured with, so that a difference between two runs is never a
//! difference between two versions of somebody else's package.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::{Process, ProcessError, poll_until, read_lossy};

/// Longest wait for another process that is making the same environment.
const LOCK_LIMIT: Duration = Duration::from_secs(300);
/// Longest time for `python -m venv`.
const VENV_LIMIT: Duration = Duration::from_secs(60);
/// Longest time for installing all packages.
const INSTALL_LIMIT: Duration = Duration::from_secs(200);

/// Pins of the versions that run on a current Python.
const CURRENT_PINS: &[&str] = &[
    "BTrees==6.5",
    "persistent==6.9",
    "transaction==5.1",
    "zodbpickle==4.5",
    "zope.interface==8.7",
    "zope.testing==6.2",
    "zope.testrunner==8.3",
    "zdaemon==5.2.1",
    "ZConfig==4.3",
    "zc.lockfile==4.0",
    "ZopeUndo==6.1",
];

/// A version of Python's ZEO that the tests talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerVersion {
    /// ZEO 6.2 with ZODB 6.4 and a compiled msgpack.
    Zeo62,
    /// ZEO 5.4.1 with ZODB 5.8.1 and msgpack 0.6 in pure Python.
    Zeo541,
    /// ZEO 5.2.3 with ZODB 5.8.1. Its client makes its TLS context with the purpose of a server, which Python 3.10
    /// and newer refuse (`ZEO/ClientStorage.py`, `ZEO/zconfig.py` of 5.2.3): only Python 3.9 will do.
    Zeo523,
}

impl PeerVersion {
    /// All versions, newest first.
    pub const ALL: [Self; 3] = [Self::Zeo62, Self::Zeo541, Self::Zeo523];

    /// The version of ZEO, as in trial names and directories.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zeo62 => "6.2",
            Self::Zeo541 => "5.4.1",
            Self::Zeo523 => "5.2.3",
        }
    }

    /// The pins of this version alone.
    fn own_pins(self) -> &'static [&'static str] {
        match self {
            Self::Zeo62 => &["ZEO==6.2", "ZODB==6.4", "msgpack==1.2.4"],
            // ZEO 5 imports pkg_resources, and fails with the setuptools that older interpreters bring along.
            Self::Zeo541 => {
                &["setuptools==75.8.2", "ZEO==5.4.1", "ZODB==5.8.1", "msgpack==0.6.2", "mock==5.2.0"]
            }
            // The newest of everything that ZEO 5.2.3 and Python 3.9 get along with.
            Self::Zeo523 => &[
                "setuptools==75.8.2",
                "ZEO==5.2.3",
                "ZODB==5.8.1",
                "BTrees==5.1",
                "persistent==5.1",
                "transaction==4.0",
                "zodbpickle==4.2",
                "msgpack==0.5.6",
                "zope.interface==6.1",
                "zope.testing==5.0.1",
                "zope.testrunner==6.2.1",
                "zdaemon==5.0",
                "ZConfig==4.0",
                "zc.lockfile==4.0",
                "mock==5.1.0",
                "manuel==1.12.4",
                "random2==1.0.2",
            ],
        }
    }

    /// Everything that is asked of pip, in one line each.
    fn pins(self) -> impl Iterator<Item = &'static str> {
        let others = match self {
            Self::Zeo62 | Self::Zeo541 => CURRENT_PINS,
            Self::Zeo523 => &[],
        };
        self.own_pins().iter().chain(others).copied()
    }

    /// The versions of Python that it works with.
    fn needs_python(self) -> RangeInclusive<(u32, u32)> {
        match self {
            Self::Zeo62 | Self::Zeo541 => (3, 9)..=(3, u32::MAX),
            Self::Zeo523 => (3, 9)..=(3, 9),
        }
    }
}

/// Why a peer cannot be had on this machine, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unavailable {
    /// The first thing that went wrong, in the words of the program that failed.
    pub reason: String,
}

impl Unavailable {
    fn new(what: &str, detail: impl std::fmt::Display) -> Self {
        Self { reason: format!("{what}: {detail}") }
    }
}

/// A Python environment that is complete.
#[derive(Debug, Clone)]
pub struct Peer {
    version: PeerVersion,
    root: PathBuf,
}

impl Peer {
    /// The environment of `version`, made now if it does not exist or its pins have changed. Asked again in the
    /// same process it gives the same answer at once.
    ///
    /// Several processes may ask at the same time: one makes it, the others wait. An environment counts only
    /// when its marker holds the very pins; what an interrupted attempt left behind is removed.
    ///
    /// # Errors
    /// [`Unavailable`] without a usable Python, its `venv` module, or a package registry, within five minutes.
    pub fn ensure(version: PeerVersion) -> Result<Self, Unavailable> {
        static ANSWERS: [OnceLock<Result<Peer, Unavailable>>; PeerVersion::ALL.len()] =
            [const { OnceLock::new() }; PeerVersion::ALL.len()];
        let [zeo62, zeo541, zeo523] = &ANSWERS;
        let answer = match version {
            PeerVersion::Zeo62 => zeo62,
            PeerVersion::Zeo541 => zeo541,
            PeerVersion::Zeo523 => zeo523,
        };
        answer.get_or_init(|| provide(version, &target_dir().join("peers"))).clone()
    }

    /// Which version of ZEO it has.
    #[must_use]
    pub fn version(&self) -> PeerVersion {
        self.version
    }

    /// A command for its interpreter, in an environment without anything that changes what Python or ZEO do.
    #[must_use]
    pub fn python(&self) -> Command {
        clean(Command::new(self.interpreter()))
    }

    /// Where its interpreter lies.
    #[must_use]
    pub fn interpreter(&self) -> PathBuf {
        python_of(&self.root)
    }

    /// The server that comes with it.
    #[must_use]
    pub fn runzeo(&self) -> PathBuf {
        self.root.join("bin").join("runzeo")
    }
}

/// Removes from the environment of `command` what would change the behaviour of Python or ZEO in it.
fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PYTHON") || name.starts_with("ZEO_")) {
            command.env_remove(name);
        }
    }
    // The scripts lie in the source tree; leave no compiled files there.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn python_of(root: &Path) -> PathBuf {
    root.join("bin").join("python")
}

/// The directory that cargo builds into, found from where this program lies by what cargo puts there; else next
/// to the sources.
fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors()
        .find(|dir| [".rustc_info.json", "CACHEDIR.TAG"].iter().any(|name| dir.join(name).is_file()))
        .map(Path::to_path_buf)
        .or_else(|| std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute()))
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("target"))
}

fn provide(version: PeerVersion, peers: &Path) -> Result<Peer, Unavailable> {
    let io_error = |error: io::Error| Unavailable::new(&peers.display().to_string(), error);
    fs::create_dir_all(peers).map_err(io_error)?;
    let lock_path = peers.join(format!("{}.lock", version.name()));
    // The lock is given back when the file is closed: here, or by the system if this process dies.
    let lock_file = File::create(&lock_path).map_err(io_error)?;
    lock(&lock_file, &lock_path)?;

    let root = peers.join(version.name());
    let marker = root.join("complete.txt");
    let pins = version.pins().collect::<Vec<_>>().join("\n");
    if read_lossy(&marker) != pins || !python_of(&root).is_file() {
        if root.exists() {
            fs::remove_dir_all(&root).map_err(io_error)?;
        }
        make(version, &root, peers)?;
        // Last, and not sooner: a torn marker differs from the pins, and the environment is made again.
        fs::write(&marker, &pins).map_err(io_error)?;
    }
    Ok(Peer { version, root })
}

/// Locks `file`; several test processes may be after the same environment.
fn lock(file: &File, path: &Path) -> Result<(), Unavailable> {
    let locked = poll_until(LOCK_LIMIT, || match file.try_lock() {
        Ok(()) => Some(Ok(())),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(error)) => Some(Err(error.to_string())),
    });
    locked
        .unwrap_or_else(|| Err("still locked by another process".to_owned()))
        .map_err(|detail| Unavailable::new(&path.display().to_string(), detail))
}

fn make(version: PeerVersion, root: &Path, peers: &Path) -> Result<(), Unavailable> {
    let python = interpreter(version)?;
    let log = peers.join(format!("{}.log", version.name()));
    let mut venv = clean(Command::new(python));
    venv.arg("-m").arg("venv").arg(root);
    run_tool("venv", &mut venv, &log, VENV_LIMIT)?;
    let mut pip = clean(Command::new(python_of(root)));
    // A registry that does not answer is to be found out soon: one retry, fifteen seconds each.
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--retries", "1", "--timeout", "15"])
        .args(version.pins());
    run_tool("pip", &mut pip, &log, INSTALL_LIMIT)
}

/// Prints major and minor version.
const VERSION_SCRIPT: &str = "import sys; print(*sys.version_info[:2])";

/// The Python to make an environment with: the first of [`candidates`] that is new, or old, enough.
fn interpreter(version: PeerVersion) -> Result<OsString, Unavailable> {
    let needed = version.needs_python();
    let mut found = Vec::new();
    for python in candidates(version) {
        let name = python.to_string_lossy().into_owned();
        let output = clean(Command::new(&python)).args(["-c", VERSION_SCRIPT]).stdin(Stdio::null()).output();
        let answer = match &output {
            Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let numbers = answer
            .split_once(' ')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        if numbers.is_some_and(|numbers| needed.contains(&numbers)) {
            return Ok(python);
        }
        found.push(format!("{name} ({answer})"));
    }
    let needed = if needed.contains(&(3, u32::MAX)) { "Python 3.9 or newer" } else { "Python 3.9" };
    Err(Unavailable::new(&format!("{needed} is needed"), found.join(", ")))
}

/// Where a Python for `version` may be: what `ZEO_TEST_PYTHON` says or `python3`, and for the version that needs an
/// old one also under its own name and where pyenv and uv keep theirs.
fn candidates(version: PeerVersion) -> Vec<OsString> {
    let mut candidates =
        vec![std::env::var_os("ZEO_TEST_PYTHON").unwrap_or_else(|| OsString::from("python3"))];
    if version == PeerVersion::Zeo523 {
        candidates.push(OsString::from("python3.9"));
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        let pyenv = std::env::var_os("PYENV_ROOT").map_or_else(|| home.join(".pyenv"), PathBuf::from);
        for (dir, prefix) in
            [(pyenv.join("versions"), "3.9."), (home.join(".local/share/uv/python"), "cpython-3.9.")]
        {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let of_version = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
            candidates.extend(of_version.map(|entry| entry.path().join("bin/python3.9").into_os_string()));
        }
    }
    candidates
}

/// Runs one step of making an environment; what it says goes to `log`.
fn run_tool(name: &str, command: &mut Command, log: &Path, limit: Duration) -> Result<(), Unavailable> {
    let _ = fs::remove_file(log);
    let stdout = File::options().create(true).append(true).open(log);
    command.stdin(Stdio::null()).stdout(stdout.map_or_else(|_| Stdio::null(), Stdio::from));
    let mut run = || {
        let mut process = Process::spawn(name, command, log.to_owned())?;
        let status = process.wait(limit)?;
        Ok((status, process.log_text()))
    };
    match run() {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((status, text)) => {
            Err(Unavailable::new(name, first_error(&text).unwrap_or_else(|| status.to_string())))
        }
        Err::<_, ProcessError>(error) => Err(Unavailable::new(name, error)),
    }
}

/// The line of a tool's output that says what is wrong: pip's about a lost connection, because its later errors
/// are only consequences of that; else the first that calls itself an error; else the first.
fn first_error(text: &str) -> Option<String> {
    if let Some((_, detail)) = text.split_once("after connection broken by ") {
        let detail = detail.lines().next().unwrap_or_default();
        return Some(format!("no registry: {detail}"));
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().next();
    lines.find(|line| line.to_ascii_lowercase().starts_with("error")).or(first).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_line_is_the_reason() {
        let reason = |text| first_error(text).unwrap_or_default();
        let text = "WARNING: slow\n\nERROR: No matching distribution\nERROR: later\n";
        assert_eq!(reason(text), "ERROR: No matching distribution");
        assert_eq!(reason("\nno module named venv\n"), "no module named venv");
        let text = "WARNING: Retrying after connection broken by 'refused': /zeo/\nERROR: No such version\n";
        assert_eq!(reason(text), "no registry: 'refused': /zeo/");
        assert_eq!(first_error(""), None);
    }

    #[test]
    fn the_python_of_an_environment_is_one_that_its_zeo_works_with() {
        let suits = |version: PeerVersion, python| version.needs_python().contains(&python);
        assert!(suits(PeerVersion::Zeo62, (3, 9)) && suits(PeerVersion::Zeo541, (3, 14)));
        assert!(!suits(PeerVersion::Zeo62, (3, 8)) && !suits(PeerVersion::Zeo62, (2, 7)));
        assert!(suits(PeerVersion::Zeo523, (3, 9)));
        assert!(!suits(PeerVersion::Zeo523, (3, 10)) && !suits(PeerVersion::Zeo523, (3, 8)));
    }

    #[test]
    fn a_tool_that_fails_gives_its_own_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'ERROR: no registry' >&2; exit 3"]);
        let error = run_tool("pip", &mut command, &dir.path().join("log"), VENV_LIMIT).unwrap_err();
        assert_eq!(error.reason, "pip: ERROR: no registry");
    }

    #[test]
    fn a_tool_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let limit = Duration::from_millis(50);
        let error = run_tool("pip", &mut command, &dir.path().join("log"), limit).unwrap_err();
        assert!(error.reason.contains("took longer"), "{error}");
    }

    #[test]
    fn a_complete_environment_is_not_made_again_and_another_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("6.2");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(python_of(&root), "").unwrap();
        let pins = PeerVersion::Zeo62.pins().collect::<Vec<_>>().join("\n");
        fs::write(root.join("complete.txt"), pins).unwrap();
        let peer = provide(PeerVersion::Zeo62, dir.path()).unwrap();
        assert_eq!(peer.root, root);
        let held = File::open(dir.path().join("6.2.lock")).unwrap();
        assert!(held.try_lock().is_ok(), "the lock is given back");
    }
}
