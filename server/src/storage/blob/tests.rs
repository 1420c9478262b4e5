//! A blob directory beside a file storage on a disk that can fail.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use zeo_codec::{Oid, Tid};

use super::durable::plan;
use super::storage::is_blob_record;
use super::*;
use crate::storage::file::disk::Disk;
use crate::storage::file::disk::fault::{EIO, ENOSPC, Effect, Fault, FaultDisk};
use crate::storage::file::{FileStorage, FileStorageOptions};
use crate::storage::{
    NewBlob, NewRecord, NewTransaction, PackOutcome, PackRequest, Revision, Storage, StorageError,
    Unattended, Voted,
};

/// What Python 3 pickles for a `ZODB.blob.Blob`, by protocol 3 and, from Python 2, by protocol 1.
const BLOB_RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x01.\x80\x03N.";
const OLD_BLOB_RECORD: &[u8] = b"cZODB.blob\nBlob\nq\x01.N.";

const OID: Oid = Oid::from_u64(7);

/// A storage with blobs, and the means to end it in the middle and begin again.
struct Site {
    dir: TempDir,
    disk: Arc<FaultDisk>,
    storage: BlobStorage,
}

fn open(dir: &TempDir, disk: &Arc<FaultDisk>) -> BlobStorage {
    let disk: Arc<dyn Disk> = disk.clone();
    let file = FileStorage::open_disk(disk, "test", FileStorageOptions::default()).unwrap();
    let directory = BlobDirectory::open(&dir.path().join("blobs"), BlobDirectoryOptions::default()).unwrap();
    BlobStorage::new(Arc::new(file), directory).unwrap()
}

fn tid(number: u64) -> Tid {
    Tid::from_u64(0x040d_23f9_0000_0000 + number)
}

impl Site {
    fn new() -> Self {
        let (dir, disk) = (TempDir::new().unwrap(), Arc::new(FaultDisk::default()));
        let storage = open(&dir, &disk);
        Self { dir, disk, storage }
    }

    /// As after a crash.
    fn reopen(self) -> Self {
        let Self { dir, disk, storage } = self;
        drop(storage);
        let storage = open(&dir, &disk);
        Self { dir, disk, storage }
    }

    fn blobs(&self) -> &BlobDirectory {
        self.storage.blobs().unwrap()
    }

    fn vote(&self, number: u64, content: &[u8]) -> Result<Box<dyn Voted>, StorageError> {
        let mut upload = self.blobs().new_upload()?;
        upload.write(content)?;
        let blob = NewBlob { oid: OID, content: upload.finish() };
        let record = NewRecord::with_data(OID, Bytes::from_static(BLOB_RECORD));
        self.storage.vote_with_blobs(transaction(number, vec![record]), vec![blob])
    }

    fn commit(&self, number: u64, content: &[u8]) {
        self.vote(number, content).unwrap().finish().unwrap();
    }

    fn content(&self, serial: Tid) -> Option<Vec<u8>> {
        match self.blobs().open_revision(OID, serial) {
            Ok(mut file) => {
                let mut content = Vec::new();
                file.read_to_end(&mut content).unwrap();
                Some(content)
            }
            Err(StorageError::NoBlobFile { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// All files below the blob directory but its marker, relative to it.
    fn files(&self) -> Vec<String> {
        let root = self.dir.path().join("blobs");
        let mut files = walk(&root);
        files.retain(|path| path != ".layout");
        files
    }
}

fn walk(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

fn transaction(number: u64, records: Vec<NewRecord>) -> NewTransaction {
    let empty = Bytes::new();
    let (user, description, extension) = (empty.clone(), empty.clone(), empty);
    NewTransaction { tid: tid(number), status: b' ', user, description, extension, records }
}

fn revision_file(number: u64) -> String {
    format!("0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x07/0x{:016x}.blob", tid(number).to_u64())
}

fn note(number: u64) -> String {
    format!("tmp/zeo-commit.{:016x}.{:016x}", tid(number).to_u64(), OID.to_u64())
}

#[test]
fn a_committed_blob_is_one_read_only_file() {
    let site = Site::new();
    let voted = site.vote(1, b"content").unwrap();
    assert_eq!(site.files(), [note(1)]);
    voted.finish().unwrap();
    assert_eq!(site.files(), [revision_file(1)]);
    let path = site.blobs().revision_path(OID, tid(1));
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let dir_mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o444;
    // `set_not_writable` of ZODB 6.4: the owner may read, the others what they may with the directory.
    assert_eq!(mode, 0o400 | dir_mode);
    assert_eq!(site.content(tid(1)).unwrap(), b"content");
    assert_eq!(site.content(tid(2)), None);
}

#[test]
fn nothing_stays_of_what_is_not_committed() {
    let site = Site::new();
    let mut upload = site.blobs().new_upload().unwrap();
    upload.write(b"half").unwrap();
    assert_eq!(site.files().len(), 1);
    drop(upload);
    drop(site.vote(1, b"aborted").unwrap());
    // Refused by the storage below.
    site.commit(2, b"");
    assert!(matches!(site.vote(2, b"again"), Err(StorageError::TidNotRising { .. })));
    assert_eq!(site.files(), [revision_file(2)]);
}

#[test]
fn a_failed_write_leaves_no_blob_and_the_next_commit_works() {
    let site = Site::new();
    let voted = site.vote(1, b"lost").unwrap();
    site.disk.plan(Some(Fault { from: 0, count: 1, errno: ENOSPC, effect: Effect::Half }));
    assert!(voted.finish().is_err());
    site.disk.plan(None);
    assert_eq!(site.files(), [""; 0]);
    site.commit(2, b"kept");
    let site = site.reopen();
    assert_eq!(site.files(), [revision_file(2)]);
    assert_eq!(site.content(tid(2)).unwrap(), b"kept");
}

#[test]
fn a_failed_sync_leaves_the_decision_to_the_next_start() {
    let site = Site::new();
    let voted = site.vote(1, b"content").unwrap();
    // One write, then the sync: all of it may be on the disk nevertheless.
    site.disk.plan(Some(Fault { from: 1, count: 1, errno: EIO, effect: Effect::All }));
    assert!(voted.finish().is_err());
    site.disk.plan(None);
    assert_eq!(site.files(), [revision_file(1), note(1)]);
    let site = site.reopen();
    assert_eq!(site.storage.view().last_tid(), tid(1), "the transaction came through");
    assert_eq!(site.files(), [revision_file(1)]);
}

/// The table of `server/BLOBS.md`: what a power cut must not lose is durable before the next step.
#[test]
fn a_commit_syncs_the_note_then_the_content_then_the_name() {
    let site = Site::new();
    let root = site.blobs().root().to_owned();
    plan::begin(None);
    let voted = site.vote(1, b"content").unwrap();
    // Eight directories, each by the one that it is in.
    let made: Vec<_> = (0..8).map(|depth| ["0x00"; 8][..depth].join("/")).collect();
    assert_eq!(plan::synced(&root), made);
    plan::begin(None);
    voted.finish().unwrap();
    let dir = revision_file(1).rsplit_once('/').unwrap().0.to_owned();
    assert_eq!(plan::synced(&root), ["tmp".to_owned(), note(1), dir.clone()]);
    // The directories are there.
    plan::begin(None);
    site.commit(2, b"more");
    assert_eq!(plan::synced(&root), ["tmp".to_owned(), note(2), dir]);
}

#[test]
fn a_directory_that_cannot_be_synced_fails_the_commit_and_nothing_else() {
    for failing in 0..3 {
        let site = Site::new();
        site.commit(1, b"before");
        plan::begin(Some(failing));
        assert!(matches!(site.vote(2, b"lost").unwrap().finish(), Err(StorageError::Io { .. })), "{failing}");
        plan::begin(None);
        assert_eq!(site.files(), [revision_file(1)], "{failing}");
        assert_eq!(site.storage.view().last_tid(), tid(1), "{failing}");
        site.commit(3, b"kept");
        assert_eq!(site.files(), [revision_file(1), revision_file(3)]);
    }
}

/// The states between two steps of a commit, made by hand: name of the revision, name of the note, transaction.
#[test]
fn a_crash_at_any_step_leaves_all_or_nothing() {
    for (is_in_place, is_committed) in [(false, false), (true, false), (true, true)] {
        let site = Site::new();
        site.commit(1, b"before");
        let root = site.dir.path().join("blobs");
        fs::write(root.join(note(2)), b"content").unwrap();
        if is_in_place {
            fs::hard_link(root.join(note(2)), root.join(revision_file(2))).unwrap();
        }
        if is_committed {
            let record = NewRecord::with_data(OID, Bytes::from_static(BLOB_RECORD));
            site.storage.vote(transaction(2, vec![record])).unwrap().finish().unwrap();
        }
        let site = site.reopen();
        let mut expected = vec![revision_file(1)];
        expected.extend(is_committed.then(|| revision_file(2)));
        assert_eq!(site.files(), expected);
    }
}

#[test]
fn the_start_removes_what_is_its_own_and_nothing_else() {
    let site = Site::new();
    site.commit(1, b"content");
    let tmp = site.dir.path().join("blobs/tmp");
    // The second is what a Python client with a shared directory calls an uncommitted file of its own.
    for name in ["zeo-upload.Ab3dEf", "BUCq7zu8p", "zeo-commit.notes"] {
        fs::write(tmp.join(name), b"").unwrap();
    }
    let site = site.reopen();
    let kept = ["tmp/BUCq7zu8p".to_owned(), "tmp/zeo-commit.notes".to_owned()];
    assert_eq!(site.files(), [&[revision_file(1)][..], &kept].concat());
}

#[test]
fn an_orphan_under_the_same_tid_is_replaced() {
    let site = Site::new();
    let path = site.blobs().revision_path(OID, tid(1));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, b"orphan").unwrap();
    site.commit(1, b"content");
    assert_eq!(site.content(tid(1)).unwrap(), b"content");
}

#[test]
fn the_last_upload_of_an_object_counts() {
    let site = Site::new();
    let blob = |content: &[u8]| {
        let mut upload = site.blobs().new_upload().unwrap();
        upload.write(content).unwrap();
        NewBlob { oid: OID, content: upload.finish() }
    };
    let record = || NewRecord::with_data(OID, Bytes::from_static(BLOB_RECORD));
    let blobs = vec![blob(b"first"), blob(b"last")];
    site.storage.vote_with_blobs(transaction(1, vec![record(), record()]), blobs).unwrap().finish().unwrap();
    assert_eq!(site.content(tid(1)).unwrap(), b"last");
    assert_eq!(site.files(), [revision_file(1)]);
}

#[test]
fn an_undo_brings_the_earlier_content_back() {
    let site = Site::new();
    site.commit(1, b"first");
    site.commit(2, b"second");
    // The first record of the file, whose transaction has no metadata: behind 4 bytes and a header of 23.
    let revision = Revision { serial: tid(1), data_serial: Some(tid(1)), place: 27 };
    let undo = |number| site.storage.vote(transaction(number, vec![NewRecord::as_before(OID, revision)]));
    drop(undo(3).unwrap());
    assert_eq!(site.files(), [revision_file(1), revision_file(2)]);
    undo(3).unwrap().finish().unwrap();
    assert_eq!(site.content(tid(3)).unwrap(), b"first");
    assert_eq!(site.files(), [revision_file(1), revision_file(2), revision_file(3)]);

    fs::remove_file(site.blobs().revision_path(OID, tid(1))).unwrap();
    assert!(matches!(undo(4), Err(StorageError::NoBlobFile { serial, .. }) if serial == tid(1)));
    assert_eq!(site.content(tid(3)).unwrap(), b"first");
}

#[test]
fn an_undo_of_something_else_copies_nothing() {
    let site = Site::new();
    let record = NewRecord::with_data(
        OID,
        Bytes::from_static(b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x01."),
    );
    site.storage.vote(transaction(1, vec![record])).unwrap().finish().unwrap();
    let revision = Revision { serial: tid(1), data_serial: Some(tid(1)), place: 27 };
    let undo = vec![NewRecord::as_before(OID, revision)];
    site.storage.vote(transaction(2, undo)).unwrap().finish().unwrap();
    assert_eq!(site.files(), [""; 0]);
}

#[test]
fn blob_records_are_told_by_their_class() {
    // Each judged by `ZODB.blob.is_blob_record` of ZODB 6.4 on Python 3.11.
    for (record, expected) in [
        (BLOB_RECORD, true),
        (OLD_BLOB_RECORD, true),
        (b"\x80\x02cZODB.blob\nBlob\nq\x01.\x80\x02N.", true),
        (b"\x80\x03cZODB.blob\nBlobFile\nq\x01.", false),
        (b"\x80\x03(cZODB.blob\nBlob\nq\x01)tq\x02.", false),
        (b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x01.cZODB.blob\nBlob\n.", false),
        (b"", false),
    ] {
        assert_eq!(is_blob_record(record), expected, "{record:?}");
    }
}

fn layout_of(root: &Path, options: BlobDirectoryOptions) -> Result<layout::Layout, StorageError> {
    BlobDirectory::open(root, options).map(|directory| directory.layout())
}

/// `auto_layout_select` and `FilesystemHelper.create` of ZODB 6.4.
#[test]
fn layouts_are_chosen_as_python_does() {
    use layout::Layout::{Bushy, Lawn};
    let dir = TempDir::new().unwrap();
    let options = BlobDirectoryOptions::default();
    // What is in the directory, and what becomes of it.
    let cases: [(&str, Option<&str>, Option<&str>, layout::Layout); 5] = [
        ("empty", None, None, Bushy),
        ("hidden", Some(".svn"), None, Bushy),
        ("old", Some("0x07"), None, Lawn),
        ("bushy", Some("0x00"), Some("bushy\n"), Bushy),
        ("lawn", None, Some(" lawn"), Lawn),
    ];
    for (name, entry, marker, expected) in cases {
        let root = dir.path().join(name);
        fs::create_dir(&root).unwrap();
        if let Some(entry) = entry {
            fs::create_dir(root.join(entry)).unwrap();
        }
        if let Some(marker) = marker {
            fs::write(root.join(".layout"), marker).unwrap();
        }
        assert_eq!(layout_of(&root, options).unwrap(), expected, "{name}");
        let written = fs::read_to_string(root.join(".layout")).unwrap();
        assert_eq!(written, marker.unwrap_or_else(|| expected.name()), "{name}");
        assert!(root.join("tmp").is_dir());
        // Not by what is there now.
        assert_eq!(layout_of(&root, options).unwrap(), expected, "{name}");
    }
    assert_eq!(layout_of(&dir.path().join("new/deep"), options).unwrap(), Bushy);
}

#[test]
fn a_foreign_layout_is_refused() {
    let dir = TempDir::new().unwrap();
    for marker in ["zeocache", "", "bushier"] {
        fs::write(dir.path().join(".layout"), marker).unwrap();
        let error = layout_of(dir.path(), BlobDirectoryOptions::default()).unwrap_err();
        assert!(matches!(error, StorageError::BlobDirectory { .. }), "{marker}: {error}");
    }
}

#[test]
fn reading_only_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let options = BlobDirectoryOptions { read_only: true, ..BlobDirectoryOptions::default() };
    let missing = dir.path().join("missing");
    let directory = BlobDirectory::open(&missing, options).unwrap();
    assert!(matches!(directory.new_upload(), Err(StorageError::ReadOnly)));
    assert!(matches!(directory.open_revision(OID, tid(1)), Err(StorageError::NoBlobFile { .. })));
    assert!(!missing.exists());
    fs::create_dir(dir.path().join("0x07")).unwrap();
    assert_eq!(layout_of(dir.path(), options).unwrap(), layout::Layout::Lawn);
    assert_eq!(walk(dir.path()), [""; 0]);
}

#[test]
fn create_begins_with_nothing() {
    let site = Site::new();
    site.commit(1, b"content");
    let options = BlobDirectoryOptions { create: true, ..BlobDirectoryOptions::default() };
    BlobDirectory::open(site.blobs().root(), options).unwrap();
    assert_eq!(site.files(), [""; 0]);
}

/// A shared directory in which a client has put files, and what lies around it.
fn shared() -> (TempDir, BlobDirectory) {
    let dir = TempDir::new().unwrap();
    let directory = BlobDirectory::open(&dir.path().join("blobs"), BlobDirectoryOptions::default()).unwrap();
    for oid in [OID, Oid::from_u64(8)] {
        let own = directory.revision_path(oid, tid(1));
        let own = own.parent().unwrap();
        fs::create_dir_all(own).unwrap();
        fs::write(own.join("0x01q.tmp-"), b"content").unwrap();
        fs::write(own.join("0x01.blob"), b"committed").unwrap();
        fs::create_dir(own.join("dir.tmp")).unwrap();
        fs::write(dir.path().join("secret.tmp"), b"secret").unwrap();
        symlink(dir.path().join("secret.tmp"), own.join("link.tmp")).unwrap();
        fs::hard_link(own.join("0x01.blob"), own.join("hard.tmp")).unwrap();
    }
    (dir, directory)
}

/// Everything below, with content and permissions.
fn snapshot(root: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
    let read = |name: String| {
        let path = root.join(&name);
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        (name, (fs::read(path).unwrap(), mode))
    };
    walk(root).into_iter().map(read).collect()
}

#[test]
fn a_shared_file_becomes_the_servers() {
    let (dir, directory) = shared();
    for (oid, name) in [(7, "0x01q.tmp-"), (8, "0x01q.tmp-")] {
        let claimed = directory.claim(Oid::from_u64(oid), name).unwrap();
        let staged = walk(&dir.path().join("blobs/tmp"));
        assert_eq!(staged.len(), 1);
        assert_eq!(fs::read(dir.path().join("blobs/tmp").join(&staged[0])).unwrap(), b"content");
        assert!(matches!(directory.claim(Oid::from_u64(oid), name), Err(StorageError::Io { .. })));
        drop(claimed);
        assert_eq!(walk(&dir.path().join("blobs/tmp")), [""; 0]);
    }
}

#[test]
fn hostile_names_are_refused_and_touch_nothing() {
    let (dir, directory) = shared();
    let before = snapshot(dir.path());
    let secret = dir.path().join("secret.tmp").display().to_string();
    for name in [
        "",
        ".",
        "..",
        "0x01.blob",
        "x.tmp--",
        "x.tmp\0",
        "\0.tmp",
        "../0x08/0x01q.tmp-",
        "../../../../../../../../../secret.tmp",
        "sub/0x01q.tmp-",
        "/etc/passwd.tmp",
        secret.as_str(),
        "link.tmp",
        "hard.tmp",
        "dir.tmp",
    ] {
        let error = directory.claim(OID, name).unwrap_err();
        assert!(matches!(&error, StorageError::BadBlobName(bad) if bad == name), "{name:?}: {error}");
    }
    assert!(matches!(directory.claim(OID, "missing.tmp"), Err(StorageError::Io { .. })));
    assert_eq!(snapshot(dir.path()), before);
}

#[test]
fn links_in_place_of_directories_are_not_followed() {
    let (dir, directory) = shared();
    let outside = dir.path().join("outside/0x00/0x00/0x00/0x00/0x00/0x00/0x09");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("x.tmp"), b"outside").unwrap();
    // The first level of another object is a link.
    symlink(dir.path().join("outside"), dir.path().join("blobs/0x01")).unwrap();
    let before = snapshot(dir.path().join("outside").as_path());
    let oid = Oid::from_u64(0x0100_0000_0000_0009);
    let error = directory.claim(oid, "x.tmp").unwrap_err();
    assert!(matches!(error, StorageError::BadBlobName(_)), "{error}");
    assert_eq!(snapshot(dir.path().join("outside").as_path()), before);
}

/// As with Python's, whose `pack` removes both before it begins (`FileStorage.py:pack`, ZODB 6.4).
#[test]
fn a_pack_that_frees_nothing_leaves_nothing_of_what_an_earlier_one_kept() {
    for (keeps_old, is_kept) in [(true, false), (false, true)] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("Data.fs");
        let file = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
        let directory =
            BlobDirectory::open(&dir.path().join("blobs"), BlobDirectoryOptions::default()).unwrap();
        let storage = BlobStorage::new(Arc::new(file), directory).unwrap();
        let storage = if keeps_old { storage.keeping_old() } else { storage };
        let root = NewRecord::with_data(Oid::from_u64(0), b"\x80\x03cm\nC\nq\x01.\x80\x03N."[..].into());
        storage.vote(transaction(1, vec![root])).unwrap().finish().unwrap();
        let old = dir.path().join("blobs.old");
        fs::create_dir(&old).unwrap();
        fs::write(dir.path().join("Data.fs.old"), "old").unwrap();
        let outcome = storage.pack(PackRequest { until: tid(2), gc: None }, &Unattended).unwrap();
        assert_eq!(outcome, PackOutcome::NothingFreed);
        assert_eq!((old.exists(), dir.path().join("Data.fs.old").exists()), (is_kept, false));
        // The same when everything has been packed already.
        let again = NewRecord::with_data(Oid::from_u64(0), b"\x80\x03cm\nC\nq\x01.\x80\x03}."[..].into());
        storage.vote(transaction(2, vec![again])).unwrap().finish().unwrap();
        let pack = || storage.pack(PackRequest { until: tid(3), gc: None }, &Unattended).unwrap();
        assert!(matches!(pack(), PackOutcome::Packed(_)));
        fs::create_dir_all(&old).unwrap();
        assert_eq!(pack(), PackOutcome::Redundant);
        assert_eq!((old.exists(), dir.path().join("Data.fs.old").exists()), (is_kept, false));
    }
}
