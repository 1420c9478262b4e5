//! A data file to copy into: locks, indexes and crash rules of such a file are a server's business, so one is started for
//! it, on a socket of its own, and stopped at the end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::tools::zeo::Failure;
use crate::tools::zeo::server::Place;

/// The server's name.
const PROGRAM: &str = "runzeo";
/// The storage that it has.
const STORAGE: &str = "1";
/// How often it is looked whether it is there, or gone.
const INTERVAL: Duration = Duration::from_millis(10);

/// The server of a data file. It ends with this, at the latest.
#[derive(Debug)]
pub(super) struct Served {
    path: PathBuf,
    child: Child,
    timeout: Duration,
    /// Its socket, its configuration and what it says.
    dir: TempDir,
}

impl Served {
    /// Starts a server for the file, which need not be there, and waits until it listens.
    pub(super) fn start(
        path: &Path,
        blob_dir: Option<&Path>,
        program: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let dir = TempDir::with_prefix("zeo-copy-")?;
        let path = std::path::absolute(path)?;
        let config = dir.path().join("zeo.conf");
        std::fs::write(&config, configuration(&path, blob_dir, &dir.path().join("zeo.sock"))?)?;
        let program = program.map_or_else(beside, |program| program.into());
        let mut command = Command::new(&program);
        let log = File::create(dir.path().join("log"))?;
        command.arg("-C").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|error| {
            let program = program.display();
            format!("{}: {program} has to write it, and cannot be started: {error}", path.display())
        })?;
        let mut served = Self { path, child, timeout, dir };
        let began = Instant::now();
        while !served.socket().exists() {
            if let Some(status) = served.child.try_wait()? {
                return Err(served.why(status).into());
            }
            if began.elapsed() > timeout {
                return Err(format!("{}: its server does not listen", served.path.display()).into());
            }
            std::thread::sleep(INTERVAL);
        }
        Ok(served)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("zeo.sock")
    }

    /// Where it listens.
    pub(super) fn place(&self) -> Place {
        Place::at(self.socket().as_path().into(), STORAGE, self.timeout)
    }

    /// Has it end in order, with an index, and waits for that.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        self.terminate();
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(self.why(status).into()) }
    }

    fn terminate(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended is waited for all the same.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Why it has ended, in its own words.
    fn why(&self, status: ExitStatus) -> String {
        let said = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let said = said.lines().last().unwrap_or("it says nothing");
        format!("{}: its server has ended with {status}: {said}", self.path.display())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            // There is nothing to do about one that cannot be waited for.
            let _ = self.child.wait();
        }
    }
}

/// The server that was installed with this program, or any.
fn beside() -> PathBuf {
    let beside = std::env::current_exe().map(|program| program.with_file_name(PROGRAM));
    beside.ok().filter(|program| program.exists()).unwrap_or_else(|| PROGRAM.into())
}

fn configuration(path: &Path, blob_dir: Option<&Path>, socket: &Path) -> Result<String, Failure> {
    let mut section = format!("  path {}\n", value(path)?);
    if let Some(blob_dir) = blob_dir {
        section += &format!("  blob-dir {}\n", value(&std::path::absolute(blob_dir)?)?);
    }
    let socket = value(socket)?;
    Ok(format!("<zeo>\n  address {socket}\n</zeo>\n<filestorage {STORAGE}>\n{section}</filestorage>\n"))
}

/// A path as ZConfig has it, which gives `$` a meaning and has no way to write a line's end.
fn value(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control) && text.trim() == *text);
    let text = text.ok_or_else(|| format!("{}: no configuration file can have this name", path.display()))?;
    Ok(text.replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_the_paths_as_they_are() {
        let config = configuration("/a b/$c#.fs".as_ref(), Some("/blobs".as_ref()), "/s/zeo.sock".as_ref());
        let expected = "<zeo>\n  address /s/zeo.sock\n</zeo>\n\
                        <filestorage 1>\n  path /a b/$$c#.fs\n  blob-dir /blobs\n</filestorage>\n";
        assert_eq!(config.unwrap(), expected);
        for name in ["/a\nb.fs", "/a.fs "] {
            assert!(configuration(name.as_ref(), None, "/s".as_ref()).is_err(), "{name:?}");
        }
    }
}
