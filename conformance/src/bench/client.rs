//! A blocking client: the codec's session over a socket, one call at a time.

mod blob;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use zeo_codec::call::{LoadBefore, Loaded, Pack, Register, Storea, TpcBegin, TransactionRef, TxnId};
use zeo_codec::handshake::Protocol;
use zeo_codec::session::{ClientEvent, ClientSession};
use zeo_codec::{Call, Limits, Method, MsgId, Oid, Reply, Tid, Value};

use super::BenchError;
use super::data::{Entry, check_record, record};

/// Longest wait for anything from a server.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);
/// Longest wait for the end of a pack.
const PACK_LIMIT: Duration = Duration::from_secs(1_800);
/// Bytes that are read at once.
const READ_LEN: usize = 64 * 1024;
/// The name that a server's only storage has.
const STORAGE: &str = "1";
/// Our name for a transaction. There is one at a time.
const TXN_ID: TxnId = TxnId(1);

/// A registered connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    session: ClientSession,
    protocol: Protocol,
    scratch: Vec<u8>,
}

/// Opens a socket as clients do.
pub(super) fn open_socket(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_LIMIT))?;
    stream.set_write_timeout(Some(SILENCE_LIMIT))?;
    Ok(stream)
}

impl Client {
    /// Connects and registers.
    ///
    /// # Errors
    /// If the server cannot be reached, or refuses.
    pub fn connect(address: SocketAddr) -> Result<Self, BenchError> {
        let mut client = Self {
            stream: open_socket(address)?,
            session: ClientSession::new(Limits::DEFAULT),
            protocol: Protocol::Z5,
            scratch: vec![0; READ_LEN],
        };
        client.protocol = loop {
            match client.session.poll_event()? {
                Some(ClientEvent::Connected(protocol)) => break protocol,
                Some(_) => return Err(BenchError::Wrong("a message before the greeting".to_owned())),
                None => client.fill()?,
            }
        };
        let register = Register { storage: STORAGE.into(), read_only: Value::Bool(false), credentials: None };
        let id = client.session.call(&Call::Register(register))?;
        client.result(&id)?;
        Ok(client)
    }

    /// The negotiated protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Gives up the session; nothing may be under way.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Loads the current revision.
    ///
    /// # Errors
    /// If there is none, or the call fails.
    pub fn load(&mut self, oid: Oid) -> Result<Loaded<'static>, BenchError> {
        let id = self.session.call(&Call::LoadBefore(LoadBefore { oid, before: Tid::MAX }))?;
        match self.result(&id)? {
            Reply::Loaded(loaded) => {
                Ok(Loaded { data: loaded.data.into_owned().into(), serial: loaded.serial, end: loaded.end })
            }
            other => Err(wrong(&format!("load of {oid}"), &other)),
        }
    }

    /// Loads an object of the benchmark, checks every byte, and returns where it stands.
    ///
    /// # Errors
    /// As [`load`](Self::load), and for other data than expected.
    pub fn load_entry(&mut self, oid: Oid, data_len: usize) -> Result<Entry, BenchError> {
        let loaded = self.load(oid)?;
        let stamp = check_record(oid, &loaded.data, data_len)?;
        Ok(Entry { oid, serial: loaded.serial, stamp })
    }

    /// Commits a new revision of each entry, with the next stamp, and notes it in the entry.
    ///
    /// # Errors
    /// A conflict is one: the entries are written by nobody else.
    pub fn commit(&mut self, entries: &mut [Entry], data_len: usize) -> Result<(), BenchError> {
        self.commit_records(entries, |oid, stamp| record(oid, stamp, data_len))
    }

    /// The same, with records that `make` makes of oid and stamp.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_records(
        &mut self,
        entries: &mut [Entry],
        make: impl Fn(Oid, u64) -> Vec<u8>,
    ) -> Result<(), BenchError> {
        self.begin()?;
        for entry in &*entries {
            self.store(entry, make(entry.oid, entry.stamp + 1))?;
        }
        let tid = self.finish()?;
        entries.iter_mut().try_for_each(|entry| committed(entry, tid))
    }

    /// Begins a transaction with a new revision of an object, and votes on it. It is to be [finished](Self::send_finish).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn vote_on(&mut self, entry: &Entry, data_len: usize) -> Result<(), BenchError> {
        self.begin()?;
        self.store(entry, record(entry.oid, entry.stamp + 1, data_len))?;
        self.vote()
    }

    /// Sends `tpc_finish` for the transaction that was voted on; its reply is to be [awaited](Self::finished).
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub fn send_finish(&mut self) -> Result<MsgId<'static>, BenchError> {
        let finish = Call::Transaction(Method::TpcFinish, TransactionRef { id: TXN_ID });
        let id = self.session.call(&finish)?;
        self.send()?;
        Ok(id)
    }

    /// Waits for the reply to `tpc_finish`, and notes the commit in the entry.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn finished(&mut self, id: &MsgId<'_>, entry: &mut Entry) -> Result<(), BenchError> {
        let tid = self.finish_reply(id)?;
        committed(entry, tid)
    }

    /// Packs to `time`, in seconds since 1970, and waits for the end.
    ///
    /// # Errors
    /// If the server cannot, or takes longer than the limit.
    pub fn pack(&mut self, time: f64) -> Result<(), BenchError> {
        self.stream.set_read_timeout(Some(PACK_LIMIT))?;
        let id = self.session.call(&Call::Pack(Pack { time, wait: Some(true.into()) }))?;
        let reply = self.result(&id)?;
        self.stream.set_read_timeout(Some(SILENCE_LIMIT))?;
        match reply {
            Reply::None => Ok(()),
            other => Err(wrong("pack", &other)),
        }
    }

    /// Begins the transaction.
    fn begin(&mut self) -> Result<(), BenchError> {
        let begin = TpcBegin {
            id: TXN_ID,
            user: (&b"bench"[..]).into(),
            description: (&b"zeo-bench"[..]).into(),
            extension: Value::Dict(Vec::new()),
            tid: None,
            status: " ".into(),
        };
        self.session.call(&Call::TpcBegin(begin))?;
        Ok(())
    }

    fn store(&mut self, entry: &Entry, data: Vec<u8>) -> Result<(), BenchError> {
        let Entry { oid, serial, .. } = *entry;
        self.session.call(&Call::Storea(Storea { oid, serial, data: data.into(), id: TXN_ID }))?;
        Ok(())
    }

    fn vote(&mut self) -> Result<(), BenchError> {
        let vote = Call::Transaction(Method::Vote, TransactionRef { id: TXN_ID });
        let id = self.session.call(&vote)?;
        match self.result(&id)? {
            Reply::Voted(items) if items.is_empty() => Ok(()),
            Reply::None => Ok(()),
            other => Err(wrong("vote", &other)),
        }
    }

    /// Votes on the transaction and finishes it; its tid.
    fn finish(&mut self) -> Result<Tid, BenchError> {
        self.vote()?;
        let finish = self.send_finish()?;
        self.finish_reply(&finish)
    }

    fn finish_reply(&mut self, id: &MsgId<'_>) -> Result<Tid, BenchError> {
        match self.result(id)? {
            Reply::Tid(tid) => Ok(tid),
            other => Err(wrong("tpc_finish", &other)),
        }
    }

    /// Sends what is due, and waits for the reply to `id`; one-way calls of the server are skipped.
    fn result(&mut self, id: &MsgId<'_>) -> Result<Reply<'static>, BenchError> {
        self.send()?;
        let reply = loop {
            match self.session.poll_event()? {
                Some(ClientEvent::Reply(reply)) if reply.id == *id => break reply,
                Some(ClientEvent::Reply(reply)) => {
                    return Err(BenchError::Wrong(format!("reply {:?}, expected {id:?}", reply.id)));
                }
                Some(_) => {}
                None => self.fill()?,
            }
        };
        match reply.result(&Limits::DEFAULT)? {
            Ok(result) => Ok(owned(result)),
            Err(error) => Err(BenchError::Wrong(format!("{:?} raised {error:?}", reply.method))),
        }
    }

    fn send(&mut self) -> Result<(), BenchError> {
        self.stream.write_all(self.session.output())?;
        let sent_len = self.session.output().len();
        self.session.consume_output(sent_len);
        Ok(())
    }

    fn fill(&mut self) -> Result<(), BenchError> {
        self.send()?;
        let read_len = self.stream.read(&mut self.scratch)?;
        if read_len == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.session.receive(self.scratch.get(..read_len).unwrap_or_default());
        Ok(())
    }
}

/// Notes that a new revision of an object was committed.
fn committed(entry: &mut Entry, tid: Tid) -> Result<(), BenchError> {
    if tid <= entry.serial {
        return Err(BenchError::Wrong(format!("tpc_finish: {tid} does not rise")));
    }
    *entry = Entry { oid: entry.oid, serial: tid, stamp: entry.stamp + 1 };
    Ok(())
}

/// Copies what is borrowed from the frame. Only what this client asks for need be told apart.
fn owned(reply: Reply<'_>) -> Reply<'static> {
    match reply {
        Reply::Loaded(loaded) => Reply::Loaded(Loaded {
            data: loaded.data.into_owned().into(),
            serial: loaded.serial,
            end: loaded.end,
        }),
        Reply::Tid(tid) => Reply::Tid(tid),
        Reply::Voted(items) if items.is_empty() => Reply::Voted(Vec::new()),
        Reply::Value(value) => Reply::Value(value.into_owned()),
        Reply::None => Reply::None,
        other => Reply::Value(format!("{other:?}").into()),
    }
}

fn wrong(call: &str, reply: &Reply<'_>) -> BenchError {
    let mut text = format!("{call}: {reply:?}");
    text.truncate(text.floor_char_boundary(200));
    BenchError::Wrong(text)
}
