//! The same random operations on this cache file and on Python's: the same answers, and the same bytes in the file;
//! and each opens what the other has left.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::{Value, json};
use zeo_client::cache::{Cache, FileCache, Revision};
use zeo_client::{Oid, Tid};
use zeo_conformance::peers::{Peer, PeerVersion};
use zeo_conformance::script::Script;

/// If set, a trial that would be ignored fails: for machines where Python must be at hand.
const REQUIRE_VARIABLE: &str = "ZEO_TEST_REQUIRE";

const SIZE: u64 = 6000;
const OIDS: u64 = 20;

fn ask(python: &mut Script, what: &Value) -> Value {
    python.tell(&what.to_string()).unwrap();
    python.expect_step(what[0].as_str().unwrap()).unwrap()
}

/// The next operations of both, up to a close.
fn run(random: &mut fastrand::Rng, python: &mut Script, ours: &Path, theirs: &Path, last: &mut u64) {
    let mut cache = FileCache::open(ours, SIZE).unwrap();
    let opened = ask(python, &json!(["open", theirs, SIZE]));
    assert_eq!(opened["len"], cache.len());
    assert_eq!(opened["last"], cache.last_tid().map_or(0, Tid::to_u64));
    for number in 0..400 {
        let oid = random.u64(1..OIDS);
        match random.u8(0..6) {
            0 => {
                *last += 2;
                // Python remembers a revision twice if it becomes past twice: it is not told to.
                cache.invalidate(Oid::from_u64(oid), Some(Tid::from_u64(*last))).unwrap();
                ask(python, &json!(["invalidate", oid, *last]));
                cache.set_last_tid(Tid::from_u64(*last)).unwrap();
                ask(python, &json!(["last", *last]));
            }
            1 if random.u8(0..4) == 0 => {
                cache.invalidate(Oid::from_u64(oid), None).unwrap();
                ask(python, &json!(["invalidate", oid, null]));
            }
            1..=2 => {
                let data = format!("{number} ").repeat(random.usize(0..140));
                let is_current = random.bool();
                let newest = cache.load_before(Oid::from_u64(oid), Tid::from_u64(*last + 1)).unwrap();
                let asked = ask(python, &json!(["load", oid, *last + 1]));
                assert_eq!(asked["found"].is_null(), newest.is_none());
                if newest.is_some_and(|newest| newest.end.is_none()) && is_current {
                    continue;
                }
                let (start, end) = if is_current {
                    (*last, None)
                } else {
                    let start = random.u64(1..*last) / 2 * 2 + 1;
                    (start, Some(start + random.u64(1..4)))
                };
                let revision = Revision {
                    data: data.clone().into_bytes().into(),
                    serial: Tid::from_u64(start),
                    end: end.map(Tid::from_u64),
                };
                cache.store(Oid::from_u64(oid), &revision).unwrap();
                ask(python, &json!(["store", oid, start, end, data]));
            }
            _ => {
                let before = random.u64(1..*last + 2);
                let found = cache.load_before(Oid::from_u64(oid), Tid::from_u64(before)).unwrap();
                let found = found.map(|found| {
                    let data = String::from_utf8(found.data.to_vec()).unwrap();
                    json!([data, found.serial.to_u64(), found.end.map(Tid::to_u64)])
                });
                let said = ask(python, &json!(["load", oid, before]));
                assert_eq!(said["found"], json!(found), "object {oid} before {before}");
            }
        }
    }
    drop(cache);
    ask(python, &json!(["close"]));
    let (mine, other) = (std::fs::read(ours).unwrap(), std::fs::read(theirs).unwrap());
    let differs = mine.iter().zip(&other).position(|(mine, other)| mine != other);
    assert_eq!((differs, mine.len()), (None, other.len()));
}

fn main() -> ExitCode {
    let versions = [("6.2", PeerVersion::Zeo62), ("5.4.1", PeerVersion::Zeo541)];
    let trial = |(name, version)| Trial::ignorable_test(format!("cache::{name}"), move || play(version));
    libtest_mimic::run(&Arguments::from_args(), versions.into_iter().map(trial).collect()).exit_code()
}

fn play(version: PeerVersion) -> Result<Completion, Failed> {
    let peer = match Peer::ensure(version) {
        Ok(peer) => peer,
        Err(reason) if std::env::var_os(REQUIRE_VARIABLE).is_none() => {
            return Ok(Completion::ignored_with(reason.to_string()));
        }
        Err(reason) => return Err(reason.into()),
    };
    let dir = tempfile::tempdir()?;
    let mut python = Script::start::<&str>(&peer, "cache", "cache", &[], dir.path())?;
    python.expect_step("ready")?;
    let (mut ours, mut theirs) = (dir.path().join("a.zec"), dir.path().join("b.zec"));
    for seed in 0..4 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut last = 10 + seed * 10_000;
        for _ in 0..3 {
            run(&mut random, &mut python, &ours, &theirs, &mut last);
            // Each goes on with the other's.
            std::mem::swap(&mut ours, &mut theirs);
        }
    }
    python.tell(&json!(["end"]).to_string())?;
    python.finish()?;
    Ok(Completion::Completed)
}
