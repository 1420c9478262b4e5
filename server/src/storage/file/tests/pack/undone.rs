//! Undos that are made while a pack is under way, of revisions that go.

use super::*;
use crate::logging::testing::logged;
use crate::storage::Pending;

fn undo(storage: &FileStorage, undone: u64, tid: u64) {
    let records = storage.view().undo(Tid::from_u64(undone), &mut Pending::default()).unwrap();
    let undoing = NewTransaction { records, ..transaction(Tid::from_u64(tid), &[]) };
    storage.vote(undoing).unwrap().finish().unwrap();
}

fn store(storage: &FileStorage, tid: u64, oid: u64, data: &'static [u8]) {
    let record = NewRecord::with_data(Oid::from_u64(oid), Bytes::from_static(data));
    let storing = NewTransaction { records: vec![record], ..transaction(Tid::from_u64(tid), &[]) };
    storage.vote(storing).unwrap().finish().unwrap();
}

/// What each object was behind the pack time.
fn answers(view: &dyn View, tids: std::ops::RangeInclusive<u64>) -> Vec<String> {
    let bounds = tids.flat_map(|tid| (0..10).map(move |oid| (tid, oid)));
    // That an object was deleted at the pack time leaves no trace, as in Python.
    let bounds = bounds.filter(|(tid, oid)| *oid != 4 || *tid > 36);
    let answer = |(tid, oid)| {
        let loaded = load_before(view, Oid::from_u64(oid), Tid::from_u64(tid));
        format!("{oid} before {tid}: {loaded:?}")
    };
    bounds.map(answer).collect()
}

/// Python's pack fails there: see `pack/rest.rs`.
#[test]
fn what_is_undone_meanwhile_is_what_it_was_before() {
    for keep_garbage in [false, true] {
        let planned = Planned::new(b"FS30", false, NO_FAULT);
        let storage = &planned.storage;
        commit(storage, 10, &[(0, &[1, 2, 3, 4, 5]), (1, &[2]), (2, &[]), (4, &[])]);
        // A reference to a reference to data.
        store(storage, 12, 3, b"\x80\x03cmodule\nname\n.\x80\x03K\x01.");
        store(storage, 14, 3, b"\x80\x03cmodule\nname\n.\x80\x03K\x02.");
        undo(storage, 14, 15);
        // Shorter than a back pointer.
        store(storage, 16, 5, b"N.");
        for oid in [1, 3, 5] {
            commit(storage, 20 + oid, &[(oid, &[4])]);
        }
        let deletion = NewTransaction {
            records: vec![NewRecord::deleted(Oid::from_u64(4))],
            ..transaction(Tid::from_u64(26), &[])
        };
        storage.vote(deletion).unwrap().finish().unwrap();

        let before = Mutex::new(None);
        let on_stop = |number| {
            assert_eq!(number, 0, "once is enough");
            for (undone, tid) in [(21, 31), (23, 33), (25, 35), (26, 36)] {
                undo(storage, undone, tid);
            }
            // Back pointers to what is longer or shorter now, and past it.
            commit(storage, 41, &[(1, &[]), (3, &[]), (5, &[]), (7, &[])]);
            undo(storage, 41, 42);
            commit(storage, 43, &[(1, &[2])]);
            *before.lock().unwrap() = Some(storage.view());
        };
        let host = BusyHost::new(u64::MAX, &on_stop);
        let request = PackRequest { gc: Some(!keep_garbage), ..until(30) };
        let log = logged(|| assert!(matches!(storage.pack(request, &host), Ok(PackOutcome::Packed(_)))));
        assert!(log.contains("pack: 4 records of undos that were made meanwhile hold the data"), "{log}");

        let before = answers(&**before.lock().unwrap().as_ref().unwrap(), 30..=44);
        assert_eq!(answers(&*storage.view(), 30..=44), before);
        // It can be undone as before, and goes on.
        undo(storage, 43, 50);
        let known = answers(&*storage.view(), 30..=51);
        storage.close().unwrap();
        assert_index_is_right(&planned.path(""));
        let opened = FileStorage::open(planned.path(""), FileStorageOptions::default()).unwrap();
        assert_eq!(answers(&*opened.view(), 30..=51), known);
        // The lengths at both ends of each transaction agree, or another pack would stop there.
        assert!(matches!(opened.pack(until(60), &Unattended), Ok(PackOutcome::Packed(_))));
        assert_eq!(answers(&*opened.view(), 51..=51), &known[known.len() - 10..]);
    }
}

/// The undo brings a reference back to objects that nobody referred to when the pack began.
#[test]
fn an_undo_that_needs_what_goes_has_the_pack_begin_again() {
    let planned = Planned::new(b"FS30", false, NO_FAULT);
    let storage = &planned.storage;
    commit(storage, 10, &[(0, &[1]), (1, &[2]), (2, &[])]);
    commit(storage, 20, &[(0, &[]), (3, &[])]);
    let on_stop = |number| {
        if number == 0 {
            undo(storage, 20, 40);
        }
    };
    let host = BusyHost::new(u64::MAX, &on_stop);
    let log = logged(|| {
        let outcome = storage.pack(until(30), &host).unwrap();
        // Nothing goes any more but the revision that had been current, and what it had created.
        let PackOutcome::Packed(report) = outcome else { panic!("{outcome:?}") };
        assert_eq!(report.removed_count, 1);
    });
    assert_eq!(host.stop_count.load(Ordering::SeqCst), 2);
    assert!(
        log.contains("pack: begins again: by the undo 0000000000000028 the object 0000000000000001"),
        "{log}"
    );
    assert_eq!([0, 1, 2].map(|oid| exists(storage, oid)), [true; 3]);
    storage.close().unwrap();
    assert_index_is_right(&planned.path(""));
}

/// However often that happens, the pack comes to its end.
#[test]
fn a_pack_does_not_begin_again_for_ever() {
    let planned = Planned::new(b"FS30", false, NO_FAULT);
    let storage = &planned.storage;
    // Five objects, each of which referred to one more before it was changed.
    commit(storage, 10, &[(0, &[1, 2, 3, 4, 5])]);
    (1..=5).for_each(|oid| commit(storage, 10 + oid, &[(oid, &[100 + oid]), (100 + oid, &[])]));
    (1..=5).for_each(|oid| commit(storage, 20 + oid, &[(oid, &[])]));
    let on_stop = |number| undo(storage, 21 + number, 40 + number);
    let host = BusyHost::new(u64::MAX, &on_stop);
    let log = logged(|| assert!(matches!(storage.pack(until(30), &host), Ok(PackOutcome::Packed(_)))));
    assert_eq!(host.stop_count.load(Ordering::SeqCst), 4, "{log}");
    assert_eq!(log.matches("pack: begins again").count(), 3, "{log}");
    // The last time without collecting garbage: nobody refers to the last one of these.
    assert_eq!([101, 102, 103, 104, 105].map(|oid| exists(storage, oid)), [true; 5]);
    let outcome = storage.pack(until(50), &Unattended).unwrap();
    assert!(matches!(outcome, PackOutcome::Packed(_)));
    assert_eq!([101, 102, 103, 104, 105].map(|oid| exists(storage, oid)), [true, true, true, true, false]);
}
