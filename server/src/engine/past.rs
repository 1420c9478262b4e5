//! The answers to `undoLog`, `undoInfo` and `history`: dicts of what a storage has kept of its transactions.
//!
//! They may read much of a file, so they are computed beside the connection (see [`super::job`]). How much an answer
//! holds is bounded; one that would exceed the bound is an error, for part of it would look like all.
//! Sources: `FileStorage.py:undoLog`, `UndoSearch`, `history`, `MappingStorage.py:history`,
//! `UndoLogCompatible.py`, ZODB 6.4.

use std::ops::ControlFlow;

use zeo_codec::{Oid, Tid, Value};

use super::error::CallError;
use super::extension::{self, Items};
use super::python::type_name;
use super::undo_filter::Filter;
use super::undo_id;
use crate::storage::past::{PastRevision, PastTransaction};
use crate::storage::tid::unix_seconds_from_tid;
use crate::storage::{HistoryShape, View};

/// A list of dicts that does not grow beyond its bound.
struct Answer {
    entries: Vec<Value<'static>>,
    len: usize,
    bytes_max: usize,
}

impl Answer {
    const fn new(bytes_max: usize) -> Self {
        Self { entries: Vec::new(), len: 0, bytes_max }
    }

    fn push(&mut self, items: Items) -> Result<(), CallError> {
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

/// `history(oid, size)`: at most `size` entries, newest first, in an answer of at most `bytes_max`.
pub(crate) fn history(
    view: &dyn View,
    oid: Oid,
    size: &Value<'_>,
    shape: HistoryShape,
    bytes_max: usize,
) -> Result<Value<'static>, CallError> {
    let size = Size::new(size, shape);
    let mut answer = Answer::new(bytes_max);
    let mut failure = None;
    view.history(oid, &mut |revision| {
        let done = size.as_ref().is_ok_and(|size| size.is_reached(answer.entries.len()));
        if done || size.is_err() {
            return ControlFlow::Break(());
        }
        match history_entry(&revision, shape).and_then(|entry| answer.push(entry)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    let left_out_count = size?.left_out_count(answer.entries.len());
    answer.entries.truncate(answer.entries.len() - left_out_count);
    failure.map_or(Ok(Value::List(answer.entries)), Err)
}

/// How many entries are wanted.
enum Size {
    /// So many.
    AtMost(i128),
    /// Python compares a count with whatever number it is given.
    Below(f64),
    /// All but so many of the oldest.
    AllBut(usize),
}

impl Size {
    fn new(size: &Value<'_>, shape: HistoryShape) -> Result<Self, CallError> {
        match (shape, size.as_int(), size) {
            (HistoryShape::Merged, Some(number), _) => Ok(Self::AtMost(number)),
            (HistoryShape::Merged, None, Value::Float(number)) => Ok(Self::Below(*number)),
            (HistoryShape::Merged, None, other) => Err(CallError::WrongType(format!(
                "'>=' not supported between instances of 'int' and '{}'",
                type_name(other)
            ))),
            // The slice [-size:] of all, oldest first.
            (HistoryShape::Apart, Some(number), _) if number > 0 => Ok(Self::AtMost(number)),
            (HistoryShape::Apart, Some(number), _) => {
                Ok(Self::AllBut(usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX)))
            }
            (HistoryShape::Apart, None, Value::Float(_)) => Err(CallError::WrongType(
                "slice indices must be integers or None or have an __index__ method".to_owned(),
            )),
            (HistoryShape::Apart, None, other) => {
                Err(CallError::WrongType(format!("bad operand type for unary -: '{}'", type_name(other))))
            }
        }
    }

    fn is_reached(&self, count: usize) -> bool {
        match self {
            Self::AtMost(number) => i128::try_from(count).is_ok_and(|count| count >= *number),
            Self::Below(number) => {
                // Exact: an answer holds far fewer than 2^32 entries.
                u32::try_from(count).is_ok_and(|count| f64::from(count) >= *number)
            }
            Self::AllBut(_) => false,
        }
    }

    fn left_out_count(&self, count: usize) -> usize {
        match self {
            Self::AllBut(number) => count.min(*number),
            Self::AtMost(_) | Self::Below(_) => 0,
        }
    }
}

fn history_entry(revision: &PastRevision, shape: HistoryShape) -> Result<Items, CallError> {
    let PastRevision { tid, user, description, extension, data_len } = revision;
    let time = unix_seconds_from_tid(*tid).into();
    let extension =
        extension::decode(extension).map_err(|why| CallError::ForeignExtension { tid: *tid, why })?;
    let [user, description] = [user, description].map(|bytes| owned(bytes.to_vec()));
    match shape {
        HistoryShape::Merged => {
            let mut entry = extension;
            set(&mut entry, "time".into(), time);
            set(&mut entry, "user_name".into(), user);
            set(&mut entry, "description".into(), description);
            set(&mut entry, "tid".into(), (*tid).into());
            set(&mut entry, "size".into(), (*data_len).into());
            Ok(entry)
        }
        HistoryShape::Apart => Ok(vec![
            ("time".into(), time),
            ("tid".into(), (*tid).into()),
            ("serial".into(), (*tid).into()),
            ("user_name".into(), user),
            ("description".into(), description),
            ("extension".into(), Value::Dict(extension)),
            ("size".into(), (*data_len).into()),
        ]),
    }
}

/// Sets an item of a dict, in its place if there is one. Standard keys are few, so that this does not take long.
fn set(items: &mut Items, key: Value<'static>, value: Value<'static>) {
    match items.iter_mut().find(|(present, _)| *present == key) {
        Some((_, old)) => *old = value,
        None => items.push((key, value)),
    }
}

fn owned(bytes: Vec<u8>) -> Value<'static> {
    Value::Bytes(bytes.into())
}

/// The extension of a transaction that is shown by itself.
pub(crate) fn extension_of(tid: Tid, pickled: &[u8]) -> Result<Value<'static>, CallError> {
    let items = extension::decode(pickled).map_err(|why| CallError::ForeignExtension { tid, why })?;
    Ok(Value::Dict(items))
}
