//! From a typed call or reply to a frame in a reused buffer, beside general writers of the same value.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]
#![allow(clippy::unwrap_used, reason = "benches fail by panicking")]

mod common;

use std::hint::black_box;

use bytes::Bytes;
use common::Typed;
use criterion::{Criterion, criterion_group, criterion_main};
use zeo_codec::handshake::Framing;
use zeo_codec::session::Output;
use zeo_codec::{REPLY, write_message};

fn encode(c: &mut Criterion) {
    for (framing, dialect) in &common::DIALECTS {
        for message in common::all(dialect) {
            let mut group = c.benchmark_group(format!("encode {framing}/{}", message.name));
            let mut out = Vec::with_capacity(message.payload.len() + 4);
            common::decode_with(&message, dialect, |id, flag, typed| {
                group.bench_function("zeo-codec", |b| {
                    b.iter(|| {
                        out.clear();
                        match black_box(&typed) {
                            Typed::Call(call) => {
                                let name = call.method().unwrap().name();
                                write_message(&mut out, dialect, &id, flag, name, *call).unwrap();
                            }
                            Typed::Reply(reply) => {
                                write_message(&mut out, dialect, &id, flag, REPLY, *reply).unwrap();
                            }
                        }
                        black_box(&out);
                    });
                });
            });
            // As a session sends what lies in shared memory: large records stay there.
            let memory = Bytes::from(message.payload.clone());
            let mut output = Output::default();
            common::decode_in(&memory, &message, dialect, |id, flag, typed| {
                group.bench_function("zeo-codec sharing", |b| {
                    b.iter(|| {
                        match black_box(&typed) {
                            Typed::Call(call) => {
                                let name = call.method().unwrap().name();
                                output.message_sharing(dialect, &id, flag, name, *call, &memory).unwrap();
                            }
                            Typed::Reply(reply) => {
                                output.message_sharing(dialect, &id, flag, REPLY, *reply, &memory).unwrap();
                            }
                        }
                        output.consume(black_box(output.len()));
                    });
                });
            });
            // Nothing was written if a filter leaves this message out.
            assert!(out.is_empty() || out.get(4..) == Some(&message.payload[..]));
            if dialect.framing == Framing::Pickle {
                let value: serde_pickle::Value =
                    serde_pickle::value_from_slice(&message.payload, serde_pickle::DeOptions::new()).unwrap();
                group.bench_function("serde-pickle value", |b| {
                    b.iter(|| {
                        out.clear();
                        let options = serde_pickle::SerOptions::new();
                        serde_pickle::value_to_writer(&mut out, black_box(&value), options).unwrap();
                    });
                });
            } else {
                let value = rmpv::decode::read_value(&mut &message.payload[..]).unwrap();
                group.bench_function("rmpv value", |b| {
                    b.iter(|| {
                        out.clear();
                        rmpv::encode::write_value(&mut out, black_box(&value)).unwrap();
                    });
                });
            }
        }
    }
}

criterion_group! { name = benches; config = common::criterion(); targets = encode }
criterion_main!(benches);
