//! Figures from samples, and tables from figures.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::run::{Outcome, Row};
use super::window::{Sample, Tally};

/// What was measured of one server at one workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Operations per second in the fastest round: the one that other programs disturbed the least.
    pub per_second: f64,
    /// The median of the rounds.
    pub per_second_median: f64,
    /// The slowest round.
    pub per_second_min: f64,
    /// Processor time of the server for each operation, in microseconds.
    pub server_cpu_us: f64,
    /// Processor time of the load generator for each operation, in microseconds.
    pub generator_cpu_us: f64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// What 99% of all latencies do not exceed, in microseconds.
    pub p99_us: f64,
    /// What 99.9% of all latencies do not exceed, in microseconds.
    pub p999_us: f64,
    /// Processors that the server kept busy, on average.
    pub server_cores: f64,
    /// Processors that the load generator kept busy, on average.
    pub generator_cores: f64,
    /// Syncs of the disk for each commit, where they were counted.
    pub syncs_each: Option<f64>,
    /// Processors that were busy with neither, on average: what disturbed the measurement.
    pub other_cores: f64,
}

impl Figure {
    /// Sums up the rounds, of which there is at least one.
    #[must_use]
    pub fn new(samples: &[Sample]) -> Self {
        let mut rates: Vec<f64> = samples.iter().map(rate).collect();
        rates.sort_by(f64::total_cmp);
        let at = |index: usize| rates.get(index).copied().unwrap_or_default();
        let mut all = Tally::new();
        samples.iter().for_each(|sample| all.merge(&sample.tally));
        let total = |part: fn(&Sample) -> Duration| samples.iter().map(part).sum::<Duration>().as_secs_f64();
        let seconds = total(|sample| sample.elapsed);
        let (server, own) = (total(|sample| sample.server_cpu), total(|sample| sample.own_cpu));
        let op_count = all.op_count.max(1) as f64;
        let quantile = |quantile| all.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            per_second: at(rates.len().saturating_sub(1)),
            per_second_median: at(rates.len() / 2),
            per_second_min: at(0),
            server_cpu_us: server * 1e6 / op_count,
            generator_cpu_us: own * 1e6 / op_count,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            server_cores: server / seconds,
            generator_cores: own / seconds,
            syncs_each: None,
            other_cores: total(|sample| sample.other_cpu) / seconds,
        }
    }

    /// Whether the generator used more of an exhausted machine than the server did: a cheaper generator
    /// would have shown a faster server.
    #[must_use]
    pub fn is_generator_bound(&self, core_count: usize) -> bool {
        let busy = self.server_cores + self.generator_cores + self.other_cores;
        self.generator_cores > self.server_cores && busy > 0.9 * core_count as f64
    }
}

fn rate(sample: &Sample) -> f64 {
    sample.tally.op_count as f64 / sample.elapsed.as_secs_f64()
}

/// The tables of a run as Markdown.
#[must_use]
pub fn markdown(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, outcome);
    text
}

fn write_all(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let machine = &outcome.machine;
    let busy: f64 = outcome.rows.iter().flat_map(|row| &row.figures).map(|figure| figure.other_cores).sum();
    let figure_count = outcome.rows.iter().map(|row| row.figures.len()).sum::<usize>().max(1) as f64;
    writeln!(text, "### Framing: {}\n", outcome.framing)?;
    writeln!(
        text,
        "{}, {} cores, {:.1} GiB, Linux {}, {}. Other programs kept {:.2} cores busy meanwhile.\n",
        machine.cpu,
        machine.core_count,
        machine.memory_mib as f64 / 1024.0,
        machine.kernel,
        machine.file_system,
        busy / figure_count,
    )?;
    write_rates(text, outcome)?;
    write_announcements(text, outcome)?;
    write_details(text, outcome)?;
    write_facts(text, outcome)
}

/// Operations per second, one row for each workload.
fn write_rates(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let names: Vec<&str> = outcome.servers.iter().map(|server| server.name.as_str()).collect();
    let Some((base, others)) = names.split_first() else { return Ok(()) };
    if outcome.rows.iter().all(|row| row.is_announcement) {
        return Ok(());
    }
    write!(text, "| per second, fastest round | {base} |")?;
    for other in others {
        write!(text, " {other} | x {base} | CPU each, x {base} | share of ceiling | share of limit |")?;
    }
    writeln!(text, " ceiling | limit |")?;
    writeln!(text, "| --- |{}", " ---: |".repeat(3 + 5 * others.len()))?;
    for row in outcome.rows.iter().filter(|row| !row.is_announcement) {
        let Row { workload, figures, ceiling, limit, .. } = row;
        let Some((base, others)) = figures.split_first() else { continue };
        write!(text, "| {workload} | {} |", count(base.per_second))?;
        for other in others {
            let ratio = other.per_second / base.per_second;
            let mark = if other.is_generator_bound(outcome.machine.core_count) { " g" } else { "" };
            let cpu = other.server_cpu_us / base.server_cpu_us;
            write!(text, " {}{mark} | **{ratio:.1}** | {cpu:.2} |", count(other.per_second))?;
            for most in [ceiling, limit] {
                match most {
                    Some(most) => write!(text, " {:.0}% |", 100.0 * other.per_second / most.per_second)?,
                    None => write!(text, " |")?,
                }
            }
        }
        for most in [ceiling, limit] {
            write!(text, " {} |", most.as_ref().map_or_else(String::new, |most| count(most.per_second)))?;
        }
        writeln!(text)?;
    }
    writeln!(text)
}

/// How long it takes until everybody knows of a commit, one row for each number of listeners.
fn write_announcements(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let mut rows = outcome.rows.iter().filter(|row| row.is_announcement).peekable();
    let Some(first) = rows.peek() else { return Ok(()) };
    let ceiling = first.ceiling.iter().map(|_| "ceiling");
    let names: Vec<&str> = outcome.servers.iter().map(|server| server.name.as_str()).chain(ceiling).collect();
    write!(text, "| milliseconds: p50, p99 |")?;
    names.iter().try_for_each(|name| write!(text, " {name} |"))?;
    writeln!(text, "\n| --- |{}", " ---: |".repeat(names.len()))?;
    for Row { workload, figures, ceiling, .. } in rows {
        write!(text, "| {workload} |")?;
        for figure in figures.iter().chain(ceiling) {
            write!(text, " {:.2}, {:.2} |", figure.p50_us / 1e3, figure.p99_us / 1e3)?;
        }
        writeln!(text)?;
    }
    writeln!(text)
}

/// Everything else, one row for each workload and server.
fn write_details(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    writeln!(
        text,
        "| workload | server | slowest, median, fastest round | server CPU µs | generator CPU µs | cores: server + \
         generator + other | p50 µs | p99 µs | p99.9 µs | syncs each |"
    )?;
    writeln!(text, "| --- | --- |{}", " ---: |".repeat(8))?;
    for row in &outcome.rows {
        let servers = outcome.servers.iter().map(|server| server.name.as_str()).zip(&row.figures);
        let most = [("ceiling", &row.ceiling), ("limit", &row.limit)];
        let most = most.into_iter().filter_map(|(name, figure)| Some((name, figure.as_ref()?)));
        for (name, figure) in servers.chain(most) {
            writeln!(
                text,
                "| {} | {name} | {}, {}, {} | {:.2} | {:.2} | {:.2} + {:.2} + {:.2} | {:.0} | {:.0} | {:.0} | {} |",
                row.workload,
                count(figure.per_second_min),
                count(figure.per_second_median),
                count(figure.per_second),
                figure.server_cpu_us,
                figure.generator_cpu_us,
                figure.server_cores,
                figure.generator_cores,
                figure.other_cores,
                figure.p50_us,
                figure.p99_us,
                figure.p999_us,
                figure.syncs_each.map_or_else(String::new, |syncs| format!("{syncs:.2}")),
            )?;
        }
    }
    writeln!(text)
}

/// Start-up, memory, and reads of the file.
fn write_facts(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    writeln!(text, "| server | start to first reply, ms | resident after start, MiB | peak, MiB |")?;
    writeln!(text, "| --- | ---: | ---: | ---: |")?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    for server in &outcome.servers {
        writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.1} |",
            server.name,
            server.start_ms,
            mib(server.memory_at_start.resident_kib),
            mib(server.memory_at_end.peak_kib),
        )?;
    }
    writeln!(text)?;
    for reads in &outcome.reads {
        let (per_second, each_us) = (count(reads.per_second), 1e6 / reads.per_second);
        writeln!(
            text,
            "Positional reads of {} bytes from a cached file, one thread: {per_second}/s, {each_us:.2} µs each.",
            reads.data_len
        )?;
    }
    writeln!(text)
}

/// A number with its thousands apart.
fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [(0.4, "0"), (999.0, "999"), (1_000.0, "1,000"), (1_234_567.4, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn a_figure_is_the_best_rate_and_the_mean_cost() {
        let sample = |op_count| {
            let mut tally = Tally::new();
            tally.add(op_count, Duration::from_micros(50));
            Sample {
                tally,
                elapsed: Duration::from_secs(1),
                server_cpu: Duration::from_millis(500),
                own_cpu: Duration::from_millis(1_500),
                other_cpu: Duration::ZERO,
            }
        };
        let figure = Figure::new(&[sample(1_000), sample(4_000), sample(1_000)]);
        assert_eq!((figure.per_second_min, figure.per_second_median, figure.per_second), (1e3, 1e3, 4e3));
        assert_eq!((figure.server_cpu_us, figure.generator_cpu_us), (250.0, 750.0));
        assert!((49.0..51.0).contains(&figure.p999_us));
        assert!(figure.is_generator_bound(2) && !figure.is_generator_bound(4));
    }
}
