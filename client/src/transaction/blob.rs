//! Blobs of a commit.
//!
//! The messages of one upload follow each other, and there is one at a time (protocol reference 7.5). An upload whose
//! future was dropped is ended before anything else is said about the transaction, which cannot be committed any more.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use zeo_codec::call::{StoreBlobChunk, StoreBlobEnd, StoreBlobShared};
use zeo_codec::{Call, Method, Oid, Tid};

use super::{Begun, Transaction, check_record};
use crate::blob::Taken;
use crate::client::lock;
use crate::error::Error;
use crate::net::{Shared, blocking};

/// Bytes of a blob in one message (`ClientStorage.py:storeBlob`, ZEO 6.2).
const CHUNK_LEN: usize = 59_000;
/// Bytes that are read from the file at once.
const READ_LEN: usize = 16 * CHUNK_LEN;

/// The blobs of a transaction.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    /// Their files, if there is a blob directory.
    taken: Vec<Taken>,
    /// The upload that is under way.
    upload: Option<Upload>,
    /// The upload that was broken off.
    broken: Option<Oid>,
}

/// What ends an upload.
#[derive(Debug)]
struct Upload {
    oid: Oid,
    serial: Tid,
    record: Bytes,
}

impl Blobs {
    /// Whether the transaction may be voted on.
    pub(super) fn check_complete(&self) -> Result<(), Error> {
        let broken = self.broken.or_else(|| self.upload.as_ref().map(|upload| upload.oid));
        broken.map_or(Ok(()), |oid| Err(Error::BrokenUpload(oid)))
    }

    /// Puts the files where the directory has those of this transaction. What cannot be put there will be loaded.
    pub(super) async fn committed(self, shared: &Shared, tid: Tid) {
        let Ok(directory) = shared.blobs() else { return };
        // The server has taken those in a shared directory.
        for taken in self.taken.into_iter().filter(|_| !directory.is_shared()) {
            let committed = async {
                let _lock = lock(&directory, taken.oid()).await?;
                let path = taken.path().to_owned();
                blocking(move || taken.commit(tid)).await?.map_err(|error| Error::file(path, error))
            };
            match committed.await {
                Ok(len) => shared.noted(&directory, len),
                Err(error) => tracing::warn!("a blob was committed but is not in the cache: {error}"),
            }
        }
    }
}

impl<Phase> Transaction<Phase> {
    /// Ends an upload that was broken off, so that the server expects no more of it.
    pub(super) fn end_upload(&mut self) {
        let Some(upload) = self.running.as_mut().and_then(|running| running.blobs.upload.take()) else {
            return;
        };
        let Upload { oid, serial, record } = upload;
        if let Some(running) = &mut self.running {
            running.blobs.broken = Some(oid);
        }
        let data = (&*record).into();
        // Without its connection there is nothing to end.
        let _ = self.send(|id| Call::StoreBlobEnd(StoreBlobEnd { oid, serial, data, id }), &Bytes::new());
    }
}

impl Transaction<Begun> {
    /// Stores a blob: the database record of its object, and the content of a file. `serial` is the revision that was
    /// read, [`Tid::ZERO`] for a new object.
    ///
    /// If the client has a blob directory the file is *taken*: it is renamed into that directory, and is gone whatever
    /// becomes of the transaction, as with Python's client. Otherwise it is only read.
    ///
    /// Waits while the connection has much to write; memory for a few pieces is all that it takes. When the future is
    /// dropped before it is done the transaction can only be aborted.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if the connection that it began in is lost; [`Error::EmptyRecord`]; [`Error::File`] if
    /// the file cannot be read; the transaction can only be aborted then.
    pub async fn store_blob(
        &mut self,
        oid: Oid,
        serial: Tid,
        record: impl Into<Bytes>,
        file: impl AsRef<Path>,
    ) -> Result<(), Error> {
        let record: Bytes = record.into();
        // The record comes twice: once as that of any object.
        self.store(oid, serial, record.clone()).await?;
        self.attach_blob(oid, serial, record, file).await
    }

    /// The second half of [`store_blob`](Self::store_blob), behind a [`store`](Self::store) of the same record: for who
    /// passes on what another client has sent.
    ///
    /// # Errors
    /// As [`store_blob`](Self::store_blob).
    pub async fn attach_blob(
        &mut self,
        oid: Oid,
        serial: Tid,
        record: impl Into<Bytes>,
        file: impl AsRef<Path>,
    ) -> Result<(), Error> {
        let record: Bytes = record.into();
        check_record(oid, &record)?;
        let mut path = file.as_ref().to_owned();
        let mut taken = None;
        if let Ok(directory) = self.shared.blobs() {
            let (from, own) = (path.clone(), Arc::clone(&directory));
            let took = blocking(move || own.take(oid, serial, &from)).await?;
            let took = took.map_err(|error| Error::file(&path, error))?;
            path = took.path().to_owned();
            taken = Some((took, directory.is_shared()));
        }
        self.shared.room().await;
        match &taken {
            Some((taken, true)) => {
                let file_name = taken.name().unwrap_or_default().to_owned().into();
                let data = (&*record).into();
                self.send(
                    |id| Call::StoreBlobShared(StoreBlobShared { oid, serial, data, file_name, id }),
                    &Bytes::new(),
                )?;
            }
            _ => self.upload(Upload { oid, serial, record }, path).await?,
        }
        if let (Some(running), Some((taken, _))) = (&mut self.running, taken) {
            running.blobs.taken.push(taken);
        }
        Ok(())
    }

    async fn upload(&mut self, upload: Upload, path: PathBuf) -> Result<(), Error> {
        // Whatever went wrong with the one before has been said.
        self.end_upload();
        let opened = path.clone();
        let opened = blocking(move || File::open(opened)).await?;
        let running = self.running.as_mut().ok_or(Error::NoTransaction)?;
        let oid = upload.oid;
        let mut file = opened.map_err(|error| {
            running.blobs.broken = Some(oid);
            Error::file(&path, error)
        })?;
        self.send(|_| Call::Plain(Method::StoreBlobStart), &Bytes::new())?;
        if let Some(running) = &mut self.running {
            running.blobs.upload = Some(upload);
        }
        loop {
            let read = blocking(move || {
                let mut bytes = vec![0; READ_LEN];
                let len = read_full(&mut file, &mut bytes)?;
                bytes.truncate(len);
                Ok((file, Bytes::from(bytes)))
            });
            let (again, bytes) = match read.await? {
                Ok(read) => read,
                Err(error) => {
                    self.end_upload();
                    return Err(Error::file(path, error));
                }
            };
            if bytes.is_empty() {
                break;
            }
            file = again;
            let mut rest = bytes;
            while !rest.is_empty() {
                let chunk = rest.split_to(rest.len().min(CHUNK_LEN));
                self.shared.room().await;
                self.send(|_| Call::StoreBlobChunk(StoreBlobChunk { chunk: (&*chunk).into() }), &chunk)?;
            }
        }
        let done = self.running.as_mut().and_then(|running| running.blobs.upload.take());
        let Some(Upload { oid, serial, record }) = done else { return Err(Error::NoTransaction) };
        let data = (&*record).into();
        self.send(|id| Call::StoreBlobEnd(StoreBlobEnd { oid, serial, data, id }), &Bytes::new())
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read_len) => len += read_len,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
