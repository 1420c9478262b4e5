//! What is done with a cache, in the format that Python's `cache_stats` and `cache_simul` read (protocol reference 16).

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Data lengths from here on do not fit.
const DATA_LEN_MAX: u32 = (1 << 23) - 1;

/// What was done, and how it went.
#[derive(Debug, Clone, Copy)]
pub(super) enum Code {
    Opened = 0x00,
    InvalidateMiss = 0x10,
    InvalidateKept = 0x1c,
    InvalidateForgotten = 0x1e,
    LoadMiss = 0x20,
    LoadHit = 0x22,
    LoadBeforeMiss = 0x24,
    LoadBeforeHit = 0x26,
    StoreCurrent = 0x52,
    StorePast = 0x54,
}

/// A trace file that is written to.
#[derive(Debug)]
pub(super) struct Trace(BufWriter<File>);

impl Trace {
    /// Goes on with the file there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(path)?;
        let mut trace = Self(BufWriter::new(file));
        trace.write(Code::Opened, None, 0, 0, 0)?;
        Ok(trace)
    }

    pub(super) fn write(
        &mut self,
        code: Code,
        oid: Option<u64>,
        start: u64,
        end: u64,
        data_len: usize,
    ) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let data_len = u32::try_from(data_len).unwrap_or(DATA_LEN_MAX).min(DATA_LEN_MAX);
        let mut record = Vec::with_capacity(34);
        record.extend_from_slice(&u32::try_from(now).unwrap_or(u32::MAX).to_be_bytes());
        let [.., high, middle, low] = data_len.to_be_bytes();
        #[allow(clippy::as_conversions, reason = "the discriminants are bytes")]
        record.extend_from_slice(&[high, middle, low, code as u8]);
        record.extend_from_slice(&(if oid.is_some() { 8_u16 } else { 0 }).to_be_bytes());
        record.extend_from_slice(&start.to_be_bytes());
        record.extend_from_slice(&end.to_be_bytes());
        if let Some(oid) = oid {
            record.extend_from_slice(&oid.to_be_bytes());
        }
        self.0.write_all(&record)
    }
}
