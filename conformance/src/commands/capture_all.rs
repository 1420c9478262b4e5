//! `zeo-conformance capture-all`: makes the fixtures.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;

use clap::Args;

use super::Outcome;
use crate::scenarios::stage::Cast;
use crate::scenarios::{Pair, Scenario, all, capture_path, fixtures_dir};
use crate::suite::expected::fits;

/// Has real Python peers play all scenarios, and records what they say.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only these: CLIENT-SERVER-FRAMING, such as 6.2-5.4.1-msgpack; * stands for anything. May be repeated.
    #[arg(long = "peer", value_name = "PAIR")]
    pairs: Vec<String>,
    /// Only these; * stands for anything. May be repeated.
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Where the captures go: PAIR/SCENARIO.zeocap.gz.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = fixtures_dir())]
    out: PathBuf,
    /// How many are played at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    jobs: usize,
    /// Only tells what would be played.
    #[arg(long)]
    list: bool,
    /// Leaves out pairs whose Python is not there.
    #[arg(long)]
    skip_unavailable: bool,
}

/// What is to be played.
struct Play {
    cast: Arc<Cast>,
    scenario: &'static Scenario,
}

/// Runs the command. The status is a failure if something could not be played.
///
/// # Errors
/// If nothing has such a name; those of `output`.
pub fn run(arguments: &Arguments, output: &mut impl Write) -> Outcome {
    let chosen = arguments.chosen();
    if chosen.is_empty() {
        return Err("no pair of peers plays such a scenario".into());
    }
    if arguments.list {
        for (pair, scenarios) in &chosen {
            for scenario in scenarios {
                writeln!(output, "{pair}/{}: {}", scenario.name, scenario.about)?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut plays = Vec::new();
    let mut failed_count = 0;
    for (pair, scenarios) in chosen {
        match Cast::of(pair).map(Arc::new) {
            Ok(cast) => {
                plays
                    .extend(scenarios.into_iter().map(|scenario| Play { cast: Arc::clone(&cast), scenario }));
            }
            Err(error) => {
                writeln!(output, "{pair} is left out: {error}")?;
                failed_count += usize::from(!arguments.skip_unavailable);
            }
        }
    }
    failed_count += play_all(&plays, arguments, output)?;
    Ok(if failed_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Arguments {
    fn chosen(&self) -> Vec<(Pair, Vec<&'static Scenario>)> {
        let wanted = |patterns: &[String], name: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| fits(pattern, name))
        };
        let mut chosen = Vec::new();
        for pair in Pair::all().into_iter().filter(|pair| wanted(&self.pairs, &pair.to_string())) {
            let scenarios = all().iter().filter(|scenario| scenario.suits(pair));
            let scenarios: Vec<_> =
                scenarios.filter(|scenario| wanted(&self.scenarios, scenario.name)).collect();
            if !scenarios.is_empty() {
                chosen.push((pair, scenarios));
            }
        }
        chosen
    }
}

/// Plays everything, several at a time, and says how many could not be played.
fn play_all(plays: &[Play], arguments: &Arguments, output: &mut impl Write) -> std::io::Result<usize> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                while let Some(play) = plays.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send(describe(play, &arguments.out)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut failed_count = 0;
        for (line, is_played) in receiver {
            writeln!(output, "{line}")?;
            failed_count += usize::from(!is_played);
        }
        Ok(failed_count)
    })
}

/// Plays, and says in a line what came of it.
fn describe(play: &Play, out: &Path) -> (String, bool) {
    let pair = play.cast.pair();
    let path = out.join(capture_path(pair, play.scenario.name));
    let started = Instant::now();
    let played = play.cast.play(play.scenario, &path);
    let seconds = started.elapsed().as_secs_f64();
    let len = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let name = format!("{pair}/{}", play.scenario.name);
    match played {
        Ok(()) => (format!("{name}: {len} bytes, {seconds:.1} s"), true),
        Err(error) => (format!("{name}: FAILED after {seconds:.1} s: {error}"), false),
    }
}
