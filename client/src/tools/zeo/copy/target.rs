//! The server that is copied to.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use zeo_codec::call::{RecordInfo, TransactionInfo};
use zeo_codec::{Oid, Tid, record};

use super::{BlobFile, Source, warn};
use crate::blocking::{Client, Transaction};
use crate::tools::zeo::Failure;
use crate::tools::zeo::server::Place;
use crate::{Access, Begun, Metadata};

/// What a data file has around user, description and extension, and around the data of a record (protocol reference 14.1).
const TRANSACTION_LEN: u64 = 31;
const RECORD_LEN: u64 = 42;

/// How much was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) transaction_count: u64,
    pub(super) record_count: u64,
    pub(super) blob_count: u64,
    /// Blobs without a file.
    pub(super) missing_blob_count: u64,
    /// Bytes that a data file has for it, about; blobs do not count.
    pub(super) len: u64,
}

impl Copied {
    pub(super) const fn plus(self, more: &Self) -> Self {
        Self {
            transaction_count: self.transaction_count + more.transaction_count,
            record_count: self.record_count + more.record_count,
            blob_count: self.blob_count + more.blob_count,
            missing_blob_count: self.missing_blob_count + more.missing_blob_count,
            len: self.len + more.len,
        }
    }
}

/// A storage of a server.
#[derive(Debug)]
pub(super) struct Target {
    client: Client,
    last: Tid,
    has_blobs: bool,
}

impl Target {
    /// Connects to write.
    pub(super) fn connect(place: &Place, timeout: Duration) -> Result<Self, Failure> {
        let client = place.connect(Access::ReadWrite, timeout);
        let client = client.map_err(|error| format!("cannot copy to {error}"))?;
        let (last, info) = (client.last_transaction(), client.server_info());
        Ok(Self { client, last, has_blobs: info.provides("IBlobStorage") })
    }

    /// Its last transaction, as far as this copy is concerned; [`Tid::ZERO`] if there is none.
    pub(super) const fn last_transaction(&self) -> Tid {
        self.last
    }

    /// Its size in bytes.
    pub(super) fn size_len(&self) -> u64 {
        self.client.server_info().size_len
    }

    /// Makes sure that the last transaction is the first that the source has, to the last byte.
    pub(super) fn verify(&self, last: Tid, source: &mut dyn Source) -> Result<(), Failure> {
        let theirs = source.next_transaction()?.filter(|info| info.tid == last);
        let Some(theirs) = theirs else {
            return Err(format!(
                "the target's last transaction {last} is none of the source: the target is no copy of it, or was written to; copy into an empty one"
            )
            .into());
        };
        let mut transactions = self.client.iterate(Some(last), Some(last))?;
        let ours = transactions.next().transpose()?.filter(|found| found.info.tid == last);
        let ours =
            ours.ok_or_else(|| format!("the target does not iterate to its last transaction {last}"))?;
        let mut records = transactions.records(&ours)?;
        let has = fingerprint(&ours.info, || Ok(records.next().transpose()?))?;
        if has == fingerprint(&theirs, || source.next_record())? {
            return Ok(());
        }
        Err(format!("transaction {last}, the target's last one, differs from the source's: the target is no copy of it").into())
    }

    /// Copies a transaction of the source, whose next records are its.
    pub(super) fn copy(
        &mut self,
        info: TransactionInfo<'_>,
        source: &mut dyn Source,
        with_blobs: bool,
    ) -> Result<Copied, Failure> {
        let tid = info.tid;
        if tid <= self.last {
            return Err(format!("the source goes back to it after transaction {}", self.last).into());
        }
        let known = self.client.last_transaction();
        if known != self.last {
            return Err(format!("somebody else writes to the target: its last transaction is {known}").into());
        }
        let metadata_len = info.user.len() + info.description.len();
        let mut copied = Copied {
            transaction_count: 1,
            len: TRANSACTION_LEN + u64::try_from(metadata_len).unwrap_or(0),
            ..Copied::default()
        };
        // A file may have a status of times gone by; what counts is whether it was packed.
        let status = if info.status == "p" { "p" } else { " " };
        let metadata = Metadata {
            user: info.user.into_owned(),
            description: info.description.into_owned(),
            extension: info.extension.into_owned(),
        };
        let mut transaction = self.client.begin_copy(metadata, tid, status)?;
        // Python has two records for a blob (guarantees 4), and an upload makes as many as the target wants.
        let mut uploaded = HashSet::new();
        while let Some(record) = source.next_record()? {
            let oid = record.oid;
            copied.record_count += 1;
            let data_len =
                record.data.as_ref().filter(|_| record.data_txn.is_none()).map_or(8, |data| data.len());
            copied.len += RECORD_LEN + u64::try_from(data_len).unwrap_or(0);
            let data: Option<Bytes> = record.data.map(|data| data.into_owned().into());
            let blob_record = data.as_ref().filter(|data| with_blobs && record::is_blob(data));
            if let Some(data) = blob_record {
                if uploaded.contains(&oid) {
                    continue;
                }
                if let Some(blob) = source.blob(oid, record.tid)? {
                    self.upload(&mut transaction, oid, data, &blob)?;
                    uploaded.insert(oid);
                    copied.blob_count += 1;
                    continue;
                }
                warn(format_args!("object {oid} in transaction {tid} is a blob without content"));
                copied.missing_blob_count += 1;
            }
            transaction.restore(oid, record.tid, data, record.data_txn)?;
        }
        let committed = transaction.vote()?.finish()?;
        if copied.record_count == 0 && committed == self.last {
            // Servers of ZEO 4 say that of a commit of nothing, and do not make it.
            warn(format_args!(
                "transaction {tid} has no records, and the target keeps none like that: left out"
            ));
            return Ok(Copied::default());
        }
        if committed != tid {
            return Err(format!("the target has committed it as {committed}").into());
        }
        self.last = tid;
        Ok(copied)
    }

    /// The protocol has no message that restores a blob: it is stored, over whatever the target has of the object.
    fn upload(
        &self,
        transaction: &mut Transaction<Begun>,
        oid: Oid,
        data: &Bytes,
        blob: &BlobFile,
    ) -> Result<(), Failure> {
        if !self.has_blobs {
            return Err(format!(
                "object {oid} has a blob, and the target keeps none: give it a blob-dir (a file: --to-blob-dir), or copy the record alone by --without-blobs"
            )
            .into());
        }
        let serial = match self.client.tid_of(oid) {
            Ok(serial) => serial,
            Err(error) if is_missing(&error) => Tid::ZERO,
            Err(error) => return Err(error.into()),
        };
        let path: &Path = match blob {
            BlobFile::Loaded(blob) => blob.path(),
            BlobFile::Path(path) => path,
        };
        Ok(transaction.store_blob(oid, serial, data.clone(), path)?)
    }
}

/// Whether the server says that there is no such object.
fn is_missing(error: &crate::Error) -> bool {
    error.is_no_such_object() || error.server().is_some_and(|error| error.class == "builtins.KeyError")
}

/// What two copies of a transaction have in common: metadata, and objects with their data. How often a record is there in
/// a row does not count, nor whether it points to another one.
fn fingerprint<'r>(
    info: &TransactionInfo<'_>,
    mut next: impl FnMut() -> Result<Option<RecordInfo<'r>>, Failure>,
) -> Result<u64, Failure> {
    let mut whole = DefaultHasher::new();
    (&info.user, &info.description).hash(&mut whole);
    let mut seen = HashSet::new();
    while let Some(record) = next()? {
        let mut one = DefaultHasher::new();
        (record.oid.to_u64(), &record.data).hash(&mut one);
        let one = one.finish();
        if seen.insert(one) {
            one.hash(&mut whole);
        }
    }
    Ok(whole.finish())
}
