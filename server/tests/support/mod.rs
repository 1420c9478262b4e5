//! A server in this process, and clients that can misbehave.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod payloads;
pub(crate) mod runzeo;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use zeo_codec::call::{GetTid, Register, Storea, TpcBegin, TransactionRef, TxnId};
use zeo_codec::frame::write_frame;
use zeo_codec::handshake::Version;
use zeo_codec::session::{ClientEvent, ClientReply, ClientSession, Message};
use zeo_codec::{Call, Limits, Method, Oid, Tid, Value};
use zeo_server::auth::Scheme;
use zeo_server::config::Address;
use zeo_server::engine::{Engine, EngineOptions};
use zeo_server::net::{Bound, ConnectionOptions, Listener};
use zeo_server::storage::Storage;
use zeo_server::storage::file::disk::MemoryDisk;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};
use zeo_server::storage::memory::MemoryStorage;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server with one storage in memory, called `1`.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) engine: Arc<Engine>,
    runtime: Option<Runtime>,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::with(EngineOptions::default(), ConnectionOptions::default())
    }

    /// One with a data file, which lies in memory, too.
    pub(crate) fn with_file() -> Self {
        let storage =
            FileStorage::open_disk(Arc::new(MemoryDisk::default()), "test", FileStorageOptions::default())
                .unwrap();
        Self::serving(Arc::new(storage), EngineOptions::default(), ConnectionOptions::default())
    }

    pub(crate) fn with(options: EngineOptions, connections: ConnectionOptions) -> Self {
        Self::serving(Arc::new(MemoryStorage::new("test")), options, connections)
    }

    pub(crate) fn serving(
        storage: Arc<dyn Storage>,
        options: EngineOptions,
        connections: ConnectionOptions,
    ) -> Self {
        Self::authenticating(storage, options, connections, None)
    }

    /// One that wants to know who its clients are.
    pub(crate) fn authenticating(
        storage: Arc<dyn Storage>,
        options: EngineOptions,
        connections: ConnectionOptions,
        scheme: Option<Arc<dyn Scheme>>,
    ) -> Self {
        Self::on_threads(2, storage, options, connections, scheme)
    }

    /// One whose runtime has so many threads, beside those for what blocks.
    pub(crate) fn on_threads(
        thread_count: usize,
        storage: Arc<dyn Storage>,
        options: EngineOptions,
        connections: ConnectionOptions,
        scheme: Option<Arc<dyn Scheme>>,
    ) -> Self {
        let storages = [("1".to_owned(), storage)];
        let engine =
            Engine::with_authentication(storages, options, "Sat Nov 21 00:00:00 2026", scheme).unwrap();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(thread_count).enable_all().build().unwrap();
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
        let listener = runtime.block_on(Listener::bind(&address)).unwrap();
        let Some(Bound::Tcp(address)) = listener.bound().unwrap().into_iter().next() else {
            panic!("no address")
        };
        runtime.spawn(listener.run(Arc::clone(&engine), connections));
        Self { address, engine, runtime: Some(runtime) }
    }

    /// A connection that has seen the greeting and answered it.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A registered connection.
    pub(crate) fn register(&self) -> Client {
        let mut client = self.connect();
        client.register();
        client
    }

    /// The value of a key of storage 1 in the server's status.
    pub(crate) fn status(&self, key: &str) -> serde_json::Value {
        let all: serde_json::Value = serde_json::from_str(&self.engine.ruok()).unwrap();
        all["1"][key].clone()
    }

    /// Waits until a key of the status has this value.
    pub(crate) fn wait_for_status(&self, key: &str, value: impl Into<serde_json::Value>) {
        let value = value.into();
        let end = std::time::Instant::now() + PATIENCE;
        while self.status(key) != value {
            assert!(std::time::Instant::now() < end, "{key} stays {}", self.status(key));
            std::thread::yield_now();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
        self.engine.close().unwrap();
    }
}

/// A client on a socket of its own.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) session: ClientSession,
    pub(crate) replies: Vec<ClientReply>,
    pub(crate) calls: Vec<Message>,
    is_connected: bool,
}

impl Client {
    /// A registered connection to any server.
    pub(crate) fn register_at(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.register();
        client
    }

    /// A connection that has seen the greeting and answered it.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::dial(address);
        while !client.is_connected {
            client.poll().unwrap();
        }
        client
    }

    /// The same in the protocol of a client of ZEO 4.
    pub(crate) fn connect_as(address: SocketAddr, version: Version) -> Self {
        let mut client = Self::dial(address);
        // A client that knows nothing newer answers with its best (protocol reference 2.1).
        client.session = ClientSession::with_versions(Limits::DEFAULT, &[version]);
        while !client.is_connected {
            client.poll().unwrap();
        }
        client
    }

    fn dial(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let session = ClientSession::new(Limits::DEFAULT);
        Self { stream, session, replies: vec![], calls: vec![], is_connected: false }
    }

    /// Sends what the session wants to send.
    pub(crate) fn flush(&mut self) {
        let output = self.session.output().to_vec();
        self.stream.write_all(&output).unwrap();
        self.session.consume_output(output.len());
    }

    /// Receives something; `false` at the end of the stream.
    pub(crate) fn poll(&mut self) -> io::Result<bool> {
        self.flush();
        let mut bytes = [0; 65536];
        let len = match self.stream.read(&mut bytes) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error),
        };
        self.session.receive(&bytes[..len]);
        while let Some(event) = self.session.poll_event().unwrap() {
            match event {
                ClientEvent::Connected(_) => self.is_connected = true,
                ClientEvent::Reply(reply) => self.replies.push(reply),
                ClientEvent::Call(message) => self.calls.push(message),
            }
        }
        self.flush();
        Ok(len > 0)
    }

    /// Handles the next frame, and no further one, so that replies and calls keep their order; `false` at
    /// the end of the stream.
    pub(crate) fn poll_one(&mut self) -> bool {
        let mut prefix = [0; 4];
        if self.stream.read_exact(&mut prefix).is_err() {
            return false;
        }
        let mut payload = vec![0; u32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut payload).unwrap();
        self.session.receive(&prefix);
        self.session.receive(&payload);
        match self.session.poll_event().unwrap() {
            Some(ClientEvent::Connected(_)) => self.is_connected = true,
            Some(ClientEvent::Reply(reply)) => self.replies.push(reply),
            Some(ClientEvent::Call(message)) => self.calls.push(message),
            None => {}
        }
        self.flush();
        true
    }

    /// Makes a call without waiting.
    pub(crate) fn send(&mut self, call: &Call<'_>) {
        self.session.call(call).unwrap();
        self.flush();
    }

    /// Makes a call and shows its reply: a debug form of the result, or the error's class.
    pub(crate) fn call(&mut self, call: &Call<'_>) -> String {
        self.send(call);
        self.next_reply()
    }

    pub(crate) fn next_reply(&mut self) -> String {
        while self.replies.is_empty() {
            assert!(self.poll().unwrap(), "the server hung up");
        }
        let reply = self.replies.remove(0);
        match reply.result(&Limits::DEFAULT).unwrap() {
            Ok(result) => format!("{result:?}"),
            Err(error) => error.class.into_owned(),
        }
    }

    /// The next reply as a value; it is a result.
    pub(crate) fn next_result(&mut self) -> Value<'static> {
        while self.replies.is_empty() {
            assert!(self.poll().unwrap(), "the server hung up");
        }
        let reply = self.replies.remove(0);
        match reply.result(&Limits::DEFAULT).unwrap() {
            Ok(zeo_codec::Reply::Value(value)) => value.into_owned(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn plain(&mut self, method: Method) -> String {
        self.call(&Call::Plain(method))
    }

    pub(crate) fn register(&mut self) {
        let register = Register { storage: "1".into(), read_only: Value::Bool(false), credentials: None };
        assert!(self.call(&Call::Register(register)).starts_with("Tid"));
    }

    /// Sends bytes as a frame, whatever they are.
    pub(crate) fn send_frame(&mut self, payload: &[u8]) {
        let mut frame = Vec::new();
        write_frame(&mut frame, payload);
        self.stream.write_all(&frame).unwrap();
    }

    /// Begins a transaction and stores one object.
    pub(crate) fn store(&mut self, id: u64, oid: u64, serial: Tid, data: &[u8]) {
        self.send(&begin(id));
        let (oid, id) = (Oid::from_u64(oid), TxnId(id));
        self.send(&Call::Storea(Storea { oid, serial, data: data.into(), id }));
    }

    pub(crate) fn transaction(&mut self, method: Method, id: u64) -> String {
        self.call(&transaction(method, id))
    }

    /// Begins, stores and votes, so that this client holds the commit lock.
    pub(crate) fn take_lock(&mut self) {
        self.store(7, 1, Tid::ZERO, b"data");
        assert_eq!(self.transaction(Method::Vote, 7), "Voted([])");
    }

    /// The current serial of an object; zero if there is none.
    pub(crate) fn current(&mut self, oid: u64) -> Tid {
        let shown = self.call(&Call::GetTid(GetTid { oid: Oid::from_u64(oid) }));
        let hex = shown.trim_start_matches("Tid(Tid(").trim_end_matches("))");
        u64::from_str_radix(hex, 16).map_or(Tid::ZERO, Tid::from_u64)
    }

    /// Commits one new object.
    pub(crate) fn commit(&mut self, id: u64, oid: u64) {
        self.store(id, oid, Tid::ZERO, b"data");
        assert_eq!(self.transaction(Method::Vote, id), "Voted([])");
        assert!(self.transaction(Method::TpcFinish, id).starts_with("Tid"));
    }

    /// The server hangs up, and sends no further reply.
    pub(crate) fn assert_closed(&mut self, why: &str) {
        while self.poll().unwrap_or_else(|error| panic!("{why}: not closed: {error}")) {}
        assert!(self.replies.is_empty(), "{why}: unexpected reply");
    }
}

pub(crate) fn begin(id: u64) -> Call<'static> {
    Call::TpcBegin(TpcBegin {
        id: TxnId(id),
        user: Value::Bytes(b"user"[..].into()),
        description: Value::Bytes(b"description"[..].into()),
        extension: Value::Dict(vec![]),
        tid: None,
        status: " ".into(),
    })
}

pub(crate) fn transaction(method: Method, id: u64) -> Call<'static> {
    Call::Transaction(method, TransactionRef { id: TxnId(id) })
}

/// As `undoLog` encodes ids, for bytes of any number.
pub(crate) fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let number = three.iter().chain([&0, &0]).take(3).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let characters = (0..4).map(move |place| ALPHABET[number >> (18 - 6 * place) & 63]);
        characters.take(three.len() + 1).chain([b'='; 4]).take(4).collect::<Vec<_>>()
    };
    bytes.chunks(3).flat_map(group).collect()
}
