//! The iterators of a connection: over transactions, and over the records of one of them.
//!
//! An iterator is a place in a view, so it costs no more memory than that, sees the transactions that were there when
//! it was made, and nobody waits for it. How many may be open is bounded.
//! Source: `StorageServer.py:iterator_start` and its siblings, ZEO 6.2. Unlike there, nothing is kept of an iterator
//! that was given up.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use zeo_codec::Tid;
use zeo_codec::call::{RecordInfo, TransactionInfo};

use super::error::CallError;
use super::past::extension_of;
use crate::storage::View;
use crate::storage::past::PastTransaction;

/// All iterators of a connection.
#[derive(Debug)]
pub(crate) struct Iterators {
    count_max: usize,
    /// Ids count from 0, whatever they are for.
    next_id: i64,
    open: HashMap<i64, Open>,
    /// The iterators whose start is being looked for.
    starting: Vec<(i64, Start)>,
}

/// Where an iteration starts, once that is known; `None` if it could not be found.
pub(crate) type Start = Arc<OnceLock<Option<u64>>>;

#[derive(Debug)]
enum Open {
    Transactions(Transactions),
    Records(Records),
}

#[derive(Debug)]
struct Transactions {
    view: Arc<dyn View>,
    place: u64,
    stop: Option<Tid>,
    /// The transaction returned last.
    last: Option<PastTransaction>,
}

#[derive(Debug)]
struct Records {
    view: Arc<dyn View>,
    transaction: PastTransaction,
    place: u64,
}

impl Iterators {
    /// None are open, and so many may be.
    pub(crate) fn new(count_max: usize) -> Self {
        Self { count_max, next_id: 0, open: HashMap::new(), starting: Vec::new() }
    }

    fn take_id(&mut self) -> i64 {
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        id
    }

    fn add(&mut self, id: i64, iterator: Open) -> Result<i64, CallError> {
        if self.open.len() >= self.count_max {
            return Err(CallError::TooManyIterators(self.count_max));
        }
        self.open.insert(id, iterator);
        Ok(id)
    }

    /// A new iterator over the transactions of `view` from `place` on, up to `stop`.
    pub(crate) fn start(
        &mut self,
        view: Arc<dyn View>,
        place: u64,
        stop: Option<Tid>,
    ) -> Result<i64, CallError> {
        let id = self.take_id();
        self.add(id, Open::Transactions(Transactions { view, place, stop, last: None }))
    }

    /// The same, with a place that is still being looked for.
    pub(crate) fn start_later(
        &mut self,
        view: Arc<dyn View>,
        stop: Option<Tid>,
    ) -> Result<(i64, Start), CallError> {
        let id = self.start(view, 0, stop)?;
        let start = Start::default();
        self.starting.push((id, Arc::clone(&start)));
        Ok((id, start))
    }

    /// Whether a start is still being looked for; until then no iterator may be used.
    pub(crate) fn is_starting(&mut self) -> bool {
        let Self { open, starting, .. } = self;
        starting.retain(|(id, start)| {
            let Some(found) = start.get() else { return true };
            match (found, open.get_mut(id)) {
                (Some(place), Some(Open::Transactions(transactions))) => transactions.place = *place,
                _ => drop(open.remove(id)),
            }
            false
        });
        !starting.is_empty()
    }

    /// The next transaction; after the last one `None`, and the iterator is gone.
    pub(crate) fn next_transaction(
        &mut self,
        id: i64,
    ) -> Result<Option<TransactionInfo<'static>>, CallError> {
        let transactions = match self.open.get_mut(&id) {
            None => return Err(CallError::NoSuchIterator(id)),
            Some(Open::Transactions(transactions)) => transactions,
            Some(Open::Records(records)) => {
                // Python notices when it has taken the record already.
                return match records.next()? {
                    Some(_) => {
                        Err(CallError::NoAttribute { type_name: "Record".to_owned(), attribute: "status" })
                    }
                    None => {
                        self.open.remove(&id);
                        Ok(None)
                    }
                };
            }
        };
        let Some(transaction) = transactions.next()? else {
            self.open.remove(&id);
            return Ok(None);
        };
        let info = TransactionInfo {
            tid: transaction.tid,
            status: char::from(transaction.status).to_string().into(),
            user: transaction.user.to_vec().into(),
            description: transaction.description.to_vec().into(),
            extension: extension_of(transaction.tid, &transaction.extension)?,
        };
        // What is kept is bounded: of what anybody wrote into it nothing is needed any more.
        let (user, description, extension) = Default::default();
        transactions.last = Some(PastTransaction { user, description, extension, ..transaction });
        Ok(Some(info))
    }

    /// A new iterator over the records of the transaction that iterator `id` returned last, which must be `tid`. The
    /// new id is used up even if that fails.
    pub(crate) fn start_records(&mut self, id: i64, tid: Tid) -> Result<i64, CallError> {
        let records_id = self.take_id();
        let Some(Open::Transactions(Transactions { view, last: Some(transaction), .. })) = self.open.get(&id)
        else {
            return Err(CallError::NoSuchIterator(id));
        };
        if transaction.tid != tid {
            return Err(CallError::OutOfOrder(tid));
        }
        let (view, transaction) = (Arc::clone(view), transaction.clone());
        let place = transaction.records_place;
        self.add(records_id, Open::Records(Records { view, transaction, place }))
    }

    /// The next record; after the last one `None`, and the iterator is gone.
    pub(crate) fn next_record(&mut self, id: i64) -> Result<Option<RecordInfo<'static>>, CallError> {
        let found = match self.open.get_mut(&id) {
            None => return Err(CallError::NoSuchIterator(id)),
            Some(Open::Records(records)) => records.next()?,
            Some(Open::Transactions(transactions)) => match transactions.next()? {
                Some(_) => {
                    let type_name = "TransactionRecord".to_owned();
                    return Err(CallError::NoAttribute { type_name, attribute: "oid" });
                }
                None => None,
            },
        };
        if found.is_none() {
            self.open.remove(&id);
        }
        Ok(found)
    }

    /// Forgets iterators.
    pub(crate) fn forget(&mut self, ids: &[i64]) {
        for id in ids {
            self.open.remove(id);
        }
    }
}

impl Transactions {
    fn next(&mut self) -> Result<Option<PastTransaction>, CallError> {
        let found = self.view.transaction_from(self.place)?;
        let found = found.filter(|transaction| self.stop.is_none_or(|stop| transaction.tid <= stop));
        self.place = found.as_ref().map_or(self.place, |transaction| transaction.next_place);
        Ok(found)
    }
}

impl Records {
    fn next(&mut self) -> Result<Option<RecordInfo<'static>>, CallError> {
        let Some(record) = self.view.record_from(&self.transaction, self.place)? else { return Ok(None) };
        self.place = record.next_place;
        Ok(Some(RecordInfo {
            oid: record.oid,
            tid: record.tid,
            data: record.data.map(|data| Vec::from(data).into()),
            data_txn: record.data_tid,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStorage;
    use crate::storage::{NewTransaction, Storage};

    /// 1,000 iterators of a client must not hold 1,000 descriptions of 64 KiB.
    #[test]
    fn nothing_is_kept_of_what_a_transaction_says() {
        let storage = MemoryStorage::new("test");
        let transaction = NewTransaction {
            tid: Tid::from_u64(1),
            status: b' ',
            user: b"user"[..].into(),
            description: b"description"[..].into(),
            extension: (&[][..]).into(),
            records: vec![],
        };
        let view = storage.vote(transaction).unwrap().finish().unwrap();
        let mut iterators = Iterators::new(1000);
        let id = iterators.start(view, 0, None).unwrap();
        let info = iterators.next_transaction(id).unwrap().unwrap();
        assert_eq!((&*info.user, &*info.description), (&b"user"[..], &b"description"[..]));
        let Some(Open::Transactions(Transactions { last: Some(last), .. })) = iterators.open.get(&id) else {
            panic!("no transaction")
        };
        assert_eq!((last.tid, &*last.user, &*last.description), (info.tid, &b""[..], &b""[..]));
    }
}
