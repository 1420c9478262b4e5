//! What bytes pass through.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::tls::secure;
use crate::address::Address;
use crate::tls::Connector;

/// A stream of any kind.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> Socket for S {}

/// After this time without a word the system asks whether the server's host is still there.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
/// And then this often.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// What was sent and is not acknowledged for this long has no reader any more.
const UNACKNOWLEDGED_MS_MAX: u32 = 120_000;

/// Connects, and shakes hands if there is TLS.
pub(super) async fn open(address: &Address, tls: Option<&Connector>) -> io::Result<Box<dyn Socket>> {
    let plain = open_plain(address).await?;
    let host = match address {
        Address::Tcp { host, .. } => Some(host.as_str()),
        Address::Unix(_) => None,
    };
    match tls {
        None => Ok(plain),
        Some(connector) => secure(plain, connector, host).await,
    }
}

async fn open_plain(address: &Address) -> io::Result<Box<dyn Socket>> {
    match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            // As Python's peers do (protocol reference 1).
            stream.set_nodelay(true)?;
            sockopt::set_socket_keepalive(&stream, true)?;
            sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE_AFTER)?;
            sockopt::set_tcp_keepintvl(&stream, KEEP_ALIVE_EVERY)?;
            #[cfg(target_os = "linux")]
            sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS_MAX)?;
            Ok(Box::new(stream))
        }
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
    }
}
