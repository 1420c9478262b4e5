//! Records, shows and compares what ZEO peers say to each other; `conformance/README.md` has the commands.

use std::ffi::OsString;
use std::io::{ErrorKind, stdout};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use zeo_conformance::commands;
use zeo_conformance::server::RUNZEO;

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
    Matrix(commands::matrix::Arguments),
    Record(Box<commands::record::Arguments>),
    Replay(commands::replay::Arguments),
    /// Our server, which `check` and `replay` start so: it has nothing to be built beside, and can be killed.
    #[command(name = RUNZEO, hide = true, disable_help_flag = true)]
    Runzeo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    Sniff(Box<commands::sniff::Arguments>),
}

fn main() -> ExitCode {
    let outcome = match Options::parse().command {
        Command::CaptureAll(arguments) => commands::capture_all::run(&arguments, &mut stdout().lock()),
        Command::Check(arguments) => commands::check::run(&arguments, &mut stdout().lock()),
        Command::Convert(arguments) => commands::convert::run(&arguments),
        Command::Info(arguments) => commands::info::run(&arguments, &mut stdout().lock()),
        Command::Matrix(arguments) => commands::matrix::run(&arguments, &mut stdout().lock()),
        Command::Record(arguments) => commands::record::run(*arguments),
        Command::Replay(arguments) => commands::replay::run(&arguments, &mut stdout().lock()),
        Command::Runzeo { arguments } => {
            return zeo_server::process::run(std::iter::once(RUNZEO.into()).chain(arguments));
        }
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
