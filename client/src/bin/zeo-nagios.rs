//! `zeo-nagios`: a check of a ZEO server for Nagios.

use std::process::ExitCode;

fn main() -> ExitCode {
    zeo_client::tools::zeo_nagios(std::env::args_os())
}
