//! The minimised corpora of all fuzz targets (`fuzz/corpora/<target>.tar.gz`), against the properties that the targets hold: what
//! any campaign has reached is gone through by everybody's tests, on stable.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../client/tests/properties/mod.rs"]
mod client;
#[path = "../../codec/tests/properties/mod.rs"]
mod codec;
#[path = "properties/mod.rs"]
mod conformance;
#[path = "../../server/tests/properties/mod.rs"]
mod server;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use tar::Archive;

/// What holds for any input.
type Property = fn(&[u8]);

/// All targets of `fuzz/`.
const TARGETS: [(&str, Property); 17] = [
    ("cache_file", client::cache_file::cache_file),
    ("call_roundtrip", codec::call_roundtrip),
    ("capture_file", conformance::capture_file),
    ("client_session", client::client_session),
    ("configuration", server::configuration::configuration),
    ("conversations", server::conversations::conversations),
    ("data_file", server::data_file::data_file),
    ("deframe", codec::deframe),
    ("hello", codec::hello),
    ("index_file", server::index_file::index_file),
    ("msgpack_value", codec::msgpack_value),
    ("packets", conformance::packets),
    ("pickle_lex", codec::pickle_lex),
    ("pickle_value", codec::pickle_value),
    ("reply_roundtrip", codec::reply_roundtrip),
    ("server_session", server::server_session),
    ("session", codec::session),
];

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz"))
}

/// The inputs of a target, each with its name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let file = File::open(fuzz().join(format!("corpora/{target}.tar.gz"))).unwrap();
    let mut inputs = Vec::new();
    for entry in Archive::new(GzDecoder::new(file)).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let name = entry.path().unwrap().display().to_string();
            let mut input = Vec::new();
            entry.read_to_end(&mut input).unwrap();
            inputs.push((name, input));
        }
    }
    inputs
}

fn holds(target: &str, property: Property) {
    let inputs = corpus(target);
    assert!(inputs.len() > 1, "{target}: {} inputs", inputs.len());
    for (name, input) in inputs {
        let held = std::panic::catch_unwind(|| property(&input));
        assert!(held.is_ok(), "{target} {name}");
    }
}

fn main() -> std::process::ExitCode {
    let trials = TARGETS.map(|(target, property)| {
        libtest_mimic::Trial::test(format!("corpora::{target}"), move || {
            holds(target, property);
            Ok(())
        })
    });
    let none_is_left_out = libtest_mimic::Trial::test("corpora::of_every_target", || {
        let targets = fuzz().join("fuzz_targets").read_dir().unwrap().map(|entry| entry.unwrap().path());
        let mut targets: Vec<String> =
            targets.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        targets.sort();
        assert_eq!(targets, TARGETS.map(|(target, _)| target));
        Ok(())
    });
    let trials = trials.into_iter().chain([none_is_left_out]).collect();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit_code()
}
