//! Results and errors. A reply does not name its method: only who sent the call can type it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::args::{Args, Count, RawArgs};
use crate::call::{
    self, Arguments, CurrentRecord, Invalidations, Loaded, Method, RecordInfo, TransactionInfo,
};
use crate::emit::{Emit, EncodeError};
use crate::envelope::Body;
use crate::error::{Expected, MessageError, ShapeError};
use crate::limits::Limits;
use crate::value::{Global, Value};
use crate::{Oid, Tid};

/// The result of a call, typed by its method.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply<'a> {
    /// `None`, where the method has no result or says "nothing".
    None,
    /// A tid: `register` and `lastTransaction`, `getTid`, `tpc_finish`.
    Tid(Tid),
    /// `loadBefore`
    Loaded(Loaded<'a>),
    /// `loadSerial`
    Data(Cow<'a, [u8]>),
    /// `getInvalidations`
    Invalidations(Invalidations),
    /// `new_oids`
    Oids(Vec<Oid>),
    /// `vote` of ZEO 5
    Voted(Vec<VoteItem<'a>>),
    /// `iterator_start` and `iterator_record_start`
    IteratorId(i64),
    /// `iterator_next`
    Transaction(TransactionInfo<'a>),
    /// `iterator_record_next`
    Record(RecordInfo<'a>),
    /// `record_iternext`
    CurrentRecord(CurrentRecord<'a>),
    /// Dicts and lists of dicts: `get_info`, `server_status`, `history`, `undoLog`, `undoInfo`; and the
    /// results of methods that we do not know.
    Value(Value<'a>),
}

/// An element of the result of `vote`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoteItem<'a> {
    /// The server resolved or restored this object; the client must not keep its own data.
    Resolved(Oid),
    /// The client is to resolve this conflict, store the outcome, and vote again.
    Conflict(Conflict<'a>),
}

/// A conflict handed to the client (protocol reference 9.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// The object.
    pub oid: Oid,
    /// Its current serial.
    pub committed: Tid,
    /// The serial that the client read.
    pub read: Tid,
    /// What the client stored.
    pub data: Cow<'a, [u8]>,
}

impl<'a> Reply<'a> {
    /// Types the result of a call to `method`; `None` for a method that we do not know.
    ///
    /// # Errors
    /// [`MessageError::Shape`] if it is not what the method returns.
    pub fn parse(method: Option<Method>, result: RawArgs<'a>, limits: &Limits) -> Result<Self, MessageError> {
        use Method as M;
        if result.is_none() {
            return Ok(Self::None);
        }
        match method {
            Some(M::LoadBefore) => Self::tuple(result, limits, Self::Loaded),
            Some(M::GetInvalidations) => Self::tuple(result, limits, Self::Invalidations),
            Some(M::IteratorNext) => Self::tuple(result, limits, Self::Transaction),
            Some(M::IteratorRecordNext) => Self::tuple(result, limits, Self::Record),
            Some(M::RecordIternext) => Self::tuple(result, limits, Self::CurrentRecord),
            Some(M::Register | M::LastTransaction | M::GetTid | M::TpcFinish) => {
                Self::single(result, limits, tid, Self::Tid, Expected::EightBytes)
            }
            Some(M::LoadSerial) => Self::single(result, limits, into_bytes, Self::Data, Expected::Bytes),
            Some(M::NewOids) => Self::single(result, limits, oids, Self::Oids, Expected::Sequence),
            Some(M::Vote) => Self::single(result, limits, vote_items, Self::Voted, Expected::Sequence),
            Some(M::IteratorStart | M::IteratorRecordStart) => {
                Self::single(result, limits, number, Self::IteratorId, Expected::Int)
            }
            // Dicts and lists of dicts.
            Some(M::GetInfo | M::GetSizeInfo | M::ServerStatus | M::History | M::UndoLog | M::UndoInfo)
            // What ZEO 4 has beside, and what has no result but `None`: kept if it comes all the same.
            | Some(
                M::GetAuthProtocol | M::AuthGetChallenge | M::AuthResponse | M::GetExtensionMethods | M::Load
                | M::LoadEx | M::GetSerial | M::ZeoLoad | M::ModifiedInVersion | M::Versions | M::VersionEmpty
                | M::CommitVersion | M::AbortVersion | M::AnswerToTheUltimateQuestion | M::NewOid | M::Undo | M::Ping | M::TpcAbort | M::SendBlob | M::Pack
                | M::SetClientLabel | M::Verify | M::ZeoVerify | M::EndZeoVerify | M::IteratorGc | M::TpcBegin
                | M::Storea | M::Restorea | M::DeleteObject | M::CheckCurrentSerialInTransaction | M::Undoa
                | M::StoreBlobStart | M::StoreBlobChunk | M::StoreBlobEnd | M::StoreBlobShared
                | M::InvalidateTransaction | M::Info | M::ReceiveBlobStart | M::ReceiveBlobChunk
                | M::ReceiveBlobStop | M::Serialnos | M::InvalidateVerify | M::BeginVerify | M::EndVerify,
            )
            | None => Self::single(result, limits, Some, Self::Value, Expected::More),
        }
    }

    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Reply<'static> {
        match self {
            Self::None => Reply::None,
            Self::Tid(tid) => Reply::Tid(tid),
            Self::Loaded(loaded) => Reply::Loaded(loaded.into_owned()),
            Self::Data(data) => Reply::Data(Cow::Owned(data.into_owned())),
            Self::Invalidations(invalidations) => Reply::Invalidations(invalidations),
            Self::Oids(oids) => Reply::Oids(oids),
            Self::Voted(items) => Reply::Voted(items.into_iter().map(VoteItem::into_owned).collect()),
            Self::IteratorId(id) => Reply::IteratorId(id),
            Self::Transaction(transaction) => Reply::Transaction(transaction.into_owned()),
            Self::Record(record) => Reply::Record(record.into_owned()),
            Self::CurrentRecord(record) => Reply::CurrentRecord(record.into_owned()),
            Self::Value(value) => Reply::Value(value.into_owned()),
        }
    }

    /// A result that is no tuple of several things.
    fn single<T>(
        result: RawArgs<'a>,
        limits: &Limits,
        read: impl FnOnce(Value<'a>) -> Option<T>,
        reply: fn(T) -> Self,
        expected: Expected,
    ) -> Result<Self, MessageError> {
        match result.into_value(limits)? {
            Value::None => Ok(Self::None),
            value => read(value).map(reply).ok_or_else(|| ShapeError { index: 0, expected }.into()),
        }
    }

    #[inline]
    fn tuple<T: Arguments<'a>>(
        result: RawArgs<'a>,
        limits: &Limits,
        reply: fn(T) -> Self,
    ) -> Result<Self, MessageError> {
        let RawArgs::Pickle { frame, offset } = result else { return call::whole(result, limits).map(reply) };
        let result = || RawArgs::Pickle { frame, offset };
        match call::whole(result(), limits) {
            // `None` can be written in many opcodes; only the plainest was told at once.
            Err(MessageError::Shape(_)) if result().into_value(limits)? == Value::None => Ok(Self::None),
            other => other.map(reply),
        }
    }
}

fn tid(value: Value<'_>) -> Option<Tid> {
    value.as_bytes().and_then(Tid::from_slice)
}

fn oid(value: &Value<'_>) -> Option<Oid> {
    value.as_bytes().and_then(Oid::from_slice)
}

fn oids(value: Value<'_>) -> Option<Vec<Oid>> {
    value.as_sequence()?.iter().map(oid).collect()
}

fn number(value: Value<'_>) -> Option<i64> {
    value.as_int()?.try_into().ok()
}

fn into_bytes(value: Value<'_>) -> Option<Cow<'_, [u8]>> {
    let (Value::Bytes(bytes) | Value::Native(bytes)) = value else { return None };
    Some(bytes)
}

fn vote_items(value: Value<'_>) -> Option<Vec<VoteItem<'_>>> {
    let (Value::List(items) | Value::Tuple(items)) = value else { return None };
    items.into_iter().map(VoteItem::from_value).collect()
}

impl<'a> VoteItem<'a> {
    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> VoteItem<'static> {
        match self {
            Self::Resolved(oid) => VoteItem::Resolved(oid),
            Self::Conflict(Conflict { oid, committed, read, data }) => {
                let data = Cow::Owned(data.into_owned());
                VoteItem::Conflict(Conflict { oid, committed, read, data })
            }
        }
    }

    fn from_value(value: Value<'a>) -> Option<Self> {
        if let Some(oid) = oid(&value) {
            return Some(Self::Resolved(oid));
        }
        let serials = value.get("serials")?.as_sequence()?;
        let [committed, read] = serials else { return None };
        let tid = |serial: &Value<'_>| serial.as_bytes().and_then(Tid::from_slice);
        let (committed, read) = (tid(committed)?, tid(read)?);
        let oid = oid(value.get("oid")?)?;
        let Value::Dict(pairs) = value else { return None };
        let data = into_bytes(pairs.into_iter().rev().find(|(key, _)| key.is_name("data"))?.1)?;
        Some(Self::Conflict(Conflict { oid, committed, read, data }))
    }

    fn emit(&self, out: &mut impl Emit) {
        match self {
            Self::Resolved(oid) => out.oid(*oid),
            Self::Conflict(conflict) => out.dict(3, |out| {
                out.text("oid");
                out.oid(conflict.oid);
                out.text("serials");
                out.tuple(2, |out| {
                    out.tid(conflict.committed);
                    out.tid(conflict.read);
                });
                out.text("data");
                out.bytes(&conflict.data);
            }),
        }
    }
}

impl Body for Reply<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        match self {
            Self::None => out.none(),
            Self::Tid(tid) => out.tid(*tid),
            Self::Loaded(loaded) => return loaded.emit(out),
            Self::Data(data) => out.bytes(data),
            Self::Invalidations(invalidations) => return invalidations.emit(out),
            Self::Oids(oids) => out.list(oids.iter(), |out, oid| out.oid(*oid)),
            Self::Voted(items) => out.list(items.iter(), |out, item| item.emit(out)),
            Self::IteratorId(id) => out.int(*id),
            Self::Transaction(transaction) => return transaction.emit(out),
            Self::Record(record) => return record.emit(out),
            Self::CurrentRecord(record) => return record.emit(out),
            Self::Value(value) => return out.value(value),
        }
        Ok(())
    }
}

/// An error as the peer sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteError<'a> {
    /// Full name of the class, for example `ZODB.POSException.POSKeyError`.
    pub class: Cow<'a, str>,
    /// The exception's attributes (a dict) if it has any, else its arguments (a tuple); protocol
    /// reference 6.1. From ZEO 4 servers, the pickled instance.
    pub detail: Value<'a>,
}

impl<'a> RemoteError<'a> {
    /// An error whose detail is a tuple of arguments.
    #[must_use]
    pub fn new(class: &'a str, args: Vec<Value<'a>>) -> Self {
        Self { class: Cow::Borrowed(class), detail: Value::Tuple(args) }
    }

    /// Reads the result of a ZEO 5 reply whose flag says that it is an error.
    ///
    /// # Errors
    /// [`MessageError::Shape`] if it is no pair of a name and something.
    pub fn parse(result: RawArgs<'a>, limits: &Limits) -> Result<Self, MessageError> {
        call::whole(result, limits)
    }

    /// Copies whatever is borrowed.
    #[must_use]
    pub fn into_owned(self) -> RemoteError<'static> {
        RemoteError { class: Cow::Owned(self.class.into_owned()), detail: self.detail.into_owned() }
    }

    /// Reads the result of a ZEO 4 reply, if it is an error: a tuple that begins with an exception class
    /// (protocol reference 6.2).
    #[must_use]
    pub fn from_zeo4(value: &Value<'a>) -> Option<Self> {
        let Value::Tuple(items) = value else { return None };
        let [Value::Global(class), instance] = items.as_slice() else { return None };
        let mut name = String::from(class.module.as_ref());
        name.push('.');
        name.push_str(&class.name);
        Some(Self { class: Cow::Owned(name), detail: instance.clone() })
    }

    /// What a ZEO 4 server answers: the pair of exception class and instance, where `detail` is the pickled
    /// instance. `None` if the class has no module.
    #[must_use]
    pub fn by_value(&self) -> Option<Value<'_>> {
        let (module, name) = self.class.rsplit_once('.')?;
        let class = Value::Global(Global { module: Cow::Borrowed(module), name: Cow::Borrowed(name) });
        Some(Value::Tuple(alloc::vec![class, self.detail.clone()]))
    }
}

impl<'a> Arguments<'a> for RemoteError<'a> {
    const COUNT: Count = Count::exactly(2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { class: args.text()?, detail: args.value()? })
    }
}

impl Body for RemoteError<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(2, |out| {
            out.text(&self.class);
            result = out.value(&self.detail);
        });
        result
    }
}
