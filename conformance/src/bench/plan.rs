//! Which workloads are measured, and for how long.

use std::fmt;
use std::time::Duration;

use super::data::{LARGE, SMALL, Set};
use super::window::Pace;

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// `loadBefore` of random objects.
    Loads {
        /// Connections at the same time.
        connection_count: usize,
        /// Requests under way on each.
        depth: usize,
        /// Which objects.
        set: Set,
        /// Whether server and load generator have one processor together.
        is_on_one_core: bool,
    },
    /// Transactions of small objects.
    Commits {
        /// Clients at the same time, with objects of their own.
        client_count: usize,
        /// Objects of each transaction.
        object_count: usize,
    },
    /// Nine loads for each commit of one object, one at a time.
    Mixture {
        /// Connections at the same time.
        connection_count: usize,
    },
    /// Commits of one object, one at a time, of which others hear.
    Announcements {
        /// Connections that hear of them.
        listener_count: usize,
    },
    /// Connecting, registering and hanging up.
    Connects {
        /// Clients that do so at the same time.
        client_count: usize,
    },
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loads { connection_count, depth, set, is_on_one_core } => {
                let size = if *set == SMALL { "256 B" } else { "16 KiB" };
                let cores = if *is_on_one_core { ", one core" } else { "" };
                write!(f, "loads {size}, {connection_count} x {depth}{cores}")
            }
            Self::Commits { client_count, object_count } => {
                write!(f, "commits of {object_count}, {client_count} x")
            }
            Self::Mixture { connection_count } => {
                write!(f, "90% loads, 10% commits, {connection_count} x")
            }
            Self::Announcements { listener_count } => {
                write!(f, "tpc_finish sent until the last of {listener_count} listeners knows")
            }
            Self::Connects { client_count } => write!(f, "connect and register, {client_count} x"),
        }
    }
}

impl Workload {
    /// All workloads, those that leave the objects as they are first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let loads = |connection_count, depth, set| Self::Loads {
            connection_count,
            depth,
            set,
            is_on_one_core: false,
        };
        let mut all = Vec::new();
        for set in [SMALL, LARGE] {
            for connection_count in [1, 8] {
                all.extend([1, 16].map(|depth| loads(connection_count, depth, set)));
            }
        }
        all.push(loads(8, 4, LARGE));
        all.push(Self::Loads { connection_count: 1, depth: 1, set: SMALL, is_on_one_core: true });
        all.push(Self::Connects { client_count: 8 });
        for client_count in [1, 8] {
            for object_count in [1, 10, 100] {
                all.push(Self::Commits { client_count, object_count });
            }
        }
        all.push(Self::Mixture { connection_count: 8 });
        all.extend([50, 1_000].map(|listener_count| Self::Announcements { listener_count }));
        all
    }

    /// How many connections it has at the same time that load, commit or register.
    #[must_use]
    pub fn connection_count(self) -> usize {
        match self {
            Self::Loads { connection_count, .. } | Self::Mixture { connection_count } => connection_count,
            Self::Commits { client_count, .. } | Self::Connects { client_count } => client_count,
            Self::Announcements { .. } => 1,
        }
    }
}

/// How long everything takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// For one measurement.
    pub pace: Pace,
    /// Turns that each server has at each workload.
    pub round_count: usize,
    /// Starts that are timed.
    pub start_count: usize,
}

impl Schedule {
    /// About three minutes for two servers.
    pub const FULL: Self = Self {
        pace: Pace { warm_up: Duration::from_millis(100), window: Duration::from_millis(500) },
        round_count: 5,
        start_count: 5,
    };
    /// About twenty seconds.
    pub const QUICK: Self = Self {
        pace: Pace { warm_up: Duration::from_millis(50), window: Duration::from_millis(200) },
        round_count: 1,
        start_count: 1,
    };
}
