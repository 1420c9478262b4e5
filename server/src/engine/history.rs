//! `history`: what storages say of an object's revisions.
//!
//! Python's storages differ in what they say, and in what a size means that is not positive; and a demo storage asks
//! its changes first, and then its base for what is missing:
//!
//! ```text
//!   FileStorage       up to `size`
//!   MappingStorage    the slice [-size:] of all, oldest first: 0 is everything, -2 all but the two oldest
//!   DemoStorage       the changes' answer to `size`, then the base's to what is left of it, unless that is 0
//! ```
//!
//! A view shows the revisions in one walk, newest first, and each says in whose answer it belongs. One thing differs: of
//! an object that nobody knows Python's demo storage gives no revisions where none are asked for, and no error.
//! Sources: `FileStorage.py:history`, `MappingStorage.py:history`, `DemoStorage.py:history`, ZODB 6.4.

use std::ops::ControlFlow;

use zeo_codec::{Oid, Value};

use super::error::CallError;
use super::extension::{self, Items};
use super::past::{Answer, owned, set};
use super::python::type_name;
use crate::storage::past::PastRevision;
use crate::storage::tid::unix_seconds_from_tid;
use crate::storage::{HistoryShape, StorageError, View};

/// `history(oid, size)`: newest first, in an answer of at most `bytes_max`.
pub(crate) fn history(
    view: &dyn View,
    oid: Oid,
    size: &Value<'_>,
    bytes_max: usize,
) -> Result<Value<'static>, CallError> {
    let mut layers = Layers { answer: Answer::new(bytes_max), size, left: None, layer: None, count: 0 };
    let mut failure = None;
    let walked = view.history(oid, &mut |revision| {
        layers.add(&revision).unwrap_or_else(|error| {
            failure = Some(error);
            ControlFlow::Break(())
        })
    });
    if let Some(error) = failure {
        return Err(error);
    }
    layers.end_layer();
    match walked {
        // A base that is not asked, or is not alone with its answer, need not know the object.
        Err(StorageError::NoSuchObject(_)) if layers.is_answered() => {}
        walked => walked?,
    }
    Ok(Value::List(layers.answer.entries))
}

/// The answers of one storage after the other.
struct Layers<'s> {
    answer: Answer,
    size: &'s Value<'s>,
    /// How many entries are still wanted; looked at when there is a revision.
    left: Option<Left>,
    /// Whose answer is being made.
    layer: Option<(u32, HistoryShape)>,
    /// The entries of that answer.
    count: usize,
}

/// A number of entries: Python compares and subtracts whatever number it is given.
#[derive(Clone, Copy)]
enum Left {
    Whole(i128),
    Float(f64),
}

impl Layers<'_> {
    fn add(&mut self, revision: &PastRevision) -> Result<ControlFlow<()>, CallError> {
        let PastRevision { layer, shape, .. } = *revision;
        if self.layer != Some((layer, shape)) {
            self.end_layer();
            self.layer = Some((layer, shape));
        }
        let left = match self.left {
            Some(left) => left,
            None => *self.left.insert(Left::new(self.size, shape)?),
        };
        if layer > 0 && self.count == 0 && left.is_zero() {
            // Nobody asks the base.
            return Ok(ControlFlow::Break(()));
        }
        let is_wanted = match (shape, left) {
            (HistoryShape::Merged, left) => !left.is_reached(self.count),
            (HistoryShape::Apart, Left::Whole(left)) => {
                left <= 0 || !Left::Whole(left).is_reached(self.count)
            }
            (HistoryShape::Apart, Left::Float(_)) => return Err(no_slice()),
        };
        if !is_wanted {
            // The next storage may have something to say nevertheless.
            return Ok(ControlFlow::Continue(()));
        }
        self.answer.push(entry(revision)?)?;
        self.count += 1;
        let is_all = matches!(left, Left::Whole(1..)) && left.is_reached(self.count);
        Ok(if is_all { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Whether there is an answer even if nobody else has one.
    fn is_answered(&self) -> bool {
        !self.answer.entries.is_empty() || self.left.is_some_and(Left::is_zero)
    }

    /// The storage has said everything.
    fn end_layer(&mut self) {
        if let (Some((_, HistoryShape::Apart)), Some(Left::Whole(left @ ..0))) = (self.layer, self.left) {
            let oldest = usize::try_from(left.unsigned_abs()).unwrap_or(usize::MAX).min(self.count);
            self.answer.entries.truncate(self.answer.entries.len() - oldest);
            self.count -= oldest;
        }
        self.left = self.left.map(|left| left.minus(self.count));
        self.count = 0;
    }
}

impl Left {
    fn new(size: &Value<'_>, shape: HistoryShape) -> Result<Self, CallError> {
        match (size.as_int(), size, shape) {
            (Some(number), ..) => Ok(Self::Whole(number)),
            (None, Value::Float(number), _) => Ok(Self::Float(*number)),
            (None, other, HistoryShape::Merged) => Err(CallError::WrongType(format!(
                "'>=' not supported between instances of 'int' and '{}'",
                type_name(other)
            ))),
            (None, other, HistoryShape::Apart) => {
                Err(CallError::WrongType(format!("bad operand type for unary -: '{}'", type_name(other))))
            }
        }
    }

    fn is_reached(self, count: usize) -> bool {
        match self {
            Self::Whole(number) => i128::try_from(count).is_ok_and(|count| count >= number),
            Self::Float(number) => as_float(count) >= number,
        }
    }

    fn minus(self, count: usize) -> Self {
        match self {
            Self::Whole(number) => Self::Whole(number.saturating_sub_unsigned(count as u128)),
            Self::Float(number) => Self::Float(number - as_float(count)),
        }
    }

    fn is_zero(self) -> bool {
        match self {
            Self::Whole(number) => number == 0,
            Self::Float(number) => number == 0.0,
        }
    }
}

/// Exact: an answer holds far fewer than 2^32 entries.
fn as_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn no_slice() -> CallError {
    CallError::WrongType("slice indices must be integers or None or have an __index__ method".to_owned())
}

fn entry(revision: &PastRevision) -> Result<Items, CallError> {
    let PastRevision { tid, user, description, extension, data_len, shape, layer: _ } = revision;
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
