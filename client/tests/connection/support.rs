//! A server on a Unix socket that says what the test tells it to.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use zeo_client::{Builder, Limits, Tid, Value};
use zeo_codec::call::InvalidateTransaction;
use zeo_codec::handshake::Protocol;
use zeo_codec::session::{Incoming, ServerEvent, ServerSession};
use zeo_codec::{Body, Method, MsgId, Reply};

/// Where a server listens.
pub(crate) struct Listener {
    listener: UnixListener,
    directory: TempDir,
}

impl Listener {
    pub(crate) fn bind() -> Self {
        let directory = TempDir::with_prefix("zeo-client-").unwrap();
        let listener = UnixListener::bind(directory.path().join("zeo.sock")).unwrap();
        Self { listener, directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("zeo.sock")
    }

    /// A client that comes here, without a cache: loads ask the server.
    pub(crate) fn client(&self) -> Builder {
        Builder::new(self.path()).no_cache()
    }

    /// A connection that nothing has been said on.
    pub(crate) async fn accept_silently(&self) -> UnixStream {
        self.listener.accept().await.unwrap().0
    }

    pub(crate) async fn accept(&self) -> Connection {
        let session = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
        let mut connection = Connection { stream: self.accept_silently().await, session };
        connection.flush().await;
        connection
    }

    /// A connection on which the client is served up to where it may make calls.
    pub(crate) async fn accept_ready(&self, tid: u64) -> Connection {
        let mut connection = self.accept().await;
        connection.register(tid).await;
        connection.describe().await;
        connection
    }
}

/// A connection to a client.
pub(crate) struct Connection {
    pub(crate) stream: UnixStream,
    session: ServerSession,
}

impl Connection {
    /// The next call of the client; `None` when it has hung up.
    pub(crate) async fn next(&mut self) -> Option<(MsgId<'static>, Method)> {
        loop {
            while let Some(event) = self.session.poll_event().unwrap() {
                let ServerEvent::Message(message) = event else { continue };
                if let Incoming::Call(envelope) = message.parse(&Limits::DEFAULT).unwrap() {
                    let method = Method::from_name(&envelope.name).unwrap();
                    return Some((envelope.id.into_owned(), method));
                }
            }
            if self.stream.read_buf(self.session.receive_buffer()).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next call, which must be to this method.
    pub(crate) async fn expect(&mut self, expected: Method) -> MsgId<'static> {
        let (id, method) = self.next().await.unwrap();
        assert_eq!(method, expected);
        id
    }

    pub(crate) async fn reply(&mut self, id: &MsgId<'_>, result: &impl Body) {
        self.session.reply(id, result).unwrap();
        self.flush().await;
    }

    pub(crate) async fn notify(&mut self, method: Method, args: &impl Body) {
        self.session.notify(method, args).unwrap();
        self.flush().await;
    }

    pub(crate) async fn invalidate(&mut self, tid: u64) {
        let args = InvalidateTransaction { tid: Tid::from_u64(tid), oids: Vec::new() };
        self.notify(Method::InvalidateTransaction, &args).await;
    }

    pub(crate) async fn register(&mut self, tid: u64) {
        let id = self.expect(Method::Register).await;
        self.reply(&id, &Reply::Tid(Tid::from_u64(tid))).await;
    }

    pub(crate) async fn describe(&mut self) {
        let id = self.expect(Method::GetInfo).await;
        self.reply(&id, &Reply::Value(Value::Dict(Vec::new()))).await;
    }

    async fn flush(&mut self) {
        while !self.session.output().is_empty() {
            // A client that has hung up shows when it is read from.
            let Ok(written_len) = self.stream.write(self.session.output()).await else { return };
            self.session.consume_output(written_len);
        }
    }
}
