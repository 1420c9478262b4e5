//! `zeo`: looks at ZEO servers, and works with them; one file for each of its commands.

mod check;
mod copy;
mod load;
mod log;
mod server;
mod status;
mod wait;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::text::{Shown, complain};

/// What went wrong, for the user's eyes.
type Failure = Box<dyn std::error::Error>;

/// What failures end with; 2 is that of options that are wrong.
const EXIT_FAILED: u8 = 1;

const AFTER_HELP: &str = "\
Exit status:
  0     done
  1     failed; standard error says why
  2     the options are wrong";

/// Look at ZEO servers, and work with them.
#[derive(Debug, Parser)]
#[command(name = "zeo", version, after_help = AFTER_HELP, infer_long_args = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What each does, is said where its options are.
#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Arguments),
    Wait(wait::Arguments),
    Check(check::Arguments),
    Load(load::Arguments),
    Log(log::Arguments),
    Copy(copy::Arguments),
}

/// Runs `zeo` with its command line, the program's name included.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(EXIT_FAILED).into();
        }
    };
    let done = match &arguments.command {
        Command::Status(arguments) => status::run(arguments),
        Command::Wait(arguments) => wait::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Load(arguments) => load::run(arguments),
        Command::Log(arguments) => log::run(arguments),
        Command::Copy(arguments) => copy::run(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("Error: {}", Shown(error)));
            EXIT_FAILED.into()
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
