//! Looking for transactions to undo (protocol reference 7.3).

use super::Arguments;
use crate::args::{Args, Count};
use crate::emit::{Emit, EncodeError};
use crate::envelope::Body;
use crate::error::MessageError;
use crate::value::Value;

/// `undoLog(first, last)`: a list of dicts, newest transaction first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UndoLog {
    /// Number of transactions to skip.
    pub first: i64,
    /// Where to end; if negative, how many to return.
    pub last: i64,
}

impl<'a> Arguments<'a> for UndoLog {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { first: args.int()?, last: args.int()? })
    }
}

impl Body for UndoLog {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(2, |out| {
            out.int(self.first);
            out.int(self.last);
        });
        Ok(())
    }
}

/// `undoInfo(first, last, specification)`: the same, filtered.
#[derive(Debug, Clone, PartialEq)]
pub struct UndoInfo<'a> {
    /// Number of transactions to skip.
    pub first: i64,
    /// Where to end; if negative, how many to return.
    pub last: i64,
    /// A dict of required values, or `None`.
    pub specification: Value<'a>,
}

impl<'a> Arguments<'a> for UndoInfo<'a> {
    const COUNT: Count = Count::exactly(3);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { first: args.int()?, last: args.int()?, specification: args.value()? })
    }
}

impl Body for UndoInfo<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(3, |out| {
            out.int(self.first);
            out.int(self.last);
            result = out.value(&self.specification);
        });
        result
    }
}
