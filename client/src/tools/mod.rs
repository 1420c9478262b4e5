//! The programs that come with the client: `zeopack` and `zeo-nagios`, for operators who know Python's, and `zeo`.
//!
//! Each is a function of a command line, the program's name included, so that a program of several faces, or a test, can
//! be any of them; `src/bin/` has their `main`. They stand on [`crate::blocking`] and know nothing of what is below it.
//! They are there with the feature `tools`, which is on by default: who wants the library alone turns it off, and needs
//! neither clap nor the others that only programs want.
//!
//! Everything that a server says is untrusted: what is shown of it has no control characters, so that it can neither
//! clear the operator's terminal nor add lines to a report.

mod json;
mod nagios;
mod probe;
mod python;
mod text;
mod time;
mod zeo;
mod zeopack;

pub use nagios::run as zeo_nagios;
pub use zeo::run as zeo;
pub use zeopack::run as zeopack;
