//! What strangers do who come all at once: one bout of each kind, over and over.
//!
//! A bout may leave connections behind, which are kept open for a while. Whether the server hangs up on them, refuses what they
//! want or lets them wait is its own business: only what others see of it is judged.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use zeo_codec::call::{
    IteratorStart, LoadBefore, StoreBlobChunk, Storea, TpcBegin, TransactionRef, TxnId, UndoLog,
};
use zeo_codec::{Call, Method, Oid, Tid, Value};

use crate::stress::connection::{Connection, Lost};
use crate::stress::record::Serials;

/// A kind of stranger.
pub(super) struct Kind {
    /// What it is called in the report.
    pub(super) name: &'static str,
    /// One bout.
    pub(super) act: fn(&Bout, &mut VecDeque<TcpStream>) -> Result<(), Lost>,
    /// Bouts each second, at most: strangers who took the processors themselves would show nothing of the server.
    pub(super) rate: u32,
    /// Connections that are kept open; the oldest goes first.
    pub(super) kept_max: usize,
}

/// Where, and the how manieth.
pub(super) struct Bout {
    pub(super) address: SocketAddr,
    pub(super) number: u64,
}

/// All kinds (`guarantees.md` 2, points 8 to 13, 16).
pub(super) const KINDS: [Kind; 13] = [
    Kind { name: "say nothing", act: silent, rate: 50, kept_max: 400 },
    Kind { name: "say a byte now and then", act: slow, rate: 20, kept_max: 100 },
    Kind { name: "come and go", act: flood, rate: 200, kept_max: 0 },
    Kind { name: "register and vanish without a word", act: half_open, rate: 10, kept_max: 100 },
    Kind { name: "send no frames but noise", act: noise, rate: 20, kept_max: 4 },
    Kind { name: "announce 4 GiB", act: oversized, rate: 20, kept_max: 4 },
    Kind { name: "ask and do not read", act: unread, rate: 2, kept_max: 8 },
    Kind { name: "ask long questions all at once", act: questions, rate: 2, kept_max: 4 },
    Kind { name: "hold the commit lock", act: holders, rate: 5, kept_max: 20 },
    Kind { name: "hold all of it, and go", act: whole_holders, rate: 1, kept_max: 0 },
    Kind { name: "abort large transactions", act: large_transactions, rate: 1, kept_max: 0 },
    Kind { name: "begin to upload blobs", act: uploads, rate: 5, kept_max: 10 },
    Kind { name: "leave iterators open", act: iterators, rate: 2, kept_max: 5 },
];

/// The object of [`LARGE_LEN`] bytes.
pub(super) const LARGE: Oid = Oid::from_u64(10_000);
/// Its length.
pub(super) const LARGE_LEN: usize = 64 << 10;

const GREETING: &[u8] = b"\0\0\0\x02Z5";
/// The greeting and `register`.
const REGISTER: &[u8] = b"\0\0\0\x02Z5\0\0\0\x20\x80\x03(K\x01\x89X\x08\0\0\0registerq";

fn open(bout: &Bout) -> Result<Connection, Lost> {
    Connection::open(bout.address, None, Serials::new())
}

fn silent(bout: &Bout, kept: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    kept.push_back(TcpStream::connect(bout.address)?);
    Ok(())
}

fn slow(bout: &Bout, kept: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    let byte = REGISTER.get(usize::try_from(bout.number).unwrap_or_default() % REGISTER.len());
    // Those that are hung up on meanwhile cannot be written to.
    kept.retain_mut(|stream| byte.is_some_and(|byte| stream.write_all(&[*byte]).is_ok()));
    kept.push_back(TcpStream::connect(bout.address)?);
    Ok(())
}

fn flood(bout: &Bout, _: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    let mut stream = TcpStream::connect(bout.address)?;
    if bout.number.is_multiple_of(3) {
        stream.write_all(GREETING)?;
    }
    if !bout.number.is_multiple_of(10) {
        // A reset, or the client would run out of ports.
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).map_err(io::Error::from)?;
    }
    Ok(())
}

fn half_open(bout: &Bout, kept: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    kept.push_back(open(bout)?.into_stream());
    Ok(())
}

fn noise(bout: &Bout, kept: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    let mut stream = if bout.number.is_multiple_of(2) {
        open(bout)?.into_stream()
    } else {
        let mut stream = TcpStream::connect(bout.address)?;
        stream.write_all(GREETING)?;
        stream
    };
    let mut random = bout.number.wrapping_add(1);
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random.to_be_bytes()[0]
    };
    let noise: Vec<u8> = (0..1_000).map(|_| next()).collect();
    stream.write_all(&[&1_000_u32.to_be_bytes()[..], &noise].concat())?;
    kept.push_back(stream);
    Ok(())
}

fn oversized(bout: &Bout, kept: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    let mut stream = match bout.number.is_multiple_of(2) {
        true => open(bout)?.into_stream(),
        false => TcpStream::connect(bout.address)?,
    };
    let len = if bout.number.is_multiple_of(4) { 0x7fff_ffff_u32 } else { 0xffff_ffff };
    stream.write_all(&len.to_be_bytes())?;
    stream.write_all(&[0; 1_000])?;
    kept.push_back(stream);
    Ok(())
}

/// Asks the same so many times, reads no answer, and stays.
fn ask(bout: &Bout, kept: &mut VecDeque<TcpStream>, count: usize, call: &Call<'_>) -> Result<(), Lost> {
    let mut connection = open(bout)?;
    for _ in 0..count {
        connection.send(call)?;
    }
    connection.flush()?;
    kept.push_back(connection.into_stream());
    Ok(())
}

/// 64 MB of answers.
fn unread(bout: &Bout, kept: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    ask(bout, kept, 1_000, &Call::LoadBefore(LoadBefore { oid: LARGE, before: Tid::MAX }))
}

fn questions(bout: &Bout, kept: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    ask(bout, kept, 500, &Call::UndoLog(UndoLog { first: 0, last: 20 }))
}

/// Begins a transaction that stores `oid`.
fn store(connection: &mut Connection, id: TxnId, oid: Oid, len: usize) -> Result<(), Lost> {
    begin(connection, id)?;
    connection.send(&Call::Storea(Storea { oid, serial: Tid::ZERO, data: vec![b'x'; len].into(), id }))
}

fn begin(connection: &mut Connection, id: TxnId) -> Result<(), Lost> {
    connection.send(&Call::TpcBegin(TpcBegin {
        id,
        user: (&b"stranger"[..]).into(),
        description: (&b""[..]).into(),
        extension: Value::Dict(Vec::new()),
        tid: None,
        status: " ".into(),
    }))
}

fn vote(connection: &mut Connection, id: TxnId) -> Result<(), Lost> {
    connection.send(&Call::Transaction(Method::Vote, TransactionRef { id }))
}

/// Of some objects, so that they wait for each other, too.
fn holders(bout: &Bout, kept: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    let mut connection = open(bout)?;
    let id = TxnId(bout.number);
    store(&mut connection, id, Oid::from_u64(20_000 + bout.number % 4), 100)?;
    vote(&mut connection, id)?;
    connection.flush()?;
    kept.push_back(connection.into_stream());
    Ok(())
}

/// An undo looks at the whole storage. Nobody else can commit meanwhile, so they go at once.
fn whole_holders(bout: &Bout, _: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    let mut connection = open(bout)?;
    let id = TxnId(bout.number);
    begin(&mut connection, id)?;
    let undo_id = (&b"AAAAAAAAAAA="[..]).into();
    connection.send(&Call::Undoa(zeo_codec::call::Undoa { undo_id, id }))?;
    vote(&mut connection, id)?;
    connection.flush()?;
    Ok(())
}

fn large_transactions(bout: &Bout, _: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    let mut connection = open(bout)?;
    let id = TxnId(bout.number);
    begin(&mut connection, id)?;
    for number in 0..16 {
        let data = vec![b'x'; 1 << 20].into();
        let oid = Oid::from_u64(30_000 + number);
        connection.send(&Call::Storea(Storea { oid, serial: Tid::ZERO, data, id }))?;
        connection.flush()?;
    }
    vote(&mut connection, id)?;
    connection.call(&Call::Transaction(Method::TpcAbort, TransactionRef { id }))?;
    Ok(())
}

fn uploads(bout: &Bout, kept: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    let mut connection = open(bout)?;
    begin(&mut connection, TxnId(bout.number))?;
    connection.send(&Call::Plain(Method::StoreBlobStart))?;
    for _ in 0..8 {
        connection.send(&Call::StoreBlobChunk(StoreBlobChunk { chunk: vec![b'x'; 64 << 10].into() }))?;
    }
    connection.flush()?;
    kept.push_back(connection.into_stream());
    Ok(())
}

fn iterators(bout: &Bout, kept: &mut VecDeque<TcpStream>) -> Result<(), Lost> {
    ask(bout, kept, 500, &Call::IteratorStart(IteratorStart { start: None, stop: None }))
}
