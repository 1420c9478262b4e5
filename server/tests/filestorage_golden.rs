//! Data files that Python wrote, read by us; and ours, byte for byte against Python's.
//!
//! `fixtures/filestorage/README.md` tells what each file is and how it was made.

#![expect(clippy::unwrap_used, reason = "a test: helpers of tests are not exempt by themselves")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use std::ops::ControlFlow;
use tempfile::TempDir;
use zeo_codec::{Oid, Tid};

use zeo_server::storage::file::{CutTail, FileStorage, FileStorageOptions, IndexUse};
use zeo_server::storage::past::{PastTransaction, UndoError};
use zeo_server::storage::tid::unix_seconds_from_tid;
use zeo_server::storage::{
    LoadedRevision, NewRecord, NewTransaction, Pending, RecordData, Storage, StorageError, View,
};

const READ_ONLY: FileStorageOptions = FileStorageOptions {
    create: false,
    read_only: true,
    keep_garbage: false,
    discard_old: false,
    quota_bytes: None,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/filestorage").join(name)
}

/// A copy of a fixture that may be written, with or without its index.
fn copy(name: &str, with_index: bool) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    fs::copy(fixture(name).join("Data.fs"), &path).unwrap();
    if with_index {
        fs::copy(fixture(name).join("Data.fs.index"), path.with_extension("fs.index")).unwrap();
    }
    (folder, path)
}

fn json(name: &str, file: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name).join(file)).unwrap()).unwrap()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn oid(hex: &Value) -> Oid {
    Oid::from_slice(&bytes(hex)).unwrap()
}

fn tid(hex: &Value) -> Tid {
    Tid::from_slice(&bytes(hex)).unwrap()
}

/// A `loadBefore` reply in the form of `expected.json`.
fn load_before(view: &dyn View, oid: Oid, before: Tid) -> Value {
    let mut sink = LoadedRevision::default();
    match view.load_before(oid, before, &mut sink) {
        Ok(true) => {
            let end = sink.end.map_or(Value::Null, |end| end.to_string().into());
            vec![hex(&sink.data).into(), sink.serial.to_string().into(), end].into()
        }
        Ok(false) => Value::Null,
        Err(StorageError::NoSuchObject(missing)) if missing == oid => "POSKeyError".into(),
        Err(error) => panic!("{error}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares everything that Python read with what `storage` reads.
fn assert_reads_as(storage: &FileStorage, expected: &Value) {
    let view = storage.view();
    assert_eq!(view.object_count(), expected["len"].as_u64().unwrap());
    assert_eq!(view.size_bytes(), expected["size"].as_u64().unwrap());
    assert_eq!(view.last_tid(), tid(&expected["last"]), "lastTransaction");
    for case in expected["load_before"].as_array().unwrap() {
        assert_eq!(load_before(&*view, oid(&case[0]), tid(&case[1])), case[2], "loadBefore {case}");
    }
    for case in expected["load_serial"].as_array().unwrap() {
        let mut sink = LoadedRevision::default();
        view.load_serial(oid(&case[0]), tid(&case[1]), &mut sink).unwrap();
        assert_eq!(hex(&sink.data), case[2], "loadSerial {case}");
        assert_eq!((sink.serial, sink.end), (tid(&case[1]), None));
    }
    for case in expected["get_tid"].as_array().unwrap() {
        let current = view.current(oid(&case[0])).unwrap().filter(|current| !current.is_deleted);
        let found = current.map_or_else(|| "POSKeyError".to_owned(), |current| current.serial.to_string());
        assert_eq!(found, case[1], "getTid {case}");
    }
    if let Some(replies) = expected["last_invalidations"].as_array() {
        for (count, reply) in [1, 3, 1000].into_iter().zip(replies) {
            let changes = view.last_changes(count).unwrap();
            let python =
                reply.as_array().unwrap().iter().map(|pair| {
                    (tid(&pair[0]), pair[1].as_array().unwrap().iter().map(oid).collect::<Vec<_>>())
                });
            assert_eq!(changes, python.collect::<Vec<_>>());
        }
    }
    assert_past_is_as(&*view, expected);
}

/// The transactions of a view from `place` on.
fn iterate(view: &dyn View, mut place: u64) -> Vec<PastTransaction> {
    let mut found = Vec::new();
    while let Some(transaction) = view.transaction_from(place).unwrap() {
        place = transaction.next_place;
        found.push(transaction);
    }
    found
}

/// A transaction in the form of `expected.json`.
fn shown(view: &dyn View, transaction: &PastTransaction) -> Value {
    let mut records = Vec::new();
    let mut place = transaction.records_place;
    while let Some(record) = view.record_from(transaction, place).unwrap() {
        place = record.next_place;
        let data = record.data.map_or(Value::Null, |data| hex(&data).into());
        let data_tid = record.data_tid.map_or(Value::Null, |tid| tid.to_string().into());
        records.push(vec![record.oid.to_string().into(), record.tid.to_string().into(), data, data_tid]);
    }
    serde_json::json!({
        "tid": transaction.tid.to_string(),
        "status": char::from(transaction.status).to_string(),
        "user": hex(&transaction.user),
        "description": hex(&transaction.description),
        "extension": hex(&transaction.extension),
        "records": records,
    })
}

/// Compares what Python says of the past with what `view` says.
fn assert_past_is_as(view: &dyn View, expected: &Value) {
    if let Some(iteration) = expected["iteration"].as_array() {
        let found: Vec<_> = iterate(view, view.place_of(None).unwrap());
        assert_eq!(&found.iter().map(|found| shown(view, found)).collect::<Vec<_>>(), iteration);
        for case in expected["starts"].as_array().unwrap() {
            let place = view.place_of(Some(tid(&case[0]))).unwrap();
            let tids: Vec<_> = iterate(view, place).iter().map(|found| found.tid.to_string()).collect();
            assert_eq!(Value::from(tids), case[1], "iteration from {}", case[0]);
        }
    }
    for case in expected["history"].as_array().unwrap() {
        let mut found = Vec::new();
        view.history(oid(&case[0]), &mut |revision| {
            found.push((revision.tid, unix_seconds_from_tid(revision.tid), revision.data_len));
            ControlFlow::Continue(())
        })
        .unwrap();
        let python = case[1].as_array().unwrap().iter();
        let python = python.map(|entry| (tid(&entry[0]), float(&entry[1]), entry[2].as_u64().unwrap()));
        assert_eq!(found, python.collect::<Vec<_>>(), "history of {}", case[0]);
    }
    let mut place = view.end_place();
    let mut found = Vec::new();
    while let Some(transaction) = view.transaction_before(place).unwrap() {
        place = transaction.place;
        match transaction.status {
            b'p' => break,
            b' ' => found.push((unix_seconds_from_tid(transaction.tid), transaction.len)),
            _ => {}
        }
    }
    let python = expected["undo_log"].as_array().unwrap().iter();
    assert_eq!(found, python.map(|entry| (float(&entry[1]), entry[2].as_u64().unwrap())).collect::<Vec<_>>());
    let mut start = Oid::ZERO;
    for case in expected["current"].as_array().unwrap() {
        let found = view.object_from(start).unwrap().unwrap();
        let mut sink = LoadedRevision::default();
        assert!(view.load_before(found.oid, Tid::MAX, &mut sink).unwrap());
        let next = found.next.map_or(Value::Null, |next| next.to_string().into());
        let shown: Value =
            vec![found.oid.to_string().into(), sink.serial.to_string().into(), hex(&sink.data).into(), next]
                .into();
        assert_eq!(&shown, case);
        start = found.next.unwrap_or(Oid::ZERO);
    }
}

/// A float as Python's `float.hex` writes it.
fn float(text: &Value) -> f64 {
    let text = text.as_str().unwrap().strip_prefix("0x1.").unwrap();
    let (fraction, exponent) = text.split_once('p').unwrap();
    assert_eq!(fraction.len(), 13);
    let fraction = u64::from_str_radix(fraction, 16).unwrap();
    let exponent: u64 = (1023 + exponent.parse::<i64>().unwrap()).try_into().unwrap();
    f64::from_bits(exponent << 52 | fraction)
}

#[test]
fn reads_what_python_reads() {
    for name in ["history", "undo", "plain", "packed", "checkpoint", "undone"] {
        println!("{name}");
        let mut expected = json(name, "expected.json");
        if name == "checkpoint" {
            // Python takes the tid of the transaction that it has just cut off for the last one. A client that
            // hears it would wait for data that nobody has.
            let last_readable = expected["last_invalidations"][0][0][0].clone();
            assert!(tid(&last_readable) < tid(&expected["last"]));
            expected["last"] = last_readable;
        }
        let storage = FileStorage::open(fixture(name).join("Data.fs"), READ_ONLY).unwrap();
        assert_reads_as(&storage, &expected);

        let (_folder, path) = copy(name, false);
        let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
        assert!(matches!(storage.report().index, IndexUse::Rebuilt(_)));
        assert_reads_as(&storage, &expected);
        assert_eq!(storage.new_oids(3).unwrap().to_u64(), oid(&expected["max_oid"]).to_u64() + 1);
        assert_eq!(storage.new_oids(1).unwrap().to_u64(), oid(&expected["max_oid"]).to_u64() + 4);
    }
}

#[test]
fn uses_pythons_index() {
    for name in ["history", "undo", "plain", "packed"] {
        let storage = FileStorage::open(fixture(name).join("Data.fs"), READ_ONLY).unwrap();
        assert_eq!(storage.report().index, IndexUse::Loaded, "{name}");
    }
}

#[test]
fn a_scan_of_the_whole_file_gives_pythons_index() {
    for name in ["history", "plain", "packed"] {
        let (_folder, path) = copy(name, false);
        drop(FileStorage::open(&path, FileStorageOptions::default()).unwrap());
        let ours = fs::read(path.with_extension("fs.index")).unwrap();
        assert_eq!(ours, fs::read(fixture(name).join("Data.fs.index")).unwrap(), "{name}");
    }
}

#[test]
fn a_python_2_file_is_read_and_continued_under_its_magic() {
    let (_folder, path) = copy("python2", false);
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    assert_reads_as(&storage, &json("history", "expected.json"));
    let tid = storage.view().last_tid().next().unwrap();
    let record = NewRecord::with_data(Oid::from_u64(5), "new".into());
    commit(&storage, plain(tid, vec![record]));
    storage.close().unwrap();
    assert_eq!(&fs::read(&path).unwrap()[..4], b"FS21");
    assert_eq!(FileStorage::open(&path, READ_ONLY).unwrap().view().last_tid(), tid);
}

#[test]
fn a_checkpoint_is_saved_aside_and_cut() {
    let (folder, path) = copy("checkpoint", true);
    let before = fs::read(&path).unwrap();
    fs::write(folder.path().join("Data.fs.tr0"), "taken").unwrap();
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    let saved_as = folder.path().join("Data.fs.tr1");
    let end_pos = storage.view().size_bytes();
    let cut = CutTail { pos: end_pos, why: "transaction was not finished", saved_as: Some(saved_as.clone()) };
    assert_eq!(storage.report().cut_tail, Some(cut));
    let (kept, tail) = before.split_at(usize::try_from(end_pos).unwrap());
    assert_eq!(fs::read(&path).unwrap(), kept);
    assert_eq!(fs::read(saved_as).unwrap(), tail);

    let (folder, path) = copy("checkpoint", true);
    let storage = FileStorage::open(&path, READ_ONLY).unwrap();
    assert_eq!(storage.view().size_bytes(), end_pos);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "a read-only storage creates no file");
}

fn plain(tid: Tid, records: Vec<NewRecord>) -> NewTransaction {
    let [user, description, extension] = Default::default();
    NewTransaction { tid, status: b' ', user, description, extension, records }
}

fn commit(storage: &FileStorage, transaction: NewTransaction) {
    storage.vote(transaction).unwrap().finish().unwrap();
}

fn transactions() -> Vec<NewTransaction> {
    let list = json("plain", "transactions.json");
    let record = |value: &Value| match &value["data"] {
        Value::Null => NewRecord::deleted(oid(&value["oid"])),
        data => NewRecord::with_data(oid(&value["oid"]), bytes(data).into()),
    };
    let transaction =
        |value: &Value| transaction(value, value["records"].as_array().unwrap().iter().map(record).collect());
    list.as_array().unwrap().iter().map(transaction).collect()
}

fn transaction(value: &Value, records: Vec<NewRecord>) -> NewTransaction {
    NewTransaction {
        tid: tid(&value["tid"]),
        status: *value["status"].as_str().unwrap().as_bytes().first().unwrap(),
        user: bytes(&value["user"]).into(),
        description: bytes(&value["description"]).into(),
        extension: bytes(&value["extension"]).into(),
        records,
    }
}

#[test]
fn the_same_undos_give_pythons_bytes_and_refusals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    let python = fs::read(fixture("undo").join("Data.fs")).unwrap();
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    let mut refused_count = 0;
    for value in json("undo", "transactions.json").as_array().unwrap() {
        let view = storage.view();
        let mut pending = Pending::default();
        if !value["refused"].is_null() {
            let why = match view.undo(tid(&value["undo"]), &mut pending).unwrap_err() {
                UndoError::Objects(failures) => {
                    let pair = |(oid, why): (Oid, _)| Value::from(vec![oid.to_string(), format!("{why}")]);
                    failures.into_iter().map(pair).collect()
                }
                error => Value::from(error.to_string()),
            };
            assert_eq!(why, value["refused"]);
            refused_count += 1;
            continue;
        }
        for record in value["records"].as_array().unwrap() {
            let records = match (&record["undo"], &record["data"]) {
                (Value::Null, Value::Null) => vec![NewRecord::deleted(oid(&record["oid"]))],
                (Value::Null, data) => vec![NewRecord::with_data(oid(&record["oid"]), bytes(data).into())],
                (undone, _) => view.undo(tid(undone), &mut pending).unwrap(),
            };
            records.into_iter().for_each(|record| pending.push(record));
        }
        commit(&storage, transaction(value, pending.into_records()));
        let ours = fs::read(&path).unwrap();
        assert_eq!(ours, python[..ours.len()], "transaction {}", value["tid"]);
    }
    assert!(refused_count >= 4);
    assert_eq!(fs::read(&path).unwrap(), python);
}

/// What `copyTransactionsFrom` does. (A pack leaves previous pointers out, so a copy of a packed file differs from it.)
#[test]
fn a_copy_by_iteration_and_restore_is_the_same_file() {
    for name in ["history", "undo", "plain"] {
        let source = FileStorage::open(fixture(name).join("Data.fs"), READ_ONLY).unwrap();
        let from = source.view();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Data.fs");
        let target = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
        for transaction in iterate(&*from, from.place_of(None).unwrap()) {
            let mut records = Vec::new();
            let mut place = transaction.records_place;
            while let Some(record) = from.record_from(&transaction, place).unwrap() {
                place = record.next_place;
                let data = target.view().restored(record.oid, record.data, record.data_tid).unwrap();
                records.push(NewRecord { oid: record.oid, serial: Some(record.tid), data });
            }
            let PastTransaction { tid, status, user, description, extension, .. } = transaction;
            commit(&target, NewTransaction { tid, status, user, description, extension, records });
        }
        let (ours, python) = (fs::read(&path).unwrap(), fs::read(fixture(name).join("Data.fs")).unwrap());
        assert!(ours == python, "{name}");
    }
}

#[test]
fn the_hint_of_a_copied_record_is_used_only_where_it_says_the_same() {
    let (_folder, path) = copy("history", true);
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    let view = storage.view();
    let one = Oid::from_u64(1);
    let mut history = Vec::new();
    view.history(one, &mut |revision| {
        history.push(revision.tid);
        ControlFlow::Continue(())
    })
    .unwrap();
    let oldest = *history.last().unwrap();
    let mut sink = LoadedRevision::default();
    view.load_serial(one, oldest, &mut sink).unwrap();
    let restored = |data: &[u8], hint| {
        let data = Some(data.to_vec().into());
        matches!(view.restored(one, data, hint).unwrap(), RecordData::Revision(found) if Some(found.serial) == hint)
    };
    assert!(restored(&sink.data, Some(oldest)));
    assert!(!restored(&sink.data, None));
    assert!(!restored(&sink.data, oldest.next()));
    assert!(!restored(b"something else", Some(oldest)));
    assert!(!restored(&sink.data, history.first().copied()));
    assert_eq!(view.restored(one, None, Some(oldest)).unwrap(), RecordData::Deleted);
    assert_eq!(view.restored(Oid::from_u64(999), None, Some(oldest)).unwrap(), RecordData::Deleted);
}

#[test]
fn the_same_input_gives_pythons_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    let python = fs::read(fixture("plain").join("Data.fs")).unwrap();
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    for transaction in transactions() {
        let tid = transaction.tid;
        let voted = storage.vote(transaction).unwrap();
        let len = voted.transaction_len();
        let before = fs::read(&path).unwrap();
        let view = voted.finish().unwrap();
        assert_eq!(view.last_tid(), tid);
        // After each transaction, so that a difference shows where it arises.
        let ours = fs::read(&path).unwrap();
        assert_eq!(ours.len() as u64 - before.len() as u64, len);
        assert_eq!(ours, python[..ours.len()], "transaction {tid}");
    }
    storage.close().unwrap();
    assert_eq!(fs::read(&path).unwrap(), python);
    let index = fs::read(folder.path().join("Data.fs.index")).unwrap();
    assert_eq!(index, fs::read(fixture("plain").join("Data.fs.index")).unwrap());
    assert_reads_as(&storage, &json("plain", "expected.json"));
}

#[test]
fn a_restart_between_any_two_transactions_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    for (n, transaction) in transactions().into_iter().enumerate() {
        let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
        commit(&storage, transaction);
        // By turns properly and as a crash would.
        if n % 2 == 0 {
            storage.close().unwrap();
        }
    }
    assert_eq!(fs::read(&path).unwrap(), fs::read(fixture("plain").join("Data.fs")).unwrap());
}
