//! Reading objects and verifying caches (protocol reference 7.2 and 7.3).

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::Arguments;
use crate::args::{Args, Count, PlainItems};
use crate::emit::{Emit, EncodeError};
use crate::envelope::Body;
use crate::error::MessageError;
use crate::value::Value;
use crate::{Oid, Tid};

/// `loadBefore(oid, before)`: the newest revision older than `before`. Answered with [`Loaded`] or `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadBefore {
    /// The object.
    pub oid: Oid,
    /// The revision's serial is below this.
    pub before: Tid,
}

impl<'a> Arguments<'a> for LoadBefore {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()?, before: args.tid()? })
    }

    #[inline]
    fn plain(items: &mut impl PlainItems<'a>) -> Option<Self> {
        Some(Self { oid: items.eight().map(Oid::from_bytes)?, before: items.eight().map(Tid::from_bytes)? })
    }
}

impl Body for LoadBefore {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(2, |out| {
            out.oid(self.oid);
            out.tid(self.before);
        });
        Ok(())
    }
}

/// Result of `loadBefore` if there is such a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<'a> {
    /// The database record.
    pub data: Cow<'a, [u8]>,
    /// The transaction that wrote it.
    pub serial: Tid,
    /// The transaction that superseded it; `None` while it is current.
    pub end: Option<Tid>,
}

impl Loaded<'_> {
    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Loaded<'static> {
        Loaded { data: Cow::Owned(self.data.into_owned()), ..self }
    }
}

impl<'a> Arguments<'a> for Loaded<'a> {
    const COUNT: Count = Count::exactly(3);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { data: args.bytes()?, serial: args.tid()?, end: args.optional_tid()? })
    }

    #[inline]
    fn plain(items: &mut impl PlainItems<'a>) -> Option<Self> {
        let data = items.bytes().map(Cow::Borrowed)?;
        let serial = items.eight().map(Tid::from_bytes)?;
        let end = items.optional_eight()?.map(Tid::from_bytes);
        Some(Self { data, serial, end })
    }
}

impl Body for Loaded<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(3, |out| {
            out.bytes(&self.data);
            out.tid(self.serial);
            out.optional_tid(self.end);
        });
        Ok(())
    }
}

/// `loadSerial(oid, serial)`: the data of one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSerial {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote the revision.
    pub serial: Tid,
}

impl<'a> Arguments<'a> for LoadSerial {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()?, serial: args.tid()? })
    }
}

impl Body for LoadSerial {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(2, |out| {
            out.oid(self.oid);
            out.tid(self.serial);
        });
        Ok(())
    }
}

/// `getTid(oid)`: the current serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetTid {
    /// The object.
    pub oid: Oid,
}

impl<'a> Arguments<'a> for GetTid {
    const COUNT: Count = Count::exactly(1);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()? })
    }
}

impl Body for GetTid {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(1, |out| out.oid(self.oid));
        Ok(())
    }
}

/// `history(oid, size)`. The arguments stay values: Python tells a missing size from `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct History<'a> {
    /// The object.
    pub oid: Value<'a>,
    /// Greatest number of entries; 1 if absent.
    pub size: Option<Value<'a>>,
}

impl<'a> Arguments<'a> for History<'a> {
    const COUNT: Count = Count::between(1, 2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        let oid = args.leaf_or_value()?;
        let size = if args.has_more()? { Some(args.leaf_or_value()?) } else { None };
        Ok(Self { oid, size })
    }
}

impl Body for History<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(1 + usize::from(self.size.is_some()), |out| {
            // Most clients write the oid the way oids are written.
            match &self.oid {
                Value::Bytes(oid) => out.bytes(oid),
                other => result = out.value(other),
            }
            if let Some(size) = &self.size {
                result = result.and_then(|()| out.value(size));
            }
        });
        result
    }
}

/// `verify(oid, serial)` and `zeoVerify(oid, serial)` of ZEO 4, one-way.
#[derive(Debug, Clone, PartialEq)]
pub struct Verify<'a> {
    /// The object.
    pub oid: Oid,
    /// The serial in the client's cache.
    pub serial: Value<'a>,
}

impl<'a> Arguments<'a> for Verify<'a> {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()?, serial: args.leaf_or_value()? })
    }
}

impl Body for Verify<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(2, |out| {
            out.oid(self.oid);
            result = out.value(&self.serial);
        });
        result
    }
}

/// `getInvalidations(tid)`: what changed after `tid`. Answered with [`Invalidations`] or `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetInvalidations {
    /// The last transaction that the client knows.
    pub tid: Tid,
}

impl<'a> Arguments<'a> for GetInvalidations {
    const COUNT: Count = Count::exactly(1);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { tid: args.tid()? })
    }
}

impl Body for GetInvalidations {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(1, |out| out.tid(self.tid));
        Ok(())
    }
}

/// Result of `getInvalidations` if the server can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalidations {
    /// The last transaction.
    pub tid: Tid,
    /// All objects that changed since the asked one, in no order.
    pub oids: Vec<Oid>,
}

impl<'a> Arguments<'a> for Invalidations {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { tid: args.tid()?, oids: args.oids()? })
    }
}

impl Body for Invalidations {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(2, |out| {
            out.tid(self.tid);
            out.list(self.oids.iter(), |out, oid| out.oid(*oid));
        });
        Ok(())
    }
}
