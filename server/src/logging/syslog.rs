//! `<syslog>`: events as datagrams to a system's log daemon.
//!
//! After `SysLogHandler` of Python's `logging/handlers.py`, which is what ZConfig makes of the section. Each event is
//! one datagram, `<PRIORITY>TEXT\0`, by UDP or to a local socket. The crates for syslog write the headers of RFC 3164 or
//! 5424 in front of the text, which Python does not; what is left without these are the sockets.
//!
//! A daemon that does not take what comes is not waited for: with the buffer full, events are lost. So they are with
//! UDP anyway, and a database must not stand still for its log.

use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;

use super::{Level, LogError};

/// Where a `<syslog>` sends events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogConfig {
    /// `address`, default `localhost:514`.
    pub address: SyslogAddress,
    /// `facility`, default `user`.
    pub facility: Facility,
}

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A UDP port.
    Udp {
        /// Host name or address; empty for this host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A local socket, such as `/dev/log`.
    Unix(PathBuf),
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// What kind of program an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// What ZConfig makes of a `<syslog>` without `facility`.
    pub const USER: Self = Self(1);

    /// The names that ZConfig knows (`_syslog_facilities` in `handlers.py`), for messages.
    pub const NAMES: &str = "auth, authpriv, cron, daemon, kern, lpr, mail, news, security, syslog, user, uucp, \
                             local0 to local7";

    /// The facility `name`, in any case; the numbers are those of `logging.handlers.SysLogHandler`.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(Self(match name.to_lowercase().as_str() {
            "kern" => 0,
            "user" => 1,
            "mail" => 2,
            "daemon" => 3,
            "auth" => 4,
            "syslog" => 5,
            "lpr" => 6,
            "news" => 7,
            "uucp" => 8,
            "cron" => 9,
            "authpriv" => 10,
            "security" => 13,
            "local0" => 16,
            "local1" => 17,
            "local2" => 18,
            "local3" => 19,
            "local4" => 20,
            "local5" => 21,
            "local6" => 22,
            "local7" => 23,
            _ => return None,
        }))
    }

    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The number at the beginning of a datagram.
    fn priority(self, level: Level) -> u8 {
        let severity = match level {
            Level::CRITICAL => 2,
            Level::ERROR => 3,
            Level::INFO => 6,
            Level::DEBUG => 7,
            // WARNING, and whatever Python's handler does not know, ZODB's BLATHER and TRACE too (`mapPriority`).
            _ => 4,
        };
        self.0 << 3 | severity
    }
}

/// A `<syslog>` at work.
#[derive(Debug)]
pub(super) struct Syslog {
    config: SyslogConfig,
    /// `None` as long as nobody listens at a local address.
    socket: Option<Socket>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket, SocketAddr),
    Datagram(UnixDatagram),
    Stream(UnixStream),
}

impl Syslog {
    /// Finds the daemon. A local one may come later.
    pub(super) fn open(config: &SyslogConfig) -> Result<Self, LogError> {
        let socket = match (Socket::connect(&config.address), &config.address) {
            (Ok(socket), _) => Some(socket),
            (Err(_), SyslogAddress::Unix(_)) => None,
            (Err(source), address) => return Err(LogError::Syslog { address: address.clone(), source }),
        };
        Ok(Self { config: config.clone(), socket })
    }

    /// Sends an event; a local daemon that was started anew is looked for once.
    pub(super) fn send(&mut self, level: Level, text: &str) -> io::Result<()> {
        let datagram = format!("<{}>{text}\0", self.config.facility.priority(level));
        if let Some(socket) = &mut self.socket {
            match socket.send(datagram.as_bytes()) {
                Err(error) if is_over(&error) => self.socket = None,
                sent => return sent,
            }
        }
        let mut socket = Socket::connect(&self.config.address)?;
        let sent = socket.send(datagram.as_bytes());
        self.socket = Some(socket);
        sent
    }
}

/// Whether an error means that nobody listens any more, and not that this event cannot be sent.
fn is_over(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::WouldBlock)
        && error.raw_os_error() != Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

impl Socket {
    fn connect(address: &SyslogAddress) -> io::Result<Self> {
        let path = match address {
            SyslogAddress::Unix(path) => path,
            SyslogAddress::Udp { host, port } => return Self::udp(host, *port),
        };
        let socket = UnixDatagram::unbound()?;
        match socket.connect(path) {
            Ok(()) => {
                socket.set_nonblocking(true)?;
                Ok(Self::Datagram(socket))
            }
            // Some daemons have a stream there.
            Err(_) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(Self::Stream(stream))
            }
        }
    }

    fn udp(host: &str, port: u16) -> io::Result<Self> {
        let host = if host.is_empty() { "localhost" } else { host };
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let to = (host, port).to_socket_addrs()?.next().ok_or_else(missing)?;
        let socket = match to {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
        };
        socket.set_nonblocking(true)?;
        Ok(Self::Udp(socket, to))
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket, to) => socket.send_to(datagram, *to).map(drop),
            Self::Datagram(socket) => socket.send(datagram).map(drop),
            Self::Stream(stream) => match stream.write(datagram)? {
                len if len == datagram.len() => Ok(()),
                // The next event must not go on in the middle of this one.
                _ => Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
    }
}
