//! The examples run, and say what they promise. (That of the rewriting proxy is played by `conformance/tests/replay`.)

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sessions").join(name)
}

/// What an example prints, with this file as its standard input.
fn run(example: &str, input: Option<&Path>, arguments: &[&str]) -> String {
    // Cargo has built the examples of this package before it ran this test, unless the test alone was asked for.
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--package", "zeo-codec", "--example", example, "--"]).args(arguments);
    command.stdin(input.map_or_else(Stdio::null, |path| File::open(path).unwrap().into()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// In the recorded sessions Python's client asks for the same object, before another tid: with that in its place the bytes
/// are the same, to the last one.
#[test]
fn the_bytes_of_a_call_are_those_of_python() {
    const LATEST: &str = "7fffffffffffffff";
    let shown = run("encode_call", None, &["0"]);
    for (name, framing) in [("z5.txt", "pickle"), ("m5.txt", "msgpack")] {
        let heading = format!("{framing} call, ");
        let hex = shown.lines().skip_while(|line| !line.starts_with(&heading)).nth(1).unwrap().trim();
        let session = std::fs::read_to_string(fixture(name)).unwrap();
        let (before_tid, _) = hex.split_once(LATEST).unwrap();
        let (_, from_tid) =
            session.split_once(before_tid).unwrap_or_else(|| panic!("{framing}: no {before_tid}"));
        let tid = from_tid.get(..LATEST.len()).unwrap();
        assert!(session.contains(&hex.replace(LATEST, tid)), "{framing}: {hex} with {tid}");
    }
}

#[test]
fn the_sniffer_reads_the_recorded_sessions() {
    for name in ["z5.txt", "m5.txt"] {
        let shown = run("sniff", Some(&fixture(name)), &["100"]);
        for text in ["C 1: register(\"1\", ", "S 1: register -> ", "tpc_finish(", "invalidateTransaction("] {
            assert!(shown.contains(text), "{name}: no {text:?} in {shown}");
        }
        assert!(shown.lines().all(|line| line.starts_with("C ") || line.starts_with("S ")), "{name}");
    }
}
