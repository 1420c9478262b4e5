//! Those who behave: they load objects, and what they have to wait is measured.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use zeo_codec::call::{LoadBefore, Storea, TpcBegin, TransactionRef, TxnId};
use zeo_codec::{Call, Method, Oid, Tid};

use super::SiegeError;
use crate::stress::connection::{Answer, Connection, Lost};
use crate::stress::data::record_of;
use crate::stress::record::{Serials, Value};

/// How many load at the same time.
const GUEST_COUNT: usize = 2;
/// Objects that they load.
pub(super) const OBJECT_COUNT: u64 = 100;

/// How long something took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half of all were faster.
    pub median: Duration,
    /// All but one of a hundred were faster.
    pub p99: Duration,
    /// How many were measured.
    pub count: u64,
}

impl Latency {
    /// Of microseconds.
    pub(super) fn of(micros: &Histogram<u64>) -> Self {
        Self {
            median: Duration::from_micros(micros.value_at_quantile(0.5)),
            p99: Duration::from_micros(micros.value_at_quantile(0.99)),
            count: micros.len(),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0?} and {:.0?} ({} of them)", self.median, self.p99, self.count)
    }
}

/// Begins a transaction.
pub(super) fn begin(id: TxnId) -> Call<'static> {
    Call::TpcBegin(TpcBegin {
        id,
        user: (&b"siege"[..]).into(),
        description: (&b""[..]).into(),
        extension: zeo_codec::Value::Dict(Vec::new()),
        tid: None,
        status: " ".into(),
    })
}

/// Commits objects in one transaction; its tid.
pub(super) fn commit(
    connection: &mut Connection,
    id: u64,
    oids: impl Iterator<Item = Oid>,
) -> Result<Tid, SiegeError> {
    let id = TxnId(id);
    connection.send(&begin(id))?;
    for oid in oids {
        let serial = connection.serials.get(&oid).copied().unwrap_or(Tid::ZERO);
        let data = record_of(Value(oid.to_u64())).into();
        connection.send(&Call::Storea(Storea { oid, serial, data, id }))?;
    }
    let transaction = TransactionRef { id };
    match connection.call(&Call::Transaction(Method::Vote, transaction))? {
        Answer::Voted(conflicts) if conflicts.is_empty() => {}
        other => return Err(Lost::Wrong(format!("the vote answered {other:?}")).into()),
    }
    match connection.call(&Call::Transaction(Method::TpcFinish, transaction))? {
        Answer::Tid(tid) => Ok(tid),
        other => Err(Lost::Wrong(format!("tpc_finish answered {other:?}")).into()),
    }
}

/// Makes the objects that are loaded.
pub(super) fn set_up(address: SocketAddr) -> Result<(), SiegeError> {
    let mut connection = Connection::open(address, None, Serials::new())?;
    commit(&mut connection, 1, (0..OBJECT_COUNT).map(Oid::from_u64))?;
    Ok(())
}

/// Loads for this time.
pub(super) fn measure(address: SocketAddr, time: Duration) -> Result<Latency, SiegeError> {
    let end = Instant::now() + time;
    measure_while(address, || Instant::now() < end)
}

/// Loads until `is_over`.
pub(super) fn measure_until(address: SocketAddr, is_over: &AtomicBool) -> Result<Latency, SiegeError> {
    measure_while(address, || !is_over.load(Ordering::Relaxed))
}

fn measure_while(address: SocketAddr, goes_on: impl Fn() -> bool + Sync) -> Result<Latency, SiegeError> {
    let loads = || -> Result<Vec<u64>, SiegeError> {
        let mut connection = Connection::open(address, None, Serials::new())?;
        let mut micros = Vec::new();
        while goes_on() {
            let oid = Oid::from_u64(micros.len() as u64 % OBJECT_COUNT);
            let since = Instant::now();
            connection.call(&Call::LoadBefore(LoadBefore { oid, before: Tid::MAX }))?;
            micros.push(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
            connection.events.clear();
        }
        Ok(micros)
    };
    let mut all = histogram()?;
    std::thread::scope(|scope| {
        let guests: Vec<_> = (0..GUEST_COUNT).map(|_| scope.spawn(loads)).collect();
        for guest in guests {
            let micros = guest.join().map_err(|_| SiegeError::Panicked)??;
            micros.into_iter().for_each(|micros| all.saturating_record(micros));
        }
        Ok::<_, SiegeError>(())
    })?;
    Ok(Latency::of(&all))
}

/// For microseconds, up to a minute.
pub(super) fn histogram() -> Result<Histogram<u64>, SiegeError> {
    let histogram = Histogram::new_with_bounds(1, 60_000_000, 3);
    Ok(histogram.map_err(|error| std::io::Error::other(error.to_string()))?)
}
