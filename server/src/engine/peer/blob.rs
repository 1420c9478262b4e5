//! Blobs in both directions.
//!
//! # Uploads
//!
//! The messages of one upload are one-way: `storeBlobStart`, any number of `storeBlobChunk`, `storeBlobEnd`. What
//! is wrong with them is an error at the vote and not the end of the connection (rule S10; Python's server hangs
//! up). The upload belongs to the connection's transaction and goes with it, and its temporary file, too.
//!
//! Chunks go to the file as they come, so an upload is bounded by the disk alone. Writing may block: a driver
//! handles messages where that is allowed while [`Peer::is_uploading`]. Before the vote asks for the commit lock
//! the files are made durable beside the connection's other messages, so nobody waits for another one's disk.
//!
//! # Downloads
//!
//! `sendBlob` opens the file; the driver calls [`Peer::produce`] whenever it has written all output, and gets the
//! next few chunks. So a download takes constant memory and never more than the client reads, and other
//! requests are answered between the pieces. Several downloads take turns.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};

use bytes::Bytes;
use zeo_codec::call::{
    ReceiveBlobChunk, ReceiveBlobStart, ReceiveBlobStop, SendBlob, StoreBlobChunk, StoreBlobEnd,
    StoreBlobShared, TxnId,
};
use zeo_codec::session::ServerSession;
use zeo_codec::{Body, EncodeError, Method, MsgId, Oid, Reply, Tid};

use super::{Answer, Closing, Peer, send, send_error};
use crate::engine::error::CallError;
use crate::engine::job::Synced;
use crate::engine::printable::{NAME_LEN, printable};
use crate::engine::transaction::{BlobOp, Op, Stage, Transaction};
use crate::storage::StorageError;
use crate::storage::blob::StagedBlob;

/// Bytes of a blob in one message (StorageServer.py:sendBlob, ZEO 6.2).
const CHUNK_LEN: u64 = 59_000;
/// Output beyond which no more chunks are produced: a few chunks, less than what an empty buffer keeps.
const PRODUCE_LEN: usize = 230_000;

/// A blob on its way to the client.
#[derive(Debug)]
pub(super) struct Download {
    oid: Oid,
    serial: Tid,
    file: File,
    reply_to: MsgId<'static>,
    is_begun: bool,
}

impl Peer {
    /// Whether messages are likely to write to a file: better handle them where blocking is allowed.
    #[must_use]
    pub fn is_uploading(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.upload.is_some())
    }

    pub(super) fn store_blob_start(&mut self) -> Result<Reply<'static>, CallError> {
        let directory = self.attached()?.served.storage.blobs().cloned();
        self.upload(|transaction| {
            if transaction.upload.take().is_some() {
                return Err(CallError::BlobOrder("storeBlobStart during an upload"));
            }
            let directory = directory.ok_or(StorageError::NoBlobs)?;
            transaction.upload = Some(directory.new_upload()?);
            Ok(())
        })
    }

    pub(super) fn store_blob_chunk(
        &mut self,
        args: &StoreBlobChunk<'_>,
    ) -> Result<Reply<'static>, CallError> {
        let bytes_max = self.engine.options.transaction_blob_bytes;
        self.upload(|transaction| match &mut transaction.upload {
            Some(upload) => {
                transaction.blob_len = transaction.blob_len.saturating_add(args.chunk.len() as u64);
                if transaction.blob_len > bytes_max {
                    return Err(CallError::TransactionBlobsTooLarge(bytes_max));
                }
                Ok(upload.write(&args.chunk)?)
            }
            None => Err(CallError::BlobOrder("storeBlobChunk without storeBlobStart")),
        })
    }

    /// Does something with the transaction's upload. If it fails the upload ends, and the vote says so. Without a
    /// transaction nothing happens: `storeBlobEnd` will say so.
    fn upload(
        &mut self,
        change: impl FnOnce(&mut Transaction) -> Result<(), CallError>,
    ) -> Result<Reply<'static>, CallError> {
        if let Some(transaction) = &mut self.transaction
            && transaction.failure.is_none()
            && let Err(error) = change(transaction)
        {
            transaction.fail(error);
        }
        Ok(Reply::None)
    }

    pub(super) fn store_blob_end(&mut self, args: StoreBlobEnd<'_>) -> Result<Reply<'static>, CallError> {
        let StoreBlobEnd { oid, serial, data, id } = args;
        let upload = self.transaction(id)?.upload.take();
        let content = match upload {
            Some(upload) => Ok(upload.finish()),
            None => Err(CallError::BlobOrder("storeBlobEnd without storeBlobStart")),
        };
        self.collect_blob(id, oid, serial, data, content)
    }

    pub(super) fn store_blob_shared(
        &mut self,
        args: StoreBlobShared<'_>,
    ) -> Result<Reply<'static>, CallError> {
        let StoreBlobShared { oid, serial, data, file_name, id } = args;
        // Before the directory is touched.
        self.transaction(id)?;
        let directory = self.attached()?.served.storage.blobs();
        let content = directory.ok_or(StorageError::NoBlobs).and_then(|dir| dir.claim(oid, &file_name));
        if let Err(StorageError::BadBlobName(name)) = &content {
            let label = &self.label;
            let name = printable(name, NAME_LEN);
            tracing::error!(target: "ZEO.StorageServer", critical = true, "({label}) We're under attack! (bad filename to storeBlobShared, {name:?})");
        }
        self.collect_blob(id, oid, serial, data, content.map_err(CallError::from))
    }

    fn collect_blob(
        &mut self,
        id: TxnId,
        oid: Oid,
        serial: Tid,
        data: Cow<'_, [u8]>,
        content: Result<StagedBlob, CallError>,
    ) -> Result<Reply<'static>, CallError> {
        // The record of a blob is small: not worth keeping its frame for.
        let data = Bytes::copy_from_slice(&data);
        self.count(id, data.len())?;
        let transaction = self.transaction(id)?;
        match content {
            Ok(content) if transaction.failure.is_none() => {
                transaction.blobs.push(BlobOp { store: Op::Store { oid, serial, data }, oid, content });
            }
            Ok(_) => {}
            Err(error) => transaction.fail(error),
        }
        Ok(Reply::None)
    }

    /// The files of a transaction that is to be voted on are durable, or not. Goes on with the vote.
    pub(super) fn synced(&mut self, synced: Synced, session: &mut ServerSession) -> Result<(), Closing> {
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        let reply_to = match std::mem::replace(&mut transaction.stage, Stage::Collecting) {
            Stage::Syncing { reply_to, round } if round == synced.round => reply_to,
            other => {
                // Of an earlier, aborted transaction.
                transaction.stage = other;
                return Ok(());
            }
        };
        transaction.blobs.splice(..0, synced.blobs);
        if let Err(error) = synced.result {
            transaction.fail(error);
        }
        let result = self.vote_synced(reply_to.as_ref());
        self.answer(Method::Vote, reply_to.as_ref(), result, session)
    }

    pub(super) fn send_blob(
        &mut self,
        args: SendBlob,
        reply_to: Option<&MsgId<'_>>,
    ) -> Result<Answer, CallError> {
        let attached = self.attached()?;
        let directory = attached.served.storage.blobs().ok_or(StorageError::NoBlobs)?;
        let SendBlob { oid, serial } = args;
        let Some(reply_to) = reply_to else { return Ok(Answer::Sent) };
        if serial > attached.cursor.view().last_tid() {
            // In place already, perhaps, but not committed as far as this client knows.
            let path = directory.revision_path(oid, serial).display().to_string();
            return Err(StorageError::NoBlobFile { path, oid, serial }.into());
        }
        let file = attached.served.storage.open_blob(oid, serial)?;
        let reply_to = reply_to.clone().into_owned();
        self.downloads.push_back(Download { oid, serial, file, reply_to, is_begun: false });
        Ok(Answer::Sent)
    }

    /// Whether blobs are on their way: call [`produce`](Self::produce) once all output is written.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        !self.downloads.is_empty()
    }

    /// Writes the next chunks of a blob into the output. Reads a file, which may block.
    ///
    /// # Errors
    /// Why the connection is to be closed.
    pub fn produce(&mut self, session: &mut ServerSession) -> Result<(), Closing> {
        while session.output().len() < PRODUCE_LEN {
            let Some(mut download) = self.downloads.pop_front() else { break };
            match download.advance(&mut self.chunk, session) {
                Ok(true) => {
                    send(session, &download.reply_to, &Reply::None)?;
                }
                Ok(false) if session.output().len() < PRODUCE_LEN => self.downloads.push_front(download),
                // The next one's turn.
                Ok(false) => self.downloads.push_back(download),
                Err(Interrupted::Unusable) => return Err(Closing::UnusableId),
                Err(Interrupted::Read(source)) => {
                    let doing = format!("read the blob {} of {}", download.oid, download.serial);
                    let error = CallError::from(StorageError::Io { doing, source });
                    tracing::error!(target: "ZEO.StorageServer", "({}) {error}", self.label);
                    send_error(session, &download.reply_to, &error)?;
                }
            }
        }
        if self.downloads.is_empty() {
            self.chunk = Vec::new();
        }
        Ok(())
    }
}

/// What can end a download early.
enum Interrupted {
    Read(io::Error),
    Unusable,
}

impl Download {
    /// Writes the next message; `true` after the last one.
    fn advance(&mut self, chunk: &mut Vec<u8>, session: &mut ServerSession) -> Result<bool, Interrupted> {
        let Self { oid, serial, .. } = *self;
        if !self.is_begun {
            self.is_begun = true;
            notify(session, Method::ReceiveBlobStart, &ReceiveBlobStart { oid, serial })?;
            return Ok(false);
        }
        chunk.clear();
        let len = (&self.file).take(CHUNK_LEN).read_to_end(chunk).map_err(Interrupted::Read)?;
        if len == 0 {
            notify(session, Method::ReceiveBlobStop, &ReceiveBlobStop { oid, serial })?;
            return Ok(true);
        }
        let chunk = chunk.as_slice().into();
        notify(session, Method::ReceiveBlobChunk, &ReceiveBlobChunk { oid, serial, chunk })?;
        Ok(false)
    }
}

fn notify(session: &mut ServerSession, method: Method, args: &impl Body) -> Result<(), Interrupted> {
    session.notify(method, args).map_err(|EncodeError| Interrupted::Unusable)
}
