//! `zeo-conformance matrix`: one table of what several servers were reported to do.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Outcome, about};
use crate::check::table::markdown;

/// Makes a table in Markdown of reports that "check --json" has written: scenarios by servers.
///
/// A cell 17/18 says that 17 of 18 captures were played as Python's server did; a star, that the others differ on purpose.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Reports, one for each server; the name of the file, without its end, is that of the server.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If a report cannot be read; those of `out`.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> Outcome {
    let mut reports = Vec::new();
    for path in &arguments.files {
        let file = File::open(path).map_err(|error| about(path.display(), error))?;
        let report = serde_json::from_reader(BufReader::new(file));
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        reports.push((name, report.map_err(|error| about(path.display(), error))?));
    }
    write!(out, "{}", markdown(&reports))?;
    Ok(ExitCode::SUCCESS)
}
