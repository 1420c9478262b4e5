//! The properties of the fuzz targets on stable: over captures and packets of this repository, over these damaged, and over
//! the inputs that were found or made for them (`corpus/<target>/`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod properties;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use zeo_conformance::capture::file;
use zeo_conformance::packets::PacketWriter;
use zeo_conformance::scenarios::{capture_path, fixtures_dir};

/// Small conversations, which have all kinds of records between them.
const CAPTURES: [(&str, &str); 4] = [
    ("6.2-6.2-msgpack", "abort"),
    ("6.2-6.2-pickle", "disconnect_vote"),
    ("4.3.1-4.3.1-pickle", "refused"),
    ("5.4.1-5.4.1-msgpack", "unknown_storage"),
];
/// How much of a seed is damaged, here and there: the headers and the first messages. Fuzzing does more.
const DAMAGED_LEN: usize = 1500;

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let captures =
        CAPTURES.map(|(pair, scenario)| fixtures_dir().join(capture_path(pair.parse().unwrap(), scenario)));
    if target == "capture_file" {
        return captures.iter().map(|path| unpacked(path)).collect();
    }
    let mut seeds: Vec<_> = captures.iter().map(|path| as_packets(path)).collect();
    for entry in fixtures_dir().join("pcap").read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "gz") {
            seeds.push(unpacked(&path));
        }
    }
    seeds
}

fn as_packets(capture: &Path) -> Vec<u8> {
    let mut reader = file::open(capture).unwrap();
    let mut writer = PacketWriter::new(Vec::new(), reader.metadata()).unwrap();
    while let Some(record) = reader.next_record().unwrap() {
        writer.write(&record).unwrap();
    }
    writer.finish().unwrap()
}

/// The committed inputs of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    directory.read_dir().unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn what_was_found_before_holds() {
    for (target, property) in properties::ALL {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "{target}");
        inputs.iter().for_each(|input| property(input));
    }
}

#[test]
fn whole_and_cut() {
    for (target, property) in properties::ALL {
        for seed in seeds(target) {
            property(&seed);
            let step = (seed.len() / 20).max(1);
            for len in (0..seed.len()).step_by(step) {
                property(&seed[..len]);
            }
        }
    }
}

#[test]
fn damaged() {
    for (target, property) in properties::ALL {
        for mut seed in seeds(target) {
            // What is behind matters less than that there are many.
            seed.truncate(4 * DAMAGED_LEN);
            for at in (0..seed.len().min(DAMAGED_LEN)).step_by(37) {
                let byte = seed[at];
                for damage in [0xff, byte ^ 1] {
                    seed[at] = damage;
                    property(&seed);
                }
                seed[at] = byte;
            }
        }
    }
}

/// `ZEO_FUZZ_SEEDS=directory cargo test -p zeo-conformance --test fuzzed write_seeds -- --ignored` writes the seeds where
/// cargo-fuzz looks for them.
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    let root = PathBuf::from(std::env::var("ZEO_FUZZ_SEEDS").unwrap());
    for (target, _) in properties::ALL {
        let directory = root.join(target);
        std::fs::create_dir_all(&directory).unwrap();
        for (index, seed) in seeds(target).iter().chain(&corpus(target)).enumerate() {
            std::fs::write(directory.join(format!("seed-{index:03}")), seed).unwrap();
        }
    }
}
