//! Where a server listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a server listens: what Python's `ClientStorage` takes as `addr`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or address, and a port.
    Tcp {
        /// Name or address. IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: expected HOST:PORT, PORT, or the path of a socket with a / in it")]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;

    /// `host:port`, `[::1]:port`, `port` or `:port` on this machine, or a path, which has a `/` in it.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let bad = || BadAddress(text.to_owned());
        // An IPv6 address without a port ends like one with a port.
        if bracketed.is_none() && host.contains(':') {
            return Err(bad());
        }
        let host = bracketed.unwrap_or(host);
        let digits = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
        let port = if digits { port.parse().ok() } else { None };
        port.map(|port| Self::tcp(host, port)).ok_or_else(bad)
    }
}

impl Address {
    fn tcp(host: &str, port: u16) -> Self {
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        Self::Tcp { host: host.to_owned(), port }
    }
}

impl From<u16> for Address {
    /// A port on this machine.
    fn from(port: u16) -> Self {
        Self::tcp("", port)
    }
}

impl From<(&str, u16)> for Address {
    fn from((host, port): (&str, u16)) -> Self {
        Self::tcp(host, port)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.into())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_documentation_of_zeo_names() {
        for (text, shown) in [
            ("8200", "127.0.0.1:8200"),
            (":8200", "127.0.0.1:8200"),
            ("zeo.example.com:8200", "zeo.example.com:8200"),
            ("[::1]:8200", "[::1]:8200"),
            ("/var/run/zeo.sock", "/var/run/zeo.sock"),
            ("./zeo.sock", "./zeo.sock"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
        for text in ["", "host", "host:", "host:70000", "::1", "fe80::1:8200", "host:+1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
