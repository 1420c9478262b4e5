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

/// Whether a name is like a pattern, in which each `*` stands for anything.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    let mut places = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    places.any(|at| name.get(at..).is_some_and(|name| fits(rest, name)))
}

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

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, is_like) in [
            ("6.2-*", "6.2-5.4.1-pickle", true),
            ("*-pickle", "6.2-5.4.1-pickle", true),
            ("6.2-*-msgpack", "6.2-5.4.1-pickle", false),
            ("*", "", true),
            ("verify_*", "verify", false),
            ("commit", "commits", false),
        ] {
            assert_eq!(fits(pattern, name), is_like, "{pattern} {name}");
        }
    }
}
