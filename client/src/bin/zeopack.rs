//! `zeopack`: packs storages of ZEO servers.

use std::process::ExitCode;

fn main() -> ExitCode {
    zeo_client::tools::zeopack(std::env::args_os())
}
