//! `runzeo`: the reference ZEO server.

use std::process::ExitCode;

/// The GNU C library keeps what large messages took, the more the more threads have met one: after a minute of
/// `zeo-siege --together` 166 MiB of 262. This one gives it back within seconds, and is no slower (`BENCHMARKS.md`).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    zeo_server::process::run(std::env::args_os())
}
