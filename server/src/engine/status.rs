//! Counters of a storage, and what `server_status` and `ruok` tell of them (protocol reference 2.4).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use zeo_codec::{Tid, Value};

use crate::limits::Reached;

/// Counters since the start of the server.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) connections: Counter,
    pub(crate) loads: Counter,
    pub(crate) stores: Counter,
    pub(crate) commits: Counter,
    pub(crate) aborts: Counter,
    pub(crate) active_transactions: Counter,
    pub(crate) conflicts: Counter,
    /// Clients of ZEO 4 that verify their caches.
    pub(crate) verifying: Counter,
}

/// A number that threads count up and down without waiting for each other.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The status of one storage, keys in Python's order.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StorageStatus {
    connections: u64,
    loads: u64,
    stores: u64,
    commits: u64,
    aborts: u64,
    active_txns: u64,
    lock_time: Option<f64>,
    conflicts: u64,
    conflicts_resolved: u64,
    start: String,
    waiting: u64,
    #[serde(rename = "timeout-thread-is-alive")]
    timeout_thread_is_alive: TimeoutThread,
    #[serde(rename = "last-transaction")]
    last_transaction: String,
    #[serde(skip)]
    verifying_count: u64,
    /// Not among Python's keys, and so only there if there is something to tell.
    #[serde(rename = "limits-reached", skip_serializing_if = "BTreeMap::is_empty")]
    limits_reached: BTreeMap<&'static str, u64>,
}

/// Python's server tells whether its timeout thread runs, or `"stub"` without `transaction-timeout`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
enum TimeoutThread {
    Alive(bool),
    Stub(&'static str),
}

/// What is not a counter.
#[derive(Debug)]
pub(crate) struct Circumstances<'s> {
    pub(crate) start: &'s str,
    pub(crate) lock_held_since: Option<SystemTime>,
    pub(crate) waiting_count: usize,
    pub(crate) has_timeout: bool,
    pub(crate) last_tid: Tid,
}

impl StorageStatus {
    pub(crate) fn new(stats: &Stats, reached: &Reached, circumstances: &Circumstances<'_>) -> Self {
        let since_epoch =
            |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self {
            connections: stats.connections.get(),
            loads: stats.loads.get(),
            stores: stats.stores.get(),
            commits: stats.commits.get(),
            aborts: stats.aborts.get(),
            active_txns: stats.active_transactions.get(),
            lock_time: circumstances.lock_held_since.map(since_epoch),
            conflicts: stats.conflicts.get(),
            conflicts_resolved: 0,
            start: circumstances.start.to_owned(),
            waiting: circumstances.waiting_count as u64,
            timeout_thread_is_alive: if circumstances.has_timeout {
                TimeoutThread::Alive(true)
            } else {
                TimeoutThread::Stub("stub")
            },
            last_transaction: circumstances.last_tid.to_string(),
            verifying_count: stats.verifying.get(),
            limits_reached: reached.all().map(|(limit, count)| (limit.name(), count)).collect(),
        }
    }

    /// The lines of a storage in the monitor's report (`ZEO/monitor.py:StorageStats.dump`, 4.3.1).
    pub(crate) fn monitor_lines(&self, name: &str) -> String {
        let held = self.lock_time.map(|since| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            format!("Commit lock held for: {:.0}\n", (now - since).max(0.0).trunc())
        });
        let limits: String = self
            .limits_reached
            .iter()
            .map(|(name, count)| format!("Limit reached, {name}: {count}\n"))
            .collect();
        format!(
            "Storage: {name}\nServer started: {}\nClients: {}\nClients verifying: {}\nActive transactions: {}\n{}\
             Commits: {}\nAborts: {}\nLoads: {}\nStores: {}\nConflicts: {}\nConflicts resolved: {}\n{limits}\n",
            self.start,
            self.connections,
            self.verifying_count,
            self.active_txns,
            held.unwrap_or_default(),
            self.commits,
            self.aborts,
            self.loads,
            self.stores,
            self.conflicts,
            self.conflicts_resolved,
        )
    }

    /// What `server_status` returns to clients of ZEO 4, which have one key more (protocol reference 2.4).
    pub(crate) fn into_old_value(self) -> Value<'static> {
        let verifying_count = self.verifying_count;
        let Value::Dict(mut items) = self.into_value() else { return Value::None };
        items.insert(6, ("verifying_clients".into(), verifying_count.into()));
        Value::Dict(items)
    }

    /// The dictionary that `server_status` returns.
    pub(crate) fn into_value(self) -> Value<'static> {
        let pair = |key: &'static str, value: Value<'static>| (Value::from(key), value);
        let mut items = vec![
            pair("connections", self.connections.into()),
            pair("loads", self.loads.into()),
            pair("stores", self.stores.into()),
            pair("commits", self.commits.into()),
            pair("aborts", self.aborts.into()),
            pair("active_txns", self.active_txns.into()),
            pair("lock_time", self.lock_time.map_or(Value::None, Value::Float)),
            pair("conflicts", self.conflicts.into()),
            pair("conflicts_resolved", self.conflicts_resolved.into()),
            pair("start", self.start.into()),
            pair("waiting", self.waiting.into()),
            pair(
                "timeout-thread-is-alive",
                match self.timeout_thread_is_alive {
                    TimeoutThread::Alive(bit) => bit.into(),
                    TimeoutThread::Stub(text) => text.into(),
                },
            ),
            pair("last-transaction", self.last_transaction.into()),
        ];
        if !self.limits_reached.is_empty() {
            let reached = self.limits_reached.into_iter().map(|(name, count)| (name.into(), count.into()));
            items.push(pair("limits-reached", Value::Dict(reached.collect())));
        }
        Value::Dict(items)
    }
}

/// The JSON of `ruok`: every storage's status by its name.
pub(crate) fn ruok_json(storages: &BTreeMap<String, StorageStatus>) -> String {
    // Maps with text keys and plain values always have a JSON form.
    serde_json::to_string(storages).unwrap_or_else(|_| "{}".to_owned())
}
