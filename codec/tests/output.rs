//! What stands in an output leaves it in order, however it is written, and whether it was copied or not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use bytes::Bytes;
use common::{arbitrary, messages};
use proptest::prelude::*;
use zeo_codec::call::{Loaded, Storea};
use zeo_codec::frame::write_frame;
use zeo_codec::session::{ClientSession, Output};
use zeo_codec::{
    Call, Dialect, Emit, EncodeError, Envelope, Flag, Limits, Method, MsgId, Oid, REPLY, Reply, Tid, Value,
    write_message,
};

const LIMITS: Limits = Limits::DEFAULT;

/// All that is in an output, and its parts for a vectored write.
fn content(output: &Output) -> (Vec<u8>, usize) {
    let parts: Vec<&[u8]> = output.slices().collect();
    assert!(parts.iter().all(|part| !part.is_empty()));
    assert_eq!(parts.first().copied().unwrap_or_default(), output.unwritten());
    let content = parts.concat();
    assert_eq!(content.len(), output.len());
    (content, parts.len())
}

/// Reads a message and writes it again without copying its records, as a proxy would.
fn pass_on(output: &mut Output, dialect: &Dialect, payload: &Bytes, answers: Option<Method>) {
    let envelope = Envelope::parse(payload, dialect.framing, &LIMITS).unwrap();
    if envelope.is_reply() {
        let reply = Reply::parse(answers, envelope.args, &LIMITS).unwrap();
        output.message_sharing(dialect, &envelope.id, envelope.flag, REPLY, &reply, payload).unwrap();
    } else {
        let method = Method::from_name(&envelope.name).unwrap();
        let call = Call::parse(method, envelope.args, &LIMITS).unwrap();
        let (id, flag) = (&envelope.id, envelope.flag);
        output.message_sharing(dialect, id, flag, method.name(), &call, payload).unwrap();
    }
}

fn frame(dialect: &Dialect, id: &MsgId<'_>, flag: Flag, name: &str, body: &impl zeo_codec::Body) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(&mut out, dialect, id, flag, name, body).unwrap();
    out
}

fn message(dialect: Dialect) -> BoxedStrategy<(Vec<u8>, Option<Method>)> {
    let flag = Flag::Bool(false);
    let call = (arbitrary::msg_id(dialect), arbitrary::call(dialect))
        .prop_map(move |(id, call)| (frame(&dialect, &id, flag, call.method().unwrap().name(), &call), None));
    let reply = (arbitrary::msg_id(dialect), arbitrary::reply(dialect))
        .prop_map(move |(id, (method, reply))| (frame(&dialect, &id, Flag::RESULT, REPLY, &reply), method));
    let large = (2000_usize..5000, any::<bool>()).prop_map(move |(len, is_call)| {
        let (payload, method) = if is_call {
            (messages::storea(&dialect, len), None)
        } else {
            (messages::loaded(&dialect, len), Some(Method::LoadBefore))
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, &payload);
        (frame, method)
    });
    prop_oneof![call, reply, large].boxed()
}

/// Frames, with the methods that replies answer.
type Frames = Vec<(Vec<u8>, Option<Method>)>;

fn messages() -> impl Strategy<Value = (Dialect, Frames)> {
    prop_oneof![Just(Dialect::Z5), Just(Dialect::M5)]
        .prop_flat_map(|dialect| (Just(dialect), prop::collection::vec(message(dialect), 1..6)))
}

proptest! {
    /// Whatever passes through comes out as it came, in whatever steps it is written, also while more is added.
    #[test]
    fn passes_everything_on(
        (dialect, messages) in messages(),
        steps in prop::collection::vec(0_usize..6000, 1..40),
    ) {
        let expected: Vec<u8> = messages.iter().flat_map(|(frame, _)| frame.clone()).collect();
        let mut output = Output::default();
        let mut written = Vec::new();
        let mut steps = steps.iter().cycle();
        let mut write = |output: &mut Output, written: &mut Vec<u8>| {
            let (content, _) = content(output);
            let len = content.len().min(*steps.next().unwrap());
            written.extend_from_slice(&content[..len]);
            output.consume(len);
            len
        };
        for (frame, method) in messages {
            let payload = Bytes::from(frame).slice(4..);
            pass_on(&mut output, &dialect, &payload, method);
            write(&mut output, &mut written);
        }
        while !output.is_empty() {
            write(&mut output, &mut written);
            // As a driver does that writes one part after the other.
            let part = output.unwritten().to_vec();
            prop_assert!(!part.is_empty() || output.is_empty());
            written.extend_from_slice(&part);
            output.consume(part.len());
        }
        prop_assert_eq!(output.slices().count(), 0);
        prop_assert_eq!(written, expected);
    }
}

#[test]
fn only_large_records_of_the_given_memory_stay_where_they_are() {
    let memory = Bytes::from(vec![7; 100_000]);
    let elsewhere = vec![7; 100_000];
    let small = &memory[..2047];
    let cases =
        [(&memory[..], 3), (&memory[10..2058], 3), (small, 1), (&elsewhere[..], 1), (&memory[..0], 1)];
    for dialect in [Dialect::Z5, Dialect::M5] {
        for (data, part_count) in cases {
            let storea = Storea {
                oid: Oid::ZERO,
                serial: Tid::ZERO,
                data: data.into(),
                id: zeo_codec::call::TxnId(1),
            };
            let call = Call::Storea(storea);
            let mut output = Output::default();
            output
                .message_sharing(&dialect, &MsgId::ONE_WAY, Flag::Bool(true), "storea", &call, &memory)
                .unwrap();
            let expected = frame(&dialect, &MsgId::ONE_WAY, Flag::Bool(true), "storea", &call);
            assert_eq!(content(&output), (expected, part_count), "{:?}", dialect.framing);
        }
    }
}

#[test]
fn what_cannot_be_expressed_leaves_nothing_behind() {
    let memory = Bytes::from(vec![7; 4096]);
    // The record is shared, and only then msgpack finds that it has no form for a set.
    let body = Value::Tuple(vec![Value::from(&memory[..]), Value::Set(vec![])]);
    let mut output = Output::default();
    let send = |output: &mut Output, body: &Value<'_>| {
        output.message_sharing(&Dialect::M5, &MsgId::Int(1), Flag::RESULT, REPLY, body, &memory)
    };
    send(&mut output, &Value::from(&memory[..])).unwrap();
    let before = content(&output);
    assert_eq!(before.1, 2);
    assert!(send(&mut output, &body).is_err());
    assert_eq!(content(&output), before);
}

#[test]
fn a_client_sends_records_from_where_they_lie() {
    for hello in [b"\0\0\0\x02Z5", b"\0\0\0\x02M5"] {
        let data = Bytes::from(vec![9; 1 << 20]);
        let mut session = ClientSession::new(LIMITS);
        session.receive(hello);
        session.poll_event().unwrap();
        session.consume_output(session.output_len());
        let id = zeo_codec::call::TxnId(7);
        let storea = Storea { oid: Oid::ZERO, serial: Tid::ZERO, data: (&data[..]).into(), id };
        let call = Call::Storea(storea);
        assert_eq!(session.call_sharing(&call, &data), Ok(MsgId::ONE_WAY));
        assert!(session.output_slices().any(|part| part.as_ptr_range() == data.as_ptr_range()));
        let shared: Vec<u8> = session.output_slices().collect::<Vec<_>>().concat();
        session.consume_output(session.output_len());
        session.call(&call).unwrap();
        assert_eq!(shared, session.output());
    }
}

/// The reply to a `loadBefore`, with a hole in place of the data.
struct Around(usize);

impl zeo_codec::Body for Around {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(3, |out| {
            out.bytes_hole(self.0);
            out.tid(Tid::from_u64(5));
            out.none();
        });
        Ok(())
    }
}

/// So many holes, which is right only if it is one.
struct Holes(usize);

impl zeo_codec::Body for Holes {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(self.0, |out| (0..self.0).for_each(|_| out.bytes_hole(3)));
        Ok(())
    }
}

/// One load: what is read before its length is known, its length, and its id.
fn load() -> impl Strategy<Value = (Option<usize>, usize, MsgId<'static>)> {
    // Where the header of the data changes its length, in either framing.
    let boundary = prop::sample::select(vec![0_usize, 255, 256, 4096, 65_535, 65_536]);
    let data_len = prop_oneof![boundary.prop_flat_map(|len| len.saturating_sub(2)..len + 3), 0_usize..2000];
    let id = prop_oneof![
        Just(MsgId::Load(Oid::from_u64(9), Tid::MAX)),
        any::<i64>().prop_map(MsgId::Int),
        (0_usize..3000).prop_map(|len| MsgId::Other(Value::Text("x".repeat(len).into()))),
    ];
    let room_len = prop_oneof![
        Just(None),
        (0_usize..70_000).prop_map(|len| Some(Err(len))),
        (0_usize..100).prop_map(|more| Some(Ok(more)))
    ];
    (room_len, data_len, id).prop_map(|(room_len, data_len, id)| {
        // Any length, or a little more than the data.
        (
            room_len.map(|len| len.unwrap_or_else(|len| len).max(len.map_or(0, |more| data_len + more))),
            data_len,
            id,
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Data that is read into its place leaves as data that was copied does, whatever stands around it and whatever
    /// was guessed.
    #[test]
    fn messages_around_data_are_the_typed_messages(
        dialect in prop_oneof![Just(Dialect::Z5), Just(Dialect::M5)],
        loads in prop::collection::vec((load(), any::<u8>()), 1..12),
    ) {
        let mut output = Output::default();
        let (mut written, mut expected) = (Vec::new(), Vec::new());
        for (number, ((room_len, data_len, id), dice)) in (1_u32..).zip(loads) {
            let data: Vec<u8> = (number..).flat_map(u32::to_be_bytes).take(data_len).collect();
            if dice % 4 == 0 {
                // Between two loads another message, which may follow a room that nobody used.
                output.room(usize::from(dice)).fill(0xaa);
                output.frame(b"between");
                expected.extend_from_slice(b"\0\0\0\x07between");
            }
            let mut read_len = 0;
            if let Some(room_len) = room_len {
                let room = output.room(room_len);
                prop_assert_eq!(room.len(), room_len);
                room.fill(0xbb);
                read_len = room_len.min(data_len);
                room[..read_len].copy_from_slice(&data[..read_len]);
            }
            output.message_around(&dialect, &id, Flag::RESULT, REPLY, &Around(data_len)).unwrap();
            prop_assert_eq!(output.data_mut().len(), data_len);
            output.data_mut()[read_len..].copy_from_slice(&data[read_len..]);
            let loaded = Loaded { data: data.into(), serial: Tid::from_u64(5), end: None };
            expected.extend(frame(&dialect, &id, Flag::RESULT, REPLY, &loaded));
            if dice % 3 == 0 {
                let (content, _) = content(&output);
                let len = content.len() * usize::from(dice) / 255;
                written.extend_from_slice(&content[..len]);
                output.consume(len);
            }
        }
        written.extend(content(&output).0);
        prop_assert!(written == expected, "{} and {} bytes", written.len(), expected.len());
    }
}

#[test]
fn a_message_around_data_has_one_hole_and_others_have_none() {
    for dialect in [Dialect::Z5, Dialect::M5] {
        let mut output = Output::default();
        output.frame(b"before");
        for count in 0..3 {
            let id = MsgId::Int(1);
            let around = |output: &mut Output| {
                output.message_around(&dialect, &id, Flag::RESULT, REPLY, &Holes(count)).is_ok()
            };
            let mark = output.mark();
            assert_eq!(around(&mut output), count == 1);
            output.take_back(mark);
            let plain = output.message(&dialect, &id, Flag::RESULT, REPLY, &Holes(count));
            assert_eq!(plain.is_ok(), count == 0);
            output.take_back(mark);
            assert_eq!(output.unwritten(), b"\0\0\0\x06before");
        }
        let too_long = output.message_around(&dialect, &MsgId::Int(1), Flag::RESULT, REPLY, &Around(1 << 32));
        assert!(too_long.is_err());
        assert_eq!(output.unwritten(), b"\0\0\0\x06before");
    }
}
