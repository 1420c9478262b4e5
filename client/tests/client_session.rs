//! The property of the fuzz target of the same name, on stable: over a whole conversation, cut and damaged, and over inputs of
//! the fuzzer (`corpus/client_session/`).

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod properties;

use properties::{client_session, conversation, conversation_of_zeo4, success_count};
use zeo_codec::handshake::Framing;

/// With servers of every kind, each with a name.
fn conversations() -> [(&'static str, Vec<u8>); 4] {
    [
        ("z5", conversation(Framing::Pickle)),
        ("m5", conversation(Framing::Msgpack)),
        ("z4", conversation_of_zeo4(true)),
        ("z4_verified", conversation_of_zeo4(false)),
    ]
}

/// So the others start from something that goes as far as it should.
#[test]
fn a_conversation_answers_every_call() {
    for (name, input) in conversations() {
        assert_eq!(success_count(&input), 10, "{name}");
    }
}

#[test]
fn a_conversation_cut_anywhere_leaves_nothing_behind() {
    for (_, input) in conversations() {
        for len in 0..=input.len() {
            client_session(&input[..len]);
        }
    }
}

#[test]
fn a_damaged_conversation_leaves_nothing_behind() {
    for (_, input) in conversations() {
        for at in 1..input.len() {
            for damage in [0x00, 0x0b, 0x0c, 0x0d, 0x2e, 0x85, 0xff] {
                let mut damaged = input.clone();
                damaged[at] = damage;
                client_session(&damaged);
            }
        }
    }
}

/// Messages that come twice, are missing, or come in another order.
#[test]
fn a_conversation_in_disorder_leaves_nothing_behind() {
    for (_, input) in conversations() {
        let mut frames = Vec::new();
        let mut rest = &input[1..];
        while let Some((length, _)) = rest.split_first_chunk() {
            let (frame, behind) =
                rest.split_at(4 + usize::try_from(u32::from_be_bytes(*length)).unwrap_or(0));
            frames.push(frame);
            rest = behind;
        }
        for moved in 0..frames.len() {
            for to in 0..frames.len() {
                let mut disorder = frames.clone();
                let frame = disorder.remove(moved);
                client_session(&[&input[..1], &disorder.concat()].concat());
                disorder.insert(to, frame);
                client_session(&[&input[..1], &disorder.concat()].concat());
                disorder.push(frame);
                client_session(&[&input[..1], &disorder.concat()].concat());
            }
        }
    }
}

/// The committed inputs.
fn corpus() -> Vec<std::path::PathBuf> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/client_session");
    let entries = std::fs::read_dir(directory).expect("the corpus");
    entries.map(|entry| entry.expect("an input").path()).collect()
}

#[test]
fn what_was_found_before_holds() {
    let paths = corpus();
    assert!(!paths.is_empty());
    for path in paths {
        client_session(&std::fs::read(path).expect("an input"));
    }
}

/// `ZEO_FUZZ_SEEDS=directory cargo test -p zeo-client --test client_session write_seeds -- --ignored` writes the seeds
/// where cargo-fuzz looks for them.
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    let root = std::env::var("ZEO_FUZZ_SEEDS").expect("ZEO_FUZZ_SEEDS names a directory");
    let directory = std::path::Path::new(&root).join("client_session");
    std::fs::create_dir_all(&directory).expect("a directory for the seeds");
    for (name, input) in conversations() {
        std::fs::write(directory.join(name), input).expect("a seed");
    }
    for path in corpus() {
        std::fs::copy(&path, directory.join(path.file_name().expect("a name"))).expect("a seed");
    }
}
