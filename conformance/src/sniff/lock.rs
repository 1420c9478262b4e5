//! Who waits for the commit lock, as far as it shows from outside.
//!
//! One lock a storage: a client has it from the reply of its `vote` to that of its `tpc_finish` or `tpc_abort`, to a
//! failing vote, to one that leaves conflicts to the client, or to the end of the connection. The reply of a `vote` that
//! comes while another has the lock is delayed until then (protocol reference 12). So of a vote's latency the part
//! that lies before the other's release was waiting. What other clients do that the capture has not seen does not show.

use std::collections::HashMap;
use std::time::Duration;

use zeo_codec::Method;

use super::message::{Kind, Message};

/// Connections whose storage is remembered; the rest count as one storage.
const CONNECTION_COUNT_MAX: usize = 100_000;

/// What became of a lock with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// A vote was answered; it had waited so long.
    Got(Duration),
    /// The lock is free again; it was held so long.
    Released(Duration),
}

/// All locks.
#[derive(Debug, Default)]
pub struct Locks {
    /// Server and storage of each connection.
    connections: HashMap<u32, Place>,
    storages: HashMap<(String, String), Storage>,
}

#[derive(Debug, Default)]
struct Place {
    server: String,
    storage: String,
    voted: Option<Duration>,
}

#[derive(Debug, Default)]
struct Storage {
    holder: Option<(u32, Duration)>,
    released: Option<Released>,
}

#[derive(Debug, Clone, Copy)]
struct Released {
    time: Duration,
    by: u32,
}

impl Locks {
    /// Takes a message, in the order of time.
    pub fn hear(&mut self, message: &Message<'_>) -> Option<Lock> {
        let Message { time, connection, kind, method, facts, .. } = message;
        match (kind, method) {
            (Kind::Opened, _) => {
                let server =
                    message.remark.and_then(|text| text.split_once(" to ")).map(|(_, server)| server);
                let place = Place { server: server.unwrap_or_default().to_owned(), ..Place::default() };
                self.forget(*connection);
                if self.connections.len() < CONNECTION_COUNT_MAX {
                    self.connections.insert(*connection, place);
                }
                None
            }
            (Kind::Call, Some(Method::Register)) => {
                if let Some(place) = self.place(*connection) {
                    place.storage = facts.storage.clone().unwrap_or_default();
                }
                None
            }
            (Kind::Call, Some(Method::Vote)) => {
                self.place(*connection)?.voted = Some(*time);
                None
            }
            (Kind::Reply, Some(Method::Vote)) => {
                let waited = self.waited(*connection, *time)?;
                let storage = self.storage(*connection)?;
                storage.holder = Some((*connection, *time));
                if facts.conflict_count > 0 {
                    self.release(*connection, *time);
                }
                Some(Lock::Got(waited))
            }
            (Kind::Error, Some(Method::Vote)) => {
                let waited = self.waited(*connection, *time)?;
                self.release(*connection, *time);
                Some(Lock::Got(waited))
            }
            (Kind::Reply | Kind::Error, Some(Method::TpcFinish | Method::TpcAbort)) => {
                self.release(*connection, *time).map(Lock::Released)
            }
            (Kind::Ended, _) => {
                let released = self.release(*connection, *time).map(Lock::Released);
                self.forget(*connection);
                released
            }
            _ => None,
        }
    }

    fn place(&mut self, connection: u32) -> Option<&mut Place> {
        if self.connections.len() >= CONNECTION_COUNT_MAX && !self.connections.contains_key(&connection) {
            return None;
        }
        Some(self.connections.entry(connection).or_default())
    }

    fn storage(&mut self, connection: u32) -> Option<&mut Storage> {
        let place = self.connections.get(&connection)?;
        let key = (place.server.clone(), place.storage.clone());
        if self.storages.len() >= CONNECTION_COUNT_MAX && !self.storages.contains_key(&key) {
            return None;
        }
        Some(self.storages.entry(key).or_default())
    }

    /// How long the vote that is answered now has waited.
    fn waited(&mut self, connection: u32, answered: Duration) -> Option<Duration> {
        let voted = self.connections.get_mut(&connection)?.voted.take()?;
        let released = self.storage(connection)?.released;
        let others = released.filter(|released| released.by != connection && released.time <= answered);
        Some(others.map_or(Duration::ZERO, |released| released.time.saturating_sub(voted)))
    }

    fn release(&mut self, connection: u32, time: Duration) -> Option<Duration> {
        let storage = self.storage(connection)?;
        let (_, since) = storage.holder.take_if(|(holder, _)| *holder == connection)?;
        storage.released = Some(Released { time, by: connection });
        Some(time.saturating_sub(since))
    }

    fn forget(&mut self, connection: u32) {
        self.connections.remove(&connection);
    }
}
