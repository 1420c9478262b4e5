//! What the machine does without a server: reads of a cached file, appends made durable, bare connections.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::BenchError;
use super::data::{LARGE, Random, SMALL, Set};
use super::echo;
use super::window::{Phase, Tally, Window};

/// Length of the file that is read.
const FILE_LEN: u64 = 64 * 1024 * 1024;
/// Bytes of a transaction in the file beside its records: header, metadata, and length at the end.
const TRANSACTION_LEN: usize = 23 + 5 + 9 + 8;
/// Bytes of a record in the file beside its data.
const RECORD_LEN: usize = 42;
/// Bytes that a client and a server exchange before and for `register`: a fitting request and reply.
const REGISTER_LENS: (usize, usize) = (64, 64);

/// Positional reads per second by one thread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reads {
    /// Bytes of each.
    pub data_len: usize,
    /// How many.
    pub per_second: f64,
}

/// Measures reads at random places of a file in `dir` that the system has in memory.
///
/// # Errors
/// What the system says about the file.
pub fn positional_reads(dir: &Path, window: Duration) -> Result<Vec<Reads>, BenchError> {
    let path = dir.join("reads");
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
    let block = vec![b'x'; 1024 * 1024];
    for _ in 0..FILE_LEN / 1024 / 1024 {
        file.write_all(&block)?;
    }
    let result = [SMALL, LARGE].into_iter().map(|set| reads_of(&file, set, window)).collect();
    std::fs::remove_file(&path)?;
    result
}

fn reads_of(file: &File, set: Set, window: Duration) -> Result<Reads, BenchError> {
    let mut random = Random::new(1);
    let mut buffer = vec![0; set.data_len];
    let mut count = 0_u64;
    let began = Instant::now();
    while began.elapsed() < window {
        for _ in 0..64 {
            file.read_exact_at(&mut buffer, random.below(FILE_LEN - set.data_len as u64))?;
        }
        count += 64;
    }
    Ok(Reads { data_len: set.data_len, per_second: count as f64 / began.elapsed().as_secs_f64() })
}

/// Appends what a commit of `object_count` small objects appends, and makes it durable, again and again.
///
/// # Errors
/// What the system says about the file.
pub fn append_steadily(dir: &Path, object_count: usize, window: &Window) -> Result<Tally, BenchError> {
    let path = dir.join("appends");
    let mut file = File::options().create(true).truncate(true).write(true).open(&path)?;
    let bytes = vec![b'x'; TRANSACTION_LEN + object_count * (RECORD_LEN + SMALL.data_len)];
    let mut tally = Tally::new();
    loop {
        let began = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        match window.phase() {
            Phase::Warming => {}
            Phase::Measuring => tally.add(1, began.elapsed()),
            Phase::Over => break,
        }
    }
    std::fs::remove_file(&path)?;
    Ok(tally)
}

/// Connects to the echo server, has one message answered and hangs up, again and again.
///
/// # Errors
/// If a connection is refused.
pub fn connect_barely(address: SocketAddr, window: &Window) -> Result<Tally, BenchError> {
    let (request_len, reply_len) = REGISTER_LENS;
    let mut buffer = vec![0; reply_len];
    let mut tally = Tally::new();
    loop {
        let began = Instant::now();
        let mut stream = echo::connect(address, request_len, reply_len)?;
        stream.write_all(&vec![0; request_len])?;
        stream.read_exact(&mut buffer)?;
        match window.phase() {
            Phase::Warming => {}
            Phase::Measuring => tally.add(1, began.elapsed()),
            Phase::Over => return Ok(tally),
        }
    }
}
