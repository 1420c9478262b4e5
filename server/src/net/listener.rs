//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::blocking::block_hook;
use super::connection::{ConnectionOptions, serve_among};
use super::gates::Gates;
use super::tls::Tls;
use crate::config::Address;
use crate::engine::Engine;
use crate::limits::Limit;
use crate::storage::set_wait_hook;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long to wait after a failed accept: out of descriptors, for example. Serving goes on meanwhile.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often refused handshakes are logged, at most.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);

/// One or several bound sockets.
#[derive(Debug)]
pub struct Listener {
    pub(super) sockets: Vec<Socket>,
    tls: Option<Tls>,
}

#[derive(Debug)]
pub(super) enum Socket {
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

pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Accepted {
    /// Who it is, for the log.
    fn address(&self) -> String {
        match self {
            Self::Tcp(_, address) => address.to_string(),
            Self::Unix(_) => "unix".to_owned(),
        }
    }

    async fn serve(
        self,
        engine: Arc<Engine>,
        options: ConnectionOptions,
        tls: Option<Tls>,
        gates: Arc<Gates>,
    ) -> Option<String> {
        let address = self.address();
        match self {
            Self::Tcp(stream, _) => {
                // Replies are written whole; waiting to fill packets only costs time.
                let _ = stream.set_nodelay(true);
                secure(stream, address, engine, options, tls, gates).await
            }
            Self::Unix(stream) => secure(stream, address, engine, options, tls, gates).await,
        }
    }
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
        Ok(Self { sockets, tls: None })
    }

    /// Serves nobody but through TLS, on Unix sockets, too.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
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
        let gates = Gates::new(&options);
        for socket in self.sockets {
            let (engine, gates, tls) = (Arc::clone(&engine), Arc::clone(&gates), self.tls.clone());
            accepting.spawn(accept_all(socket, engine, options, tls, gates));
        }
        while accepting.join_next().await.is_some() {}
    }
}

async fn bind_tcp(host: &str, port: u16) -> io::Result<Vec<Socket>> {
    let mut port = port;
    // glibc takes `*` for every interface, and so does Python's server.
    let addresses: Vec<SocketAddr> = if host.is_empty() || host == "*" {
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
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
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

async fn accept_all(
    socket: Socket,
    engine: Arc<Engine>,
    options: ConnectionOptions,
    tls: Option<Tls>,
    gates: Arc<Gates>,
) {
    let mut connections = JoinSet::new();
    let mut refusals = Refusals::default();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok(accepted) => match gates.enter(&engine) {
                    Some(place) => {
                        let (engine, gates, tls) = (Arc::clone(&engine), Arc::clone(&gates), tls.clone());
                        connections.spawn(async move {
                            let refusal = accepted.serve(engine, options, tls, gates).await;
                            drop(place);
                            refusal
                        });
                    }
                    None => {
                        let count = options.connection_count;
                        let refusal = format!("({}) refused: {count} connections are open", accepted.address());
                        refusals.log(&refusal, Instant::now());
                    }
                },
                Err(error) => {
                    tracing::error!(target: "ZEO.asyncio.server", "cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => match ended {
                Ok(None) => {}
                Ok(Some(refusal)) => refusals.log(&refusal, Instant::now()),
                Err(error) if error.is_panic() => {
                    tracing::error!(target: "ZEO.asyncio.server", critical = true, "a connection's task panicked: {error}");
                }
                Err(_) => {}
            }
        }
    }
}

/// Serves a connection, through TLS if there is to be TLS. Who does not get through the handshake gets nothing;
/// then this tells why. The time that it takes is part of the time to greet and register.
pub(super) async fn secure<S>(
    stream: S,
    address: String,
    engine: Arc<Engine>,
    options: ConnectionOptions,
    tls: Option<Tls>,
    gates: Arc<Gates>,
) -> Option<String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(tls) = tls else {
        serve_among(stream, address, engine, options, gates).await;
        return None;
    };
    let began = tokio::time::Instant::now();
    match timeout(options.handshake_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let handshake_timeout = options.handshake_timeout.saturating_sub(began.elapsed());
            let options = ConnectionOptions { handshake_timeout, ..options };
            serve_among(stream, address, engine, options, gates).await;
            None
        }
        Ok(Err(error)) => Some(format!("({address}) refused at the TLS handshake: {error}")),
        Err(_) => {
            engine.reached().count(Limit::Handshake);
            Some(format!("({address}) refused: no TLS handshake in time"))
        }
    }
}

/// Keeps those who are refused from filling the log: Python's client comes back hundreds of times a second.
#[derive(Default)]
struct Refusals {
    logged: Option<Instant>,
    unlogged_count: u64,
}

impl Refusals {
    fn log(&mut self, refusal: &str, now: Instant) {
        if self.logged.is_some_and(|logged| now.duration_since(logged) < REFUSAL_INTERVAL) {
            self.unlogged_count += 1;
            return;
        }
        self.logged = Some(now);
        match std::mem::take(&mut self.unlogged_count) {
            0 => tracing::warn!(target: "ZEO.asyncio.server", "{refusal}"),
            more => tracing::warn!(target: "ZEO.asyncio.server", "{refusal} (and {more} others before)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `runzeo -a '*:PORT'` and `-a :PORT` of 6.2 listen at all interfaces.
    #[tokio::test]
    async fn a_star_and_nothing_stand_for_every_interface() {
        for host in ["", "*"] {
            let address = Address::Tcp { host: host.to_owned(), port: 0 };
            let bound = Listener::bind(&address).await.unwrap().bound().unwrap();
            let shown: Vec<String> = bound
                .iter()
                .map(|bound| match bound {
                    Bound::Tcp(address) => address.ip().to_string(),
                    Bound::Unix(path) => path.display().to_string(),
                })
                .collect();
            assert_eq!(shown, ["0.0.0.0", "::"], "{host:?}");
        }
    }
}
