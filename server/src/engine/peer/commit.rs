//! Calls that make, vote on, finish and abort a transaction.

use std::borrow::Cow;

use bytes::Bytes;
use zeo_codec::call::{CheckCurrentSerial, DeleteObject, Restorea, Storea, TpcBegin, TxnId, Undoa};
use zeo_codec::handshake::Framing;
use zeo_codec::session::ServerSession;
use zeo_codec::{Dialect, Generation, Method, MsgId, Oid, Reply, Tid, Value, VoteItem};

use super::old::RESOLVED;
use super::{Answer, Closing, Peer, now, send_error};
use crate::engine::clock::unix_micros;
use crate::engine::commit_lock::{Scope, Ticket};
use crate::engine::error::CallError;
use crate::engine::extension;
use crate::engine::job::{Job, SyncJob};
use crate::engine::pipeline::Ready;
use crate::engine::served::CommitJob;
use crate::engine::transaction::{BlobOp, Failure, OP_LEN, OnConflict, Op, Plan, Stage, Transaction, plan};
use crate::storage::tid::unix_micros_from_tid;
use crate::storage::{NewBlob, NewRecord, NewTransaction, StorageError, wait};

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
            return Err(CallError::BadMetadata("status must be a blank or 'p'".to_owned()));
        };
        let served = &self.attached()?.served;
        let transaction = Transaction {
            id: args.id,
            user: metadata(&args.user, payload)?,
            description: metadata(&args.description, payload)?,
            extension: extension::encode(&args.extension, framing)
                .map_err(|why| CallError::BadMetadata(why.to_string()))?
                .into(),
            tid: args.tid,
            status,
            ops: Vec::new(),
            blobs: Vec::new(),
            upload: None,
            data_len: 0,
            blob_len: 0,
            failure: None,
            stage: Stage::Collecting,
            passed: None,
            passed_extension: self.is_relayed().then(|| args.extension.clone().into_owned()),
        };
        served.stats.active_transactions.add();
        self.transaction = Some(transaction);
        Ok(Reply::None)
    }

    /// The transaction `id`, which must be the current one.
    pub(super) fn transaction(&mut self, id: TxnId) -> Result<&mut Transaction, CallError> {
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
        let data = kept(args.data, payload);
        self.collect(args.id, data.len(), Op::Store { oid: args.oid, serial: args.serial, data })?;
        self.stored()
    }

    pub(super) fn delete_object(&mut self, args: DeleteObject) -> Result<Reply<'static>, CallError> {
        if self.attached()?.served.storage.features().external_gc {
            self.collect(args.id, 0, Op::Delete { oid: args.oid, serial: args.serial })?;
        } else {
            self.cannot(args.id, "deleteObject")?;
        }
        self.stored()
    }

    pub(super) fn restorea(
        &mut self,
        args: Restorea<'_>,
        payload: &Bytes,
    ) -> Result<Reply<'static>, CallError> {
        let Restorea { oid, serial, data, prev_txn: data_tid, id } = args;
        if self.attached()?.served.storage.features().restore {
            let data = data.map(|data| kept(data, payload));
            let data_len = data.as_ref().map_or(0, Bytes::len);
            self.collect(id, data_len, Op::Restore { oid, serial, data, data_tid })?;
        } else {
            self.cannot(id, "restore")?;
        }
        self.stored()
    }

    /// Counts a store that belongs to a transaction; any other has failed before (StorageServer.py:storea, ZEO 6.2).
    fn stored(&self) -> Result<Reply<'static>, CallError> {
        self.attached()?.served.stats.stores.add();
        Ok(Reply::None)
    }

    pub(super) fn undoa(&mut self, args: &Undoa<'_>) -> Result<Reply<'static>, CallError> {
        if !self.attached()?.served.storage.features().undo {
            return self.cannot(args.id, "undo");
        }
        let undo_id = Bytes::copy_from_slice(&args.undo_id);
        self.collect(args.id, undo_id.len(), Op::Undo { undo_id })
    }

    fn cannot(&mut self, id: TxnId, attribute: &'static str) -> Result<Reply<'static>, CallError> {
        let type_name = self.attached()?.served.storage.features().python_class;
        self.collect(id, 0, Op::Unsupported { type_name, attribute })
    }

    pub(super) fn check_current_serial(
        &mut self,
        args: CheckCurrentSerial,
    ) -> Result<Reply<'static>, CallError> {
        self.collect(args.id, 0, Op::CheckCurrent { oid: args.oid, serial: args.serial })
    }

    /// Adds an operation to the transaction; beyond the limit on its size the vote will fail.
    fn collect(&mut self, id: TxnId, data_len: usize, op: Op) -> Result<Reply<'static>, CallError> {
        self.count(id, data_len)?;
        let transaction = self.transaction(id)?;
        if transaction.failure.is_none() {
            transaction.ops.push(op);
        }
        Ok(Reply::None)
    }

    /// Counts an operation and its data towards the limit on the transaction's size.
    pub(super) fn count(&mut self, id: TxnId, data_len: usize) -> Result<(), CallError> {
        let bytes_max = self.engine.options.transaction_bytes;
        let transaction = self.transaction(id)?;
        transaction.data_len = transaction.data_len.saturating_add((data_len + OP_LEN) as u64);
        if transaction.data_len > bytes_max {
            transaction.fail(CallError::TransactionTooLarge(bytes_max));
        }
        Ok(())
    }

    pub(super) fn vote(&mut self, id: TxnId, reply_to: Option<&MsgId<'_>>) -> Result<Answer, CallError> {
        let round = self.sync_round + 1;
        let is_relayed = self.is_relayed();
        let transaction = self.transaction(id)?;
        // The server behind sees to the durability of those that are passed on.
        let has_blobs = !transaction.blobs.is_empty() && transaction.failure.is_none() && !is_relayed;
        if matches!(transaction.stage, Stage::Collecting) && has_blobs {
            let blobs = std::mem::take(&mut transaction.blobs);
            transaction.stage =
                Stage::Syncing { reply_to: reply_to.map(|id| id.clone().into_owned()), round };
            self.sync_round = round;
            self.jobs.push_back(Job::Sync(SyncJob::new(round, blobs, &self.mailbox)));
            return Ok(Answer::Sent);
        }
        self.vote_synced(reply_to)
    }

    /// Votes, or queues for the lock, with the transaction's files as durable as they will be before that.
    pub(super) fn vote_synced(&mut self, reply_to: Option<&MsgId<'_>>) -> Result<Answer, CallError> {
        // A client of ZEO 4 has to be told the tid now.
        let is_concurrent = self.attached()?.served.storage.features().concurrent_commits
            && self.dialect.generation == Generation::Zeo5;
        let Some(transaction) = &mut self.transaction else { return Ok(Answer::Reply(Reply::None)) };
        let scope = if is_concurrent { transaction.scope() } else { Scope::Whole };
        let ticket = match std::mem::replace(&mut transaction.stage, Stage::Collecting) {
            // Usually it has stored again what was in conflict, and nothing else.
            Stage::HandedBack { ticket } if ticket.widen(&scope) => ticket,
            // A resolution that touches what somebody else has or wants begins again, at the end of the queue: whoever
            // waited for more with something in hand might be waited for.
            stage @ (Stage::Collecting | Stage::HandedBack { .. }) => {
                drop(stage);
                let lock = &self.attached()?.served.lock;
                let (ticket, is_held) = lock.acquire(&self.mailbox, now(), &self.label, scope);
                if !is_held {
                    let reply_to = reply_to.map(|id| id.clone().into_owned());
                    if let Some(transaction) = &mut self.transaction {
                        transaction.stage = Stage::Waiting { reply_to, ticket };
                    }
                    return Ok(Answer::Sent);
                }
                self.start_lock_clock();
                ticket
            }
            stage @ (Stage::Syncing { .. } | Stage::Waiting { .. }) => {
                return self.already_voting(stage, "Already voting (waiting)");
            }
            stage @ (Stage::Voted { .. } | Stage::Finishing { .. }) => {
                return self.already_voting(stage, "Already voting (locked)");
            }
        };
        self.run_vote(ticket)
    }

    /// Leaves the transaction in its stage.
    fn already_voting(&mut self, stage: Stage, error: &'static str) -> Result<Answer, CallError> {
        if let Some(transaction) = &mut self.transaction {
            transaction.stage = stage;
        }
        Err(CallError::TransactionState(error))
    }

    fn start_lock_clock(&mut self) {
        let timeout = self.engine.options.transaction_timeout;
        self.lock_deadline = timeout.and_then(|timeout| (self.clock)().checked_add(timeout));
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
        match (&result, &reply_to) {
            // Nobody to tell.
            (Ok(Answer::Reply(_) | Answer::Sent) | Err(_), None) => Ok(()),
            _ => self.answer(Method::Vote, reply_to.as_ref(), result, session),
        }
    }

    /// Votes with the lock held. If it fails the transaction is forgotten and the lock given up.
    fn run_vote(&mut self, ticket: Ticket) -> Result<Answer, CallError> {
        let result = if self.transaction.as_ref().is_some_and(Transaction::is_large) {
            // The thread may be the one that looks for everybody's input.
            let (mut ticket, mut result) = (Some(ticket), Ok(Answer::Sent));
            wait(&mut || {
                if let Some(ticket) = ticket.take() {
                    result = self.try_vote(ticket);
                }
            });
            result
        } else {
            self.try_vote(ticket)
        };
        if let Err(error) = &result
            && let Some(served) = self.attached.as_ref().map(|attached| &attached.served)
        {
            if error.is_conflict() {
                served.stats.conflicts.add();
            }
            served.stats.active_transactions.subtract();
            self.transaction = None;
            self.lock_deadline = None;
        }
        result
    }

    fn try_vote(&mut self, ticket: Ticket) -> Result<Answer, CallError> {
        let served = self.attached()?.served.clone();
        let dialect = self.dialect;
        let is_old = dialect.generation != Generation::Zeo5;
        let Some(transaction) = &mut self.transaction else { return Ok(Answer::Reply(Reply::None)) };
        if let Some(failure) = transaction.failure.take() {
            return Err(failure);
        }
        if served.storage.remote().is_some() {
            return self.vote_remotely(ticket);
        }
        // Nobody commits what we touch while we hold the lock: of that this is and stays the newest state.
        let view = served.view();
        // In this order, the last blob first, as Python's server (StorageServer.py:_vote, ZEO 6.2): the file gets the
        // same bytes.
        let ops = transaction.ops.iter().chain(transaction.blobs.iter().rev().map(|blob| &blob.store));
        let bytes_max = self.engine.options.transaction_bytes;
        let on_conflict = if is_old { OnConflict::Fail } else { OnConflict::HandBack };
        let planned = plan(ops.clone(), &*view, bytes_max, on_conflict);
        let Plan { records, oids, undone, conflicts } = match planned {
            Ok(planned) => planned,
            Err(failure) if is_old => {
                let tid = served.next_tid((self.clock)())?;
                let serials = failed_serials(ops, &failure, tid, &dialect);
                if failure.error.is_conflict() {
                    served.stats.conflicts.add();
                }
                return Ok(self.failed_vote(serials));
            }
            Err(failure) => return Err(failure.into()),
        };
        if !conflicts.is_empty() {
            served.stats.conflicts.add();
            transaction.stage = Stage::HandedBack { ticket };
            let conflicts = conflicts.into_iter().map(VoteItem::Conflict).collect();
            return Ok(Answer::Reply(Reply::Voted(conflicts)));
        }
        let has_whole = ticket.has_whole();
        let tid = match transaction.tid {
            Some(tid) if is_far_ahead(tid) => {
                return Err(CallError::TransactionState("the transaction's tid lies more than a day ahead"));
            }
            Some(tid) => tid,
            None if has_whole => served.next_tid((self.clock)())?,
            // To be decided at the commit.
            None => Tid::ZERO,
        };
        check_serials(&records, tid)?;
        let serials = is_old.then(|| serials(ops, &undone, tid));
        let blobs = std::mem::take(&mut transaction.blobs).into_iter().rev();
        let blobs = blobs.map(|BlobOp { oid, content, .. }| NewBlob { oid, content }).collect();
        let new = NewTransaction {
            tid,
            status: transaction.status,
            user: transaction.user.clone(),
            description: transaction.description.clone(),
            extension: transaction.extension.clone(),
            records,
        };
        let ready = if has_whole {
            Ready::Placed { voted: served.storage.vote_with_blobs(new, blobs)?, tid }
        } else {
            let room = served.storage.reserve(&new)?;
            Ready::Promised { transaction: Box::new(new), room }
        };
        transaction.stage = Stage::Voted { ticket, ready, oids };
        // From here on only the storage needs the data.
        transaction.ops = Vec::new();
        Ok(match serials {
            Some(serials) => Answer::Serials(serials),
            None => {
                let undone = undone.into_iter().map(|(_, oid)| VoteItem::Resolved(oid));
                Answer::Reply(Reply::Voted(undone.collect()))
            }
        })
    }

    /// Ends a transaction of a client of ZEO 4 whose vote has failed: it hears of that by `serialnos`, and aborts.
    pub(super) fn failed_vote(&mut self, serials: Vec<(Oid, Value<'static>)>) -> Answer {
        if let Ok(attached) = self.attached() {
            attached.served.stats.aborts.add();
        }
        self.forget_transaction();
        Answer::Serials(serials)
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
        let (ready, oids, ticket) =
            match std::mem::replace(&mut transaction.stage, Stage::Finishing { reply_to }) {
                Stage::Voted { ready, oids, ticket } => (ready, oids, ticket),
                other => {
                    transaction.stage = other;
                    return Err(CallError::FinishWithoutVote);
                }
            };
        let served = self.attached()?.served.clone();
        let mailbox = self.mailbox.clone();
        let asked = (self.clock)();
        let job = CommitJob { served, ready, oids, peer: self.id, mailbox, ticket, asked };
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
        match stage.and_then(Stage::into_finish_reply_to) {
            Some(id) => send_error(session, &id, error),
            None => Ok(()),
        }
    }

    fn forget_transaction(&mut self) {
        if let Ok(attached) = self.attached() {
            attached.served.stats.active_transactions.subtract();
        }
        if self.transaction.as_ref().is_some_and(Transaction::is_large) {
            // Giving much memory back takes its time, too.
            wait(&mut || self.transaction = None);
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

/// What `serialnos` tells of operations that can be committed under `tid` (`StorageServer.py:_store`, `_undo`, 4.3.1).
fn serials<'o>(
    ops: impl Iterator<Item = &'o Op>,
    undone: &[(usize, Oid)],
    tid: Tid,
) -> Vec<(Oid, Value<'static>)> {
    let mut undone = undone.iter().peekable();
    let mut serials = Vec::new();
    for (place, op) in ops.enumerate() {
        match op {
            Op::Store { oid, .. } => serials.push((*oid, tid.into())),
            Op::Undo { .. } => {
                while let Some((_, oid)) = undone.next_if(|(undo_place, _)| *undo_place == place) {
                    serials.push((*oid, Value::Bytes(Cow::Borrowed(RESOLVED))));
                }
            }
            Op::Delete { .. } | Op::CheckCurrent { .. } | Op::Restore { .. } | Op::Unsupported { .. } => {}
        }
    }
    serials
}

/// What `serialnos` tells if an operation failed: the serials before it, and why.
fn failed_serials<'o>(
    mut ops: impl Iterator<Item = &'o Op> + Clone,
    failure: &Failure,
    tid: Tid,
    dialect: &Dialect,
) -> Vec<(Oid, Value<'static>)> {
    let mut serials = serials(ops.clone().take(failure.place), &failure.undone, tid);
    let oid = match ops.nth(failure.place) {
        Some(
            Op::Store { oid, .. }
            | Op::Delete { oid, .. }
            | Op::CheckCurrent { oid, .. }
            | Op::Restore { oid, .. },
        ) => *oid,
        Some(Op::Undo { .. } | Op::Unsupported { .. }) | None => Oid::ZERO,
    };
    serials.push((oid, failure.error.to_remote(dialect).detail));
    serials
}

/// A record may be older than the transaction that brings it, but not newer: nobody would find what comes after it.
fn check_serials(records: &[NewRecord], tid: Tid) -> Result<(), StorageError> {
    let serials = records.iter().filter_map(|record| Some((record.oid, record.serial?)));
    match serials.into_iter().find(|(_, serial)| *serial > tid) {
        Some((oid, serial)) => Err(StorageError::SerialAhead { oid, serial, tid }),
        None => Ok(()),
    }
}

/// Object data, in memory of its own if it is small.
fn kept(data: Cow<'_, [u8]>, payload: &Bytes) -> Bytes {
    if data.len() < SMALL_LEN { Bytes::copy_from_slice(&data) } else { shared(data, payload) }
}

/// Data below this is copied out of the buffer it came in, which it would keep alive as a whole.
const SMALL_LEN: usize = 4096;

/// Whether a tid that a client chose would spoil the clock: all later tids have to be greater.
fn is_far_ahead(tid: Tid) -> bool {
    unix_micros_from_tid(tid).saturating_sub(unix_micros(now())) > DAY_MICROS
}

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

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
        _ => Err(CallError::BadMetadata("user and description must be bytes or text".to_owned())),
    }
}
