//! What a server speaks, by asking it: what it greets with, and whether it takes a client of ZEO 4.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use zeo_codec::call::Register;
use zeo_codec::frame::{LENGTH_LEN, MAC_BIT, write_frame};
use zeo_codec::{Call, Dialect, Method, MsgId, Value, write_message};

use crate::scenarios::Pair;

/// How long it may take to greet.
const GREETING_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to answer a client of ZEO 4.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// No greeting, and no answer to `register`, is longer.
const FRAME_LEN_MAX: usize = 64 * 1024;
const ZEO4: &[u8] = b"Z4";

/// What a server speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spoken {
    /// The version that it greets with.
    pub(super) greeting: Vec<u8>,
    /// It takes a client that answers `Z4`, and tells it what became of its `register`.
    pub(super) is_zeo4: bool,
}

impl Spoken {
    /// Asks the server there, which has a storage `1`.
    ///
    /// # Errors
    /// Those of the socket, and if it does not greet.
    pub(super) fn ask(address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(GREETING_LIMIT))?;
        let greeting = read_frame(&mut stream)?;
        let mut said = Vec::new();
        write_frame(&mut said, ZEO4);
        let call =
            Call::Register(Register { storage: "1".into(), read_only: Value::Bool(true), credentials: None });
        let (dialect, id) = (Dialect::Z4, MsgId::Int(1));
        write_message(&mut said, &dialect, &id, dialect.call_flag(false), Method::Register.name(), &call)
            .map_err(io::Error::other)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let answer = stream.write_all(&said).and_then(|()| read_frame(&mut stream));
        let is_zeo4 = match answer {
            Ok(_) => true,
            Err(error) if is_refusal(&error) => false,
            Err(error) => return Err(error),
        };
        Ok(Self { greeting, is_zeo4 })
    }

    /// Whether what clients of this pair said can be said to it.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn suits(&self, pair: Pair) -> Result<(), String> {
        let greeting = String::from_utf8_lossy(&self.greeting);
        if pair.speaks_zeo4() {
            return if self.is_zeo4 { Ok(()) } else { Err(format!("it speaks {greeting}, not Z4")) };
        }
        if self.greeting == ZEO4 { Err(format!("it speaks {greeting}")) } else { Ok(()) }
    }
}

/// It hangs up, or never says anything.
fn is_refusal(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
    matches!(
        error.kind(),
        UnexpectedEof | ConnectionReset | BrokenPipe | ConnectionAborted | TimedOut | WouldBlock
    )
}

/// The payload of the next frame.
fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut prefix = [0; LENGTH_LEN];
    stream.read_exact(&mut prefix)?;
    let announced = u32::from_be_bytes(prefix);
    let len = usize::try_from(announced & !MAC_BIT).unwrap_or(usize::MAX);
    if announced & MAC_BIT != 0 || len > FRAME_LEN_MAX {
        return Err(io::Error::other(format!("it says {prefix:02x?}, which begins no message")));
    }
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Asks somebody who greets so, and says this to whatever he is told.
    fn asked(greeting: &[u8], answer: Option<&[u8]>) -> io::Result<Spoken> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut frames = Vec::new();
                write_frame(&mut frames, greeting);
                stream.write_all(&frames).unwrap();
                assert_eq!(read_frame(&mut stream).unwrap(), ZEO4);
                if let Some(answer) = answer {
                    read_frame(&mut stream).unwrap();
                    stream.write_all(answer).unwrap();
                }
            });
            Spoken::ask(address)
        })
    }

    #[test]
    fn a_server_that_hangs_up_on_zeo_4_does_not_speak_it() {
        let pair = |name: &str| name.parse::<Pair>().unwrap();
        let (new, old) = (pair("6.2-6.2-msgpack"), pair("4.3.1-4.3.1-pickle"));
        let spoken = asked(b"M5", None).unwrap();
        assert_eq!(spoken.suits(old), Err("it speaks M5, not Z4".to_owned()));
        assert_eq!(spoken.suits(new), Ok(()));
        let spoken = asked(b"Z5", Some(b"\0\0\0\x01N")).unwrap();
        assert_eq!((spoken.suits(old), spoken.suits(new)), (Ok(()), Ok(())));
        let spoken = asked(b"Z4", Some(b"\0\0\0\x01N")).unwrap();
        assert_eq!((spoken.suits(old), spoken.suits(new)), (Ok(()), Err("it speaks Z4".to_owned())));
    }

    #[test]
    fn what_is_no_frame_is_told() {
        let error = asked(b"Z5", Some(b"HTTP/1.1 400")).unwrap_err();
        assert_eq!(error.to_string(), "it says [48, 54, 54, 50], which begins no message");
    }
}
