//! Whose tests a suite is, and what is known of them beforehand.

use super::expected;
use crate::config::Framing;
use crate::peers::{OldVersion, Peer, PeerVersion, Unavailable};

/// The version of ZEO that the tests and the client come with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// ZEO 5 or 6.
    Zeo5(PeerVersion),
    /// ZEO 4.3.1 on Python 3.6.
    Zeo4,
}

impl Version {
    /// All of them, newest first.
    pub const ALL: [Self; 4] = [
        Self::Zeo5(PeerVersion::Zeo62),
        Self::Zeo5(PeerVersion::Zeo541),
        Self::Zeo5(PeerVersion::Zeo523),
        Self::Zeo4,
    ];

    /// As in tables and directories.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zeo5(version) => version.name(),
            Self::Zeo4 => OldVersion::Zeo431.name(),
        }
    }

    /// The framings that it knows.
    #[must_use]
    pub const fn framings(self) -> &'static [Framing] {
        match self {
            Self::Zeo5(_) => &Framing::ALL,
            Self::Zeo4 => &[Framing::Pickle],
        }
    }

    /// How many tests start a server, measured with Python's own: if there are fewer in a whole run, the hooks have
    /// lost some.
    #[must_use]
    pub const fn external_count(self) -> usize {
        match self {
            Self::Zeo5(PeerVersion::Zeo62) => 543,
            Self::Zeo5(PeerVersion::Zeo541) => 535,
            Self::Zeo5(PeerVersion::Zeo523) => 904,
            Self::Zeo4 => 764,
        }
    }

    /// Its Python.
    ///
    /// # Errors
    /// As for [`Peer::ensure`].
    pub fn ensure(self) -> Result<Peer, Unavailable> {
        match self {
            Self::Zeo5(version) => Peer::ensure(version),
            Self::Zeo4 => Peer::ensure_old(OldVersion::Zeo431),
        }
    }

    /// Whether the test may hang for a race in the client alone, so that it is run once more if it does not pass. The
    /// client of 5.2.3 leaves a thread waiting for ever that finishes a transaction while another one closes the
    /// storage; shown by `python/close_race.py`, with Python's own server. These tests do that where the vote before it
    /// is answered at once.
    #[must_use]
    pub fn is_race_of_the_client(self, test: &str) -> bool {
        self == Self::Zeo5(PeerVersion::Zeo523) && expected::fits("*.checkCommitLockVote*", test)
    }
}

impl From<PeerVersion> for Version {
    fn from(version: PeerVersion) -> Self {
        Self::Zeo5(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_race_that_is_known_is_run_again() {
        let is_race = |version: PeerVersion, test| Version::from(version).is_race_of_the_client(test);
        assert!(is_race(PeerVersion::Zeo523, "ZEO.tests.testZEO.FileStorageTests.checkCommitLockVoteAbort"));
        assert!(!is_race(PeerVersion::Zeo62, "ZEO.tests.testZEO.FileStorageTests.checkCommitLockVoteAbort"));
        assert!(!is_race(PeerVersion::Zeo523, "ZEO.tests.testZEO.FileStorageTests.checkTimeout"));
    }
}
