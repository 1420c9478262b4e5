//! Who spoke, and how the capture was made. JSON, so that anybody can read it and newer programs can add to it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a capture says about itself. Everything is optional: a proxy may know nothing of those who use it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// What was played, as in the name of the fixture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scenario: String,
    /// The client; of several with different versions, those of each connection are in [`Endpoints`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<PeerInfo>,
    /// The server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<PeerInfo>,
    /// `pickle` or `msgpack`: what the server was told to speak.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub framing: String,
    /// `tcp`, `unix` or `tls`. The streams of a TLS connection are in the clear.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub transport: String,
    /// When time 0 was, in UTC: `2026-11-26T05:50:00.123456789Z`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub started: String,
    /// The program that recorded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub recorder: String,
    /// How to make it again: a command.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub made_by: String,
    /// What was done to the connections on purpose, one option of the recorder each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Whatever else was said; kept as it came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A program at one end of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerInfo {
    /// `ZEO` for Python's.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version of ZODB beside it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zodb: String,
    /// The Python that runs it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub python: String,
}

/// As on a command line: `NAME [VERSION] [zodb=VERSION] [python=VERSION]`.
impl FromStr for PeerInfo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut peer = Self::default();
        for word in text.split_whitespace() {
            let (field, value) = match word.split_once('=') {
                Some(("name", value)) => (&mut peer.name, value),
                Some(("version", value)) => (&mut peer.version, value),
                Some(("zodb", value)) => (&mut peer.zodb, value),
                Some(("python", value)) => (&mut peer.python, value),
                Some((key, _)) => return Err(format!("{key:?} is none of name, version, zodb, python")),
                None if peer.name.is_empty() => (&mut peer.name, word),
                None => (&mut peer.version, word),
            };
            if !field.is_empty() {
                return Err(format!("{word:?} says once more what {field:?} says"));
            }
            *field = value.to_owned();
        }
        if peer.name.is_empty() { Err("a peer has a name".to_owned()) } else { Ok(peer) }
    }
}

/// The ends of one connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    /// The client's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// The server's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// Who the client is, if that differs from [`Metadata::client`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_peer: Option<PeerInfo>,
    /// Whatever else was said; kept as it came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_told_in_words() {
        let zeo = PeerInfo { name: "ZEO".to_owned(), version: "6.2".to_owned(), ..PeerInfo::default() };
        assert_eq!("ZEO 6.2".parse(), Ok(zeo.clone()));
        assert_eq!("version=6.2 name=ZEO".parse(), Ok(zeo.clone()));
        let more = PeerInfo { zodb: "6.4".to_owned(), python: "3.13.1".to_owned(), ..zeo };
        assert_eq!("ZEO 6.2 zodb=6.4 python=3.13.1".parse(), Ok(more));
        for (text, complaint) in [
            ("", "a name"),
            ("zodb=6.4", "a name"),
            ("ZEO 6.2 5.4", "once more"),
            ("ZEO os=linux", "\"os\" is none of"),
        ] {
            let error = text.parse::<PeerInfo>().unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
