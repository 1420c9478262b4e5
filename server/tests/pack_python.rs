//! A pack leaves the bytes that Python's pack leaves (`fixtures/pack`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zeo_server::storage::file::{FileStorage, FileStorageOptions, IndexUse};
use zeo_server::storage::tid::pack_time;
use zeo_server::storage::{PackOutcome, PackRequest, Storage, Unattended};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/pack");
    // More of them: `ZEO_PACK_CASES` names a folder that the script has filled.
    let folder = std::env::var_os("ZEO_PACK_CASES").map_or(folder, PathBuf::from);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

#[test]
fn packed_files_are_byte_for_byte_those_of_python() {
    let mut changed_count = 0;
    for case in cases() {
        let said: Value = serde_json::from_slice(&fs::read(case.join("case.json")).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Data.fs");
        fs::copy(case.join("Data.fs"), &path).unwrap();
        let before = fs::read(&path).unwrap();
        let expected = fs::read(case.join("expected.fs")).unwrap();

        let keep_garbage = !said["gc"].as_bool().unwrap();
        let options = FileStorageOptions { keep_garbage, ..FileStorageOptions::default() };
        let storage = FileStorage::open(&path, options).unwrap();
        let until = pack_time(said["time"].as_f64().unwrap()).unwrap();
        let outcome = storage.pack(PackRequest { until, gc: None }, &Unattended).unwrap();
        assert!(!folder.path().join("Data.fs.pack").exists());
        let view = storage.view();
        storage.close().unwrap();

        let shown = case.display();
        let after = fs::read(&path).unwrap();
        let same_len = after.iter().zip(&expected).take_while(|(ours, theirs)| ours == theirs).count();
        assert!(after == expected, "{shown}: {said}: {outcome:?}: differs from byte {same_len} on");
        let is_packed = matches!(outcome, PackOutcome::Packed(_));
        assert_eq!(is_packed, before != after, "{shown}: {outcome:?}");
        changed_count += u32::from(is_packed);
        if is_packed {
            assert_eq!(fs::read(folder.path().join("Data.fs.old")).unwrap(), before, "{shown}");
        }
        // The saved index is the one that a scan of the file gives.
        let again = FileStorage::open(&path, FileStorageOptions { read_only: true, ..options }).unwrap();
        assert!(matches!(again.report().index, IndexUse::Loaded) || view.object_count() < 2, "{shown}");
        fs::remove_file(folder.path().join("Data.fs.index")).unwrap_or_default();
        let scanned = FileStorage::open(&path, FileStorageOptions { read_only: true, ..options }).unwrap();
        // As in Python, the last tid is forgotten at the next start if its transaction has nothing left.
        assert_eq!(again.view().last_tid(), scanned.view().last_tid(), "{shown}");
        for other in [again.view(), scanned.view()] {
            assert_eq!(other.object_count(), view.object_count(), "{shown}");
            assert_eq!(other.size_bytes(), view.size_bytes(), "{shown}");
        }
    }
    assert!(changed_count > 10, "{changed_count}");
}
