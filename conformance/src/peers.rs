//! Python environments with pinned versions of ZEO.
//!
//! [`Peer::ensure`] makes a virtual environment once and keeps it in `target/peers/`. The pins are those that
//! the baselines of ZEO's own test suite were measured with, so that a difference between two runs is never a
//! difference between two versions of somebody else's package.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use self::make::Recipe;

mod make;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    fn recipe(self) -> Recipe {
        let (others, needs_python) = match self {
            Self::Zeo62 | Self::Zeo541 => (CURRENT_PINS, (3, 9)..=(3, u32::MAX)),
            Self::Zeo523 => (&[][..], (3, 9)..=(3, 9)),
        };
        let pins = self.own_pins().iter().chain(others).copied().collect();
        Recipe { name: self.name(), pins, needs_python }
    }
}

/// A version of ZEO that is only a peer in captures: it speaks another protocol, or runs on another Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OldVersion {
    /// ZEO 5.4.1 with ZODB 5.8.1 on Python 2.7: the same protocol in other bytes.
    Zeo541Python2,
    /// ZEO 5.1.0 with ZODB 5.8.1 on Python 2.7: pickles of protocol 1, as nobody later writes.
    Zeo510Python2,
    /// ZEO 4.3.1 with ZODB 4.4.5 on Python 3.6.
    Zeo431,
    /// The same on Python 2.7, where most of its users were.
    Zeo431Python2,
}

/// Pins of all of them.
const OLD_PINS: &[&str] = &[
    "BTrees==4.11.3",
    "persistent==4.9.3",
    "cffi==1.15.1",
    "pycparser==2.21",
    "six==1.17.0",
    "ZConfig==3.6.1",
    "zdaemon==4.4",
    "zodbpickle==2.6",
    "zope.interface==5.5.2",
];

impl OldVersion {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Zeo541Python2, Self::Zeo510Python2, Self::Zeo431, Self::Zeo431Python2];

    /// The version of ZEO, and of Python if it is 2; as in directories.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zeo541Python2 => "5.4.1-py2",
            Self::Zeo510Python2 => "5.1.0-py2",
            Self::Zeo431 => "4.3.1",
            Self::Zeo431Python2 => "4.3.1-py2",
        }
    }

    /// It runs on Python 2.
    #[must_use]
    pub const fn is_python2(self) -> bool {
        !matches!(self, Self::Zeo431)
    }

    /// It speaks `Z4`.
    #[must_use]
    pub const fn is_zeo4(self) -> bool {
        matches!(self, Self::Zeo431 | Self::Zeo431Python2)
    }

    fn recipe(self) -> Recipe {
        const ZEO4: [&str; 3] = ["ZEO==4.3.1", "ZODB==4.4.5", "transaction==1.7.0"];
        const ZEO4_TESTS: [&str; 5] = [
            "zope.testing==5.0.1",
            "zope.testrunner==5.6",
            "manuel==1.13.0",
            "mock==5.2.0",
            "random2==1.0.2",
        ];
        let (own, python): (&[&str], _) = match self {
            Self::Zeo541Python2 => (
                &[
                    "ZEO==5.4.1",
                    "ZODB==5.8.1",
                    "transaction==3.1.0",
                    "msgpack==0.6.2",
                    "futures==3.4.0",
                    "trollius==2.2.1",
                    "zc.lockfile==2.0",
                ],
                (2, 7),
            ),
            Self::Zeo510Python2 => (
                &[
                    "ZEO==5.1.0",
                    "ZODB==5.8.1",
                    "transaction==3.1.0",
                    "futures==3.4.0",
                    "trollius==2.2.1",
                    "zc.lockfile==2.0",
                ],
                (2, 7),
            ),
            // With what its own tests need.
            Self::Zeo431 => (&[ZEO4.as_slice(), &ZEO4_TESTS, &["zc.lockfile==3.0"]].concat(), (3, 6)),
            Self::Zeo431Python2 => (&[ZEO4.as_slice(), &["zc.lockfile==2.0"]].concat(), (2, 7)),
        };
        let pins = own.iter().chain(OLD_PINS).copied().collect();
        Recipe { name: self.name(), pins, needs_python: python..=python }
    }
}

/// A program of others that stands on ZEO 6.2 and ZODB 6.4; each in an environment of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// Zope 6.3, the web application server.
    Zope,
}

impl Application {
    fn recipe(self) -> Recipe {
        let (name, pins, needs_python) = match self {
            Self::Zope => ("zope-6.3", include_str!("peers/zope.txt"), (3, 11)..=(3, u32::MAX)),
        };
        Recipe { name, pins: pins.lines().collect(), needs_python }
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
    pub(crate) fn new(what: &str, detail: impl std::fmt::Display) -> Self {
        Self { reason: format!("{what}: {detail}") }
    }
}

/// A Python environment that is complete.
#[derive(Debug, Clone)]
pub struct Peer {
    name: &'static str,
    root: PathBuf,
    pins: Vec<&'static str>,
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
        Self::of(&version.recipe())
    }

    /// The environment of an old version, in the same way.
    ///
    /// # Errors
    /// As for [`ensure`](Self::ensure).
    pub fn ensure_old(version: OldVersion) -> Result<Self, Unavailable> {
        Self::of(&version.recipe())
    }

    /// The environment of an application, in the same way.
    ///
    /// # Errors
    /// As for [`ensure`](Self::ensure).
    pub fn ensure_application(application: Application) -> Result<Self, Unavailable> {
        Self::of(&application.recipe())
    }

    fn of(recipe: &Recipe) -> Result<Self, Unavailable> {
        type Answer = Arc<OnceLock<Result<PathBuf, Unavailable>>>;
        static ANSWERS: Mutex<BTreeMap<&'static str, Answer>> = Mutex::new(BTreeMap::new());
        let answer = {
            let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(answers.entry(recipe.name).or_default())
        };
        let root = answer.get_or_init(|| make::provide(recipe, &target_dir().join("peers"))).clone()?;
        Ok(Self { name: recipe.name, root, pins: recipe.pins.clone() })
    }

    /// What it has: the version of ZEO, or the application with its version.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The version of a package that it was told to have.
    #[must_use]
    pub fn pinned(&self, package: &str) -> Option<&'static str> {
        let versions = self.pins.iter().filter_map(|pin| pin.split_once("=="));
        versions.filter(|(name, _)| *name == package).map(|(_, version)| version).next()
    }

    /// The version of its interpreter, as in `3.11.7`; `None` if it does not say.
    #[must_use]
    pub fn python_version(&self) -> Option<String> {
        let output = self.python().args(["-c", "import platform; print(platform.python_version())"]).output();
        let version = String::from_utf8_lossy(&output.ok()?.stdout).trim().to_owned();
        (!version.is_empty()).then_some(version)
    }

    /// A command for its interpreter, in an environment without anything that changes what Python or ZEO do.
    #[must_use]
    pub fn python(&self) -> Command {
        make::clean(Command::new(self.interpreter()))
    }

    /// Where its interpreter lies.
    #[must_use]
    pub fn interpreter(&self) -> PathBuf {
        make::python_of(&self.root)
    }

    /// The server that comes with it.
    #[must_use]
    pub fn runzeo(&self) -> PathBuf {
        self.program("runzeo")
    }

    /// Where one of its programs lies.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("bin").join(name)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_python_of_an_environment_is_one_that_its_zeo_works_with() {
        let suits = |version: PeerVersion, python| version.recipe().needs_python.contains(&python);
        assert!(suits(PeerVersion::Zeo62, (3, 9)) && suits(PeerVersion::Zeo541, (3, 14)));
        assert!(!suits(PeerVersion::Zeo62, (3, 8)) && !suits(PeerVersion::Zeo62, (2, 7)));
        assert!(suits(PeerVersion::Zeo523, (3, 9)));
        assert!(!suits(PeerVersion::Zeo523, (3, 10)) && !suits(PeerVersion::Zeo523, (3, 8)));
    }
}
