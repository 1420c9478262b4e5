//! The `ruok` probe: asks a server how it is, without becoming its client (protocol reference 2.4).
//!
//! A server says its greeting, answers with JSON, and hangs up. What comes is bounded in length and in time, and is
//! looked at member by member: nothing in it need be what it should.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use zeo_codec::frame::{Deframer, FrameError, MacBit, write_frame};
use zeo_codec::handshake::RUOK;

use crate::Address;

/// The longest answer that is read. A storage takes about 300 bytes of it.
const ANSWER_LEN_MAX: usize = 4 << 20;
/// Bytes read at once.
const READ_LEN: usize = 16 << 10;

/// How the storages of a server are, by their names; each is an object as in protocol reference 2.4.
pub(super) type Storages = Map<String, Value>;

/// What a server has answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// Its greeting, which names the protocol that it speaks.
    pub(super) greeting: String,
    /// The storages.
    pub(super) storages: Storages,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    /// Nobody listens there.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection fails.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No answer in this time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server hangs up without an answer: ZEO 4.0, or it speaks TLS.
    #[error("the server hung up without an answer")]
    Ended,
    /// A frame that is too long, which is what anything else than a ZEO server seems to send.
    #[error("this is no ZEO server: {0}")]
    Frame(#[from] FrameError),
    /// What came is no JSON.
    #[error("the answer is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// What came is some other JSON.
    #[error("the answer is no JSON object")]
    NoObject,
}

/// A connection of either kind.
trait Stream: Read + Write {
    /// Bounds the next reads and writes.
    fn limit(&self, limit: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn limit(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))?;
        self.set_write_timeout(Some(limit))
    }
}

impl Stream for UnixStream {
    fn limit(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))?;
        self.set_write_timeout(Some(limit))
    }
}

/// Asks, and waits for at most `limit` for the answer.
///
/// # Errors
/// [`ProbeError`]; with the first of several addresses of a name that cannot be connected to if none can.
pub(super) fn probe(address: &Address, limit: Duration) -> Result<Answer, ProbeError> {
    let deadline = Deadline { end: Instant::now() + limit, limit };
    match address {
        Address::Tcp { host, port } => ask(connect(host, *port, &deadline)?, &deadline),
        Address::Unix(path) => ask(UnixStream::connect(path).map_err(ProbeError::Connect)?, &deadline),
    }
}

fn connect(host: &str, port: u16, deadline: &Deadline) -> Result<TcpStream, ProbeError> {
    let found = (host, port).to_socket_addrs().map_err(ProbeError::Connect)?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    // Where a name has both, servers of Python listen on the former.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut why = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, deadline.rest()?) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                why.get_or_insert(error);
            }
        }
    }
    Err(ProbeError::Connect(why.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())))
}

fn ask(mut stream: impl Stream, deadline: &Deadline) -> Result<Answer, ProbeError> {
    let mut question = Vec::new();
    write_frame(&mut question, RUOK);
    stream.limit(deadline.rest()?)?;
    stream.write_all(&question).map_err(|error| deadline.explain(error))?;
    let mut frames = Deframer::new(ANSWER_LEN_MAX, MacBit::IsLength);
    let mut greeting = None;
    let mut buffer = [0; READ_LEN];
    loop {
        while let Some(frame) = frames.next_frame()? {
            let Some(greeting) = greeting.take() else {
                greeting = Some(String::from_utf8_lossy(&frame.payload).into_owned());
                continue;
            };
            return match serde_json::from_slice(&frame.payload)? {
                Value::Object(storages) => Ok(Answer { greeting, storages }),
                _ => Err(ProbeError::NoObject),
            };
        }
        stream.limit(deadline.rest()?)?;
        let read = match stream.read(&mut buffer) {
            Ok(0) => return Err(ProbeError::Ended),
            Ok(len) => buffer.get(..len).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(deadline.explain(error)),
        };
        frames.push(read);
    }
}

/// When it has to be over, however little comes at a time.
struct Deadline {
    end: Instant,
    limit: Duration,
}

impl Deadline {
    /// What is left, which is more than nothing: no time at all would mean no limit.
    fn rest(&self) -> Result<Duration, ProbeError> {
        let rest = self.end.saturating_duration_since(Instant::now());
        if rest.is_zero() { Err(ProbeError::Timeout(self.limit)) } else { Ok(rest) }
    }

    /// A read or write that took too long says so in two ways.
    fn explain(&self, error: io::Error) -> ProbeError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ProbeError::Timeout(self.limit),
            _ => ProbeError::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that says these bytes, and then waits or hangs up.
    fn answer_to(said: Vec<u8>, hangs_up: bool, limit: Duration) -> Result<Answer, ProbeError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut question = [0; 8];
                stream.read_exact(&mut question).unwrap();
                assert_eq!(&question, b"\0\0\0\x04ruok");
                stream.write_all(&said).unwrap();
                if !hangs_up {
                    // Until the other end goes.
                    let _ = stream.read(&mut question);
                }
            });
            probe(&address.into(), limit)
        })
    }

    fn frames(payloads: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        payloads.iter().for_each(|payload| write_frame(&mut bytes, payload.as_bytes()));
        bytes
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn reads_the_greeting_and_the_answer() {
        let answer = answer_to(frames(&["M5", r#"{"1": {"loads": 7}}"#]), true, SOON).unwrap();
        assert_eq!(answer.greeting, "M5");
        assert_eq!(answer.storages["1"]["loads"], 7);
    }

    #[test]
    fn whatever_else_a_server_says_is_an_error() {
        let deep = "[".repeat(100_000);
        for (said, expected) in [
            (frames(&[]), "hung up"),
            (frames(&["Z4"]), "hung up"),
            (frames(&["Z5", "[]"]), "no JSON object"),
            (frames(&["Z5", "{"]), "no JSON:"),
            (frames(&["Z5", &deep]), "no JSON:"),
            (b"HTTP/1.1 400 Bad Request".to_vec(), "no ZEO server"),
            (b"\xff\xff\xff\xff".to_vec(), "no ZEO server"),
        ] {
            let error = answer_to(said, true, SOON).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let error = answer_to(frames(&["Z5"]), false, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ProbeError::Timeout(_)), "{error}");
    }
}
