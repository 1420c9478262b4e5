//! A client's transaction, from `tpc_begin` to its end.
//!
//! Stores are collected as they arrive, sharing memory with the frames that brought them, and looked at
//! only when the vote has the commit lock for them (protocol reference 9.3). The stages:
//!
//! ```text
//!   Collecting --vote--> (Syncing) --> Waiting --lock--> (vote runs) --> Voted --tpc_finish--> Finishing
//!        \_______________________lock free____________/   \--> HandedBack --vote--> (vote runs)
//! ```
//!
//! `Syncing` is for transactions with blobs: their files go to the disk before anybody has to wait for it.
//! `HandedBack` holds the commit lock: the client is to resolve conflicts and vote again, and what it
//! merged with must not change meanwhile (`guarantees.md` 4, last point).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;

use bytes::Bytes;
use zeo_codec::call::TxnId;
use zeo_codec::{Conflict, MsgId, Oid, Tid, Value};

use super::commit_lock::{Scope, Ticket};
use super::error::CallError;
use super::pipeline::Ready;
use super::undo_id;
use crate::storage::blob::{StagedBlob, Upload};
use crate::storage::past::UndoError;
use crate::storage::remote::RemoteTransaction;
use crate::storage::{Current, NewRecord, Pending, StorageError, View};

/// What an operation takes in memory beside its data, roughly.
pub(crate) const OP_LEN: usize = 128;

/// What a transaction takes in memory, roughly, beyond which whatever is done with all of it takes a millisecond or more.
const LARGE_LEN: u64 = 512 * 1024;

/// What the client wants to be done.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Store {
        oid: Oid,
        serial: Tid,
        data: Bytes,
    },
    Delete {
        oid: Oid,
        serial: Tid,
    },
    CheckCurrent {
        oid: Oid,
        serial: Tid,
    },
    Restore {
        oid: Oid,
        serial: Tid,
        data: Option<Bytes>,
        data_tid: Option<Tid>,
    },
    Undo {
        undo_id: Bytes,
    },
    /// The storage has no such method, which Python finds out in its turn at the vote.
    Unsupported {
        type_name: &'static str,
        attribute: &'static str,
    },
}

/// A blob whose content has arrived.
#[derive(Debug)]
pub(crate) struct BlobOp {
    /// Its record, which the client has stored by itself before: it is written twice, as by Python's server.
    pub(crate) store: Op,
    pub(crate) oid: Oid,
    pub(crate) content: StagedBlob,
}

/// Where a transaction stands.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Operations come in.
    Collecting,
    /// The vote waits for the blobs' files to become durable.
    Syncing { reply_to: Option<MsgId<'static>>, round: u64 },
    /// The vote waits for the commit lock.
    Waiting { reply_to: Option<MsgId<'static>>, ticket: Ticket },
    /// The client resolves conflicts; the lock is held.
    HandedBack { ticket: Ticket },
    /// Ready to commit; the lock is held.
    Voted { ticket: Ticket, ready: Ready, oids: Vec<Oid> },
    /// On its way to the disk; the commit job has the lock now.
    Finishing { reply_to: Option<MsgId<'static>> },
}

impl Stage {
    /// Where the outcome of `tpc_finish` is to be told, if one is under way and anybody asked.
    pub(crate) fn into_finish_reply_to(self) -> Option<MsgId<'static>> {
        match self {
            Self::Finishing { reply_to } => reply_to,
            Self::Collecting
            | Self::Syncing { .. }
            | Self::Waiting { .. }
            | Self::HandedBack { .. }
            | Self::Voted { .. } => None,
        }
    }
}

impl fmt::Display for Stage {
    /// In the words of Python's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Collecting | Self::Syncing { .. } | Self::Waiting { .. } => "unlocked",
            Self::HandedBack { .. } | Self::Voted { .. } | Self::Finishing { .. } => "locked",
        })
    }
}

/// A transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) id: TxnId,
    pub(crate) user: Bytes,
    pub(crate) description: Bytes,
    pub(crate) extension: Bytes,
    /// The tid to commit under, when transactions are copied.
    pub(crate) tid: Option<Tid>,
    pub(crate) status: u8,
    pub(crate) ops: Vec<Op>,
    /// Blobs in the order of their arrival; they stay until a vote takes them.
    pub(crate) blobs: Vec<BlobOp>,
    /// The blob that is arriving.
    pub(crate) upload: Option<Upload>,
    pub(crate) data_len: u64,
    /// Bytes of blobs that have arrived.
    pub(crate) blob_len: u64,
    /// An operation that could not be taken; the vote says so.
    pub(crate) failure: Option<CallError>,
    pub(crate) stage: Stage,
    /// The transaction of the server behind, while the client resolves what is in conflict there.
    pub(crate) passed: Option<Box<dyn RemoteTransaction>>,
    /// The extension as it came, for the server behind.
    pub(crate) passed_extension: Option<Value<'static>>,
}

impl Transaction {
    /// What it touches, on a storage that lets transactions of different objects go on beside each other. One with
    /// blobs has everything to itself: their files are put in place under its tid before the commit. So has one that
    /// takes others back, or brings its tid, since what came before it matters then.
    pub(crate) fn scope(&self) -> Scope {
        let (mut written, mut read) = (HashSet::new(), HashSet::new());
        if self.tid.is_some() || !self.blobs.is_empty() {
            return Scope::Whole;
        }
        for op in &self.ops {
            match op {
                Op::Store { oid, .. } | Op::Delete { oid, .. } => _ = written.insert(*oid),
                Op::CheckCurrent { oid, .. } => _ = read.insert(*oid),
                Op::Restore { .. } | Op::Undo { .. } => return Scope::Whole,
                // It fails whatever others do.
                Op::Unsupported { .. } => {}
            }
        }
        Scope::Objects { written, read }
    }

    /// Whether others would notice if their thread had to vote on it, or to free it, in between.
    pub(crate) const fn is_large(&self) -> bool {
        self.data_len > LARGE_LEN
    }

    /// The vote will fail with the first error; nothing that has been collected is needed any more.
    pub(crate) fn fail(&mut self, error: CallError) {
        self.failure.get_or_insert(error);
        self.ops = Vec::new();
        self.blobs = Vec::new();
        self.upload = None;
    }
}

/// What a vote found.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What to write.
    pub(crate) records: Vec<NewRecord>,
    /// What to announce: all objects of the records, once each.
    pub(crate) oids: Vec<Oid>,
    /// The objects that undo changed, once for each undo, with the place of the undo among the operations: the client
    /// does not know their data.
    pub(crate) undone: Vec<(usize, Oid)>,
    /// What the client is to resolve first. Nothing is written then.
    pub(crate) conflicts: Vec<Conflict<'static>>,
}

/// Why operations cannot be planned.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How many operations came before the one that failed.
    pub(crate) place: usize,
    pub(crate) error: CallError,
    /// As in a [`Plan`], of the undos before it.
    pub(crate) undone: Vec<(usize, Oid)>,
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// Whether the client resolves conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnConflict {
    /// They are handed back to it.
    HandBack,
    /// They are errors: clients of ZEO 4 cannot resolve any.
    Fail,
}

/// Checks operations against the newest state, in their order. The caller holds the commit lock for what they touch, so
/// that this stays as it is. The transaction may grow to `bytes_max`, roughly, by what it undoes.
///
/// A store that conflicts is not an error yet: a later store of the same object that does not conflict
/// takes its place (this is how a client sends its resolution).
pub(crate) fn plan<'o>(
    ops: impl Iterator<Item = &'o Op>,
    view: &dyn View,
    bytes_max: u64,
    on_conflict: OnConflict,
) -> Result<Plan, Failure> {
    let mut planning = Planning {
        view,
        bytes_max,
        on_conflict,
        records: Pending::new(ops.size_hint().0, usize::try_from(bytes_max).unwrap_or(usize::MAX) / OP_LEN),
        conflicts: HashMap::new(),
        undone: Vec::new(),
    };
    let mut result = Ok(());
    for (place, op) in ops.enumerate() {
        match planning.apply(place, op) {
            Ok(()) => {}
            // The first of several errors counts.
            Err(error) if planning.conflicts.is_empty() => {
                let (place, error) = result.err().unwrap_or((place, error));
                return Err(Failure { place, error, undone: planning.undone });
            }
            // A conflict came before it. What resolves that comes last.
            Err(error) => result = result.and(Err((place, error))),
        }
    }
    let Planning { records, conflicts, undone, .. } = planning;
    if conflicts.is_empty()
        && let Err((place, error)) = result
    {
        return Err(Failure { place, error, undone });
    }
    // Otherwise the client hears of the conflicts first, after which it tries again, or resolves them and votes again;
    // then the error is still there.
    let records = records.into_records();
    let mut oids: Vec<Oid> = records.iter().map(|record| record.oid).collect();
    oids.sort_unstable();
    oids.dedup();
    let mut conflicts: Vec<_> = conflicts.into_values().collect();
    conflicts.sort_unstable_by_key(|(place, _)| *place);
    let conflicts = conflicts.into_iter().map(|(_, conflict)| conflict).collect();
    Ok(Plan { records, oids, undone, conflicts })
}

/// A plan that is being made.
struct Planning<'p> {
    view: &'p dyn View,
    bytes_max: u64,
    on_conflict: OnConflict,
    records: Pending,
    /// With the place of the operation with which they began: clients hear of them in this order, as from Python's
    /// server, and raise the first that they cannot resolve.
    conflicts: HashMap<Oid, (usize, Conflict<'static>)>,
    undone: Vec<(usize, Oid)>,
}

impl Planning<'_> {
    /// `place`: how many operations came before this one.
    fn apply(&mut self, place: usize, op: &Op) -> Result<(), CallError> {
        match op {
            Op::Store { oid, serial, data } => match self.view.current(*oid)? {
                Some(Current { serial: committed, .. })
                    if committed != *serial && self.on_conflict == OnConflict::Fail =>
                {
                    let class_name = zeo_codec::record::class_name(data);
                    return Err(CallError::Conflict { oid: *oid, committed, read: *serial, class_name });
                }
                Some(Current { serial: committed, .. }) if committed != *serial => {
                    let data = data.to_vec().into();
                    let conflict = Conflict { oid: *oid, committed, read: *serial, data };
                    match self.conflicts.entry(*oid) {
                        Entry::Occupied(mut entry) => entry.get_mut().1 = conflict,
                        Entry::Vacant(entry) => _ = entry.insert((place, conflict)),
                    }
                }
                Some(_) | None => {
                    self.conflicts.remove(oid);
                    self.records.push(NewRecord::with_data(*oid, data.clone()));
                }
            },
            Op::Delete { oid, serial } => {
                let committed = existing(self.view, *oid)?.serial;
                if committed != *serial {
                    return Err(CallError::Conflict {
                        oid: *oid,
                        committed,
                        read: *serial,
                        class_name: None,
                    });
                }
                self.records.push(NewRecord::deleted(*oid));
            }
            Op::CheckCurrent { oid, serial } => {
                // Of a deleted object there is nothing current (BaseStorage.py:checkCurrentSerialInTransaction, ZODB 6.4).
                let current = existing(self.view, *oid)?;
                if current.is_deleted {
                    return Err(StorageError::NoSuchObject(*oid).into());
                }
                let committed = current.serial;
                if committed != *serial {
                    return Err(CallError::ReadConflict { oid: *oid, committed, read: *serial });
                }
            }
            Op::Restore { oid, serial, data, data_tid } => {
                let data = self.view.restored(*oid, data.clone(), *data_tid)?;
                self.records.push(NewRecord { oid: *oid, serial: Some(*serial), data });
            }
            Op::Undo { undo_id } => {
                let taken_back = match self.view.undo(undo_id::decode(undo_id)?, &mut self.records) {
                    Err(UndoError::TooMany) => return Err(CallError::TransactionTooLarge(self.bytes_max)),
                    taken_back => taken_back?,
                };
                self.undone.extend(once_each(&taken_back).into_iter().map(|oid| (place, oid)));
                taken_back.into_iter().for_each(|record| self.records.push(record));
            }
            Op::Unsupported { type_name, attribute } => {
                return Err(CallError::NoAttribute { type_name: (*type_name).to_owned(), attribute });
            }
        }
        Ok(())
    }
}

/// The objects of records, in the order in which they first occur.
fn once_each(records: &[NewRecord]) -> Vec<Oid> {
    let mut seen = HashSet::new();
    records.iter().map(|record| record.oid).filter(|oid| seen.insert(*oid)).collect()
}

fn existing(view: &dyn View, oid: Oid) -> Result<Current, CallError> {
    view.current(oid)?.ok_or(CallError::Storage(StorageError::NoSuchObject(oid)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStorage;
    use crate::storage::{NewTransaction, Storage};

    fn commit(storage: &MemoryStorage, tid: u64, records: Vec<NewRecord>) -> Tid {
        let (tid, empty) = (Tid::from_u64(tid), Bytes::new());
        let (user, description, extension) = (empty.clone(), empty.clone(), empty);
        let transaction = NewTransaction { tid, status: b' ', user, description, extension, records };
        storage.vote(transaction).unwrap().finish().unwrap();
        tid
    }

    #[test]
    fn a_conflict_is_heard_before_an_error_and_an_error_after_the_resolution() {
        let storage = MemoryStorage::new("m");
        let (oid, data) = (Oid::from_u64(1), Bytes::from_static(b"x"));
        let committed = commit(&storage, 10, vec![NewRecord::with_data(oid, data.clone())]);
        let view = storage.view();
        let store = |serial| Op::Store { oid, serial, data: data.clone() };
        let missing = Op::Delete { oid: Oid::from_u64(9), serial: committed };
        let planned =
            |ops: &[Op]| plan(ops.iter(), &*view, u64::MAX, OnConflict::HandBack).map_err(CallError::from);
        let stale = [store(Tid::ZERO), missing.clone()];
        assert_eq!(planned(&stale).unwrap().conflicts.len(), 1);
        let resolved = [store(Tid::ZERO), missing, store(committed)];
        assert!(matches!(planned(&resolved), Err(CallError::Storage(StorageError::NoSuchObject(_)))));
        assert!(planned(&[store(Tid::ZERO), store(committed)]).unwrap().conflicts.is_empty());
        let error_first = [Op::Delete { oid: Oid::from_u64(9), serial: committed }, store(Tid::ZERO)];
        assert!(matches!(planned(&error_first), Err(CallError::Storage(StorageError::NoSuchObject(_)))));
    }

    #[test]
    fn nothing_is_current_of_a_deleted_object() {
        let storage = MemoryStorage::new("m");
        let oid = Oid::from_u64(1);
        commit(&storage, 10, vec![NewRecord::with_data(oid, "x".into())]);
        let serial = commit(&storage, 11, vec![NewRecord::deleted(oid)]);
        let planned =
            plan([Op::CheckCurrent { oid, serial }].iter(), &*storage.view(), u64::MAX, OnConflict::Fail);
        let planned = planned.map_err(CallError::from);
        assert!(matches!(planned, Err(CallError::Storage(StorageError::NoSuchObject(_)))));
    }

    #[test]
    fn conflicts_come_in_the_order_of_the_stores() {
        let storage = MemoryStorage::new("m");
        let oids: Vec<_> = (1..40).rev().map(Oid::from_u64).collect();
        commit(&storage, 10, oids.iter().map(|&oid| NewRecord::with_data(oid, "x".into())).collect());
        let store = |&oid: &Oid| Op::Store { oid, serial: Tid::ZERO, data: "y".into() };
        let again = [store(&oids[5])];
        let ops: Vec<_> = oids.iter().map(store).chain(again).collect();
        let planned = plan(ops.iter(), &*storage.view(), u64::MAX, OnConflict::HandBack).unwrap();
        let found: Vec<_> = planned.conflicts.iter().map(|conflict| conflict.oid).collect();
        assert_eq!(found, oids);
    }
}
