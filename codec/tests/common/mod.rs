//! What the integration tests, the benches and the fuzz seeds share.
#![allow(dead_code, reason = "each binary uses a part")]
#![allow(unreachable_pub, reason = "included by several binaries")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

pub mod arbitrary;
pub mod fixture;
pub mod messages;
pub mod notation;
pub mod seeds;
