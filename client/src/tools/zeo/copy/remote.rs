//! A server as what is copied from.

use std::time::Duration;

use tempfile::TempDir;
use zeo_codec::call::{RecordInfo, TransactionInfo};
use zeo_codec::{Oid, Tid};

use super::{BlobFile, Source};
use crate::blocking::{Client, RecordIteration, TransactionIterator};
use crate::tools::zeo::Failure;
use crate::tools::zeo::server::Place;
use crate::{Access, BlobOptions, Error};

/// Bytes of blobs that are kept, about; each is wanted once.
const BLOBS_LEN_MAX: u64 = 64 << 20;

/// A storage of a server.
#[derive(Debug)]
pub(super) struct Remote {
    client: Client,
    transactions: TransactionIterator,
    records: Option<RecordIteration>,
    has_blobs: bool,
    /// Where blobs go on their way. Goes with this.
    _blobs: TempDir,
}

impl Remote {
    /// Connects; the transactions begin with `start`.
    pub(super) fn open(place: &Place, timeout: Duration, start: Option<Tid>) -> Result<Self, Failure> {
        let blobs = TempDir::with_prefix("zeo-copy-")?;
        let options = BlobOptions { len_max: Some(BLOBS_LEN_MAX), ..BlobOptions::new(blobs.path()) };
        let client = place.builder(Access::ReadOnly, timeout).blobs(options).connect_blocking();
        let client = client.map_err(|error| format!("cannot copy from {place}: {error}"))?;
        let transactions = client.iterate(start, None)?;
        let has_blobs = client.server_info().provides("IBlobStorage");
        Ok(Self { client, transactions, records: None, has_blobs, _blobs: blobs })
    }
}

impl Source for Remote {
    fn next_transaction(&mut self) -> Result<Option<TransactionInfo<'static>>, Failure> {
        self.records = None;
        let Some(transaction) = self.transactions.next().transpose()? else { return Ok(None) };
        self.records = Some(self.transactions.records(&transaction)?);
        Ok(Some(transaction.info))
    }

    fn next_record(&mut self) -> Result<Option<RecordInfo<'static>>, Failure> {
        Ok(self.records.as_mut().and_then(Iterator::next).transpose()?)
    }

    fn blob(&mut self, oid: Oid, serial: Tid) -> Result<Option<BlobFile>, Failure> {
        if !self.has_blobs {
            return Ok(None);
        }
        match self.client.load_blob(oid, serial) {
            Ok(blob) => Ok(Some(BlobFile::Loaded(blob))),
            Err(Error::NoBlob { .. }) => Ok(None),
            Err(error) if error.is_no_such_object() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn size_len(&self) -> u64 {
        self.client.server_info().size_len
    }
}
