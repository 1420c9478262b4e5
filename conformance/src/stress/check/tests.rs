use super::*;
use crate::stress::record::Attempt;

fn tid(number: u64) -> Tid {
    Tid::from_u64(number)
}

fn oid(number: u64) -> Oid {
    Oid::from_u64(number)
}

fn write(number: u64, read: u64, value: u64) -> Op {
    Op::Write { oid: oid(number), read: tid(read), value: Value(value) }
}

fn attempt(at: u64, ops: Vec<Op>) -> Attempt {
    Attempt { ops, tid: Some(tid(at)) }
}

fn loaded(number: u64, before: Tid, value: u64, serial: u64, end: Option<u64>) -> Event {
    let loaded = Loaded::Revision { value: Value(value), serial: tid(serial), end: end.map(tid) };
    Event::Loaded { oid: oid(number), before, loaded }
}

/// Client 0 sets two objects up at 10; client 1 changes one at 20 and undoes that at 40; client 2 deletes the other
/// at 30, comes back, and has seen everything.
fn sound() -> Vec<Record> {
    let setup = Record {
        connections: vec![vec![]],
        attempts: vec![attempt(10, vec![write(1, 0, 100), write(2, 0, 200)])],
        ..Record::default()
    };
    let first = Record {
        connections: vec![vec![
            Event::Registered(tid(10)),
            loaded(1, Tid::MAX, 100, 10, None),
            Event::Committed(tid(20)),
            loaded(1, Tid::MAX, 101, 20, None),
            loaded(1, tid(20), 100, 10, Some(20)),
            Event::Invalidated(tid(30), vec![oid(2)]),
            Event::Loaded { oid: oid(2), before: Tid::MAX, loaded: Loaded::NoSuchObject },
            Event::Committed(tid(40)),
            loaded(1, Tid::MAX, 100, 40, None),
            Event::LastTransaction(tid(40)),
        ]],
        attempts: vec![
            attempt(20, vec![write(1, 5, 0), write(1, 10, 101)]),
            attempt(40, vec![Op::Undo { tid: tid(20) }, Op::Check { oid: oid(2), read: tid(30) }]),
        ],
        ..Record::default()
    };
    let second = Record {
        connections: vec![
            vec![
                Event::Registered(tid(10)),
                Event::Loaded { oid: oid(1), before: tid(10), loaded: Loaded::OnlyLater },
                Event::Loaded { oid: oid(9), before: tid(10), loaded: Loaded::NoSuchObject },
                Event::Invalidated(tid(20), vec![oid(1)]),
                Event::Committed(tid(30)),
            ],
            vec![
                Event::Registered(tid(30)),
                Event::CaughtUp { since: tid(10), until: tid(30), oids: Some(vec![oid(2), oid(1)]) },
                Event::Invalidated(tid(40), vec![oid(1)]),
            ],
        ],
        attempts: vec![
            attempt(30, vec![Op::Delete { oid: oid(2), read: tid(10) }]),
            Attempt { ops: vec![write(1, 0, 999)], tid: None },
        ],
        ..Record::default()
    };
    vec![setup, first, second]
}

fn findings(change: impl FnOnce(&mut Vec<Record>)) -> Vec<String> {
    let mut records = sound();
    change(&mut records);
    check(&records, tid(40), Leniency::default()).iter().map(ToString::to_string).collect()
}

#[test]
fn a_sound_run_gives_no_finding() {
    assert_eq!(findings(|_| {}), Vec::<String>::new());
}

/// Replaces one event of a sound run; exactly this must be found.
fn assert_found(client: usize, connection: usize, place: usize, event: Event, rule: &str) {
    let found = findings(|records| records[client].connections[connection][place] = event);
    assert!(found.iter().any(|finding| finding.contains(rule)), "{rule}: {found:?}");
}

#[test]
fn each_rule_is_found_broken() {
    // S1: an old revision said to be current after its successor was announced; a newer one before.
    assert_found(1, 0, 3, loaded(1, Tid::MAX, 100, 10, None), "S1");
    assert_found(1, 0, 1, loaded(1, Tid::MAX, 101, 20, None), "S1");
    assert_found(1, 0, 4, loaded(1, tid(20), 100, 10, None), "S1");
    assert_found(1, 0, 3, loaded(1, Tid::MAX, 102, 20, None), "S1");
    assert_found(1, 0, 6, loaded(2, Tid::MAX, 200, 10, None), "S1");
    // S3: twice, out of order, left out, somebody else's.
    assert_found(1, 0, 5, Event::Invalidated(tid(20), vec![oid(1)]), "S3");
    assert_found(2, 0, 3, Event::Invalidated(tid(30), vec![oid(2)]), "S3");
    assert_found(2, 1, 2, Event::LastTransaction(tid(30)), "S6");
    assert_found(2, 0, 3, Event::Committed(tid(20)), "S3");
    // S4 and S8: a gap at registration, a server that has forgotten.
    assert_found(2, 0, 0, Event::Registered(tid(15)), "S4");
    assert_found(2, 1, 0, Event::Registered(tid(20)), "S8");
    assert_found(1, 0, 9, Event::LastTransaction(tid(30)), "S8");
    // S5: an incomplete answer, and one that the stream does not go on from.
    let answer = |until, oids: &[u64]| Event::CaughtUp {
        since: tid(10),
        until: tid(until),
        oids: Some(oids.iter().copied().map(oid).collect()),
    };
    assert_found(2, 1, 1, answer(30, &[1]), "S5");
    assert_found(2, 1, 1, answer(20, &[1, 2]), "S5");
    // S7: a change that was not announced, and one that was none.
    assert_found(1, 0, 5, Event::Invalidated(tid(30), vec![]), "S7");
    assert_found(2, 0, 3, Event::Invalidated(tid(20), vec![oid(1), oid(2)]), "S7");
}

#[test]
fn lost_updates_are_found() {
    let found = |change: fn(&mut Vec<Record>)| findings(change).join("\n");
    assert!(found(|records| records[1].attempts[0].ops[1] = write(1, 9, 101)).contains("built on"));
    assert!(
        found(|records| records[1].attempts[1].ops[1] = Op::Check { oid: oid(2), read: tid(10) })
            .contains("built on")
    );
    assert!(
        found(|records| records[1].attempts[1].ops[0] = Op::Undo { tid: tid(10) }).contains("changed later")
    );
    assert!(
        found(|records| records[1].attempts[1].ops[0] = Op::Undo { tid: tid(11) }).contains("is no commit")
    );
    assert!(found(|records| records[2].attempts[0].tid = Some(tid(20))).contains("two transactions"));
}

#[test]
fn leniency_forgives_what_it_names_and_no_more() {
    let mut records = sound();
    records[1].connections[0][5] = Event::Invalidated(tid(30), vec![]);
    records[2].connections[1][1] =
        Event::CaughtUp { since: tid(10), until: tid(30), oids: Some(vec![oid(1)]) };
    let leniency = Leniency { deletions_unannounced: true, ..Leniency::default() };
    assert_eq!(check(&records, tid(40), leniency), []);
    records[2].connections[1][2] = Event::Invalidated(tid(40), vec![]);
    assert_ne!(check(&records, tid(40), leniency), []);

    let mut records = sound();
    records[1].connections[0][1] = loaded(1, Tid::MAX, 101, 20, None);
    records[2].connections[0][4] = Event::LastTransaction(tid(40));
    records[2].connections[1][1] =
        Event::CaughtUp { since: tid(10), until: tid(40), oids: Some(vec![oid(1), oid(2)]) };
    let found =
        |records: &[Record], ahead| check(records, tid(40), Leniency { ahead, ..Leniency::default() }).len();
    assert_eq!((found(&records, true), found(&records, false)), (0, 4));
    records[1].connections[0][3] = loaded(1, Tid::MAX, 100, 10, None);
    assert_eq!(found(&records, true), 1, "what is behind is never forgiven");

    let mut records = sound();
    records[1].connections[0][4] = Event::Loaded { oid: oid(1), before: tid(20), loaded: Loaded::OnlyLater };
    let leniency = Leniency { packed: true, ..Leniency::default() };
    assert_eq!(check(&records, tid(40), leniency), []);
    records[1].connections[0][3] =
        Event::Loaded { oid: oid(1), before: Tid::MAX, loaded: Loaded::NoSuchObject };
    assert_ne!(check(&records, tid(40), leniency), []);

    // Object 2 is deleted, and built on as if it had never been there; object 1 is not.
    let mut records = sound();
    records[1].attempts[1].ops[1] = Op::Check { oid: oid(2), read: tid(0) };
    assert_eq!(check(&records, tid(40), leniency), []);
    assert_ne!(check(&records, tid(40), Leniency::default()), []);
    records[1].attempts[0].ops[1] = write(1, 0, 101);
    assert_ne!(check(&records, tid(40), leniency), []);
}
