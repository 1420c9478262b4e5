//! Which method a reply belongs to.

use alloc::vec::Vec;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::call::Method;
use crate::emit::Emit;
use crate::envelope::MsgId;
use crate::limits::Limits;
use crate::pickle::{PickleFlavor, PickleWriter};
use crate::{Oid, Tid};

/// The calls of one connection that wait for their replies, bounded in number and in the length of their ids.
#[derive(Debug)]
pub struct PendingCalls {
    calls: HashMap<Key, Waiting>,
    count: usize,
    count_max: usize,
    id_bytes_max: usize,
}

/// Why a call is not noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNoted {
    /// As many wait as [`Limits::pending_count`] allows.
    #[error("too many calls without a reply")]
    TooMany,
    /// Its id is longer than [`Limits::id_bytes`].
    #[error("the id of a call is too long: {len} bytes")]
    LongId {
        /// Its length, pickled.
        len: usize,
    },
}

#[derive(Debug, PartialEq, Eq, Hash)]
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
    /// Within the bounds for calls and ids.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let Limits { pending_count: count_max, id_bytes: id_bytes_max, .. } = *limits;
        Self { calls: HashMap::new(), count: 0, count_max, id_bytes_max }
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

    /// Notes a call; `None` stands for a method that we do not know.
    ///
    /// # Errors
    /// [`NotNoted`] at the bounds: its reply will be one to no call at all.
    pub fn insert(&mut self, id: &MsgId<'_>, method: Option<Method>) -> Result<(), NotNoted> {
        if self.count >= self.count_max {
            return Err(NotNoted::TooMany);
        }
        let key = Key::from(id);
        if let Key::Other(bytes) = &key
            && bytes.len() > self.id_bytes_max
        {
            return Err(NotNoted::LongId { len: bytes.len() });
        }
        self.count += 1;
        let waiting = self.calls.entry(key).or_insert(Waiting { method, count: 0 });
        waiting.method = method;
        waiting.count += 1;
        Ok(())
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

    fn bounded(pending_count: usize, id_bytes: usize) -> PendingCalls {
        PendingCalls::new(&Limits { pending_count, id_bytes, ..Limits::DEFAULT })
    }

    /// What a hostile client may call its calls.
    #[test]
    fn a_long_id_is_not_kept_whatever_it_is_made_of() {
        let mut pending = bounded(100, 1000);
        let text = "x".repeat(1000);
        let nested = (0..100).fold(Value::None, |inner, _| Value::Tuple([inner, Value::Int(1)].into()));
        for (value, is_kept) in [
            (Value::from(&text[..900]), true),
            (Value::from(text.as_str()), false),
            (Value::Bytes(text.as_bytes().into()), false),
            (Value::Tuple([Value::from("short"), Value::from(text.as_str())].into()), false),
            (nested.clone(), true),
            (Value::Tuple(alloc::vec![nested; 5]), false),
        ] {
            let id = MsgId::Other(value);
            let noted = pending.insert(&id, Some(Method::Ping));
            assert!(matches!(
                (noted, is_kept),
                (Ok(()), true) | (Err(NotNoted::LongId { len: 1001.. }), false)
            ));
            assert_eq!(pending.take(&id).is_some(), is_kept);
        }
        assert!(pending.is_empty() && pending.calls.is_empty());
    }

    #[test]
    fn finds_methods_by_any_id_and_is_bounded() {
        let mut pending = bounded(3, 16);
        let load = MsgId::Load(Oid::ZERO, Tid::MAX);
        let text = MsgId::Other(Value::from("seven"));
        pending.insert(&load, Some(Method::LoadBefore)).unwrap();
        pending.insert(&load, Some(Method::LoadBefore)).unwrap();
        pending.insert(&text, None).unwrap();
        assert_eq!(pending.insert(&MsgId::Int(1), Some(Method::Ping)), Err(NotNoted::TooMany));
        assert_eq!(pending.take(&load), Some(Some(Method::LoadBefore)));
        assert_eq!(pending.take(&text), Some(None));
        assert_eq!(pending.take(&text), None);
        assert_eq!(pending.take(&load), Some(Some(Method::LoadBefore)));
        assert!(pending.is_empty());
    }
}
