//! How an environment is made, and whether it is complete.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Unavailable;
use crate::process::{Process, ProcessError, poll_until, read_lossy};

/// Longest wait for another process that is making the same environment.
const LOCK_LIMIT: Duration = Duration::from_secs(300);
/// Longest time for `python -m venv`.
const VENV_LIMIT: Duration = Duration::from_secs(60);
/// Longest time for installing all packages.
const INSTALL_LIMIT: Duration = Duration::from_secs(200);

/// The last version in one file without requirements.
const VIRTUALENV: &str = "virtualenv==16.7.12";

/// How an environment is made.
#[derive(Debug)]
pub(super) struct Recipe {
    /// As in trial names and directories.
    pub(super) name: &'static str,
    /// Everything that is asked of pip.
    pub(super) pins: Vec<&'static str>,
    /// The versions of Python that it works with.
    pub(super) needs_python: RangeInclusive<(u32, u32)>,
}

/// Removes from the environment of `command` what would change the behaviour of Python or ZEO in it.
pub(super) fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PYTHON") || name.starts_with("ZEO_")) {
            command.env_remove(name);
        }
    }
    // The scripts lie in the source tree; leave no compiled files there.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Where the interpreter of an environment lies.
pub(super) fn python_of(root: &Path) -> PathBuf {
    root.join("bin").join("python")
}

/// The directory of the environment in `peers`, which is made if it is not there, or has other pins.
pub(super) fn provide(recipe: &Recipe, peers: &Path) -> Result<PathBuf, Unavailable> {
    let io_error = |error: io::Error| Unavailable::new(&peers.display().to_string(), error);
    fs::create_dir_all(peers).map_err(io_error)?;
    let lock_path = peers.join(format!("{}.lock", recipe.name));
    // The lock is given back when the file is closed: here, or by the system if this process dies.
    let lock_file = File::create(&lock_path).map_err(io_error)?;
    lock(&lock_file, &lock_path)?;

    let root = peers.join(recipe.name);
    let marker = root.join("complete.txt");
    let pins = recipe.pins.join("\n");
    if read_lossy(&marker) != pins || !python_of(&root).is_file() {
        if root.exists() {
            fs::remove_dir_all(&root).map_err(io_error)?;
        }
        make(recipe, &root, peers)?;
        // Last, and not sooner: a torn marker differs from the pins, and the environment is made again.
        fs::write(&marker, &pins).map_err(io_error)?;
    }
    Ok(root)
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

fn make(recipe: &Recipe, root: &Path, peers: &Path) -> Result<(), Unavailable> {
    let python = interpreter(recipe)?;
    let log = peers.join(format!("{}.log", recipe.name));
    match recipe.needs_python.end() {
        (2, _) => make_virtualenv(&python, root, peers, &log)?,
        _ => {
            let mut venv = clean(Command::new(&python));
            venv.arg("-m").arg("venv").arg(root);
            run_tool("venv", &mut venv, &log, VENV_LIMIT)?;
        }
    }
    let mut pip = install(&python_of(root));
    pip.args(&recipe.pins);
    run_tool("pip", &mut pip, &log, INSTALL_LIMIT)
}

/// Python 2 has no `venv`: virtualenv does it, from a directory that goes away again.
fn make_virtualenv(python: &OsStr, root: &Path, peers: &Path, log: &Path) -> Result<(), Unavailable> {
    let io_error = |error: io::Error| Unavailable::new(&peers.display().to_string(), error);
    let tools = tempfile::tempdir_in(peers).map_err(io_error)?;
    let mut pip = install(Path::new(python));
    pip.arg("--target").arg(tools.path()).arg(VIRTUALENV);
    run_tool("pip", &mut pip, log, INSTALL_LIMIT)?;
    let mut virtualenv = clean(Command::new(python));
    virtualenv.env("PYTHONPATH", tools.path()).args(["-m", "virtualenv", "--quiet"]).arg(root);
    run_tool("virtualenv", &mut virtualenv, log, VENV_LIMIT)
}

/// `pip install`, for what its caller adds.
fn install(python: &Path) -> Command {
    let mut pip = clean(Command::new(python));
    // A registry that does not answer is to be found out soon: one retry, fifteen seconds each.
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]).args([
        "--retries",
        "1",
        "--timeout",
        "15",
    ]);
    pip
}

/// Prints major and minor version.
const VERSION_SCRIPT: &str = "import sys; print('%d %d' % sys.version_info[:2])";

/// The Python to make an environment with: the first of [`candidates`] that is new, or old, enough.
fn interpreter(recipe: &Recipe) -> Result<OsString, Unavailable> {
    let needed = &recipe.needs_python;
    let mut found = Vec::new();
    for python in candidates(needed) {
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
    let (major, minor) = needed.start();
    let or_newer = if needed.start() == needed.end() { "" } else { " or newer" };
    Err(Unavailable::new(&format!("Python {major}.{minor}{or_newer} is needed"), found.join(", ")))
}

/// Where a Python of these versions may be: what `ZEO_TEST_PYTHON` says or `python3`, and if it has to be an old one
/// also under its own name and where pyenv and uv keep theirs.
fn candidates(needed: &RangeInclusive<(u32, u32)>) -> Vec<OsString> {
    let mut candidates =
        vec![std::env::var_os("ZEO_TEST_PYTHON").unwrap_or_else(|| OsString::from("python3"))];
    let (major, minor) = needed.end();
    if *minor == u32::MAX {
        return candidates;
    }
    let name = format!("python{major}.{minor}");
    candidates.push(OsString::from(&name));
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let pyenv = std::env::var_os("PYENV_ROOT").map_or_else(|| home.join(".pyenv"), PathBuf::from);
    for (dir, prefix) in [(pyenv.join("versions"), ""), (home.join(".local/share/uv/python"), "cpython-")] {
        let prefix = format!("{prefix}{major}.{minor}.");
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let of_version = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        candidates.extend(of_version.map(|entry| entry.path().join("bin").join(&name).into_os_string()));
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
        let recipe =
            Recipe { name: "6.2", pins: vec!["ZEO==6.2", "ZODB==6.4"], needs_python: (3, 9)..=(3, 9) };
        fs::write(root.join("complete.txt"), recipe.pins.join("\n")).unwrap();
        assert_eq!(provide(&recipe, dir.path()).unwrap(), root);
        let held = File::open(dir.path().join("6.2.lock")).unwrap();
        // A process that another test is just starting has all files of this one until it runs its program.
        let locked = poll_until(Duration::from_secs(5), || held.try_lock().ok());
        assert!(locked.is_some(), "the lock is given back");
    }
}
