//! The answers to `undoLog` and `undoInfo`: dicts of what a storage has kept of its transactions.
//!
//! They may read much of a file, so they are computed beside the connection (see [`super::job`]). How much an answer
//! holds is bounded; one that would exceed the bound is an error, for part of it would look like all.
//! Sources: `FileStorage.py:undoLog`, `UndoSearch`, `UndoLogCompatible.py`, ZODB 6.4.

use zeo_codec::{Tid, Value};

use super::error::CallError;
use super::extension::{self, Items};
use super::undo_filter::Filter;
use super::undo_id;
use crate::storage::View;
use crate::storage::past::PastTransaction;
use crate::storage::tid::unix_seconds_from_tid;

/// A list of dicts that does not grow beyond its bound.
pub(super) struct Answer {
    pub(super) entries: Vec<Value<'static>>,
    len: usize,
    bytes_max: usize,
}

impl Answer {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { entries: Vec::new(), len: 0, bytes_max }
    }

    pub(super) fn push(&mut self, items: Items) -> Result<(), CallError> {
        self.len += size_of::<Value<'_>>()
            + items.iter().map(|(key, value)| footprint(key) + footprint(value)).sum::<usize>();
        if self.len > self.bytes_max {
            return Err(CallError::AnswerTooLarge(self.bytes_max));
        }
        self.entries.push(Value::Dict(items));
        Ok(())
    }
}

/// What a value takes in memory, roughly.
fn footprint(value: &Value<'_>) -> usize {
    size_of::<Value<'_>>()
        + match value {
            Value::Bytes(bytes) | Value::Native(bytes) | Value::ByteArray(bytes) | Value::Long(bytes) => {
                bytes.len()
            }
            Value::Text(text) => text.len(),
            Value::Tuple(items) | Value::List(items) | Value::Set(items) | Value::FrozenSet(items) => {
                items.iter().map(footprint).sum()
            }
            Value::Dict(items) => items.iter().map(|(key, value)| footprint(key) + footprint(value)).sum(),
            _ => 0,
        }
}

/// `undoLog(first, last)` with a filter: newest first, from the `first`th that passes the filter to the `last`th; a
/// negative `last` is minus the number of entries. It ends at the first transaction that has been packed. The answer
/// takes `bytes_max` at most.
pub(crate) fn undo_log(
    view: &dyn View,
    first: i64,
    last: i64,
    filter: &Filter,
    bytes_max: usize,
) -> Result<Value<'static>, CallError> {
    let last = if last < 0 { first.saturating_sub(last) } else { last };
    let mut answer = Answer::new(bytes_max);
    let mut place = view.end_place();
    let mut found_count = 0;
    while found_count < last {
        let Some(transaction) = view.transaction_before(place)? else { break };
        place = transaction.place;
        if place < view.undoable_place() {
            break;
        }
        match transaction.status {
            b' ' => {}
            b'p' => break,
            _ => continue,
        }
        let entry = undo_entry(&transaction);
        if filter.passes(&entry)? {
            if found_count >= first {
                answer.push(entry)?;
            }
            found_count += 1;
        }
    }
    Ok(Value::List(answer.entries))
}

/// The description of a transaction; the items of its extension win. An extension that cannot be decoded is left out.
fn undo_entry(transaction: &PastTransaction) -> Items {
    let mut entry: Items = vec![
        ("id".into(), owned(undo_id::encode(transaction.tid))),
        ("time".into(), unix_seconds_from_tid(transaction.tid).into()),
        ("user_name".into(), owned(transaction.user.to_vec())),
        ("size".into(), transaction.len.into()),
        ("description".into(), owned(transaction.description.to_vec())),
    ];
    for (key, value) in extension::decode(&transaction.extension).unwrap_or_default() {
        set(&mut entry, key, value);
    }
    entry
}

/// Sets an item of a dict, in its place if there is one. Standard keys are few, so that this does not take long.
pub(super) fn set(items: &mut Items, key: Value<'static>, value: Value<'static>) {
    match items.iter_mut().find(|(present, _)| *present == key) {
        Some((_, old)) => *old = value,
        None => items.push((key, value)),
    }
}

pub(super) fn owned(bytes: Vec<u8>) -> Value<'static> {
    Value::Bytes(bytes.into())
}

/// The extension of a transaction that is shown by itself.
pub(crate) fn extension_of(tid: Tid, pickled: &[u8]) -> Result<Value<'static>, CallError> {
    let items = extension::decode(pickled).map_err(|why| CallError::ForeignExtension { tid, why })?;
    Ok(Value::Dict(items))
}
