//! The matrix for programs.

use serde_json::{Value, json};

use super::{Matrix, Verdict};
use crate::replay::Difference;

/// An object: `server`, and `results`, a list of objects with `scenario`, `about`, `pair`, `verdict` (`same`, `differs`,
/// `on purpose`, `not played`, `failed`), and `compared`, `differences` or `reason`, `on purpose` both of these; and `left_out`, a list of objects with `pair` and
/// `reason`.
#[must_use]
pub fn value(matrix: &Matrix) -> Value {
    let cells = matrix.rows.iter().flat_map(|row| row.cells.iter().map(move |cell| (row.scenario, cell)));
    let results: Vec<Value> = cells
        .map(|(scenario, (pair, verdict))| {
            let mut result = json!({
                "scenario": scenario.name,
                "about": scenario.about,
                "pair": pair.to_string(),
                "verdict": verdict.name(),
            });
            let details = match verdict {
                Verdict::Same(count) => vec![("compared", json!(count))],
                Verdict::Differs(differences) => vec![("differences", listed(differences))],
                Verdict::Intended { why, differences } => {
                    vec![("reason", json!(why)), ("differences", listed(differences))]
                }
                Verdict::NotPlayed(reason) | Verdict::Failed(reason) => vec![("reason", json!(reason))],
            };
            if let Some(object) = result.as_object_mut() {
                object.extend(details.into_iter().map(|(key, value)| (key.to_owned(), value)));
            }
            result
        })
        .collect();
    let left_out: Vec<Value> = matrix
        .left_out
        .iter()
        .map(|(pair, reason)| json!({ "pair": pair.to_string(), "reason": reason }))
        .collect();
    json!({ "server": matrix.server, "results": results, "left_out": left_out })
}

fn listed(differences: &[Difference]) -> Value {
    let listed = |difference: &Difference| {
        json!({
            "connection": difference.connection,
            "message": difference.number,
            "field": difference.field,
            "expected": difference.expected,
            "got": difference.got,
        })
    };
    differences.iter().map(listed).collect()
}
