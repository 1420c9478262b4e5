//! Calls that make, vote on, finish and abort a transaction.

use std::borrow::Cow;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use zeo_codec::call::{CheckCurrentSerial, DeleteObject, Storea, TpcBegin, TxnId};
use zeo_codec::handshake::Framing;
use zeo_codec::pickle::{PickleFlavor, PickleWriter};
use zeo_codec::session::ServerSession;
use zeo_codec::{Construction, Emit, MsgId, Reply, Tid, Value, VoteItem};

use super::{Answer, Closing, Peer, now, send, send_error};
use crate::engine::commit_lock::Ticket;
use crate::engine::error::CallError;
use crate::engine::job::Job;
use crate::engine::served::CommitJob;
use crate::engine::transaction::{Op, Plan, Stage, Transaction, plan};
use crate::storage::tid::{next_tid, unix_micros_from_tid};
use crate::storage::{NewTransaction, StorageError};

impl Peer {
    pub(super) fn tpc_begin(
        &mut self,
        args: &TpcBegin<'_>,
        payload: &Bytes,
        framing: Framing,
    ) -> Result<Reply<'static>, CallError> {
        if self.is_read_only {
            return Err(CallError::ReadOnly);
        }
        if let Some(transaction) = &self.transaction {
            // Repeating the call is harmless.
            return if transaction.id == args.id {
                Ok(Reply::None)
            } else {
                Err(CallError::TransactionState("Multiple simultaneous tpc_begin requests from one client."))
            };
        }
        // Any other status would reach the disk and mean something there: `c` is an unfinished transaction.
        let &[status @ (b' ' | b'p')] = args.status.as_bytes() else {
            return Err(CallError::BadMetadata("status must be a blank or 'p'"));
        };
        let served = &self.attached()?.served;
        let transaction = Transaction {
            id: args.id,
            user: metadata(&args.user, payload)?,
            description: metadata(&args.description, payload)?,
            extension: extension(&args.extension, framing)?,
            tid: args.tid,
            status,
            ops: Vec::new(),
            data_len: 0,
            failure: None,
            stage: Stage::Collecting,
        };
        served.stats.active_transactions.add();
        self.transaction = Some(transaction);
        Ok(Reply::None)
    }

    /// The transaction `id`, which must be the current one.
    fn transaction(&mut self, id: TxnId) -> Result<&mut Transaction, CallError> {
        if self.is_read_only {
            return Err(CallError::ReadOnly);
        }
        let current = self.transaction.as_ref().map(|transaction| transaction.id);
        self.transaction
            .as_mut()
            .filter(|transaction| transaction.id == id)
            .ok_or(CallError::WrongTransaction { current, asked: id })
    }

    pub(super) fn storea(&mut self, args: Storea<'_>, payload: &Bytes) -> Result<Reply<'static>, CallError> {
        self.attached()?.served.stats.stores.add();
        let data = if args.data.len() < SMALL_LEN {
            Bytes::copy_from_slice(&args.data)
        } else {
            shared(args.data, payload)
        };
        self.collect(args.id, data.len(), Op::Store { oid: args.oid, serial: args.serial, data })
    }

    pub(super) fn delete_object(&mut self, args: DeleteObject) -> Result<Reply<'static>, CallError> {
        self.attached()?.served.stats.stores.add();
        self.collect(args.id, 0, Op::Delete { oid: args.oid, serial: args.serial })
    }

    pub(super) fn check_current_serial(
        &mut self,
        args: CheckCurrentSerial,
    ) -> Result<Reply<'static>, CallError> {
        self.collect(args.id, 0, Op::CheckCurrent { oid: args.oid, serial: args.serial })
    }

    /// Adds an operation to the transaction; beyond the limit on its size the vote will fail.
    fn collect(&mut self, id: TxnId, data_len: usize, op: Op) -> Result<Reply<'static>, CallError> {
        let bytes_max = self.engine.options.transaction_bytes;
        let transaction = self.transaction(id)?;
        transaction.data_len = transaction.data_len.saturating_add((data_len + OP_LEN) as u64);
        if transaction.data_len > bytes_max {
            transaction.ops = Vec::new();
            transaction.failure.get_or_insert(CallError::TransactionTooLarge(bytes_max));
        }
        if transaction.failure.is_none() {
            transaction.ops.push(op);
        }
        Ok(Reply::None)
    }

    pub(super) fn vote(&mut self, id: TxnId, reply_to: Option<&MsgId<'_>>) -> Result<Answer, CallError> {
        let stage = std::mem::replace(&mut self.transaction(id)?.stage, Stage::Collecting);
        let ticket = match stage {
            Stage::HandedBack { ticket } => ticket,
            Stage::Collecting => {
                let lock = &self.attached()?.served.lock;
                let (ticket, is_held) = lock.acquire(self.id, &self.mailbox, now(), &self.label);
                if !is_held {
                    let reply_to = reply_to.map(|id| id.clone().into_owned());
                    self.transaction(id)?.stage = Stage::Waiting { reply_to, ticket };
                    return Ok(Answer::Sent);
                }
                self.start_lock_clock();
                ticket
            }
            other => {
                let error = match other {
                    Stage::Waiting { .. } => "Already voting (waiting)",
                    _ => "Already voting (locked)",
                };
                self.transaction(id)?.stage = other;
                return Err(CallError::TransactionState(error));
            }
        };
        self.run_vote(ticket).map(Answer::Reply)
    }

    fn start_lock_clock(&mut self) {
        let timeout = self.engine.options.transaction_timeout;
        self.lock_deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    }

    /// The lock for which this connection queued is its own.
    pub(super) fn lock_granted(&mut self, session: &mut ServerSession) -> Result<(), Closing> {
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        let (ticket, reply_to) = match std::mem::replace(&mut transaction.stage, Stage::Collecting) {
            // A letter may be left over from an earlier, aborted transaction.
            Stage::Waiting { ticket, reply_to } if ticket.is_holder() => (ticket, reply_to),
            other => {
                transaction.stage = other;
                return Ok(());
            }
        };
        self.start_lock_clock();
        let result = self.run_vote(ticket);
        match (result, reply_to) {
            (Ok(reply), Some(id)) => send(session, &id, &reply),
            (Err(error), Some(id)) => send_error(session, &id, &error.to_remote()),
            (_, None) => Ok(()),
        }
    }

    /// Votes with the lock held. If it fails the transaction is forgotten and the lock given up.
    fn run_vote(&mut self, ticket: Ticket) -> Result<Reply<'static>, CallError> {
        let result = self.try_vote(ticket);
        if let Err(error) = &result
            && let Some(served) = self.attached.as_ref().map(|attached| &attached.served)
        {
            if matches!(error, CallError::Conflict { .. } | CallError::ReadConflict { .. }) {
                served.stats.conflicts.add();
            }
            served.stats.active_transactions.subtract();
            self.transaction = None;
            self.lock_deadline = None;
        }
        result
    }

    fn try_vote(&mut self, ticket: Ticket) -> Result<Reply<'static>, CallError> {
        let served = self.attached()?.served.clone();
        let Some(transaction) = &mut self.transaction else { return Ok(Reply::None) };
        if let Some(failure) = transaction.failure.take() {
            return Err(failure);
        }
        // Nobody commits while we hold the lock: this is and stays the newest state.
        let view = served.view();
        let Plan { records, oids, conflicts } = plan(&transaction.ops, &*view)?;
        if !conflicts.is_empty() {
            served.stats.conflicts.add();
            transaction.stage = Stage::HandedBack { ticket };
            return Ok(Reply::Voted(conflicts.into_iter().map(VoteItem::Conflict).collect()));
        }
        let tid = match transaction.tid {
            Some(tid) if is_far_ahead(tid) => {
                return Err(CallError::TransactionState("the transaction's tid lies more than a day ahead"));
            }
            Some(tid) => tid,
            None => next_tid(unix_micros(now()), view.last_tid()).ok_or(StorageError::TidsExhausted)?,
        };
        let voted = served.storage.vote(NewTransaction {
            tid,
            status: transaction.status,
            user: transaction.user.clone(),
            description: transaction.description.clone(),
            extension: transaction.extension.clone(),
            records,
        })?;
        transaction.stage = Stage::Voted { ticket, voted, tid, oids };
        // From here on only the storage needs the data.
        transaction.ops = Vec::new();
        Ok(Reply::Voted(Vec::new()))
    }

    pub(super) fn tpc_finish(
        &mut self,
        id: TxnId,
        reply_to: Option<&MsgId<'_>>,
    ) -> Result<Answer, CallError> {
        let transaction = match self.transaction(id) {
            Ok(transaction) => transaction,
            Err(CallError::WrongTransaction { .. }) => return Ok(Answer::Reply(Reply::None)),
            Err(error) => return Err(error),
        };
        let reply_to = reply_to.map(|id| id.clone().into_owned());
        let (voted, tid, oids, ticket) =
            match std::mem::replace(&mut transaction.stage, Stage::Finishing { reply_to }) {
                Stage::Voted { voted, tid, oids, ticket } => (voted, tid, oids, ticket),
                other => {
                    transaction.stage = other;
                    return Err(CallError::FinishWithoutVote);
                }
            };
        let served = self.attached()?.served.clone();
        let mailbox = self.mailbox.clone();
        let job = CommitJob { served, voted, tid, oids, peer: self.id, mailbox, ticket };
        self.jobs.push_back(Job::Commit(job));
        Ok(Answer::Sent)
    }

    pub(super) fn finish_failed(
        &mut self,
        error: &CallError,
        session: &mut ServerSession,
    ) -> Result<(), Closing> {
        let stage = self.transaction.take().map(|transaction| transaction.stage);
        self.forget_transaction();
        match stage {
            Some(Stage::Finishing { reply_to: Some(id) }) => send_error(session, &id, &error.to_remote()),
            _ => Ok(()),
        }
    }

    fn forget_transaction(&mut self) {
        if let Ok(attached) = self.attached() {
            attached.served.stats.active_transactions.subtract();
        }
        self.transaction = None;
        self.lock_deadline = None;
    }

    pub(super) fn tpc_abort(&mut self, id: TxnId) -> Result<Reply<'static>, CallError> {
        match self.transaction(id) {
            Ok(_) => {
                self.attached()?.served.stats.aborts.add();
                self.forget_transaction();
                Ok(Reply::None)
            }
            Err(CallError::WrongTransaction { .. }) => Ok(Reply::None),
            Err(error) => Err(error),
        }
    }
}

/// Data below this is copied out of the buffer it came in, which it would keep alive as a whole.
const SMALL_LEN: usize = 4096;
/// What an operation takes in memory beside its data, roughly.
const OP_LEN: usize = 128;

/// Whether a tid that a client chose would spoil the clock: all later tids have to be greater.
fn is_far_ahead(tid: Tid) -> bool {
    unix_micros_from_tid(tid).saturating_sub(unix_micros(now())) > DAY_MICROS
}

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// Microseconds since 1970, UTC; a clock far off gives the nearest there is, and tids rise nevertheless.
pub(super) fn unix_micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The bytes in the frame's own memory where they stand there.
fn shared(bytes: Cow<'_, [u8]>, payload: &Bytes) -> Bytes {
    match bytes {
        // Borrowed bytes lie in the payload they were parsed from.
        Cow::Borrowed(bytes) => payload.slice_ref(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

/// User name and description: bytes, or text that is stored as UTF-8.
fn metadata(value: &Value<'_>, payload: &Bytes) -> Result<Bytes, CallError> {
    match value {
        Value::Bytes(bytes) | Value::Native(bytes) => Ok(shared(bytes.clone(), payload)),
        Value::Text(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        _ => Err(CallError::BadMetadata("user and description must be bytes or text")),
    }
}

/// The extension dictionary as a storage keeps it: pickled, or nothing if it is empty.
/// The bytes are those of a Python server that got the message in the same framing.
fn extension(value: &Value<'_>, framing: Framing) -> Result<Bytes, CallError> {
    if *value == Value::None {
        return Ok(Bytes::new());
    }
    let items = dict_items(value).ok_or(CallError::BadMetadata("the extension must be a dict"))?;
    if items.is_empty() {
        return Ok(Bytes::new());
    }
    let mut pickle = Vec::new();
    let mut writer = PickleWriter::with_memo(&mut pickle, PickleFlavor::Python3);
    if framing == Framing::Msgpack {
        writer = writer.sharing_keys();
    }
    writer.start();
    let written = writer.value(&Value::Dict(items));
    writer.stop();
    match written {
        Ok(()) => Ok(pickle.into()),
        Err(_) => Err(CallError::BadMetadata("the extension cannot be pickled")),
    }
}

/// The items of a dict, or of what the builtin `dict` makes: subclasses of dict may pickle themselves so (`__reduce__`),
/// and Python's server unpickles it (`server_find_global` in `ZEO/asyncio/marshal.py` 6.2 lets builtins pass).
fn dict_items<'a>(value: &Value<'a>) -> Option<Vec<(Value<'a>, Value<'a>)>> {
    let object = match value {
        Value::Dict(items) => return Some(items.clone()),
        Value::Object(object) => object,
        _ => return None,
    };
    let Value::Global(class) = &object.callable else {
        return None;
    };
    let is_dict = class.is("builtins", "dict") || class.is("__builtin__", "dict");
    let is_called = object.construction == Construction::Reduce;
    let is_plain = object.kwargs.is_none() && object.state.is_none() && object.list_items.is_empty();
    let Value::Tuple(args) = &object.args else {
        return None;
    };
    if !is_dict || !is_called || !is_plain {
        return None;
    }
    let mut items = match args.as_slice() {
        [] => Vec::new(),
        [Value::Dict(items)] => items.clone(),
        [Value::Tuple(pairs) | Value::List(pairs)] => pairs.iter().map(pair).collect::<Option<_>>()?,
        _ => return None,
    };
    items.extend(object.dict_items.iter().cloned());
    Some(items)
}

/// The two values of a sequence of two.
fn pair<'a>(value: &Value<'a>) -> Option<(Value<'a>, Value<'a>)> {
    match value {
        Value::Tuple(values) | Value::List(values) => match values.as_slice() {
            [key, value] => Some((key.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use zeo_codec::Limits;
    use zeo_codec::pickle::decode;

    use super::*;

    /// Dicts and subclasses with `__reduce__`, pickled by Python 3.11; and what `ZODB._compat.dumps` of ZODB 6.4
    /// makes of what `pickle.loads` of Python makes of them.
    #[test]
    fn an_extension_may_be_what_the_builtin_dict_makes() {
        let foo = b"\x80\x03}q\x00X\x03\x00\x00\x00fooq\x01K\x01s.".as_slice();
        let abc = b"\x80\x03}q\x00(X\x01\x00\x00\x00aq\x01K\x01X\x01\x00\x00\x00bq\x02K\x02\
                    X\x01\x00\x00\x00cq\x03K\x03u.";
        let cases: [(&[u8], &[u8]); 5] = [
            (foo, foo),
            (b"\x80\x03cbuiltins\ndict\nq\x00X\x03\x00\x00\x00fooq\x01K\x01\x86q\x02\x85q\x03\x85q\x04Rq\x05.", foo),
            (b"\x80\x02c__builtin__\ndict\nq\x00X\x03\x00\x00\x00fooq\x01K\x01\x86q\x02\x85q\x03\x85q\x04Rq\x05.", foo),
            (b"\x80\x03cbuiltins\ndict\nq\x00)\x85q\x01Rq\x02.", b""),
            (
                b"\x80\x03cbuiltins\ndict\nq\x00]q\x01(]q\x02(X\x01\x00\x00\x00aq\x03K\x01eX\x01\x00\x00\x00bq\x04K\x02\
                  \x86q\x05e\x85q\x06Rq\x07X\x01\x00\x00\x00cq\x08K\x03s.",
                abc,
            ),
        ];
        for (sent, stored) in cases {
            let value = decode(sent, &Limits::DEFAULT).unwrap();
            assert_eq!(extension(&value, Framing::Pickle).unwrap(), stored, "{}", sent.escape_ascii());
        }
    }

    #[test]
    fn an_extension_is_nothing_else() {
        // A number, a pair, `list(((1, 2),))`, and `dict(1)`.
        let cases: [&[u8]; 4] = [
            b"K\x01.",
            b"K\x01K\x02\x86.",
            b"cbuiltins\nlist\nK\x01K\x02\x86\x85\x85R.",
            b"cbuiltins\ndict\nK\x01\x85R.",
        ];
        for sent in cases {
            let value = decode(sent, &Limits::DEFAULT).unwrap();
            let error = extension(&value, Framing::Pickle).unwrap_err();
            assert!(matches!(error, CallError::BadMetadata(_)), "{}", sent.escape_ascii());
        }
    }
}
