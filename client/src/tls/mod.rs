//! TLS without sockets: certificates, private keys and their passwords, and which peers are trusted.
//!
//! The server needs the same in the other direction, and takes it from here. What a client makes of it is in
//! `connector`.

mod connector;
mod error;
mod key;
mod pem_file;
#[cfg(test)]
mod tests;
mod trust;

use std::path::PathBuf;

pub(crate) use connector::Connector;
pub use error::{TlsError, TlsErrorKind};
pub use key::{Password, private_key};
pub use pem_file::certificates;
pub use trust::{Peer, Trusted};

/// How a client speaks TLS: `<ssl>` in `<clientstorage>` (`ZEO/component.xml`, ZEO 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// What the client shows, if anything: servers of ZEO want a certificate.
    pub identity: Option<Identity>,
    /// Which servers are trusted.
    pub servers: Servers,
    /// Whether the server's certificate must be for the host that the client wants to talk to.
    pub check_hostname: bool,
    /// That host, if it is not the one in the address.
    pub server_hostname: Option<String>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A PEM file with the certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// A PEM file with its key, if it is not in the same file.
    pub key: Option<PathBuf>,
    /// Where the password of an encrypted key is kept.
    pub password: Option<Password>,
}

/// Which servers are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// Those whose certificates, or the authorities that issued them, are in a file or directory.
    Path(PathBuf),
    /// Those with a certificate that was issued by an authority that the system trusts.
    System,
}

impl Default for TlsOptions {
    /// What the system trusts, under the names in the addresses; no certificate.
    fn default() -> Self {
        Self { identity: None, servers: Servers::System, check_hostname: true, server_hostname: None }
    }
}
