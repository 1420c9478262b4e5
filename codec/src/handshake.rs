//! The first frame of each side, and what follows from them (protocol reference 2).

use core::fmt;

use crate::dialect::{Dialect, Generation};

/// The letter of a protocol string: how messages are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// `Z`: pickle.
    Pickle,
    /// `M`: msgpack.
    Msgpack,
}

impl Framing {
    /// The letter.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Pickle => b'Z',
            Self::Msgpack => b'M',
        }
    }
}

/// The versions that some release of ZEO announces or accepts, oldest first (protocol reference 2.2).
/// Their order is that of byte strings: `310 < 3101 < 4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Version {
    /// `200`: ZEO 2.0.
    V200,
    /// `201`
    V201,
    /// `303`: adds `loadBefore`.
    V303,
    /// `308`: adds blobs.
    V308,
    /// `309`: no *version* arguments any more; adds `restorea` and iteration.
    V309,
    /// `310`: adds `undoa`.
    V310,
    /// `3101`: adds `checkCurrentSerialInTransaction`.
    V3101,
    /// `4`
    V4,
    /// `5`: ZEO 5 and 6.
    V5,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Self; 9] = [
        Self::V200,
        Self::V201,
        Self::V303,
        Self::V308,
        Self::V309,
        Self::V310,
        Self::V3101,
        Self::V4,
        Self::V5,
    ];

    /// The same, to lend parts of.
    const ALL_STATIC: &'static [Self] = &Self::ALL;

    /// The digits of the protocol string.
    #[must_use]
    pub const fn digits(self) -> &'static [u8] {
        match self {
            Self::V200 => b"200",
            Self::V201 => b"201",
            Self::V303 => b"303",
            Self::V308 => b"308",
            Self::V309 => b"309",
            Self::V310 => b"310",
            Self::V3101 => b"3101",
            Self::V4 => b"4",
            Self::V5 => b"5",
        }
    }

    /// This version and all newer ones.
    #[must_use]
    pub fn and_newer(self) -> &'static [Self] {
        let at = Self::ALL.iter().position(|version| *version == self).unwrap_or_default();
        Self::ALL_STATIC.get(at..).unwrap_or_default()
    }

    fn from_digits(digits: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.digits() == digits)
    }

    /// Which calls and replies there are.
    #[must_use]
    pub const fn generation(self) -> Generation {
        match self {
            Self::V200 | Self::V201 | Self::V303 | Self::V308 => Generation::Versions,
            Self::V309 | Self::V310 | Self::V3101 | Self::V4 => Generation::Zeo4,
            Self::V5 => Generation::Zeo5,
        }
    }
}

/// A protocol string that we know: framing and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol {
    /// pickle or msgpack.
    pub framing: Framing,
    /// The version.
    pub version: Version,
}

impl Protocol {
    /// ZEO 5 with pickle.
    pub const Z5: Self = Self { framing: Framing::Pickle, version: Version::V5 };
    /// ZEO 5 with msgpack.
    pub const M5: Self = Self { framing: Framing::Msgpack, version: Version::V5 };
    /// ZEO 4.
    pub const Z4: Self = Self { framing: Framing::Pickle, version: Version::V4 };

    /// Appends the protocol string.
    pub fn write(self, out: &mut alloc::vec::Vec<u8>) {
        out.push(self.framing.letter());
        out.extend_from_slice(self.version.digits());
    }

    /// The rules of a session in this protocol, as far as the handshake tells. (Whether a pickle peer runs
    /// Python 2 shows only in its first message.)
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        let dialect = match self.version.generation() {
            Generation::Zeo5 => Dialect::Z5,
            Generation::Zeo4 => Dialect::Z4,
            Generation::Versions => Dialect { generation: Generation::Versions, ..Dialect::Z4 },
        };
        Dialect { version: self.version, framing: self.framing, ..dialect }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = core::str::from_utf8(self.version.digits()).unwrap_or_default();
        write!(f, "{}{digits}", char::from(self.framing.letter()))
    }
}

/// A first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello<'a> {
    /// A protocol that we know.
    Zeo(Protocol),
    /// A probe: the client wants the server's status as JSON, and nothing else.
    Ruok,
    /// Anything else, as it came.
    Unknown(&'a [u8]),
}

/// The payload of a `ruok` probe.
pub const RUOK: &[u8] = b"ruok";

impl<'a> Hello<'a> {
    /// What the payload of a first frame says.
    #[must_use]
    pub fn parse(payload: &'a [u8]) -> Self {
        if payload == RUOK {
            return Self::Ruok;
        }
        let protocol = payload.split_first().and_then(|(letter, digits)| {
            Some(Protocol { framing: framing(*letter)?, version: Version::from_digits(digits)? })
        });
        protocol.map_or(Self::Unknown(payload), Self::Zeo)
    }
}

/// The framing that the first letter of a protocol string stands for.
const fn framing(letter: u8) -> Option<Framing> {
    match letter {
        b'Z' => Some(Framing::Pickle),
        b'M' => Some(Framing::Msgpack),
        _ => None,
    }
}

/// What a client answers to a server's protocol string: the server's framing, and the lower of both
/// versions as byte strings, provided the client has it. `None`: hang up.
///
/// This is the rule of ZEO 5 clients (protocol reference 2.1), which takes a future `Z6` server for one
/// that also speaks `Z5`, and refuses a `Z10`.
#[must_use]
pub fn client_choice(server: &[u8], client_versions: &[Version]) -> Option<Protocol> {
    let (letter, digits) = server.split_first()?;
    let framing = framing(*letter)?;
    let best = client_versions.iter().max()?;
    let digits = digits.min(best.digits());
    let version = *client_versions.iter().find(|version| version.digits() == digits)?;
    Some(Protocol { framing, version })
}

/// Whether a server that speaks `server_versions` accepts a client's choice. The framing of the session is
/// the client's, whatever the server announced (protocol reference 2.2).
#[must_use]
pub fn server_accepts(client: Hello<'_>, server_versions: &[Version]) -> Option<Protocol> {
    match client {
        Hello::Zeo(protocol) if server_versions.contains(&protocol.version) => {
            // msgpack exists in version 5 only.
            (protocol.framing == Framing::Pickle || protocol.version == Version::V5).then_some(protocol)
        }
        Hello::Zeo(_) | Hello::Ruok | Hello::Unknown(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEO5_CLIENT: [Version; 1] = [Version::V5];
    const ZEO52_CLIENT: [Version; 5] =
        [Version::V309, Version::V310, Version::V3101, Version::V4, Version::V5];

    #[test]
    fn clients_choose_as_python_does() {
        // Protocol reference 2.1.
        assert_eq!(client_choice(b"Z5", &ZEO5_CLIENT), Some(Protocol::Z5));
        assert_eq!(client_choice(b"M5", &ZEO5_CLIENT), Some(Protocol::M5));
        assert_eq!(client_choice(b"Z6", &ZEO5_CLIENT), Some(Protocol::Z5));
        assert_eq!(client_choice(b"Z10", &ZEO5_CLIENT), None);
        assert_eq!(client_choice(b"Z4", &ZEO5_CLIENT), None);
        assert_eq!(client_choice(b"Z4", &ZEO52_CLIENT), Some(Protocol::Z4));
        assert_eq!(client_choice(b"", &ZEO5_CLIENT), None);
        assert_eq!(client_choice(b"X5", &ZEO5_CLIENT), None);
    }

    #[test]
    fn servers_accept_as_python_does() {
        // Protocol reference 2.2: the client's letter counts.
        for (hello, accepted) in [
            (&b"Z5"[..], Some(Protocol::Z5)),
            (b"M5", Some(Protocol::M5)),
            (b"Z4", None),
            (b"X5", None),
            (b"", None),
            (b"ruok", None),
        ] {
            assert_eq!(server_accepts(Hello::parse(hello), &ZEO5_CLIENT), accepted);
        }
    }

    #[test]
    fn unknown_greetings_are_kept() {
        assert_eq!(Hello::parse(b"HTTP"), Hello::Unknown(b"HTTP"));
        assert_eq!(Hello::parse(b"ruok"), Hello::Ruok);
    }

    #[test]
    fn versions_order_as_byte_strings() {
        for pair in Version::ALL.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].digits() < pair[1].digits());
        }
    }
}
