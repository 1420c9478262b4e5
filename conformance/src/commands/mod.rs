//! The subcommands of `zeo-conformance`, one module each: its options, and what it does with them. What two of them share
//! about proxies is in [`between`], about addresses in [`place`].

pub mod between;
pub mod capture_all;
pub mod check;
pub mod convert;
pub mod info;
pub mod matrix;
pub mod place;
pub mod record;
pub mod replay;
pub mod sniff;

use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;

/// How a command ends: with a status, or an error that the program prints.
pub type Outcome = Result<ExitCode, Box<dyn Error>>;

/// An error with what it is about in front: a file, or an address.
fn about(what: impl Display, error: impl Display) -> Box<dyn Error> {
    format!("{what}: {error}").into()
}
