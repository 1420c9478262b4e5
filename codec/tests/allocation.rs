//! What decoding takes from the heap: nothing where nothing needs to be built.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::hint::black_box;

use allocation_counter::measure;
use bytes::Bytes;
use common::messages;
use zeo_codec::frame::{Deframer, MacBit, write_frame};
use zeo_codec::session::Output;
use zeo_codec::{Call, Dialect, Envelope, Limits, Method, MsgId, RawArgs, Reply};

const DIALECTS: [Dialect; 2] = [Dialect::Z5, Dialect::M5];
const LIMITS: Limits = Limits::DEFAULT;

fn call<'a>(payload: &'a [u8], dialect: &Dialect) -> Call<'a> {
    let envelope = Envelope::parse(payload, dialect.framing, &LIMITS).unwrap();
    let method = Method::from_name(&envelope.name).unwrap();
    Call::parse(method, envelope.args, &LIMITS).unwrap()
}

fn reply<'a>(payload: &'a [u8], dialect: &Dialect, method: Method) -> Reply<'a> {
    let envelope = Envelope::parse(payload, dialect.framing, &LIMITS).unwrap();
    Reply::parse(Some(method), envelope.args, &LIMITS).unwrap()
}

/// How many allocations `run` makes.
fn allocations(run: impl FnMut()) -> u64 {
    measure(run).count_total
}

#[test]
fn messages_of_plain_arguments_take_nothing() {
    for dialect in &DIALECTS {
        let calls = [
            "C loadBefore",
            "C storea",
            "C vote",
            "C tpc_begin",
            "C tpc_finish",
            "C register",
            "C getInvalidations",
        ];
        for title in calls {
            let payload = messages::captured(dialect, title);
            let count = allocations(|| {
                black_box(call(black_box(&payload), dialect));
            });
            assert_eq!(count, 0, "{title} {:?}", dialect.framing);
        }
        for (title, method) in [
            ("S reply of loadBefore", Method::LoadBefore),
            ("S reply of loadBefore (None)", Method::LoadBefore),
            ("S reply of tpc_finish", Method::TpcFinish),
            ("S reply of record_iternext", Method::RecordIternext),
        ] {
            let payload = messages::captured(dialect, title);
            let count = allocations(|| {
                black_box(reply(black_box(&payload), dialect, method));
            });
            assert_eq!(count, 0, "{title} {:?}", dialect.framing);
        }
        let payload = messages::storea(dialect, 1 << 20);
        assert_eq!(allocations(|| drop(black_box(call(&payload, dialect)))), 0);
    }
}

#[test]
fn an_invalidation_takes_its_list() {
    for dialect in &DIALECTS {
        for count in [1, 2, 100, 1000, 1001, 5000] {
            let payload = messages::invalidate(dialect, count);
            let allocations = allocations(|| {
                black_box(call(black_box(&payload), dialect));
            });
            assert!(allocations <= 1, "{count} oids, {:?}: {allocations}", dialect.framing);
        }
    }
}

#[test]
fn a_large_payload_stays_in_its_frame() {
    for dialect in &DIALECTS {
        let storea = messages::storea(dialect, 1 << 20);
        let loaded = messages::loaded(dialect, 1 << 20);
        let mut stream = Vec::new();
        write_frame(&mut stream, &storea);
        write_frame(&mut stream, &loaded);
        let mut deframer = Deframer::new(1 << 21, MacBit::IsLength);
        deframer.push(&stream);
        let frame = deframer.next_frame().unwrap().unwrap();
        let Call::Storea(args) = call(&frame.payload, dialect) else { panic!() };
        assert_inside(&frame.payload, &args.data);
        let frame = deframer.next_frame().unwrap().unwrap();
        let Reply::Loaded(loaded) = reply(&frame.payload, dialect, Method::LoadBefore) else { panic!() };
        assert_inside(&frame.payload, &loaded.data);
    }
}

/// What a proxy or client does: the record goes from the memory in which it lies to the socket.
#[test]
fn a_large_record_is_not_copied_into_the_output() {
    for dialect in &DIALECTS {
        let payload = Bytes::from(messages::storea(dialect, 1 << 20));
        let call = call(&payload, dialect);
        let Call::Storea(args) = &call else { panic!() };
        let mut output = Output::default();
        let send = |output: &mut Output| {
            let (flag, name) = (dialect.call_flag(true), Method::Storea.name());
            output.message_sharing(dialect, &MsgId::ONE_WAY, flag, name, &call, &payload).unwrap();
        };
        send(&mut output);
        let parts: Vec<&[u8]> = output.slices().collect();
        let [header, record, rest] = parts[..] else { panic!("{} parts", parts.len()) };
        assert_eq!(record.as_ptr_range(), args.data.as_ptr_range());
        assert_eq!([&header[4..], record, rest].concat(), payload);
        assert_eq!(header[..4], u32::try_from(payload.len()).unwrap().to_be_bytes());
        output.consume(output.len());
        // The buffers are there now: another message takes nothing.
        assert_eq!(allocations(|| send(&mut output)), 0);
    }
}

#[track_caller]
fn assert_inside(frame: &[u8], data: &[u8]) {
    assert_eq!(data.len(), 1 << 20);
    assert!(frame.as_ptr_range().contains(&data.as_ptr()));
    assert!(data.as_ptr_range().end <= frame.as_ptr_range().end);
}

/// Frames that are complete in the buffer are handed out without a copy.
#[test]
fn deframing_takes_nothing_for_each_frame() {
    let mut stream = Vec::new();
    for _ in 0..100 {
        write_frame(&mut stream, &messages::captured(&Dialect::Z5, "C loadBefore"));
    }
    let mut deframer = Deframer::new(1000, MacBit::IsLength);
    deframer.push(&stream);
    // The buffer becomes shared once, when the first frame is split off.
    let count = allocations(|| {
        for _ in 0..100 {
            black_box(deframer.next_frame().unwrap().unwrap());
        }
    });
    assert!(count <= 1, "{count}");
}

/// What [`Limits::value_count`] promises. These are the shapes that take the most for each byte, or value.
#[test]
fn a_message_takes_no_more_memory_than_is_said() {
    // Within the limit, beside what stands around the arguments.
    let many = LIMITS.value_count - 100;
    let pickled = |args: &[u8]| [b"\x80\x03(K\x01\x89X\x0a\0\0\0loadBefore", args, b"t."].concat();
    let pickles = [
        ("values", [b"(".to_vec(), b"N".repeat(many), b"t".to_vec()].concat()),
        ("lists in a tuple", [b"(".to_vec(), b"]".repeat(many), b"t".to_vec()].concat()),
        ("lists with something in them", [b"(".to_vec(), b"]Na".repeat(many / 2), b"t".to_vec()].concat()),
        ("pairs", [b"}(".to_vec(), b"N".repeat(many), b"u\x85".to_vec()].concat()),
        ("calls", [b"cm\nn\nq\0)q\x01(".to_vec(), b"h\0h\x01R".repeat(many), b"t".to_vec()].concat()),
        ("tuples in each other", [b")".to_vec(), b"\x85".repeat(many)].concat()),
        ("memo entries", [b"N".to_vec(), b"\x94".repeat(many), b"\x85".to_vec()].concat()),
        ("memo entries from the last", {
            let puts = (0..u32::try_from(many).unwrap()).rev();
            [b"N".to_vec(), puts.flat_map(|index| [&b"r"[..], &index.to_le_bytes()].concat()).collect()]
                .concat()
        }),
        (
            "a list that begins with itself at each depth",
            [b"]q\0(".to_vec(), b"h\0".repeat(many), b"e\x85".to_vec()].concat(),
        ),
    ]
    .map(|(what, args)| (what, pickled(&args), &DIALECTS[0]));
    let array = |len: usize| [&[0xdd], &u32::try_from(len).unwrap().to_be_bytes()[..]].concat();
    let packed = |args: &[u8]| [b"\x94\x01\xc2\xaaloadBefore", args].concat();
    let packs = [
        ("values", [array(many), vec![0xc0; many]].concat()),
        ("empty arrays", [array(many), vec![0x90; many]].concat()),
        ("arrays that begin with arrays", [array(many).repeat(90), vec![0xc0; many]].concat()),
    ]
    .map(|(what, args)| (what, packed(&args), &DIALECTS[1]));
    for (what, payload, dialect) in pickles.into_iter().chain(packs) {
        let memory = measure(|| {
            // By the arguments of a call, and as a value; most are refused.
            for into in [
                |args, limits| Call::parse(Method::Pack, args, limits).is_ok(),
                |args, limits| RawArgs::into_value(args, limits).is_ok(),
            ] {
                if let Ok(envelope) = Envelope::parse(&payload, dialect.framing, &LIMITS) {
                    black_box(into(envelope.args, &LIMITS));
                }
            }
        });
        println!("{what}: {} bytes", memory.bytes_max);
        assert!(memory.bytes_max < 64 << 20, "{what}: {} bytes", memory.bytes_max);
    }
}
