//! The matrix as a page: one file, without scripts. Each cell that is not the same opens on what differs.

use super::{Matrix, Verdict};
use crate::replay::{Difference, Explained};
use crate::scenarios::Pair;

const STYLE: &str = "body{font:15px/1.4 sans-serif;margin:2em;color:#222}table{border-collapse:collapse}\
th,td{border:1px solid #ccc;padding:.2em .4em;text-align:center;vertical-align:top}th.name,td.name{text-align:left}\
thead th{font-size:12px;writing-mode:vertical-rl;transform:rotate(180deg)}thead th.name{writing-mode:initial;transform:none}\
.same{background:#cfc}.differs{background:#fbb}.purpose{background:#ffc}.not{background:#eee}.failed{background:#fd8}\
summary{cursor:pointer}details[open]{text-align:left}pre{text-align:left;background:#fff;padding:.5em;max-width:60em;overflow:auto}";

/// The page.
#[must_use]
pub fn page(matrix: &Matrix) -> String {
    let mut pairs: Vec<Pair> = Vec::new();
    for (pair, _) in matrix.rows.iter().flat_map(|row| &row.cells) {
        if !pairs.contains(pair) {
            pairs.push(*pair);
        }
    }
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>ZEO conformance</title><style>{STYLE}</style>\
         </head><body>\n<h1>ZEO conformance</h1>\n<p>Server: <code>{}</code></p>\n<p>{} the same, {} differ, {} do on \
         purpose, {} not played, {} failed. Columns are pairs of peers whose talk was captured: client, server, framing.</p>\n<table>\
         <thead><tr><th class=\"name\">scenario</th>",
        escape(&matrix.server),
        matrix.count("same"),
        matrix.count("differs"),
        matrix.count("on purpose"),
        matrix.count("not played"),
        matrix.count("failed"),
    );
    for pair in &pairs {
        html.push_str(&format!("<th>{}</th>", escape(&pair.to_string())));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &matrix.rows {
        html.push_str(&format!(
            "<tr><td class=\"name\" title=\"{}\">{}</td>",
            escape(row.scenario.about),
            escape(row.scenario.name)
        ));
        for pair in &pairs {
            let cell = row.cells.iter().find(|(other, _)| other == pair).map(|(_, verdict)| verdict);
            html.push_str(&cell.map_or_else(|| "<td></td>".to_owned(), shown));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>\n");
    for (pair, reason) in &matrix.left_out {
        let (pair, reason) = (escape(&pair.to_string()), escape(reason));
        html.push_str(&format!("<p>{pair} does not apply: {reason}</p>\n"));
    }
    html.push_str("</body></html>\n");
    html
}

fn shown(verdict: &Verdict) -> String {
    let (class, sign) = match verdict {
        Verdict::Same(count) => {
            return format!("<td class=\"same\" title=\"{count} messages\">&#10003;</td>");
        }
        Verdict::Differs(_) => ("differs", "&#10007;"),
        Verdict::Intended { .. } => ("purpose", "&#8776;"),
        Verdict::NotPlayed(_) => ("not", "&ndash;"),
        Verdict::Failed(_) => ("failed", "!"),
    };
    let details = match verdict {
        Verdict::Differs(differences) => explained(differences),
        Verdict::Intended { why, differences } => format!("on purpose: {why}\n{}", explained(differences)),
        other => other.details(),
    };
    format!(
        "<td class=\"{class}\"><details><summary>{sign}</summary><pre>{}</pre></details></td>",
        escape(&details)
    )
}

fn explained(differences: &[Difference]) -> String {
    differences.iter().map(|difference| Explained(difference).to_string()).collect::<Vec<_>>().join("\n")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
