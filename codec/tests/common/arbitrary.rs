//! Strategies for everything that a message can say, in each dialect that can say it.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use zeo_codec::call::*;
use zeo_codec::handshake::Framing;
use zeo_codec::pickle::PickleFlavor;
use zeo_codec::{
    Call, Conflict, Construction, Dialect, Global, Method, MsgId, Object, Oid, RemoteError, Reply, Tid,
    Value, VoteItem,
};

/// Every dialect whose bytes differ.
pub fn dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![
        Just(Dialect::Z5),
        Just(Dialect::M5),
        Just(Dialect::Z5.with_pickle(PickleFlavor::Python2Protocol1)),
        Just(Dialect::Z5.with_pickle(PickleFlavor::Python2Protocol3)),
        Just(Dialect::M5.with_pickle(PickleFlavor::Python2Protocol3)),
    ]
}

fn is_python2(dialect: Dialect) -> bool {
    dialect.pickle != PickleFlavor::Python3
}

fn is_msgpack(dialect: Dialect) -> bool {
    dialect.framing == Framing::Msgpack
}

/// An attempt at a reply, as `cPickle` of Python 2 leaves it.
pub fn attempt() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u8>().prop_map(|id| vec![b'K', id]),
        any::<[u8; 2]>().prop_map(|[low, high]| vec![b'M', low, high]),
        any::<[u8; 16]>().prop_map(|pair| [b"(U\x08", &pair[..8], b"U\x08", &pair[8..], b"t"].concat()),
    ]
    .prop_map(|id| [b"(", &id[..], b"K\x00U\x06.reply"].concat())
}

pub fn oid() -> impl Strategy<Value = Oid> + Clone {
    any::<[u8; 8]>().prop_map(Oid::from_bytes)
}

pub fn tid() -> impl Strategy<Value = Tid> + Clone {
    any::<[u8; 8]>().prop_map(Tid::from_bytes)
}

pub fn bytes() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![8 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 250..260), 1 => vec(any::<u8>(), 65530..65540)]
}

fn data() -> impl Strategy<Value = Cow<'static, [u8]>> + Clone {
    bytes().prop_map(Cow::Owned)
}

pub fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![4 => any::<String>(), 2 => "[a-c]{0,2}", 1 => vec(any::<char>(), 100..300).prop_map(String::from_iter)]
}

fn str() -> impl Strategy<Value = Cow<'static, str>> + Clone {
    text().prop_map(Cow::Owned)
}

fn txn_id() -> impl Strategy<Value = TxnId> + Clone {
    number().prop_filter_map("in range", |number| u64::try_from(number).ok().map(TxnId))
}

/// Numbers around every boundary of an encoding.
pub fn number() -> impl Strategy<Value = i128> + Clone {
    prop_oneof![
        any::<i64>().prop_map(i128::from),
        any::<u64>().prop_map(i128::from),
        any::<i16>().prop_map(i128::from),
        (0_u32..64, -2_i128..3, any::<bool>()).prop_filter_map("64 bits", |(bits, more, negative)| {
            let number = (1_i128 << bits) + more;
            let number = if negative { -number } else { number };
            (i64::try_from(number).is_ok() || u64::try_from(number).is_ok()).then_some(number)
        }),
    ]
}

fn int() -> impl Strategy<Value = i64> + Clone {
    number().prop_filter_map("signed", |number| i64::try_from(number).ok())
}

fn float() -> impl Strategy<Value = f64> + Clone {
    any::<f64>().prop_filter("NaN equals nothing", |number| !number.is_nan())
}

fn leaf(dialect: Dialect) -> BoxedStrategy<Value<'static>> {
    let common = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        number().prop_map(Value::Int),
        float().prop_map(Value::Float),
        text().prop_map(Value::from),
    ];
    if is_msgpack(dialect) {
        return prop_oneof![4 => common, 1 => data().prop_map(Value::Bytes)].boxed();
    }
    let strings = match dialect.pickle {
        // Protocol 1 has only one kind of byte string.
        PickleFlavor::Python2Protocol1 => data().prop_map(Value::Native).boxed(),
        _ => prop_oneof![data().prop_map(Value::Bytes), data().prop_map(Value::Native)].boxed(),
    };
    prop_oneof![
        8 => common,
        4 => strings,
        1 => any::<i128>().prop_map(Value::Int),
        1 => vec(any::<u8>(), 17..300).prop_map(|bytes| Value::Long(bytes.into())),
        1 => data().prop_map(Value::ByteArray),
        1 => global().prop_map(Value::Global),
        1 => any::<i32>().prop_map(Value::Extension),
    ]
    .boxed()
}

fn global() -> impl Strategy<Value = Global<'static>> + Clone {
    ("[a-z.]{1,12}", "[A-Za-z.]{1,12}")
        .prop_map(|(module, name)| Global { module: module.into(), name: name.into() })
}

/// A value that the dialect can express and tell from all others.
pub fn value(dialect: Dialect) -> BoxedStrategy<Value<'static>> {
    leaf(dialect)
        .prop_recursive(4, 24, 5, move |inner| {
            let pairs = vec((inner.clone(), inner.clone()), 0..4);
            let common = prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::Tuple),
                pairs.clone().prop_map(Value::Dict),
            ];
            if is_msgpack(dialect) {
                return common.boxed();
            }
            prop_oneof![
                4 => common,
                2 => vec(inner.clone(), 0..6).prop_map(Value::List),
                1 => vec(inner.clone(), 0..4).prop_map(Value::Set),
                1 => vec(inner.clone(), 0..4).prop_map(Value::FrozenSet),
                1 => inner.clone().prop_map(|reference| Value::Persistent(Box::new(reference))),
                2 => object(inner).prop_map(|object| Value::Object(Box::new(object))),
            ]
            .boxed()
        })
        .boxed()
}

fn object(inner: BoxedStrategy<Value<'static>>) -> impl Strategy<Value = Object<'static>> {
    let construction =
        prop_oneof![Just(Construction::Reduce), Just(Construction::New), Just(Construction::Instance)];
    (
        construction,
        global(),
        vec(inner.clone(), 0..3),
        option::of(inner.clone()),
        option::of(inner.clone()),
        vec(inner.clone(), 0..3),
        vec((inner.clone(), inner), 0..3),
    )
        .prop_map(|(construction, callable, args, kwargs, state, list_items, dict_items)| Object {
            construction,
            callable: Value::Global(callable),
            args: Value::Tuple(args),
            // Only NEWOBJ_EX has keywords.
            kwargs: kwargs.filter(|_| construction == Construction::New),
            state,
            list_items,
            dict_items,
        })
}

/// Bytes or text as a client of the dialect sends its metadata.
fn metadata(dialect: Dialect) -> BoxedStrategy<Value<'static>> {
    if is_python2(dialect) && !is_msgpack(dialect) {
        data().prop_map(Value::Native).boxed()
    } else {
        prop_oneof![data().prop_map(Value::Bytes), text().prop_map(Value::from)].boxed()
    }
}

pub fn msg_id(dialect: Dialect) -> BoxedStrategy<MsgId<'static>> {
    let common =
        prop_oneof![int().prop_map(MsgId::Int), (oid(), tid()).prop_map(|(oid, tid)| MsgId::Load(oid, tid))];
    if is_python2(dialect) && !is_msgpack(dialect) {
        // The pair comes as Python 2 strings, and is kept as such.
        return prop_oneof![
            int().prop_map(MsgId::Int),
            vec(vec(any::<u8>(), 8).prop_map(|id| Value::Native(id.into())), 2)
                .prop_map(|pair| MsgId::Other(Value::Tuple(pair))),
        ]
        .boxed();
    }
    prop_oneof![2 => common, 1 => value(dialect).prop_map(MsgId::from)].boxed()
}

/// Every kind of call.
pub fn call(dialect: Dialect) -> BoxedStrategy<Call<'static>> {
    let value = value(dialect);
    let any_args = vec(value.clone(), 0..3).prop_map(Value::Tuple);
    let oid_value = if is_python2(dialect) && !is_msgpack(dialect) {
        oid().prop_map(|oid| Value::Native(oid.as_bytes().to_vec().into())).boxed()
    } else {
        oid().prop_map(Value::from).boxed()
    };
    let plain = proptest::sample::select(vec![
        Method::GetInfo,
        Method::LastTransaction,
        Method::Ping,
        Method::ServerStatus,
        Method::NewOid,
        Method::GetSizeInfo,
        Method::StoreBlobStart,
        Method::GetAuthProtocol,
        Method::GetExtensionMethods,
        Method::EndZeoVerify,
        Method::AuthGetChallenge,
        Method::BeginVerify,
        Method::EndVerify,
    ]);
    let untyped = proptest::sample::select(vec![
        Method::AuthResponse,
        Method::Load,
        Method::LoadEx,
        Method::Undo,
        Method::GetSerial,
        Method::ZeoLoad,
        Method::ModifiedInVersion,
        Method::Versions,
        Method::VersionEmpty,
        Method::CommitVersion,
        Method::AbortVersion,
        Method::AnswerToTheUltimateQuestion,
        Method::Serialnos,
        Method::InvalidateVerify,
    ]);
    let verify = proptest::sample::select(vec![Method::Verify, Method::ZeoVerify]);
    let next = proptest::sample::select(vec![Method::IteratorNext, Method::IteratorRecordNext]);
    let transaction = proptest::sample::select(vec![Method::Vote, Method::TpcFinish, Method::TpcAbort]);
    let oids = || prop_oneof![4 => vec(oid(), 0..5), 1 => vec(oid(), 998..1003)];
    prop_oneof![
        plain.prop_map(Call::Plain),
        (str(), value.clone(), option::of(value.clone())).prop_map(|(storage, read_only, credentials)| {
            Call::Register(Register { storage, read_only, credentials })
        }),
        str().prop_map(|label| Call::SetClientLabel(SetClientLabel { label })),
        tid().prop_map(|tid| Call::GetInvalidations(GetInvalidations { tid })),
        (oid(), tid()).prop_map(|(oid, before)| Call::LoadBefore(LoadBefore { oid, before })),
        (oid(), tid()).prop_map(|(oid, serial)| Call::LoadSerial(LoadSerial { oid, serial })),
        oid().prop_map(|oid| Call::GetTid(GetTid { oid })),
        (oid_value, option::of(int()))
            .prop_map(|(oid, size)| Call::History(History { oid, size: size.map(Value::from) })),
        (verify, oid(), value.clone())
            .prop_map(|(method, oid, serial)| Call::Verify(method, Verify { oid, serial })),
        option::of(oid()).prop_map(|start| Call::RecordIternext(RecordIternext { start })),
        (option::of(tid()), option::of(tid()))
            .prop_map(|(start, stop)| Call::IteratorStart(IteratorStart { start, stop })),
        (next, int()).prop_map(|(method, id)| Call::IteratorNext(method, IteratorNext { id })),
        (int(), tid()).prop_map(|(id, tid)| Call::IteratorRecordStart(IteratorRecordStart { id, tid })),
        vec(int(), 0..5).prop_map(|ids| Call::IteratorGc(IteratorGc { ids })),
        (int(), int()).prop_map(|(first, last)| Call::UndoLog(UndoLog { first, last })),
        (int(), int(), value.clone()).prop_map(|(first, last, specification)| Call::UndoInfo(UndoInfo {
            first,
            last,
            specification
        })),
        option::of(int()).prop_map(|count| Call::NewOids(NewOids { count })),
        (txn_id(), metadata(dialect), metadata(dialect), value.clone(), option::of(tid()), str()).prop_map(
            |(id, user, description, extension, tid, status)| Call::TpcBegin(TpcBegin {
                id,
                user,
                description,
                extension,
                tid,
                status
            })
        ),
        (oid(), tid(), data(), txn_id()).prop_map(|(oid, serial, data, id)| Call::Storea(Storea {
            oid,
            serial,
            data,
            id
        })),
        (oid(), tid(), option::of(data()), option::of(tid()), txn_id()).prop_map(
            |(oid, serial, data, prev_txn, id)| Call::Restorea(Restorea { oid, serial, data, prev_txn, id })
        ),
        (oid(), tid(), txn_id()).prop_map(|(oid, serial, id)| Call::DeleteObject(DeleteObject {
            oid,
            serial,
            id
        })),
        (oid(), tid(), txn_id()).prop_map(|(oid, serial, id)| Call::CheckCurrentSerial(CheckCurrentSerial {
            oid,
            serial,
            id
        })),
        (data(), txn_id()).prop_map(|(undo_id, id)| Call::Undoa(Undoa { undo_id, id })),
        (transaction, txn_id()).prop_map(|(method, id)| Call::Transaction(method, TransactionRef { id })),
        data().prop_map(|chunk| Call::StoreBlobChunk(StoreBlobChunk { chunk })),
        (oid(), tid(), data(), txn_id())
            .prop_map(|(oid, serial, data, id)| Call::StoreBlobEnd(StoreBlobEnd { oid, serial, data, id })),
        (oid(), tid(), data(), str(), txn_id()).prop_map(|(oid, serial, data, file_name, id)| {
            Call::StoreBlobShared(StoreBlobShared { oid, serial, data, file_name, id })
        }),
        (oid(), tid()).prop_map(|(oid, serial)| Call::SendBlob(SendBlob { oid, serial })),
        (float(), option::of(value.clone())).prop_map(|(time, wait)| Call::Pack(Pack { time, wait })),
        (tid(), oids())
            .prop_map(|(tid, oids)| Call::InvalidateTransaction(InvalidateTransaction { tid, oids })),
        value.clone().prop_map(|changes| Call::Info(Info { changes })),
        (oid(), tid()).prop_map(|(oid, serial)| Call::ReceiveBlobStart(ReceiveBlobStart { oid, serial })),
        (oid(), tid(), data()).prop_map(|(oid, serial, chunk)| Call::ReceiveBlobChunk(ReceiveBlobChunk {
            oid,
            serial,
            chunk
        })),
        (oid(), tid()).prop_map(|(oid, serial)| Call::ReceiveBlobStop(ReceiveBlobStop { oid, serial })),
        (untyped, any_args).prop_map(|(method, args)| Call::Untyped(method, args)),
    ]
    .boxed()
}

fn vote_item() -> impl Strategy<Value = VoteItem<'static>> + Clone {
    prop_oneof![
        oid().prop_map(VoteItem::Resolved),
        (oid(), tid(), tid(), data()).prop_map(|(oid, committed, read, data)| {
            VoteItem::Conflict(Conflict { oid, committed, read, data })
        }),
    ]
}

/// Every kind of reply, with a method that it can answer.
pub fn reply(dialect: Dialect) -> BoxedStrategy<(Option<Method>, Reply<'static>)> {
    let method = || option::of(proptest::sample::select(Method::ALL));
    let tid_method = proptest::sample::select(vec![
        Method::Register,
        Method::LastTransaction,
        Method::GetTid,
        Method::TpcFinish,
    ]);
    let id_method = proptest::sample::select(vec![Method::IteratorStart, Method::IteratorRecordStart]);
    let value_method = proptest::sample::select(vec![Method::GetInfo, Method::UndoLog, Method::ServerStatus]);
    prop_oneof![
        method().prop_map(|method| (method, Reply::None)),
        (tid_method, tid()).prop_map(|(method, tid)| (Some(method), Reply::Tid(tid))),
        (data(), tid(), option::of(tid())).prop_map(|(data, serial, end)| {
            (Some(Method::LoadBefore), Reply::Loaded(Loaded { data, serial, end }))
        }),
        data().prop_map(|data| (Some(Method::LoadSerial), Reply::Data(data))),
        (tid(), vec(oid(), 0..4)).prop_map(|(tid, oids)| {
            (Some(Method::GetInvalidations), Reply::Invalidations(Invalidations { tid, oids }))
        }),
        vec(oid(), 0..4).prop_map(|oids| (Some(Method::NewOids), Reply::Oids(oids))),
        vec(vote_item(), 0..4).prop_map(|items| (Some(Method::Vote), Reply::Voted(items))),
        (id_method, int()).prop_map(|(method, id)| (Some(method), Reply::IteratorId(id))),
        (tid(), str(), data(), data(), value(dialect)).prop_map(
            |(tid, status, user, description, extension)| {
                let transaction = TransactionInfo { tid, status, user, description, extension };
                (Some(Method::IteratorNext), Reply::Transaction(transaction))
            }
        ),
        (oid(), tid(), option::of(data()), option::of(tid())).prop_map(|(oid, tid, data, data_txn)| {
            (Some(Method::IteratorRecordNext), Reply::Record(RecordInfo { oid, tid, data, data_txn }))
        }),
        (oid(), tid(), data(), option::of(oid())).prop_map(|(oid, serial, data, next)| {
            (Some(Method::RecordIternext), Reply::CurrentRecord(CurrentRecord { oid, serial, data, next }))
        }),
        (option::of(value_method), value(dialect)).prop_map(|(method, value)| match value {
            Value::None => (method, Reply::None),
            value => (method, Reply::Value(value)),
        }),
    ]
    .boxed()
}

/// An error in ZEO 5's shape.
pub fn error(dialect: Dialect) -> BoxedStrategy<RemoteError<'static>> {
    (str(), value(dialect)).prop_map(|(class, detail)| RemoteError { class, detail }).boxed()
}
