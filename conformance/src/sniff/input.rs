//! Where records come from: captures and files of packets, whole, piped, or still being written.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Stdin};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;

use crate::capture::format::MAGIC;
use crate::capture::{CaptureError, Metadata, Reader, Record};
use crate::packets::{Flows, METADATA_MARK, Options, Packet, PacketError, PacketReader, is_packets};

/// Takes records.
pub type Take<'t> = dyn FnMut(&Record<'_>) -> io::Result<()> + 't;

const BUFFER_LEN: usize = 256 * 1024;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// How often a file that is still written is looked at.
const FOLLOW_TIME: Duration = Duration::from_millis(100);

/// Why input cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// What takes the records has failed.
    #[error(transparent)]
    Take(io::Error),
    /// The file could not be opened.
    #[error(transparent)]
    Open(io::Error),
    /// The capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The file of packets.
    #[error(transparent)]
    Packets(#[from] PacketError),
    /// It is neither.
    #[error("offset 0: neither a capture nor a pcap or pcapng file: it begins with {found:02x?}")]
    Unknown {
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// It was read to its end, but not all of it could be understood.
    #[error("{0}")]
    LeftOut(String),
}

/// How to read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The file is still written: its end is waited at.
    pub is_followed: bool,
    /// Which connections of a file of packets.
    pub options: Options,
}

/// When a file that is followed has been followed for long enough. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on it ends where it ends.
    pub fn tell(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A file, or standard input as `-`; with `until` its end is waited at until then.
///
/// # Errors
/// Those of the file system.
pub fn open(path: &Path, until: Option<&Stop>) -> io::Result<Box<dyn Read + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(StdinReader(io::stdin())));
    }
    let file = File::open(path)?;
    Ok(match until {
        Some(stop) => Box::new(Followed(file, stop.clone())),
        None => Box::new(file),
    })
}

struct StdinReader(Stdin);

impl Read for StdinReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().read(buffer)
    }
}

/// A file that somebody still writes: its end is waited at.
struct Followed(File, Stop);

impl Read for Followed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer)? {
                // There is no portable way to be told.
                0 if !buffer.is_empty() && !self.1.is_told() => std::thread::sleep(FOLLOW_TIME),
                len => return Ok(len),
            }
        }
    }
}

/// Reads all records of a source, compressed or not, whatever its kind. What it says about itself is handed on first.
///
/// # Errors
/// [`InputError`], after everything before it was handed on.
pub fn read(
    source: impl Read + Send + 'static,
    reading: &Reading,
    begin: &mut dyn FnMut(&Metadata) -> io::Result<()>,
    take: &mut Take<'_>,
) -> Result<(), InputError> {
    let (start, source) = peek(source).map_err(|source| CaptureError::Io { offset: 0, source })?;
    if !start.starts_with(GZIP_MAGIC) {
        return read_plain(start, source, reading, begin, take);
    }
    let source = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_LEN, source));
    let (start, source) = peek(source).map_err(|source| CaptureError::Io { offset: 0, source })?;
    read_plain(start, source, reading, begin, take)
}

/// The first bytes, and the source with them.
fn peek<R: Read>(mut source: R) -> io::Result<(Vec<u8>, impl Read + use<R>)> {
    let mut start = [0; MAGIC.len()];
    let mut len = 0;
    while let Some(rest) = start.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read_len) => len += read_len,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // So a decompressor says that its file was cut.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    let start = start.get(..len).unwrap_or_default().to_vec();
    Ok((start.clone(), io::Cursor::new(start).chain(source)))
}

fn read_plain(
    start: Vec<u8>,
    source: impl Read,
    reading: &Reading,
    begin: &mut dyn FnMut(&Metadata) -> io::Result<()>,
    take: &mut Take<'_>,
) -> Result<(), InputError> {
    if is_packets(&start) {
        return read_packets(source, reading, begin, take);
    }
    // Another version of the format, and a beginning of it, are told as such.
    let is_capture = start.starts_with(MAGIC.get(..6).unwrap_or_default());
    let may_be_capture = MAGIC.starts_with(&start) && !start.is_empty();
    if !is_capture && !may_be_capture {
        return Err(InputError::Unknown { found: start });
    }
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER_LEN, source))?;
    if reading.is_followed {
        reader.end_at_last_record();
    }
    begin(reader.metadata()).map_err(InputError::Take)?;
    while let Some(record) = reader.next_record()? {
        take(&record).map_err(InputError::Take)?;
    }
    Ok(())
}

fn read_packets(
    source: impl Read,
    reading: &Reading,
    begin: &mut dyn FnMut(&Metadata) -> io::Result<()>,
    take: &mut Take<'_>,
) -> Result<(), InputError> {
    let mut reader = PacketReader::new(source);
    let mut flows = Flows::new(reading.options.clone());
    let mut has_begun = false;
    let outcome = loop {
        let read = reader.next_block(&mut |packet| {
            if !has_begun {
                has_begun = true;
                begin(&metadata(&packet))?;
            }
            flows.packet(packet, take)
        });
        match read {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => break Ok(()),
            Ok(Err(error)) => return Err(InputError::Take(error)),
            Err(error) => break Err(error),
        }
    };
    if !has_begun {
        begin(&Metadata::default()).map_err(InputError::Take)?;
    }
    // What came before a damaged place is as good as in a whole file.
    flows.finish(take).map_err(InputError::Take)?;
    outcome?;
    flows.complaint().map_or(Ok(()), |complaint| Err(InputError::LeftOut(complaint)))
}

/// What the section says that the first packet is in: that it was made of a capture, at best.
fn metadata(packet: &Packet<'_>) -> Metadata {
    let json = packet.comment.and_then(|comment| comment.strip_prefix(METADATA_MARK));
    let metadata = json.and_then(|json| serde_json::from_str::<Metadata>(json).ok()).unwrap_or_default();
    let started = jiff::SignedDuration::try_from(packet.time).ok();
    let started = started.and_then(|time| jiff::Timestamp::from_duration(time).ok());
    Metadata { started: started.map(|time| time.to_string()).unwrap_or_default(), ..metadata }
}
