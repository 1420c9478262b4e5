//! The matrix for programs.

use serde_json::{Value, json};

use super::{Matrix, Verdict};

/// An object: `server`, and `results`, a list of objects with `scenario`, `about`, `pair`, `verdict` (`same`, `differs`,
/// `not played`, `failed`), and `compared`, `differences` or `reason`; and `left_out`, a list of objects with `pair` and
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
            let (key, details) = match verdict {
                Verdict::Same(count) => ("compared", json!(count)),
                Verdict::Differs(differences) => {
                    let all: Vec<Value> = differences
                        .iter()
                        .map(|difference| {
                            json!({
                                "connection": difference.connection,
                                "message": difference.number,
                                "field": difference.field,
                                "expected": difference.expected,
                                "got": difference.got,
                            })
                        })
                        .collect();
                    ("differences", all.into())
                }
                Verdict::NotPlayed(reason) | Verdict::Failed(reason) => ("reason", json!(reason)),
            };
            if let Some(object) = result.as_object_mut() {
                object.insert(key.to_owned(), details);
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
