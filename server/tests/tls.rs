//! TLS at the sockets: on those of both kinds, and who does not shake hands is let go.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tokio::runtime::Runtime;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use zeo_codec::call::{Register, Storea, TpcBegin, TransactionRef, TxnId};
use zeo_codec::session::{ClientEvent, ClientSession};
use zeo_codec::{Call, Limits, Method, Oid, Tid, Value};
use zeo_server::config::{Address, Authenticate, SslOptions};
use zeo_server::engine::{Engine, EngineOptions};
use zeo_server::net::{Bound, ConnectionOptions, Listener, Tls};
use zeo_server::storage::Storage;
use zeo_server::storage::memory::MemoryStorage;
use zeo_server::zconfig::Nothing;

const PATIENCE: Duration = Duration::from_secs(10);

/// A server whose certificate is also that of its clients.
struct Server {
    bound: Bound,
    client: Arc<ClientConfig>,
    runtime: Option<Runtime>,
    directory: tempfile::TempDir,
}

impl Server {
    fn start(options: ConnectionOptions, address: impl FnOnce(PathBuf) -> Address) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let path = directory.path().join("both.pem");
        std::fs::write(&path, certificate.pem() + &key.serialize_pem()).unwrap();
        let ssl = SslOptions {
            certificate: path.clone(),
            key: None,
            password: None,
            authenticate: Authenticate::Path(path),
        };
        let tls = Tls::load(&ssl, &Nothing).unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();

        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new("test"));
        let engine =
            Engine::new([("1".to_owned(), storage)], EngineOptions::default(), "Sat Nov 21 00:00:00 2026")
                .unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let address = address(directory.path().to_owned());
        let listener = runtime.block_on(Listener::bind(&address)).unwrap().with_tls(tls);
        let bound = listener.bound().unwrap().remove(0);
        runtime.spawn(listener.run(engine, options));
        Self { bound, client: Arc::new(client), runtime: Some(runtime), directory }
    }

    fn on_tcp(options: ConnectionOptions) -> Self {
        Self::start(options, |_| Address::Tcp { host: "127.0.0.1".into(), port: 0 })
    }

    fn address(&self) -> SocketAddr {
        let Bound::Tcp(address) = self.bound else { panic!("no address") };
        address
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn client<S: Read + Write>(&self, stream: S) -> Client<S> {
        let tls = ClientConnection::new(Arc::clone(&self.client), "localhost".try_into().unwrap()).unwrap();
        let mut client =
            Client { stream: StreamOwned::new(tls, stream), session: ClientSession::new(Limits::DEFAULT) };
        client.next();
        client.session.call(&register()).unwrap();
        client.next();
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

fn register() -> Call<'static> {
    Call::Register(Register { storage: "1".into(), read_only: Value::Bool(false), credentials: None })
}

struct Client<S: Read + Write> {
    stream: StreamOwned<ClientConnection, S>,
    session: ClientSession,
}

impl<S: Read + Write> Client<S> {
    fn flush(&mut self) {
        let output = self.session.output().to_vec();
        self.stream.write_all(&output).unwrap();
        self.stream.flush().unwrap();
        self.session.consume_output(output.len());
    }

    /// The next greeting, reply or call.
    fn next(&mut self) -> ClientEvent {
        loop {
            self.flush();
            if let Some(event) = self.session.poll_event().unwrap() {
                self.flush();
                return event;
            }
            let mut bytes = [0; 65536];
            let len = self.stream.read(&mut bytes).unwrap();
            assert_ne!(len, 0, "the server hung up");
            self.session.receive(&bytes[..len]);
        }
    }

    fn commit(&mut self, data: &[u8]) {
        let id = TxnId(1);
        let begin = TpcBegin {
            id,
            user: Value::Bytes(b""[..].into()),
            description: Value::Bytes(b""[..].into()),
            extension: Value::Dict(vec![]),
            tid: None,
            status: " ".into(),
        };
        self.session.call(&Call::TpcBegin(begin)).unwrap();
        let store = Storea { oid: Oid::from_u64(1), serial: Tid::ZERO, data: data.into(), id };
        self.session.call(&Call::Storea(store)).unwrap();
        for method in [Method::Vote, Method::TpcFinish] {
            self.session.call(&Call::Transaction(method, TransactionRef { id })).unwrap();
            while !matches!(self.next(), ClientEvent::Reply(_)) {}
        }
    }
}

#[test]
fn unix_sockets_speak_tls_too() {
    let server =
        Server::start(ConnectionOptions::default(), |directory| Address::Unix(directory.join("sock")));
    let path = server.directory.path().join("sock");
    let mut client = server.client(UnixStream::connect(&path).unwrap());
    client.commit(b"data");
    let mut plain = UnixStream::connect(&path).unwrap();
    plain.write_all(b"\0\0\0\x04ruok").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.ends_with(b"}"), "{answer:?}");
}

#[test]
fn who_does_not_shake_hands_is_let_go() {
    let options =
        ConnectionOptions { handshake_timeout: Duration::from_millis(50), ..ConnectionOptions::default() };
    let server = Server::on_tcp(options);
    // Neither silence nor half a handshake keeps a connection open. The end comes without a byte.
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = server.dial();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"");
    }
}
