//! One client: random transactions with loads in flight at every step, some broken off, some undone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeo_codec::call::{
    CheckCurrentSerial, DeleteObject, LoadBefore, Storea, TpcBegin, TransactionRef, TxnId, Undoa,
};
use zeo_codec::{Call, Method, Oid, Tid};

use super::connection::{Answer, Connection, Lost};
use super::data::record_of;
use super::record::{Attempt, Event, Layout, Loaded, Op, Record, Serials, Value};
use crate::process::poll_until;

/// Longest time until a server is back that was killed.
const RETURN_LIMIT: Duration = Duration::from_secs(60);
/// How many loads are under way beside a transaction.
const LOAD_COUNT: u64 = 12;
/// How often a client tries to resolve the conflicts of one transaction.
const RESOLVE_COUNT: u32 = 3;

/// Pseudo-random numbers, the same in every run with the same seed.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides.max(1)
    }

    /// One of `items`, if there are any.
    fn pick<'i, T>(&mut self, items: &'i [T]) -> Option<&'i T> {
        items.get(usize::try_from(self.roll(items.len() as u64)).ok()?)
    }

    fn is_one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// Where a client breaks its connection off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Begun,
    Stored,
    Voting,
    Voted,
    Finishing,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Begun, Self::Stored, Self::Voting, Self::Voted, Self::Finishing];
}

/// Why a transaction ended early.
enum Stop {
    Lost(Lost),
    /// The client hung up on purpose.
    BrokenOff,
}

impl From<Lost> for Stop {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// What a client needs to go on.
#[derive(Debug)]
pub struct Worker {
    number: u64,
    layout: Layout,
    address: SocketAddr,
    dice: Dice,
    connection: Option<Connection>,
    /// What is known while there is no connection.
    known: (Tid, Serials),
    record: Record,
    stored_count: u64,
    transaction_count: u64,
    /// The last own commit, if it may still be undone.
    undoable: Option<Tid>,
    is_spare_deleted: bool,
    /// An attempt whose outcome is not known.
    unknown: Option<usize>,
    /// Bounds for loads of old revisions.
    old_tids: Vec<Tid>,
    /// All commits of the run so far.
    commit_count: Arc<AtomicU64>,
}

impl Worker {
    /// Client `number` of a run.
    #[must_use]
    pub fn new(
        number: u64,
        layout: Layout,
        address: SocketAddr,
        seed: u64,
        commit_count: Arc<AtomicU64>,
    ) -> Self {
        Self {
            number,
            layout,
            address,
            dice: Dice(seed.wrapping_mul(1_000_003).wrapping_add(number)),
            connection: None,
            known: (Tid::ZERO, Serials::new()),
            record: Record::default(),
            stored_count: 0,
            transaction_count: 0,
            undoable: None,
            is_spare_deleted: false,
            unknown: None,
            old_tids: Vec::new(),
            commit_count,
        }
    }

    /// Makes transactions until the whole run has `goal` commits.
    ///
    /// # Errors
    /// If the server breaks the protocol, or does not come back.
    pub fn work(&mut self, goal: u64) -> Result<(), Lost> {
        while self.commit_count.load(Ordering::Relaxed) < goal {
            match self.step() {
                Ok(()) => {}
                Err(Stop::BrokenOff) => {
                    self.record.broken_off_count += 1;
                    self.disconnect();
                }
                Err(Stop::Lost(Lost::Gone(_))) => self.disconnect(),
                Err(Stop::Lost(lost)) => return Err(lost),
            }
        }
        // One more, so that nothing is unknown.
        while self.unknown.is_some() {
            match self.settle() {
                Ok(()) => {}
                Err(Lost::Gone(_)) => self.disconnect(),
                Err(lost) => return Err(lost),
            }
        }
        Ok(())
    }

    /// Makes transactions until `is_over`, with a pause after each that is as long as it took, and keeps no record.
    ///
    /// # Errors
    /// If the server breaks the protocol, or does not come back.
    pub fn work_at_half_load(&mut self, is_over: &AtomicBool) -> Result<(), Lost> {
        while !is_over.load(Ordering::Relaxed) {
            let since = Instant::now();
            // Those of one transaction, after which there is always one that is known.
            self.work(self.commit_count.load(Ordering::Relaxed) + 1)?;
            self.forget();
            std::thread::sleep(since.elapsed());
        }
        Ok(())
    }

    /// Forgets what was written down.
    fn forget(&mut self) {
        let Record { refused_count, broken_off_count, .. } = self.record;
        self.record = Record { refused_count, broken_off_count, ..Record::default() };
        if let Some(connection) = &mut self.connection {
            connection.events.clear();
        }
    }

    /// Asks for the last transaction, with which everything before it comes, and ends.
    ///
    /// # Errors
    /// If the server breaks the protocol, or is gone.
    pub fn finish(mut self) -> Result<Record, Lost> {
        self.connected()?.call(&Call::Plain(Method::LastTransaction))?;
        self.disconnect();
        Ok(self.record)
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.known = (connection.seen, connection.serials);
            self.record.connections.push(connection.events);
        }
    }

    fn connected(&mut self) -> Result<&mut Connection, Lost> {
        if self.connection.is_none() {
            let mut failure = None;
            let opened = poll_until(RETURN_LIMIT, || {
                let since = Some(self.known.0);
                match Connection::open(self.address, since, self.known.1.clone()) {
                    Ok(connection) => Some(Ok(connection)),
                    Err(Lost::Gone(error)) => {
                        failure = Some(error);
                        None
                    }
                    Err(lost) => Some(Err(lost)),
                }
            });
            let connection = opened
                .unwrap_or_else(|| Err(Lost::Wrong(format!("the server does not come back: {failure:?}"))))?;
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| Lost::Wrong("no connection".to_owned()))
    }

    fn step(&mut self) -> Result<(), Stop> {
        while self.unknown.is_some() {
            self.settle()?;
        }
        match self.dice.roll(100) {
            0..3 => {
                let phase = self.dice.pick(&Phase::ALL).copied();
                self.commit(phase)
            }
            3..6 => {
                self.connected()?.call(&Call::Plain(Method::LastTransaction))?;
                Ok(())
            }
            6..7 => Err(Stop::BrokenOff),
            _ => self.commit(None),
        }
    }

    /// Finds out what became of a commit whose reply was lost: the own journal tells, once a later transaction
    /// of the same client has been voted for.
    fn settle(&mut self) -> Result<(), Lost> {
        let Some(attempt) = self.unknown else { return Ok(()) };
        let journal = self.layout.journal(self.number);
        self.load_current(journal)?;
        if self.resolve_by_journal(attempt) {
            return Ok(());
        }
        let id = self.begin()?;
        let ops = vec![self.write(journal)];
        self.send_ops(&ops, id)?;
        match self.connected()?.call(&transaction(Method::Vote, id))? {
            Answer::Voted(conflicts) if conflicts.is_empty() => {
                // The lock was ours: the old connection's transaction can come no more.
                self.unknown = None;
                self.finish_attempt(ops, id)
            }
            _ => {
                self.connected()?.call(&transaction(Method::TpcAbort, id))?;
                Ok(())
            }
        }
    }

    /// Whether the newest revision of the own journal is that of the attempt.
    fn resolve_by_journal(&mut self, attempt: usize) -> bool {
        let journal = self.layout.journal(self.number);
        let events =
            self.connection.as_ref().map(|connection| connection.events.as_slice()).unwrap_or_default();
        let newest = events.iter().rev().find_map(|event| match event {
            Event::Loaded { oid, loaded: Loaded::Revision { value, serial, .. }, before: Tid::MAX }
                if *oid == journal =>
            {
                Some((*value, *serial))
            }
            _ => None,
        });
        let Some(attempt) = self.record.attempts.get_mut(attempt) else { return false };
        let is_its =
            |op: &Op| matches!((op, newest), (Op::Write { value, .. }, Some((found, _))) if *value == found);
        if attempt.ops.iter().any(is_its) {
            attempt.tid = newest.map(|(_, serial)| serial);
            self.unknown = None;
            self.commit_count.fetch_add(1, Ordering::Relaxed);
        }
        self.unknown.is_none()
    }

    fn load_current(&mut self, oid: Oid) -> Result<(), Lost> {
        self.connected()?.call(&Call::LoadBefore(LoadBefore { oid, before: Tid::MAX }))?;
        Ok(())
    }

    fn serial(&self, oid: Oid) -> Option<Tid> {
        self.connection.as_ref()?.serials.get(&oid).copied()
    }

    fn write(&mut self, oid: Oid) -> Op {
        self.stored_count += 1;
        let value = Value(self.number << 40 | self.stored_count);
        Op::Write { oid, read: self.serial(oid).unwrap_or(Tid::ZERO), value }
    }

    fn begin(&mut self) -> Result<TxnId, Lost> {
        self.transaction_count += 1;
        let id = TxnId(self.transaction_count);
        let begin = TpcBegin {
            id,
            user: (&b"stress"[..]).into(),
            description: (&b"zeo-stress"[..]).into(),
            extension: zeo_codec::Value::Dict(Vec::new()),
            tid: None,
            status: " ".into(),
        };
        self.connected()?.send(&Call::TpcBegin(begin))?;
        Ok(id)
    }

    fn send_ops(&mut self, ops: &[Op], id: TxnId) -> Result<(), Lost> {
        let connection = self.connected()?;
        for op in ops {
            match *op {
                Op::Write { oid, read: serial, value } => {
                    connection.send(&Call::Storea(Storea {
                        oid,
                        serial,
                        data: record_of(value).into(),
                        id,
                    }))?;
                }
                Op::Delete { oid, read: serial } => {
                    connection.send(&Call::DeleteObject(DeleteObject { oid, serial, id }))?;
                }
                Op::Check { oid, read: serial } => {
                    connection.send(&Call::CheckCurrentSerial(CheckCurrentSerial { oid, serial, id }))?;
                }
                Op::Undo { tid } => {
                    let undo_id = STANDARD.encode(tid.as_bytes()).into_bytes();
                    connection.send(&Call::Undoa(Undoa { undo_id: undo_id.into(), id }))?;
                }
            }
        }
        Ok(())
    }

    /// What the next transaction is to do. Everything that it reads has been loaded.
    fn plan(&mut self) -> Result<Vec<Op>, Lost> {
        let journal = self.layout.journal(self.number);
        let spare = self.layout.spare(self.number);
        let mut oids: Vec<Oid> = (0..=self.dice.roll(3))
            .map(|_| self.layout.shared(self.dice.roll(self.layout.shared_count)))
            .collect();
        oids.sort_unstable();
        oids.dedup();
        for oid in oids.iter().copied().chain([journal, spare]) {
            if self.serial(oid).is_none() {
                self.load_current(oid)?;
                if oid == spare {
                    self.is_spare_deleted = self.serial(spare).is_none();
                }
            }
        }
        let mut ops = Vec::new();
        if let Some(tid) = self.undoable.take()
            && self.dice.is_one_in(8)
        {
            ops.push(Op::Undo { tid });
        } else {
            let checked = if oids.len() > 1 && self.dice.is_one_in(4) { oids.pop() } else { None };
            ops.extend(oids.into_iter().map(|oid| self.write(oid)));
            if let Some(oid) = checked
                && let Some(read) = self.serial(oid)
            {
                ops.push(Op::Check { oid, read });
            }
            if self.dice.is_one_in(10) {
                ops.push(match self.serial(spare) {
                    Some(read) if !self.is_spare_deleted => Op::Delete { oid: spare, read },
                    _ => self.write(spare),
                });
            }
        }
        ops.push(self.write(journal));
        Ok(ops)
    }

    /// Loads that nobody waits for: their replies mix with whatever else comes.
    fn send_loads(&mut self) -> Result<(), Lost> {
        let bounds: Vec<Tid> = self.old_tids.clone();
        for _ in 0..self.dice.roll(LOAD_COUNT) {
            let oid = self.layout.shared(self.dice.roll(self.layout.shared_count));
            let old = if self.dice.is_one_in(4) { self.dice.pick(&bounds).copied() } else { None };
            let before = old.unwrap_or(Tid::MAX);
            let load = Call::LoadBefore(LoadBefore { oid, before });
            self.connected()?.send(&load)?;
        }
        Ok(())
    }

    /// Makes a transaction, or breaks the connection off in the middle of it.
    fn commit(&mut self, broken_off_at: Option<Phase>) -> Result<(), Stop> {
        let mut ops = self.plan()?;
        let id = self.begin()?;
        self.hang_up_if(broken_off_at == Some(Phase::Begun))?;
        self.send_ops(&ops, id)?;
        self.send_loads()?;
        self.hang_up_if(broken_off_at == Some(Phase::Stored))?;
        if broken_off_at == Some(Phase::Voting) {
            self.connected()?.send(&transaction(Method::Vote, id))?;
            self.hang_up_if(true)?;
        }
        let mut resolve_count = 0;
        loop {
            match self.connected()?.call(&transaction(Method::Vote, id))? {
                Answer::Voted(conflicts) if conflicts.is_empty() => break,
                Answer::Voted(conflicts) if resolve_count < RESOLVE_COUNT && self.dice.is_one_in(2) => {
                    resolve_count += 1;
                    let resolved: Vec<Op> =
                        conflicts.into_iter().map(|(oid, committed)| self.resolve(oid, committed)).collect();
                    self.send_ops(&resolved, id)?;
                    ops.extend(resolved);
                }
                _ => {
                    self.record.refused_count += 1;
                    self.connected()?.call(&transaction(Method::TpcAbort, id))?;
                    return Ok(());
                }
            }
        }
        self.send_loads()?;
        self.hang_up_if(broken_off_at == Some(Phase::Voted))?;
        if broken_off_at == Some(Phase::Finishing) {
            self.unknown = Some(self.record.attempts.len());
            self.record.attempts.push(Attempt { ops, tid: None });
            self.connected()?.send(&transaction(Method::TpcFinish, id))?;
            self.hang_up_if(true)?;
            return Ok(());
        }
        Ok(self.finish_attempt(ops, id)?)
    }

    fn resolve(&mut self, oid: Oid, committed: Tid) -> Op {
        match self.write(oid) {
            Op::Write { oid, value, .. } => Op::Write { oid, read: committed, value },
            other => other,
        }
    }

    fn hang_up_if(&mut self, is_due: bool) -> Result<(), Stop> {
        if is_due {
            self.connected()?.flush()?;
            return Err(Stop::BrokenOff);
        }
        Ok(())
    }

    /// Finishes a transaction that has been voted for.
    fn finish_attempt(&mut self, ops: Vec<Op>, id: TxnId) -> Result<(), Lost> {
        let number = self.record.attempts.len();
        self.record.attempts.push(Attempt { ops: ops.clone(), tid: None });
        self.unknown = Some(number);
        let answer = self.connected()?.call(&transaction(Method::TpcFinish, id))?;
        let Answer::Tid(tid) = answer else {
            return Err(Lost::Wrong(format!("tpc_finish answered {answer:?}")));
        };
        self.unknown = None;
        self.commit_count.fetch_add(1, Ordering::Relaxed);
        if let Some(attempt) = self.record.attempts.get_mut(number) {
            attempt.tid = Some(tid);
        }
        self.note_commit(&ops, tid);
        Ok(())
    }

    fn note_commit(&mut self, ops: &[Op], tid: Tid) {
        self.undoable = Some(tid);
        self.old_tids.push(tid);
        if self.old_tids.len() > 50 {
            self.old_tids.remove(0);
        }
        let spare = self.layout.spare(self.number);
        let Some(connection) = &mut self.connection else { return };
        for op in ops {
            match *op {
                Op::Write { oid, .. } | Op::Delete { oid, .. } => {
                    connection.serials.insert(oid, tid);
                    if oid == spare {
                        self.is_spare_deleted = matches!(op, Op::Delete { .. });
                    }
                }
                Op::Check { .. } => {}
                // Whatever that transaction changed has to be loaded again.
                Op::Undo { .. } => {
                    connection.serials.clear();
                    self.undoable = None;
                }
            }
        }
    }
}

fn transaction(method: Method, id: TxnId) -> Call<'static> {
    Call::Transaction(method, TransactionRef { id })
}
