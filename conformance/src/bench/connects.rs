//! Clients that come and go.

use std::net::SocketAddr;
use std::time::Instant;

use super::BenchError;
use super::client::Client;
use super::window::{Phase, Tally, Window};

/// Connections that one worker makes at most: each takes a local port for a while.
const CONNECT_COUNT_MAX: usize = 4_000;

/// Connects, registers and hangs up, until the window is over.
///
/// # Errors
/// If a connection is refused.
pub fn connect_steadily(address: SocketAddr, window: &Window) -> Result<Tally, BenchError> {
    let mut tally = Tally::new();
    for _ in 0..CONNECT_COUNT_MAX {
        let began = Instant::now();
        Client::connect(address)?;
        match window.phase() {
            Phase::Warming => {}
            Phase::Measuring => tally.add(1, began.elapsed()),
            Phase::Over => return Ok(tally),
        }
    }
    let text = format!("more than {CONNECT_COUNT_MAX} connections of one worker: shorten the window");
    Err(BenchError::Missing(text))
}
