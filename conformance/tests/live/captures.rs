//! Fixtures can be made again: Python's peers play a few scenarios, and say what they said when these were recorded.

use std::error::Error;
use std::path::Path;

use libtest_mimic::{Completion, Failed, Trial};
use zeo_conformance::capture::file;
use zeo_conformance::decode::{Transcript, each_message};
use zeo_conformance::scenarios::stage::Cast;
use zeo_conformance::scenarios::{Pair, all, capture_path, fixtures_dir};

/// Some that last no time: two clients, restores, undos, a connection that is cut.
const SCENARIOS: [&str; 4] = ["commit", "restore", "undo", "disconnect_voted"];
/// Those who play.
const PAIRS: [&str; 2] = ["6.2-6.2-pickle", "5.4.1-6.2-msgpack"];

/// The trials; `reason_counts` says that one that cannot take place has failed.
pub(crate) fn trials(reason_counts: bool) -> Vec<Trial> {
    let mut trials = Vec::new();
    for name in PAIRS {
        for scenario in SCENARIOS {
            let run = move || play(name.parse()?, scenario, reason_counts);
            trials.push(Trial::ignorable_test(format!("captures::{name}::{scenario}"), run));
        }
    }
    trials
}

fn play(pair: Pair, scenario: &str, reason_counts: bool) -> Result<Completion, Failed> {
    let cast = match Cast::of(pair) {
        Ok(cast) => cast,
        Err(reason) if reason_counts => return Err(reason.into()),
        Err(reason) => return Ok(Completion::ignored_with(reason.to_string())),
    };
    let scenario = all().iter().find(|each| each.name == scenario).ok_or("no such scenario")?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("again.zeocap.gz");
    cast.play(scenario, &path).map_err(|error| error.to_string())?;
    let fixture = fixtures_dir().join(capture_path(pair, scenario.name));
    let [said, expected] = [&path, &fixture].map(|path| transcript(path).map_err(|error| error.to_string()));
    let (said, expected) = (said?, expected?);
    if said == expected {
        return Ok(Completion::Completed);
    }
    Err(similar::TextDiff::from_lines(&expected, &said).unified_diff().to_string().into())
}

fn transcript(path: &Path) -> Result<String, Box<dyn Error>> {
    let mut transcript = Transcript::default();
    each_message(&mut file::open(path)?, |connection, dialect, told| {
        transcript.add(connection, dialect, &told)
    })?;
    Ok(transcript.essence())
}
