//! Calls that wait for their replies, with what the reply's line needs of them.

use std::collections::HashMap;
use std::time::Duration;

use zeo_codec::{Method, MsgId, Oid, Tid};

/// More calls of one connection are not kept; their replies go without a name.
const COUNT_MAX: usize = 4096;
/// Ids that are neither numbers nor those of a `loadBefore` are kept as text of at most this length.
const OTHER_LEN_MAX: usize = 64;

#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Number(i64),
    Load(Oid, Tid),
    Other(String),
}

/// What is known of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) time: Duration,
    pub(super) method: Option<Method>,
    pub(super) oid: Option<Oid>,
    pub(super) txn: Option<u64>,
    /// The same id may be sent again before it is answered.
    count: u32,
}

/// The calls of one connection.
#[derive(Debug, Default)]
pub(super) struct Pending {
    calls: HashMap<Key, Waiting>,
}

impl Pending {
    pub(super) fn insert(
        &mut self,
        id: &MsgId<'_>,
        time: Duration,
        method: Option<Method>,
        oid: Option<Oid>,
        txn: Option<u64>,
    ) {
        let Some(key) = key(id) else { return };
        if let Some(waiting) = self.calls.get_mut(&key) {
            waiting.count = waiting.count.saturating_add(1);
        } else if self.calls.len() < COUNT_MAX {
            self.calls.insert(key, Waiting { time, method, oid, txn, count: 1 });
        }
    }

    pub(super) fn take(&mut self, id: &MsgId<'_>) -> Option<Waiting> {
        let key = key(id)?;
        let waiting = self.calls.get_mut(&key)?;
        let taken = *waiting;
        waiting.count -= 1;
        if waiting.count == 0 {
            self.calls.remove(&key);
        }
        Some(taken)
    }
}

fn key(id: &MsgId<'_>) -> Option<Key> {
    match id {
        MsgId::Int(number) => Some(Key::Number(*number)),
        MsgId::Load(oid, tid) => Some(Key::Load(*oid, *tid)),
        // A precision, so that no stranger makes us write more than that.
        MsgId::Other(value) => {
            let text = format!("{value:.32}");
            (text.len() <= OTHER_LEN_MAX).then_some(Key::Other(text))
        }
    }
}
