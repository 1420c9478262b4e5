//! The sockets: clients on one side, the server on the other, one task for each connection, all on one thread; or two threads
//! for each connection, where nothing is ever done to it.

use std::borrow::Cow;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use zeo_codec::session::Direction;

use super::address::{Address, Listener, Stream};
use super::fault::Armed;
use super::named;
use super::recording::Recording;
use super::shaper::{Shaper, SharedObserver, Step, shared_observer};
use super::threads::{self, Pair};
use crate::capture::{End, Endpoints, Event, Metadata};

/// How much one read brings at most.
const CHUNK_LEN: usize = 64 * 1024;
/// How long to wait before a server is tried again.
const SERVER_PAUSE: Duration = Duration::from_millis(20);
/// How often what was recorded is handed to the system.
const FLUSH_TIME: Duration = Duration::from_millis(500);

/// What stands between clients and the server.
#[derive(Clone)]
pub struct Proxy {
    /// The server.
    pub server: Address,
    /// TLS towards the clients.
    pub client_tls: Option<TlsAcceptor>,
    /// TLS towards the server, and the name by which it is called.
    pub server_tls: Option<(TlsConnector, ServerName<'static>)>,
    /// What is to be done to the connections.
    pub faults: Armed,
    /// Faults may be armed that are about messages: only whole messages are passed on.
    pub is_by_message: bool,
    /// No fault will ever be armed: connections without TLS are passed on by threads of their own, which are quicker.
    pub is_by_threads: bool,
    /// How long a server is waited for that cannot be reached when a client comes.
    pub server_wait: Duration,
    /// Told of connections, by their numbers, that could not be made.
    pub complain: fn(u32, &io::Error),
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("server", &self.server)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// Why both directions of a connection end at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// The recorder was told to.
    Cut,
    /// One side has reset it; the other is to see the same.
    Reset,
}

impl Proxy {
    /// Serves clients until `stop`, then waits so long for connections that are about to end.
    ///
    /// # Errors
    /// Those of the listening socket, and of the recording.
    pub async fn run(
        self,
        listener: Listener,
        recording: Arc<Recording>,
        stop: impl Future<Output = ()>,
        grace_time: Duration,
    ) -> io::Result<()> {
        let mut connections = JoinSet::new();
        let mut flush = tokio::time::interval(FLUSH_TIME);
        let mut stop = std::pin::pin!(stop);
        let mut count = 0;
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (client, address) = accepted?;
                    count += 1;
                    let connection = Connection {
                        proxy: self.clone(),
                        recording: Arc::clone(&recording),
                        number: count,
                        is_given_up: Arc::default(),
                    };
                    connections.spawn(async move { connection.serve(client, address).await });
                }
                // Without this what they leave behind would pile up.
                Some(_) = connections.join_next() => {}
                _ = flush.tick() => recording.check()?,
                () = &mut stop => break,
            }
        }
        drop(listener);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        // Those that go on are given up when the set is dropped.
        let _ = tokio::time::timeout(grace_time, all_ended).await;
        connections.shutdown().await;
        recording.finish()
    }
}

#[derive(Clone)]
struct Connection {
    proxy: Proxy,
    recording: Arc<Recording>,
    number: u32,
    /// What threads see from now on is our own doing.
    is_given_up: Arc<AtomicBool>,
}

impl Connection {
    async fn serve(self, client: Stream, address: String) {
        let endpoints =
            Endpoints { client: address, server: self.proxy.server.to_string(), ..Endpoints::default() };
        self.write(Event::Opened(Box::new(endpoints)));
        match self.connect(client).await {
            Ok((client, server)) => {
                let is_plain = ![&client, &server].iter().any(|stream| matches!(stream, Stream::Tls(_)));
                if self.proxy.is_by_threads && is_plain {
                    if let Err(error) = self.pass_both_by_threads(client, server).await {
                        self.fail(&error);
                    }
                } else {
                    self.pass_both(client, server).await;
                }
            }
            Err(error) => self.fail(&error),
        }
        self.recording.close(self.number);
    }

    fn write(&self, event: Event<'_>) {
        if !self.is_given_up.load(Ordering::SeqCst) {
            self.recording.write(self.number, event);
        }
    }

    /// The peers do not come together: it ends for both.
    fn fail(&self, error: &io::Error) {
        (self.proxy.complain)(self.number, error);
        self.write(Event::Note(Cow::Owned(error.to_string())));
        for direction in [Direction::FromServer, Direction::FromClient] {
            self.write(Event::Ended { direction, end: End::Other("not connected".into()) });
        }
    }

    async fn connect(&self, client: Stream) -> io::Result<(Stream, Stream)> {
        let client = match (&self.proxy.client_tls, client) {
            (Some(acceptor), Stream::Tcp(stream)) => {
                let stream =
                    acceptor.accept(stream).await.map_err(|error| named("TLS with the client", error))?;
                Stream::Tls(Box::new(TlsStream::Server(stream)))
            }
            (_, client) => client,
        };
        let server = self.reach_server().await.map_err(|error| {
            named(format_args!("connecting to the server at {}", self.proxy.server), error)
        })?;
        let server = match (&self.proxy.server_tls, server) {
            (Some((connector, name)), Stream::Tcp(stream)) => {
                let stream = connector.connect(name.clone(), stream).await;
                let stream = stream.map_err(|error| named("TLS with the server", error))?;
                Stream::Tls(Box::new(TlsStream::Client(stream)))
            }
            (_, server) => server,
        };
        Ok((client, server))
    }

    async fn reach_server(&self) -> io::Result<Stream> {
        let started = Instant::now();
        loop {
            match self.proxy.server.connect().await {
                Err(_) if started.elapsed() < self.proxy.server_wait => {
                    tokio::time::sleep(SERVER_PAUSE).await
                }
                reached => return reached,
            }
        }
    }

    async fn pass_both(&self, client: Stream, server: Stream) {
        let observer = self.proxy.is_by_message.then(shared_observer);
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let ended = tokio::try_join!(
            self.pass(&mut from_client, &mut to_server, Direction::FromClient, observer.clone()),
            self.pass(&mut from_server, &mut to_client, Direction::FromServer, observer),
        );
        if ended == Err(Broken::Reset) {
            from_client.unsplit(to_client).reset();
            from_server.unsplit(to_server).reset();
        }
    }

    /// The same by two threads. They have ended afterwards; if this is dropped before, they end soon, and write nothing down
    /// any more.
    async fn pass_both_by_threads(&self, client: Stream, server: Stream) -> io::Result<()> {
        let mut pair = Pair::new(client, server, Arc::clone(&self.is_given_up))?;
        let (sender, mut ended) = tokio::sync::mpsc::channel(2);
        for (from, to, direction) in [
            (&pair.client, &pair.server, Direction::FromClient),
            (&pair.server, &pair.client, Direction::FromServer),
        ] {
            let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
            let (connection, sender) = (self.clone(), sender.clone());
            threads::spawn(async move {
                let outcome = connection.pass(&mut from, &mut to, direction, None).await;
                drop((from, to));
                // There is room for both; if nobody is there any more, nobody is to be told.
                let _ = sender.try_send(outcome);
            })?;
        }
        drop(sender);
        while let Some(outcome) = ended.recv().await {
            if outcome.is_err() {
                pair.reset();
            }
        }
        Ok(())
    }

    /// Passes on what comes from one side, until it ends or both have to.
    async fn pass(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        direction: Direction,
        observer: Option<SharedObserver>,
    ) -> Result<(), Broken> {
        let mut shaper = Shaper::new(direction, self.proxy.faults.clone(), observer);
        let mut buffer = vec![0; CHUNK_LEN];
        let ended = |end| self.write(Event::Ended { direction, end });
        loop {
            let read = from.read(&mut buffer).await;
            let chunk = match &read {
                // Python's TLS leaves without a word.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => [].as_slice(),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    ended(End::Reset);
                    return Err(Broken::Reset);
                }
                Err(error) => {
                    ended(End::Other(Cow::Owned(error.to_string())));
                    return Err(Broken::Reset);
                }
                Ok(len) => buffer.get(..*len).unwrap_or_default(),
            };
            if !chunk.is_empty() && shaper.lets_pass(chunk) {
                if !self.deliver(to, direction, chunk).await {
                    return Ok(());
                }
                continue;
            }
            let steps = if chunk.is_empty() { shaper.finish() } else { shaper.push(chunk) };
            for step in steps {
                match step {
                    Step::Wait(time) => tokio::time::sleep(time).await,
                    Step::Note(text) => self.write(Event::Note(Cow::Owned(text))),
                    Step::Cut => {
                        for direction in [Direction::FromClient, Direction::FromServer] {
                            self.write(Event::Ended { direction, end: End::Cut });
                        }
                        return Err(Broken::Cut);
                    }
                    Step::Pass(bytes) => {
                        if !self.deliver(to, direction, &bytes).await {
                            return Ok(());
                        }
                    }
                }
            }
            if chunk.is_empty() {
                ended(End::Closed);
                // The other side may be gone already.
                let _ = to.shutdown().await;
                return Ok(());
            }
        }
    }
}

impl Connection {
    /// Writes down and passes on. False if the other side does not take it any more: how it ended is seen by
    /// whoever reads from it.
    async fn deliver(&self, to: &mut (impl AsyncWrite + Unpin), direction: Direction, bytes: &[u8]) -> bool {
        self.write(Event::Bytes { direction, bytes: Cow::Borrowed(bytes) });
        if self.is_given_up.load(Ordering::SeqCst) {
            // It may not have been written down.
            return false;
        }
        let written = write_all(to, bytes).await;
        if let Err(error) = &written {
            self.write(Event::Note(Cow::Owned(format!("not delivered: {error}"))));
        }
        written.is_ok()
    }
}

/// TLS holds back what it was given until it is told not to.
async fn write_all(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// A proxy with a thread of its own.
#[derive(Debug)]
pub struct Background {
    address: Address,
    recording: Arc<Recording>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Background {
    /// Starts to listen and to record.
    ///
    /// # Errors
    /// Those of the socket and the file.
    pub fn start(proxy: Proxy, listen: Address, path: &Path, metadata: Metadata) -> io::Result<Self> {
        let recording = Arc::new(Recording::create(path, metadata)?);
        let shared = Arc::clone(&recording);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let listener = Listener::bind(&listen).await?;
                let address = listener.address()?;
                // Nobody is there any more to be told, then.
                let _ = sender.send(address);
                let stop = async { stopped.await.unwrap_or(()) };
                proxy.run(listener, shared, stop, GRACE_TIME).await
            })
        });
        match receiver.recv() {
            Ok(address) => Ok(Self { address, recording, stop, thread }),
            Err(_) => Err(joined(thread).err().unwrap_or_else(|| io::Error::other("the proxy has ended"))),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Writes down a remark on the capture as a whole, before whatever comes from now on.
    pub fn note(&self, text: &str) {
        self.recording.write(0, Event::Note(Cow::Borrowed(text)));
    }

    /// Ends the recording. Connections that are about to end have a moment to do so.
    ///
    /// # Errors
    /// Those of the recording.
    pub fn stop(self) -> io::Result<()> {
        // If it has ended already, it says why.
        let _ = self.stop.send(());
        joined(self.thread)
    }
}

/// How long connections have that are about to end.
const GRACE_TIME: Duration = Duration::from_secs(5);

fn joined(thread: JoinHandle<io::Result<()>>) -> io::Result<()> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the proxy has panicked")))
}

#[cfg(test)]
mod tests;
