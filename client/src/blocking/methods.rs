//! The methods of [`Client`], one line each.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use zeo_codec::call::{CurrentRecord, RecordInfo};
use zeo_codec::{Call, Oid, Reply, Tid, Value};

use super::runtime::Runtime;
use super::{Client, Transaction};
use crate::address::Address;
use crate::blob::Blob;
use crate::cache::Revision;
use crate::client::{Fate, HistoryEntry, ServerInfo, TransactionRecord, UndoEntry};
use crate::engine::Invalidation;
use crate::error::{Error, LostCommit};
use crate::transaction::{Begun, Metadata};

/// Methods that wait for those of the same name, whose documentation counts.
macro_rules! waits {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            #[doc = concat!("As [`Client::", stringify!($name), "`](crate::Client::", stringify!($name), ").")]
            pub fn $name(&self, $($arg: $kind),*) -> Result<$result, Error> {
                self.runtime.block_on(self.client.$name($($arg),*))
            }
        )*
    };
}

impl Client {
    waits! {
        /// Waits until calls can be made.
        wait() -> ();
        /// An object id that nobody else gets.
        new_oid() -> Oid;
        /// As many of them as the server hands out at once.
        new_oids() -> Vec<Oid>;
        /// The newest revision older than `before`.
        load_before(oid: Oid, before: Tid) -> Option<Revision>;
        /// The current revision.
        load_current(oid: Oid) -> Revision;
        /// The data of the revision that `serial` wrote.
        load_serial(oid: Oid, serial: Tid) -> Bytes;
        /// The current serial, from the server.
        tid_of(oid: Oid) -> Tid;
        /// The newest revisions of an object, newest first.
        history(oid: Oid, count_max: u32) -> Vec<HistoryEntry>;
        /// Transactions that may be undone, newest first.
        undo_log(first: u32, count_max: u32) -> Vec<UndoEntry>;
        /// The same, filtered.
        undo_info(first: u32, count_max: u32, required: Value<'_>) -> Vec<UndoEntry>;
        /// The first current record at or after `start`.
        record_iternext(start: Option<Oid>) -> CurrentRecord<'static>;
        /// Waits for what was committed before, if the client was built to.
        sync() -> ();
        /// A round trip.
        ping() -> ();
        /// Removes what was superseded before `time`.
        pack(time: SystemTime, waits: bool) -> ();
        /// The server's counters.
        server_status() -> Value<'static>;
        /// Any call that only asks.
        ask(call: &Call<'_>) -> Reply<'static>;
        /// The blob of the revision that `serial` wrote.
        load_blob(oid: Oid, serial: Tid) -> Blob;
        /// Looks for a commit whose answer was lost.
        fate_of(lost: &LostCommit) -> Fate;
    }

    /// Begins a transaction, when the one before it has ended.
    ///
    /// # Errors
    /// As [`Client::begin`](crate::Client::begin).
    pub fn begin(&self, metadata: Metadata) -> Result<Transaction<Begun>, Error> {
        let transaction = self.runtime.block_on(self.client.begin(metadata))?;
        Ok(Transaction::new(&self.runtime, transaction))
    }

    /// Begins a transaction that is copied from another storage.
    ///
    /// # Errors
    /// As [`Client::begin_copy`](crate::Client::begin_copy).
    pub fn begin_copy(
        &self,
        metadata: Metadata,
        tid: Tid,
        status: &str,
    ) -> Result<Transaction<Begun>, Error> {
        let transaction = self.runtime.block_on(self.client.begin_copy(metadata, tid, status))?;
        Ok(Transaction::new(&self.runtime, transaction))
    }

    /// Walks over transactions, oldest first.
    ///
    /// # Errors
    /// As [`Client::iterate`](crate::Client::iterate).
    pub fn iterate(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIterator, Error> {
        let transactions = self.runtime.block_on(self.client.iterate(start, stop))?;
        Ok(TransactionIterator { runtime: Arc::clone(&self.runtime), transactions })
    }

    /// Loads many objects in one round trip.
    #[must_use]
    pub fn prefetch(&self, oids: impl IntoIterator<Item = Oid>, before: Tid) -> Prefetch {
        Prefetch { runtime: Arc::clone(&self.runtime), answers: self.client.prefetch(oids, before) }
    }

    /// All changes of the database from now on.
    #[must_use]
    pub fn invalidations(&self) -> Invalidations {
        Invalidations { runtime: Arc::clone(&self.runtime), changes: self.client.invalidations() }
    }

    /// Which connection this is: another number after each loss.
    #[must_use]
    pub fn connection_number(&self) -> u64 {
        self.client.connection_number()
    }

    /// Waits until calls can be made in another connection than this one; its number. `None` when the client was
    /// closed.
    #[must_use]
    pub fn next_connection(&self, number: u64) -> Option<u64> {
        self.runtime.block_on(self.client.next_connection(number))
    }

    /// Whether calls can be made now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// Whether the server in use has registered the client to only read.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.client.is_read_only()
    }

    /// The last transaction whose changes this client knows.
    #[must_use]
    pub fn last_transaction(&self) -> Tid {
        self.client.last_transaction()
    }

    /// What the server says about the storage.
    #[must_use]
    pub fn server_info(&self) -> ServerInfo {
        self.client.server_info()
    }

    /// Uses these servers from the next connection on.
    pub fn set_addresses(&self, addresses: impl IntoIterator<Item = Address>) {
        self.client.set_addresses(addresses);
    }

    /// Closes the connection for good.
    pub fn close(&self) {
        self.client.close();
    }
}

/// All changes of the database from some moment on. Iterating waits for the next one, and ends with the client.
#[derive(Debug)]
pub struct Invalidations {
    runtime: Arc<Runtime>,
    changes: crate::Invalidations,
}

impl Invalidations {
    /// The next change, if there has been one.
    pub fn try_next(&mut self) -> Option<Invalidation> {
        self.changes.try_next()
    }
}

impl Iterator for Invalidations {
    type Item = Invalidation;

    fn next(&mut self) -> Option<Invalidation> {
        self.runtime.block_on(self.changes.next())
    }
}

/// Answers of [`Client::prefetch`], as they come.
#[derive(Debug)]
pub struct Prefetch {
    runtime: Arc<Runtime>,
    answers: crate::Prefetch,
}

impl Iterator for Prefetch {
    type Item = (Oid, Result<Option<Revision>, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.answers.next())
    }
}

/// Transactions, oldest first.
#[derive(Debug)]
pub struct TransactionIterator {
    runtime: Arc<Runtime>,
    transactions: crate::TransactionIterator,
}

impl TransactionIterator {
    /// The records of the transaction that came last.
    ///
    /// # Errors
    /// As [`TransactionIterator::records`](crate::TransactionIterator::records).
    pub fn records(&mut self, transaction: &TransactionRecord) -> Result<RecordIteration, Error> {
        let records = self.runtime.block_on(self.transactions.records(transaction))?;
        Ok(RecordIteration { runtime: Arc::clone(&self.runtime), records })
    }
}

impl Iterator for TransactionIterator {
    type Item = Result<TransactionRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.transactions.next()).transpose()
    }
}

/// The records of a transaction.
#[derive(Debug)]
pub struct RecordIteration {
    runtime: Arc<Runtime>,
    records: crate::RecordIteration,
}

impl Iterator for RecordIteration {
    type Item = Result<RecordInfo<'static>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.records.next()).transpose()
    }
}
