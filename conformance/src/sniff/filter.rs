//! Which messages are shown.

use zeo_codec::{Oid, Tid};

use super::message::{Kind, Message};

/// Conditions; one that is empty is met by all. What is no message is shown if it may concern what is asked for: where
/// something is missing, lines that were asked for may be.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Names of methods; replies have those of their calls.
    pub methods: Vec<String>,
    /// Objects.
    pub oids: Vec<Oid>,
    /// Tids, whatever they stand for.
    pub tids: Vec<Tid>,
    /// Numbers of connections.
    pub connections: Vec<u32>,
    /// Only errors, and what cannot be read.
    pub is_errors_only: bool,
}

impl Filter {
    /// Whether anything is shown of a connection.
    #[must_use]
    pub fn accepts_connection(&self, connection: u32) -> bool {
        self.connections.is_empty() || self.connections.contains(&connection)
    }

    /// Whether a message is shown.
    #[must_use]
    pub fn accepts(&self, message: &Message<'_>) -> bool {
        let Self { methods, oids, tids, connections: _, is_errors_only } = self;
        if !self.accepts_connection(message.connection) {
            return false;
        }
        match message.kind {
            Kind::Lost | Kind::Undecodable => return true,
            Kind::Error => {}
            _ if *is_errors_only => return false,
            _ => {}
        }
        (methods.is_empty() || methods.iter().any(|name| name == message.name()))
            && (oids.is_empty() || message.facts.oids.iter().any(|oid| oids.contains(oid)))
            && (tids.is_empty() || message.facts.tids.iter().any(|(_, tid)| tids.contains(tid)))
    }
}

/// An oid or tid as eight bytes in hexadecimal; leading zeros may be left out, and `0x` is.
///
/// # Errors
/// If it is none.
pub fn parse_id(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|error| format!("{text}: {error}"))
}
