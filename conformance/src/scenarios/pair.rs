use std::fmt;
use std::str::FromStr;

use crate::config::Framing;
use crate::peers::{OldVersion, Peer, PeerVersion, Unavailable};

/// A client or a server: a version of ZEO, and of Python if that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// On Python 3, with `Z5` and `M5`.
    Current(PeerVersion),
    /// With `Z4`, or on Python 2.
    Old(OldVersion),
}

impl Program {
    /// All, newest first.
    pub const ALL: [Self; 6] = [
        Self::Current(PeerVersion::Zeo62),
        Self::Current(PeerVersion::Zeo541),
        Self::Current(PeerVersion::Zeo523),
        Self::Old(OldVersion::Zeo541Python2),
        Self::Old(OldVersion::Zeo431),
        Self::Old(OldVersion::Zeo431Python2),
    ];

    /// As in names of directories.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Current(version) => version.name(),
            Self::Old(version) => version.name(),
        }
    }

    /// Its version of ZEO.
    #[must_use]
    pub fn zeo_version(self) -> &'static str {
        self.name().split('-').next().unwrap_or_default()
    }

    /// It speaks `Z4`.
    #[must_use]
    pub const fn is_zeo4(self) -> bool {
        match self {
            Self::Current(_) => false,
            Self::Old(version) => version.is_zeo4(),
        }
    }

    /// It runs on Python 2.
    #[must_use]
    pub const fn is_python2(self) -> bool {
        match self {
            Self::Current(_) => false,
            Self::Old(version) => version.is_python2(),
        }
    }

    /// Its environment.
    ///
    /// # Errors
    /// [`Unavailable`] if it cannot be made.
    pub fn ensure(self) -> Result<Peer, Unavailable> {
        match self {
            Self::Current(version) => Peer::ensure(version),
            Self::Old(version) => Peer::ensure_old(version),
        }
    }
}

/// A client and a server, and what the server is told to speak. Written `CLIENT-SERVER-FRAMING`, as in
/// `6.2-5.4.1-msgpack`; that is the name of the directory of its captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The client.
    pub client: Program,
    /// The server.
    pub server: Program,
    /// What the server is told to speak.
    pub framing: Framing,
}

impl Pair {
    /// All that can be put together, interoperating or not: a server of ZEO 4 knows no msgpack, and what runs on
    /// Python 2 is only put before itself, and before the same version on Python 3.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for client in Program::ALL {
            for server in Program::ALL {
                all.extend(Framing::ALL.map(|framing| Self { client, server, framing }));
            }
        }
        all.retain(|pair| {
            let is_known = !pair.server.is_zeo4() || pair.framing == Framing::Pickle;
            let is_python2 = pair.client.is_python2() || pair.server.is_python2();
            is_known && (!is_python2 || pair.client.zeo_version() == pair.server.zeo_version())
        });
        all
    }

    /// Whether they talk to each other (protocol reference 2.2 and 4.1); if not, one of them hangs up soon.
    #[must_use]
    pub fn interoperates(self) -> bool {
        if self.client.is_python2() != self.server.is_python2() {
            return false;
        }
        match (self.client.is_zeo4(), self.server.is_zeo4()) {
            // The last one that speaks both.
            (false, true) => self.client == Program::Current(PeerVersion::Zeo523),
            (true, false) => false,
            (true, true) | (false, false) => true,
        }
    }

    /// What the server says first.
    #[must_use]
    pub fn greeting(self) -> &'static str {
        if self.server.is_zeo4() { "Z4" } else { self.framing.greeting() }
    }

    /// They speak `Z4`.
    #[must_use]
    pub fn speaks_zeo4(self) -> bool {
        self.server.is_zeo4() && self.interoperates()
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.client.name(), self.server.name(), self.framing.name())
    }
}

/// No pair has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no pair of peers, such as {}", Pair::all().first().map(Pair::to_string).unwrap_or_default())]
pub struct UnknownPair {
    name: String,
}

impl FromStr for Pair {
    type Err = UnknownPair;

    fn from_str(name: &str) -> Result<Self, UnknownPair> {
        let found = Self::all().into_iter().find(|pair| pair.to_string() == name);
        found.ok_or_else(|| UnknownPair { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_named_and_found_by_name() {
        let all = Pair::all();
        for pair in &all {
            assert_eq!(pair.to_string().parse(), Ok(*pair));
        }
        assert_eq!(all.iter().filter(|pair| pair.interoperates()).count(), 18 + 2 + 2 + 1);
        assert_eq!(all.len() - 23, 6 + 2 + 4 + 2, "pairs that part");
        let pair: Pair = "5.2.3-4.3.1-pickle".parse().unwrap();
        assert!(pair.speaks_zeo4() && pair.interoperates());
        let error = "6.2-6.2".parse::<Pair>().unwrap_err();
        assert_eq!(error.to_string(), "\"6.2-6.2\" is no pair of peers, such as 6.2-6.2-pickle");
    }
}
