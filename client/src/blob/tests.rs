//! The directory by itself; with Python's client beside it in `zeo-conformance`.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use zeo_codec::{Oid, Tid};

use super::layout::{MARKER, cache_revision};
use super::{BlobDirectory, BlobOptions};
use crate::lock_file::LockFile;

const SERIAL: Tid = Tid::from_u64(0x040d_2412_4fc0_5a11);

fn open(options: &BlobOptions) -> Arc<BlobDirectory> {
    Arc::new(BlobDirectory::open(options).unwrap())
}

/// Lets a blob come in.
fn load(directory: &Arc<BlobDirectory>, oid: u64, content: &[u8]) -> u64 {
    let oid = Oid::from_u64(oid);
    let _lock = directory.lock(oid).unwrap().unwrap();
    let mut incoming = directory.incoming(oid, SERIAL).unwrap();
    incoming.file().unwrap().write_all(content).unwrap();
    incoming.keep().unwrap()
}

/// Every file below the directory but the locks, by its name.
fn names(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() {
                dirs.push(path);
            } else if !name.ends_with(".lock") && name != MARKER {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_comes_in_is_there_when_it_is_complete() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("blobs");
    let directory = open(&BlobOptions::new(&path));
    assert_eq!(fs::read_to_string(path.join(MARKER)).unwrap(), "zeocache");
    let oid = Oid::from_u64(7);
    assert!(directory.find(oid, SERIAL).unwrap().is_none());
    let lock = directory.lock(oid).unwrap().unwrap();
    // Whoever wants to make a file of the same directory waits.
    assert!(directory.lock(Oid::from_u64(7 + 997)).unwrap().is_none());
    assert!(directory.lock(Oid::from_u64(8)).unwrap().is_some());
    let mut incoming = directory.incoming(oid, SERIAL).unwrap();
    incoming.file().unwrap().write_all(b"half").unwrap();
    assert!(directory.find(oid, SERIAL).unwrap().is_none());
    assert_eq!(names(&path), ["7/0.040d24124fc05a11.blob.dl"]);
    drop(incoming);
    assert_eq!(names(&path), [""; 0]);
    // What a killed process left is no obstacle.
    fs::write(path.join("7/0.040d24124fc05a11.blob.dl"), "longer than what comes").unwrap();
    drop(lock);
    assert_eq!(load(&directory, 7, b"complete"), 8);
    assert_eq!(names(&path), ["7/0.040d24124fc05a11.blob"]);
    let blob = directory.find(oid, SERIAL).unwrap().unwrap();
    assert_eq!(blob.len().unwrap(), 8);
    assert!(fs::metadata(blob.path()).unwrap().permissions().readonly());
    // Each reader has its own place, and the content stays when the name has gone.
    fs::remove_file(blob.path()).unwrap();
    let (mut one, mut other) = (blob.reader(), blob.reader());
    let mut text = String::new();
    one.read_to_string(&mut text).unwrap();
    assert_eq!(text, "complete");
    other.seek(SeekFrom::End(-3)).unwrap();
    text.clear();
    other.read_to_string(&mut text).unwrap();
    assert_eq!(text, "ete");
    assert!(other.seek(SeekFrom::Current(-9)).is_err());
}

#[test]
fn files_are_taken_from_the_application() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("blobs");
    let directory = open(&BlobOptions::new(&path));
    let file = root.path().join("file");
    fs::write(&file, "content").unwrap();
    let oid = Oid::from_u64(998);
    let taken = directory.take(oid, SERIAL, &file).unwrap();
    assert!(!file.exists());
    let name = taken.name().unwrap();
    assert!(name.starts_with("0x040d24124fc05a11") && name.ends_with(".tmp-"), "{name}");
    assert_eq!(names(&path), [format!("1/{name}")]);
    assert_eq!(taken.commit(Tid::from_u64(0x10)).unwrap(), 7);
    assert_eq!(names(&path), ["1/1.0000000000000010.blob"]);
    // Without a commit it goes.
    fs::write(&file, "content").unwrap();
    drop(directory.take(oid, SERIAL, &file).unwrap());
    assert_eq!(names(&path), ["1/1.0000000000000010.blob"]);
    assert!(directory.take(oid, SERIAL, &file).is_err());
}

/// Python test: `zeo_blob_cache.test`.
#[test]
fn what_was_not_used_for_long_goes_first() {
    let root = TempDir::new().unwrap();
    let options = BlobOptions { len_max: Some(1000), ..BlobOptions::new(root.path()) };
    let directory = open(&options);
    for oid in 0..12 {
        assert_eq!(load(&directory, oid, &[b'x'; 100]), 100);
        let file = fs::File::open(root.path().join(cache_revision(Oid::from_u64(oid), SERIAL))).unwrap();
        let accessed = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + 60 * oid);
        file.set_times(fs::FileTimes::new().set_accessed(accessed)).unwrap();
    }
    let kept = || -> Vec<u64> {
        let is_there = |oid: &u64| root.path().join(cache_revision(Oid::from_u64(*oid), SERIAL)).exists();
        (0..12).filter(is_there).collect()
    };
    // It is looked at after a tenth of the bound, and brought down to the rest.
    assert!(!directory.note_loaded(99));
    assert!(directory.note_loaded(1));
    assert!(!directory.note_loaded(50));
    // One was used since; one is in use; one is locked by another process.
    drop(directory.find(Oid::ZERO, SERIAL).unwrap().unwrap());
    let in_use = directory.find(Oid::from_u64(1), SERIAL).unwrap().unwrap();
    let file = fs::File::open(in_use.path()).unwrap();
    file.set_times(fs::FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH)).unwrap();
    let locked = LockFile::acquire(&root.path().join("2/.lock")).unwrap();
    // Somebody has come meanwhile.
    fs::write(root.path().join("check_size.attempt"), "").unwrap();
    directory.shrink();
    assert_eq!(kept(), [0, 1, 2, 6, 7, 8, 9, 10, 11]);
    assert!(!root.path().join("check_size.attempt").exists());
    // What is at work already is told.
    drop((in_use, locked));
    load(&directory, 3, &[b'x'; 500]);
    let at_work = LockFile::acquire(&root.path().join("check_size.lock")).unwrap();
    directory.shrink();
    assert!(kept().contains(&3) && root.path().join("check_size.attempt").exists());
    drop(at_work);
    directory.shrink();
    assert_eq!(kept(), [0, 3, 9, 10, 11]);
}

#[test]
fn directories_of_other_kinds_are_refused() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join(MARKER), "bushy\n").unwrap();
    let error = BlobDirectory::open(&BlobOptions::new(root.path())).unwrap_err();
    assert!(error.to_string().contains("shared-blob-dir"), "{error}");
    let shared = BlobOptions { is_shared: true, ..BlobOptions::new(root.path()) };
    assert!(open(&shared).is_shared());
    fs::write(root.path().join(MARKER), "zeocache").unwrap();
    let error = BlobDirectory::open(&shared).unwrap_err();
    assert!(error.to_string().contains("zeocache"), "{error}");
}
