//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::blocking::block_hook;
use super::connection::{ConnectionOptions, serve};
use crate::config::Address;
use crate::engine::Engine;
use crate::storage::set_wait_hook;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long to wait after a failed accept: out of descriptors, for example. Serving goes on meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One or several bound sockets.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<Socket>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Where a socket is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// An internet address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    /// Binds every address that the configured one stands for: a host name may have several, and an empty
    /// host means all interfaces (IPv4 and IPv6), as in Python's server.
    ///
    /// # Errors
    /// What the operating system says; nothing stays bound.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        let sockets = match address {
            Address::Unix(path) => vec![bind_unix(path)?],
            Address::Tcp { host, port } => bind_tcp(host, *port).await?,
        };
        Ok(Self { sockets })
    }

    /// Where the sockets are bound; ports are the real ones.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn bound(&self) -> io::Result<Vec<Bound>> {
        self.sockets
            .iter()
            .map(|socket| match socket {
                Socket::Tcp(listener) => listener.local_addr().map(Bound::Tcp),
                Socket::Unix(_, path) => Ok(Bound::Unix(path.clone())),
            })
            .collect()
    }

    /// Accepts and serves connections until the future is dropped, which also drops all connections.
    pub async fn run(self, engine: Arc<Engine>, options: ConnectionOptions) {
        set_wait_hook(block_hook);
        let mut accepting = JoinSet::new();
        for socket in self.sockets {
            accepting.spawn(accept_all(socket, Arc::clone(&engine), options));
        }
        while accepting.join_next().await.is_some() {}
    }
}

async fn bind_tcp(host: &str, port: u16) -> io::Result<Vec<Socket>> {
    let mut port = port;
    let addresses: Vec<SocketAddr> = if host.is_empty() {
        vec![([0, 0, 0, 0], port).into(), (std::net::Ipv6Addr::UNSPECIFIED, port).into()]
    } else {
        tokio::net::lookup_host((host, port)).await?.collect()
    };
    let mut sockets: Vec<Socket> = Vec::new();
    let mut failure = None;
    for mut address in addresses {
        // Port 0 is chosen once, for all addresses.
        address.set_port(port);
        match listen(address) {
            Ok(listener) => {
                port = listener.local_addr()?.port();
                sockets.push(Socket::Tcp(listener));
            }
            // A host without IPv6, for example; one address must do.
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if sockets.is_empty() || error.kind() == io::ErrorKind::AddrInUse => Err(error),
        _ if sockets.is_empty() => Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address")),
        _ => Ok(sockets),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        // The IPv4 side has a socket of its own.
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
        socket
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A socket that a killed server left behind refuses connections and is taken over; one in use accepts them, and
/// binding fails. Anything else under that name, a database for example, is never touched.
fn bind_unix(path: &Path) -> io::Result<Socket> {
    let is_left_behind = match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is no socket"));
        }
        Ok(_) => std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused),
        Err(_) => false,
    };
    if is_left_behind {
        std::fs::remove_file(path)?;
    }
    Ok(Socket::Unix(UnixListener::bind(path)?, path.to_owned()))
}

impl Socket {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().await.map(|(stream, address)| Accepted::Tcp(stream, address))
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Nobody can reach it any more; a failure leaves a file that the next start removes. What somebody
            // put there in its place stays.
            if std::fs::symlink_metadata(&*path).is_ok_and(|found| found.file_type().is_socket()) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

async fn accept_all(socket: Socket, engine: Arc<Engine>, options: ConnectionOptions) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok(Accepted::Tcp(stream, address)) => {
                    // Replies are written whole; waiting to fill packets only costs time.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream, address.to_string(), Arc::clone(&engine), options));
                }
                Ok(Accepted::Unix(stream)) => {
                    connections.spawn(serve(stream, "unix".to_owned(), Arc::clone(&engine), options));
                }
                Err(error) => {
                    tracing::error!(target: "ZEO.asyncio.server", "cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!(target: "ZEO.asyncio.server", critical = true, "a connection's task panicked: {error}");
                }
            }
        }
    }
}
