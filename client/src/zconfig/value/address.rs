//! Addresses to listen on, and to connect to.

use super::{ValueError, is_blank, number};

/// Where a socket is bound, or connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    /// A TCP port.
    Inet {
        /// Host name or address, in lower case, without brackets. Empty: all interfaces of the host.
        host: String,
        /// The port; `None` if none is given.
        port: Option<u16>,
    },
    /// The path of a Unix domain socket.
    Unix(String),
}

/// ZConfig's `socket-binding-address`: `HOST:PORT`, `PORT`, `:PORT`, `HOST`, `HOST:`, `[IPV6]:PORT`, `IPV6`,
/// or a path, which is whatever contains a `/`. Blanks around the port do not count.
///
/// # Errors
/// [`ValueError::Port`] if what follows the colon is no port; [`ValueError::Host`] if there is no colon and
/// the text is neither a port nor one word.
pub fn socket_binding_address(value: &str) -> Result<SocketAddress, ValueError> {
    if value.contains('/') {
        return Ok(SocketAddress::Unix(value.into()));
    }
    let Some((host, after)) = value.rsplit_once(':') else {
        return without_colon(value);
    };
    let (host, after) = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => (inner, after),
        // Several colons without brackets: all of it is an IPv6 address, and there is no port.
        None if host.contains(':') => (value, ""),
        None => (host, after),
    };
    let port = if after.is_empty() { None } else { Some(port(after)?) };
    Ok(SocketAddress::Inet { host: host.to_lowercase(), port })
}

/// ZConfig's `socket-connection-address`: as [`socket_binding_address`], but without a host it is `127.0.0.1`.
///
/// # Errors
/// As [`socket_binding_address`].
pub fn socket_connection_address(value: &str) -> Result<SocketAddress, ValueError> {
    let address = socket_binding_address(value)?;
    Ok(match address {
        SocketAddress::Inet { host, port } if host.is_empty() => {
            SocketAddress::Inet { host: "127.0.0.1".into(), port }
        }
        address => address,
    })
}

fn without_colon(value: &str) -> Result<SocketAddress, ValueError> {
    if let Ok(port) = port(value) {
        return Ok(SocketAddress::Inet { host: String::new(), port: Some(port) });
    }
    // A number that is no port is taken for a host here, as in Python.
    if value.split(is_blank).filter(|word| !word.is_empty()).count() != 1 {
        return Err(ValueError::Host { value: value.into() });
    }
    Ok(SocketAddress::Inet { host: value.to_lowercase(), port: None })
}

fn port(text: &str) -> Result<u16, ValueError> {
    let port = number::integer(text).ok().and_then(|number| u16::try_from(number).ok());
    port.ok_or_else(|| ValueError::Port { value: text.into() })
}
