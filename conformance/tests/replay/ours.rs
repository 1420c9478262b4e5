//! Captured servers play to our own client, which is made to do what the captured ones did: it says the same, but for what
//! is listed here.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use zeo_codec::session::Direction;
use zeo_conformance::capture::{Event, file};
use zeo_conformance::replay::Explained;
use zeo_conformance::replay::ours::{Played, can_be_ours, play_otherwise, play_ours};
use zeo_conformance::scenarios::{Pair, all};

use crate::{PATIENCE, capture};

/// Of these all scenarios are played in the everyday tests.
const USUAL: [&str; 2] = ["6.2-6.2-pickle", "4.3.1-4.3.1-pickle"];

/// What our client says otherwise, on purpose, in a scenario: how often, and why.
struct Exception {
    scenario: &'static str,
    applies: fn(Pair) -> bool,
    count: RangeInclusive<usize>,
    why: &'static str,
}

const fn exception(
    scenario: &'static str,
    applies: fn(Pair) -> bool,
    count: RangeInclusive<usize>,
    why: &'static str,
) -> Exception {
    Exception { scenario, applies, count, why }
}

const LOST: &str = "has gone with the connection";
const COUNTED: &str = "in place of the last one";

#[rustfmt::skip] // A table, one line each.
const EXCEPTIONS: &[Exception] = &[
    exception("undo", every, 2..=2, COUNTED),
    exception("blobs_undo", every, 1..=1, COUNTED),
    exception("iteration", every, 1..=1, "one by one"),
    exception("timeout", every, 1..=1, LOST),
    exception("restore", is_zeo4_on_python3, 4..=4, "text in ZEO 4"),
    exception("disconnect_begin", is_zeo5, 1..=1, LOST),
    exception("disconnect_store", is_zeo5, 1..=1, LOST),
    exception("disconnect_vote", is_zeo5, 1..=1, LOST),
    exception("disconnect_voted", is_zeo5, 1..=1, LOST),
    exception("disconnect_finish", is_zeo5, 1..=1, LOST),
    exception("disconnect_finished", is_zeo5, 1..=1, LOST),
    exception("disconnect_blob", is_zeo5, 1..=1, LOST),
    // This one goes on with the vote, too, if it comes so far.
    exception("disconnect_begin", is_5_2_3, 1..=2, LOST),
    exception("disconnect_store", is_5_2_3, 1..=2, LOST),
    exception("disconnect_vote", is_5_2_3, 1..=2, LOST),
    exception("disconnect_voted", is_5_2_3, 1..=2, LOST),
    exception("disconnect_abort", is_5_2_3, 1..=1, LOST),
    exception("disconnect_finish", is_5_2_3, 1..=1, LOST),
    exception("disconnect_finished", is_5_2_3, 1..=1, LOST),
    exception("disconnect_blob", is_5_2_3, 1..=2, LOST),
];

fn every(_: Pair) -> bool {
    true
}

fn is_zeo4_on_python3(pair: Pair) -> bool {
    is_zeo4(pair) && !pair.server.is_python2()
}

fn is_5_2_3(pair: Pair) -> bool {
    pair.client.name() == "5.2.3"
}

fn is_zeo5(pair: Pair) -> bool {
    !is_zeo4(pair) && !is_5_2_3(pair)
}

pub(crate) fn trials(is_all: bool) -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("replay::as_server_ours::noticed::another_scenario", another_scenario),
        noticed("another_record", Direction::FromClient, "argument[2]", || {
            replaced(b"valueq\x02K\x01", b"valueq\x02K\x03")
        }),
        noticed("another_description", Direction::FromClient, "argument[2]", || {
            replaced(b"C\x05first", b"C\x05First")
        }),
        noticed("another_label", Direction::FromClient, "argument[0]", || replaced(b"reader", b"writer")),
        noticed("an_invalidation_of_the_past", Direction::FromServer, "the client hangs up", || {
            Box::new(|bytes| {
                let notice = find(bytes, b"invalidateTransaction")?;
                let tid = notice + find(bytes.get(notice..)?, b"C\x08\x04")? + 2;
                bytes.get_mut(tid).map(|first| *first = 3)
            })
        }),
    ];
    for pair in Pair::all() {
        if !pair.interoperates() || (!is_all && !USUAL.contains(&pair.to_string().as_str())) {
            continue;
        }
        for scenario in all().iter().filter(|scenario| scenario.suits(pair)) {
            let path = capture(&pair.to_string(), scenario.name);
            let opened = file::open(&path);
            if opened.is_ok_and(|reader| can_be_ours(reader.metadata()).is_ok()) {
                let title = format!("replay::as_server_ours::{pair}::{}", scenario.name);
                trials.push(Trial::test(title, move || played(pair, scenario.name, &path)));
            }
        }
    }
    trials
}

fn played(pair: Pair, scenario: &str, path: &Path) -> Result<(), Failed> {
    let Played { report, excuses } = play(path, path, PATIENCE)?;
    assert!(report.said_count > 0 && report.compared_count > 0, "nothing was played");
    let shown: String =
        report.differences.iter().map(|difference| Explained(difference).to_string()).collect();
    if !shown.is_empty() {
        return Err(shown.into());
    }
    let exception =
        EXCEPTIONS.iter().find(|exception| exception.scenario == scenario && (exception.applies)(pair));
    let (count, why) = exception.map_or((0..=0, ""), |exception| (exception.count.clone(), exception.why));
    let is_listed = count.contains(&excuses.len()) && excuses.iter().all(|excuse| excuse.why.contains(why));
    if is_listed { Ok(()) } else { Err(format!("{count:?} because {why:?}, not {excuses:#?}").into()) }
}

fn play(path: &Path, other: &Path, patience: Duration) -> Result<Played, Failed> {
    let played =
        if path == other { play_ours(path, patience) } else { play_otherwise(path, other, patience) };
    played.map_err(|error| error.to_string().into())
}

/// A client that does what was done in another scenario.
fn another_scenario() -> Result<(), Failed> {
    let pair = "6.2-6.2-msgpack";
    let Played { report, .. } = play(&capture(pair, "undo"), &capture(pair, "commit"), PATIENCE)?;
    let first = report.differences.first().ok_or("nothing was noticed")?;
    assert!(first.number.is_some(), "{first}");
    Ok(())
}

/// Changes bytes of one side, if it finds what it looks for.
type Change = Box<dyn FnMut(&mut Vec<u8>) -> Option<()>>;

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn replaced(from: &'static [u8], to: &'static [u8]) -> Change {
    Box::new(move |bytes| {
        let at = find(bytes, from)?;
        bytes.splice(at..at + from.len(), to.iter().copied()).for_each(drop);
        Some(())
    })
}

/// A capture is changed in one place: what our client does if it is of the captured client, what it is told if it is of the
/// server.
fn noticed(name: &str, of: Direction, told: &'static str, change: fn() -> Change) -> Trial {
    Trial::test(format!("replay::as_server_ours::noticed::{name}"), move || {
        let dir = tempfile::tempdir()?;
        let (path, other) = (capture("6.2-6.2-pickle", "commit"), dir.path().join("changed.zeocap"));
        let mut reader = file::open(&path)?;
        let mut writer = file::create(&other, reader.metadata())?;
        let (mut change, mut is_changed) = (change(), false);
        while let Some(record) = reader.next_record()? {
            let mut record = record.into_owned();
            if let Event::Bytes { direction, bytes } = &mut record.event
                && *direction == of
                && !is_changed
            {
                is_changed = change(bytes.to_mut()).is_some();
            }
            writer.write(&record)?;
        }
        writer.finish()?.close()?;
        assert!(is_changed, "nothing was changed");
        let (served, acted) = if of == Direction::FromClient { (&path, &other) } else { (&other, &path) };
        let Played { report, .. } = play(served, acted, PATIENCE)?;
        let shown: Vec<String> = report.differences.iter().map(ToString::to_string).collect();
        let is_told = shown.first().is_some_and(|first| first.contains(told));
        if is_told { Ok(()) } else { Err(format!("{shown:#?}").into()) }
    })
}

fn is_zeo4(pair: Pair) -> bool {
    pair.server.is_zeo4()
}
