//! The property of the fuzz target of the same name, on stable: over cache files of Python, over these damaged, and over
//! what fuzzing has found (`corpus/cache_file/`).

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod properties;

use std::fs;
use std::path::{Path, PathBuf};

use allocation_counter::measure;
use properties::cache_file::{cache_file, hit_count, seed};
use proptest::prelude::*;
use zeo_client::cache::FileCache;

fn files_of(directory: &str, end: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(end));
    paths.sort();
    paths
}

fn contents_of(directory: &str, end: &str) -> Vec<Vec<u8>> {
    files_of(directory, end).iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Written by Python.
fn images() -> Vec<Vec<u8>> {
    contents_of("../fixtures/cache", ".zec")
}

fn random_bytes(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

/// Files of Python with some steps, and steps that begin with no file.
fn seeds() -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut seeds = Vec::new();
    for image in images() {
        seeds.push(seed(&image, &[]));
        seeds.push(seed(&image, &random_bytes(&mut random, 120)));
    }
    for _ in 0..10 {
        let size = u16::to_be_bytes(random.u16(200..3000));
        seeds.push([&size[..], &[0, 0], &random_bytes(&mut random, 300)].concat());
    }
    seeds
}

#[test]
fn files_of_python_are_read_and_go_on() {
    for image in images() {
        assert!(hit_count(&seed(&image, &[])) > 3);
    }
    let hits: usize = seeds().iter().map(|input| hit_count(input)).sum();
    assert!(hits > 500, "{hits}");
}

#[test]
fn what_was_found_before_holds() {
    contents_of("tests/corpus/cache_file", "").iter().for_each(|input| cache_file(input));
}

#[test]
fn damaged_files_hold() {
    for image in images() {
        for at in 0..image.len() {
            let mut damaged = image.clone();
            for damage in [0, 1, b'a', b'f', b'1', 0xff] {
                damaged[at] = damage;
                cache_file(&seed(&damaged, &[]));
            }
            cache_file(&seed(&image[..at.max(64)], &[]));
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_file_of_python(which in 0..4_usize, steps in prop::collection::vec(any::<u8>(), 0..600)) {
        cache_file(&seed(&images()[which], &steps));
    }

    #[test]
    fn whatever_is_done_to_a_new_file(size in any::<u16>(), steps in prop::collection::vec(any::<u8>(), 0..1500)) {
        cache_file(&[&size.to_be_bytes()[..], &[0, 0], &steps].concat());
    }
}

/// A file that opens is used; another one is set aside as it is, and an empty one takes its place.
#[test]
fn a_damaged_file_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bad) = (dir.path().join("a.zec"), dir.path().join("a.zec.bad"));
    let mut random = fastrand::Rng::with_seed(3);
    let mut bad_count = 0;
    for image in images() {
        for _ in 0..40 {
            let mut damaged = image.clone();
            damaged[random.usize(..image.len())] ^= random.u8(1..);
            damaged.truncate(random.usize(image.len() / 2..image.len() * 2));
            fs::write(&path, &damaged).unwrap();
            let size = image.len() as u64;
            let is_good = FileCache::on(damaged.clone(), size).is_ok();
            let cache = FileCache::open(&path, size).unwrap();
            assert!(is_good || cache.is_empty());
            drop(cache);
            assert_eq!(is_good, !bad.exists());
            assert_eq!(fs::metadata(&path).unwrap().len(), size);
            if !is_good {
                assert_eq!(fs::read(&bad).unwrap(), damaged);
                fs::remove_file(&bad).unwrap();
                bad_count += 1;
            }
        }
    }
    assert!((20..140).contains(&bad_count), "{bad_count}");
}

/// Lengths that a file claims cost nothing: what is read at once, and the index of what is really there.
#[test]
fn memory_is_bounded_by_the_file() {
    let claims: [&[u8]; 3] = [b"f\x7f\xff\xff\xff", b"a\x7f\xff\xff\xff", b"f\xff\xff\xff\xff"];
    let mut inputs: Vec<Vec<u8>> =
        claims.iter().map(|claim| [&b"ZEC3\0\0\0\0\0\0\0\x01"[..], claim, &[0; 200]].concat()).collect();
    // A record whose lengths agree, and which would have two gigabytes of data.
    let mut record = b"ZEC3\0\0\0\0\0\0\0\x01a\x7f\xff\xff\xff".to_vec();
    record.extend([[0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 1], [0; 8]].concat());
    record.extend([0, 0, 0x7f, 0xff, 0xff, 0xd4]);
    inputs.push(record);
    // Nothing but records without data.
    let mut records = b"ZEC3\0\0\0\0\0\0\0\x01".to_vec();
    for oid in 0..1000_u64 {
        records.extend(b"a\0\0\0\x2b");
        records.extend([oid.to_be_bytes(), 1_u64.to_be_bytes(), [0; 8]].concat());
        records.extend([0; 6]);
        records.extend(oid.to_be_bytes());
    }
    inputs.push(records);
    for input in inputs {
        let len = input.len() as u64;
        let used = measure(|| drop(FileCache::on(input.clone(), len + 100)));
        assert!(used.bytes_max < 4 * len + 80_000, "{} for {len}", used.bytes_max);
    }
}

/// `ZEO_FUZZ_SEEDS=directory cargo test -p zeo-client --test cache_file write_seeds -- --ignored` writes the seeds where
/// cargo-fuzz looks for them.
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    let root = std::env::var("ZEO_FUZZ_SEEDS").expect("ZEO_FUZZ_SEEDS names a directory");
    let directory = Path::new(&root).join("cache_file");
    fs::create_dir_all(&directory).unwrap();
    let found = contents_of("tests/corpus/cache_file", "");
    for (number, input) in seeds().into_iter().chain(found).enumerate() {
        fs::write(directory.join(format!("seed-{number:03}")), input).unwrap();
    }
}
