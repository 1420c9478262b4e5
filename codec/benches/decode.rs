//! From a frame's payload to a typed call or reply, beside general readers of the same bytes.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]
#![allow(clippy::unwrap_used, reason = "benches fail by panicking")]

mod common;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use zeo_codec::handshake::Framing;

type LoadBefore<'a> = ((&'a [u8], &'a [u8]), bool, &'a str, (&'a [u8], &'a [u8]));
type Loaded<'a> = ((&'a [u8], &'a [u8]), u8, &'a str, (&'a [u8], &'a [u8], Option<&'a [u8]>));
type Storea<'a> = (u64, bool, &'a str, (&'a [u8], &'a [u8], &'a [u8], u64));

fn decode(c: &mut Criterion) {
    for (framing, dialect) in &common::DIALECTS {
        for message in common::all(dialect) {
            let mut group = c.benchmark_group(format!("decode {framing}/{}", message.name));
            group.bench_function("zeo-codec", |b| {
                b.iter(|| {
                    common::decode_with(black_box(&message), dialect, |id, flag, typed| {
                        black_box((&id, flag, &typed));
                    })
                })
            });
            let payload = &message.payload[..];
            if dialect.framing == Framing::Pickle {
                group.bench_function("serde-pickle value", |b| {
                    b.iter(|| {
                        serde_pickle::value_from_slice(black_box(payload), serde_pickle::DeOptions::new())
                            .unwrap()
                    });
                });
                continue;
            }
            group.bench_function("rmpv value", |b| {
                b.iter(|| rmpv::decode::read_value(&mut black_box(payload)).unwrap());
            });
            if message.name == "loadBefore" {
                group.bench_function("rmp-serde typed", |b| {
                    b.iter(|| rmp_serde::from_slice::<LoadBefore<'_>>(black_box(payload)).unwrap());
                });
            } else if message.name.starts_with("loadBefore reply") {
                group.bench_function("rmp-serde typed", |b| {
                    b.iter(|| rmp_serde::from_slice::<Loaded<'_>>(black_box(payload)).unwrap());
                });
            } else if message.name.starts_with("storea") {
                group.bench_function("rmp-serde typed", |b| {
                    b.iter(|| rmp_serde::from_slice::<Storea<'_>>(black_box(payload)).unwrap());
                });
            }
        }
    }
}

criterion_group! { name = benches; config = common::criterion(); targets = decode }
criterion_main!(benches);
