//! From a frame's payload to a typed call or reply, beside general readers of the same bytes.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]
#![allow(clippy::unwrap_used, reason = "benches fail by panicking")]

mod common;

use std::hint::black_box;

use common::turns::nanoseconds_in_turns;
use criterion::{Criterion, criterion_group};
use zeo_codec::Dialect;
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

/// Every message beside serde-pickle, which reads the same message as a pickle. For loads ten times its speed is aimed
/// at.
fn ratios() {
    println!("\nin turns                          zeo-codec   serde-pickle   ratio      rmpv   ratio");
    for (framing, dialect) in &common::DIALECTS {
        for (message, pickled) in common::all(dialect).iter().zip(common::all(&Dialect::Z5)) {
            let ours = || {
                common::decode_with(black_box(message), dialect, |id, flag, typed| {
                    black_box((&id, flag, &typed));
                });
            };
            let [ours_ns, serde_pickle_ns] = nanoseconds_in_turns(ours, || {
                let (payload, options) = (black_box(&pickled.payload), serde_pickle::DeOptions::new());
                black_box(serde_pickle::value_from_slice(payload, options).unwrap());
            });
            let (name, ratio) = (&message.name, serde_pickle_ns / ours_ns);
            print!("{framing:>7} {name:26} {ours_ns:5.0} ns {serde_pickle_ns:11.0} ns {ratio:7.1}");
            if dialect.framing == Framing::Msgpack {
                let [ours_ns, rmpv_ns] = nanoseconds_in_turns(ours, || {
                    black_box(rmpv::decode::read_value(&mut black_box(&message.payload[..])).unwrap());
                });
                print!(" {rmpv_ns:6.0} ns {:7.1}", rmpv_ns / ours_ns);
            }
            println!();
        }
    }
}

criterion_group! { name = benches; config = common::criterion(); targets = decode }

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    // Unless something else was asked for, or only whether it runs.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--bench"] || arguments == ["ratios", "--bench"] {
        ratios();
    }
}
