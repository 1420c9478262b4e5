//! Reports of several servers as one table: scenarios by servers, in Markdown.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::scenarios::all;

/// What [`json`](super::json) has written, as far as it is needed here.
#[derive(Debug, Deserialize)]
pub struct Report {
    results: Vec<Cell>,
}

#[derive(Debug, Deserialize)]
struct Cell {
    scenario: String,
    verdict: String,
}

/// How often a scenario was played, and how it went.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    same: usize,
    intended: usize,
    played: usize,
}

impl Count {
    fn add(&mut self, verdict: &str) {
        self.same += usize::from(verdict == "same");
        self.intended += usize::from(verdict == "on purpose");
        self.played += usize::from(verdict != "not played");
    }

    /// `18/18`: so many of so many were the same; with a star if what was not is on purpose.
    fn text(self) -> String {
        let Self { same, intended, played } = self;
        match played {
            0 => "–".to_owned(),
            _ if intended > 0 && same + intended == played => format!("{same}/{played}*"),
            _ => format!("{same}/{played}"),
        }
    }
}

/// The table, with a column for each report under its name, and the sums at the end.
#[must_use]
pub fn markdown(reports: &[(String, Report)]) -> String {
    let mut counts = BTreeMap::<(&str, usize), Count>::new();
    let mut sums = vec![Count::default(); reports.len()];
    for (column, ((_, report), sum)) in reports.iter().zip(&mut sums).enumerate() {
        for Cell { scenario, verdict } in &report.results {
            counts.entry((scenario, column)).or_default().add(verdict);
            sum.add(verdict);
        }
    }
    let names: String = reports.iter().map(|(name, _)| format!(" {name} |")).collect();
    let mut text = format!("| scenario |{names}\n|---|{}\n", "---:|".repeat(reports.len()));
    let mut line = |name: &str, counts: &mut dyn Iterator<Item = Count>| {
        let cells: String = counts.map(|count| format!(" {} |", count.text())).collect();
        text.push_str(&format!("| {name} |{cells}\n"));
    };
    for scenario in all() {
        let columns = 0..reports.len();
        let mut cells =
            columns.map(|column| counts.get(&(scenario.name, column)).copied().unwrap_or_default());
        if cells.clone().any(|count| count.played > 0) {
            line(&format!("`{}`", scenario.name), &mut cells);
        }
    }
    line("all", &mut sums.into_iter());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_says_how_many_of_those_that_were_played_were_the_same() {
        let report = |verdicts: &[(&str, &str)]| {
            let results = verdicts.iter().map(|(scenario, verdict)| {
                serde_json::json!({ "scenario": scenario, "verdict": verdict, "about": "" })
            });
            let value = serde_json::json!({ "server": "", "results": results.collect::<Vec<_>>() });
            serde_json::from_value::<Report>(value).unwrap()
        };
        let python = [("commit", "same"), ("commit", "same"), ("abort", "failed"), ("abort", "same")];
        let ours = [("commit", "same"), ("commit", "on purpose"), ("abort", "not played")];
        let reports = [("6.2".to_owned(), report(&python)), ("ours".to_owned(), report(&ours))];
        let expected = "| scenario | 6.2 | ours |\n|---|---:|---:|\n| `commit` | 2/2 | 1/2* |\n\
                        | `abort` | 1/2 | – |\n| all | 3/4 | 1/2* |\n";
        assert_eq!(markdown(&reports), expected);
    }
}
