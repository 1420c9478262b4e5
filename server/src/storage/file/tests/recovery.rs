//! Files that are torn, damaged, or have the wrong index.

use std::fs;
use std::path::Path;

use super::*;
use crate::storage::file::disk::MemoryDisk;
use crate::storage::file::format::{
    DataHeader, TRANSACTION_HEADER_LEN, TransactionHeader, data_field, transaction_field,
};
use crate::storage::file::{CutTail, IndexUse};

/// A history, and the length of the file after each transaction.
fn history(seed: u64, count: usize, data_len_max: usize) -> (Vec<u8>, Vec<(usize, Model)>) {
    let disk = Arc::new(MemoryDisk::default());
    let storage = open(disk.clone()).unwrap();
    let (mut model, mut random) = (Model::default(), Random(seed));
    let mut states = vec![(disk.bytes().len(), model.clone())];
    for _ in 0..count {
        commit_some(&storage, &mut model, &mut random, 1, data_len_max);
        states.push((disk.bytes().len(), model.clone()));
    }
    (disk.bytes(), states)
}

/// Guarantees, fault 2.
#[test]
fn a_file_cut_at_any_byte_opens_with_what_is_complete() {
    let (bytes, states) = history(4, 7, 300);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    for len in states[states.len() - 4].0..=bytes.len() {
        let (whole_len, model) = states.iter().rfind(|(whole_len, _)| *whole_len <= len).unwrap();
        let saved_as = folder.path().join("Data.fs.tr0");
        fs::write(&path, &bytes[..len]).unwrap();

        let read_only = FileStorageOptions { read_only: true, ..FileStorageOptions::default() };
        model.assert_equals(&*FileStorage::open(&path, read_only).unwrap().view());
        assert_eq!(fs::read(&path).unwrap(), &bytes[..len]);

        let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
        model.assert_equals(&*storage.view());
        assert_eq!(fs::read(&path).unwrap(), &bytes[..*whole_len]);
        let tail = &bytes[*whole_len..len];
        let cut_tail = storage.report().cut_tail.clone();
        match tail.len() {
            0 => assert_eq!(cut_tail, None),
            1..TRANSACTION_HEADER_LEN => {
                assert!(matches!(cut_tail, Some(CutTail { saved_as: None, .. })), "{cut_tail:?}");
            }
            _ => {
                assert_eq!(cut_tail.unwrap().saved_as, Some(saved_as.clone()));
                assert_eq!(fs::read(&saved_as).unwrap(), tail);
                fs::remove_file(&saved_as).unwrap();
            }
        }
        // A new file for the next round, so that its index is not used.
        drop(storage);
        for suffix in ["", ".index", ".lock"] {
            fs::remove_file(folder.path().join(format!("Data.fs{suffix}"))).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

/// What a byte of the file belongs to, as far as its damage cannot be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Object data: there is no checksum.
    Data,
    /// The oid of a record without a previous one: it becomes the creation of another object.
    FirstOid,
    /// The lengths of user, description and extension: these may come to swallow exactly a record or more.
    MetadataLen,
    /// A record's tid, which moves the revision in time.
    RecordTid,
    /// A record's previous pointer: if it becomes 0 the history ends there.
    Previous,
    /// The length of 8 bytes of data, or of a back pointer: both kinds of record are equally long.
    LenOfEight,
    /// Everything else: magic, lengths, oids, pointers, metadata.
    Structure,
}

/// What each byte of a sound file belongs to.
fn parts(bytes: &[u8]) -> Vec<Part> {
    let mut parts = vec![Part::Structure; bytes.len()];
    let mut pos = 4;
    while pos < bytes.len() {
        let header = TransactionHeader::parse(&bytes[pos..]).unwrap();
        let end = pos + usize::try_from(header.len).unwrap();
        parts[pos + transaction_field::USER_LEN.start..pos + TRANSACTION_HEADER_LEN].fill(Part::MetadataLen);
        let mut at = pos + usize::try_from(header.header_len()).unwrap();
        while at < end {
            let record = DataHeader::parse(&bytes[at..]).unwrap();
            let next = at + usize::try_from(record.record_len().unwrap()).unwrap();
            parts[field(at, data_field::TID)].fill(Part::RecordTid);
            parts[field(at, data_field::PREVIOUS)].fill(Part::Previous);
            if record.previous_pos == 0 {
                parts[field(at, data_field::OID)].fill(Part::FirstOid);
            }
            if matches!(record.data_len, 0 | 8) {
                parts[field(at, data_field::DATA_LEN)].fill(Part::LenOfEight);
            }
            if record.data_len != 0 {
                parts[at + data_field::DATA_LEN.end..next].fill(Part::Data);
            }
            at = next;
        }
        pos = end + 8;
    }
    parts
}

/// Guarantees, fault 4, with the index rebuilt. A damaged oid or previous pointer is counted in the report;
/// as with Python the file opens all the same.
#[test]
fn flipped_bytes_give_the_original_or_a_named_error() {
    let (bytes, states) = history(6, 12, 120);
    let (_, model) = states.last().unwrap();
    let parts = parts(&bytes);
    let mut random = Random(1);
    let (mut count, mut refused, mut cut, mut reported) = (0, 0, 0, 0);
    for at in 0..bytes.len() {
        for flip in [1 << random.below(8), 0xff, bytes[at] ^ b'c', bytes[at]] {
            if flip == 0 {
                continue;
            }
            count += 1;
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let storage = match open(Arc::new(MemoryDisk::new(damaged))) {
                Ok(storage) => storage,
                Err(StorageError::Corrupt { file, .. }) => {
                    assert_eq!(file, "Data.fs");
                    refused += 1;
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            if storage.report().cut_tail.is_some() {
                // Only the last transaction can be taken for a torn one.
                assert!(at >= states[states.len() - 2].0, "byte {at}: {:?}", storage.report());
                states[states.len() - 2].1.assert_equals(&*storage.view());
                cut += 1;
            } else if storage.report().wrong_previous_count > 0 {
                reported += 1;
            } else {
                compare_damaged(&storage, model, parts[at]);
            }
        }
    }
    println!(
        "{count} flips: {refused} files refused, {cut} last transactions cut, {reported} files reported"
    );
    assert!(refused > count / 10 && cut > 0 && reported > 0);
}

/// Every load gives the original or an error, unless the damage is in a part where it cannot be noticed.
fn compare_damaged(storage: &FileStorage, model: &Model, damaged: Part) {
    let view = storage.view();
    let _named = view.last_changes(usize::MAX);
    for (oid, revisions) in &model.revisions {
        for (tid, _) in revisions {
            let before = tid.next().unwrap();
            let expected = model.load_before(*oid, before);
            let found = match load_before(&*view, *oid, before) {
                Ok(found) => found,
                Err(StorageError::Corrupt { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            if found == expected {
                continue;
            }
            match (damaged, &found, &expected) {
                (
                    Part::Data,
                    Loaded::Revision { data, serial, end },
                    Loaded::Revision { data: was, serial: serial_was, end: end_was },
                ) => {
                    assert_eq!((serial, end), (serial_was, end_was));
                    assert_eq!(data.len(), was.len());
                    assert_eq!(data.iter().zip(was).filter(|(one, other)| one != other).count(), 1);
                }
                // The data is that of some revision of this object.
                (Part::RecordTid | Part::MetadataLen, Loaded::Revision { data, .. }, _) => {
                    assert!(revisions.iter().any(|(_, was)| was.as_ref().is_some_and(|was| was == data)));
                }
                (Part::RecordTid | Part::Previous, Loaded::OnlyLater, _) => {}
                (Part::FirstOid | Part::MetadataLen, Loaded::NoSuchObject, _) => {}
                // Two objects created by one transaction have become one.
                (Part::FirstOid, Loaded::Revision { serial, .. }, Loaded::Revision { serial: was, .. }) => {
                    assert_eq!(serial, was);
                }
                (Part::RecordTid, Loaded::NoSuchObject, _) => {
                    assert!(revisions.iter().any(|(_, was)| was.is_none()));
                }
                (Part::LenOfEight, Loaded::Revision { data, .. }, Loaded::NoSuchObject) => {
                    assert_eq!(data, &[0; 8]);
                }
                (Part::LenOfEight, Loaded::NoSuchObject, Loaded::Revision { data, .. }) => {
                    assert_eq!(data, &[0; 8]);
                }
                _ => panic!("{oid} before {before}: {damaged:?}: {found:?} {expected:?}"),
            }
        }
    }
}

/// The same with the index of the undamaged file, as after a normal close.
#[test]
fn flipped_bytes_under_a_good_index_are_named() {
    let (bytes, states) = history(6, 12, 120);
    let (_, model) = states.last().unwrap();
    let parts = parts(&bytes);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    fs::write(&path, &bytes).unwrap();
    FileStorage::open(&path, FileStorageOptions::default()).unwrap().close().unwrap();
    let read_only = FileStorageOptions { read_only: true, ..FileStorageOptions::default() };
    let mut loaded_count = 0;
    for at in 4..bytes.len() {
        for flip in [0x10, bytes[at]] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            fs::write(&path, &damaged).unwrap();
            if let Ok(storage) = FileStorage::open(&path, read_only)
                && storage.report().index == IndexUse::Loaded
            {
                loaded_count += 1;
                compare_damaged(&storage, model, parts[at]);
            }
        }
    }
    assert!(loaded_count > bytes.len(), "{loaded_count}");
}

#[test]
fn no_bytes_make_it_panic_or_allocate() {
    let (bytes, _) = history(8, 5, 60);
    let mut random = Random(2);
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..=random.below(6) {
            let at = random.below(damaged.len());
            let len = random.below(9).min(damaged.len() - at);
            let byte = [0, 0xff, 0x7f, u8::try_from(random.below(256)).unwrap()][random.below(4)];
            damaged[at..at + len].fill(byte);
        }
        damaged.truncate(damaged.len() - random.below(3) * random.below(40));
        let Ok(storage) = open(Arc::new(MemoryDisk::new(damaged))) else { continue };
        let view = storage.view();
        let _any = view.last_changes(100);
        for oid in 0..40 {
            for before in [Tid::MAX, view.last_tid()] {
                let _any = load_before(&*view, Oid::from_u64(oid), before);
            }
            let _any = view.current(Oid::from_u64(oid));
        }
    }
}

/// Where the structure of the transaction at `pos` lies, from the file itself.
fn field(pos: usize, range: std::ops::Range<usize>) -> std::ops::Range<usize> {
    pos + range.start..pos + range.end
}

#[test]
fn damage_in_the_middle_is_refused_and_nothing_is_cut() {
    let (bytes, states) = history(30, 9, 200);
    let middle = states[4].0;
    let cases: [(&str, usize, &[u8]); 5] = [
        ("length beyond the end", middle + 8, &[0, 0, 0, 1]),
        ("length too short", middle + 8, &[0, 0, 0, 0, 0, 0, 0, 9]),
        ("unfinished", middle + 16, b"c"),
        ("redundant length", states[5].0 - 1, &[0xff]),
        ("metadata length", middle + 17, &[0xff, 0xff]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    for (name, at, wrong) in cases {
        let mut damaged = bytes.clone();
        assert_ne!(&damaged[at..at + wrong.len()], wrong);
        damaged[at..at + wrong.len()].copy_from_slice(wrong);
        fs::write(&path, &damaged).unwrap();
        match FileStorage::open(&path, FileStorageOptions::default()) {
            Err(StorageError::Corrupt { file, pos, .. }) => {
                assert_eq!(file, path.display().to_string());
                assert!((middle as u64..states[5].0 as u64).contains(&pos), "{name}: {pos}");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), damaged, "{name}");
    }
}

#[test]
fn loops_and_huge_lengths_are_named() {
    let disk = Arc::new(MemoryDisk::default());
    let storage = open(disk.clone()).unwrap();
    let mut transaction = random_transaction(&mut Random(1), Tid::ZERO, 0, 1);
    (transaction.user, transaction.description) = Default::default();
    transaction.records =
        vec![NewRecord::with_data(Oid::from_u64(1), "data".into()), NewRecord::deleted(Oid::from_u64(2))];
    storage.vote(transaction).unwrap().finish().unwrap();
    let first = 4 + TRANSACTION_HEADER_LEN;
    let second = first + data_field::DATA_LEN.end + 4;
    let good = disk.bytes();
    let cases = [
        (1, field(first, data_field::PREVIOUS), first as u64),
        (1, field(first, data_field::PREVIOUS), u64::MAX),
        (1, field(first, data_field::TRANSACTION), first as u64),
        (1, field(first, data_field::DATA_LEN), u64::MAX),
        (1, field(first, data_field::DATA_LEN), 1 << 40),
        (1, field(first, data_field::OID), 7),
        (2, field(second, data_field::BACK_POINTER), second as u64),
        (2, field(second, data_field::BACK_POINTER), u64::MAX),
        (2, field(second, data_field::BACK_POINTER), first as u64),
    ];
    for (oid, place, wrong) in cases {
        let mut damaged = good.clone();
        damaged[place].copy_from_slice(&wrong.to_be_bytes());
        // Under the feet of an open storage, so that the scan does not find it first.
        disk.write_all_at(&damaged, 0).unwrap();
        let result = load_before(&*storage.view(), Oid::from_u64(oid), Tid::MAX);
        assert!(matches!(result, Err(StorageError::Corrupt { .. })), "{wrong}: {result:?}");
    }
}

fn index_path(path: &Path) -> std::path::PathBuf {
    crate::storage::file::with_suffix(path, ".index")
}

/// Guarantees, fault 20.
#[test]
fn a_wrong_index_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    let other_path = folder.path().join("Other.fs");
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    let (mut model, mut random) = (Model::default(), Random(40));
    commit_some(&storage, &mut model, &mut random, 10, 200);
    storage.close().unwrap();
    let stale = fs::read(index_path(&path)).unwrap();
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    assert_eq!(storage.report().index, IndexUse::Loaded);
    commit_some(&storage, &mut model, &mut random, 10, 200);
    storage.close().unwrap();
    let good = fs::read(index_path(&path)).unwrap();
    assert_ne!(good, stale);
    let other = FileStorage::open(&other_path, FileStorageOptions::default()).unwrap();
    commit_some(&other, &mut Model::default(), &mut Random(41), 20, 200);
    other.close().unwrap();
    let foreign = fs::read(index_path(&other_path)).unwrap();

    let open_with = |index: &[u8]| {
        fs::write(index_path(&path), index).unwrap();
        let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
        model.assert_equals(&*storage.view());
        storage.report().index.clone()
    };
    // One that only ends earlier is as good: what follows is scanned.
    assert_eq!(open_with(&stale), IndexUse::Loaded);
    assert!(matches!(open_with(&foreign), IndexUse::Rebuilt(_)));
    assert_eq!(fs::read(index_path(&path)).unwrap(), good, "the rebuilt index is saved");
    assert!(matches!(open_with(b""), IndexUse::Rebuilt(_)));
    for len in 0..good.len() {
        assert!(matches!(open_with(&good[..len]), IndexUse::Rebuilt(_)), "cut at {len}");
    }
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << random.below(8);
        fs::write(index_path(&path), &damaged).unwrap();
        let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
        if storage.report().index != IndexUse::Loaded {
            model.assert_equals(&*storage.view());
        }
    }
    fs::remove_file(index_path(&path)).unwrap();
    assert!(matches!(
        FileStorage::open(&path, FileStorageOptions::default()).unwrap().report().index,
        IndexUse::Rebuilt(_)
    ));
}

/// The index of another state of the same file: one that was packed, restored from a backup, cut.
#[test]
fn an_index_beyond_the_file_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    let (mut model, mut random) = (Model::default(), Random(50));
    commit_some(&storage, &mut model, &mut random, 10, 200);
    let backup = (fs::read(&path).unwrap(), model.clone());
    commit_some(&storage, &mut model, &mut random, 10, 200);
    storage.close().unwrap();
    fs::write(&path, backup.0).unwrap();
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    assert!(matches!(storage.report().index, IndexUse::Rebuilt(_)));
    backup.1.assert_equals(&*storage.view());
}

#[test]
fn what_is_no_data_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    for content in [&b"F"[..], b"FS3", b"FS20", b"PK\x03\x04 and more"] {
        fs::write(&path, content).unwrap();
        let result = FileStorage::open(&path, FileStorageOptions::default());
        assert!(matches!(result, Err(StorageError::Corrupt { pos: 0, .. })), "{result:?}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let read_only = FileStorageOptions { read_only: true, ..FileStorageOptions::default() };
    fs::remove_file(&path).unwrap();
    assert!(matches!(FileStorage::open(&path, read_only), Err(StorageError::Io { .. })));
    assert!(!path.exists());
    fs::write(&path, "").unwrap();
    assert_eq!(FileStorage::open(&path, read_only).unwrap().view().last_tid(), Tid::ZERO);
    assert_eq!(fs::read(&path).unwrap(), b"");
    drop(FileStorage::open(&path, FileStorageOptions::default()).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"FS30");
}

#[test]
fn create_starts_anew_and_a_second_opener_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
    let mut model = Model::default();
    commit_some(&storage, &mut model, &mut Random(1), 3, 50);
    let result = FileStorage::open(&path, FileStorageOptions::default());
    assert!(matches!(result, Err(StorageError::Locked { .. })), "{result:?}");
    let read_only = FileStorageOptions { read_only: true, ..FileStorageOptions::default() };
    model.assert_equals(&*FileStorage::open(&path, read_only).unwrap().view());
    storage.close().unwrap();
    let create = FileStorageOptions { create: true, ..FileStorageOptions::default() };
    let anew = FileStorage::open(&path, create).unwrap();
    Model::default().assert_equals(&*anew.view());
    model.assert_equals(&*storage.view());
}
