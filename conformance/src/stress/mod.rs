//! Many clients at once, every message of theirs written down, and the record judged by a checker that knows
//! nothing of the server.
//!
//! Clients change the same few objects in random transactions, with loads under way at every step; they resolve
//! conflicts or give up, check serials, delete and create, undo, ask for old revisions, hang up in each phase of
//! a commit and come back. Beside them the database is packed, and the server may be killed and started again.
//! [`record`] is what clients write down, [`mod@check`] the judge: it puts the commits in order, derives from the
//! transactions what every object must hold when, and compares each stream with that (rules S1 and S3 to S8 of the
//! ordering, lost updates, durability). S9 shows itself by the run going on: every transaction that is broken off
//! holds the commit lock or waits for it.
//!
//! From the bottom up: [`record`], [`data`], [`connection`], [`worker`], [`mod@check`], and here the run.

pub mod check;
pub mod connection;
pub mod data;
pub mod record;
pub mod soak;
pub mod verify;
pub mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeo_codec::call::{LoadBefore, Pack, Storea, TpcBegin, TransactionRef, TxnId};
use zeo_codec::{Call, Method, Oid, Tid};

use self::check::{Finding, Leniency, check};
use self::connection::{Answer, Connection, Lost};
use self::record::{Attempt, Event, Layout, Op, Record, Serials, Value};
use self::worker::Worker;
use crate::config::{Framing, ServerConfig};
use crate::process::ProcessError;
use crate::server::{Server, ServerCommand, free_port};

/// How often a pack is tried again that failed.
const PACK_ATTEMPTS: u32 = 200;

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub server: ServerCommand,
    /// How messages are encoded.
    pub framing: Framing,
    /// Where its files go.
    pub dir: PathBuf,
    /// Number of clients.
    pub client_count: u64,
    /// Number of objects that they fight for.
    pub object_count: u64,
    /// Number of commits after which they stop.
    pub commit_count: u64,
    /// How often the server is killed and started again, spread over the run.
    pub kill_count: u64,
    /// How often the server is stopped (SIGTERM) and started again, likewise.
    pub restart_count: u64,
    /// How often the database is packed, spread over the run.
    pub pack_count: u64,
    /// The same number gives the same dice, though not the same run.
    pub seed: u64,
    /// What is not held against the server.
    pub leniency: Leniency,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Rules that were broken.
    pub findings: Vec<Finding>,
    /// Transactions that were committed.
    pub commit_count: u64,
    /// Transactions that were refused.
    pub refused_count: u64,
    /// Connections that clients broke off inside a transaction.
    pub broken_off_count: u64,
    /// How often a client that came back was told what it had missed, and so kept its cache.
    pub verified_count: u64,
    /// Events written down.
    pub event_count: u64,
    /// Packs that went through.
    pub pack_count: u64,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StressError {
    /// The server could not be started, or did not end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A client cannot go on.
    #[error("{0}")]
    Lost(#[from] Lost),
    /// The server's file is damaged.
    #[error("the file that is left: {0}")]
    Damaged(#[from] zeo_server::storage::StorageError),
    /// A thread of ours panicked.
    #[error("a client's thread panicked")]
    Panicked,
}

/// Runs a server and clients, and judges the record.
///
/// # Errors
/// If the server cannot be run, or breaks the protocol; broken rules are no error but the outcome.
pub fn run(plan: &Plan) -> Result<Outcome, StressError> {
    let config = ServerConfig {
        invalidation_queue_size: Some(1_000),
        port: Some(free_port()),
        ..ServerConfig::new(plan.framing, plan.dir.join("Data.fs"))
    };
    let start = |number: u64| Server::start(&format!("server-{number}"), &plan.server, &config, &plan.dir);
    let first = start(0)?;
    let address = first.address();
    let mut server = Some(first);
    let layout = Layout { client_count: plan.client_count, shared_count: plan.object_count };
    let setup = set_up(address, layout)?;

    let commit_count = Arc::new(AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let (mut records, pack_count) = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=plan.client_count)
            .map(|number| {
                let worker = Worker::new(number, layout, address, plan.seed, Arc::clone(&commit_count));
                scope.spawn(|| work(worker, plan.commit_count))
            })
            .collect();
        let packs = scope.spawn(|| pack_now_and_then(plan, address, &commit_count, &is_over));
        for (number, Interruption { at, is_kill }) in (1..).zip(interruptions(plan)) {
            while commit_count.load(Ordering::Relaxed) < at
                && !workers.iter().all(|worker| worker.is_finished())
            {
                std::thread::sleep(Duration::from_millis(2));
            }
            match server.take() {
                Some(server) if !is_kill => server.stop()?,
                // Dropping kills, and the next one needs its port.
                server => drop(server),
            }
            server = Some(start(number)?);
        }
        let workers: Vec<Worker> = workers
            .into_iter()
            .map(|thread| thread.join().map_err(|_| StressError::Panicked)?)
            .collect::<Result<_, _>>()?;
        is_over.store(true, Ordering::Relaxed);
        let pack_count = packs.join().map_err(|_| StressError::Panicked)?;
        // Nothing more is committed now: everybody must have been told everything.
        let records = workers.into_iter().map(|worker| worker.finish().map_err(StressError::from));
        Ok::<_, StressError>((records.collect::<Result<Vec<Record>, _>>()?, pack_count))
    })?;
    records.insert(0, setup);
    let (last, final_tid) = look_back(address, layout)?;
    records.push(last);
    server.map_or(Ok(()), Server::stop)?;

    // One whose reply was lost may have gone through.
    let leniency = Leniency { packed: plan.pack_count > 0, ..plan.leniency };
    let count = |of: fn(&Record) -> u64| records.iter().map(of).sum();
    Ok(Outcome {
        findings: check(&records, final_tid, leniency),
        commit_count: count(|record| {
            record.attempts.iter().filter(|attempt| attempt.tid.is_some()).count() as u64
        }),
        refused_count: count(|record| record.refused_count),
        broken_off_count: count(|record| record.broken_off_count),
        verified_count: count(|record| {
            let events = record.connections.iter().flatten();
            events.filter(|event| matches!(event, Event::CaughtUp { oids: Some(_), .. })).count() as u64
        }),
        event_count: count(|record| record.connections.iter().map(|events| events.len() as u64).sum()),
        pack_count,
    })
}

/// The server goes, and comes back.
struct Interruption {
    /// After so many commits.
    at: u64,
    is_kill: bool,
}

/// All of a run, in order.
fn interruptions(plan: &Plan) -> Vec<Interruption> {
    let spread = |count: u64, is_kill: bool| {
        (1..=count).map(move |number| Interruption { at: plan.commit_count * number / (count + 1), is_kill })
    };
    let mut all: Vec<_> = spread(plan.kill_count, true).chain(spread(plan.restart_count, false)).collect();
    all.sort_by_key(|interruption| interruption.at);
    all
}

fn work(mut worker: Worker, goal: u64) -> Result<Worker, StressError> {
    worker.work(goal)?;
    Ok(worker)
}

/// Stores a root and all objects.
pub(crate) fn set_up(address: SocketAddr, layout: Layout) -> Result<Record, Lost> {
    let mut connection = Connection::open(address, None, Serials::new())?;
    let id = TxnId(1);
    connection.send(&Call::TpcBegin(TpcBegin {
        id,
        user: (&b"stress"[..]).into(),
        description: (&b"set up"[..]).into(),
        extension: zeo_codec::Value::Dict(Vec::new()),
        tid: None,
        status: " ".into(),
    }))?;
    let root = data::root_of(layout.oids());
    connection.send(&Call::Storea(Storea { oid: Oid::ZERO, serial: Tid::ZERO, data: root.into(), id }))?;
    let mut ops = vec![Op::Write { oid: Oid::ZERO, read: Tid::ZERO, value: Value(0) }];
    for oid in layout.oids() {
        let value = Value(oid.to_u64());
        let data = data::record_of(value).into();
        connection.send(&Call::Storea(Storea { oid, serial: Tid::ZERO, data, id }))?;
        ops.push(Op::Write { oid, read: Tid::ZERO, value });
    }
    let transaction = TransactionRef { id };
    connection.call(&Call::Transaction(Method::Vote, transaction))?;
    match connection.call(&Call::Transaction(Method::TpcFinish, transaction))? {
        Answer::Tid(tid) => {
            Ok(Record { attempts: vec![Attempt { ops, tid: Some(tid) }], ..Record::default() })
        }
        other => Err(Lost::Wrong(format!("setting up failed: {other:?}"))),
    }
}

/// Loads the last state of every object, as a client that comes afterwards.
pub(crate) fn look_back(address: SocketAddr, layout: Layout) -> Result<(Record, Tid), Lost> {
    let mut connection = Connection::open(address, None, Serials::new())?;
    for oid in layout.oids() {
        connection.send(&Call::LoadBefore(LoadBefore { oid, before: Tid::MAX }))?;
    }
    match connection.call(&Call::Plain(Method::LastTransaction))? {
        Answer::Tid(tid) => {
            let connections = vec![std::mem::take(&mut connection.events)];
            Ok((Record { connections, ..Record::default() }, tid))
        }
        other => Err(Lost::Wrong(format!("lastTransaction answered {other:?}"))),
    }
}

/// Packs as often as planned, up to now; returns how often it went through.
fn pack_now_and_then(
    plan: &Plan,
    address: SocketAddr,
    commit_count: &AtomicU64,
    is_over: &AtomicBool,
) -> u64 {
    let mut done_count = 0;
    for pack in 1..=plan.pack_count {
        let at = plan.commit_count * pack / (plan.pack_count + 1);
        while commit_count.load(Ordering::Relaxed) < at {
            if is_over.load(Ordering::Relaxed) {
                return done_count;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let call = Call::Pack(Pack { time, wait: Some(true.into()) });
        for _ in 0..PACK_ATTEMPTS {
            let packed = Connection::open(address, None, Serials::new())
                .and_then(|mut connection| connection.call(&call));
            if matches!(packed, Ok(Answer::Done)) {
                done_count += 1;
                break;
            }
            // The server was killed, or is not there yet; or somebody has undone what the pack was about to remove.
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    done_count
}
