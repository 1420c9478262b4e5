//! A connection on a TLS stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::TLS13;
use zeo_codec::call::{NewOids, Register, Storea, TpcBegin, TransactionRef, TxnId};
use zeo_codec::session::{ClientEvent, ClientSession};
use zeo_codec::{Call, Limits, Method, Oid, Tid, Value};

use super::{Identity, Server};
use crate::engine::{Engine, EngineOptions};
use crate::net::gates::Gates;
use crate::net::listener::secure;
use crate::net::{ConnectionOptions, serve};
use crate::storage::Storage;
use crate::storage::memory::MemoryStorage;

const PATIENCE: Duration = Duration::from_secs(10);

struct Client<S> {
    stream: S,
    session: ClientSession,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Waits for the next reply, or for the greeting.
    async fn next(&mut self) {
        loop {
            let output = self.session.output().to_vec();
            self.stream.write_all(&output).await.unwrap();
            self.stream.flush().await.unwrap();
            self.session.consume_output(output.len());
            match self.session.poll_event().unwrap() {
                Some(ClientEvent::Call(_)) => continue,
                Some(ClientEvent::Reply(reply)) => {
                    reply.result(&Limits::DEFAULT).unwrap().unwrap();
                    return;
                }
                Some(ClientEvent::Connected(_)) => return,
                None => {}
            }
            let mut bytes = [0; 4096];
            let len = timeout(PATIENCE, self.stream.read(&mut bytes)).await.unwrap().unwrap();
            assert_ne!(len, 0, "the server hung up");
            self.session.receive(&bytes[..len]);
        }
    }

    async fn call(&mut self, call: &Call<'_>) {
        self.session.call(call).unwrap();
        self.next().await;
    }
}

/// Everything that a commit and a large reply need.
async fn work<S: AsyncRead + AsyncWrite + Unpin>(mut client: Client<S>) {
    // The answer to the greeting goes out with the next call.
    client.next().await;
    let register = Register { storage: "1".into(), read_only: Value::Bool(false), credentials: None };
    client.call(&Call::Register(register)).await;
    client.call(&Call::NewOids(NewOids { count: Some(100) })).await;
    let id = TxnId(1);
    let text = || Value::Bytes(b""[..].into());
    let begin = TpcBegin {
        id,
        user: text(),
        description: text(),
        extension: Value::Dict(vec![]),
        tid: None,
        status: " ".into(),
    };
    client.session.call(&Call::TpcBegin(begin)).unwrap();
    let data = vec![7; 100_000];
    let store = Storea { oid: Oid::from_u64(1), serial: Tid::ZERO, data: data.into(), id };
    client.session.call(&Call::Storea(store)).unwrap();
    for method in [Method::Vote, Method::TpcFinish] {
        client.call(&Call::Transaction(method, TransactionRef { id })).await;
    }
}

#[test]
fn what_tls_holds_back_is_written_when_there_is_room() {
    // Less room than a record needs, so that each one waits in TLS for the client to read.
    const ROOM_LEN: usize = 16;
    let identity = Identity::of_its_own("client", |_| {});
    let server = Server::trusting(&identity.certificate.pem());
    let tls = server.load().unwrap();
    let config = server.client(&TLS13, Some((vec![identity.der()], &identity.key)));
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new("test"));
    let engine = Engine::new([("1".to_owned(), storage)], EngineOptions::default(), "a time").unwrap();

    // Commits need a runtime with several threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (near, far) = tokio::io::duplex(ROOM_LEN);
        let serving = tokio::spawn(async move {
            let stream = tls.accept(near).await.unwrap();
            serve(stream, "test".to_owned(), engine, ConnectionOptions::default()).await;
        });
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, far).await.unwrap();
        work(Client { stream, session: ClientSession::new(Limits::DEFAULT) }).await;
        timeout(PATIENCE, serving).await.unwrap().unwrap();
    });
}

/// Simulated time: it passes when nobody has anything to do.
#[test]
fn handshakes_share_one_time_limit() {
    let identity = Identity::of_its_own("client", |_| {});
    let server = Server::trusting(&identity.certificate.pem());
    let tls = server.load().unwrap();
    let config = Arc::new(server.client(&TLS13, Some((vec![identity.der()], &identity.key))));
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new("test"));
    let engine = Engine::new([("1".to_owned(), storage)], EngineOptions::default(), "a time").unwrap();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let limit = Duration::from_secs(30);
    let options = ConnectionOptions { handshake_timeout: limit, ..ConnectionOptions::default() };
    for tls_secs in [0, 20, 29] {
        runtime.block_on(async {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let began = Instant::now();
            let secured = secure(
                near,
                "test".to_owned(),
                Arc::clone(&engine),
                options,
                Some(tls.clone()),
                Gates::new(&options),
            );
            let serving = tokio::spawn(secured);
            sleep(Duration::from_secs(tls_secs)).await;
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::clone(&config)).connect(name, far).await.unwrap();
            // It greets, hears nothing, and goes.
            let end = timeout(limit * 2, stream.read_to_end(&mut Vec::new())).await;
            end.unwrap_or_else(|_| panic!("{tls_secs}: it stays")).unwrap();
            assert_eq!(serving.await.unwrap(), None);
            let taken = began.elapsed();
            assert!(limit <= taken && taken < limit + Duration::from_millis(100), "{tls_secs}: {taken:?}");
        });
    }
}
