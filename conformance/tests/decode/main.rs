//! Every message of every fixture is decoded, shown, and written again to the same bytes.
//!
//! What is shown is a snapshot for each scenario: the conversation of the first pair of peers in full, then in which lines
//! others differ. Tids, times and ids of transactions, which are others each time, are numbered, so that captures that were
//! made again give the same snapshots, unless a peer does something else. What cannot be written again is
//! listed in `exceptions.rs`.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod exceptions;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use zeo_codec::Method;
use zeo_codec::session::Observed;
use zeo_conformance::capture::file;
use zeo_conformance::decode::{Told, Transcript, each_message, rewrite};
use zeo_conformance::scenarios::{Pair, Scenario, all, capture_path, fixtures_dir};

use self::exceptions::Problem;

/// How many threads decode.
const THREAD_COUNT: usize = 4;

/// What is known of one capture.
struct Decoded {
    pair: Pair,
    text: String,
    essence: String,
    problems: Vec<Problem>,
    methods: BTreeSet<Method>,
}

fn decode(pair: Pair, scenario: &Scenario, path: &Path) -> Decoded {
    let mut reader = file::open(path).unwrap();
    let metadata = reader.metadata().clone();
    assert_eq!(metadata.scenario, scenario.name, "{}", path.display());
    assert!(metadata.made_by.ends_with(&format!("--peer {pair} --scenario {}", scenario.name)));
    assert_eq!(metadata.framing, pair.framing.name());
    let mut shown = Transcript::default();
    let mut problems = Vec::new();
    let mut methods = BTreeSet::new();
    let read = each_message(&mut reader, |connection, dialect, told| {
        shown.add(connection, dialect, &told);
        let Told::Message { observed, payload, .. } = &told else { return };
        if let Observed::Call { method: Some(method), .. } = observed {
            methods.insert(*method);
        }
        let what = match rewrite(payload, observed, dialect) {
            Ok(bytes) if bytes == *payload => return,
            Ok(_) => "other bytes".to_owned(),
            Err(error) => error.to_string(),
        };
        problems.push(Problem { what, message: format!("{:.32}", observed.show(dialect)) });
    });
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Decoded { pair, text: shown.text(), essence: shown.essence(), problems, methods }
}

/// The fixtures of a scenario, in the order of pairs.
fn decode_all(scenario: &Scenario) -> Vec<Decoded> {
    let pairs = Pair::all().into_iter().filter(|pair| scenario.suits(*pair));
    let found = pairs.map(|pair| (pair, fixtures_dir().join(capture_path(pair, scenario.name))));
    found.filter(|(_, path)| path.exists()).map(|(pair, path)| decode(pair, scenario, &path)).collect()
}

/// All fixtures, decoded once for all tests.
fn everything() -> &'static [(&'static Scenario, Vec<Decoded>)] {
    static EVERYTHING: OnceLock<Vec<(&'static Scenario, Vec<Decoded>)>> = OnceLock::new();
    EVERYTHING.get_or_init(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = all()
                .chunks(all().len().div_ceil(THREAD_COUNT))
                .map(|part| {
                    scope.spawn(|| part.iter().map(|each| (each, decode_all(each))).collect::<Vec<_>>())
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    })
}

#[test]
fn every_message_is_written_again_to_the_same_bytes() {
    let mut uses = exceptions::Uses::default();
    let mut complaints = Vec::new();
    for (scenario, decoded) in everything() {
        for Decoded { pair, problems, .. } in decoded {
            for problem in problems.iter().filter(|problem| !uses.excuse(*pair, scenario.name, problem)) {
                complaints.push(format!("{pair}/{}: {}: {}", scenario.name, problem.what, problem.message));
            }
        }
    }
    complaints.extend(uses.idle());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn conversations_are_as_they_were() {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        for (scenario, decoded) in everything() {
            insta::assert_snapshot!(scenario.name, compare(decoded));
        }
    });
}

#[test]
fn every_pair_has_played_every_scenario() {
    let mut missing = Vec::new();
    for (scenario, decoded) in everything() {
        for pair in Pair::all().into_iter().filter(|pair| scenario.suits(*pair)) {
            if decoded.iter().all(|decoded| decoded.pair != pair) {
                missing.push(format!("{pair}/{}", scenario.name));
            }
        }
    }
    assert!(missing.is_empty(), "there are no fixtures of {}", missing.join(" "));
}

/// What no peer here calls: clients of ZODB 3.8 and older did, or servers of ZEO 4 have it and never do.
const UNCALLED: [Method; 9] = [
    Method::GetSerial,
    Method::ZeoLoad,
    Method::ModifiedInVersion,
    Method::Versions,
    Method::VersionEmpty,
    Method::CommitVersion,
    Method::AbortVersion,
    Method::AnswerToTheUltimateQuestion,
    Method::BeginVerify,
];

#[test]
fn every_method_is_called_somewhere() {
    let decoded = everything().iter().flat_map(|(_, decoded)| decoded);
    let called: BTreeSet<Method> = decoded.flat_map(|decoded| decoded.methods.iter().copied()).collect();
    let uncalled: Vec<Method> =
        Method::ALL.iter().copied().filter(|method| !called.contains(method)).collect();
    assert_eq!(uncalled, UNCALLED);
}

/// The first conversation in full; of the others that are not the same in essence, in what they differ from it.
fn compare(decoded: &[Decoded]) -> String {
    let mut groups = Vec::<(&Decoded, Vec<Pair>)>::new();
    for each in decoded {
        match groups.iter_mut().find(|(known, _)| known.essence == each.essence) {
            Some((_, pairs)) => pairs.push(each.pair),
            None => groups.push((each, vec![each.pair])),
        }
    }
    let mut text = String::new();
    let mut models = BTreeMap::<Kind, (Pair, &str)>::new();
    for (Decoded { pair, text: other, .. }, pairs) in &groups {
        let names: Vec<String> = pairs.iter().map(ToString::to_string).collect();
        let names = names.join(" ");
        match models.get(&kind(*pair)) {
            None => {
                models.insert(kind(*pair), (*pair, other.as_str()));
                text.push_str(&format!("== {names}\n{other}\n"));
            }
            Some((model, full)) => {
                let diff = similar::TextDiff::from_lines(*full, other.as_str());
                let diff = diff.unified_diff().context_radius(0).to_string();
                text.push_str(&format!("== {names}: as {model}, but\n{diff}\n"));
            }
        }
    }
    text
}

/// Conversations that are much alike: of the same protocol, of Pythons with the same strings.
type Kind = (bool, bool, &'static str);

fn kind(pair: Pair) -> Kind {
    (pair.speaks_zeo4(), pair.client.is_python2(), pair.framing.name())
}

/// A file that nothing belongs to is a mistake.
#[test]
fn every_file_is_the_fixture_of_a_scenario() {
    let mut known = BTreeMap::new();
    for pair in Pair::all() {
        let names = all().iter().filter(|scenario| scenario.suits(pair)).map(|scenario| scenario.name);
        known.insert(pair.to_string(), names.map(|name| format!("{name}.zeocap.gz")).collect::<Vec<_>>());
    }
    let mut len = 0;
    for (pair, names) in known {
        let Ok(entries) = std::fs::read_dir(fixtures_dir().join(&pair)) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(names.contains(&name), "{pair}/{name}");
            len += entry.metadata().unwrap().len();
        }
    }
    assert!(len <= 20_000_000, "the fixtures have {len} bytes");
}
