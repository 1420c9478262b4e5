//! The ceiling: a server that speaks ZEO without a storage, so what a server of ZEO in Rust can reach on this machine.
//!
//! Requests are read, and replies written, by the codec, as our server does. Between them is as little as gives the right
//! answers: the current revision of each object in memory (`objects.rs`), and for commits the bytes of each appended to a
//! plain file that one `fdatasync` makes durable for all that are ready (`log.rs`). There is no index and no history, no
//! conflict is looked for, and what a connection loads may be newer than what it was told of (rule S3). Of the file nothing
//! is read again. With objects in memory only (`--storage mapping`) there is no file either.
//!
//! Each connection has a thread that blocks (`connection.rs`): everything that has come is answered by one write.
//!
//! ```text
//!             read                        append, fdatasync
//!   client --------> connection --commit-> log --------------> file
//!      ^                 |                  |
//!      |  one write for  |                  |  one write for all replies and invalidations
//!      '--all that came--'                  '--of all commits that one sync served--> every client
//! ```

mod connection;
mod log;
mod objects;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use connection::{Peers, READ_LEN};
use log::Log;
use objects::Objects;

/// Threads that wait for a connection when all others have one. One that is no longer needed ends.
const IDLE_COUNT_MAX: usize = 16;

/// What all connections share.
#[derive(Debug)]
struct Server {
    listener: TcpListener,
    objects: Objects,
    peers: Peers,
    log: Log,
    /// Threads that wait for a connection.
    idle_count: AtomicUsize,
}

/// Serves on `port` of the local host until the process is killed; commits go to `file`, if there is one.
///
/// # Errors
/// If the port is taken, or the file cannot be made.
pub fn serve(port: u16, file: Option<&Path>) -> io::Result<()> {
    let server = Arc::new(Server {
        listener: TcpListener::bind((Ipv4Addr::LOCALHOST, port))?,
        objects: Objects::default(),
        peers: Peers::default(),
        log: Log::new(file)?,
        idle_count: AtomicUsize::new(1),
    });
    let waiting = Arc::clone(&server);
    thread::Builder::new().spawn(move || take_turns(&waiting))?;
    server.log.go_on(&server)
}

/// Serves one connection after the other, and sees to it that somebody else waits for the next one meanwhile.
fn take_turns(server: &Arc<Server>) {
    let mut buffer = vec![0; READ_LEN];
    loop {
        let accepted = server.listener.accept();
        if server.idle_count.fetch_sub(1, Ordering::Relaxed) == 1 {
            server.idle_count.fetch_add(1, Ordering::Relaxed);
            let next = Arc::clone(server);
            if thread::Builder::new().spawn(move || take_turns(&next)).is_err() {
                server.idle_count.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if let Ok((stream, _)) = accepted {
            // One that hangs up, or breaks the protocol, is done.
            let _ = connection::serve(stream, server, &mut buffer);
        }
        if server.idle_count.fetch_add(1, Ordering::Relaxed) >= IDLE_COUNT_MAX {
            server.idle_count.fetch_sub(1, Ordering::Relaxed);
            return;
        }
    }
}
