//! An index file of any bytes beside a good data file.

use std::fs;

use tempfile::TempDir;
use zeo_codec::Oid;
use zeo_server::storage::Storage;
use zeo_server::storage::file::{FileStorage, FileStorageOptions};

use super::data_file::current;

/// Written by Python's FileStorage: 42 objects, deleted and undone ones among them.
const DATA: &[u8] = include_bytes!("../../../fixtures/filestorage/undo/Data.fs");

thread_local! {
    static DIRECTORY: TempDir = tempfile::tempdir().unwrap();
}

/// Whatever the index says, an object's data is its own, or an error: never another's, nor an older revision as the
/// newest.
pub fn index_file(input: &[u8]) {
    DIRECTORY.with(|directory| {
        let path = directory.path().join("Data.fs");
        let index_path = directory.path().join("Data.fs.index");
        if !path.exists() {
            fs::write(&path, DATA).unwrap();
        }
        let options = FileStorageOptions { read_only: true, ..FileStorageOptions::default() };
        let _ = fs::remove_file(&index_path);
        let truth = FileStorage::open(&path, options).unwrap();
        fs::write(&index_path, input).unwrap();
        let storage =
            FileStorage::open(&path, options).expect("an index file does not keep a storage from opening");
        let (view, truth) = (storage.view(), truth.view());
        assert_eq!(view.last_tid(), truth.last_tid());
        for oid in (0..60).map(Oid::from_u64) {
            let found = current(&*view, oid);
            assert!(found.is_none() || found == current(&*truth, oid), "{oid}");
        }
        let mut next = Some(Oid::ZERO);
        while let Some(start) = next {
            let Ok(Some(object)) = view.object_from(start) else { break };
            let _any = current(&*view, object.oid);
            next = object.next;
        }
    });
}
