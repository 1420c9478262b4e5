//! Committing (protocol reference 7.4 and 7.5).

use alloc::borrow::Cow;
use core::fmt;

use super::Arguments;
use crate::args::{Args, Count, PlainItems};
use crate::emit::{Emit, EncodeError};
use crate::envelope::Body;
use crate::error::MessageError;
use crate::value::Value;
use crate::{Oid, Tid};

/// A client's name for its transaction: in Python the address of an object, unique in its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub u64);

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(super) fn txn_id(args: &mut Args<'_>) -> Result<TxnId, MessageError> {
    args.uint().map(TxnId)
}

/// `tpc_begin(id, user, description, extension, tid, status)`, one-way.
#[derive(Debug, Clone, PartialEq)]
pub struct TpcBegin<'a> {
    /// The transaction.
    pub id: TxnId,
    /// User name: UTF-8 bytes, or text from ZEO 4 clients.
    pub user: Value<'a>,
    /// Description, likewise.
    pub description: Value<'a>,
    /// A dict.
    pub extension: Value<'a>,
    /// The tid to commit under, when transactions are copied.
    pub tid: Option<Tid>,
    /// `" "`, or `"p"` for a copied packed transaction.
    pub status: Cow<'a, str>,
}

impl TpcBegin<'_> {
    /// The bytes of user name or description.
    #[must_use]
    pub fn metadata_bytes<'v>(value: &'v Value<'_>) -> Option<&'v [u8]> {
        match value {
            Value::Text(text) => Some(text.as_bytes()),
            other => other.as_bytes(),
        }
    }
}

impl<'a> Arguments<'a> for TpcBegin<'a> {
    const COUNT: Count = Count::between(4, 6);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            id: txn_id(args)?,
            user: args.leaf_or_value()?,
            description: args.leaf_or_value()?,
            extension: args.leaf_or_value()?,
            tid: if args.has_more()? { args.optional_tid()? } else { None },
            status: if args.has_more()? { args.text()? } else { Cow::Borrowed(" ") },
        })
    }
}

impl Body for TpcBegin<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(6, |out| {
            out.uint(self.id.0);
            result = out.value(&self.user);
            result = result.and_then(|()| out.value(&self.description));
            result = result.and_then(|()| out.value(&self.extension));
            out.optional_tid(self.tid);
            out.text(&self.status);
        });
        result
    }
}

/// `storea(oid, serial, data, id)`, one-way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storea<'a> {
    /// The object.
    pub oid: Oid,
    /// The revision that was read; zero for a new object.
    pub serial: Tid,
    /// The database record.
    pub data: Cow<'a, [u8]>,
    /// The transaction.
    pub id: TxnId,
}

impl<'a> Arguments<'a> for Storea<'a> {
    const COUNT: Count = Count::exactly(4);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()?, serial: args.serial()?, data: args.bytes()?, id: txn_id(args)? })
    }

    #[inline]
    fn plain(items: &mut impl PlainItems<'a>) -> Option<Self> {
        let oid = items.eight().map(Oid::from_bytes)?;
        let serial = items.eight().map(Tid::from_bytes)?;
        let data = items.bytes().map(Cow::Borrowed)?;
        Some(Self { oid, serial, data, id: items.uint().map(TxnId)? })
    }
}

impl Body for Storea<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        emit_store_args(out, self.oid, self.serial, &self.data, self.id);
        Ok(())
    }
}

/// The arguments that `storea` and `storeBlobEnd` share.
pub(super) fn emit_store_args(out: &mut impl Emit, oid: Oid, serial: Tid, data: &[u8], id: TxnId) {
    out.tuple(4, |out| {
        out.oid(oid);
        out.tid(serial);
        out.bytes(data);
        out.uint(id.0);
    });
}

/// `restorea(oid, serial, data, prev_txn, id)`, one-way: copies a record verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restorea<'a> {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote the record.
    pub serial: Tid,
    /// The database record; `None` if the object ceased to exist.
    pub data: Option<Cow<'a, [u8]>>,
    /// The transaction whose record holds the same data.
    pub prev_txn: Option<Tid>,
    /// The transaction.
    pub id: TxnId,
}

impl<'a> Arguments<'a> for Restorea<'a> {
    const COUNT: Count = Count::exactly(5);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            oid: args.oid()?,
            serial: args.tid()?,
            data: args.optional_bytes()?,
            prev_txn: args.optional_tid()?,
            id: txn_id(args)?,
        })
    }
}

impl Body for Restorea<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(5, |out| {
            out.oid(self.oid);
            out.tid(self.serial);
            match &self.data {
                Some(data) => out.bytes(data),
                None => out.none(),
            }
            out.optional_tid(self.prev_txn);
            out.uint(self.id.0);
        });
        Ok(())
    }
}

fn object_args(args: &mut Args<'_>) -> Result<(Oid, Tid, TxnId), MessageError> {
    Ok((args.oid()?, args.tid()?, txn_id(args)?))
}

fn emit_object_args(out: &mut impl Emit, oid: Oid, serial: Tid, id: TxnId) {
    out.tuple(3, |out| {
        out.oid(oid);
        out.tid(serial);
        out.uint(id.0);
    });
}

/// `deleteObject(oid, serial, id)`, one-way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteObject {
    /// The object.
    pub oid: Oid,
    /// Its current revision.
    pub serial: Tid,
    /// The transaction.
    pub id: TxnId,
}

impl<'a> Arguments<'a> for DeleteObject {
    const COUNT: Count = Count::exactly(3);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        object_args(args).map(|(oid, serial, id)| Self { oid, serial, id })
    }
}

impl Body for DeleteObject {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        emit_object_args(out, self.oid, self.serial, self.id);
        Ok(())
    }
}

/// `checkCurrentSerialInTransaction(oid, serial, id)`, one-way: the vote fails unless `oid` still is at
/// `serial`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckCurrentSerial {
    /// The object.
    pub oid: Oid,
    /// The revision that was read.
    pub serial: Tid,
    /// The transaction.
    pub id: TxnId,
}

impl<'a> Arguments<'a> for CheckCurrentSerial {
    const COUNT: Count = Count::exactly(3);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        object_args(args).map(|(oid, serial, id)| Self { oid, serial, id })
    }
}

impl Body for CheckCurrentSerial {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        emit_object_args(out, self.oid, self.serial, self.id);
        Ok(())
    }
}

/// `undoa(undo_id, id)`, one-way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undoa<'a> {
    /// The transaction to undo, as `undoLog` gave it: base64 of its tid.
    pub undo_id: Cow<'a, [u8]>,
    /// The transaction.
    pub id: TxnId,
}

impl<'a> Arguments<'a> for Undoa<'a> {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { undo_id: args.bytes_or_text()?, id: txn_id(args)? })
    }
}

impl Body for Undoa<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(2, |out| {
            out.bytes(&self.undo_id);
            out.uint(self.id.0);
        });
        Ok(())
    }
}

/// `vote(id)`, `tpc_finish(id)` and `tpc_abort(id)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionRef {
    /// The transaction.
    pub id: TxnId,
}

impl<'a> Arguments<'a> for TransactionRef {
    const COUNT: Count = Count::exactly(1);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { id: txn_id(args)? })
    }
}

impl Body for TransactionRef {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(1, |out| out.uint(self.id.0));
        Ok(())
    }
}

/// `new_oids()` or `new_oids(count)`. Answered with a list of oids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewOids {
    /// How many; 100 if absent, clamped to 1..=100 by servers.
    pub count: Option<i64>,
}

impl<'a> Arguments<'a> for NewOids {
    const COUNT: Count = Count::between(0, 1);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { count: if args.has_more()? { Some(args.int()?) } else { None } })
    }
}

impl Body for NewOids {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(usize::from(self.count.is_some()), |out| {
            if let Some(count) = self.count {
                out.int(count);
            }
        });
        Ok(())
    }
}
