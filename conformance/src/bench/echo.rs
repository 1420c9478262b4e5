//! A server that does nothing but answer: what TCP on this machine gives for messages of the same sizes.
//!
//! A client first sends the length of its requests and the length of the answers that it wants, four bytes
//! each, big-endian. Each request is then answered by a frame of zeros. Everything that has arrived is
//! answered by one write.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use super::BenchError;
use super::client::open_socket;
use zeo_codec::frame::LENGTH_LEN;

/// Bytes that are read at once.
const READ_LEN: usize = 64 * 1024;
/// Answers that are kept ready, in bytes; at least one.
const READY_LEN: usize = 512 * 1024;

/// Connections that are served at the same time, each by a thread that waits for the next one.
const THREAD_COUNT: usize = 16;

/// Serves on `port` of the local host until the process is killed.
///
/// # Errors
/// If the port is taken.
pub fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    std::thread::scope(|scope| {
        for _ in 0..THREAD_COUNT {
            scope.spawn(|| {
                while let Ok((stream, _)) = listener.accept() {
                    // A client that hangs up is done.
                    let _ = answer(stream);
                }
            });
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut request, mut reply) = ([0; LENGTH_LEN], [0; LENGTH_LEN]);
    stream.read_exact(&mut request)?;
    stream.read_exact(&mut reply)?;
    let request_len = usize::try_from(u32::from_be_bytes(request)).unwrap_or_default().max(1);
    let reply_len = usize::try_from(u32::from_be_bytes(reply)).unwrap_or_default().max(LENGTH_LEN);
    let payload_len = u32::try_from(reply_len - LENGTH_LEN).unwrap_or_default();
    let mut frame = vec![0; reply_len];
    for (byte, digit) in frame.iter_mut().zip(payload_len.to_be_bytes()) {
        *byte = digit;
    }
    let ready = frame.repeat((READY_LEN / reply_len).max(1));
    let mut buffer = vec![0; READ_LEN];
    let mut pending_len = 0;
    loop {
        let read_len = stream.read(&mut buffer)?;
        if read_len == 0 {
            return Ok(());
        }
        pending_len += read_len;
        let mut left_len = pending_len / request_len * reply_len;
        pending_len %= request_len;
        while left_len > 0 {
            let batch = ready.get(..left_len).unwrap_or(&ready);
            stream.write_all(batch)?;
            left_len -= batch.len();
        }
    }
}

/// Connects to the echo server and says what is wanted.
///
/// # Errors
/// If it cannot be reached, or a length exceeds four bytes.
pub fn connect(address: SocketAddr, request_len: usize, reply_len: usize) -> Result<TcpStream, BenchError> {
    let mut stream = open_socket(address)?;
    let mut lengths = Vec::new();
    for len in [request_len, reply_len] {
        let len = u32::try_from(len).map_err(|_| BenchError::Missing("echo beyond 4 GiB".to_owned()))?;
        lengths.extend_from_slice(&len.to_be_bytes());
    }
    stream.write_all(&lengths)?;
    Ok(stream)
}
