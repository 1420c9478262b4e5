//! `zeo status`: what a server counts (protocol reference 2.4).
//!
//! A server tells it to anybody, about all storages, without registering a client; over TLS, where that question cannot be
//! asked, the client asks as one that is registered, and about one storage.

use std::io::Write as _;

use clap::Args;
use serde_json::{Map, Value as Json};
use zeo_codec::Tid;

use super::Failure;
use super::server::ServerOptions;
use crate::Access;
use crate::tools::json::json;
use crate::tools::probe::{Answer, Storages, probe};
use crate::tools::text::Shown;
use crate::tools::time::{parse_tid, show_time};

/// The columns of the table: what it calls them, and what the server does.
const COLUMNS: [(&str, &str); 9] = [
    ("clients", "connections"),
    ("waiting", "waiting"),
    ("active", "active_txns"),
    ("loads", "loads"),
    ("stores", "stores"),
    ("commits", "commits"),
    ("aborts", "aborts"),
    ("conflicts", "conflicts"),
    ("resolved", "conflicts_resolved"),
];

/// Show what a server counts, for each of its storages.
///
/// Clients are those that are registered, transactions are waiting for the commit lock or active (begun and not ended);
/// the other numbers count from the start of the server. Conflicts that were resolved count as both.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: ServerOptions,

    /// Print JSON: an object with an object for each storage, as the server has it
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let place = arguments.server.place()?;
    let answer = match place.plain_address() {
        Some(address) => {
            let answer = probe(address, arguments.server.timeout());
            let mut answer = answer.map_err(|error| format!("{address}: {error}"))?;
            if let Some(wanted) = arguments.server.wanted_storage(&place) {
                answer.storages.retain(|name, _| name == wanted);
                if answer.storages.is_empty() {
                    return Err(format!("{address}: there is no storage {}", Shown(wanted)).into());
                }
            }
            answer
        }
        None => {
            let client = place.connect(Access::ReadOnly, arguments.server.timeout())?;
            let status = json(&client.server_status()?);
            let greeting = "ZEO, to registered clients".to_owned();
            Answer { greeting, storages: Map::from_iter([(place.storage().to_owned(), status)]) }
        }
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&answer.storages)?)?;
        return Ok(());
    }
    writeln!(out, "{} speaks {}", Shown(place.server()), Shown(&answer.greeting))?;
    for line in table(&answer.storages) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The lines of the table: what is text stands left, numbers right. What a server does not say is a dash.
fn table(storages: &Storages) -> Vec<String> {
    let names = COLUMNS.iter().map(|(name, _)| (*name).to_owned());
    let mut rows: Vec<Vec<String>> = vec![
        std::iter::once("storage".to_owned()).chain(names).chain(["last transaction".to_owned()]).collect(),
    ];
    for (name, status) in storages {
        let mut row = vec![Shown(name).to_string()];
        row.extend(COLUMNS.iter().map(|(_, key)| cell(status.get(key))));
        let last = cell(status.get("last-transaction"));
        row.push(match parse_tid(&last) {
            Ok(Tid::ZERO) => "none".to_owned(),
            Ok(tid) => format!("{last} ({})", show_time(tid)),
            Err(_) => last,
        });
        rows.push(row);
    }
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COLUMNS.len() + 2).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            let is_number = (1..=COLUMNS.len()).contains(&column);
            if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<String>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn cell(value: Option<&Json>) -> String {
    match value {
        None | Some(Json::Null) => "-".to_owned(),
        Some(Json::String(text)) => Shown(text).to_string(),
        Some(other) => Shown(other).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned_whatever_is_in_them() {
        let Json::Object(storages) = json!({
            "1": {"connections": 12, "waiting": 0, "loads": 1234567, "last-transaction": "040d241282222222"},
            "long name\n": {"connections": "\u{1b}[2J", "stores": null, "aborts": [1], "last-transaction": 7},
            "none": 7,
            "zero": {"last-transaction": "0000000000000000"},
        }) else {
            panic!("no object")
        };
        assert_eq!(
            table(&storages),
            [
                "storage        clients  waiting  active    loads  stores  commits  aborts  conflicts  resolved  last transaction",
                "1                   12        0       -  1234567       -        -       -          -         -  040d241282222222 (2026-11-20 10:26:30.500000Z)",
                "long name\\n  \\u{1b}[2J        -       -        -       -        -     [1]          -         -  7",
                "none                 -        -       -        -       -        -       -          -         -  -",
                "zero                 -        -       -        -       -        -       -          -         -  none",
            ]
        );
    }
}
