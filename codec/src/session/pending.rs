//! Which method a reply belongs to.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;

use crate::call::Method;
use crate::emit::Emit;
use crate::envelope::MsgId;
use crate::pickle::{PickleFlavor, PickleWriter};
use crate::{Oid, Tid};

/// The calls of one connection that wait for their replies, bounded.
#[derive(Debug)]
pub struct PendingCalls {
    calls: BTreeMap<Key, Waiting>,
    count: usize,
    count_max: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Int(i64),
    Load(Oid, Tid),
    /// The id in its pickled form.
    Other(Vec<u8>),
}

#[derive(Debug)]
struct Waiting {
    method: Option<Method>,
    /// A peer may send the same id again before it is answered.
    count: usize,
}

impl PendingCalls {
    /// At most `count_max` calls.
    #[must_use]
    pub const fn new(count_max: usize) -> Self {
        Self { calls: BTreeMap::new(), count: 0, count_max }
    }

    /// Number of calls that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Notes a call; `None` stands for a method that we do not know. Gives `false` at the bound.
    #[must_use]
    pub fn insert(&mut self, id: &MsgId<'_>, method: Option<Method>) -> bool {
        if self.count >= self.count_max {
            return false;
        }
        self.count += 1;
        let waiting = self.calls.entry(Key::from(id)).or_insert(Waiting { method, count: 0 });
        waiting.method = method;
        waiting.count += 1;
        true
    }

    /// Takes the call that `id` answers. `Some(None)` is a call of an unknown method, `None` no call at all.
    pub fn take(&mut self, id: &MsgId<'_>) -> Option<Option<Method>> {
        let Entry::Occupied(mut entry) = self.calls.entry(Key::from(id)) else { return None };
        let waiting = entry.get_mut();
        let method = waiting.method;
        waiting.count -= 1;
        self.count -= 1;
        if waiting.count == 0 {
            entry.remove();
        }
        Some(method)
    }
}

impl From<&MsgId<'_>> for Key {
    fn from(id: &MsgId<'_>) -> Self {
        match id {
            MsgId::Int(number) => Self::Int(*number),
            MsgId::Load(oid, tid) => Self::Load(*oid, *tid),
            MsgId::Other(value) => {
                let mut bytes = Vec::new();
                // Everything that was decoded can be pickled again, but for names with newlines, which only
                // a hostile peer sends; those share a key.
                let _ = PickleWriter::new(&mut bytes, PickleFlavor::Python3).value(value);
                Self::Other(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn finds_methods_by_any_id_and_is_bounded() {
        let mut pending = PendingCalls::new(3);
        let load = MsgId::Load(Oid::ZERO, Tid::MAX);
        let text = MsgId::Other(Value::from("seven"));
        assert!(pending.insert(&load, Some(Method::LoadBefore)));
        assert!(pending.insert(&load, Some(Method::LoadBefore)));
        assert!(pending.insert(&text, None));
        assert!(!pending.insert(&MsgId::Int(1), Some(Method::Ping)));
        assert_eq!(pending.take(&load), Some(Some(Method::LoadBefore)));
        assert_eq!(pending.take(&text), Some(None));
        assert_eq!(pending.take(&text), None);
        assert_eq!(pending.take(&load), Some(Some(Method::LoadBefore)));
        assert!(pending.is_empty());
    }
}
