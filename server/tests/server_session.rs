//! The property of the fuzz target of the same name, on stable: over whole conversations, cut and damaged.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod properties;

use properties::{GREETINGS, conversation, server_session};

#[test]
fn a_conversation_cut_anywhere_leaves_nothing_behind() {
    for (_, greeting) in GREETINGS {
        let input = conversation(greeting);
        for len in 0..=input.len() {
            server_session(&input[..len]);
        }
    }
}

#[test]
fn a_damaged_conversation_leaves_nothing_behind() {
    for (_, greeting) in GREETINGS {
        let input = conversation(greeting);
        for at in 0..input.len() {
            for damage in [0x00, 0x2e, 0x85, 0xff] {
                let mut damaged = input.clone();
                damaged[at] = damage;
                server_session(&damaged);
                damaged[0] |= 128;
                server_session(&damaged);
            }
        }
    }
}

#[test]
fn what_was_found_before_holds() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/server_session");
    let inputs =
        std::fs::read_dir(directory).expect("the corpus").map(|entry| entry.expect("an input").path());
    let count = inputs.map(|path| server_session(&std::fs::read(path).expect("an input"))).count();
    assert!(count > 0);
}

/// `ZEO_FUZZ_SEEDS=directory cargo test -p zeo-server --test server_session write_seeds -- --ignored` writes the
/// seeds where cargo-fuzz looks for them.
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    let root = std::env::var("ZEO_FUZZ_SEEDS").expect("ZEO_FUZZ_SEEDS names a directory");
    let directory = std::path::Path::new(&root).join("server_session");
    std::fs::create_dir_all(&directory).expect("a directory for the seeds");
    for (name, greeting) in GREETINGS {
        std::fs::write(directory.join(name), conversation(greeting)).expect("a seed");
    }
}
