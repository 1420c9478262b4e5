//! The properties of the fuzz targets that concern the server, on stable: over their seeds, damaged seeds, and what
//! fuzzing has found (`corpus/<target>/`). `server_session` has a test program of its own.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod properties;

use std::fs;
use std::path::{Path, PathBuf};

use properties::configuration::configuration;
use properties::conversations::conversations;
use properties::data_file::data_file;
use properties::index_file::index_file;

type Property = fn(&[u8]);

const ALL: [(&str, Property); 4] = [
    ("conversations", conversations),
    ("data_file", data_file),
    ("index_file", index_file),
    ("configuration", configuration),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a directory of the repository.
fn files_below(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root().join("..").join(directory)];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = directory.read_dir() else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let named = |directory: &str, end: &str| -> Vec<Vec<u8>> {
        let files = files_below(directory);
        let wanted = files.iter().filter(|path| path.to_str().unwrap().ends_with(end));
        wanted.map(|path| fs::read(path).unwrap()).filter(|content| content.len() <= 1 << 16).collect()
    };
    match target {
        // Steps that come to a commit of one client, a conflict of another, and loads between.
        "conversations" => {
            let mut random = fastrand::Rng::with_seed(1);
            let mut inputs = vec![vec![0, 9, 1, 24, 0, 0, 0, 30, 0, 3, 0, 0, 0, 40, 1, 10, 1, 25, 1, 1, 1]];
            inputs
                .extend((0..20).map(|len| std::iter::repeat_with(|| random.u8(..)).take(len * 20).collect()));
            inputs
        }
        "data_file" => named("fixtures/filestorage", "/Data.fs"),
        "index_file" => named("fixtures/filestorage", "/Data.fs.index"),
        "configuration" => [named("server/tests/data", ".conf"), named("server/etc", ".conf")].concat(),
        other => panic!("{other}"),
    }
}

#[test]
fn seeds_hold() {
    for (target, property) in ALL {
        let inputs = seeds(target);
        assert!(!inputs.is_empty(), "{target}");
        inputs.iter().for_each(|input| property(input));
    }
}

#[test]
fn what_was_found_before_holds() {
    for (target, property) in ALL {
        for path in files_below(&format!("server/tests/corpus/{target}")) {
            property(&fs::read(path).unwrap());
        }
    }
}

#[test]
fn damaged_seeds_hold() {
    let mut random = fastrand::Rng::with_seed(7);
    for (target, property) in ALL {
        for seed in seeds(target).iter().filter(|seed| !seed.is_empty()) {
            for _ in 0..150 {
                let mut input = seed.clone();
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(..input.len());
                    input[at] = [0, 0xff, b'<', b'\n', random.u8(..)][random.usize(..5)];
                }
                if random.u8(..) < 50 {
                    input.truncate(random.usize(..input.len()));
                }
                property(&input);
            }
        }
    }
}

/// `conversations`: random steps of three clients.
#[test]
fn clients_see_each_other_s_commits_in_order_and_whole() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..2_000 {
        let len = random.usize(..400);
        let input: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
        conversations(&input);
    }
}

/// `ZEO_FUZZ_SEEDS=directory cargo test -p zeo-server --test fuzzed write_seeds -- --ignored` writes the seeds where
/// cargo-fuzz looks for them.
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    let directory = std::env::var("ZEO_FUZZ_SEEDS").expect("ZEO_FUZZ_SEEDS names a directory");
    for (target, _) in ALL {
        let directory = Path::new(&directory).join(target);
        fs::create_dir_all(&directory).unwrap();
        let found = files_below(&format!("server/tests/corpus/{target}"));
        let found = found.iter().map(|path| fs::read(path).unwrap());
        for (number, input) in seeds(target).into_iter().chain(found).enumerate() {
            fs::write(directory.join(format!("seed-{number:03}")), input).unwrap();
        }
    }
}
