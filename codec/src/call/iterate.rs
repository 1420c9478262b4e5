//! Walking over transactions and over current records (protocol reference 7.3).

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::Arguments;
use crate::args::{Args, Count};
use crate::emit::{Emit, EncodeError};
use crate::envelope::Body;
use crate::error::MessageError;
use crate::value::Value;
use crate::{Oid, Tid};

/// `record_iternext(start)`: the first current record at or above `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordIternext {
    /// Where to look from; `None` for the beginning.
    pub start: Option<Oid>,
}

impl<'a> Arguments<'a> for RecordIternext {
    const COUNT: Count = Count::between(0, 1);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { start: if args.has_more()? { args.optional_oid()? } else { None } })
    }
}

impl Body for RecordIternext {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(1, |out| match self.start {
            Some(oid) => out.oid(oid),
            None => out.none(),
        });
        Ok(())
    }
}

/// Result of `record_iternext`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentRecord<'a> {
    /// The object.
    pub oid: Oid,
    /// Its current serial.
    pub serial: Tid,
    /// Its database record.
    pub data: Cow<'a, [u8]>,
    /// The next object; `None` at the end.
    pub next: Option<Oid>,
}

impl CurrentRecord<'_> {
    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> CurrentRecord<'static> {
        CurrentRecord { data: Cow::Owned(self.data.into_owned()), ..self }
    }
}

impl<'a> Arguments<'a> for CurrentRecord<'a> {
    const COUNT: Count = Count::exactly(4);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()?, serial: args.tid()?, data: args.bytes()?, next: args.optional_oid()? })
    }
}

impl Body for CurrentRecord<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(4, |out| {
            out.oid(self.oid);
            out.tid(self.serial);
            out.bytes(&self.data);
            match self.next {
                Some(oid) => out.oid(oid),
                None => out.none(),
            }
        });
        Ok(())
    }
}

/// `iterator_start(start, stop)`. Answered with the number of the iterator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IteratorStart {
    /// First transaction, inclusive.
    pub start: Option<Tid>,
    /// Last transaction, inclusive.
    pub stop: Option<Tid>,
}

impl<'a> Arguments<'a> for IteratorStart {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { start: args.optional_tid()?, stop: args.optional_tid()? })
    }
}

impl Body for IteratorStart {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(2, |out| {
            out.optional_tid(self.start);
            out.optional_tid(self.stop);
        });
        Ok(())
    }
}

/// `iterator_next(id)` and `iterator_record_next(id)`. Answered with [`TransactionInfo`] or [`RecordInfo`],
/// or `None` at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IteratorNext {
    /// The iterator.
    pub id: i64,
}

impl<'a> Arguments<'a> for IteratorNext {
    const COUNT: Count = Count::exactly(1);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { id: args.int()? })
    }
}

impl Body for IteratorNext {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(1, |out| out.int(self.id));
        Ok(())
    }
}

/// Result of `iterator_next`.
#[derive(Debug, Clone, PartialEq)]
pub struct TransactionInfo<'a> {
    /// The transaction.
    pub tid: Tid,
    /// `" "`, or `"p"` if it was packed.
    pub status: Cow<'a, str>,
    /// User name.
    pub user: Cow<'a, [u8]>,
    /// Description.
    pub description: Cow<'a, [u8]>,
    /// A dict.
    pub extension: Value<'a>,
}

impl TransactionInfo<'_> {
    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> TransactionInfo<'static> {
        TransactionInfo {
            tid: self.tid,
            status: Cow::Owned(self.status.into_owned()),
            user: Cow::Owned(self.user.into_owned()),
            description: Cow::Owned(self.description.into_owned()),
            extension: self.extension.into_owned(),
        }
    }
}

impl<'a> Arguments<'a> for TransactionInfo<'a> {
    const COUNT: Count = Count::exactly(5);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            tid: args.tid()?,
            status: args.text()?,
            user: args.bytes_or_text()?,
            description: args.bytes_or_text()?,
            extension: args.value()?,
        })
    }
}

impl Body for TransactionInfo<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(5, |out| {
            out.tid(self.tid);
            out.text(&self.status);
            out.bytes(&self.user);
            out.bytes(&self.description);
            result = out.value(&self.extension);
        });
        result
    }
}

/// `iterator_record_start(id, tid)`: an iterator over the records of the transaction that the iterator `id`
/// returned last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IteratorRecordStart {
    /// The iterator over transactions.
    pub id: i64,
    /// Its last transaction.
    pub tid: Tid,
}

impl<'a> Arguments<'a> for IteratorRecordStart {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { id: args.int()?, tid: args.tid()? })
    }
}

impl Body for IteratorRecordStart {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(2, |out| {
            out.int(self.id);
            out.tid(self.tid);
        });
        Ok(())
    }
}

/// Result of `iterator_record_next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordInfo<'a> {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote the record.
    pub tid: Tid,
    /// The database record; `None` if the object ceased to exist.
    pub data: Option<Cow<'a, [u8]>>,
    /// The transaction whose record holds the data, if this one only points there.
    pub data_txn: Option<Tid>,
}

impl RecordInfo<'_> {
    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> RecordInfo<'static> {
        RecordInfo { data: self.data.map(|data| Cow::Owned(data.into_owned())), ..self }
    }
}

impl<'a> Arguments<'a> for RecordInfo<'a> {
    const COUNT: Count = Count::exactly(4);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            oid: args.oid()?,
            tid: args.tid()?,
            data: args.optional_bytes()?,
            data_txn: args.optional_tid()?,
        })
    }
}

impl Body for RecordInfo<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(4, |out| {
            out.oid(self.oid);
            out.tid(self.tid);
            match &self.data {
                Some(data) => out.bytes(data),
                None => out.none(),
            }
            out.optional_tid(self.data_txn);
        });
        Ok(())
    }
}

/// `iterator_gc(ids)`, one-way: forget iterators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IteratorGc {
    /// The iterators.
    pub ids: Vec<i64>,
}

impl<'a> Arguments<'a> for IteratorGc {
    const COUNT: Count = Count::exactly(1);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        let value = args.value()?;
        let items = value.as_sequence().ok_or_else(|| args.bad(crate::Expected::Sequence))?;
        let ids = items.iter().map(|item| item.as_int().and_then(|id| id.try_into().ok()));
        let ids: Option<Vec<i64>> = ids.collect();
        Ok(Self { ids: ids.ok_or_else(|| args.bad(crate::Expected::Int))? })
    }
}

impl Body for IteratorGc {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(1, |out| out.list(self.ids.iter(), |out, id| out.int(*id)));
        Ok(())
    }
}
