//! A large blob in both directions, never whole in memory.

use zeo_codec::call::{SendBlob, StoreBlobChunk, StoreBlobEnd};
use zeo_codec::session::Incoming;

use super::{
    BenchError, Call, Client, ClientEvent, Limits, Method, Oid, Reply, Storea, TXN_ID, Tid, Value, wrong,
};

/// Bytes of a blob in one message (`ZEO/asyncio/client.py`, ZEO 6.2).
const CHUNK_LEN: u64 = 59_000;
/// The record of a blob, as ZODB pickles it.
const RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.";
/// The period of the content; a prime, so that no two chunks begin alike.
const PERIOD: u64 = 251;

/// Fills `chunk` with the content from byte `start` on.
fn content(start: u64, len: u64) -> impl Iterator<Item = u8> {
    (start..start + len).map(|at| u8::try_from((at + at / PERIOD) % PERIOD).unwrap_or_default())
}

impl Client {
    /// Commits a new blob of `len` bytes as the object `oid`, and returns its serial.
    ///
    /// # Errors
    /// If the server refuses any of it.
    pub fn upload_blob(&mut self, oid: Oid, len: u64) -> Result<Tid, BenchError> {
        self.begin()?;
        let (serial, id) = (Tid::ZERO, TXN_ID);
        self.session.call(&Call::Storea(Storea { oid, serial, data: RECORD.into(), id }))?;
        self.session.call(&Call::Plain(Method::StoreBlobStart))?;
        let mut sent_len = 0;
        let mut chunk = Vec::new();
        while sent_len < len {
            chunk.clear();
            chunk.extend(content(sent_len, CHUNK_LEN.min(len - sent_len)));
            self.session.call(&Call::StoreBlobChunk(StoreBlobChunk { chunk: chunk.as_slice().into() }))?;
            self.send()?;
            sent_len += CHUNK_LEN;
        }
        self.session.call(&Call::StoreBlobEnd(StoreBlobEnd { oid, serial, data: RECORD.into(), id }))?;
        self.finish()
    }

    /// Reads a blob back and compares every byte with what [`upload_blob`](Self::upload_blob) sends.
    ///
    /// # Errors
    /// If it is another blob.
    pub fn download_blob(&mut self, oid: Oid, serial: Tid, len: u64) -> Result<(), BenchError> {
        let id = self.session.call(&Call::SendBlob(SendBlob { oid, serial }))?;
        let mut got_len = 0;
        let reply = loop {
            match self.session.poll_event()? {
                Some(ClientEvent::Reply(reply)) if reply.id == id => break reply,
                Some(ClientEvent::Call(message)) => {
                    let Incoming::Call(envelope) = message.parse(&Limits::DEFAULT)? else { continue };
                    if Method::from_name(&envelope.name) != Some(Method::ReceiveBlobChunk) {
                        continue;
                    }
                    let call = Call::parse(Method::ReceiveBlobChunk, envelope.args, &Limits::DEFAULT)?;
                    let Call::ReceiveBlobChunk(args) = call else { continue };
                    let chunk_len = args.chunk.len() as u64;
                    if !content(got_len, chunk_len).eq(args.chunk.iter().copied()) {
                        return Err(BenchError::Wrong(format!("the blob differs behind byte {got_len}")));
                    }
                    got_len += chunk_len;
                }
                Some(other) => return Err(BenchError::Wrong(format!("{other:?} during a download"))),
                None => self.fill()?,
            }
        };
        match reply.result(&Limits::DEFAULT)? {
            Ok(Reply::None | Reply::Value(Value::None)) if got_len == len => Ok(()),
            Ok(other) => Err(wrong(&format!("sendBlob after {got_len} of {len} bytes"), &other)),
            Err(error) => Err(BenchError::Wrong(format!("sendBlob raised {error:?}"))),
        }
    }
}
