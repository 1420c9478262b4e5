//! Scenarios: what real Python peers are made to say to each other, to be recorded.
//!
//! - [`Program`] and [`Pair`]: who talks to whom, in which framing;
//! - [`Scenario`]: what can be played, and by which pairs. The play itself is a function of the same name in
//!   `python/captures/`, run by the client's Python;
//! - [`guest`]: the same script in front of a server that is played from a capture;
//! - [`stage`]: a server, a recording proxy before it and the script, put together; what comes of it is a capture.
//!
//! Nothing here writes a message: every byte of a capture comes from Python.

mod config;
pub mod guest;
mod pair;
pub mod stage;
mod table;

pub use pair::{Pair, Program, UnknownPair};
pub use table::{Scenario, all};

/// The directory in which the captures of this repository lie.
#[must_use]
pub fn fixtures_dir() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// Where the capture of a scenario lies below the directory of all: `PAIR/SCENARIO.zeocap.gz`.
#[must_use]
pub fn capture_path(pair: Pair, scenario: &str) -> std::path::PathBuf {
    std::path::Path::new(&pair.to_string()).join(format!("{scenario}.zeocap.gz"))
}
