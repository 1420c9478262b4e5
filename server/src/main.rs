//! `runzeo`: the reference ZEO server.

use std::process::ExitCode;

fn main() -> ExitCode {
    zeo_server::process::run(std::env::args_os())
}
