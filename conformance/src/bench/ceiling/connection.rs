//! A connection: reads calls, answers what needs no sync, and hands commits to the log.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use zeo_codec::call::{LoadBefore, Loaded, Storea, TransactionRef, TxnId};
use zeo_codec::handshake::Protocol;
use zeo_codec::session::{Incoming, Message, ServerEvent, ServerSession};
use zeo_codec::{Call, Dialect, Limits, Method, MsgId, Oid, Reply, Value};

use super::super::BenchError;
use super::Server;
use super::log::Commit;

/// Bytes that are read at once.
pub(super) const READ_LEN: usize = 64 * 1024;
/// Contiguous parts that are written at once.
const SLICE_COUNT: usize = 64;
/// Longest time that a write may take: a client that does not read is hung up on, as others wait for it.
const WRITE_LIMIT: Duration = Duration::from_secs(15);

/// A connection, as those see it that have something to write to it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) number: u64,
    pub(super) dialect: Dialect,
    stream: TcpStream,
    /// Held by who writes.
    writing: Mutex<()>,
}

impl Peer {
    /// Sends frames that were encoded in its dialect.
    pub(super) fn send(&self, frames: &[u8]) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if (&self.stream).write_all(frames).is_err() {
            // Its own thread finds out.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

/// All registered connections.
#[derive(Debug, Default)]
pub(super) struct Peers {
    all: RwLock<BTreeMap<u64, Arc<Peer>>>,
    last_number: AtomicU64,
}

impl Peers {
    fn add(&self, stream: TcpStream, dialect: Dialect) -> Arc<Peer> {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let peer = Arc::new(Peer { number, dialect, stream, writing: Mutex::default() });
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&peer));
        peer
    }

    fn remove(&self, peer: &Peer) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).remove(&peer.number);
    }

    /// Who is registered while this runs waits for its end, and hears of nothing twice.
    pub(super) fn for_each(&self, mut tell: impl FnMut(&Peer)) {
        self.all.read().unwrap_or_else(PoisonError::into_inner).values().for_each(|peer| tell(peer));
    }
}

/// A transaction that is not finished.
#[derive(Debug)]
pub(super) struct Transaction {
    id: TxnId,
    /// Its objects, one after the other: oid, serial, length, data.
    pub(super) bytes: Vec<u8>,
    /// Where the data of each lies in them.
    pub(super) objects: Vec<(Oid, Range<usize>)>,
}

impl Transaction {
    fn new(id: TxnId) -> Self {
        Self { id, bytes: Vec::new(), objects: Vec::new() }
    }

    fn store(&mut self, stored: &Storea<'_>) {
        let Storea { oid, serial, data, .. } = stored;
        self.bytes.extend_from_slice(oid.as_bytes());
        self.bytes.extend_from_slice(serial.as_bytes());
        self.bytes.extend_from_slice(&(data.len() as u64).to_be_bytes());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.objects.push((*oid, start..self.bytes.len()));
    }
}

/// Serves a connection until it ends.
pub(super) fn serve(stream: TcpStream, server: &Server, buffer: &mut [u8]) -> Result<(), BenchError> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_LIMIT))?;
    let session = ServerSession::new(Protocol::Z5, Limits::DEFAULT);
    let mut connection = Connection { session, stream, server, peer: None, transaction: None };
    let result = connection.run(buffer);
    if let Some(peer) = connection.peer {
        server.peers.remove(&peer);
    }
    result
}

struct Connection<'s> {
    session: ServerSession,
    stream: TcpStream,
    server: &'s Server,
    /// There is none before it has registered.
    peer: Option<Arc<Peer>>,
    transaction: Option<Transaction>,
}

impl Connection<'_> {
    fn run(&mut self, buffer: &mut [u8]) -> Result<(), BenchError> {
        loop {
            self.flush()?;
            let read_len = self.stream.read(buffer)?;
            if read_len == 0 {
                return Ok(());
            }
            self.session.receive(buffer.get(..read_len).unwrap_or_default());
            while let Some(event) = self.session.poll_event()? {
                match event {
                    ServerEvent::Hello(_) => {}
                    ServerEvent::Ruok => self.session.finish_ruok("{}"),
                    ServerEvent::Message(message) => self.answer(&message)?,
                }
            }
        }
    }

    /// Writes all output.
    fn flush(&mut self) -> Result<(), BenchError> {
        if self.session.output_len() == 0 {
            return Ok(());
        }
        let _writing =
            self.peer.as_ref().map(|peer| peer.writing.lock().unwrap_or_else(PoisonError::into_inner));
        while self.session.output_len() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICE_COUNT];
            let parts = self.session.output_slices().take(SLICE_COUNT);
            let count = slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part)).count();
            let written_len = self.stream.write_vectored(slices.get(..count).unwrap_or_default())?;
            if written_len == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into());
            }
            self.session.consume_output(written_len);
        }
        Ok(())
    }

    /// Answers a call. One that a benchmark does not make ends the connection.
    fn answer(&mut self, message: &Message) -> Result<(), BenchError> {
        let limits = &Limits::DEFAULT;
        let Incoming::Call(envelope) = message.parse(limits)? else { return Ok(()) };
        let unknown = || BenchError::Wrong(String::from_utf8_lossy(&envelope.name).into_owned());
        let method = Method::from_name(&envelope.name).ok_or_else(unknown)?;
        let id = envelope.id;
        let call = Call::parse(method, envelope.args, limits)?;
        if let Call::Register(_) = call {
            let peers = &self.server.peers;
            if self.peer.is_some() {
                return Err(BenchError::Wrong("registered twice".to_owned()));
            }
            self.peer = Some(peers.add(self.stream.try_clone()?, *self.session.dialect()));
            self.session.set_registered();
            let reply = match self.session.dialect().register_returns_tid {
                true => Reply::Tid(self.server.log.last_tid()),
                false => Reply::None,
            };
            return Ok(self.session.reply(&id, &reply)?);
        }
        if self.peer.is_none() {
            return Err(BenchError::Wrong(format!("{} before register", method.name())));
        }
        let reply = match call {
            Call::LoadBefore(LoadBefore { oid, before }) => {
                let found = self.server.objects.get(oid).filter(|revision| revision.serial < before);
                let Some(revision) = found else { return Ok(self.session.reply(&id, &Reply::None)?) };
                let loaded =
                    Loaded { data: Cow::Borrowed(&revision.data), serial: revision.serial, end: None };
                return Ok(self.session.reply_sharing(&id, &loaded, &revision.data)?);
            }
            Call::TpcBegin(begin) => {
                self.transaction = Some(Transaction::new(begin.id));
                return Ok(());
            }
            Call::Storea(stored) => {
                self.transaction(stored.id)?.store(&stored);
                return Ok(());
            }
            Call::Transaction(Method::TpcFinish, TransactionRef { id: txn_id }) => {
                return self.finish(id.into_owned(), txn_id);
            }
            Call::Transaction(Method::TpcAbort, _) => {
                self.transaction = None;
                Reply::None
            }
            Call::Transaction(_, TransactionRef { id: txn_id }) => {
                self.transaction(txn_id)?;
                Reply::Voted(Vec::new())
            }
            Call::Plain(Method::LastTransaction) => Reply::Tid(self.server.log.last_tid()),
            Call::Plain(Method::GetInfo) => {
                let pairs = [("name", "ceiling".into()), ("supportsUndo", false.into())];
                let pairs = pairs.map(|(key, value): (&str, Value<'_>)| (Value::from(key), value));
                Reply::Value(Value::Dict(pairs.into()))
            }
            Call::Plain(Method::Ping) => Reply::None,
            _ => return Err(BenchError::Wrong(format!("{} is not answered", method.name()))),
        };
        Ok(self.session.reply(&id, &reply)?)
    }

    fn transaction(&mut self, id: TxnId) -> Result<&mut Transaction, BenchError> {
        let transaction = self.transaction.as_mut().filter(|transaction| transaction.id == id);
        transaction.ok_or_else(|| BenchError::Wrong(format!("transaction {id} was not begun")))
    }

    /// Hands the transaction over. The log answers, when it is durable.
    fn finish(&mut self, id: MsgId<'static>, txn_id: TxnId) -> Result<(), BenchError> {
        self.flush()?;
        self.transaction(txn_id)?;
        if let (Some(transaction), Some(peer)) = (self.transaction.take(), &self.peer) {
            let commit = Commit { peer: Arc::clone(peer), id, transaction };
            self.server.log.commit(commit, self.server);
        }
        Ok(())
    }
}
