//! A whole matrix of replays: which scenarios of which pairs of peers a server plays as Python's did.
//!
//! - [`run`]: every capture that is wanted, each to a server of its own;
//! - [`Matrix`]: the verdicts, and [`Matrix::text`] for a terminal;
//! - [`json`], [`junit`], [`html`]: the same for programs, for continuous integration, and as a page;
//! - [`table`]: several servers side by side.

pub mod html;
pub mod json;
pub mod junit;
mod known;
mod spoken;
pub mod table;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::replay::Difference;
use crate::scenarios::{Pair, Scenario, capture_path};

pub use known::Exception;
pub use target::Target;

/// What is to be played.
#[derive(Debug)]
pub struct Plan {
    /// The server.
    pub server: Target,
    /// It is ours: what it does otherwise on purpose is known.
    pub is_ours: bool,
    /// The directory of all captures: `PAIR/SCENARIO.zeocap.gz`.
    pub captures: PathBuf,
    /// Of these pairs.
    pub pairs: Vec<Pair>,
    /// Of these scenarios.
    pub scenarios: Vec<&'static Scenario>,
    /// How many at the same time.
    pub jobs: usize,
    /// How long a message may keep us waiting.
    pub patience: Duration,
}

/// How a capture went.
#[derive(Debug)]
pub enum Verdict {
    /// Everything was the same; so many messages were compared.
    Same(usize),
    /// Something was not.
    Differs(Vec<Difference>),
    /// Something was not, on purpose, and nothing else.
    Intended {
        /// Why.
        why: &'static str,
        /// What.
        differences: Vec<Difference>,
    },
    /// It cannot be played, since.
    NotPlayed(String),
    /// The capture or the server could not be used.
    Failed(String),
}

impl Verdict {
    /// The names of all, as [`name`](Self::name) gives them.
    const NAMES: [&str; 5] = ["same", "differs", "on purpose", "not played", "failed"];

    /// In a word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Same(_) => "same",
            Self::Differs(_) => "differs",
            Self::Intended { .. } => "on purpose",
            Self::NotPlayed(_) => "not played",
            Self::Failed(_) => "failed",
        }
    }

    /// What there is to say about it.
    #[must_use]
    pub fn details(&self) -> String {
        match self {
            Self::Same(count) => format!("{count} messages compared"),
            Self::Differs(differences) => joined(differences),
            Self::Intended { why, differences } => format!("on purpose: {why}\n{}", joined(differences)),
            Self::NotPlayed(reason) | Self::Failed(reason) => reason.clone(),
        }
    }
}

fn joined(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("\n")
}

/// The verdicts on one scenario.
#[derive(Debug)]
pub struct Row {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// Those on each pair that can play it.
    pub cells: Vec<(Pair, Verdict)>,
}

/// All verdicts.
#[derive(Debug)]
pub struct Matrix {
    /// What was checked, in words.
    pub server: String,
    /// The scenarios, in their usual order.
    pub rows: Vec<Row>,
    /// Pairs that do not apply to this server, and why not.
    pub left_out: Vec<(Pair, String)>,
}

/// The pairs that are played unless others are wanted: those on Python 3, whose servers do not talk to Python 2.
#[must_use]
pub fn pairs() -> Vec<Pair> {
    let is_usual = |pair: &Pair| pair.interoperates() && !pair.server.is_python2();
    Pair::all().into_iter().filter(is_usual).collect()
}

/// Plays everything that applies. To a server that cannot even be asked what it speaks everything does, and fails.
#[must_use]
pub fn run(plan: &Plan) -> Matrix {
    let spoken = plan.server.spoken().ok();
    let suits = |pair: Pair| spoken.as_ref().map_or(Ok(()), |spoken| spoken.suits(pair));
    let (pairs, left_out): (Vec<_>, Vec<_>) =
        plan.pairs.iter().map(|pair| (*pair, suits(*pair))).partition(|(_, suits)| suits.is_ok());
    let pairs: Vec<Pair> = pairs.into_iter().map(|(pair, _)| pair).collect();
    let left_out = left_out.into_iter().filter_map(|(pair, suits)| Some((pair, suits.err()?))).collect();
    let wanted: Vec<(&'static Scenario, Pair)> = plan
        .scenarios
        .iter()
        .flat_map(|scenario| pairs.iter().map(|pair| (*scenario, *pair)))
        .filter(|(scenario, pair)| scenario.suits(*pair))
        .collect();
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        // What runs is one storage, which one capture has at a time.
        let jobs = if matches!(plan.server, Target::Running { .. }) { 1 } else { plan.jobs.max(1) };
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((scenario, pair)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let capture = plan.captures.join(capture_path(*pair, scenario.name));
                    let verdict = match plan.server.play(&capture, plan.patience) {
                        Verdict::Differs(differences) if plan.is_ours => {
                            judged(scenario.name, *pair, differences)
                        }
                        verdict => verdict,
                    };
                    verdicts.lock().unwrap_or_else(PoisonError::into_inner).push((
                        scenario.name,
                        *pair,
                        verdict,
                    ));
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
    let place = |pair: &Pair| pairs.iter().position(|other| other == pair);
    verdicts.sort_by_key(|(_, pair, _)| place(pair));
    let mut rows: Vec<Row> =
        plan.scenarios.iter().map(|scenario| Row { scenario, cells: Vec::new() }).collect();
    for (name, pair, verdict) in verdicts {
        if let Some(row) = rows.iter_mut().find(|row| row.scenario.name == name) {
            row.cells.push((pair, verdict));
        }
    }
    rows.retain(|row| !row.cells.is_empty());
    Matrix { server: plan.server.name(), rows, left_out }
}

/// The verdict on what our server does otherwise.
fn judged(scenario: &str, pair: Pair, differences: Vec<Difference>) -> Verdict {
    match Exception::find(scenario, pair).filter(|exception| exception.explains(&differences)) {
        Some(exception) => Verdict::Intended { why: exception.why, differences },
        None => Verdict::Differs(differences),
    }
}

impl Matrix {
    /// Number of the verdicts with this name.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.rows.iter().flat_map(|row| &row.cells).filter(|(_, verdict)| verdict.name() == name).count()
    }

    /// Whether something was played, and all of it was the same, or is not on purpose.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.is_any_played() && self.count("differs") + self.count("failed") == 0
    }

    fn is_any_played(&self) -> bool {
        self.rows.iter().flat_map(|row| &row.cells).any(|(_, verdict)| verdict.name() != "not played")
    }

    /// A line for each scenario, with how often each verdict was given, and what differed first. Where nothing could be
    /// played, only why not.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = if self.is_any_played() { self.lines() } else { self.reasons() };
        let [same, differs, intended, not_played, failed] = Verdict::NAMES.map(|name| self.count(name));
        let intended = if intended > 0 { format!("{intended} differ on purpose, ") } else { String::new() };
        text.push_str(&format!(
            "{same} the same, {differs} differ, {intended}{not_played} not played, {failed} failed\n"
        ));
        for (pair, reason) in &self.left_out {
            text.push_str(&format!("{pair} does not apply: {reason}\n"));
        }
        text
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        for Row { scenario, cells } in &self.rows {
            let counts: Vec<String> = Verdict::NAMES
                .iter()
                .map(|name| (name, cells.iter().filter(|(_, verdict)| verdict.name() == *name).count()))
                .filter(|(_, count)| *count > 0)
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            text.push_str(&format!("{:<26}{}\n", scenario.name, counts.join(", ")));
            let told = ["failed", "differs", "on purpose", "not played"]
                .iter()
                .find_map(|name| cells.iter().find(|(_, verdict)| verdict.name() == *name));
            if let Some((pair, verdict)) = told {
                let details = match verdict {
                    Verdict::Differs(differences) => differences.first().map(Difference::to_string),
                    Verdict::Intended { why, .. } => Some((*why).to_owned()),
                    other => Some(other.details()),
                };
                let details = details.unwrap_or_default().replace('\n', "\n    ");
                text.push_str(&format!("    {pair}: {details}\n"));
            }
        }
        text
    }

    /// Why nothing was played, each reason once.
    fn reasons(&self) -> String {
        let mut counts = BTreeMap::<String, usize>::new();
        for (_, verdict) in self.rows.iter().flat_map(|row| &row.cells) {
            *counts.entry(verdict.details()).or_default() += 1;
        }
        let lines = counts.iter().map(|(reason, count)| format!("    {count} not played: {reason}\n"));
        ["nothing could be played\n".to_owned()].into_iter().chain(lines).collect()
    }
}

#[cfg(test)]
mod tests;
