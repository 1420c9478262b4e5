//! Every method of the protocol with its arguments, as typed and borrowed values.
//!
//! One file for each family, arguments beside the results that they bring. [`Method`] is the only table of
//! names. Unknown methods stay representable; refusing them is a server's business.

mod admin;
mod blob;
mod commit;
mod iterate;
mod load;
mod method;
mod notify;
mod register;
mod undo;

pub use admin::Pack;
pub use blob::{
    ReceiveBlobChunk, ReceiveBlobStart, ReceiveBlobStop, SendBlob, StoreBlobChunk, StoreBlobEnd,
    StoreBlobShared,
};
pub use commit::{
    CheckCurrentSerial, DeleteObject, NewOids, Restorea, Storea, TpcBegin, TransactionRef, TxnId, Undoa,
};
pub use iterate::{
    CurrentRecord, IteratorGc, IteratorNext, IteratorRecordStart, IteratorStart, RecordInfo, RecordIternext,
    TransactionInfo,
};
pub use load::{GetInvalidations, GetTid, History, Invalidations, LoadBefore, LoadSerial, Loaded, Verify};
pub use method::Method;
pub use notify::{Info, InvalidateTransaction};
pub use register::{Register, SetClientLabel};
pub use undo::{UndoInfo, UndoLog};

use crate::args::{Args, Count, PlainItems, RawArgs, msgpack_items, plain_msgpack, plain_pickle};
use crate::emit::{Emit, EncodeError};
use crate::envelope::Body;
use crate::error::MessageError;
use crate::limits::Limits;
use crate::value::Value;

/// A tuple with named items, in wire order: the arguments of a method, or a result. [`Body`] writes it.
pub trait Arguments<'a>: Body + Sized {
    /// How many items there are.
    const COUNT: Count;

    /// Takes all items.
    ///
    /// # Errors
    /// See [`Args`].
    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError>;

    /// Takes all items if each has the form in which most peers write it. What there are thousands of in a
    /// second is read so; `None` sends the reader to [`parse`](Self::parse). A type need not have this way.
    #[must_use]
    #[inline]
    fn plain(_items: &mut impl PlainItems<'a>) -> Option<Self> {
        None
    }
}

/// A call in either direction.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Call<'a> {
    /// A method that takes no arguments.
    Plain(Method),
    /// `register`
    Register(Register<'a>),
    /// `set_client_label`
    SetClientLabel(SetClientLabel<'a>),
    /// `getInvalidations`
    GetInvalidations(GetInvalidations),
    /// `loadBefore`
    LoadBefore(LoadBefore),
    /// `loadSerial`
    LoadSerial(LoadSerial),
    /// `getTid`
    GetTid(GetTid),
    /// `history`
    History(History<'a>),
    /// `verify` and `zeoVerify` (ZEO 4)
    Verify(Method, Verify<'a>),
    /// `record_iternext`
    RecordIternext(RecordIternext),
    /// `iterator_start`
    IteratorStart(IteratorStart),
    /// `iterator_next` and `iterator_record_next`
    IteratorNext(Method, IteratorNext),
    /// `iterator_record_start`
    IteratorRecordStart(IteratorRecordStart),
    /// `iterator_gc`
    IteratorGc(IteratorGc),
    /// `undoLog`
    UndoLog(UndoLog),
    /// `undoInfo`
    UndoInfo(UndoInfo<'a>),
    /// `new_oids`
    NewOids(NewOids),
    /// `tpc_begin`
    TpcBegin(TpcBegin<'a>),
    /// `storea`
    Storea(Storea<'a>),
    /// `restorea`
    Restorea(Restorea<'a>),
    /// `deleteObject`
    DeleteObject(DeleteObject),
    /// `checkCurrentSerialInTransaction`
    CheckCurrentSerial(CheckCurrentSerial),
    /// `undoa`
    Undoa(Undoa<'a>),
    /// `vote`, `tpc_finish` and `tpc_abort`
    Transaction(Method, TransactionRef),
    /// `storeBlobChunk`
    StoreBlobChunk(StoreBlobChunk<'a>),
    /// `storeBlobEnd`
    StoreBlobEnd(StoreBlobEnd<'a>),
    /// `storeBlobShared`
    StoreBlobShared(StoreBlobShared<'a>),
    /// `sendBlob`
    SendBlob(SendBlob),
    /// `pack`
    Pack(Pack),
    /// `invalidateTransaction` (server to client)
    InvalidateTransaction(InvalidateTransaction),
    /// `info` (server to client)
    Info(Info<'a>),
    /// `receiveBlobStart` (server to client)
    ReceiveBlobStart(ReceiveBlobStart),
    /// `receiveBlobChunk` (server to client)
    ReceiveBlobChunk(ReceiveBlobChunk<'a>),
    /// `receiveBlobStop` (server to client)
    ReceiveBlobStop(ReceiveBlobStop),
    /// A known method of an older generation whose arguments are kept as they came.
    Untyped(Method, Value<'a>),
    /// A method that we do not know.
    Other {
        /// Its name.
        name: alloc::borrow::Cow<'a, [u8]>,
        /// Its arguments.
        args: Value<'a>,
    },
}

impl<'a> Call<'a> {
    /// Interprets the arguments of `method`.
    ///
    /// # Errors
    /// [`MessageError::Shape`] for wrong arity or types, [`MessageError::Undecodable`] for damaged bytes.
    pub fn parse(method: Method, args: RawArgs<'a>, limits: &Limits) -> Result<Self, MessageError> {
        use Method as M;
        // Each arm writes into the place of the result: a call is large enough for moves to show.
        match method {
            M::Register => whole(args, limits).map(Self::Register),
            M::SetClientLabel => whole(args, limits).map(Self::SetClientLabel),
            M::GetInvalidations => whole(args, limits).map(Self::GetInvalidations),
            M::LoadBefore => whole(args, limits).map(Self::LoadBefore),
            M::LoadSerial => whole(args, limits).map(Self::LoadSerial),
            M::GetTid => whole(args, limits).map(Self::GetTid),
            M::History => whole(args, limits).map(Self::History),
            M::Verify | M::ZeoVerify => whole(args, limits).map(|args| Self::Verify(method, args)),
            M::RecordIternext => whole(args, limits).map(Self::RecordIternext),
            M::IteratorStart => whole(args, limits).map(Self::IteratorStart),
            M::IteratorNext | M::IteratorRecordNext => {
                whole(args, limits).map(|args| Self::IteratorNext(method, args))
            }
            M::IteratorRecordStart => whole(args, limits).map(Self::IteratorRecordStart),
            M::IteratorGc => whole(args, limits).map(Self::IteratorGc),
            M::UndoLog => whole(args, limits).map(Self::UndoLog),
            M::UndoInfo => whole(args, limits).map(Self::UndoInfo),
            M::NewOids => whole(args, limits).map(Self::NewOids),
            M::TpcBegin => whole(args, limits).map(Self::TpcBegin),
            M::Storea => whole(args, limits).map(Self::Storea),
            M::Restorea => whole(args, limits).map(Self::Restorea),
            M::DeleteObject => whole(args, limits).map(Self::DeleteObject),
            M::CheckCurrentSerialInTransaction => whole(args, limits).map(Self::CheckCurrentSerial),
            M::Undoa => whole(args, limits).map(Self::Undoa),
            M::Vote | M::TpcFinish | M::TpcAbort => {
                whole(args, limits).map(|args| Self::Transaction(method, args))
            }
            M::StoreBlobChunk => whole(args, limits).map(Self::StoreBlobChunk),
            M::StoreBlobEnd => whole(args, limits).map(Self::StoreBlobEnd),
            M::StoreBlobShared => whole(args, limits).map(Self::StoreBlobShared),
            M::SendBlob => whole(args, limits).map(Self::SendBlob),
            M::Pack => whole(args, limits).map(Self::Pack),
            M::InvalidateTransaction => whole(args, limits).map(Self::InvalidateTransaction),
            M::Info => whole(args, limits).map(Self::Info),
            M::ReceiveBlobStart => whole(args, limits).map(Self::ReceiveBlobStart),
            M::ReceiveBlobChunk => whole(args, limits).map(Self::ReceiveBlobChunk),
            M::ReceiveBlobStop => whole(args, limits).map(Self::ReceiveBlobStop),
            M::GetInfo
            | M::GetSizeInfo
            | M::LastTransaction
            | M::Ping
            | M::ServerStatus
            | M::NewOid
            | M::StoreBlobStart
            | M::GetAuthProtocol
            | M::GetExtensionMethods
            | M::EndZeoVerify
            | M::AuthGetChallenge
            | M::BeginVerify
            | M::EndVerify => {
                args.into_args(limits)?.finish()?;
                Ok(Self::Plain(method))
            }
            M::AuthResponse
            | M::Load
            | M::LoadEx
            | M::Undo
            | M::GetSerial
            | M::ZeoLoad
            | M::ModifiedInVersion
            | M::Versions
            | M::VersionEmpty
            | M::CommitVersion
            | M::AbortVersion
            | M::AnswerToTheUltimateQuestion
            | M::Serialnos
            | M::InvalidateVerify => Ok(Self::Untyped(method, args.into_value(limits)?)),
        }
    }

    /// The method, if it is one that we know.
    #[must_use]
    pub const fn method(&self) -> Option<Method> {
        Some(match self {
            Self::Plain(method)
            | Self::Verify(method, _)
            | Self::IteratorNext(method, _)
            | Self::Transaction(method, _)
            | Self::Untyped(method, _) => *method,
            Self::Register(_) => Method::Register,
            Self::SetClientLabel(_) => Method::SetClientLabel,
            Self::GetInvalidations(_) => Method::GetInvalidations,
            Self::LoadBefore(_) => Method::LoadBefore,
            Self::LoadSerial(_) => Method::LoadSerial,
            Self::GetTid(_) => Method::GetTid,
            Self::History(_) => Method::History,
            Self::RecordIternext(_) => Method::RecordIternext,
            Self::IteratorStart(_) => Method::IteratorStart,
            Self::IteratorRecordStart(_) => Method::IteratorRecordStart,
            Self::IteratorGc(_) => Method::IteratorGc,
            Self::UndoLog(_) => Method::UndoLog,
            Self::UndoInfo(_) => Method::UndoInfo,
            Self::NewOids(_) => Method::NewOids,
            Self::TpcBegin(_) => Method::TpcBegin,
            Self::Storea(_) => Method::Storea,
            Self::Restorea(_) => Method::Restorea,
            Self::DeleteObject(_) => Method::DeleteObject,
            Self::CheckCurrentSerial(_) => Method::CheckCurrentSerialInTransaction,
            Self::Undoa(_) => Method::Undoa,
            Self::StoreBlobChunk(_) => Method::StoreBlobChunk,
            Self::StoreBlobEnd(_) => Method::StoreBlobEnd,
            Self::StoreBlobShared(_) => Method::StoreBlobShared,
            Self::SendBlob(_) => Method::SendBlob,
            Self::Pack(_) => Method::Pack,
            Self::InvalidateTransaction(_) => Method::InvalidateTransaction,
            Self::Info(_) => Method::Info,
            Self::ReceiveBlobStart(_) => Method::ReceiveBlobStart,
            Self::ReceiveBlobChunk(_) => Method::ReceiveBlobChunk,
            Self::ReceiveBlobStop(_) => Method::ReceiveBlobStop,
            Self::Other { .. } => return None,
        })
    }
}

/// Takes the arguments and nothing behind them.
#[inline]
pub(crate) fn whole<'a, T: Arguments<'a>>(args: RawArgs<'a>, limits: &Limits) -> Result<T, MessageError> {
    let plain = match args {
        RawArgs::Pickle { frame, offset } => plain_pickle(frame, offset),
        RawArgs::Msgpack { frame, offset } => plain_msgpack(frame, offset),
        RawArgs::Value(_) => None,
    };
    match plain {
        Some(plain) => Ok(plain),
        None => with_cursor(args, limits),
    }
}

/// A pickle that holds the wrong thing where it is read directly may still hold the right one for Python: a
/// string that seemed to be an argument can be wrapped or dropped by later opcodes. So the error of the direct
/// way is never final.
#[inline(never)]
fn with_cursor<'a, T: Arguments<'a>>(args: RawArgs<'a>, limits: &Limits) -> Result<T, MessageError> {
    #[inline(always)]
    fn all<'a, T: Arguments<'a>>(args: &mut Args<'a>) -> Result<T, MessageError> {
        args.expect(T::COUNT)?;
        let parsed = T::parse(args)?;
        args.end()?;
        Ok(parsed)
    }
    // Each cursor is made in its place: it is large enough for moves to show.
    match args {
        RawArgs::Msgpack { frame, offset } => {
            let (reader, left) = msgpack_items(frame, offset)?;
            all(&mut Args::of_msgpack(reader, left, limits))
        }
        RawArgs::Pickle { frame, offset } => {
            // What this cursor has built is gone before the second reading builds it again.
            let direct = all(&mut Args::of_pickle(frame, offset, limits));
            match direct {
                Err(MessageError::Shape(_)) => {
                    let value = RawArgs::Pickle { frame, offset }.into_value(limits)?;
                    all(&mut RawArgs::Value(value).into_args(limits)?)
                }
                other => other,
            }
        }
        value @ RawArgs::Value(_) => all(&mut value.into_args(limits)?),
    }
}

impl Body for Call<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        match self {
            Self::Plain(_) => {
                out.tuple(0, |_| {});
                Ok(())
            }
            Self::Register(args) => args.emit(out),
            Self::SetClientLabel(args) => args.emit(out),
            Self::GetInvalidations(args) => args.emit(out),
            Self::LoadBefore(args) => args.emit(out),
            Self::LoadSerial(args) => args.emit(out),
            Self::GetTid(args) => args.emit(out),
            Self::History(args) => args.emit(out),
            Self::Verify(_, args) => args.emit(out),
            Self::RecordIternext(args) => args.emit(out),
            Self::IteratorStart(args) => args.emit(out),
            Self::IteratorNext(_, args) => args.emit(out),
            Self::IteratorRecordStart(args) => args.emit(out),
            Self::IteratorGc(args) => args.emit(out),
            Self::UndoLog(args) => args.emit(out),
            Self::UndoInfo(args) => args.emit(out),
            Self::NewOids(args) => args.emit(out),
            Self::TpcBegin(args) => args.emit(out),
            Self::Storea(args) => args.emit(out),
            Self::Restorea(args) => args.emit(out),
            Self::DeleteObject(args) => args.emit(out),
            Self::CheckCurrentSerial(args) => args.emit(out),
            Self::Undoa(args) => args.emit(out),
            Self::Transaction(_, args) => args.emit(out),
            Self::StoreBlobChunk(args) => args.emit(out),
            Self::StoreBlobEnd(args) => args.emit(out),
            Self::StoreBlobShared(args) => args.emit(out),
            Self::SendBlob(args) => args.emit(out),
            Self::Pack(args) => args.emit(out),
            Self::InvalidateTransaction(args) => args.emit(out),
            Self::Info(args) => args.emit(out),
            Self::ReceiveBlobStart(args) => args.emit(out),
            Self::ReceiveBlobChunk(args) => args.emit(out),
            Self::ReceiveBlobStop(args) => args.emit(out),
            Self::Untyped(_, args) | Self::Other { args, .. } => out.value(args),
        }
    }
}
