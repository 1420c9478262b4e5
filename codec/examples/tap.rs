//! Stands between ZEO clients and a server, and prints what they say to each other.
//!
//! ```sh
//! cargo run -p zeo-codec --example tap 127.0.0.1:8101 127.0.0.1:8100 [capture.txt]
//! ```
//!
//! Bytes pass unchanged, whatever the tap makes of them. With a third argument they are also written down, for
//! `sniff`; use it with one connection at a time.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use zeo_codec::Limits;
use zeo_codec::session::{Direction, Observer};

/// What both directions of a connection share.
struct Watch {
    number: usize,
    observer: Observer,
    capture: Option<File>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(server)) = (args.next(), args.next()) else {
        return Err("usage: tap LISTEN-ADDRESS SERVER-ADDRESS [CAPTURE-FILE]".into());
    };
    let capture = args.next().map(File::create).transpose()?;
    let listener = TcpListener::bind(&listen)?;
    println!("listening on {}, for {server}", listener.local_addr()?);
    for (number, client) in listener.incoming().enumerate() {
        let client = client?;
        let upstream = match TcpStream::connect(&server) {
            Ok(upstream) => upstream,
            Err(error) => {
                println!("{number} {server}: {error}");
                continue;
            }
        };
        let capture = capture.as_ref().map(File::try_clone).transpose()?;
        let watch = Watch { number, observer: Observer::new(Limits::DEFAULT), capture };
        let watch = Arc::new(Mutex::new(watch));
        for (from, to, direction) in [
            (client.try_clone()?, upstream.try_clone()?, Direction::FromClient),
            (upstream, client, Direction::FromServer),
        ] {
            let watch = Arc::clone(&watch);
            thread::spawn(move || {
                if let Err(error) = pass(&from, &to, direction, &watch) {
                    println!("{number} {direction:?}: {error}");
                }
                // An end in one direction is passed on as such.
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    }
    Ok(())
}

/// Passes bytes on until there are no more.
fn pass(
    mut from: &TcpStream,
    mut to: &TcpStream,
    direction: Direction,
    watch: &Mutex<Watch>,
) -> io::Result<()> {
    to.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = from.read(&mut buffer)?;
        let bytes = buffer.get(..len).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        // Watched first: otherwise the answer could be seen before the question.
        watch.lock().unwrap_or_else(PoisonError::into_inner).see(direction, bytes)?;
        to.write_all(bytes)?;
    }
}

impl Watch {
    fn see(&mut self, direction: Direction, bytes: &[u8]) -> io::Result<()> {
        if let Some(capture) = &mut self.capture {
            let tab = if direction == Direction::FromServer { "\t" } else { "" };
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(capture, "{tab}{hex}")?;
        }
        self.observer.receive(direction, bytes);
        // The client's first: its greeting tells how the server's messages are to be read.
        for (direction, side) in [(Direction::FromClient, 'C'), (Direction::FromServer, 'S')] {
            while let Some(seen) = self.observer.poll_event(direction) {
                println!("{} {side} {:.32}", self.number, seen.show(self.observer.dialect()));
            }
        }
        Ok(())
    }
}
