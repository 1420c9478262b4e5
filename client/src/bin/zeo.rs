//! `zeo`: looks at ZEO servers, and works with them.

use std::process::ExitCode;

fn main() -> ExitCode {
    zeo_client::tools::zeo(std::env::args_os())
}
