//! Records, shows and compares what ZEO peers say to each other; `conformance/README.md` has the commands.

use std::io::{ErrorKind, stdout};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use zeo_conformance::commands;

/// Tools for whoever must know what ZEO peers say to each other.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CaptureAll(commands::capture_all::Arguments),
    Check(commands::check::Arguments),
    Convert(commands::convert::Arguments),
    Info(commands::info::Arguments),
    Record(Box<commands::record::Arguments>),
    Replay(commands::replay::Arguments),
    Sniff(Box<commands::sniff::Arguments>),
}

fn main() -> ExitCode {
    let outcome = match Options::parse().command {
        Command::CaptureAll(arguments) => commands::capture_all::run(&arguments, &mut stdout().lock()),
        Command::Check(arguments) => commands::check::run(&arguments, &mut stdout().lock()),
        Command::Convert(arguments) => commands::convert::run(&arguments),
        Command::Info(arguments) => commands::info::run(&arguments, &mut stdout().lock()),
        Command::Record(arguments) => commands::record::run(*arguments),
        Command::Replay(arguments) => commands::replay::run(&arguments, &mut stdout().lock()),
        Command::Sniff(arguments) => commands::sniff::run(&arguments, stdout().lock()),
    };
    match outcome {
        Ok(status) => status,
        // Whoever reads our output, such as `head`, has seen enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zeo-conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
