//! Blobs in both directions (protocol reference 7.3, 7.5 and 8).

use alloc::borrow::Cow;

use super::commit::{emit_store_args, txn_id};
use super::{Arguments, TxnId};
use crate::args::{Args, Count};
use crate::emit::{Emit, EncodeError};
use crate::envelope::Body;
use crate::error::MessageError;
use crate::{Oid, Tid};

/// `storeBlobChunk(chunk)`, one-way: the next piece of the upload that `storeBlobStart` began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreBlobChunk<'a> {
    /// 59,000 bytes, fewer in the last one.
    pub chunk: Cow<'a, [u8]>,
}

impl<'a> Arguments<'a> for StoreBlobChunk<'a> {
    const COUNT: Count = Count::exactly(1);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { chunk: args.bytes()? })
    }
}

impl Body for StoreBlobChunk<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(1, |out| out.bytes(&self.chunk));
        Ok(())
    }
}

/// `storeBlobEnd(oid, serial, data, id)`, one-way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreBlobEnd<'a> {
    /// The blob object.
    pub oid: Oid,
    /// The revision that was read.
    pub serial: Tid,
    /// The blob object's database record.
    pub data: Cow<'a, [u8]>,
    /// The transaction.
    pub id: TxnId,
}

impl<'a> Arguments<'a> for StoreBlobEnd<'a> {
    const COUNT: Count = Count::exactly(4);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()?, serial: args.serial()?, data: args.bytes()?, id: txn_id(args)? })
    }
}

impl Body for StoreBlobEnd<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        emit_store_args(out, self.oid, self.serial, &self.data, self.id);
        Ok(())
    }
}

/// `storeBlobShared(oid, serial, data, file_name, id)`, one-way: the file already lies in the shared blob
/// directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreBlobShared<'a> {
    /// The blob object.
    pub oid: Oid,
    /// The revision that was read.
    pub serial: Tid,
    /// The blob object's database record.
    pub data: Cow<'a, [u8]>,
    /// Name of the file in the blob's own directory, as the client sent it: unchecked.
    pub file_name: Cow<'a, str>,
    /// The transaction.
    pub id: TxnId,
}

impl<'a> Arguments<'a> for StoreBlobShared<'a> {
    const COUNT: Count = Count::exactly(5);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            oid: args.oid()?,
            serial: args.serial()?,
            data: args.bytes()?,
            file_name: args.text()?,
            id: txn_id(args)?,
        })
    }
}

impl Body for StoreBlobShared<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(5, |out| {
            out.oid(self.oid);
            out.tid(self.serial);
            out.bytes(&self.data);
            out.text(&self.file_name);
            out.uint(self.id.0);
        });
        Ok(())
    }
}

fn emit_revision(out: &mut impl Emit, oid: Oid, serial: Tid) {
    out.tuple(2, |out| {
        out.oid(oid);
        out.tid(serial);
    });
}

/// `sendBlob(oid, serial)`: the server sends the file in pieces, then replies `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendBlob {
    /// The blob object.
    pub oid: Oid,
    /// The revision.
    pub serial: Tid,
}

impl<'a> Arguments<'a> for SendBlob {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()?, serial: args.tid()? })
    }
}

impl Body for SendBlob {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        emit_revision(out, self.oid, self.serial);
        Ok(())
    }
}

/// `receiveBlobStart(oid, serial)`, from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveBlobStart {
    /// The blob object.
    pub oid: Oid,
    /// The revision.
    pub serial: Tid,
}

impl<'a> Arguments<'a> for ReceiveBlobStart {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()?, serial: args.tid()? })
    }
}

impl Body for ReceiveBlobStart {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        emit_revision(out, self.oid, self.serial);
        Ok(())
    }
}

/// `receiveBlobChunk(oid, serial, chunk)`, from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveBlobChunk<'a> {
    /// The blob object.
    pub oid: Oid,
    /// The revision.
    pub serial: Tid,
    /// 59,000 bytes, fewer in the last one.
    pub chunk: Cow<'a, [u8]>,
}

impl<'a> Arguments<'a> for ReceiveBlobChunk<'a> {
    const COUNT: Count = Count::exactly(3);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()?, serial: args.tid()?, chunk: args.bytes()? })
    }
}

impl Body for ReceiveBlobChunk<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(3, |out| {
            out.oid(self.oid);
            out.tid(self.serial);
            out.bytes(&self.chunk);
        });
        Ok(())
    }
}

/// `receiveBlobStop(oid, serial)`, from the server: the file is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveBlobStop {
    /// The blob object.
    pub oid: Oid,
    /// The revision.
    pub serial: Tid,
}

impl<'a> Arguments<'a> for ReceiveBlobStop {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { oid: args.oid()?, serial: args.tid()? })
    }
}

impl Body for ReceiveBlobStop {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        emit_revision(out, self.oid, self.serial);
        Ok(())
    }
}
