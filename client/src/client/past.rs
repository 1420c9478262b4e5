//! Looking back, and walking over everything.

use zeo_codec::call::{
    CurrentRecord, History, IteratorGc, IteratorNext, IteratorRecordStart, IteratorStart, RecordInfo,
    RecordIternext, TransactionInfo, UndoInfo, UndoLog,
};
use zeo_codec::{Call, Method, Oid, Reply, Tid, Value};

use super::{Client, unexpected};
use crate::engine::Answer;
use crate::error::Error;

/// A revision in the history of an object (protocol reference 7.3).
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The transaction that wrote it.
    pub tid: Tid,
    /// When, in seconds since 1970.
    pub time: f64,
    /// Its user.
    pub user: Vec<u8>,
    /// Its description.
    pub description: Vec<u8>,
    /// Length of the record; 0 if it only refers to an older one.
    pub data_len: u64,
    /// All of it, with the transaction's further data: a dict.
    pub all: Value<'static>,
}

/// A transaction that may be undone (protocol reference 7.3).
#[derive(Debug, Clone, PartialEq)]
pub struct UndoEntry {
    /// What [`Transaction::undo`](crate::Transaction::undo) takes.
    pub id: Vec<u8>,
    /// When, in seconds since 1970.
    pub time: f64,
    /// Its user.
    pub user: Vec<u8>,
    /// Its description.
    pub description: Vec<u8>,
    /// Length of its record.
    pub record_len: u64,
    /// All of it, with the transaction's further data, which may override the rest: a dict.
    pub all: Value<'static>,
}

impl Client {
    /// The newest revisions of an object, newest first, at most `count_max`.
    ///
    /// # Errors
    /// [`Error::is_no_such_object`].
    pub async fn history(&self, oid: Oid, count_max: u32) -> Result<Vec<HistoryEntry>, Error> {
        let call = Call::History(History { oid: oid.into(), size: Some(i64::from(count_max).into()) });
        self.list(&call, Method::History, |all| {
            Some(HistoryEntry {
                tid: Tid::from_slice(all.get("tid")?.as_bytes()?)?,
                time: float(&all, "time")?,
                user: octets(&all, "user_name")?,
                description: octets(&all, "description")?,
                data_len: length(&all, "size")?,
                all,
            })
        })
        .await
    }

    /// Transactions that may be undone, newest first: from the one after the `first` newest on, at most `count_max`.
    /// Empty where the storage cannot undo.
    ///
    /// # Errors
    /// What the server meets.
    pub async fn undo_log(&self, first: u32, count_max: u32) -> Result<Vec<UndoEntry>, Error> {
        let call = Call::UndoLog(UndoLog { first: first.into(), last: -i64::from(count_max) });
        self.list(&call, Method::UndoLog, undo_entry).await
    }

    /// The same, filtered: `required` holds the values that a description must have, a dict or `None`.
    ///
    /// # Errors
    /// What the server meets.
    pub async fn undo_info(
        &self,
        first: u32,
        count_max: u32,
        required: Value<'_>,
    ) -> Result<Vec<UndoEntry>, Error> {
        let last = -i64::from(count_max);
        let call = Call::UndoInfo(UndoInfo { first: first.into(), last, specification: required });
        self.list(&call, Method::UndoInfo, undo_entry).await
    }

    async fn list<T>(
        &self,
        call: &Call<'_>,
        method: Method,
        entry: impl Fn(Value<'static>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let Answer::Reply(Reply::Value(Value::List(entries) | Value::Tuple(entries))) =
            self.shared().call(call).await?
        else {
            return Err(unexpected(method));
        };
        let entries: Option<Vec<T>> = entries.into_iter().map(entry).collect();
        entries.ok_or(Error::BadAnswer { method, what: "an entry lacks what it must have" })
    }

    /// Walks over the transactions from `start` to `stop`, both included, oldest first.
    ///
    /// # Errors
    /// What the server meets.
    pub async fn iterate(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIterator, Error> {
        let call = Call::IteratorStart(IteratorStart { start, stop });
        Ok(TransactionIterator { cursor: Cursor::start(self, &call, Method::IteratorStart).await? })
    }

    /// The first current record at or after `start`; with it comes where to go on.
    ///
    /// # Errors
    /// What the server meets; of an empty storage, `builtins.ValueError`.
    pub async fn record_iternext(&self, start: Option<Oid>) -> Result<CurrentRecord<'static>, Error> {
        match self.shared().call(&Call::RecordIternext(RecordIternext { start })).await? {
            Answer::Reply(Reply::CurrentRecord(record)) => Ok(record),
            _ => Err(unexpected(Method::RecordIternext)),
        }
    }
}

fn undo_entry(all: Value<'static>) -> Option<UndoEntry> {
    Some(UndoEntry {
        id: octets(&all, "id")?,
        time: float(&all, "time")?,
        user: octets(&all, "user_name")?,
        description: octets(&all, "description")?,
        record_len: length(&all, "size")?,
        all,
    })
}

fn float(entry: &Value<'_>, name: &str) -> Option<f64> {
    match entry.get(name)? {
        Value::Float(number) => Some(*number),
        other => i32::try_from(other.as_int()?).ok().map(f64::from),
    }
}

/// Text in ZEO 4, bytes in ZEO 5.
fn octets(entry: &Value<'_>, name: &str) -> Option<Vec<u8>> {
    match entry.get(name)? {
        Value::Text(text) => Some(text.as_bytes().to_vec()),
        other => other.as_bytes().map(<[u8]>::to_vec),
    }
}

fn length(entry: &Value<'_>, name: &str) -> Option<u64> {
    entry.get(name)?.as_int()?.try_into().ok()
}

/// An iterator that the server keeps, for as long as the connection lives.
#[derive(Debug)]
struct Cursor {
    client: Client,
    id: i64,
    generation: u64,
    /// The server has forgotten it.
    is_over: bool,
}

impl Cursor {
    async fn start(client: &Client, call: &Call<'_>, method: Method) -> Result<Self, Error> {
        match client.shared().call_noting(call).await? {
            (Answer::Reply(Reply::IteratorId(id)), generation) => {
                Ok(Self { client: client.clone(), id, generation, is_over: false })
            }
            _ => Err(unexpected(method)),
        }
    }

    /// The next item; `None` at the end.
    async fn next(&mut self, method: Method) -> Result<Option<Reply<'static>>, Error> {
        if self.is_over {
            return Ok(None);
        }
        let call = Call::IteratorNext(method, IteratorNext { id: self.id });
        match self.client.shared().call_in(self.generation, &call).await? {
            Answer::Reply(Reply::None) => {
                self.is_over = true;
                Ok(None)
            }
            Answer::Reply(reply) => Ok(Some(reply)),
            _ => Err(unexpected(method)),
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let call = Call::IteratorGc(IteratorGc { ids: vec![self.id] });
        self.client.shared().end_in(self.generation, &call);
    }
}

/// Transactions, oldest first.
#[derive(Debug)]
pub struct TransactionIterator {
    cursor: Cursor,
}

impl TransactionIterator {
    /// The next transaction; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if the connection is lost: the iterator goes with it.
    pub async fn next(&mut self) -> Result<Option<TransactionRecord>, Error> {
        match self.cursor.next(Method::IteratorNext).await? {
            Some(Reply::Transaction(info)) => Ok(Some(TransactionRecord { info })),
            Some(_) => Err(unexpected(Method::IteratorNext)),
            None => Ok(None),
        }
    }

    /// The records of the transaction that [`next`](Self::next) gave last.
    ///
    /// # Errors
    /// As [`next`](Self::next); what the server says if it is another transaction.
    pub async fn records(&mut self, transaction: &TransactionRecord) -> Result<RecordIteration, Error> {
        let Cursor { client, id, generation, .. } = &self.cursor;
        let call = Call::IteratorRecordStart(IteratorRecordStart { id: *id, tid: transaction.info.tid });
        match client.shared().call_in(*generation, &call).await? {
            Answer::Reply(Reply::IteratorId(id)) => {
                let (client, generation) = (client.clone(), *generation);
                Ok(RecordIteration { cursor: Cursor { client, id, generation, is_over: false } })
            }
            _ => Err(unexpected(Method::IteratorRecordStart)),
        }
    }
}

/// A transaction as it was committed.
#[derive(Debug, Clone, PartialEq)]
pub struct TransactionRecord {
    /// Tid, status, and metadata.
    pub info: TransactionInfo<'static>,
}

/// The records of a transaction, in the order in which they were written.
#[derive(Debug)]
pub struct RecordIteration {
    cursor: Cursor,
}

impl RecordIteration {
    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if the connection is lost: the iterator goes with it.
    pub async fn next(&mut self) -> Result<Option<RecordInfo<'static>>, Error> {
        match self.cursor.next(Method::IteratorRecordNext).await? {
            Some(Reply::Record(record)) => Ok(Some(record)),
            Some(_) => Err(unexpected(Method::IteratorRecordNext)),
            None => Ok(None),
        }
    }
}
