//! The kinds of strangers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use zeo_codec::Oid;

use super::guests::{self, Latency};
use super::{Part, Plan, SiegeError};
use crate::bench::usage::{descriptor_count, memory};
use crate::config::{Framing, ServerConfig, file_section};
use crate::process::poll_until;
use crate::server::Server;
use crate::stress::connection::Connection;
use crate::stress::record::Serials;

/// How much longer than its time limit the server may take to be rid of a stranger.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often its memory is looked at.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// A server, those who behave, and what it had before the strangers came.
struct Siege {
    server: Server,
    address: SocketAddr,
    before: Latency,
    resident_kib: u64,
    descriptors: usize,
}

impl Siege {
    fn begin(plan: &Plan, name: &str) -> Result<Self, SiegeError> {
        let dir = plan.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let config = ServerConfig {
            storage_section: Some(file_section("1", &dir.join("Data.fs"), "")),
            ..ServerConfig::new(Framing::Pickle, dir.join("Data.fs"))
        };
        // A key that only this server has.
        let timeout = format!("<zeo>\n  handshake-timeout {}s\n", plan.handshake_timeout.as_secs());
        let path = dir.join("siege.conf");
        std::fs::write(&path, config.text(0).replacen("<zeo>\n", &timeout, 1))?;
        let mut command = plan.server.clone();
        for word in &mut command.template {
            if let Some(text) = word.to_str() {
                *word = text.replace("{config}", &path.display().to_string()).into();
            }
        }
        let server = Server::start(name, &command, &config, &dir)?;
        let address = server.address();
        guests::set_up(address)?;
        let before = guests::measure(address, plan.measured)?;
        let resident_kib = memory(server.id())?.resident_kib;
        // Connections that have just ended may still count.
        let descriptors = settled(|| descriptor_count(server.id()))?;
        Ok(Self { server, address, before, resident_kib, descriptors })
    }

    /// Lets those who behave load while `act` goes on; the most memory meanwhile.
    fn during<T>(
        &self,
        act: impl FnOnce() -> Result<T, SiegeError>,
    ) -> Result<(T, Latency, u64), SiegeError> {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| guests::measure_until(self.address, &is_over));
            let looking = scope.spawn(|| -> io::Result<u64> {
                let mut most_kib = 0;
                while !is_over.load(Ordering::Relaxed) {
                    most_kib = memory(self.server.id())?.resident_kib.max(most_kib);
                    std::thread::sleep(LOOK_PAUSE);
                }
                Ok(most_kib)
            });
            let done = act();
            is_over.store(true, Ordering::Relaxed);
            let latency = loading.join().map_err(|_| SiegeError::Panicked)?;
            let most_kib = looking.join().map_err(|_| SiegeError::Panicked)?;
            Ok((done?, latency?, most_kib?))
        })
    }

    fn end(
        self,
        what: String,
        expelled: (usize, usize),
        meanwhile: Latency,
        most_kib: u64,
    ) -> Result<Part, SiegeError> {
        let id = self.server.id();
        let descriptors =
            poll_until(PATIENCE, || descriptor_count(id).ok().filter(|count| *count <= self.descriptors));
        let descriptors = match descriptors {
            Some(count) => count,
            None => descriptor_count(id)?,
        };
        let after_kib = memory(id)?.resident_kib;
        // Newcomers are served as before.
        guests::measure(self.address, Duration::ZERO)?;
        self.server.stop()?;
        Ok(Part {
            what,
            expelled,
            before: self.before,
            meanwhile,
            resident_kib: [self.resident_kib, most_kib, after_kib],
            descriptors: [self.descriptors, descriptors],
        })
    }
}

/// A number that is the same twice in a row.
fn settled(mut look: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let mut last = look()?;
    loop {
        std::thread::sleep(LOOK_PAUSE);
        let now = look()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

/// Whether the server has hung up.
fn is_over(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
}

/// Waits until the server has hung up on all; how many it has.
fn await_ends(streams: &mut Vec<TcpStream>, limit: Duration) -> Result<usize, SiegeError> {
    let count = streams.len();
    streams.iter().try_for_each(|stream| stream.set_nonblocking(true))?;
    poll_until(limit, || {
        streams.retain_mut(|stream| !is_over(stream));
        streams.is_empty().then_some(())
    });
    Ok(count - streams.len())
}

/// Point 11: nobody greets.
pub(super) fn silent(plan: &Plan) -> Result<Part, SiegeError> {
    let siege = Siege::begin(plan, "silent")?;
    let limit = plan.handshake_timeout + PATIENCE;
    let ((gone, held), meanwhile, most_kib) = siege.during(|| {
        let mut streams = (0..plan.silent_count)
            .map(|_| TcpStream::connect(siege.address))
            .collect::<io::Result<Vec<_>>>()?;
        let held = streams.len();
        Ok((await_ends(&mut streams, limit)?, held))
    })?;
    siege.end(format!("{held} connections that say nothing"), (gone, held), meanwhile, most_kib)
}

/// Point 12: the greeting and `register`, a byte a second.
pub(super) fn slow(plan: &Plan) -> Result<Part, SiegeError> {
    const REGISTER: &[u8] = b"\0\0\0\x02Z5\0\0\0\x20\x80\x03(K\x01\x89X\x08\0\0\0registerq";
    let siege = Siege::begin(plan, "slow")?;
    let deadline = Instant::now() + plan.handshake_timeout + PATIENCE;
    let ((gone, held), meanwhile, most_kib) = siege.during(|| {
        let mut streams = (0..plan.slow_count)
            .map(|_| TcpStream::connect(siege.address))
            .collect::<io::Result<Vec<_>>>()?;
        let held = streams.len();
        streams.iter().try_for_each(|stream| stream.set_nonblocking(true))?;
        for byte in REGISTER {
            if streams.is_empty() || Instant::now() > deadline {
                break;
            }
            // Who is not let in any more cannot send either.
            streams.retain_mut(|stream| stream.write_all(&[*byte]).is_ok() && !is_over(stream));
            std::thread::sleep(Duration::from_secs(1));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        await_ends(&mut streams, left)?;
        Ok((held - streams.len(), held))
    })?;
    siege.end(format!("{held} connections that say a byte a second"), (gone, held), meanwhile, most_kib)
}

/// Point 12: clients that read nothing of many commits.
pub(super) fn unread(plan: &Plan) -> Result<Part, SiegeError> {
    let siege = Siege::begin(plan, "unread")?;
    let mut readers = (0..plan.reader_count)
        .map(|_| Connection::open(siege.address, None, Serials::new()))
        .collect::<Result<Vec<_>, _>>()?;
    let ((), meanwhile, most_kib) = siege.during(|| {
        let mut committer = Connection::open(siege.address, None, Serials::new())?;
        for number in 0..plan.commit_count {
            guests::commit(&mut committer, number + 2, std::iter::once(Oid::from_u64(1_000 + number)))?;
            committer.events.clear();
            committer.serials.clear();
        }
        Ok(())
    })?;
    // Those that the server has given up find the end behind what lies in the socket.
    let mut streams = readers.drain(..).map(Connection::into_stream).collect();
    let gone = await_ends(&mut streams, Duration::ZERO)?;
    drop(streams);
    let what = format!("{} clients that read nothing of {} commits", plan.reader_count, plan.commit_count);
    siege.end(what, (gone, plan.reader_count), meanwhile, most_kib)
}

/// Point 13: connections that come and go. Most are reset, or the client would run out of ports.
pub(super) fn storm(plan: &Plan) -> Result<Part, SiegeError> {
    let siege = Siege::begin(plan, "storm")?;
    let ((), meanwhile, most_kib) = siege.during(|| {
        for number in 0..plan.storm_count {
            let mut stream = TcpStream::connect(siege.address)?;
            if number % 3 == 0 {
                stream.write_all(b"\0\0\0\x02Z5")?;
            }
            if number % 10 != 0 {
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))
                    .map_err(io::Error::from)?;
            }
        }
        Ok(())
    })?;
    let count = plan.storm_count;
    siege.end(format!("{count} connections that come and go"), (count, count), meanwhile, most_kib)
}
