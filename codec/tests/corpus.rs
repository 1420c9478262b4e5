//! The properties of the fuzz targets, on stable: over seeds made from the fixtures, over what fuzzing found
//! before (`corpus/<target>/`), and over damaged seeds.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;
mod properties;

use std::path::{Path, PathBuf};

use common::seeds;

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

#[test]
fn seeds() {
    for (target, property) in properties::ALL {
        let inputs = seeds::of(target);
        assert!(!inputs.is_empty(), "{target}");
        for input in inputs {
            property(&input);
        }
    }
}

#[test]
fn committed_corpus() {
    let mut count = 0;
    for (target, property) in properties::ALL {
        let Ok(entries) = committed().join(target).read_dir() else { continue };
        for entry in entries {
            property(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
    }
    assert!(count > 0);
}

/// Every seed with one byte changed, and cut at every place: small enough to run always.
#[test]
fn damaged_seeds() {
    for (target, property) in properties::ALL {
        for mut input in seeds::of(target).into_iter().filter(|input| input.len() < 300) {
            for at in 0..input.len() {
                property(&input[..at]);
                let byte = input[at];
                for damage in [0, 0x2e, 0x30, 0x85, 0xff, byte ^ 1, byte ^ 0x80] {
                    input[at] = damage;
                    property(&input);
                }
                input[at] = byte;
            }
        }
    }
}

/// `ZEO_FUZZ_SEEDS=directory cargo test -p zeo-codec --test corpus write_seeds -- --ignored` writes the seeds
/// where cargo-fuzz looks for them.
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    let root = PathBuf::from(std::env::var("ZEO_FUZZ_SEEDS").unwrap());
    for (target, _) in properties::ALL {
        let directory = root.join(target);
        std::fs::create_dir_all(&directory).unwrap();
        for (index, input) in seeds::of(target).iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{index:03}")), input).unwrap();
        }
    }
}
