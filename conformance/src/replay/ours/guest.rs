//! Our client, made to do what a captured one has done: each of its messages is a call of the public interface.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeo_client::{
    Begun, Client, Error, Metadata, Oid, RecordIteration, Tid, Transaction, TransactionIterator,
    TransactionRecord, Value, Vote, Voted,
};
use zeo_codec::call::{Storea, TpcBegin, TransactionRef, TxnId};
use zeo_codec::{Call, Method};

/// An iterator of the captured client.
#[derive(Clone)]
pub(super) enum Iterator {
    /// With the last transaction that it has given.
    Transactions(Arc<tokio::sync::Mutex<(TransactionIterator, Option<TransactionRecord>)>>),
    Records(Arc<tokio::sync::Mutex<RecordIteration>>),
}

/// A transaction under way.
enum Phase {
    Begun(Transaction<Begun>),
    Voted(Transaction<Voted>),
}

/// What came of a call: perhaps a new iterator.
pub(super) type Made = Result<Option<Iterator>, Error>;

type Making = Pin<Box<dyn Future<Output = Made> + Send>>;

/// A call that was made.
pub(super) enum Pending {
    Done(Made),
    Waits(JoinHandle<Made>),
}

impl Pending {
    /// Makes a call. It is written before this returns, unless it has to wait for something.
    async fn make(mut making: Making) -> Self {
        let first = std::future::poll_fn(|context| Poll::Ready(making.as_mut().poll(context))).await;
        match first {
            Poll::Ready(made) => Self::Done(made),
            Poll::Pending => Self::Waits(tokio::spawn(making)),
        }
    }
}

/// Our client in the place of a captured one.
pub(super) struct Guest {
    pub(super) client: Client,
    phase: Arc<Mutex<Option<Phase>>>,
    /// By the ids of the captured server, which are those of the played one.
    iterators: BTreeMap<i64, Iterator>,
    /// What was stored last: a blob belongs to it.
    stored: Option<(Oid, Tid, Bytes)>,
    /// Where files for blobs are made.
    dir: PathBuf,
    /// The last connection that was in use.
    pub(super) generation: u64,
}

/// What our client is to do, from the capture.
pub(super) enum Act<'m> {
    Call(&'m Call<'m>),
    /// To vote, and to resolve conflicts to these records.
    Vote(BTreeMap<Oid, Bytes>),
    /// The content of the blob that belongs to what was stored last.
    Blob(Vec<u8>),
}

impl Guest {
    pub(super) fn new(client: Client, dir: &Path) -> Self {
        Self {
            client,
            phase: Arc::default(),
            iterators: BTreeMap::new(),
            stored: None,
            dir: dir.to_owned(),
            generation: 0,
        }
    }

    /// Does it. A call that is answered is still under way then.
    pub(super) async fn act(&mut self, act: Act<'_>) -> Result<Option<Pending>, Error> {
        let call = match act {
            Act::Vote(resolved) => return Ok(Some(self.vote(resolved).await)),
            Act::Blob(content) => return self.attach_blob(content).await.map(|()| None),
            Act::Call(call) => call,
        };
        match call {
            Call::TpcBegin(begin) => self.begin(begin).await?,
            Call::Storea(call) => {
                let data = Bytes::copy_from_slice(&call.data);
                self.stored = Some((call.oid, call.serial, data.clone()));
                self.in_begun(async |begun| begun.store(call.oid, call.serial, data).await).await?;
            }
            Call::Restorea(call) => {
                let data = call.data.as_deref().map(Bytes::copy_from_slice);
                self.in_begun(async |begun| begun.restore(call.oid, call.serial, data, call.prev_txn).await)
                    .await?;
            }
            Call::DeleteObject(call) => {
                self.in_begun(async |begun| begun.delete(call.oid, call.serial).await).await?;
            }
            Call::CheckCurrentSerial(call) => {
                self.in_begun(async |begun| begun.check_current(call.oid, call.serial).await).await?;
            }
            Call::Undoa(call) => self.in_begun(async |begun| begun.undo(&call.undo_id).await).await?,
            Call::IteratorGc(call) => call.ids.iter().for_each(|id| drop(self.iterators.remove(id))),
            Call::Transaction(Method::TpcFinish, _) => return Ok(self.finish().await),
            Call::Transaction(Method::TpcAbort, _) => return Ok(self.abort().await),
            Call::IteratorNext(_, next) => return Ok(self.next(next.id).await),
            Call::IteratorRecordStart(start) => return Ok(self.records(start.id).await),
            call => return Ok(Some(Pending::make(self.asking(call)).await)),
        }
        Ok(None)
    }

    /// The calls that only ask.
    fn asking(&self, call: &Call<'_>) -> Making {
        let client = self.client.clone();
        match call {
            Call::LoadBefore(call) => {
                let (oid, before) = (call.oid, call.before);
                nothing(async move { client.load_before(oid, before).await })
            }
            Call::LoadSerial(call) => {
                let (oid, serial) = (call.oid, call.serial);
                nothing(async move { client.load_serial(oid, serial).await })
            }
            Call::GetTid(call) => {
                let oid = call.oid;
                nothing(async move { client.tid_of(oid).await })
            }
            Call::History(call) => {
                let oid = call.oid.as_bytes().and_then(Oid::from_slice).unwrap_or(Oid::ZERO);
                let count_max = call.size.as_ref().and_then(Value::as_int).unwrap_or(1);
                let count_max = u32::try_from(count_max).unwrap_or(u32::MAX);
                nothing(async move { client.history(oid, count_max).await })
            }
            Call::UndoLog(call) => {
                let (first, count_max) = counted(call.first, call.last);
                nothing(async move { client.undo_log(first, count_max).await })
            }
            Call::UndoInfo(call) => {
                let (first, count_max) = counted(call.first, call.last);
                let required = call.specification.clone().into_owned();
                nothing(async move { client.undo_info(first, count_max, required).await })
            }
            Call::RecordIternext(call) => {
                let start = call.start;
                nothing(async move { client.record_iternext(start).await })
            }
            Call::IteratorStart(call) => {
                let (start, stop) = (call.start, call.stop);
                Box::pin(async move {
                    let transactions = (client.iterate(start, stop).await?, None);
                    Ok(Some(Iterator::Transactions(Arc::new(transactions.into()))))
                })
            }
            Call::SendBlob(call) => {
                let (oid, serial) = (call.oid, call.serial);
                nothing(async move { client.load_blob(oid, serial).await })
            }
            Call::NewOids(call) if call.count.is_none() => nothing(async move { client.new_oids().await }),
            Call::NewOids(call) => {
                let call = *call;
                nothing(async move { client.ask(&Call::NewOids(call)).await })
            }
            Call::Pack(call) => {
                let time = Duration::try_from_secs_f64(call.time).unwrap_or_default();
                let waits = call.waits();
                nothing(async move { client.pack(SystemTime::UNIX_EPOCH + time, waits).await })
            }
            Call::Plain(Method::Ping) => nothing(async move { client.ping().await }),
            Call::Plain(Method::ServerStatus) => nothing(async move { client.server_status().await }),
            Call::Plain(method) => {
                let call = Call::Plain(*method);
                nothing(async move { client.ask(&call).await })
            }
            Call::Other { name, args } => {
                let (name, args) = (name.to_vec().into(), args.clone().into_owned());
                nothing(async move { client.ask(&Call::Other { name, args }).await })
            }
            _ => nothing(async { Err::<(), _>(Error::NoTransaction) }),
        }
    }

    /// Loads objects that were asked for one behind the other. There is an answer for each.
    pub(super) fn prefetch(&self, oids: &[Oid], before: Tid) -> Vec<Pending> {
        let (mut waiting, mut pending) = (BTreeMap::<Oid, Vec<oneshot::Sender<Made>>>::new(), Vec::new());
        for oid in oids {
            let (sender, receiver) = oneshot::channel();
            waiting.entry(*oid).or_default().push(sender);
            let made = async { receiver.await.unwrap_or(Err(Error::Closed)) };
            pending.push(Pending::Waits(tokio::spawn(made)));
        }
        let mut prefetch = self.client.prefetch(oids.iter().copied(), before);
        tokio::spawn(async move {
            while let Some((oid, loaded)) = prefetch.next().await {
                if let Some(sender) = waiting.get_mut(&oid).and_then(Vec::pop) {
                    // Who has lost the connection does not listen.
                    let _ = sender.send(loaded.map(|_| None));
                }
            }
        });
        pending
    }

    async fn begin(&mut self, begin: &TpcBegin<'_>) -> Result<(), Error> {
        let metadata = Metadata {
            user: octets(&begin.user),
            description: octets(&begin.description),
            extension: begin.extension.clone().into_owned(),
        };
        let begun = match begin.tid {
            Some(tid) => self.client.begin_copy(metadata, tid, &begin.status).await?,
            None => self.client.begin(metadata).await?,
        };
        self.put(Phase::Begun(begun));
        Ok(())
    }

    async fn in_begun(
        &mut self,
        change: impl AsyncFnOnce(&mut Transaction<Begun>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self.take() {
            Some(Phase::Begun(mut begun)) => {
                let changed = change(&mut begun).await;
                self.put(Phase::Begun(begun));
                changed
            }
            other => {
                other.into_iter().for_each(|phase| self.put(phase));
                Err(Error::NoTransaction)
            }
        }
    }

    async fn attach_blob(&mut self, content: Vec<u8>) -> Result<(), Error> {
        let Some((oid, serial, record)) = self.stored.clone() else { return Err(Error::NoTransaction) };
        let path = self.dir.join("content");
        std::fs::write(&path, content).map_err(|_| Error::NoBlobDirectory)?;
        self.in_begun(async |begun| begun.attach_blob(oid, serial, record, &path).await).await
    }

    /// Votes. Without records to resolve conflicts to, these are for the caller, who gives up.
    async fn vote(&mut self, resolved: BTreeMap<Oid, Bytes>) -> Pending {
        let Some(Phase::Begun(begun)) = self.take() else { return Pending::Done(Err(Error::NoTransaction)) };
        let phase = Arc::clone(&self.phase);
        Pending::make(Box::pin(async move {
            let voted = if resolved.is_empty() {
                match begun.vote_once().await? {
                    Vote::Done(voted) => Phase::Voted(voted),
                    Vote::Conflicts(begun, _) => Phase::Begun(begun),
                }
            } else {
                let resolve =
                    |unresolved: &zeo_client::Unresolved| resolved.get(&unresolved.conflict.oid).cloned();
                Phase::Voted(begun.vote_resolving(resolve).await?)
            };
            *phase.lock().unwrap_or_else(PoisonError::into_inner) = Some(voted);
            Ok(None)
        }))
        .await
    }

    async fn finish(&mut self) -> Option<Pending> {
        match self.take() {
            Some(Phase::Voted(voted)) => {
                Some(Pending::make(nothing(async move { voted.finish().await })).await)
            }
            _ => Some(Pending::Done(Err(Error::NoTransaction))),
        }
    }

    /// A transaction whose vote has failed was given up with it.
    async fn abort(&mut self) -> Option<Pending> {
        let aborting: Making = match self.take()? {
            Phase::Begun(begun) => nothing(async move {
                begun.abort().await;
                Ok(())
            }),
            Phase::Voted(voted) => nothing(async move {
                voted.abort().await;
                Ok(())
            }),
        };
        Some(Pending::make(aborting).await)
    }

    async fn next(&self, id: i64) -> Option<Pending> {
        let making: Making = match self.iterators.get(&id)?.clone() {
            Iterator::Transactions(transactions) => nothing(async move {
                let (transactions, record) = &mut *transactions.lock().await;
                *record = transactions.next().await?;
                Ok(())
            }),
            Iterator::Records(records) => nothing(async move { records.lock().await.next().await }),
        };
        Some(Pending::make(making).await)
    }

    /// The records of the transaction that an iterator has given last.
    async fn records(&self, id: i64) -> Option<Pending> {
        let Iterator::Transactions(transactions) = self.iterators.get(&id)?.clone() else { return None };
        let making = Box::pin(async move {
            let (transactions, record) = &mut *transactions.lock().await;
            let record = record.as_ref().ok_or(Error::NoTransaction)?;
            let records = transactions.records(record).await?;
            Ok(Some(Iterator::Records(Arc::new(records.into()))))
        });
        Some(Pending::make(making).await)
    }

    /// Has an iterator, by the id that the captured server has for it.
    pub(super) fn keep(&mut self, id: i64, iterator: Iterator) {
        self.iterators.insert(id, iterator);
    }

    /// Says something of this method that nobody will hear, as the connection ends with it.
    pub(super) async fn lost(&mut self, method: Option<Method>) {
        // Ours has one of its own.
        let id = TxnId(0);
        let call = match method {
            Some(Method::TpcBegin) => Call::TpcBegin(TpcBegin {
                id,
                user: Value::Bytes(Vec::new().into()),
                description: Value::Bytes(Vec::new().into()),
                extension: Value::Dict(Vec::new()),
                tid: None,
                status: " ".into(),
            }),
            Some(Method::Storea) => {
                Call::Storea(Storea { oid: Oid::ZERO, serial: Tid::ZERO, data: b"lost".into(), id })
            }
            Some(method) => Call::Transaction(method, TransactionRef { id }),
            None => return,
        };
        let act = if method == Some(Method::Vote) { Act::Vote(BTreeMap::new()) } else { Act::Call(&call) };
        // Whatever becomes of it.
        drop(self.act(act).await);
        // What nobody answers is written with the next call that somebody does.
        let client = self.client.clone();
        drop(Pending::make(nothing(async move { client.ping().await })).await);
    }

    /// The connection has gone, and all that lived in it.
    pub(super) fn forget(&mut self) {
        self.take();
        self.iterators.clear();
        self.stored = None;
    }

    fn take(&self) -> Option<Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Some(phase);
    }
}

/// A call whose result is not looked at.
fn nothing<T>(call: impl Future<Output = Result<T, Error>> + Send + 'static) -> Making {
    Box::pin(async move { call.await.map(|_| None) })
}

/// From the first and the last, or from the first and how many, negative.
fn counted(first: i64, last: i64) -> (u32, u32) {
    let count = if last > 0 { last - first } else { -last };
    [first, count].map(|number| u32::try_from(number).unwrap_or(0)).into()
}

fn octets(value: &Value<'_>) -> Vec<u8> {
    value.as_bytes().map_or_else(|| value.as_text().unwrap_or_default().into(), <[u8]>::to_vec)
}
