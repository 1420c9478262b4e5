//! What a server tells its clients (protocol reference 8). All one-way. Blobs are in `blob.rs`.

use alloc::vec::Vec;

use super::Arguments;
use crate::args::{Args, Count};
use crate::emit::{Emit, EncodeError};
use crate::envelope::Body;
use crate::error::MessageError;
use crate::value::Value;
use crate::{Oid, Tid};

/// `invalidateTransaction(tid, oids)`: another client committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidateTransaction {
    /// The transaction.
    pub tid: Tid,
    /// The objects that it changed. (Clients of `Z308` and below get pairs instead of oids; those stay
    /// [`Call::Other`](super::Call::Other).)
    pub oids: Vec<Oid>,
}

impl<'a> Arguments<'a> for InvalidateTransaction {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { tid: args.tid()?, oids: args.oids()? })
    }
}

impl Body for InvalidateTransaction {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(2, |out| {
            out.tid(self.tid);
            out.list(self.oids.iter(), |out, oid| out.oid(*oid));
        });
        Ok(())
    }
}

/// `info(dict)`: changes to the result of `get_info`.
#[derive(Debug, Clone, PartialEq)]
pub struct Info<'a> {
    /// A dict, normally `{"length": .., "size": ..}`.
    pub changes: Value<'a>,
}

impl<'a> Arguments<'a> for Info<'a> {
    const COUNT: Count = Count::exactly(1);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { changes: args.value()? })
    }
}

impl Body for Info<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(1, |out| result = out.value(&self.changes));
        result
    }
}
