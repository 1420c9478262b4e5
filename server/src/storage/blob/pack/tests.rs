//! A pack of a storage with blobs: which files go, which stay, and what a crash leaves.

use std::collections::BTreeSet;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::durable::plan;
use super::*;
use crate::logging::testing::logged;
use crate::storage::blob::{BlobDirectoryOptions, BlobStorage};
use crate::storage::file::{FileStorage, FileStorageOptions};
use crate::storage::memory::MemoryStorage;
use crate::storage::{NewBlob, NewRecord, NewTransaction, Unattended};

const BLOB_RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.";
/// The root refers to object 7 and to no other.
const ROOT_RECORD: &[u8] = b"\x80\x03c__main__\nRoot\nq\x00.\x80\x03C\x08\0\0\0\0\0\0\0\x07N\x86Q.";

fn tid(number: u64) -> Tid {
    Tid::from_u64(0x040d_23f9_0000_0000 + number)
}

fn commit(storage: &dyn Storage, number: u64, oids: &[u64]) {
    let mut records = vec![NewRecord::with_data(Oid::ZERO, ROOT_RECORD.into())];
    let mut blobs = Vec::new();
    for oid in oids.iter().copied().map(Oid::from_u64) {
        // As ZEO's clients, twice.
        records.extend([
            NewRecord::with_data(oid, BLOB_RECORD.into()),
            NewRecord::with_data(oid, BLOB_RECORD.into()),
        ]);
        let mut upload = storage.blobs().unwrap().new_upload().unwrap();
        upload.write(format!("{oid} by {number}").as_bytes()).unwrap();
        blobs.push(NewBlob { oid, content: upload.finish() });
    }
    let transaction = NewTransaction {
        tid: tid(number),
        status: b' ',
        user: Bytes::new(),
        description: Bytes::new(),
        extension: Bytes::new(),
        records,
    };
    storage.vote_with_blobs(transaction, blobs).unwrap().finish().unwrap();
}

fn until(number: u64) -> PackRequest {
    PackRequest { until: tid(number), gc: Some(true) }
}

fn open(dir: &TempDir, options: FileStorageOptions) -> BlobStorage {
    let file = FileStorage::open(dir.path().join("Data.fs"), options).unwrap();
    let directory = BlobDirectory::open(&dir.path().join("blobs"), BlobDirectoryOptions::default()).unwrap();
    BlobStorage::new(Arc::new(file), directory).unwrap()
}

/// Object 7 is written by 10, 20 and 30, object 8, to which nobody refers, by 10.
fn fill(storage: &dyn Storage) {
    commit(storage, 10, &[7, 8]);
    commit(storage, 20, &[7]);
    commit(storage, 30, &[7]);
}

/// The files below a directory with their contents, and the directories of objects.
fn files(root: &Path) -> (BTreeSet<(String, String)>, usize) {
    let (mut found, mut dir_count, mut dirs) = (BTreeSet::new(), 0, vec![root.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dir_count +=
                    usize::from(fs::read_dir(&path).unwrap().all(|entry| entry.unwrap().path().is_file()));
                dirs.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    (found, dir_count)
}

fn exists(storage: &dyn Storage, oid: u64, number: u64) -> bool {
    match storage.open_blob(Oid::from_u64(oid), tid(number)) {
        Ok(_) => true,
        Err(StorageError::NoBlobFile { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn files_go_with_their_records() {
    let dir = TempDir::new().unwrap();
    let storage = open(&dir, FileStorageOptions { discard_old: true, ..FileStorageOptions::default() });
    fill(&storage);
    assert!(matches!(storage.pack(until(25), &Unattended).unwrap(), PackOutcome::Packed(_)));
    let left = [(7, 10), (8, 10), (7, 20), (7, 30)].map(|(oid, number)| exists(&storage, oid, number));
    assert_eq!(left, [false, false, true, true]);
    // The marker, and two revisions in one directory: that of the other object has gone, tmp/ is empty.
    let (left, dir_count) = files(&dir.path().join("blobs"));
    assert_eq!((left.len(), dir_count), (3, 2));
    assert!(!dir.path().join("blobs.old").exists());
    // It goes on as before.
    commit(&storage, 40, &[7, 8]);
    assert!(exists(&storage, 8, 40));
}

#[test]
fn the_old_directory_is_the_directory_before_the_pack() {
    for keeps_old in [true, false] {
        let dir = TempDir::new().unwrap();
        let mut storage = open(&dir, FileStorageOptions::default());
        if keeps_old {
            storage = storage.keeping_old();
        }
        fs::create_dir(dir.path().join("blobs.old")).unwrap();
        fs::write(dir.path().join("blobs.old/of-an-earlier-pack"), "").unwrap();
        fill(&storage);
        let before = files(&dir.path().join("blobs")).0;
        storage.pack(until(25), &Unattended).unwrap();
        let old = files(&dir.path().join("blobs.old")).0;
        assert_eq!(old == before, keeps_old, "{old:?}");
        assert_eq!(files(&dir.path().join("blobs")).0.len(), before.len() - 2);
    }
}

#[test]
fn the_next_start_does_what_a_crash_left_undone() {
    let dir = TempDir::new().unwrap();
    let storage = open(&dir, FileStorageOptions::default());
    fill(&storage);
    let (gone, kept) = (storage.blobs().unwrap().revision_path(Oid::from_u64(7), tid(10)), tid(20));
    let content = fs::read(&gone).unwrap();
    storage.pack(until(25), &Unattended).unwrap();
    // The process died between the switch and the removal; and it had noted more than was to go.
    fs::create_dir_all(gone.parent().unwrap()).unwrap();
    fs::write(&gone, content).unwrap();
    let seven = Oid::from_u64(7);
    let notes = format!("{seven}{}\n{seven}{kept}\nnonsense\n{seven}{}", tid(10), "0123");
    storage.close().unwrap();
    drop(storage);
    fs::write(dir.path().join("blobs/tmp/zeo-removed.x"), notes).unwrap();
    let storage = open(&dir, FileStorageOptions::default());
    assert!(!exists(&storage, 7, 10) && exists(&storage, 7, 20) && exists(&storage, 7, 30));
    assert_eq!(fs::read_dir(dir.path().join("blobs/tmp")).unwrap().count(), 0);
}

/// Lets the pack come to its last step and gives it up there, after a look at the notes.
struct GivingUp<'d>(&'d Path, &'d BlobStorage);

impl PackHost for GivingUp<'_> {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>> {
        let notes = fs::read_dir(self.0.join("blobs/tmp")).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&notes).unwrap();
        assert_eq!(text.lines().map(parse_note).collect::<BTreeSet<_>>().len(), 2, "{text}");
        // A second pack is refused, and leaves the notes of the first one alone.
        assert!(matches!(self.1.pack(until(25), &Unattended), Err(StorageError::AlreadyPacking)));
        assert!(notes.exists());
        None
    }

    fn packed(&self, _: Arc<dyn View>) {}
}

#[test]
fn a_pack_that_is_given_up_removes_nothing() {
    let dir = TempDir::new().unwrap();
    let storage = open(&dir, FileStorageOptions::default());
    fill(&storage);
    let before = files(&dir.path().join("blobs"));
    assert!(storage.pack(until(25), &GivingUp(dir.path(), &storage)).is_err());
    assert_eq!(files(&dir.path().join("blobs")), before);
}

/// A host that looks what has been synced when commits are to be stopped.
struct Watching<'d>(&'d Path, Mutex<Vec<String>>);

impl PackHost for Watching<'_> {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>> {
        *self.1.lock().unwrap() = plan::synced(self.0);
        Unattended.stop_commits()
    }

    fn packed(&self, _: Arc<dyn View>) {}
}

/// Behind the switch a power cut must not lose the notes, or the files of what went would stay for ever.
#[test]
fn the_notes_are_durable_before_commits_are_stopped() {
    let dir = TempDir::new().unwrap();
    let storage = open(&dir, FileStorageOptions::default());
    fill(&storage);
    let before = files(&dir.path().join("blobs"));
    let tmp = dir.path().join("blobs/tmp");
    for failing in 0..2 {
        plan::begin(Some(failing));
        assert!(matches!(storage.pack(until(25), &Unattended), Err(StorageError::Cancelled)), "{failing}");
        assert_eq!(files(&dir.path().join("blobs")), before, "{failing}");
    }
    plan::begin(None);
    let host = Watching(&tmp, Mutex::default());
    assert!(matches!(storage.pack(until(25), &host).unwrap(), PackOutcome::Packed(_)));
    let synced = host.1.into_inner().unwrap();
    assert!(synced.len() == 2 && synced[0].starts_with(NOTES_PREFIX) && synced[1].is_empty(), "{synced:?}");
}

#[test]
fn a_storage_in_memory_packs_its_blobs_too() {
    let dir = TempDir::new().unwrap();
    let directory = BlobDirectory::open(dir.path(), BlobDirectoryOptions::default()).unwrap();
    let storage = BlobStorage::new(Arc::new(MemoryStorage::new("m")), directory).unwrap();
    fill(&storage);
    storage.pack(until(25), &Unattended).unwrap();
    let left = [(7, 10), (8, 10), (7, 20), (7, 30)].map(|(oid, number)| exists(&storage, oid, number));
    assert_eq!(left, [false, false, true, true]);
}

/// The process dies behind the switch, before the files are moved: the way back must not lack its blobs.
#[test]
fn the_next_start_keeps_the_old_files_too() {
    for moved_count in 0..=2 {
        let dir = TempDir::new().unwrap();
        let storage = open(&dir, FileStorageOptions::default()).keeping_old();
        fill(&storage);
        let before = files(&dir.path().join("blobs")).0;
        storage.pack(until(25), &Unattended).unwrap();
        // Back to where some of the files had been moved.
        let old = dir.path().join("blobs.old");
        let moved_back = [(7, 10), (8, 10)].map(|(oid, number)| {
            let path = storage.blobs().unwrap().revision_path(Oid::from_u64(oid), tid(number));
            (old.join(path.strip_prefix(storage.blobs().unwrap().root()).unwrap()), path)
        });
        let notes =
            format!("{KEEPS_OLD}\n{}{}\n{}{}\n", Oid::from_u64(7), tid(10), Oid::from_u64(8), tid(10));
        for (from, to) in &moved_back[moved_count..] {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::rename(from, to).unwrap();
        }
        if moved_count > 0 {
            fs::write(old.join(UNFINISHED), "").unwrap();
        }
        storage.close().unwrap();
        drop(storage);
        fs::write(dir.path().join("blobs/tmp/zeo-removed.x"), notes).unwrap();
        let storage = open(&dir, FileStorageOptions::default());
        assert_eq!(files(&old).0, before, "{moved_count}");
        assert!(!exists(&storage, 7, 10) && exists(&storage, 7, 20));
    }
}

/// A line now and then, and one at the end, with the end that a steady pace leads to.
#[test]
fn the_log_tells_how_far_the_removal_has_come() {
    let dir = TempDir::new().unwrap();
    let storage = open(&dir, FileStorageOptions::default());
    let removed: Vec<_> = (0..10).map(|number| (Oid::from_u64(90 + number), tid(10))).collect();
    // Every look at the clock is 2 s later.
    let (start, looks) = (Instant::now(), Mutex::new(0));
    let clock = || {
        let mut looks = looks.lock().unwrap();
        *looks += 1;
        start + std::time::Duration::from_secs(2 * *looks)
    };
    let log = logged(|| sweep(storage.blobs().unwrap(), &*storage.view(), &removed, None, &clock).unwrap());
    let told: Vec<&str> = log.lines().filter_map(|line| line.split("of blobs: ").nth(1)).collect();
    // After 6, 12, 18 and 22 s; 2, 5 and 8 of them are done, then all.
    let expected = [("20 %", Some(24)), ("50 %", Some(12)), ("80 %", Some(4)), ("100 %", None)];
    assert_eq!(told.len(), expected.len(), "{log}");
    for (line, (percent, seconds)) in told.iter().zip(expected) {
        let is_end = seconds.is_none_or(|seconds| line.contains(&format!(", in {seconds} s")));
        assert!(line.starts_with(percent) && is_end, "{line}");
        assert_eq!(line.contains("ends about 2"), seconds.is_some(), "{line}");
    }
}

/// A file that is in the way keeps the others from nothing, and the next pack tries again.
#[test]
fn what_could_not_be_removed_is_tried_again() {
    let dir = TempDir::new().unwrap();
    let storage = open(&dir, FileStorageOptions::default());
    fill(&storage);
    let stuck = storage.blobs().unwrap().revision_path(Oid::from_u64(7), tid(10));
    fs::remove_file(&stuck).unwrap();
    fs::create_dir_all(stuck.join("in the way")).unwrap();
    storage.pack(until(25), &Unattended).unwrap();
    assert!(stuck.exists() && !exists(&storage, 8, 10));
    fs::remove_dir_all(&stuck).unwrap();
    fs::write(&stuck, "").unwrap();
    storage.pack(until(35), &Unattended).unwrap();
    assert!(!stuck.exists());
    assert_eq!(fs::read_dir(dir.path().join("blobs/tmp")).unwrap().count(), 0);
}
