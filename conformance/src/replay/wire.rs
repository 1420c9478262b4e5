//! What both sides of a replay do with sockets.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::mpsc::Sender;

use super::plan::Said;

/// What comes from the other side of a connection: bytes, or its end.
pub(super) type Arrival = (u32, Option<Vec<u8>>);

/// Sends on what arrives, until its end. A message at a time goes out at once.
pub(super) fn receive_from(stream: &TcpStream, connection: u32, sender: Sender<Arrival>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reading = stream.try_clone()?;
    std::thread::Builder::new().name("replay".into()).spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let bytes = match reading.read(&mut buffer) {
                Ok(len @ 1..) => buffer.get(..len).map(<[u8]>::to_vec),
                Ok(_) | Err(_) => None,
            };
            let is_end = bytes.is_none();
            if sender.send((connection, bytes)).is_err() || is_end {
                return;
            }
        }
    })?;
    Ok(())
}

/// What is to be written to say something with this payload.
pub(super) fn frame(said: &Said, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 4);
    if !said.is_raw {
        frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    frame.extend_from_slice(payload);
    frame
}
