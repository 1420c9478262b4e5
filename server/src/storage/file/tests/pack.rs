//! Packs that are broken off, hindered, cancelled, and what they do with what is strange. That their result is
//! Python's is shown in `server/tests/pack_python.rs`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::storage::file::disk::FileDisk;
use crate::storage::file::disk::fault::{EIO, ENOSPC};
use crate::storage::file::pack::files::{Files, RealFiles};
use crate::storage::tid::pack_time;
use crate::storage::{CommitsStopped, PackHost, PackOutcome, PackRequest, Unattended};

mod undone;

/// Which operations fail, counted from 0 over names and writes alike.
#[derive(Debug, Default)]
struct Plan {
    operation_count: AtomicU64,
    /// From, and how many.
    failing: Mutex<(u64, u64, i32)>,
    log: Mutex<Vec<&'static str>>,
}

impl Plan {
    fn step<T>(&self, name: &'static str, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.operation_count.fetch_add(1, Ordering::SeqCst);
        let (from, count, errno) = *self.failing.lock().unwrap();
        self.log.lock().unwrap().push(name);
        if (from..from.saturating_add(count)).contains(&number) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        run()
    }
}

#[derive(Debug)]
struct FaultFiles {
    real: RealFiles,
    plan: Arc<Plan>,
}

impl Files for FaultFiles {
    fn create_pack(&self) -> io::Result<Arc<dyn Disk>> {
        let inner = self.plan.step("create", || self.real.create_pack())?;
        Ok(Arc::new(PackDisk { inner, plan: self.plan.clone() }))
    }

    fn remove_pack(&self) -> io::Result<()> {
        self.plan.step("remove pack", || self.real.remove_pack())
    }

    fn remove_old(&self) -> io::Result<()> {
        self.plan.step("remove old", || self.real.remove_old())
    }

    fn remove_index(&self) -> io::Result<()> {
        self.plan.step("remove index", || self.real.remove_index())
    }

    fn link_old(&self) -> io::Result<()> {
        self.plan.step("link old", || self.real.link_old())
    }

    fn replace(&self) -> io::Result<()> {
        self.plan.step("replace", || self.real.replace())
    }

    fn sync(&self) -> io::Result<()> {
        self.plan.step("sync directory", || self.real.sync())
    }
}

#[derive(Debug)]
struct PackDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Plan>,
}

impl Disk for PackDisk {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()> {
        self.inner.read_exact_at(buffer, pos)
    }

    fn write_all_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        self.plan
            .step("write", || Ok(()))
            .inspect_err(|_| self.inner.write_all_at(half, pos).unwrap_or(()))?;
        self.inner.write_all_at(bytes, pos)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.plan.step("sync", || self.inner.sync_data())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn reserve(&self, pos: u64, len: u64) -> io::Result<()> {
        self.inner.reserve(pos, len)
    }
}

/// A data file that Python made, and the same packed by Python.
struct Case {
    before: Vec<u8>,
    packed: Vec<u8>,
    request: PackRequest,
}

fn case() -> Case {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/pack");
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for folder in names.into_iter().filter(|path| path.is_dir()) {
        let said: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("case.json")).unwrap()).unwrap();
        let before = fs::read(folder.join("Data.fs")).unwrap();
        let packed = fs::read(folder.join("expected.fs")).unwrap();
        let until = pack_time(said["time"].as_f64().unwrap()).unwrap();
        let request = PackRequest { until, gc: said["gc"].as_bool() };
        // Something stays of both sides of the pack time.
        if before != packed && packed.len() > 2000 && packed[4..].windows(17).any(|bytes| bytes[16] == b' ') {
            return Case { before, packed, request };
        }
    }
    panic!("no case")
}

/// A storage in a folder of its own, whose packs go by a plan.
struct Planned {
    folder: tempfile::TempDir,
    storage: FileStorage,
    plan: Arc<Plan>,
}

impl Planned {
    fn new(bytes: &[u8], discard_old: bool, failing: (u64, u64, i32)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Data.fs");
        fs::write(&path, bytes).unwrap();
        let options = FileStorageOptions { discard_old, ..FileStorageOptions::default() };
        let mut storage = FileStorage::open(&path, options).unwrap();
        let plan = Arc::new(Plan { failing: Mutex::new(failing), ..Plan::default() });
        let files = FaultFiles { real: RealFiles::new(&path), plan: plan.clone() };
        Arc::get_mut(&mut storage.shared).unwrap().files = Some(Box::new(files));
        Self { folder, storage, plan }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("Data.fs{suffix}"))
    }

    fn bytes(&self, suffix: &str) -> Option<Vec<u8>> {
        fs::read(self.path(suffix)).ok()
    }
}

const NO_FAULT: (u64, u64, i32) = (u64::MAX, 0, EIO);

/// Compares what an opened storage finds with what it would find without its index.
fn assert_index_is_right(path: &Path) {
    let scanned = FileStorage::open_disk(
        Arc::new(FileDisk::new(fs::File::open(path).unwrap())),
        "scan",
        FileStorageOptions { read_only: true, ..FileStorageOptions::default() },
    );
    let opened = FileStorage::open(path, FileStorageOptions::default()).unwrap();
    let entries = |storage: &FileStorage| -> Vec<_> {
        storage
            .shared
            .view
            .load()
            .state
            .index
            .buckets()
            .flat_map(|(prefix, entries)| entries.into_iter().map(move |entry| (prefix, entry)))
            .collect()
    };
    assert_eq!(entries(&opened), entries(&scanned.unwrap()));
}

#[test]
fn a_crash_at_any_step_leaves_the_old_file_or_the_new_one() {
    let case = case();
    for discard_old in [false, true] {
        let whole = Planned::new(&case.before, discard_old, NO_FAULT);
        let outcome = whole.storage.pack(case.request, &Unattended).unwrap();
        assert!(matches!(outcome, PackOutcome::Packed(_)));
        let log = whole.plan.log.lock().unwrap().clone();
        let at = |name| log.iter().rposition(|step| *step == name).unwrap();
        // What the table of the module says, in this order; and the file is durable before it has the name.
        assert!(at("write") < at("sync") && at("sync") < at("remove index"), "{log:?}");
        assert!(at("remove index") < at("replace") && at("replace") < at("sync directory"), "{log:?}");
        assert_eq!(log.contains(&"link old"), !discard_old);

        for step in 0..=log.len() as u64 {
            // From here on the process does nothing any more.
            let crashed = Planned::new(&case.before, discard_old, (step, u64::MAX, EIO));
            // A saved index of the old file is there.
            assert!(crashed.path(".index").exists());
            let _dead = crashed.storage.pack(case.request, &Unattended);
            let shown = format!("step {step} of {log:?}");
            let is_new = step > at("replace") as u64;
            let expected = if is_new { &case.packed } else { &case.before };
            assert!(crashed.bytes("").as_ref() == Some(expected), "{shown}");
            if let Some(old) = crashed.bytes(".old") {
                assert!(!discard_old && old == case.before, "{shown}");
            }
            let path = crashed.path("");
            // Ends without closing: that would save an index.
            let Planned { folder, storage, .. } = crashed;
            drop(storage);
            assert_index_is_right(&path);
            assert!(!folder.path().join("Data.fs.pack").exists(), "{shown}");
            assert!(fs::read(&path).unwrap() == *expected, "{shown}");
        }
    }
}

#[test]
fn a_failing_operation_leaves_everything_as_it_was() {
    let case = case();
    let whole = Planned::new(&case.before, false, NO_FAULT);
    whole.storage.pack(case.request, &Unattended).unwrap();
    let log = whole.plan.log.lock().unwrap().clone();
    for (step, name) in log.iter().enumerate() {
        for errno in [EIO, ENOSPC] {
            let planned = Planned::new(&case.before, false, (step as u64, 1, errno));
            let result = planned.storage.pack(case.request, &Unattended);
            let shown = format!("{name}: {result:?}");
            assert!(planned.bytes(".pack").is_none(), "{shown}");
            if *name == "sync directory" {
                // The file is in place; whether its name is, nobody knows.
                assert!(matches!(result, Ok(PackOutcome::Packed(_))), "{shown}");
                assert!(matches!(planned.storage.vote(next(&planned.storage)), Err(StorageError::Failed(_))));
                continue;
            }
            match result {
                Err(StorageError::Io { source, .. }) => assert_eq!(source.raw_os_error(), Some(errno)),
                other => panic!("{name}: {other:?}"),
            }
            assert!(planned.bytes("").as_ref() == Some(&case.before), "{shown}");
            // It can go on, and be packed later.
            planned.storage.vote(next(&planned.storage)).unwrap().finish().unwrap();
            let outcome = planned.storage.pack(case.request, &Unattended).unwrap();
            assert!(matches!(outcome, PackOutcome::Packed(_)));
            planned.storage.close().unwrap();
            assert_index_is_right(&planned.path(""));
        }
    }
}

/// A transaction behind the last one.
fn next(storage: &FileStorage) -> NewTransaction {
    transaction(storage.view().last_tid().next().unwrap(), &[(77, &[])])
}

/// The record of an object that refers to others.
fn referring(to: &[u64]) -> Bytes {
    let mut record = b"\x80\x03cmodule\nname\n.\x80\x03(".to_vec();
    for oid in to {
        record.extend_from_slice(b"C\x08");
        record.extend_from_slice(&oid.to_be_bytes());
        record.push(b'Q');
    }
    record.extend_from_slice(b"t.");
    record.into()
}

fn transaction(tid: Tid, records: &[(u64, &[u64])]) -> NewTransaction {
    let records =
        records.iter().map(|(oid, to)| NewRecord::with_data(Oid::from_u64(*oid), referring(to))).collect();
    NewTransaction {
        tid,
        status: b' ',
        user: Bytes::new(),
        description: Bytes::new(),
        extension: Bytes::new(),
        records,
    }
}

fn commit(storage: &FileStorage, tid: u64, records: &[(u64, &[u64])]) {
    storage.vote(transaction(Tid::from_u64(tid), records)).unwrap().finish().unwrap();
}

fn until(tid: u64) -> PackRequest {
    PackRequest { until: Tid::from_u64(tid), gc: None }
}

fn exists(storage: &FileStorage, oid: u64) -> bool {
    storage.view().current(Oid::from_u64(oid)).unwrap().is_some()
}

/// 0 refers to 1, and 2 is garbage; two revisions of each.
fn small() -> Planned {
    let planned = Planned::new(b"FS30", false, NO_FAULT);
    for tid in [10, 20] {
        commit(&planned.storage, tid, &[(0, &[1]), (1, &[]), (2, &[1])]);
    }
    planned
}

#[test]
fn strange_records_and_dangling_references_are_kept_and_counted() {
    let planned = Planned::new(b"FS30", false, NO_FAULT);
    let storage = &planned.storage;
    for tid in [10, 20] {
        // 99 does not exist; 3 is only named in a record that is no pickle, and refers to 4; 5 is garbage.
        let mut with_strange =
            transaction(Tid::from_u64(tid), &[(0, &[1, 99]), (3, &[4]), (4, &[]), (5, &[4])]);
        let strange = [b"no pickle ".as_slice(), &3_u64.to_be_bytes(), b" at all"].concat();
        with_strange.records.push(NewRecord::with_data(Oid::from_u64(1), strange.into()));
        storage.vote(with_strange).unwrap().finish().unwrap();
    }
    let PackOutcome::Packed(report) = storage.pack(until(30), &Unattended).unwrap() else { panic!() };
    assert_eq!((report.strange_count, report.removed_count), (2, 6));
    assert!(report.is_old_kept);
    assert_eq!([0, 1, 3, 4, 5].map(|oid| exists(storage, oid)), [true, true, true, true, false]);
    assert_eq!(report.new_len, fs::metadata(planned.path("")).unwrap().len());
}

#[test]
fn a_damaged_structure_is_refused_with_its_position() {
    let planned = small();
    planned.storage.close().unwrap();
    let mut bytes = planned.bytes("").unwrap();
    // The length of the first record: it would reach beyond its transaction.
    bytes[4 + 23 + 34] = 1;
    fs::write(planned.path(""), &bytes).unwrap();
    // The saved index hides it from the start.
    let storage = FileStorage::open(planned.path(""), FileStorageOptions::default()).unwrap();
    match storage.pack(until(30), &Unattended) {
        Err(StorageError::Corrupt { pos: 27, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(planned.bytes("").unwrap(), bytes);
    assert!(planned.bytes(".pack").is_none());
}

#[test]
fn a_back_pointer_to_nowhere_stays_one() {
    let planned = Planned::new(b"FS30", false, NO_FAULT);
    commit(&planned.storage, 10, &[(0, &[1]), (1, &[])]);
    planned
        .storage
        .vote(NewTransaction {
            records: vec![NewRecord::deleted(Oid::from_u64(1))],
            ..transaction(Tid::from_u64(20), &[])
        })
        .unwrap()
        .finish()
        .unwrap();
    commit(&planned.storage, 30, &[(0, &[1])]);
    planned.storage.close().unwrap();
    let mut bytes = planned.bytes("").unwrap();
    // The deletion becomes a pointer to the first transaction, which is no record of the object.
    let deletion = bytes
        .windows(50)
        .position(|record| record[..8] == 1_u64.to_be_bytes() && record[8..16] == 20_u64.to_be_bytes())
        .unwrap();
    bytes[deletion + 49] = 4;
    for pack_tid in [15, 25, 35] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Data.fs");
        fs::write(&path, &bytes).unwrap();
        let storage = FileStorage::open(&path, FileStorageOptions::default()).unwrap();
        let outcome = storage.pack(until(pack_tid), &Unattended).unwrap();
        if let PackOutcome::Packed(report) = outcome {
            assert_eq!(report.strange_count, 1, "{pack_tid}");
        }
        let lost = load_before(&*storage.view(), Oid::from_u64(1), Tid::MAX);
        assert!(matches!(lost, Err(StorageError::Corrupt { .. })), "{pack_tid}: {outcome:?}: {lost:?}");
        storage.close().unwrap();
        assert_index_is_right(&path);
    }
}

#[test]
fn without_a_root_nothing_is_packed() {
    let planned = Planned::new(b"FS30", false, NO_FAULT);
    commit(&planned.storage, 10, &[(1, &[])]);
    commit(&planned.storage, 20, &[(1, &[])]);
    assert!(matches!(planned.storage.pack(until(30), &Unattended), Err(StorageError::NoRoot(Oid::ZERO))));
    // To a time before everything, or without garbage collection, it does not matter.
    let outcome = planned.storage.pack(until(5), &Unattended).unwrap();
    assert_eq!(outcome, PackOutcome::NothingFreed);
    let outcome = planned.storage.pack(PackRequest { gc: Some(false), ..until(30) }, &Unattended).unwrap();
    assert!(matches!(outcome, PackOutcome::Packed(_)));
}

#[test]
fn what_python_refuses_or_finds_redundant() {
    let empty = Planned::new(b"FS30", false, NO_FAULT);
    assert_eq!(empty.storage.pack(until(30), &Unattended).unwrap(), PackOutcome::Empty);
    let planned = small();
    let pack = |tid| planned.storage.pack(until(tid), &Unattended);
    assert!(matches!(pack(0), Err(StorageError::InvalidPackTime)));
    assert!(matches!(pack(20).unwrap(), PackOutcome::Packed(_)));
    // What was before the last pack goes with the next one, whatever that finds (`FileStorage.py:pack`, ZODB 6.4).
    assert!(planned.bytes(".old").is_some());
    assert_eq!(pack(30).unwrap(), PackOutcome::Redundant);
    assert!(planned.bytes(".old").is_none());
    commit(&planned.storage, 40, &[(1, &[])]);
    assert_eq!(pack(30).unwrap(), PackOutcome::NothingFreed);
    assert!(matches!(pack(50).unwrap(), PackOutcome::Packed(_)));
    planned.storage.close().unwrap();
    assert!(matches!(pack(60), Err(StorageError::Closed)));
    let options = FileStorageOptions { read_only: true, ..FileStorageOptions::default() };
    let read_only = FileStorage::open(planned.path(""), options).unwrap();
    assert!(matches!(read_only.pack(until(60), &Unattended), Err(StorageError::ReadOnly)));
}

#[test]
fn views_read_on_in_the_file_that_they_are_of() {
    let planned = small();
    let before = planned.storage.view();
    planned.storage.pack(until(30), &Unattended).unwrap();
    let after = planned.storage.view();
    let at = |view: &dyn View, oid, tid| load_before(view, Oid::from_u64(oid), Tid::from_u64(tid)).unwrap();
    assert!(matches!(at(&*before, 0, 15), Loaded::Revision { .. }));
    assert!(matches!(at(&*before, 2, 25), Loaded::Revision { .. }));
    assert_eq!(at(&*after, 0, 15), Loaded::OnlyLater);
    assert_eq!(at(&*after, 2, 25), Loaded::NoSuchObject);
    assert_eq!(at(&*after, 0, 25), at(&*before, 0, 25));
    assert_eq!((after.last_tid(), after.object_count()), (before.last_tid(), 2));
}

#[test]
fn a_vote_from_before_the_switch_cannot_be_finished_after_it() {
    let planned = small();
    let voted = planned.storage.vote(transaction(Tid::from_u64(40), &[(1, &[])])).unwrap();
    planned.storage.pack(until(30), &Unattended).unwrap();
    assert!(matches!(voted.finish(), Err(StorageError::VoteOutdated)));
}

/// A host that does something when it is asked to stop commits, and gives up after so many questions.
struct BusyHost<'h> {
    questions_left: AtomicU64,
    on_stop: &'h (dyn Fn(u64) + Sync),
    stop_count: AtomicU64,
    is_packed: AtomicBool,
}

struct Stopped;

impl CommitsStopped for Stopped {}

impl<'h> BusyHost<'h> {
    fn new(question_count: u64, on_stop: &'h (dyn Fn(u64) + Sync)) -> Self {
        Self {
            questions_left: AtomicU64::new(question_count),
            on_stop,
            stop_count: AtomicU64::new(0),
            is_packed: AtomicBool::new(false),
        }
    }
}

impl PackHost for BusyHost<'_> {
    fn is_cancelled(&self) -> bool {
        self.questions_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_err()
    }

    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>> {
        (self.on_stop)(self.stop_count.fetch_add(1, Ordering::SeqCst));
        Some(Box::new(Stopped))
    }

    fn packed(&self, _: Arc<dyn View>) {
        self.is_packed.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_pack_can_be_given_up_at_any_question() {
    let mut is_whole = false;
    for question_count in 0.. {
        let planned = small();
        let before = planned.bytes("").unwrap();
        let host = BusyHost::new(question_count, &|_| {});
        match planned.storage.pack(until(30), &host) {
            Err(StorageError::Cancelled) => {
                assert!(!is_whole && !host.is_packed.load(Ordering::SeqCst));
                assert_eq!(planned.bytes("").unwrap(), before);
                assert!(planned.bytes(".pack").is_none());
                assert!(matches!(planned.storage.pack(until(30), &Unattended), Ok(PackOutcome::Packed(_))));
            }
            Ok(PackOutcome::Packed(_)) => {
                is_whole = true;
                assert!(question_count > 10, "{question_count}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(is_whole);
}

#[test]
fn commits_before_the_stop_are_in_the_new_file_and_much_of_them_means_another_round() {
    let planned = small();
    let storage = &planned.storage;
    let on_stop = |number: u64| {
        let tid = 100 + number * 10;
        commit(storage, tid, &[(number + 10, &[1]), (1, &[2])]);
        if number == 0 {
            let data = Bytes::from(vec![b'.'; 6 << 20]);
            let mut large = transaction(Tid::from_u64(tid + 1), &[]);
            large.records.push(NewRecord::with_data(Oid::from_u64(9), data));
            storage.vote(large).unwrap().finish().unwrap();
        }
    };
    let host = BusyHost::new(u64::MAX, &on_stop);
    assert!(matches!(storage.pack(until(30), &host).unwrap(), PackOutcome::Packed(_)));
    assert_eq!(host.stop_count.load(Ordering::SeqCst), 2);
    for oid in [0, 1, 9, 10, 11] {
        assert!(exists(storage, oid), "{oid}");
    }
    assert_eq!(storage.view().last_tid(), Tid::from_u64(110));
    // The chain of revisions leads from the new ones to the packed one.
    assert!(matches!(
        load_before(&*storage.view(), Oid::from_u64(1), Tid::from_u64(105)).unwrap(),
        Loaded::Revision { end: Some(_), .. }
    ));
    commit(storage, 200, &[(1, &[])]);
    storage.close().unwrap();
    assert_index_is_right(&planned.path(""));
}

#[test]
fn one_pack_at_a_time() {
    let planned = small();
    let storage = &planned.storage;
    let on_stop = |_| {
        assert!(matches!(storage.pack(until(30), &Unattended), Err(StorageError::AlreadyPacking)));
    };
    let host = BusyHost::new(u64::MAX, &on_stop);
    assert!(matches!(storage.pack(until(30), &host).unwrap(), PackOutcome::Packed(_)));
}

#[test]
fn closing_gives_a_pack_up_and_waits_for_its_end() {
    let planned = small();
    let storage = &planned.storage;
    std::thread::scope(|scope| {
        let on_stop = |_| {
            scope.spawn(|| storage.close().unwrap());
            while !storage.shared.is_closing.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        };
        let host = BusyHost::new(u64::MAX, &on_stop);
        assert!(matches!(storage.pack(until(30), &host), Err(StorageError::Cancelled)));
    });
    assert!(planned.bytes(".pack").is_none());
    assert_index_is_right(&planned.path(""));
}

#[test]
fn what_a_broken_off_pack_of_python_left_is_set_right() {
    let planned = small();
    planned.storage.close().unwrap();
    let bytes = planned.bytes("").unwrap();
    // Between Python's two renames.
    fs::rename(planned.path(""), planned.path(".old")).unwrap();
    fs::write(planned.path(".pack"), b"FS30").unwrap();
    let storage = FileStorage::open(planned.path(""), FileStorageOptions::default()).unwrap();
    assert_eq!(storage.view().object_count(), 3);
    storage.close().unwrap();
    assert_eq!(planned.bytes("").unwrap(), bytes);
    assert!(planned.bytes(".pack").is_none() && planned.bytes(".old").is_none());
}

/// A host that notes which blobs go.
#[derive(Default)]
struct BlobHost(Mutex<Vec<(u64, u64)>>);

impl PackHost for BlobHost {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>> {
        Some(Box::new(Stopped))
    }

    fn packed(&self, _: Arc<dyn View>) {}

    fn wants_removed_blobs(&self) -> bool {
        true
    }

    fn removed_blob(&self, oid: Oid, serial: Tid) -> Result<(), StorageError> {
        self.0.lock().unwrap().push((oid.to_u64(), serial.to_u64()));
        Ok(())
    }
}

#[test]
fn blobs_are_named_revision_by_revision() {
    let planned = Planned::new(b"FS30", false, NO_FAULT);
    let blob = Bytes::from_static(b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.");
    for tid in [10, 20, 30] {
        let mut with_blobs = transaction(Tid::from_u64(tid), &[(0, &[5])]);
        // ZEO's clients store the record of a blob twice.
        for oid in if tid == 10 { [5, 5, 6] } else { [5, 5, 5] } {
            with_blobs.records.push(NewRecord::with_data(Oid::from_u64(oid), blob.clone()));
        }
        planned.storage.vote(with_blobs).unwrap().finish().unwrap();
    }
    let host = BlobHost::default();
    assert!(matches!(planned.storage.pack(until(25), &host).unwrap(), PackOutcome::Packed(_)));
    // The revision of 20 was current at the pack time, that of 30 is later; 6 is reached from nowhere.
    let mut named = host.0.into_inner().unwrap();
    named.dedup();
    assert_eq!(named, [(5, 10), (6, 10)]);
}
