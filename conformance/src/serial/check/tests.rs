//! The checker finds each kind of wrong, put into a run that is right.

use super::super::journal::Write;
use super::*;

fn read(oid: u64, serial: u64, value: u64) -> Read {
    Read { oid, serial, value, end: None }
}

fn writes(pairs: &[(u64, u64)]) -> Vec<Write> {
    pairs.iter().map(|&(oid, value)| Write { oid, value }).collect()
}

fn entry(thread: u64, snapshot: u64, reads: &[Read], pairs: &[(u64, u64)], outcome: Outcome) -> Entry {
    Entry { thread, snapshot, reads: reads.to_vec(), checked: Vec::new(), writes: writes(pairs), outcome }
}

/// Two objects, which 10 makes; 20 changes the first, 30 the second after a look at the first, 40 the first again. One
/// was refused, one was lost, and of two whose outcome is unknown one was committed.
fn run() -> (Vec<Entry>, Vec<Committed>) {
    let entries = vec![
        entry(0, 0, &[], &[(1, 101), (2, 102)], Outcome::Committed(10)),
        entry(1, 10, &[read(1, 10, 101)], &[(1, 103)], Outcome::Committed(20)),
        entry(2, 10, &[read(1, 10, 101)], &[(1, 104)], Outcome::Refused),
        entry(2, 20, &[read(1, 20, 103), Read { end: Some(30), ..read(2, 10, 102) }], &[], Outcome::Read),
        Entry {
            checked: vec![1],
            ..entry(1, 20, &[read(1, 20, 103), read(2, 10, 102)], &[(2, 105)], Outcome::Committed(30))
        },
        entry(1, 30, &[read(1, 20, 103)], &[(1, 106)], Outcome::Unknown),
        entry(2, 30, &[read(1, 20, 103)], &[(1, 107)], Outcome::Lost),
        entry(2, 30, &[read(1, 20, 103), read(2, 30, 105)], &[(1, 108)], Outcome::Found(Some(40))),
        entry(2, 40, &[read(1, 40, 108)], &[(1, 109)], Outcome::Found(None)),
    ];
    let file =
        [(10, vec![(1, 101), (2, 102)]), (20, vec![(1, 103)]), (30, vec![(2, 105)]), (40, vec![(1, 108)])];
    let file = file.map(|(tid, pairs)| Committed { tid, writes: writes(&pairs) });
    (entries, file.into())
}

#[test]
fn a_run_that_is_right_has_no_findings() {
    let (entries, file) = run();
    let expected = Verdict {
        findings: Vec::new(),
        read_count: 11,
        reader_count: 1,
        commit_count: 4,
        // Not 40, which has read the second object, and not checked it.
        serializable_count: 3,
        conflict_count: 1,
        lost_count: 1,
        unknown_count: 3,
        unknown_committed_count: 1,
        found_count: 2,
    };
    assert_eq!(check(&entries, &file), expected);
}

/// A change of the run, and a part of what is to be found then.
type Fault = (&'static str, fn(&mut Vec<Entry>, &mut Vec<Committed>));

const FAULTS: &[Fault] = &[
    ("is the newest", |entries, _| entries[3].reads[0] = read(1, 10, 101)),
    ("is the newest", |entries, _| entries[3].reads[1] = read(2, 30, 105)),
    ("is the newest", |entries, _| entries[3].reads[0].value = 101),
    ("is the newest", |entries, _| entries[3].snapshot = 15),
    ("superseded by", |entries, _| entries[3].reads[1].end = Some(40)),
    ("its snapshot is behind", |entries, _| entries[4].snapshot = 15),
    ("committed as 0x15, but", |entries, _| entries[1].outcome = Outcome::Committed(21)),
    // A commit that is gone.
    ("has its writes in None", |_, file| drop(file.pop())),
    // What was refused, lost, or said not to be there, is there.
    ("Refused, but the file", |entries, _| entries[1].outcome = Outcome::Refused),
    ("Lost, but the file", |entries, _| entries[1].outcome = Outcome::Lost),
    ("its fate is said to be None", |entries, _| entries[7].outcome = Outcome::Found(None)),
    ("its fate is said to be Some(29)", |entries, _| entries[8].outcome = Outcome::Found(Some(41))),
    // Half a transaction, more than one, somebody's else, nobody's, twice.
    ("a part of it", |_, file| file[0].writes.truncate(1)),
    ("a part of it", |entries, _| entries[7].writes.push(Write { oid: 2, value: 110 })),
    ("has 2 writes", |_, file| file[1].writes.push(Write { oid: 2, value: 111 })),
    ("is another one's, too", |entries, _| entries[5].writes = entries[1].writes.clone()),
    ("is nobody's transaction", |_, file| file.push(Committed { tid: 50, writes: writes(&[(1, 112)]) })),
    ("is in the file twice", |_, file| file.push(Committed { tid: 50, writes: writes(&[(1, 103)]) })),
    ("stands behind", |_, file| file.swap(2, 3)),
    // Both of two that were built on the same revision.
    ("a lost update", |entries, file| {
        entries[2].outcome = Outcome::Committed(25);
        file.insert(2, Committed { tid: 25, writes: writes(&[(1, 104)]) });
    }),
    ("a check that failed to fail", |entries, file| {
        entries[2] = entry(2, 20, &[read(1, 20, 103)], &[(1, 104)], Outcome::Committed(25));
        file.insert(2, Committed { tid: 25, writes: writes(&[(1, 104)]) });
    }),
    ("which is no later", |entries, _| {
        entries[1].snapshot = 20;
        entries[1].reads.clear();
    }),
];

#[test]
fn finds_each_fault() {
    for (number, (expected, fault)) in FAULTS.iter().enumerate() {
        let (mut entries, mut file) = run();
        fault(&mut entries, &mut file);
        let findings = check(&entries, &file).findings;
        assert!(findings.iter().any(|finding| finding.contains(expected)), "{number}: {findings:#?}");
    }
}
