//! Who spoke, and how the capture was made. JSON, so that anybody can read it and newer programs can add to it.

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
