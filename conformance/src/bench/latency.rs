//! What commits cost those who load meanwhile: how long a load takes beside clients that commit as fast as they can, and how
//! long alone.
//!
//! The clients that load do so at a pace of their own, as people do, and not as soon as they have an answer: so there are as
//! many loads in either case. A load that was due while the one before had no answer counts from when it was due; else one
//! long wait would hide the others that it caused.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::BenchError;
use super::client::Client;
use super::commits::{commit_set, commit_steadily};
use super::data::{Entry, Random, SMALL};
use super::run::Scratch;
use super::target::{ServerSpec, StorageKind, Target};
use super::window::{Pace, Phase, Sample, Tally, Window, measure};
use crate::config::Framing;

/// What to do.
#[derive(Debug, Clone)]
pub struct LatencyPlan {
    /// The servers.
    pub servers: Vec<ServerSpec>,
    /// How messages are encoded.
    pub framing: Framing,
    /// Where objects are kept.
    pub storage: StorageKind,
    /// Connections that load.
    pub reader_count: usize,
    /// From a load to the next one on each of them.
    pub pause: Duration,
    /// Connections that commit.
    pub committer_count: usize,
    /// Objects of a commit.
    pub object_count: usize,
    /// How long each turn is.
    pub pace: Pace,
    /// Turns that each server has, alone and beside commits.
    pub round_count: usize,
    /// A directory for everything, removed in the end.
    pub dir: PathBuf,
}

/// What was found about a server.
#[derive(Debug)]
pub struct LatencyFigures {
    /// What the tables call it.
    pub name: String,
    /// Loads without commits.
    pub alone: Work,
    /// Loads beside commits.
    pub beside: Work,
}

/// What all turns of one kind brought.
#[derive(Debug, Default)]
pub struct Work {
    /// How long they were together.
    pub elapsed: Duration,
    /// Loads.
    pub loads: Tally,
    /// What 99% of the loads of each turn did not exceed, in nanoseconds. In tables, their median: a turn that other programs
    /// disturbed does not count then.
    pub turn_p99_ns: Vec<u64>,
    /// Commits.
    pub commits: Tally,
    /// Processor time of the server, of the clients, and of everything else on the machine.
    pub cpu: [Duration; 3],
}

struct Contestant {
    target: Target,
    book: Vec<Entry>,
    figures: LatencyFigures,
}

/// Measures all servers in turns.
///
/// # Errors
/// The first failure or wrong answer: there are no figures then.
pub fn run(plan: &LatencyPlan, progress: &mut dyn FnMut(&str)) -> Result<Vec<LatencyFigures>, BenchError> {
    let scratch = Scratch::new(&plan.dir)?;
    let mut contestants = Vec::new();
    for (index, spec) in plan.servers.iter().enumerate() {
        progress(&format!("preparing {}", spec.name));
        let dir = scratch.0.join(format!("latency{index}"));
        let mut target = Target::new(spec, dir, plan.framing, plan.storage)?;
        let (mut client, _) = target.start()?;
        let book = commit_set(&mut client, SMALL)?;
        let figures =
            LatencyFigures { name: spec.name.clone(), alone: Work::default(), beside: Work::default() };
        contestants.push(Contestant { target, book, figures });
    }
    for round in 0..plan.round_count {
        for Contestant { target, book, figures } in &mut contestants {
            progress(&format!("round {}: {}", round + 1, figures.name));
            turn(plan, target, book, 0, round, &mut figures.alone)?;
            turn(plan, target, book, plan.committer_count, round, &mut figures.beside)?;
        }
    }
    let mut all = Vec::new();
    for mut contestant in contestants {
        contestant.target.stop()?;
        all.push(contestant.figures);
    }
    Ok(all)
}

/// One turn, with so many clients that commit.
fn turn(
    plan: &LatencyPlan,
    target: &Target,
    book: &mut [Entry],
    committer_count: usize,
    round: usize,
    work: &mut Work,
) -> Result<(), BenchError> {
    type Worker<'w> = Box<dyn FnOnce(&Window) -> Result<Tally, BenchError> + Send + 'w>;
    let (address, pid) = (target.address()?, target.pid()?);
    // The workers' tally is that of the loads.
    let commits = &Mutex::new(Tally::new());
    let mut workers: Vec<Worker<'_>> = Vec::new();
    for index in 0..plan.reader_count {
        let mut client = Client::connect(address)?;
        let seed = (round * plan.reader_count + index) as u64;
        workers.push(Box::new(move |window| load_paced(&mut client, seed, plan.pause, window)));
    }
    let part_len = (book.len() / committer_count.max(1)).max(1);
    for entries in book.chunks_mut(part_len).take(committer_count) {
        let mut client = Client::connect(address)?;
        workers.push(Box::new(move |window| {
            let tally = commit_steadily(&mut client, entries, plan.object_count, window)?;
            commits.lock().unwrap_or_else(PoisonError::into_inner).merge(&tally);
            Ok(Tally::new())
        }));
    }
    let Sample { tally, elapsed, server_cpu, own_cpu, other_cpu } = measure(workers, plan.pace, pid)?;
    work.turn_p99_ns.push(tally.latency_ns.value_at_quantile(0.99));
    work.loads.merge(&tally);
    work.commits.merge(&commits.lock().unwrap_or_else(PoisonError::into_inner));
    work.elapsed += elapsed;
    for (sum, part) in work.cpu.iter_mut().zip([server_cpu, own_cpu, other_cpu]) {
        *sum += part;
    }
    Ok(())
}

/// Loads random objects, one each `pause`.
fn load_paced(client: &mut Client, seed: u64, pause: Duration, window: &Window) -> Result<Tally, BenchError> {
    let mut tally = Tally::new();
    let mut random = Random::new(seed);
    // Not all at the same moment.
    let share = u32::try_from(random.below(1_000)).unwrap_or_default();
    let mut due = Instant::now() + pause * share / 1_000;
    loop {
        let now = Instant::now();
        if now < due {
            std::thread::sleep(due - now);
        }
        // That the clock rings late is not the server's business.
        let began = if now < due { Instant::now() } else { due };
        client.load_entry(SMALL.pick(&mut random), SMALL.data_len)?;
        match window.phase() {
            Phase::Warming => {}
            Phase::Measuring => tally.add(1, began.elapsed()),
            Phase::Over => return Ok(tally),
        }
        due += pause;
    }
}

/// The p99 of each turn, in microseconds, rising.
fn sorted_turns(work: &Work) -> Vec<f64> {
    let mut turns: Vec<f64> = work.turn_p99_ns.iter().map(|&ns| ns as f64 / 1e3).collect();
    turns.sort_by(f64::total_cmp);
    turns
}

fn median(work: &Work) -> f64 {
    let turns = sorted_turns(work);
    turns.get(turns.len() / 2).copied().unwrap_or_default()
}

/// The table.
#[must_use]
pub fn markdown(figures: &[LatencyFigures]) -> String {
    let mut text = String::from(
        "| server | | loads/s | p50 µs | p99 µs: best, median, worst turn | p99.9 µs | p99 beside commits / alone | commits/s | cores: server + clients + other |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for LatencyFigures { name, alone, beside } in figures {
        let us = |work: &Work, quantile| work.loads.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
        for (what, work) in [("alone", alone), ("beside commits", beside)] {
            let seconds = work.elapsed.as_secs_f64().max(1e-9);
            let [server, clients, other] = work.cpu.map(|part| part.as_secs_f64());
            let ratio = match what {
                "alone" => String::new(),
                _ => format!("**{:.1}**", median(beside) / median(alone)),
            };
            let turns = sorted_turns(work);
            let [best, worst] = [turns.first(), turns.last()].map(|turn| turn.copied().unwrap_or_default());
            text += &format!(
                "| {name} | {what} | {:.0} | {:.0} | {best:.0}, {:.0}, {worst:.0} | {:.0} | {ratio} | {:.0} | \
                 {:.2} + {:.2} + {:.2} |\n",
                work.loads.op_count as f64 / seconds,
                us(work, 0.5),
                median(work),
                us(work, 0.999),
                work.commits.op_count as f64 / seconds,
                server / seconds,
                clients / seconds,
                other / seconds,
            );
        }
    }
    text
}
