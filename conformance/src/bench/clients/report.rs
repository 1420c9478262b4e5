//! The tables.

use std::fmt::Write as _;

use super::{NAMES, Outcome, Path, Row, Turn};
use crate::bench::data::SMALL;

/// Operations per second: the slowest round, the median, and the fastest.
fn rates(turns: &[Turn]) -> [f64; 3] {
    let mut rates: Vec<f64> =
        turns.iter().map(|turn| turn.op_count as f64 / turn.time.as_secs_f64().max(1e-9)).collect();
    rates.sort_by(f64::total_cmp);
    let at = |index: usize| rates.get(index).copied().unwrap_or_default();
    [at(0), at(rates.len() / 2), at(rates.len().saturating_sub(1))]
}

/// Processor time for each operation, in microseconds.
fn cpu_us(turns: &[Turn]) -> f64 {
    let cpu: f64 = turns.iter().map(|turn| turn.cpu.as_secs_f64()).sum();
    let op_count: usize = turns.iter().map(|turn| turn.op_count).sum();
    cpu * 1e6 / op_count.max(1) as f64
}

fn thousands(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rates beside Python's, the rounds of each, and the way of a call.
#[must_use]
pub fn markdown(outcome: &Outcome) -> String {
    let Outcome { machine, framing, rows, paths } = outcome;
    let mut text = format!(
        "Framing: {}. Objects of {} bytes. {}, {} cores, {} MiB, Linux {}, {}.\n\n",
        framing.name(),
        SMALL.data_len,
        machine.cpu,
        machine.core_count,
        machine.memory_mib,
        machine.kernel,
        machine.file_system
    );
    text += "| per second, fastest round | Python | ours, blocking | x Python | ours, async | x Python | limit |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for Row { workload, turns, limit } in rows {
        let [python, blocking, futures] = turns.each_ref().map(|turns| rates(turns)[2]);
        let limit = if limit.is_empty() { String::new() } else { thousands(rates(limit)[2]) };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {workload} | {} | {} | **{:.1}** | {} | **{:.1}** | {limit} |",
            thousands(python),
            thousands(blocking),
            blocking / python,
            thousands(futures),
            futures / python
        );
    }
    text += "\n| workload | client | slowest, median, fastest round | client CPU µs |\n| --- | --- | ---: | ---: |\n";
    for Row { workload, turns, .. } in rows {
        for (name, turns) in NAMES.iter().zip(turns) {
            let rates = rates(turns).map(thousands).join(", ");
            let _ = writeln!(text, "| {workload} | {name} | {rates} | {:.1} |", cpu_us(turns));
        }
    }
    if paths.iter().all(|(_, turns)| turns.is_empty()) {
        return text;
    }
    let bare = paths.first().map_or(0.0, |(_, turns)| cpu_us(turns));
    text += "\n| one load at a time, no cache | round trips a second: slowest, median, fastest round | CPU µs each | \
             beyond the bare socket |\n| --- | ---: | ---: | ---: |\n";
    for (path, turns) in paths {
        let name = match path {
            Path::Bare => "a bare socket, echoes of the same lengths",
            Path::Futures => "our client, async on one thread",
            Path::Blocking => "our client, blocking",
        };
        let cpu = cpu_us(turns);
        let rates = rates(turns).map(thousands).join(", ");
        let _ = writeln!(text, "| {name} | {rates} | {cpu:.2} | {:.2} |", cpu - bare);
    }
    text
}
