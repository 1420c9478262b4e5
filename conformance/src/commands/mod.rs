//! The subcommands of `zeo-conformance`, one module each: its options, and what it does with them. What two of them share
//! about proxies is in [`between`].

pub mod between;
pub mod capture_all;
pub mod check;
pub mod convert;
pub mod info;
pub mod record;
pub mod replay;
pub mod sniff;

use std::error::Error;
use std::process::ExitCode;

/// How a command ends: with a status, or an error that the program prints.
pub type Outcome = Result<ExitCode, Box<dyn Error>>;
